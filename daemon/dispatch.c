/* dispatch.c - see dispatch.h. Sizes come from lease_size.c, places from assembly.c, chunks from ledger.c;
 * the planner, the producer and the consumer are in roles.c, whose turn it is in serve.c, tails that are
 * taken back in steal.c. */
#include <string.h>

#include "daemon/cgroup.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "daemon/quarantine.h"
#include "daemon/roles.h"
#include "daemon/small.h"
#include "daemon/solo.h"
#include "daemon/trace.h"
#include "ipc/fds.h"
#include "ipc/log.h"
#include "ipc/slice.h"

#define ARENA_TARGET (16ull << 20) /* results one worker may have waiting */
#define BATCH_LEASE  8u            /* items a lease: their descriptors must fit one frame */

/* Else two fold states could be left that nobody can make one of. */
_Static_assert(2 * (sizeof(uint32_t) + PWC_STATE_MAX) <= PWC_TAIL_MAX, "a tail holds two fold states");

/* ---- beginning and end of a lease ---- */

void dispatch_begin(struct job *j, struct stage *s, enum lease_kind kind, bool seat)
{
    struct daemon *d = j->d;
    if (s->state != STAGE_BUSY) /* or the next of its small ones */
        stage_set_state(s, STAGE_BUSY);
    s->job = j;
    s->lease.kind = kind;
    s->lease.id = ++d->next_lease;
    s->lease.since = s->lease.seen_since = s->lease.stall_since = job_now(j);
    s->lease.first = s->lease.end = s->lease.given_end = s->lease.nplaces = 0;
    s->lease.final = s->lease.small = s->lease.shared = false;
    s->lease.stop_least = UINT64_MAX;
    s->lease.kept = 0;
    s->lease.why = PWC__CODE__CODE_OK;
    s->lease.seen_chunk = SLOT_IDLE;
    s->lease.seen_lease = s->lease.seen_done = s->lease.moves = 0;
    s->lease.seen_cpu = UINT64_MAX;
    s->lease.told_slow = false;
    s->seat = seat;
    if (++s->leases == 2)
        slice_ask(s->pid, SLICE_DEFAULT);
    cgroup_limit(s->cgroup, j->memory);
    s->holds_most = j->memory;
    atomic_store(&s->control->cancel, 0);
    atomic_store(&s->control->limit, UINT64_MAX);
    atomic_store_explicit(&s->control->trace, 0, memory_order_relaxed);
    s->trace_seat = 0;
    j->stages_on++;
    lack_over(j);
    if (j->began.ns == 0)
        j->began = s->lease.since;
    if (seat) {
        d->seats_busy++;
        j->user->running++;
        j->workers_on++;
    }
}

/* A seat on top that is given back is not a free one, all others are still held; one that was held when the
 * last one was taken is, however many are on top. */
static void seat_given_back(struct stage *s)
{
    struct daemon *d = s->d;
    if (--d->seats_busy < d->seats || mono_since(s->lease.since, d->full_since) <= 0)
        d->full_since.ns = 0;
}

void dispatch_lend(struct stage *s, bool lend)
{
    if (!s->seat || s->lent == lend)
        return;
    s->lent = lend;
    if (lend)
        seat_given_back(s);
    else
        s->d->seats_busy++;
    s->d->seats_lent += lend ? 1u : -1u;
    log_debug("stage %lu %s", (unsigned long)s->id, lend ? "stands still: its seat is lent" : "goes on");
    daemon_touch(s->d);
}

static void release_seat(struct stage *s)
{
    if (!s->seat)
        return;
    dispatch_lend(s, false);
    seat_given_back(s);
    s->seat = false;
    s->job->user->running--;
    s->job->workers_on--;
    s->job->user->used_ns += (uint64_t)mono_since(job_now(s->job), s->lease.since);
}

void dispatch_let_go(struct stage *s)
{
    release_seat(s);
    STAILQ_CONCAT(&s->job->states, &s->lease.handed);
}

void dispatch_release(struct stage *s, bool keep_states)
{
    struct job *j = s->job;
    struct fold_state *f;
    while (!keep_states && (f = STAILQ_FIRST(&s->lease.handed)) != NULL) {
        STAILQ_REMOVE_HEAD(&s->lease.handed, link);
        free(f);
    }
    dispatch_let_go(s);
    j->stages_on--;
    trace_ended(j, s);
    if (s->lease.nplaces > 0)
        arena_free_places(s->arena, s->lease.place, s->lease.nplaces);
    s->lease.nplaces = 0;
    s->lease.kind = LEASE_NONE;
    s->doom_code = PWC__CODE__CODE_OK;
    s->job = NULL;
    job_land(j);
    daemon_touch(s->d);
    if (s->state == STAGE_BUSY && !small_next(s))
        stage_set_state(s, STAGE_IDLE);
}

