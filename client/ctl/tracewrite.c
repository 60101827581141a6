/*
 * tracewrite.c - a trace as Chrome's JSON trace events, which Perfetto and chrome://tracing open. It is
 * written while the job runs: at its end all would wait for one core.
 *
 *   process 1, the job      thread 1  its states, and what the daemon put together itself
 *                           thread 2  what kept it from getting more leases
 *                           thread 3  decisions: announced, taken back, killed, retried, given up
 *                           counters  leases in flight, chunks ready
 *   process 2, its stages   a thread each, numbered as the daemon numbers them: leases (B, E), in them the
 *                           chunks (X); an arrow from each lease to where its last chunk was put together
 *
 * Records come in an order in which each thread's times only grow, and those of a lease's chunks together,
 * just before that of its end, which says what counts of them: so nothing is sorted, and little kept. What is
 * known in the end only, as what the processes did, stands there. Every event of a record has its kind as
 * category and its fields in args: traceread.c makes the same records of them again. Ends have neither name
 * nor category, and say in args which lease they end.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/ctl/bytes.h"
#include "client/ctl/trace.h"

enum { JOB = 1, STAGES = 2, STATES = 1, WAITS = 2, DECISIONS = 3 };

static const char *lease_word(int kind)
{
    static const char *const words[] = {"lease", "plan", "lease", "finish", "produce", "consume"};
    return words[(unsigned)kind < COUNT(words) ? kind : 0];
}

/* A process. */
struct track {
    uint64_t stage;
    uint32_t pid, seat; /* the first it had */
    unsigned kinds;     /* of its leases, as bits */
    uint64_t lease;     /* that has no end yet; 0 none */
    uint64_t given;
};

/* A lease of which something counts: its arrow ends where its last chunk is put together. */
struct arrow {
    uint64_t last, lease, over;
};

struct trace_writer {
    bool more;
    uint64_t base, end; /* the first and the last time */
    uint64_t records, unrecorded;
    uint64_t in_flight, waiting; /* as the counters were last told */
    bool state_open, counted;
    struct track *tracks; /* by number */
    size_t ntracks, rtracks;
    struct arrow *arrows; /* by last chunk */
    size_t narrows, rarrows;
    struct pwc_trace_record *held; /* of chunks, until their lease's end is told */
    size_t nheld, rheld;
    struct bytes out;
};

/* Room for one more; the array may move. */
static void *room(void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return array;
    *room = *room * 2 + 16;
    return must(realloc(array, *room * size));
}

/* ---- processes, arrows ---- */

