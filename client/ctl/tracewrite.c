/*
 * tracewrite.c - a trace as Chrome's JSON trace events, which Perfetto and chrome://tracing open.
 *
 *   process 1, the job      thread 1  its states, and what the daemon put together itself
 *                           thread 2  what kept it from getting more leases
 *                           thread 3  decisions: announced, taken back, killed, retried, given up
 *                           counters  leases in flight, chunks ready
 *   process 2, its stages   a thread each, numbered as the daemon numbers them: leases (B, E), in them the
 *                           chunks (X); an arrow from each lease to where its last chunk was put together
 *
 * Records come in an order in which each thread's times only grow, so nothing is sorted. Every event of a
 * record has its kind as category and its fields in args: traceread.c makes the same records of them again.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/trace.h"

enum { JOB = 1, STAGES = 2, STATES = 1, WAITS = 2, DECISIONS = 3 };

const char *const trace_words[TRACE_KINDS] = {
    [PWC_TRACE_JOB] = "job",           [PWC_TRACE_BORN] = "born",
    [PWC_TRACE_READY] = "ready",       [PWC_TRACE_DIED] = "died",
    [PWC_TRACE_KILL] = "kill",         [PWC_TRACE_LEASE] = "lease",
    [PWC_TRACE_ENDED] = "ended",       [PWC_TRACE_CHUNKS] = "chunks",
    [PWC_TRACE_ABSORBED] = "absorbed", [PWC_TRACE_ANNOUNCED] = "announced",
    [PWC_TRACE_WAIT] = "wait",         [PWC_TRACE_RETRY] = "retry",
    [PWC_TRACE_GAVE_UP] = "gave_up",   [PWC_TRACE_TAKEN_BACK] = "taken_back",
    [PWC_TRACE_RESTART] = "restart",   [PWC_TRACE_AGAIN] = "again",
};

static const char *const lease_words[] = {"lease", "plan", "lease", "finish", "produce", "consume"};

struct writer {
    struct trace *t;
    int fd, error;
    bool more;
    size_t n;
    uint64_t in_flight, waiting; /* as the counters were last told */
    bool state_open, counted;
    struct trace_lease **kept; /* those of which something counts, by their last chunk */
    size_t nkept;
    const struct trace_lease *lease; /* of the last record of chunks */
    const struct trace_stage *stage;
    char buf[1 << 18];
};

/* ---- bytes: millions of events are written, so printf is not used ---- */