/* ---- finding a stage ---- */

/* Sends as many spares into the domain as the job could use seats; they come back as idle ones. */
static void call_stages(struct job *j, uint32_t wanted)
{
    uint32_t coming = pool_count(j->d->pool, STAGE_ENTERING, j->domain);
    while (coming < wanted && pool_enter_spare(j->d->pool, j))
        coming++;
    if (coming < wanted && pool_lacks(j->d->pool))
        lack_holds(j);
    daemon_touch(j->d);
}

struct stage *dispatch_find_stage(struct job *j, uint32_t wanted)
{
    bool fresh = j->isolation == PWC__ISOLATION__ISOLATION_CHUNK;
    struct stage *s = pool_idle(j->d->pool, j->domain, fresh, j, NULL);
    if (s == NULL) {
        call_stages(j, MAX(wanted, 1u));
        return NULL;
    }
    pool_used(j->d->pool, s);
    return s;
}

/* ---- arenas ---- */

/* Kept ones serve whoever could have got one of about that size, so that no job keeps more than it needs. */
static bool take_kept_arena(struct job *j, struct stage *s, uint64_t wanted)
{
    uint64_t size = j->assembly.result_bytes, bytes = s->kept.bytes;
    int fd = s->kept.fd;
    s->kept.fd = -1;
    if (fd < 0)
        return false;
    if (bytes < wanted - wanted / 4 || bytes < 3 * size || bytes > wanted + wanted / 4) {
        close(fd);
        return false;
    }
    s->arena = arena_new(&j->assembly, s->kept.id, fd, bytes);
    s->arena_job = j;
    j->user->windows += bytes;
    return true;
}

static bool new_arena(struct job *j, struct stage *s, uint64_t bytes)
{
    int fd;
    int r = memfd_sized("pwc-arena", bytes, &fd);
    if (r < 0) {
        lack_or_end(j, "the arena of a stage", r);
        return false;
    }
    s->arena = arena_new(&j->assembly, ++j->d->next_arena, fd, bytes);
    s->arena_job = j;
    j->user->windows += bytes;
    Stage__Arena m = STAGE__ARENA__INIT;
    m.arena = s->arena->id;
    m.bytes = s->arena->bytes;
    stage_send_full(s, PWC_MSG_ARENA, &m.base, NULL, 0, &fd, 1);
    return s->state == STAGE_IDLE;
}

static bool need_arena(struct job *j, struct stage *s)
{
    uint64_t size = j->assembly.result_bytes;
    if (size == 0 || (s->arena != NULL && s->arena_job == j))
        return true;
    flow_release_arena(s);
    uint64_t bytes = MIN(MAX(ARENA_TARGET / size, (uint64_t)3), (uint64_t)ARENA_PLACES) * size;
    return take_kept_arena(j, s, bytes) || new_arena(j, s, bytes);
}

/* ---- leases of chunks ---- */

/* It needs none, or may get one: what a user's jobs hold that nobody takes is not to be all memory there is.
 */
static bool may_have_new_arena(const struct job *j)
{
    return j->assembly.result_bytes == 0 || j->d->windows_most == 0 || j->user->windows < j->d->windows_most;
}

static bool may_have_arena(const struct job *j, const struct stage *s)
{
    return (s->arena != NULL && s->arena_job == j) || may_have_new_arena(j);
}

static bool has_room_for(const struct job *j, const struct stage *s, uint64_t chunk)
{
    if (j->assembly.result_bytes == 0 || s->arena == NULL || s->arena_job != j)
        return may_have_arena(j, s);
    return arena_has_room(&j->assembly, s->arena, chunk);
}

static bool has_room(const struct job *j, const struct stage *s)
{
    return has_room_for(j, s, ledger_lowest(&j->ledger));
}

static uint32_t workers_most(const struct job *j)
{
    return j->max_workers > 0 ? MIN(j->max_workers, j->d->seats) : j->d->seats;
}

/* All that idle are full, and the consumer has nothing to take: a worker is long at the chunk that it needs
 * next. Meanwhile others may fill the arenas that the job would have with all its workers. */
