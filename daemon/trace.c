/* trace.c - see trace.h. The ring of a stage is read in ring.c. */
#include <endian.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/lack.h"
#include "daemon/pool.h"
#include "daemon/ring.h"
#include "daemon/session.h"
#include "daemon/solo.h"
#include "daemon/trace.h"

#define BUFFER 8192u        /* records that wait to be sent */
#define FRAME  200u         /* records a frame: its body has 16 KiB */
#define GATHER (8u * FRAME) /* sooner nothing is sent but by the tick: the client wakes up for it */
#define QUEUE  (PWC_SEND_QUEUE_MAX / 4) /* beyond it events would be thinned out for our sake */
#define LAST_QUEUE                                                                                           \
    (PWC_SEND_QUEUE_MAX - 3 * PWC_BODY_MAX) /* at the end: the events and Finished come behind */
#define OTHERS 4u                           /* so many times as many records of other kinds as of chunks */

struct trace {
    LIST_ENTRY(trace) link;
    struct job *j;
    uint64_t chunks_left, others_left; /* records that may still be made */
    uint64_t dropped;
    uint64_t announced;
    enum trace_wait wait;
    struct mono wait_since;
    uint64_t seats[64]; /* taken: bit i is seat i + 1 */
    size_t n;
    struct trace_wire buf[BUFFER];
};

/* ---- records ---- */

static void send_frames(struct trace *t, size_t queue_most)
{
    struct session *s = t->j->session;
    size_t sent = 0;
    while (s != NULL && !s->doomed && sent < t->n && chan_queued(s->chan) < queue_most) {
        size_t n = MIN(t->n - sent, (size_t)FRAME);
        Pwc__Trace m = PWC__TRACE__INIT;
        m.job = t->j->id;
        m.records.data = (uint8_t *)&t->buf[sent];
        m.records.len = n * sizeof *t->buf;
        m.dropped = t->dropped;
        session_send(s, PWC_MSG_TRACE, t->j->tag, &m.base);
        sent += n;
    }
    t->n -= sent;
    memmove(t->buf, t->buf + sent, t->n * sizeof *t->buf);
}

/* Records of chunks make room for the others, without which they say nothing. */
static void drop_chunks(struct trace *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (le16toh(t->buf[i].kind) != TRACE_CHUNKS)
            t->buf[n++] = t->buf[i];
    t->dropped += t->n - n;
    t->n = n;
}

static bool may_add(struct trace *t, bool chunks)
{
    uint64_t *left = chunks ? &t->chunks_left : &t->others_left;
    if (*left == 0)
        return false;
    if (t->n == BUFFER && !chunks)
        drop_chunks(t);
    if (t->n == BUFFER)
        return false;
    --*left;
    return true;
}

static void add(struct job *j, const struct trace_wire *r)
{
    struct trace *t = j->trace;
    if (!may_add(t, r->kind == TRACE_CHUNKS)) {
        t->dropped++;
        return;
    }
    t->buf[t->n++] = (struct trace_wire){
        .at = htole64(r->at),
        .end = htole64(r->end),
        .first = htole64(r->first),
        .n = htole64(r->n),
        .lease = htole64(r->lease),
        .stage = htole64(r->stage),
        .value = htole64(r->value),
        .waiting = htole64(r->kind == TRACE_CHUNKS ? 0 : ledger_waiting(&j->ledger)),
        .kind = htole16(r->kind),
        .code = htole16(r->code),
        .pid = htole32(r->pid),
        .seat = htole32(r->seat),
        .in_flight = htole32(j->workers_on),
    };
    if (t->n >= GATHER && t->n % FRAME == 0)
        send_frames(t, QUEUE);
}

static uint64_t now(void)
{
    return (uint64_t)clock_now().ns;
}