static void flush(struct writer *w)
{
    for (size_t done = 0; done < w->n && w->error == 0;) {
        ssize_t n = write(w->fd, w->buf + done, w->n - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            w->error = errno;
    }
    w->n = 0;
}

/* Inline, so that the lengths of constants are constants. */
static inline __attribute__((always_inline)) void put(struct writer *w, const char *s)
{
    size_t len = strlen(s);
    memcpy(w->buf + w->n, s, len);
    w->n += len;
}

static void put_u64(struct writer *w, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    for (; v >= 100; v /= 100) {
        unsigned two = (unsigned)(v % 100);
        digits[--at] = (char)('0' + two % 10);
        digits[--at] = (char)('0' + two / 10);
    }
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    for (char *to = w->buf + w->n; at < sizeof digits; w->n++)
        *to++ = digits[at++];
}

/* Nanoseconds as the format's microseconds. */
static void put_us(struct writer *w, uint64_t ns)
{
    put_u64(w, ns / 1000);
    unsigned frac = (unsigned)(ns % 1000);
    char *to = w->buf + w->n;
    to[0] = '.';
    to[1] = (char)('0' + frac / 100);
    to[2] = (char)('0' + frac / 10 % 10);
    to[3] = (char)('0' + frac % 10);
    w->n += 4;
}

static inline __attribute__((always_inline)) void put_field(struct writer *w, const char *key, uint64_t v)
{
    put(w, key);
    put_u64(w, v);
}

/* Up to and with its arguments' opening brace; less than 1 KiB follows. */
static void begin(struct writer *w, const char *ph, const char *name, const char *cat, unsigned pid,
                  uint64_t tid, uint64_t at)
{
    if (w->n > sizeof w->buf - 4096)
        flush(w);
    put(w, w->more ? ",\n{\"ph\":\"" : "{\"ph\":\"");
    w->more = true;
    put(w, ph);
    put(w, "\",\"name\":\"");
    put(w, name);
    put(w, "\",\"cat\":\"");
    put(w, cat);
    put_field(w, "\",\"pid\":", pid);
    put_field(w, ",\"tid\":", tid);
    put(w, ",\"ts\":");
    put_us(w, at - w->t->base);
}

/* The record's fields; what is 0 is left out. */
static void args(struct writer *w, const struct pwc_trace_record *r)
{
    put_field(w, ",\"args\":{\"first\":", r->first);
    put_field(w, ",\"n\":", r->n);
    if (r->lease != 0)
        put_field(w, ",\"lease\":", r->lease);
    if (r->value != 0)
        put_field(w, ",\"value\":", r->value);
    if (r->code != 0)
        put_field(w, ",\"code\":", (uint64_t)r->code);
}

static void details(struct writer *w, const struct pwc_trace_record *r)
{
    args(w, r);
    if (r->stage != 0)
        put_field(w, ",\"stage\":", r->stage);
    if (r->pid != 0)
        put_field(w, ",\"os_pid\":", r->pid);
    if (r->seat != 0)
        put_field(w, ",\"seat\":", r->seat);
    if (r->waiting != 0)
        put_field(w, ",\"waiting\":", r->waiting);
    if (r->kind == PWC_TRACE_DIED && r->end_ns != 0)
        put_field(w, ",\"killed_ns\":", r->end_ns - w->t->base);
}

static void why(struct writer *w, int code)
{
    if (code == PWC_OK)
        return;
    put(w, ",\"why\":\"");
    put(w, pwc_code_name(code));
    put(w, "\"");
}

static void end(struct writer *w)
{
    put(w, "}}");
}

/* ---- kinds ---- */

static void write_counters(struct writer *w, const struct pwc_trace_record *r, uint64_t at)
{
    if (!w->counted || w->in_flight != r->in_flight) {
        begin(w, "C", "leases in flight", "counter", JOB, STATES, at);
        put_field(w, ",\"args\":{\"leases\":", w->in_flight = r->in_flight);
        end(w);
    }
    if (!w->counted || w->waiting != r->waiting) {
        begin(w, "C", "chunks ready", "counter", JOB, STATES, at);
        put_field(w, ",\"args\":{\"chunks\":", w->waiting = r->waiting);
        end(w);
    }
    w->counted = true;
}

static void write_flow(struct writer *w, const char *ph, uint64_t lease, unsigned pid, uint64_t tid,
                       uint64_t at)
{
    begin(w, ph, "absorb", "flow", pid, tid, at);
    put_field(w, ",\"id\":", lease);
    put(w, ph[0] == 'f' ? ",\"bp\":\"e\"}" : "}");
}

static void close_state(struct writer *w, uint64_t at)
{
    if (!w->state_open)
        return;
    begin(w, "E", "state", "state", JOB, STATES, at);
    put(w, "}");
    w->state_open = false;
}

static void write_job(struct writer *w, const struct pwc_trace_record *r)
{
    close_state(w, r->at_ns);
    bool terminal = r->code >= PWC_JOB_DONE;
    begin(w, terminal ? "i" : "B", pwc_job_state_name((enum pwc_job_state)r->code), trace_words[r->kind], JOB,
          STATES, r->at_ns);
    if (terminal)
        put(w, ",\"s\":\"p\"");
    details(w, r);
    end(w);
    w->state_open = !terminal;
}

static void write_lease(struct writer *w, const struct pwc_trace_record *r)
{
    struct trace_stage *s = trace_stage_of(w->t, r->stage);
    const struct trace_lease *l = trace_lease_of(w->t, r->lease);
    if (s == NULL || l == NULL || s->open != 0)
        return; /* the record of its end was lost */
    s->open = r->lease;
    begin(w, "B", lease_words[(unsigned)r->code < COUNT(lease_words) ? r->code : 0], "lease", STAGES,
          r->stage, r->at_ns);
    details(w, r);
    end(w);
    if (l->kept > 0)
        write_flow(w, "s", r->lease, STAGES, r->stage, r->at_ns);
}

static void write_ended(struct writer *w, const struct pwc_trace_record *r)
{
    struct trace_stage *s = trace_stage_of(w->t, r->stage);
    const struct trace_lease *l = trace_lease_of(w->t, r->lease);
    if (s == NULL || l == NULL || s->open != r->lease)
        return;
    s->open = 0;
    struct pwc_trace_record fields = *r;
    fields.value = 0;
    begin(w, "E", lease_words[(unsigned)l->kind < COUNT(lease_words) ? l->kind : 0], "ended", STAGES,
          r->stage, r->end_ns);
    args(w, &fields);
    put_field(w, ",\"recorded\":", l->recorded);
    put_field(w, ",\"begun_ns\":", r->value - w->t->base);
    why(w, r->code);
    end(w);
}

/* Of the lease that the records are about; most are about the same as the one before. */
static bool at_lease(struct writer *w, const struct pwc_trace_record *r)
{
    if (w->lease == NULL || w->lease->lease != r->lease)
        w->lease = trace_lease_of(w->t, r->lease);
    if (w->stage == NULL || w->stage->stage != r->stage)
        w->stage = trace_stage_of(w->t, r->stage);
    return w->lease != NULL && w->stage != NULL && w->stage->open == r->lease;
}

static const char *chunks_name(const struct pwc_trace_record *r, bool counts)
{
    if (counts)
        return r->n == 1 ? "chunk" : "chunks";
    return r->n == 1 ? "chunk lost" : "chunks lost";
}

/* The bulk of a file: begin() and args() in fewer steps. One outside of its lease has lost it. */
static void write_chunks(struct writer *w, const struct pwc_trace_record *r)
{
    if (!at_lease(w, r))
        return;
    const struct trace_lease *l = w->lease;
    bool counts = r->code == PWC_OK && l->ended && r->first + r->n <= l->first + l->kept;
    if (w->n > sizeof w->buf - 4096)
        flush(w);
    put(w, ",\n{\"ph\":\"X\",\"cat\":\"chunks\",\"pid\":2,\"name\":\"");
    put(w, chunks_name(r, counts));
    put_field(w, "\",\"tid\":", r->stage);
    put(w, ",\"ts\":");
    put_us(w, r->at_ns - w->t->base);
    put(w, ",\"dur\":");
    put_us(w, r->end_ns - r->at_ns);
    put_field(w, ",\"args\":{\"first\":", r->first);
    put_field(w, ",\"n\":", r->n);
    put_field(w, ",\"lease\":", r->lease);
    if (!counts) {
        if (r->code != PWC_OK)
            put_field(w, ",\"code\":", (uint64_t)r->code);
        why(w, l->ended ? l->why : PWC_E_GONE);
    }
    end(w);
}

static uint64_t last_chunk(const struct trace_lease *l)
{
    return l->first + l->kept - 1;
}

static int by_chunk(const void *a, const void *b)
{
    uint64_t x = last_chunk(*(struct trace_lease *const *)a), y = last_chunk(*(struct trace_lease *const *)b);
    return x < y ? -1 : x > y;
}

static void find_kept(struct writer *w)
{
    w->kept = must(calloc(w->t->nleases + 1, sizeof(struct trace_lease *)));
    for (size_t i = 0; i < w->t->nleases; i++)
        if (w->t->leases[i].kept > 0)
            w->kept[w->nkept++] = &w->t->leases[i];
    qsort(w->kept, w->nkept, sizeof(struct trace_lease *), by_chunk);
}

/* The first of them whose last chunk is not before this one. */
static size_t first_after(const struct writer *w, uint64_t chunk)
{
    size_t lo = 0, hi = w->nkept;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (last_chunk(w->kept[mid]) < chunk)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Where the arrows of these chunks' leases end. */
static void write_arrows(struct writer *w, const struct pwc_trace_record *r, unsigned pid, uint64_t tid)
{
    if (r->lease != 0) {
        write_flow(w, "f", r->lease, pid, tid, r->at_ns);
        return;
    }
    for (size_t i = first_after(w, r->first); i < w->nkept && last_chunk(w->kept[i]) < r->first + r->n; i++) {
        struct trace_lease *l = w->kept[i];
        if (l->flows || l->over > r->at_ns)
            continue;
        l->flows = true;
        write_flow(w, "f", l->lease, pid, tid, r->at_ns);
    }
}

static void write_absorbed(struct writer *w, const struct pwc_trace_record *r)
{
    unsigned pid = r->stage != 0 ? STAGES : JOB;
    uint64_t tid = r->stage != 0 ? r->stage : STATES;
    begin(w, "X", "absorbed", trace_words[r->kind], pid, tid, r->at_ns);
    put(w, ",\"dur\":0");
    details(w, r);
    end(w);
    write_arrows(w, r, pid, tid);
}

static void write_wait(struct writer *w, const struct pwc_trace_record *r)
{
    begin(w, "X", trace_wait_name(r->code), "wait", JOB, WAITS, r->at_ns);
    put(w, ",\"dur\":");
    put_us(w, r->end_ns - r->at_ns);
    args(w, r);
    end(w);
}

static void write_instant(struct writer *w, const struct pwc_trace_record *r, unsigned pid, uint64_t tid)
{
    begin(w, "i", trace_words[r->kind], trace_words[r->kind], pid, tid, r->at_ns);
    put(w, ",\"s\":\"t\"");
    details(w, r);
    if (r->kind != PWC_TRACE_READY)
        why(w, r->code);
    end(w);
}

static void write_record(struct writer *w, const struct pwc_trace_record *r)
{
    switch (r->kind) {
    case PWC_TRACE_CHUNKS:
        write_chunks(w, r);
        return;
    case PWC_TRACE_JOB:
        write_job(w, r);
        return;
    case PWC_TRACE_WAIT:
        write_wait(w, r);
        return;
    case PWC_TRACE_ABSORBED:
        write_absorbed(w, r);
        return;
    case PWC_TRACE_LEASE:
        write_lease(w, r);
        write_counters(w, r, r->at_ns);
        return;
    case PWC_TRACE_ENDED:
        write_ended(w, r);
        write_counters(w, r, r->end_ns);
        return;
    case PWC_TRACE_BORN:
    case PWC_TRACE_READY:
    case PWC_TRACE_DIED:
        write_instant(w, r, STAGES, r->stage);
        return;
    default:
        if (r->kind > 0 && r->kind < TRACE_KINDS)
            write_instant(w, r, JOB, DECISIONS);
    }
}

/* ---- names ---- */

static void name(struct writer *w, const char *what, unsigned pid, uint64_t tid, const char *called)
{
    begin(w, "M", what, "name", pid, tid, w->t->base);
    put(w, ",\"args\":{\"name\":\"");
    put(w, called);
    put(w, "\"");
    end(w);
}

/* A planner goes on as producer, and who produced may compute: all that a process was, the rarest first. */
static void roles_of(const struct trace_stage *s, char *to, size_t size)
{
    static const struct {
        unsigned kinds;
        const char *role;
    } roles[] = {
        {1u << PWC_TRACE_FOR_CONSUME, "consumer"},
        {1u << PWC_TRACE_FOR_PRODUCE, "producer"},
        {1u << PWC_TRACE_FOR_CHUNKS | 1u << PWC_TRACE_FOR_FINISH, "worker"},
    };
    size_t n = 0;
    for (size_t i = 0; i < COUNT(roles); i++)
        if ((s->kinds & roles[i].kinds) != 0)
            n += (size_t)snprintf(to + n, size - n, "%s%s", n > 0 ? " and " : "", roles[i].role);
    if (n == 0)
        snprintf(to, size, "%s", s->kinds != 0 ? "planner" : "spare");
}

static void write_names(struct writer *w)
{
    char line[128];
    snprintf(line, sizeof line, "job %" PRIu64 " %s", w->t->job, w->t->op);
    name(w, "process_name", JOB, STATES, line);
    name(w, "thread_name", JOB, STATES, "state");
    name(w, "thread_name", JOB, WAITS, "waiting for");
    name(w, "thread_name", JOB, DECISIONS, "decisions");
    name(w, "process_name", STAGES, 0, "stages");
    for (size_t i = 0; i < w->t->nstages; i++) {
        const struct trace_stage *s = &w->t->stages[i];
        char roles[40];
        roles_of(s, roles, sizeof roles);
        int n = snprintf(line, sizeof line, "%s, pid %u", roles, s->pid);
        if (s->seat != 0)
            snprintf(line + n, sizeof line - (size_t)n, ", seat %u", s->seat);
        name(w, "thread_name", STAGES, s->stage, line);
    }
}

/* What has no end because its record was lost ends with the trace. */
static void close_all(struct writer *w)
{
    for (size_t i = 0; i < w->t->nstages; i++)
        if (w->t->stages[i].open != 0) {
            begin(w, "E", "lease", "cut", STAGES, w->t->stages[i].stage, w->t->last);
            put(w, "}");
        }
    close_state(w, w->t->last);
}

static uint64_t unrecorded(const struct trace *t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t->nleases; i++)
        if (t->leases[i].kept > t->leases[i].recorded)
            n += t->leases[i].kept - t->leases[i].recorded;
    return n;
}

int trace_write(struct trace *t, int fd)
{
    struct writer *w = must(calloc(1, sizeof *w));
    w->t = t;
    w->fd = fd;
    put(w, "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"schema\":\"pwc.trace/1\",\"op\":\"");
    put(w, t->op);
    put_field(w, "\",\"job\":", t->job);
    put_field(w, ",\"base_ns\":", t->base);
    put_field(w, ",\"records\":", t->n);
    put_field(w, ",\"records_dropped\":", t->dropped);
    put_field(w, ",\"chunks_without_record\":", unrecorded(t));
    put(w, "},\n\"traceEvents\":[\n");
    find_kept(w);
    write_names(w);
    for (size_t i = 0; i < t->n && w->error == 0; i++)
        write_record(w, &t->v[i]);
    close_all(w);
    put(w, "\n]}\n");
    flush(w);
    int error = w->error;
    free(w->kept);
    free(w);
    errno = error;
    return error != 0 ? -1 : 0;
}