static void call_another(struct job *j)
{
    uint32_t arenas = assembly_arenas(&j->assembly);
    if (j->assembly.sent == j->assembly.absorbed && arenas < workers_most(j))
        call_stages(j, 1);
}

/* An idle stage that has room for the next chunk. When later results fill them all (the consumer died, and
 * what it had absorbed is to be computed again; or nobody takes what the user's other jobs have computed),
 * the chunk that the consumer needs next gets a new arena: the old one lives until its last result is taken.
 * For others no stage is called that would get none: a job that could use it would retire it again at once.
 */
static struct stage *find_worker(struct job *j, uint32_t wanted)
{
    bool fresh = j->isolation == PWC__ISOLATION__ISOLATION_CHUNK;
    bool next = ledger_lowest(&j->ledger) == j->assembly.absorbed;
    struct stage *s = pool_idle(j->d->pool, j->domain, fresh, j, has_room);
    if (s == NULL && !next && !may_have_new_arena(j))
        return NULL;
    if (s == NULL && (s = dispatch_find_stage(j, wanted)) != NULL) {
        if (!next) {
            call_another(j);
            return NULL;
        }
        flow_release_arena(s);
    }
    if (s != NULL)
        pool_used(j->d->pool, s);
    return s;
}

/* Packs pending fold states into the tail of a lease; the stage's lease holds them from then on. */
static size_t hand_states(struct job *j, struct stage *s, uint8_t *tail)
{
    size_t len = 0;
    struct fold_state *f;
    while ((f = STAILQ_FIRST(&j->states)) != NULL && len + 4 + f->len <= PWC_TAIL_MAX) {
        uint32_t n = (uint32_t)f->len;
        memcpy(tail + len, &n, sizeof n);
        memcpy(tail + len + 4, f->bytes, f->len);
        len += 4 + f->len;
        STAILQ_REMOVE_HEAD(&j->states, link);
        STAILQ_INSERT_TAIL(&s->lease.handed, f, link);
    }
    return len;
}

static unsigned batch_fds(const struct job *j, const struct lease *l, int *fds, uint32_t *counts,
                          size_t *ret_n)
{
    unsigned nfds = 0;
    size_t n = 0;
    for (uint64_t i = l->first; i < l->end; i++) {
        const struct item *it = job_find_item(j, i);
        BUG_ON(it == NULL || nfds + it->nfds > PWC_FDS_MAX);
        memcpy(fds + nfds, it->fds, it->nfds * sizeof *fds);
        nfds += it->nfds;
        counts[n++] = it->nfds;
    }
    *ret_n = n;
    return nfds;
}

static void send_lease(struct job *j, struct stage *s, bool all_that_is_left)
{
    static uint8_t tail[PWC_TAIL_MAX];
    size_t len = j->absorb == PWC__ABSORB__ABSORB_FOLDED ? hand_states(j, s, tail) : 0;
    struct lease *l = &s->lease;
    /* Alone: another may hold no chunk, but states of which it is making the results. */
    l->final = j->absorb == PWC__ABSORB__ABSORB_FOLDED && all_that_is_left && STAILQ_EMPTY(&j->states) &&
               j->workers_on == 1 && (l->first == l->end || roles_attempt(j, LEASE_FINISH) == 1);
    l->recalls = j->recalls;
    l->attempt = l->first < l->end ? ledger_attempt(&j->ledger, l->first) : roles_attempt(j, LEASE_FINISH);
    int fds[PWC_FDS_MAX];
    uint32_t counts[PWC_FDS_MAX];
    unsigned nfds = 0;
    Stage__Lease m = STAGE__LEASE__INIT;
    m.lease = l->id;
    m.job = j->id;
    m.first = l->first;
    m.n = l->end - l->first;
    m.offset = l->place * j->assembly.result_bytes;
    m.final = l->final;
    m.attempt = l->attempt;
    if (j->batch) {
        nfds = batch_fds(j, l, fds, counts, &m.n_item_fds);
        m.item_fds = counts;
    }
    j->leases++;
    trace_lease(j, s);
    stage_send_full(s, PWC_MSG_LEASE, &m.base, tail, len, fds, nfds);
}

static uint64_t lease_wanted(const struct job *j)
{
    uint64_t n = lease_size(&j->pace, ledger_waiting(&j->ledger), workers_most(j));
    if (j->batch)
        n = MIN(n, (uint64_t)(j->nroles > 0 ? MIN(BATCH_LEASE, PWC_FDS_MAX / j->nroles) : BATCH_LEASE));
    return j->isolation == PWC__ISOLATION__ISOLATION_CHUNK ? MIN(n, (uint64_t)1) : n;
}

