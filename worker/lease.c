/*
 * lease.c - a worker's lease: the loop that every chunk goes through, and fold states.
 *
 * The loop is what the project's speed rests on: a store that says which chunk this is, two loads that say
 * whether to stop, a call through the op's pointer. No clock, no system call, no lock. Clocks are read once a
 * lease; with a trace also behind each chunk, or behind each group of chunks when they are so short that it
 * would show.
 *
 * The slot is stored before `limit` is looked at: the supervisor, which lowers the limit and then reads the
 * slot, may see a chunk that is not started after all, or miss one that is. Both only mean that a chunk is
 * computed twice, so there is no fence (batch.c has one).
 */
#include <errno.h>
#include <string.h>

#include "worker/job.h"
#include "worker/usage.h"

enum stop { STOP_END, STOP_LIMIT, STOP_CANCEL, STOP_FAILED };

struct run {
    uint64_t at, end; /* chunks */
    uintptr_t result; /* of chunk `at`; 0 with stride 0 when results go elsewhere */
    size_t stride;
    enum stop stop;
};

static void run_chunks(struct stage *s, struct op_job *job, struct run *run)
{
    int (*const process)(struct op_job *, uint64_t, void *) = job->op->process;
    struct segment_slot *slot = &s->segment->slots[0];
    const struct control_page *control = s->control;
    uintptr_t result = run->result;
    const uint64_t end = run->end, before = s->done - run->at;
    const size_t stride = run->stride;
    uint64_t at = run->at;
    enum stop stop = STOP_END;
    for (; at < end; at++, result += stride) {
        atomic_store_explicit(&slot->chunk, at, memory_order_relaxed);
        if (__builtin_expect(at >= atomic_load_explicit(&control->limit, memory_order_relaxed), 0)) {
            stop = STOP_LIMIT;
            break;
        }
        if (__builtin_expect(atomic_load_explicit(&control->cancel, memory_order_relaxed) != 0, 0)) {
            stop = STOP_CANCEL;
            break;
        }
        if (__builtin_expect(process(job, at, (void *)result) < 0, 0)) {
            stop = STOP_FAILED;
            break;
        }
        atomic_store_explicit(&slot->done, before + at + 1, memory_order_relaxed);
    }
    s->done = before + at;
    run->at = at;
    run->result = result;
    run->stop = stop;
}

/* ---- the trace ---- */

static void put(_Atomic uint64_t *word, uint64_t v)
{
    atomic_store_explicit(word, v, memory_order_relaxed);
}

void stage_trace(struct stage *s, uint64_t lease, uint64_t first, uint64_t n, struct mono from,
                 struct mono to)
{
    struct segment *g = s->segment;
    uint64_t next = atomic_load_explicit(&g->trace_next, memory_order_relaxed);
    struct trace_record *r = &g->trace[next % TRACE_RECORDS];
    put(&r->lease, lease);
    put(&r->first, first);
    put(&r->n, n);
    put(&r->start_ns, (uint64_t)from.ns);
    put(&r->end_ns, (uint64_t)to.ns);
    atomic_store_explicit(&g->trace_next, next + 1, memory_order_release);
}

uint32_t stage_traced(const struct stage *s)
{
    return atomic_load_explicit(&s->control->trace, memory_order_relaxed);
}

/* How many chunks share the next record, after `n` of them took `ns`. */
static uint64_t next_group(uint64_t n, uint64_t ns, uint64_t least)
{
    if (ns < least)
        return MIN(n * 2, (uint64_t)1 << 40);
    return ns > 2 * least ? MAX(n * least / ns, (uint64_t)1) : n;
}

/* Returns the time of the lease's end, which the last record needed anyway. */
static struct mono run_traced(struct stage *s, struct op_job *job, struct run *run, uint64_t lease,
                              struct mono from)
{
    const uint64_t end = run->end, least = stage_traced(s);
    uint64_t group = 1;
    while (run->at < end && run->stop == STOP_END) {
        uint64_t first = run->at;
        run->end = MIN(first + group, end);
        run_chunks(s, job, run);
        struct mono now = clock_now();
        if (run->at > first) {
            stage_trace(s, lease, first, run->at - first, from, now);
            group = next_group(run->at - first, (uint64_t)mono_since(now, from), least);
        }
        from = now;
        job->attempt = 1;
    }
    return from;
}

