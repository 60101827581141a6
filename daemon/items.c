/*
 * items.c - descriptors of jobs: asked for with Want, received with Item, given back with ItemDone.
 *
 * A job that is no batch has one item, asked for when the job gets its turn. A batch holds at most
 * PWC_WANT_WINDOW items at a time, so tens of thousands of files need a few dozen descriptors. Descriptors
 * that came from a client are closed by the closer only: close(2) of a FUSE file can hang.
 */
#include <errno.h>
#include <string.h>

#include "daemon/closer.h"
#include "daemon/events.h"
#include "daemon/job.h"
#include "daemon/lack.h"
#include "daemon/nearest.h"
#include "daemon/quarantine.h"
#include "daemon/session.h"
#include "daemon/trace.h"

static void send_want(struct job *j, uint64_t first, uint64_t n)
{
    Pwc__Want m = PWC__WANT__INIT;
    m.job = j->id;
    m.first = first;
    m.n = (uint32_t)n;
    session_send(j->session, PWC_MSG_WANT, j->tag, &m.base);
}

static void want_next(struct job *j, uint64_t n)
{
    send_want(j, j->items_asked, n);
    j->items_asked += n;
}

/* As many as there is room for; returns how many. */
static uint64_t want_recalled(struct job *j, uint64_t room)
{
    uint64_t n = 0;
    for (; n < room && j->recalled.n > 0; n++) {
        uint64_t index = j->recalled.ranges[0].from;
        iset_remove(&j->recalled, index, index + 1);
        iset_add(&j->asked_again, index, index + 1);
        send_want(j, index, 1);
    }
    return n;
}

void job_want(struct job *j)
{
    if (!j->active || j->session == NULL || j->state == PWC__JOB_STATE__JOB_ENDING)
        return;
    uint64_t in_hand = j->items_asked - j->items_out - j->recalled.count;
    uint64_t left = j->items - j->items_asked;
    uint64_t room = j->batch ? PWC_WANT_WINDOW - MIN(in_hand, PWC_WANT_WINDOW) : 1;
    room -= want_recalled(j, room);
    /* Asked for by halves of the window: one message for many items, and never a window run dry. */
    if (left > 0 && (room >= PWC_WANT_WINDOW / 2 || room >= left || !j->batch))
        want_next(j, MIN(left, room));
}

void job_want_again(struct job *j, uint64_t index)
{
    iset_add(&j->recalled, index, index + 1);
    j->items_out--;
}

/* Those that it has been asked for already are on their way. */
void job_want_lost(struct job *j)
{
    for (size_t i = 0; i < j->lost.n && j->session != NULL; i++)
        for (uint64_t index = j->lost.ranges[i].from; index < j->lost.ranges[i].to; index++)
            if (iset_add(&j->asked_again, index, index + 1) > 0)
                send_want(j, index, 1);
}

/* Not its client's fault: it is told of them like of those that it could not open. */
static void fail_lost(struct job *j)
{
    while (j->lost.n > 0 && j->state != PWC__JOB_STATE__JOB_ENDING && !job_is_terminal(j)) {
        uint64_t index = j->lost.ranges[0].from;
        iset_add(&j->asked_again, index, index + 1);
        job_item_failed(j, index, PWC__CODE__CODE_NO_MEMORY, "", "pwcd had no room for its descriptors");
    }
}

void job_no_items_again(struct job *j)
{
    /* Before anything is failed: who sends no more is asked for nothing. */
    for (; j->recalled.n > 0; iset_remove(&j->recalled, j->recalled.ranges[0].from, j->recalled.ranges[0].to))
        iset_add(&j->asked_again, j->recalled.ranges[0].from, j->recalled.ranges[0].to);
    fail_lost(j);
    if (j->asked_again.n == 0 || j->state == PWC__JOB_STATE__JOB_ENDING || job_is_terminal(j))
        return;
    while (j->asked_again.n > 0) {
        uint64_t index = j->asked_again.ranges[0].from;
        iset_remove(&j->asked_again, index, index + 1);
        uint32_t attempts = ledger_attempt(&j->ledger, index) - 1;
        ledger_reject(&j->ledger, index);
        quarantine_add(j, index, PWC__CODE__CODE_CLIENT_GONE, attempts, "",
                       "its client sent it no second time");
        j->items_out++;
    }
    job_check(j);
}

static void close_fds(const struct job *j, int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (fds[i] >= 0)
            closer_close_for(TAKE_FD(fds[i]), j->user->uid);
}

void job_drop_fds(struct job *j)
{
    if (j->have_fds)
        close_fds(j, j->fds, j->nroles);
    j->have_fds = false;
    struct item *it;
    while ((it = TAILQ_FIRST(&j->item_list)) != NULL) {
        TAILQ_REMOVE(&j->item_list, it, link);
        close_fds(j, it->fds, it->nfds);
        free(it);
    }
}

struct item *job_find_item(const struct job *j, uint64_t index)
{
    struct item *it;
    TAILQ_FOREACH(it, &j->item_list, link)
    {
        if (it->index == index)
            return it;
    }
    return NULL;
}