/* CPU time of a process so far; 0: 0 when it cannot be read. */
static uint64_t cpu_of(pid_t pid)
{
    clockid_t clock;
    struct timespec ts;
    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static struct trace_wire about(const struct stage *s, enum trace_kind kind, uint64_t at)
{
    return (struct trace_wire){
        .kind = (uint16_t)kind, .at = at, .stage = s->id, .pid = (uint32_t)s->pid, .seat = s->trace_seat};
}

/* ---- life ---- */

static void job_is(struct job *j, uint64_t since)
{
    struct trace_wire r = {.kind = TRACE_JOB, .code = (uint16_t)j->state, .at = since, .n = j->ledger.total};
    r.first = j->max_workers > 0 ? MIN(j->max_workers, j->d->seats) : j->d->seats;
    r.value = cpu_of(getpid());
    add(j, &r);
}

void trace_start(struct job *j)
{
    struct daemon *d = j->d;
    if (j->trace_most == 0 || j->trace != NULL || j->session == NULL || j->adopted)
        return;
    if (LIST_EMPTY(&d->traces))
        d->nursery_cpu = cpu_of(d->pool->nursery_pid);
    struct trace *t = j->trace = xcalloc(1, sizeof *t);
    t->j = j;
    t->chunks_left = j->trace_most;
    t->others_left = j->trace_most < UINT64_MAX / OTHERS ? j->trace_most * OTHERS : UINT64_MAX;
    t->wait = TRACE_WAIT_TURN;
    t->wait_since = j->born;
    LIST_INSERT_HEAD(&d->traces, t, link);
    job_is(j, (uint64_t)j->born.ns);
    if (j->ledger.ready > 0)
        trace_announced(j, j->ledger.ready);
}

void trace_stop(struct job *j)
{
    if (j->trace == NULL)
        return;
    j->d->trim_due = true;
    LIST_REMOVE(j->trace, link);
    free(TAKE_PTR(j->trace));
}

static void wait_is(struct trace *t, enum trace_wait wait)
{
    struct mono at = clock_now();
    struct trace_wire r = {.kind = TRACE_WAIT,
                           .code = (uint16_t)t->wait,
                           .at = (uint64_t)t->wait_since.ns,
                           .end = (uint64_t)at.ns};
    if (r.end > r.at)
        add(t->j, &r);
    t->wait = wait;
    t->wait_since = at;
}

void trace_finish(struct job *j)
{
    struct trace *t = j->trace;
    if (t == NULL)
        return;
    wait_is(t, TRACE_WAIT_NOTHING);
    trace_job(j);
    send_frames(t, LAST_QUEUE);
    if (t->n > 0) {
        drop_chunks(t);
        send_frames(t, LAST_QUEUE);
    }
    trace_stop(j);
}

void trace_flush(struct daemon *d)
{
    struct trace *t;
    LIST_FOREACH(t, &d->traces, link)
    {
        send_frames(t, QUEUE);
    }
}

void trace_job(struct job *j)
{
    if (j->trace != NULL)
        job_is(j, now());
}

/* ---- processes ---- */

/* Those of a domain concern its jobs; those without one may come to serve any. */
static void tell_all(const struct stage *s, const struct trace_wire *r)
{
    struct trace *t;
    LIST_FOREACH(t, &s->d->traces, link)
    {
        if (s->domain == 0 || s->domain == t->j->domain)
            add(t->j, r);
    }
}

void trace_stage_born(struct stage *s)
{
    struct daemon *d = s->d;
    if (LIST_EMPTY(&d->traces))
        return;
    uint64_t cpu = cpu_of(d->pool->nursery_pid);
    struct trace_wire r = about(s, TRACE_BORN, (uint64_t)s->born.ns);
    r.value = cpu >= d->nursery_cpu ? cpu - d->nursery_cpu : cpu; /* less: it is another nursery */
    d->nursery_cpu = cpu;
    tell_all(s, &r);
}

void trace_stage_ready(struct stage *s, bool entered)
{
    if (LIST_EMPTY(&s->d->traces))
        return;
    struct trace_wire r = about(s, TRACE_READY, now());
    r.code = entered;
    r.value = cpu_of(s->pid);
    tell_all(s, &r);
}

void trace_stage_killed(struct stage *s, Pwc__Code code)
{
    if (LIST_EMPTY(&s->d->traces))
        return;
    struct trace_wire r = about(s, TRACE_KILL, now());
    r.code = (uint16_t)code;
    r.lease = s->lease.kind != LEASE_NONE ? s->lease.id : 0;
    tell_all(s, &r);
}

/* ---- leases ---- */

static uint32_t take_seat(struct trace *t)
{
    for (uint32_t i = 0; i < ARRAY_LEN(t->seats); i++)
        if (t->seats[i] != UINT64_MAX) {
            uint32_t bit = (uint32_t)__builtin_ctzll(~t->seats[i]);
            t->seats[i] |= 1ull << bit;
            return i * 64 + bit + 1;
        }
    return 0;
}

static void free_seat(struct trace *t, uint32_t seat)
{
    if (seat > 0)
        t->seats[(seat - 1) / 64] &= ~(1ull << (seat - 1) % 64);
}

void trace_lease(struct job *j, struct stage *s)
{
    struct trace *t = j->trace;
    if (t == NULL)
        return;
    if (s->lease.kind == LEASE_CHUNKS && t->chunks_left > 0)
        atomic_store_explicit(&s->control->trace, ring_group_ns(t->chunks_left, j->trace_most, j->d->seats),
                              memory_order_relaxed);
    s->trace_at = s->lease.since.ns;
    s->trace_ring = ring_position(s->seg);
    s->trace_seat = s->seat ? take_seat(t) : 0;
    struct trace_wire r = about(s, TRACE_LEASE, (uint64_t)s->lease.since.ns);
    r.code = (uint16_t)s->lease.kind;
    r.first = s->lease.first;
    r.n = s->lease.end - s->lease.first;
    r.lease = s->lease.id;
    r.value = s->leases == 1 ? cpu_of(s->pid) : 0;
    add(j, &r);
}

static void add_span(struct job *j, const struct stage *s, const struct span *span, Pwc__Code code)
{
    struct trace_wire r = about(s, TRACE_CHUNKS, (uint64_t)span->start);
    r.end = (uint64_t)span->end;
    r.first = span->first;
    r.n = span->n;
    r.lease = s->lease.id;
    r.code = (uint16_t)code;
    add(j, &r);
}

static void read_ring(struct job *j, struct stage *s)
{
    struct ring_reader reader;
    struct span span;
    struct ring_bounds b = {s->lease.id, s->lease.first, s->lease.given_end, s->trace_at, clock_now().ns};
    if (s->lease.kind != LEASE_CHUNKS)
        return;
    ring_open(&reader, s->seg, s->trace_ring);
    while (ring_next(&reader, &b, &span)) {
        add_span(j, s, &span, PWC__CODE__CODE_OK);
        s->trace_at = span.end;
    }
    s->trace_ring = reader.upto;
}

/* When it began, by its own clock, if that can be. */
static uint64_t begun(const struct stage *s, uint64_t over)
{
    uint64_t fresh = atomic_load_explicit(&s->seg->slots[0].fresh, memory_order_relaxed);
    bool told = s->lease.kind == LEASE_CHUNKS || s->lease.kind == LEASE_FINISH;
    return told && fresh >= (uint64_t)s->lease.since.ns && fresh <= over ? fresh
                                                                         : (uint64_t)s->lease.since.ns;
}

void trace_ended(struct job *j, struct stage *s)
{
    struct trace *t = j->trace;
    if (t == NULL || s->handed != NULL)
        return;
    read_ring(j, s);
    struct trace_wire r = about(s, TRACE_ENDED, (uint64_t)s->lease.since.ns);
    r.end = now();
    r.value = begun(s, r.end);
    r.code = (uint16_t)s->lease.why;
    r.first = s->lease.first;
    r.n = s->lease.kept;
    r.lease = s->lease.id;
    add(j, &r);
    if (r.n > 0 && (j->absorb != PWC__ABSORB__ABSORB_SERIAL || s->lease.kind == LEASE_PLAN)) {
        r.kind = TRACE_ABSORBED;
        r.at = r.end;
        r.end = r.value = r.stage = 0;
        add(j, &r);
    }
    free_seat(t, s->trace_seat);
    s->trace_seat = 0;
}

/* Of the chunk it was at when it died there is no record in the ring; begun it has behind the last one. */
static void last_chunk(struct job *j, struct stage *s, struct trace_wire *r, Pwc__Code code)
{
    uint64_t chunk = stage_slot_chunk(s);
    bool in = s->lease.kind == LEASE_CHUNKS && stage_slot_lease(s) == s->lease.id &&
              chunk >= s->lease.first && chunk < s->lease.end;
    r->first = in ? chunk : s->lease.first;
    r->n = in ? 1 : 0;
    if (!in)
        return;
    int64_t start = MAX(s->trace_at, (int64_t)begun(s, r->at));
    const struct span span = {chunk, 1, MIN(start, (int64_t)r->at), (int64_t)r->at};
    add_span(j, s, &span, code);
}

void trace_stage_died(struct stage *s, Pwc__Code code)
{
    struct job *j = s->lease.kind != LEASE_NONE ? s->job : NULL;
    if (LIST_EMPTY(&s->d->traces) || s->handed != NULL)
        return;
    struct trace_wire r = about(s, TRACE_DIED, now());
    r.code = (uint16_t)code;
    r.end = s->state == STAGE_DYING && !s->ends ? (uint64_t)s->since.ns : 0;
    r.value = s->cpu_ns > 0 ? s->cpu_ns : cpu_of(s->pid);
    if (j != NULL && j->trace != NULL) {
        r.lease = s->lease.id;
        read_ring(j, s);
        last_chunk(j, s, &r, code);
    }
    tell_all(s, &r);
}

void trace_taken_back(struct job *j, const struct stage *s, uint64_t from, uint64_t end)
{
    if (j->trace == NULL)
        return;
    struct trace_wire r = about(s, TRACE_TAKEN_BACK, now());
    r.lease = s->lease.id;
    r.first = from;
    r.n = end - from;
    add(j, &r);
}

/* ---- chunks ---- */

void trace_announced(struct job *j, uint64_t upto)
{
    struct trace *t = j->trace;
    if (t == NULL || upto <= t->announced)
        return;
    struct trace_wire r = {
        .kind = TRACE_ANNOUNCED, .at = now(), .first = t->announced, .n = upto - t->announced};
    t->announced = upto;
    add(j, &r);
}

void trace_absorbed(struct job *j, const struct stage *consumer, uint64_t from, uint64_t upto)
{
    if (j->trace == NULL || upto <= from)
        return;
    struct trace_wire r = about(consumer, TRACE_ABSORBED, now());
    r.first = from;
    r.n = upto - from;
    add(j, &r);
}

void trace_restart(struct job *j)
{
    if (j->trace == NULL)
        return;
    struct trace_wire r = {.kind = TRACE_RESTART, .at = now(), .n = j->assembly.absorbed};
    add(j, &r);
}

void trace_chunk(struct job *j, enum trace_kind kind, uint64_t chunk, Pwc__Code code, uint32_t attempts)
{
    if (j->trace == NULL)
        return;
    struct trace_wire r = {
        .kind = (uint16_t)kind, .code = (uint16_t)code, .at = now(), .first = chunk, .n = 1};
    r.value = attempts;
    add(j, &r);
}

/* ---- waiting ---- */

/* Chunks wait, there are seats, and no lease was given. */
static enum trace_wait stage_wanted(const struct job *j)
{
    if (j->max_workers > 0 && j->workers_on >= j->max_workers)
        return TRACE_WAIT_LIMIT;
    if (lack_holds_now(j))
        return lack_of_memory(j->d) ? TRACE_WAIT_MEMORY : TRACE_WAIT_DESCRIPTORS;
    bool fresh = j->isolation == PWC__ISOLATION__ISOLATION_CHUNK;
    if (j->assembly.result_bytes > 0 && (assembly_full(&j->assembly, j->d->seats) ||
                                         pool_idle(j->d->pool, j->domain, fresh, j, NULL) != NULL))
        return j->assembly.sent > j->assembly.absorbed ? TRACE_WAIT_CONSUMER : TRACE_WAIT_ARENA;
    return starts_wait(j) > 0 ? TRACE_WAIT_BACKOFF : TRACE_WAIT_STAGE;
}

static enum trace_wait no_chunk_waits(const struct job *j)
{
    const struct ledger *l = &j->ledger;
    if (l->ready < l->total)
        return j->batch ? TRACE_WAIT_DESCRIPTORS : TRACE_WAIT_INPUT;
    return j->workers_on > 0 ? TRACE_WAIT_LAST : TRACE_WAIT_OUTPUT;
}

static enum trace_wait cause(const struct job *j)
{
    const struct daemon *d = j->d;
    if (!j->active || job_is_terminal(j) || j->state == PWC__JOB_STATE__JOB_ENDING)
        return TRACE_WAIT_NOTHING;
    if (j->items > 0 && !j->batch && !j->have_fds)
        return TRACE_WAIT_DESCRIPTORS;
    if (j->state == PWC__JOB_STATE__JOB_PLANNING)
        return TRACE_WAIT_PLAN;
    if (j->planned && ledger_waiting(&j->ledger) == 0)
        return no_chunk_waits(j);
    if (MAX(d->seats_busy, j->user->running) >= d->seats)
        return TRACE_WAIT_SEAT;
    return d->short_of_memory || solo_holds_back(j) ? TRACE_WAIT_MEMORY : stage_wanted(j);
}

void trace_waits(struct daemon *d)
{
    struct trace *t;
    LIST_FOREACH(t, &d->traces, link)
    {
        enum trace_wait wait = cause(t->j);
        if (wait != t->wait)
            wait_is(t, wait);
    }
}
