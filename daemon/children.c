/* children.c - see children.h. */
#include <signal.h>
#include <sys/wait.h>

#include "daemon/children.h"
#include "daemon/pool.h"
#include "daemon/tick.h"
#include "ipc/log.h"

static struct stage *stage_of(struct pool *p, pid_t pid)
{
    struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->pid == pid)
            return s;
    }
    return NULL;
}

/* A stage the nursery has not named yet is unknown here; if it stays stopped it will not get ready in time.
 */
static void take_stops(struct pool *p)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WSTOPPED | WCONTINUED | WNOHANG | __WALL) == 0 && info.si_pid != 0) {
        struct mono since = info.si_code == CLD_STOPPED ? clock_now() : (struct mono){0};
        struct stage *s = stage_of(p, info.si_pid);
        if (s != NULL)
            s->stopped = since;
        else if (info.si_pid == p->nursery_pid)
            p->nursery_stopped = since;
        info.si_pid = 0;
    }
}

static bool some_unborn(const struct pool *p)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &p->stages, link)
    {
        if (s->pidfd < 0)
            return true;
    }
    return false;
}

/* One whose pidfd the loop had no room for. */
static void look_at(struct event *exit_ev)
{
    if (exit_ev != NULL && !event_pending(exit_ev, EV_READ, NULL))
        event_active(exit_ev, EV_READ, 0);
}

/* The kernel shows one dead child at a time. While it shows a stage's, that stage's pidfd is about to be
 * read, and we are called again after it. */
static void reap_strangers(struct pool *p)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid != 0 &&
           info.si_pid != p->nursery_pid && stage_of(p, info.si_pid) == NULL && !some_unborn(p)) {
        log_debug("reaped unknown child %d", info.si_pid);
        waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG | __WALL);
        info.si_pid = 0;
    }
    const struct stage *s = info.si_pid != 0 ? stage_of(p, info.si_pid) : NULL;
    if (s != NULL)
        look_at(s->exit_ev);
    else if (info.si_pid != 0 && info.si_pid == p->nursery_pid)
        look_at(p->nursery_exit_ev);
}

void children_changed(struct daemon *d)
{
    take_stops(d->pool);
    reap_strangers(d->pool);
    tick_arm(d);
}