/* The attempt belongs to the first chunk: one that was charged is always leased alone. */
static struct mono run_lease(struct stage *s, struct op_job *job, struct run *run, uint64_t lease,
                             struct mono from)
{
    if (stage_traced(s) != 0)
        return run_traced(s, job, run, lease, from);
    const uint64_t end = run->end;
    run->end = MIN(run->at + 1, end);
    run_chunks(s, job, run);
    job->attempt = 1;
    if (run->stop == STOP_END && run->at < end) {
        run->end = end;
        run_chunks(s, job, run);
    }
    return clock_now();
}

/* ---- fold states ---- */

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int fold_states(struct op_job *job, const uint8_t *tail, size_t len)
{
    while (len > 0) {
        uint32_t n = len >= 4 ? get_u32(tail) : UINT32_MAX;
        if (n > job->op->fold_bytes || n > len - 4)
            return op_fail(job, CODE(PROTOCOL), "a fold state of impossible length");
        if (job->op->fold(job, tail + 4, n) < 0)
            return -1;
        tail += 4 + n;
        len -= 4 + n;
    }
    return 0;
}

static int fold_start(struct op_job *job, const struct frame *f)
{
    if (job->fold == NULL)
        return f->tail_len == 0 ? 0 : op_fail(job, CODE(PROTOCOL), "%s does not fold", job->op->name);
    memset(job->fold, 0, job->op->fold_bytes);
    if (job->op->fold_init != NULL)
        job->op->fold_init(job);
    return fold_states(job, f->tail, f->tail_len);
}

static size_t fold_tail(const struct op_job *job, uint8_t tail[PWC_STATE_MAX + 4])
{
    size_t n = job->op->fold_bytes;
    for (unsigned i = 0; i < 4; i++)
        tail[i] = (uint8_t)(n >> (8 * i));
    memcpy(tail + 4, job->fold, n);
    return n + 4;
}

/* ---- the lease ---- */

/* Where its results go; false: op_fail was called. */
static bool place_results(struct stage *s, struct op_job *job, const Stage__Lease *lease, struct run *run)
{
    uint64_t bytes, end;
    if (job->result_bytes == 0)
        return true;
    if (s->arena.base == NULL) {
        op_fail(job, s->arena.error != 0 ? CODE(NO_MEMORY) : CODE(PROTOCOL), "%llu bytes of arena: %s",
                (unsigned long long)s->arena.bytes,
                s->arena.error != 0 ? strerror(-s->arena.error) : "there is none");
        return false;
    }
    if (!mul_u64(lease->n, job->result_bytes, &bytes) || !add_u64(lease->offset, bytes, &end) ||
        end > s->arena.bytes) {
        op_fail(job, CODE(PROTOCOL), "the lease does not fit the arena");
        return false;
    }
    run->result = (uintptr_t)s->arena.base + lease->offset;
    run->stride = job->result_bytes;
    return true;
}

static void report_stop(struct op_job *job, const struct run *run, Stage__Report *report)
{
    if (run->stop == STOP_CANCEL)
        op_fail(job, CODE(CANCELLED), "cancelled");
    if (run->stop != STOP_FAILED && run->stop != STOP_CANCEL)
        return;
    report->code = job_failure(job)->code;
    report->failed = run->at;
}

static void report_failure(struct op_job *job, const Stage__Lease *lease, Stage__Report *report)
{
    report->code = job_failure(job)->code;
    report->failed = lease->first;
}

/* Computes the chunks; true: a fold state or the results must go with the report. */
static bool chunk_lease(struct stage *s, struct op_job *job, const Stage__Lease *lease, const struct frame *f,
                        Stage__Report *report, struct mono *ret_end, struct mono start)
{
    struct run run = {.at = lease->first};
    if (!add_u64(lease->first, lease->n, &run.end) || run.end > PWC_CHUNKS_MAX) {
        op_fail(job, CODE(PROTOCOL), "a lease past the last possible chunk");
        report_failure(job, lease, report);
        return false;
    }
    if (!place_results(s, job, lease, &run) || fold_start(job, f) < 0) {
        report_failure(job, lease, report);
        return false;
    }
    *ret_end = run_lease(s, job, &run, lease->lease, start);
    report->done = run.at - lease->first;
    report_stop(job, &run, report);
    return job->fold != NULL && (report->done > 0 || f->tail_len > 0 || lease->final);
}