static void take_name(struct job *j, const char *name)
{
    if (j->input == NULL && name[0] != '\0')
        j->input = xasprintf("%.*s", (int)PWC_ITEM_NAME_MAX, name);
}

static struct item *item_new(uint64_t index, const char *name, const int *fds, unsigned nfds)
{
    size_t len = strnlen(name, PWC_ITEM_NAME_MAX);
    struct item *it = xcalloc(1, sizeof *it + len + 1);
    it->index = index;
    it->nfds = nfds;
    memcpy(it->fds, fds, nfds * sizeof *fds);
    memcpy(it->name, name, len);
    return it;
}

static bool is_wanted_again(const struct job *j, uint64_t index)
{
    return iset_has(&j->asked_again, index);
}

static bool is_wanted(const struct job *j, uint64_t index, bool again)
{
    return again || (index == j->items_in && index < j->items_asked);
}

static bool came_again(struct job *j, uint64_t index)
{
    iset_remove(&j->lost, index, index + 1);
    return iset_remove(&j->asked_again, index, index + 1) > 0;
}

Pwc__Code job_item(struct job *j, uint64_t index, const char *name, int *fds, unsigned nfds)
{
    bool again = is_wanted_again(j, index);
    if (!is_wanted(j, index, again))
        return PWC__CODE__CODE_STATE;
    if (nfds != j->nroles)
        return PWC__CODE__CODE_BAD_DESCRIPTOR;
    j->items_in += again ? 0 : 1;
    daemon_touch(j->d);
    if (!j->batch) {
        take_name(j, name);
        memcpy(j->fds, fds, nfds * sizeof *fds);
        j->have_fds = true;
        return PWC__CODE__CODE_OK;
    }
    struct item *it = item_new(index, name, fds, nfds);
    TAILQ_INSERT_TAIL(&j->item_list, it, link);
    if (came_again(j, index))
        ledger_give_alone(&j->ledger, index);
    else
        ledger_set_ready(&j->ledger, index + 1);
    trace_announced(j, index + 1);
    return PWC__CODE__CODE_OK;
}

Pwc__Code job_item_failed(struct job *j, uint64_t index, Pwc__Code code, const char *name, const char *reason)
{
    bool again = is_wanted_again(j, index);
    if (!is_wanted(j, index, again))
        return PWC__CODE__CODE_STATE;
    came_again(j, index);
    j->items_in += again ? 0 : 1;
    if (!j->batch) {
        take_name(j, name);
        job_end(j, PWC__JOB_STATE__JOB_FAILED, code, "%s", reason);
        return PWC__CODE__CODE_OK;
    }
    uint32_t attempts = ledger_attempt(&j->ledger, index) - 1;
    if (again)
        ledger_reject(&j->ledger, index);
    else
        ledger_reject_next(&j->ledger);
    AUTO_FREE char *why = one_line(xasprintf("%.*s", (int)PWC_TEXT_MAX - 1, reason)); /* its words go on */
    /* The client knows which one it was; who looks at the job or the quarantine does not. */
    AUTO_FREE char *line = one_line(xasprintf("%s%s%s", name, name[0] != '\0' ? ": " : "", reason));
    quarantine_add(j, index, code, attempts, name, line);
    trace_announced(j, index + 1);
    trace_chunk(j, TRACE_GAVE_UP, index, code, attempts);
    events_chunks(j, index, 1, code, attempts, why);
    job_item_done(j, index, code, why, 0);
    job_failures(j, code, line);
    job_check(j);
    return PWC__CODE__CODE_OK;
}

Pwc__Code job_item_lost(struct job *j, uint64_t index, const char *name)
{
    static const char what[] = "room for the descriptors of a client";
    bool again = is_wanted_again(j, index);
    if (!is_wanted(j, index, again))
        return PWC__CODE__CODE_STATE;
    lack_of(j->d, what, -EMFILE);
    if (!j->batch) { /* it is sent once only */
        j->items_in++;
        take_name(j, name);
        job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_NO_MEMORY, "pwcd cannot make %s: %s", what,
                strerror(EMFILE));
        return PWC__CODE__CODE_OK;
    }
    lack_holds(j);
    if (!again) {
        j->items_in++;
        ledger_hold_next(&j->ledger);
        trace_announced(j, index + 1);
    }
    iset_remove(&j->asked_again, index, index + 1);
    iset_add(&j->lost, index, index + 1);
    return PWC__CODE__CODE_OK;
}

void job_item_done(struct job *j, uint64_t index, Pwc__Code code, const char *reason, uint32_t attempts)
{
    struct item *it = job_find_item(j, index);
    if (it != NULL) {
        TAILQ_REMOVE(&j->item_list, it, link);
        close_fds(j, it->fds, it->nfds);
        free(it);
    }
    j->items_out++;
    if (j->session != NULL) {
        Pwc__ItemDone m = PWC__ITEM_DONE__INIT;
        m.job = j->id;
        m.index = index;
        m.code = code;
        m.reason = (char *)(uintptr_t)reason;
        m.attempts = attempts;
        session_send(j->session, PWC_MSG_ITEM_DONE, j->tag, &m.base);
    }
    job_want(j);
}