static size_t first_track(const struct trace_writer *w, uint64_t stage)
{
    size_t lo = 0, hi = w->ntracks;
    if (hi > 0 && w->tracks[hi - 1].stage < stage)
        return hi; /* they are numbered as they are made */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (w->tracks[mid].stage < stage)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Of the process that the record is about; NULL: of none. Until the next call. */
static struct track *track_of(struct trace_writer *w, const struct pwc_trace_record *r)
{
    if (r->stage == 0)
        return NULL;
    size_t i = first_track(w, r->stage);
    if (i == w->ntracks || w->tracks[i].stage != r->stage) {
        w->tracks = room(w->tracks, w->ntracks, &w->rtracks, sizeof *w->tracks);
        memmove(&w->tracks[i + 1], &w->tracks[i], (w->ntracks++ - i) * sizeof *w->tracks);
        w->tracks[i] = (struct track){.stage = r->stage};
    }
    if (w->tracks[i].pid == 0)
        w->tracks[i].pid = r->pid;
    return &w->tracks[i];
}

/* The first whose last chunk is not before this one. */
static size_t first_arrow(const struct trace_writer *w, uint64_t chunk)
{
    size_t i = w->narrows; /* what is waited for is near the end */
    while (i > 0 && w->arrows[i - 1].last >= chunk)
        i--;
    return i;
}

static void arrow_begins(struct trace_writer *w, const struct arrow *a)
{
    w->arrows = room(w->arrows, w->narrows, &w->rarrows, sizeof *w->arrows);
    size_t i = first_arrow(w, a->last);
    memmove(&w->arrows[i + 1], &w->arrows[i], (w->narrows++ - i) * sizeof *w->arrows);
    w->arrows[i] = *a;
}

/* ---- parts of events ---- */

/* The job was born with the first record. A process that was asked for before is told as of then. */
static uint64_t since_base(const struct trace_writer *w, uint64_t at)
{
    return at > w->base ? at - w->base : 0;
}

static void where(struct trace_writer *w, unsigned pid, uint64_t tid, uint64_t at)
{
    bytes_field(&w->out, "\",\"pid\":", pid);
    bytes_field(&w->out, ",\"tid\":", tid);
    bytes_put(&w->out, ",\"ts\":");
    bytes_us(&w->out, since_base(w, at));
}

/* Up to and with its arguments' opening brace; less than 1 KiB follows. */
static void begin(struct trace_writer *w, const char *ph, const char *name, const char *cat, unsigned pid,
                  uint64_t tid, uint64_t at)
{
    bytes_room(&w->out);
    bytes_put(&w->out, w->more ? ",\n{\"ph\":\"" : "{\"ph\":\"");
    w->more = true;
    bytes_put(&w->out, ph);
    bytes_put(&w->out, "\",\"name\":\"");
    bytes_put(&w->out, name);
    bytes_put(&w->out, "\",\"cat\":\"");
    bytes_put(&w->out, cat);
    where(w, pid, tid, at);
}

/*
 * The end of what B began last on this thread. It has no name and no category of its own: Perfetto takes for
 * its beginning only one that has the same, and leaves that open when there is none.
 */
static void close_slice(struct trace_writer *w, unsigned pid, uint64_t tid, uint64_t at)
{
    bytes_room(&w->out);
    bytes_put(&w->out, ",\n{\"ph\":\"E");
    where(w, pid, tid, at);
}

/* The record's fields; what is 0 is left out. */
static void args(struct trace_writer *w, const struct pwc_trace_record *r)
{
    bytes_field(&w->out, ",\"args\":{\"first\":", r->first);
    bytes_field(&w->out, ",\"n\":", r->n);
    if (r->lease != 0)
        bytes_field(&w->out, ",\"lease\":", r->lease);
    if (r->value != 0)
        bytes_field(&w->out, ",\"value\":", r->value);
    if (r->code != 0)
        bytes_field(&w->out, ",\"code\":", (uint64_t)r->code);
}

static void details(struct trace_writer *w, const struct pwc_trace_record *r)
{
    args(w, r);
    if (r->stage != 0)
        bytes_field(&w->out, ",\"stage\":", r->stage);
    if (r->pid != 0)
        bytes_field(&w->out, ",\"os_pid\":", r->pid);
    if (r->seat != 0)
        bytes_field(&w->out, ",\"seat\":", r->seat);
    if (r->waiting != 0)
        bytes_field(&w->out, ",\"waiting\":", r->waiting);
    if (r->kind == PWC_TRACE_DIED && r->end_ns != 0)
        bytes_field(&w->out, ",\"killed_ns\":", since_base(w, r->end_ns));
}

static void why(struct trace_writer *w, int code)
{
    if (code == PWC_OK)
        return;
    bytes_put(&w->out, ",\"why\":\"");
    bytes_put(&w->out, pwc_code_name(code));
    bytes_put(&w->out, "\"");
}

static void end(struct trace_writer *w)
{
    bytes_put(&w->out, "}}");
}

/* ---- kinds ---- */

static void write_counters(struct trace_writer *w, const struct pwc_trace_record *r, uint64_t at)
{
    if (!w->counted || w->in_flight != r->in_flight) {
        begin(w, "C", "leases in flight", "counter", JOB, STATES, at);
        bytes_field(&w->out, ",\"args\":{\"leases\":", w->in_flight = r->in_flight);
        end(w);
    }
    if (!w->counted || w->waiting != r->waiting) {
        begin(w, "C", "chunks ready", "counter", JOB, STATES, at);
        bytes_field(&w->out, ",\"args\":{\"chunks\":", w->waiting = r->waiting);
        end(w);
    }
    w->counted = true;
}

static void write_flow(struct trace_writer *w, const char *ph, uint64_t lease, unsigned pid, uint64_t tid,
                       uint64_t at)
{
    begin(w, ph, "absorb", "flow", pid, tid, at);
    bytes_field(&w->out, ",\"id\":", lease);
    bytes_put(&w->out, ph[0] == 'f' ? ",\"bp\":\"e\"}" : "}");
}

static void close_state(struct trace_writer *w, uint64_t at)
{
    if (!w->state_open)
        return;
    close_slice(w, JOB, STATES, at);
    bytes_put(&w->out, "}");
    w->state_open = false;
}

static void write_job(struct trace_writer *w, const struct pwc_trace_record *r)
{
    close_state(w, r->at_ns);
    bool terminal = r->code >= PWC_JOB_DONE;
    begin(w, terminal ? "i" : "B", pwc_job_state_name((enum pwc_job_state)r->code), trace_words[r->kind], JOB,
          STATES, r->at_ns);
    if (terminal)
        bytes_put(&w->out, ",\"s\":\"p\"");
    details(w, r);
    end(w);
    w->state_open = !terminal;
}

/* The record of its end was lost. */
static void cut(struct trace_writer *w, struct track *t, uint64_t at)
{
    if (t->lease == 0)
        return;
    close_slice(w, STAGES, t->stage, at);
    bytes_put(&w->out, "}");
    t->lease = 0;
}

static void write_lease(struct trace_writer *w, const struct pwc_trace_record *r)
{
    struct track *t = track_of(w, r);
    if (t == NULL)
        return;
    cut(w, t, r->at_ns);
    t->lease = r->lease;
    t->given = r->at_ns;
    t->kinds |= 1u << (r->code & 31);
    t->seat = t->seat == 0 ? r->seat : t->seat;
    begin(w, "B", lease_word(r->code), "lease", STAGES, r->stage, r->at_ns);
    details(w, r);
    end(w);
}

static const char *chunks_name(const struct pwc_trace_record *r, bool counts)
{
    if (counts)
        return r->n == 1 ? "chunk" : "chunks";
    return r->n == 1 ? "chunk lost" : "chunks lost";
}

/* The bulk of a file: begin() and args() in fewer steps. `ended` is the end of its lease. */
static void write_chunks(struct trace_writer *w, const struct pwc_trace_record *r,
                         const struct pwc_trace_record *ended)
{
    bool counts = r->code == PWC_OK && r->first + r->n <= ended->first + ended->n;
    bytes_room(&w->out);
    bytes_put(&w->out, ",\n{\"ph\":\"X\",\"cat\":\"chunks\",\"pid\":2,\"name\":\"");
    bytes_put(&w->out, chunks_name(r, counts));
    bytes_field(&w->out, "\",\"tid\":", r->stage);
    bytes_put(&w->out, ",\"ts\":");
    bytes_us(&w->out, since_base(w, r->at_ns));
    bytes_put(&w->out, ",\"dur\":");
    bytes_us(&w->out, r->end_ns - r->at_ns);
    bytes_field(&w->out, ",\"args\":{\"first\":", r->first);
    bytes_field(&w->out, ",\"n\":", r->n);
    bytes_field(&w->out, ",\"lease\":", r->lease);
    if (!counts) {
        if (r->code != PWC_OK)
            bytes_field(&w->out, ",\"code\":", (uint64_t)r->code);
        why(w, ended->code);
    }
    end(w);
}

static void hold(struct trace_writer *w, const struct pwc_trace_record *r)
{
    w->held = room(w->held, w->nheld, &w->rheld, sizeof *w->held);
    w->held[w->nheld++] = *r;
}

/* Those of another lease have lost its end. */
static uint64_t write_held(struct trace_writer *w, const struct pwc_trace_record *ended)
{
    uint64_t n = 0;
    for (size_t i = 0; i < w->nheld; i++) {
        if (w->held[i].lease != ended->lease)
            continue;
        write_chunks(w, &w->held[i], ended);
        n += w->held[i].code == PWC_OK ? w->held[i].n : 0;
    }
    w->nheld = 0;
    return n;
}

/* Viewers put them among those of the lease's beginning: none has a name that one there has. */
static void ending(struct trace_writer *w, const struct pwc_trace_record *r, uint64_t recorded)
{
    bytes_field(&w->out, ",\"args\":{\"ended\":", r->lease);
    bytes_field(&w->out, ",\"from\":", r->first);
    bytes_field(&w->out, ",\"kept\":", r->n);
    bytes_field(&w->out, ",\"recorded\":", recorded);
    bytes_field(&w->out, ",\"begun_ns\":", since_base(w, r->value));
    if (r->code != PWC_OK)
        bytes_field(&w->out, ",\"cause\":", (uint64_t)r->code);
    why(w, r->code);
    end(w);
}

static void write_ended(struct trace_writer *w, const struct pwc_trace_record *r)
{
    struct track *t = track_of(w, r);
    if (t == NULL || t->lease == 0 || t->lease != r->lease)
        return;
    t->lease = 0;
    if (r->n > 0)
        write_flow(w, "s", r->lease, STAGES, r->stage, t->given);
    uint64_t recorded = write_held(w, r);
    w->unrecorded += r->n > recorded ? r->n - recorded : 0;
    close_slice(w, STAGES, r->stage, r->end_ns);
    ending(w, r, recorded);
    if (r->n > 0)
        arrow_begins(w, &(struct arrow){r->first + r->n - 1, r->lease, r->end_ns});
}

/* Where the arrows of these chunks' leases end; those of leases that are not over yet have none. */
static void write_arrows(struct trace_writer *w, const struct pwc_trace_record *r, unsigned pid, uint64_t tid)
{
    size_t from = first_arrow(w, r->first), to = from;
    for (size_t i = from; i < w->narrows; i++) {
        const struct arrow *a = &w->arrows[i];
        if (a->last < r->first + r->n && a->over <= r->at_ns && (r->lease == 0 || r->lease == a->lease))
            write_flow(w, "f", a->lease, pid, tid, r->at_ns);
        else if (a->last < r->first + r->n || to < i)
            w->arrows[to++] = *a;
        else
            return;
    }
    w->narrows = to;
}

static void write_absorbed(struct trace_writer *w, const struct pwc_trace_record *r)
{
    unsigned pid = r->stage != 0 ? STAGES : JOB;
    uint64_t tid = r->stage != 0 ? r->stage : STATES;
    (void)track_of(w, r);
    begin(w, "X", "absorbed", trace_words[r->kind], pid, tid, r->at_ns);
    bytes_put(&w->out, ",\"dur\":0");
    details(w, r);
    end(w);
    write_arrows(w, r, pid, tid);
}

static void write_wait(struct trace_writer *w, const struct pwc_trace_record *r)
{
    begin(w, "X", trace_wait_name(r->code), "wait", JOB, WAITS, r->at_ns);
    bytes_put(&w->out, ",\"dur\":");
    bytes_us(&w->out, r->end_ns - r->at_ns);
    args(w, r);
    end(w);
}

static void write_instant(struct trace_writer *w, const struct pwc_trace_record *r, unsigned pid,
                          uint64_t tid)
{
    begin(w, "i", trace_words[r->kind], trace_words[r->kind], pid, tid, r->at_ns);
    bytes_put(&w->out, ",\"s\":\"t\"");
    details(w, r);
    if (r->kind != PWC_TRACE_READY)
        why(w, r->code);
    end(w);
}

static void write_event(struct trace_writer *w, const struct pwc_trace_record *r)
{
    switch (r->kind) {
    case PWC_TRACE_CHUNKS:
        hold(w, r);
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
        (void)track_of(w, r);
        write_instant(w, r, STAGES, r->stage);
        return;
    default:
        if (r->kind > 0 && r->kind < TRACE_KINDS)
            write_instant(w, r, JOB, DECISIONS);
    }
}

/* ---- names ---- */

static void name(struct trace_writer *w, const char *what, unsigned pid, uint64_t tid, const char *called)
{
    begin(w, "M", what, "name", pid, tid, w->base);
    bytes_put(&w->out, ",\"args\":{\"name\":\"");
    bytes_put(&w->out, called);
    bytes_put(&w->out, "\"");
    end(w);
}

/* A planner goes on as producer, and who produced may compute: all that a process was, the rarest first. */
static void roles_of(const struct track *t, char *to, size_t size)
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
        if ((t->kinds & roles[i].kinds) != 0)
            n += (size_t)snprintf(to + n, size - n, "%s%s", n > 0 ? " and " : "", roles[i].role);
    if (n == 0)
        snprintf(to, size, "%s", t->kinds != 0 ? "planner" : "spare");
}