/* Nothing is computed: where the op could not be opened, what it could not do is filled all the same. */
static void blank_lease(struct stage *s, struct op_job *job, const Stage__Lease *lease, Stage__Report *report)
{
    uint8_t byte = (uint8_t)job->priv->open->fill;
    for (; report->done < lease->n; report->done++) {
        uint64_t chunk = lease->first + report->done;
        stage_slot(s, lease->lease, chunk);
        if (job->op->blank == NULL)
            op_fail(job, CODE(PROTOCOL), "%s fills nothing", job->op->name);
        else if (job->op->blank(job, chunk, byte) == 0)
            continue;
        report->code = job_failure(job)->code;
        report->failed = chunk;
        return;
    }
}

/* The last lease turns the state into results, if it got to its end; else the state goes back. */
static size_t fold_end(struct stage *s, struct op_job *job, const Stage__Lease *lease, Stage__Report *report,
                       uint8_t tail[PWC_STATE_MAX + 4])
{
    if (!lease->final || report->code != CODE(OK) || report->done < lease->n)
        return fold_tail(job, tail);
    stage_slot(s, lease->lease, SLOT_FINISH); /* none of its chunks is to blame from here on */
    job->attempt = lease->n > 0 ? 1 : MAX(lease->attempt, 1u);
    if (job->op->finish(job) == 0)
        return 0;
    report->code = job_failure(job)->code;
    report->failed = lease->first + lease->n;
    return fold_tail(job, tail);
}

static int send_done(struct stage *s, const Stage__Report *report)
{
    Stage__SmallDone m = STAGE__SMALL_DONE__INIT;
    m.lease = report->lease;
    m.job = report->job;
    m.ns = report->ns;
    return stage_report_small(s, PWC_MSG_SMALL_DONE, &m.base);
}

static int send_report(struct stage *s, struct op_job *job, uint64_t first, Stage__Report *report,
                       const uint8_t *tail, size_t len)
{
    static char none[1] = "";
    if (job->priv->once && report->code == CODE(OK) && report->done == 1 && job->priv->nresults == 0)
        return send_done(s, report);
    AUTO_FREE Pwc__Param **results = NULL;
    report->reason = none;
    if (report->code == CODE(OK)) {
        results = job_results(job);
        report->results = results;
        report->n_results = job->priv->nresults;
    }
    if (stage__report__get_packed_size(report) > PWC_BODY_MAX - PWC_TEXT_MAX) {
        op_fail(job, CODE(OP), "the results do not fit a message of %u bytes", PWC_BODY_MAX);
        report->code = job_failure(job)->code;
        report->failed = first + report->done; /* in finishing */
        report->n_results = 0;
    }
    if (report->code != CODE(OK))
        report->reason = job->priv->failure.text;
    if (job->priv->once)
        return stage_report_small(s, PWC_MSG_REPORT, &report->base);
    return stage_send(s, PWC_MSG_REPORT, &report->base, tail, len, NULL, 0);
}

static int refuse_lease(struct stage *s, Stage__Report *report)
{
    static char text[] = "a lease of a job that is not open";
    report->code = CODE(PROTOCOL);
    report->reason = text;
    return stage_send(s, PWC_MSG_REPORT, &report->base, NULL, 0, NULL, 0);
}

/* The slot first: the supervisor raises `revoke` and then looks at the slot, so that one of the two sees the
 * other. */
static bool revoked(struct stage *s, const Stage__Lease *lease)
{
    struct segment_slot *slot = &s->segment->slots[0];
    atomic_store(&slot->chunk, SLOT_IDLE);
    atomic_store(&slot->lease, lease->lease);
    return lease->lease < atomic_load(&s->control->revoke);
}