static void count_worker(struct job *j, uint64_t stage)
{
    uint32_t known = MIN(j->distinct_workers, WORKERS_KNOWN);
    if (j->worker_ids == NULL)
        j->worker_ids = xcalloc(WORKERS_KNOWN, sizeof *j->worker_ids);
    for (uint32_t i = 0; i < known; i++)
        if (j->worker_ids[i] == stage)
            return;
    j->worker_ids[j->distinct_workers++ % WORKERS_KNOWN] = stage;
}

static uint32_t seats_left(const struct daemon *d)
{
    return d->seats_busy < d->seats ? d->seats - d->seats_busy : 0;
}

static bool lease_small(struct job *j)
{
    struct stage *s = dispatch_find_stage(j, seats_left(j->d));
    if (s != NULL)
        small_start(j, s);
    return s != NULL;
}

/* Results that the consumer does not need next yet are not too many. */
static bool may_run_ahead(const struct job *j)
{
    if (assembly_full(&j->assembly, j->d->seats))
        return false;
    /* At the end nothing is left to lease, but a tail may be taken. */
    double lease_ns = (double)MAX(lease_wanted(j), (uint64_t)1) * j->pace.ns_per_chunk;
    uint64_t waiting = j->assembly.sent - j->assembly.absorbed;
    return backlog_starves(&j->backlog, waiting, lease_ns, (uint64_t)daemon_now(j->d).ns) ||
           j->workers_on < backlog_workers(&j->backlog, waiting, lease_ns, j->producer != NULL, j->d->seats);
}

/* Who dies in a chunk had computed up to a lease before it, to be done again: first comes the new attempt.
 * But it takes no room, and no leave, that is there only for the chunk that the consumer needs next. */
static uint64_t next_chunk(const struct job *j, const struct stage *s)
{
    uint64_t charged = ledger_charged(&j->ledger), lowest = ledger_lowest(&j->ledger);
    if (charged == UINT64_MAX)
        return lowest;
    if (j->assembly.result_bytes == 0)
        return charged;
    bool ahead = j->consumer != NULL ? may_run_ahead(j) : !assembly_full(&j->assembly, j->d->seats);
    return ahead && has_room_for(j, s, charged) ? charged : lowest;
}

static bool lease_chunks(struct job *j)
{
    if (j->small)
        return lease_small(j);
    uint64_t most = lease_wanted(j), waiting = ledger_waiting(&j->ledger);
    struct stage *s = find_worker(j, (uint32_t)MIN(waiting, (uint64_t)seats_left(j->d)));
    uint64_t first = s != NULL ? next_chunk(j, s) : UINT64_MAX;
    if (s == NULL || !need_arena(j, s) || !roles_open(j, s, STAGE__ROLE__ROLE_WORKER))
        return false;
    uint32_t place = 0, places = 0;
    if (s->arena_job == j && j->assembly.result_bytes > 0) {
        uint32_t ask = (uint32_t)MIN(most, (uint64_t)ARENA_PLACES);
        places = arena_take(&j->assembly, s->arena, first, ask, &place);
        if (places == 0)
            return false;
        most = places;
    }
    uint64_t n = ledger_take_from(&j->ledger, first, most);
    if (places > n)
        arena_free_places(s->arena, place + (uint32_t)n, places - (uint32_t)n);
    dispatch_begin(j, s, LEASE_CHUNKS, true);
    s->lease.first = first;
    s->lease.end = s->lease.given_end = first + n;
    s->lease.place = place;
    s->lease.nplaces = places > 0 ? (uint32_t)n : 0;
    count_worker(j, s->id);
    const struct ledger *l = &j->ledger;
    send_lease(j, s,
               l->held.count == n && ledger_waiting(l) == 0 && l->done.count + l->bad.count + n == l->total);
    return true;
}

/* All is computed and the states must become results: a lease of no chunks. While they do not fit one message
 * it makes one of those that do. */
static bool lease_finish(struct job *j)
{
    struct stage *s = dispatch_find_stage(j, 1);
    if (s == NULL || !roles_open(j, s, STAGE__ROLE__ROLE_WORKER))
        return false;
    dispatch_begin(j, s, LEASE_FINISH, true);
    send_lease(j, s, true);
    return true;
}