static void name_track(struct trace_writer *w, const struct track *t)
{
    char line[128], roles[40];
    roles_of(t, roles, sizeof roles);
    int n = snprintf(line, sizeof line, "%s, pid %u", roles, t->pid);
    if (t->seat != 0)
        snprintf(line + n, sizeof line - (size_t)n, ", seat %u", t->seat);
    name(w, "thread_name", STAGES, t->stage, line);
}

static void write_names(struct trace_writer *w, const struct trace *t)
{
    char line[128];
    snprintf(line, sizeof line, "job %" PRIu64 " %s", t->job, t->op);
    name(w, "process_name", JOB, STATES, line);
    name(w, "thread_name", JOB, STATES, "state");
    name(w, "thread_name", JOB, WAITS, "waiting for");
    name(w, "thread_name", JOB, DECISIONS, "decisions");
    name(w, "process_name", STAGES, 0, "stages");
    for (size_t i = 0; i < w->ntracks; i++)
        name_track(w, &w->tracks[i]);
}

/* ---- the file ---- */

struct trace_writer *trace_writer_new(int fd)
{
    struct trace_writer *w = must(calloc(1, sizeof *w));
    w->out.fd = fd;
    bytes_put(&w->out, "{\"displayTimeUnit\":\"ms\",\n\"traceEvents\":[\n");
    return w;
}