/* A job that came with its lease is over in microseconds: nothing was asked when it began. */
static void report_usage(const struct op_job *job, const struct usage *begin, Stage__Report *report)
{
    report->cpu_ns = report->ns;
    if (job->priv->once && report->code == CODE(OK))
        return;
    struct usage used = usage_end(begin);
    if (!job->priv->once)
        report->cpu_ns = used.cpu_ns;
    if (report->code == CODE(OK))
        return;
    report->rss_before = job->priv->once ? used.rss_peak : used.rss_before;
    report->rss_peak = used.rss_peak;
}

static int work(struct stage *s, struct op_job *job, const Stage__Lease *lease, struct frame *f)
{
    Stage__Report report = STAGE__REPORT__INIT;
    uint8_t tail[PWC_STATE_MAX + 4];
    size_t tail_len = 0;
    report.lease = lease->lease;
    report.job = lease->job;
    if (job == NULL || job->priv->open->role != STAGE__ROLE__ROLE_WORKER) {
        report.failed = lease->first;
        return refuse_lease(s, &report);
    }
    struct mono start = clock_now(), end = start;
    struct usage used = {0};
    if (!job->priv->once)
        used = usage_begin(&s->segment->slots[0]);
    atomic_store_explicit(&s->segment->slots[0].fresh, (uint64_t)start.ns, memory_order_relaxed);
    if (revoked(s, lease))
        return send_report(s, job, lease->first, &report, tail, 0);
    if (lease->blank) {
        job_reset(job);
        blank_lease(s, job, lease, &report);
        end = clock_now();
    } else if (job->priv->broken) {
        job->priv->failure = job->priv->cause;
        report_failure(job, lease, &report);
    } else {
        job_reset(job);
        job->attempt = MAX(lease->attempt, 1u);
        if (job->batch)
            batch_lease(s, job, lease, f, &report);
        else if (chunk_lease(s, job, lease, f, &report, &end, start))
            tail_len = fold_end(s, job, lease, &report, tail);
        if (job->batch)
            end = clock_now();
    }
    report.ns = (uint64_t)mono_since(end, start);
    report_usage(job, &used, &report);
    stage_slot(s, lease->lease, SLOT_IDLE);
    return send_report(s, job, lease->first, &report, tail, tail_len);
}

/* FNV-1a. */
static uint64_t mix(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++)
        h = (h ^ at[i]) * 0x100000001b3ull;
    return h;
}

/* A number of what it computes: op and parameters. 0: like nothing else. */
static uint64_t likeness(const Stage__Small *m)
{
    uint64_t h = mix(0xcbf29ce484222325ull, m->op, strlen(m->op) + 1);
    uint8_t bytes[256];
    for (size_t i = 0; i < m->n_params; i++) {
        if (pwc__param__get_packed_size(m->params[i]) > sizeof bytes)
            return 0;
        h = mix(h, bytes, pwc__param__pack(m->params[i], bytes));
    }
    return h;
}

/* How long the next one takes is known only when it is like the one before: for any other, reports do not
 * wait. */
static int before_small(struct stage *s, const Stage__Small *m)
{
    uint64_t like = likeness(m);
    bool same = like != 0 && like == s->like;
    s->like = like;
    return same ? 0 : stage_say_held(s);
}

int on_lease(struct stage *s, struct incoming *in)
{
    const Stage__Lease *lease = (const Stage__Lease *)in->msg;
    int r = work(s, job_find(s, lease->job), lease, in->frame);
    s->like = 0;
    return r;
}

/* The job goes with its lease. */
int on_small(struct stage *s, struct incoming *in)
{
    const Stage__Small *m = (const Stage__Small *)in->msg;
    Stage__JobOpen open = STAGE__JOB_OPEN__INIT;
    Stage__Lease lease = STAGE__LEASE__INIT;
    open.job = lease.job = m->job;
    open.op = m->op;
    open.params = m->params;
    open.n_params = m->n_params;
    open.chunks = lease.n = 1;
    lease.lease = m->lease;
    lease.attempt = m->attempt;
    int held = before_small(s, m);
    if (held < 0)
        return held;
    struct op_job *job = job_once(s, &open, in->frame);
    if (job == NULL)
        return -EPROTO;
    int r = work(s, job, &lease, in->frame);
    job_free(job);
    return r;
}