/* One at a time: they are few. */
static bool lease_blank(struct job *j, uint64_t chunk)
{
    struct stage *s = dispatch_find_stage(j, 1);
    if (s == NULL || !roles_open(j, s, STAGE__ROLE__ROLE_WORKER))
        return false;
    dispatch_begin(j, s, LEASE_FINISH, true);
    Stage__Lease m = STAGE__LEASE__INIT;
    m.lease = s->lease.id;
    m.job = j->id;
    m.first = chunk;
    m.n = 1;
    m.attempt = 1;
    m.blank = true;
    j->leases++;
    trace_lease(j, s);
    stage_send(s, PWC_MSG_LEASE, &m.base);
    return true;
}

/* What must be done when all is computed. Whoever wrote to the output must be gone before it is filled:
 * processes that are being taken apart, too. */
static bool lease_the_end(struct job *j)
{
    uint64_t chunk;
    if (j->absorb == PWC__ABSORB__ABSORB_FOLDED)
        return !j->got_results && ledger_complete(&j->ledger) && j->workers_on == 0 && lease_finish(j);
    return quarantine_blank(j, &chunk) && j->stages_on == (j->producer != NULL ? 1u : 0u) &&
           lease_blank(j, chunk);
}

/* ---- choosing ---- */

/* The chunk that the consumer needs next is never held back. */
bool dispatch_may_have_worker(const struct job *j)
{
    if (j->user->running >= j->d->seats)
        return false; /* those that he has lent are free for others */
    if (j->max_workers > 0 && j->workers_on >= j->max_workers)
        return false;
    return j->consumer == NULL || ledger_lowest(&j->ledger) == j->assembly.absorbed || may_run_ahead(j);
}

static bool lease_something(struct job *j)
{
    if (ledger_waiting(&j->ledger) > 0)
        return !j->halting && lease_chunks(j);
    return lease_the_end(j);
}

/* A job without a plan runs once a stage has something of it: until then it says what it waits for. */
bool dispatch_start_one(struct job *j)
{
    bool queued = j->state == PWC__JOB_STATE__JOB_QUEUED, here = j->items == 0 || j->have_fds;
    if (!dispatch_may_have_worker(j))
        return false;
    if (!j->planned && (queued || j->state == PWC__JOB_STATE__JOB_PLANNING))
        return j->planner == NULL && here && roles_plan(j);
    if (queued ? !j->batch && !here : j->state != PWC__JOB_STATE__JOB_RUNNING)
        return false;
    if (!lease_something(j))
        return false;
    if (j->state == PWC__JOB_STATE__JOB_QUEUED) {
        j->state = PWC__JOB_STATE__JOB_RUNNING;
        events_state(j);
    }
    return true;
}

/* ---- a spare that is already attached ---- */

/* The job with most left keeps one stage more than it has seats: entered, opened, with its arena. A death
 * costs then no more than the notice of it. */
static void keep_reserve(struct daemon *d)
{
    struct user *u;
    struct job *j, *heaviest = NULL;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        TAILQ_FOREACH(j, &u->active, link)
        {
            if (j->state == PWC__JOB_STATE__JOB_RUNNING && j->isolation != PWC__ISOLATION__ISOLATION_CHUNK &&
                j->workers_on > 0 && ledger_waiting(&j->ledger) > 0 &&
                (heaviest == NULL || ledger_waiting(&j->ledger) > ledger_waiting(&heaviest->ledger)))
                heaviest = j;
        }
    }
    if (heaviest == NULL)
        return;
    struct stage *s = pool_idle(d->pool, heaviest->domain, false, heaviest, NULL);
    if (s == NULL) {
        if (!pool_rests(d->pool) && pool_count(d->pool, STAGE_ENTERING, heaviest->domain) == 0)
            pool_enter_spare(d->pool, heaviest);
        return;
    }
    if (may_have_arena(heaviest, s) && need_arena(heaviest, s))
        (void)roles_open(heaviest, s, STAGE__ROLE__ROLE_WORKER);
}

void dispatch_run(struct daemon *d)
{
    jobs_advance(d);
    solo_look(d);
    struct user *u;
    struct job *j;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        u->windows = 0;
        TAILQ_FOREACH(j, &u->active, link)
        {
            if (j->state == PWC__JOB_STATE__JOB_RUNNING)
                u->windows += j->assembly.bytes;
            roles_fill(j);
        }
    }
    dispatch_serve(d);
    if (d->full_since.ns == 0 && d->seats_busy >= d->seats)
        d->full_since = clock_now(); /* no lease began later, be its time taken more exactly */
    small_ahead(d);
    keep_reserve(d);
    pool_balance(d->pool);
    trace_waits(d);
}
