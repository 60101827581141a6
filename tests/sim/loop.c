/*
 * loop.c - time: a queue of what is due, and in front of it the part of libevent that the supervisor uses.
 *
 * The clock stands still while something happens and then jumps to what is due next. Descriptors are
 * level-triggered as libevent's are: an event whose descriptor is still readable after its callback fires
 * again.
 */
#include <string.h>

#include "tests/sim/sim.h"

#define MAX_DUE 8192

struct event {
    struct file *file; /* referenced; NULL: a timer */
    int fd;
    short what;
    event_callback_fn cb;
    void *arg;
    bool added;
    struct timeval every; /* persistent with a time-out */
    struct due timer, run;
};

static struct due *queue[MAX_DUE + 1]; /* a heap, from 1 */
static uint32_t queued;
static int64_t now_ns;
static uint64_t order;

/* ---- the queue ---- */

static bool earlier(const struct due *a, const struct due *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void put(uint32_t i, struct due *d)
{
    queue[i] = d;
    d->place = i;
}

static void sift(uint32_t i, struct due *d)
{
    for (; i > 1 && earlier(d, queue[i / 2]); i /= 2)
        put(i, queue[i / 2]);
    for (;;) {
        uint32_t c = 2 * i;
        if (c > queued)
            break;
        if (c < queued && earlier(queue[c + 1], queue[c]))
            c++;
        if (!earlier(queue[c], d))
            break;
        put(i, queue[c]);
        i = c;
    }
    put(i, d);
}

void due_drop(struct due *d)
{
    if (d->place == 0)
        return;
    uint32_t i = d->place;
    struct due *last = queue[queued--];
    d->place = 0;
    if (last != d)
        sift(i, last);
}

void due_in(struct due *d, int64_t ns)
{
    due_drop(d);
    SIM_CHECK(queued < MAX_DUE, "more than %d things are due", MAX_DUE);
    d->at = now_ns + MAX(ns, (int64_t)0);
    d->order = ++order;
    queued++;
    sift(queued, d);
}

int64_t sim_now(void)
{
    return now_ns;
}

size_t loop_pending(void)
{
    return queued;
}

bool loop_step(bool *ret_timer)
{
    if (queued == 0)
        return false;
    struct due *d = queue[1];
    due_drop(d);
    now_ns = MAX(now_ns, d->at);
    *ret_timer = d->timer;
    d->fire(d);
    return true;
}

void loop_reset(void)
{
    for (uint32_t i = 1; i <= queued; i++)
        queue[i]->place = 0;
    queued = 0;
    order = 0;
    now_ns = 1000 * NS_PER_S;
}

int64_t sim_delay(void)
{
    uint64_t r = sim_rnd(1000);
    if (r < W.p_slow)
        return (int64_t)sim_rnd(20 * NS_PER_MS);
    return r < 500 ? (int64_t)sim_rnd(3 * NS_PER_US) : (int64_t)sim_rnd(60 * NS_PER_US);
}

/* ---- the clock ---- */

struct mono clock_now(void)
{
    return (struct mono){now_ns};
}

int64_t clock_real_ns(void)
{
    return 1700000000 * NS_PER_S + now_ns;
}

/* ---- libevent ---- */

static struct event *of_timer(struct due *d)
{
    return (struct event *)(void *)((char *)d - offsetof(struct event, timer));
}

static struct event *of_run(struct due *d)
{
    return (struct event *)(void *)((char *)d - offsetof(struct event, run));
}

static int64_t tv_ns(const struct timeval *tv)
{
    return tv->tv_sec * NS_PER_S + tv->tv_usec * NS_PER_US;
}

static void on_timer(struct due *d)
{
    struct event *ev = of_timer(d);
    if ((ev->what & EV_PERSIST) == 0)
        ev->added = false;
    else
        due_in(&ev->timer, tv_ns(&ev->every));
    ev->cb(ev->fd, EV_TIMEOUT, ev->arg);
}

static void on_run(struct due *d)
{
    struct event *ev = of_run(d);
    ev->cb(ev->fd, EV_READ, ev->arg);
}

struct event *event_new(struct event_base *base, evutil_socket_t fd, short what, event_callback_fn cb,
                        void *arg)
{
    (void)base;
    struct event *ev = xcalloc(1, sizeof *ev);
    *ev = (struct event){.fd = fd, .what = what, .cb = cb, .arg = arg};
    ev->timer.fire = on_timer;
    ev->timer.timer = true;
    ev->run.fire = on_run;
    if (fd >= 0) {
        struct event **slot = &fd_file(fd)->events[(what & EV_WRITE) != 0];
        SIM_CHECK(*slot == NULL, "two events watch descriptor %d", fd);
        ev->file = file_ref(fd_file(fd));
        *slot = ev;
    }
    return ev;
}

int event_add(struct event *ev, const struct timeval *tv)
{
    ev->added = true;
    if (tv != NULL) {
        ev->every = *tv;
        due_in(&ev->timer, tv_ns(tv));
    }
    if (ev->file != NULL)
        file_wake(ev->file, sim_delay());
    return 0;
}

int event_del(struct event *ev)
{
    ev->added = false;
    due_drop(&ev->timer);
    due_drop(&ev->run);
    return 0;
}

void event_free(struct event *ev)
{
    event_del(ev);
    if (ev->file != NULL) {
        ev->file->events[(ev->what & EV_WRITE) != 0] = NULL;
        file_drop(&ev->file);
    }
    free(ev);
}

void event_active(struct event *ev, int what, short calls)
{
    (void)what, (void)calls;
    due_in(&ev->run, (int64_t)sim_rnd(2000));
}

int event_pending(const struct event *ev, short what, struct timeval *tv)
{
    (void)tv;
    return ((what & EV_TIMEOUT) != 0 && ev->timer.place != 0 ? EV_TIMEOUT : 0) |
           (ev->added ? (what & ev->what & (EV_READ | EV_WRITE)) : 0);
}

int event_remove_timer(struct event *ev)
{
    due_drop(&ev->timer);
    return 0;
}

/* kernel.c found the descriptor ready. Returns whether anybody was told. */
bool event_fire(struct event *ev);
bool event_fire(struct event *ev)
{
    if (ev == NULL || !ev->added)
        return false;
    if (ev->timer.place != 0)
        due_in(&ev->timer, tv_ns(&ev->every));
    if ((ev->what & EV_PERSIST) == 0)
        ev->added = false;
    ev->cb(ev->fd, (short)(ev->what & (EV_READ | EV_WRITE)), ev->arg);
    return true;
}