void trace_writer_free(struct trace_writer *w)
{
    if (w == NULL)
        return;
    free(w->tracks);
    free(w->arrows);
    free(w->held);
    free(w);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void trace_writer_add(struct trace_writer *w, const struct pwc_trace_record *r)
{
    if (w->out.error != 0)
        return;
    w->base = w->records++ == 0 ? r->at_ns : w->base;
    w->end = later(w->end, later(r->at_ns, r->end_ns));
    write_event(w, r);
}

/* What has no end because its record was lost ends with the trace. */
int trace_writer_end(struct trace_writer *w, const struct trace *t)
{
    for (size_t i = 0; i < w->ntracks; i++)
        cut(w, &w->tracks[i], w->end);
    close_state(w, w->end);
    write_names(w, t);
    bytes_put(&w->out, "\n],\n\"otherData\":{\"schema\":\"pwc.trace/1\",\"op\":\"");
    bytes_put(&w->out, t->op);
    bytes_field(&w->out, "\",\"job\":", t->job);
    bytes_field(&w->out, ",\"base_ns\":", w->base);
    bytes_field(&w->out, ",\"records\":", w->records);
    bytes_field(&w->out, ",\"records_dropped\":", t->dropped);
    bytes_field(&w->out, ",\"chunks_without_record\":", w->unrecorded);
    bytes_put(&w->out, "}}\n");
    bytes_flush(&w->out);
    errno = w->out.error;
    return w->out.error != 0 ? -1 : 0;
}
