/*
 * account.c - where the time of a job's seats went, from the records of its trace.
 *
 * The whole is seats x time from the first lease with a seat until the job was ending. Seats are busy while
 * they hold a lease, or idle for the cause that the daemon recorded. What deaths cost: the time of leases
 * that ended without a result, the time from a death until its seat has a lease again, and the CPU time of
 * the processes made since the first death, up to their first lease.
 */
#include <inttypes.h>
#include <string.h>

#include "client/ctl/trace.h"

const char *trace_wait_name(int wait)
{
    static const char *const names[] = {
        "nothing",   "its turn",           "descriptors",     "the plan",   "input",
        "a seat",    "room in the arenas", "the consumer",    "memory",     "backoff",
        "a process", "its own limit",      "the last chunks", "the output",
    };
    return (size_t)wait < COUNT(names) ? names[wait] : "something";
}

/* ---- counting ---- */

struct count {
    struct trace *t;
    struct account *a;
    uint64_t begin, end; /* of the whole; 0: not yet */
    uint64_t at, busy;   /* the sweep: so far, so many seats hold a lease */
    uint64_t idle;       /* since the last cause was told */
    uint64_t first_death;
};

static void sweep(struct count *c, uint64_t to)
{
    if (c->begin == 0 || to <= c->at)
        return;
    uint64_t dt = to - c->at, seats = c->a->seats > c->busy ? c->a->seats - c->busy : 0;
    c->idle += dt * seats;
    c->a->busy_ns += dt * c->busy;
    c->at = to;
}

static void cause_told(struct count *c, int code)
{
    c->a->idle_ns[(unsigned)code < COUNT(c->a->idle_ns) ? code : 0] += c->idle;
    c->idle = 0;
}

static void count_job(struct count *c, const struct pwc_trace_record *r, uint64_t *cpu)
{
    struct account *a = c->a;
    a->state = (enum pwc_job_state)r->code;
    a->seats = r->first;
    a->chunks = r->n > a->chunks ? r->n : a->chunks;
    if (r->code == PWC_JOB_ENDING && c->end == 0) {
        sweep(c, r->at_ns);
        c->end = r->at_ns;
        if (c->begin != 0)
            a->wall_ns = c->end - c->begin;
    }
    if (*cpu == 0)
        *cpu = r->value;
    a->supervisor_ns = r->value > *cpu ? r->value - *cpu : 0;
}

static void count_lease(struct count *c, const struct pwc_trace_record *r)
{
    if (r->seat == 0)
        return;
    if (c->begin == 0)
        c->begin = c->at = r->at_ns;
    sweep(c, r->at_ns);
    c->busy++;
}

static void count_ended(struct count *c, const struct pwc_trace_record *r)
{
    const struct trace_lease *l = trace_lease_of(c->t, r->lease);
    struct account *a = c->a;
    if (l == NULL || l->seat == 0)
        return;
    if (c->end == 0) {
        sweep(c, r->end_ns);
        c->busy -= c->busy > 0;
    }
    if (l->kind != PWC_TRACE_FOR_CHUNKS)
        return;
    a->leases++;
    a->recorded += l->recorded < l->kept ? l->recorded : l->kept;
    if (l->kept == 0 && l->why != PWC_OK && l->why != PWC_CANCELLED)
        a->redone_ns += l->over - l->given;
}

static void count_death(struct count *c, const struct pwc_trace_record *r)
{
    if (r->code == PWC_OK || r->code == PWC_CANCELLED || r->lease == 0)
        return;
    c->a->deaths++;
    if (c->first_death == 0)
        c->first_death = r->end_ns != 0 ? r->end_ns : r->at_ns;
}

static void count_record(struct count *c, const struct pwc_trace_record *r, uint64_t *cpu)
{
    struct account *a = c->a;
    switch (r->kind) {
    case PWC_TRACE_JOB:
        count_job(c, r, cpu);
        break;
    case PWC_TRACE_LEASE:
        count_lease(c, r);
        break;
    case PWC_TRACE_ENDED:
        count_ended(c, r);
        break;
    case PWC_TRACE_DIED:
        count_death(c, r);
        break;
    case PWC_TRACE_WAIT:
        if (c->end == 0)
            sweep(c, r->end_ns);
        cause_told(c, r->code);
        break;
    case PWC_TRACE_ABSORBED:
        a->absorbed += r->n;
        break;
    case PWC_TRACE_GAVE_UP:
        a->given_up++;
        break;
    case PWC_TRACE_AGAIN:
        a->given_up -= a->given_up > 0;
        break;
    case PWC_TRACE_RESTART:
        a->restarts++;
        a->absorbed -= r->n < a->absorbed ? r->n : a->absorbed;
        break;
    default:
        break;
    }
}

/* ---- deaths ---- */

static const struct pwc_trace_record *next_on_seat(const struct trace *t, size_t from, uint32_t seat)
{
    for (size_t i = from; i < t->n; i++)
        if (t->v[i].kind == PWC_TRACE_LEASE && t->v[i].seat == seat)
            return &t->v[i];
    return NULL;
}

/* From one death until another process was at its chunk; 0: no record says. */
static uint64_t again_after(const struct trace *t, size_t death)
{
    const struct pwc_trace_record *d = &t->v[death];
    uint64_t at = d->end_ns != 0 ? d->end_ns : d->at_ns;
    for (size_t i = death + 1; i < t->n; i++) {
        const struct pwc_trace_record *r = &t->v[i];
        if (r->kind == PWC_TRACE_CHUNKS && r->stage != d->stage && d->first >= r->first &&
            d->first - r->first < r->n && r->at_ns > at)
            return d->first == r->first ? r->at_ns - at : 0;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void deaths(struct count *c)
{
    struct account *a = c->a;
    a->again = must(calloc(a->deaths + 1, sizeof *a->again));
    for (size_t i = 0; i < c->t->n && a->nagain + a->unmeasured < a->deaths; i++) {
        const struct pwc_trace_record *r = &c->t->v[i], *next;
        if (r->kind != PWC_TRACE_DIED || r->code == PWC_OK || r->code == PWC_CANCELLED || r->lease == 0)
            continue;
        uint64_t ns = again_after(c->t, i);
        if (ns != 0)
            a->again[a->nagain++] = ns;
        else
            a->unmeasured++;
        const struct trace_lease *l = trace_lease_of(c->t, r->lease);
        if (l == NULL || l->seat == 0)
            continue;
        if ((next = next_on_seat(c->t, i + 1, l->seat)) != NULL && next->at_ns > l->over)
            a->idle_dead_ns += next->at_ns - l->over;
        else if (next == NULL && r->waiting > 0 && c->end > l->over)
            a->idle_dead_ns += c->end - l->over;
    }
    qsort(a->again, a->nagain, sizeof *a->again, by_number);
}

static const struct pwc_trace_record *last_of(const struct trace *t, uint64_t stage, size_t from)
{
    const struct pwc_trace_record *found = NULL;
    for (size_t i = from; i < t->n; i++) {
        const struct pwc_trace_record *r = &t->v[i];
        if (r->stage != stage || (r->kind != PWC_TRACE_READY && r->kind != PWC_TRACE_LEASE))
            continue;
        if (r->value > 0)
            found = r;
        if (r->kind == PWC_TRACE_LEASE)
            break;
    }
    return found;
}

static void respawns(struct count *c)
{
    const struct trace *t = c->t;
    for (size_t i = 0; i < t->n && c->first_death != 0; i++) {
        const struct pwc_trace_record *r = &t->v[i];
        if (r->kind != PWC_TRACE_BORN || r->at_ns < c->first_death)
            continue;
        const struct pwc_trace_record *own = last_of(t, r->stage, i + 1);
        c->a->respawned++;
        c->a->respawn_ns += r->value + (own != NULL ? own->value : 0);
    }
}

void account_make(struct trace *t, struct account *ret)
{
    *ret = (struct account){0};
    struct count c = {.t = t, .a = ret};
    uint64_t cpu = 0;
    for (size_t i = 0; i < t->n; i++)
        count_record(&c, &t->v[i], &cpu);
    deaths(&c);
    respawns(&c);
}

void account_free(struct account *a)
{
    free(a->again);
    a->again = NULL;
}

/* ---- telling ---- */

static double share(const struct account *a, uint64_t ns)
{
    double whole = (double)a->wall_ns * (double)a->seats;
    return whole > 0 ? 100 * (double)ns / whole : 0;
}

static uint64_t quantile(const struct account *a, unsigned percent)
{
    size_t rank = (a->nagain * percent + 99) / 100;
    return a->nagain > 0 ? a->again[rank > 0 ? rank - 1 : 0] : 0;
}

static uint64_t idle_all(const struct account *a)
{
    uint64_t ns = 0;
    for (size_t i = 0; i < COUNT(a->idle_ns); i++)
        ns += a->idle_ns[i];
    return ns;
}

/* While all seats are taken one is idle only for the moment between two leases. */
static const char *idle_name(size_t wait)
{
    return wait == PWC_TRACE_WAIT_SEAT ? "handing over" : trace_wait_name((int)wait);
}

static void print_idle(const struct account *a, void (*line)(const char *fmt, ...))
{
    char text[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < COUNT(a->idle_ns) && n < sizeof text - 64; i++)
        if (a->idle_ns[i] > 0 && share(a, a->idle_ns[i]) >= 0.01)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %.2f %%", n > 0 ? ", " : ": ",
                                  idle_name(i), share(a, a->idle_ns[i]));
    line("  seats: %" PRIu64 ", busy %.2f %%, idle %.2f %%%s", a->seats, share(a, a->busy_ns),
         share(a, idle_all(a)), text);
}

static void print_deaths(const struct account *a, void (*line)(const char *fmt, ...))
{
    if (a->deaths == 0)
        return;
    line("  deaths: %" PRIu64 "; redone work %.3f %%, idle seats %.3f %%, respawn CPU %.3f %% (%" PRIu64
         " processes), together %.3f %%",
         a->deaths, share(a, a->redone_ns), share(a, a->idle_dead_ns), share(a, a->respawn_ns), a->respawned,
         share(a, a->redone_ns + a->idle_dead_ns + a->respawn_ns));
    if (a->nagain > 0)
        line("  from a death to its chunk in another process: p50 %.3f ms, p99 %.3f ms, max %.3f ms, %zu of "
             "%" PRIu64 " measured",
             (double)quantile(a, 50) / 1e6, (double)quantile(a, 99) / 1e6,
             (double)a->again[a->nagain - 1] / 1e6, a->nagain, a->deaths);
}

void account_print(const struct trace *t, const struct account *a, void (*line)(const char *fmt, ...))
{
    line("trace of job %" PRIu64 ", %s: %s, %.3f s", t->job, t->op, pwc_job_state_name(a->state),
         (double)a->wall_ns / 1e9);
    line("  chunks: %" PRIu64 ", %" PRIu64 " absorbed, %" PRIu64 " given up, in %" PRIu64 " leases; %" PRIu64
         " with a record of their own or of a few",
         a->chunks, a->absorbed, a->given_up, a->leases, a->recorded);
    if (t->dropped > 0)
        line("  records dropped: %" PRIu64, t->dropped);
    print_idle(a, line);
    print_deaths(a, line);
    line("  supervisor CPU: %.3f %% of the seats' time", share(a, a->supervisor_ns));
}

static void json_deaths(struct json *j, const struct account *a)
{
    json_begin(j, "deaths", '{');
    json_u64(j, "count", a->deaths);
    json_u64(j, "redone_ns", a->redone_ns);
    json_u64(j, "idle_ns", a->idle_dead_ns);
    json_u64(j, "respawn_cpu_ns", a->respawn_ns);
    json_u64(j, "respawned", a->respawned);
    json_f64(j, "redone_percent", share(a, a->redone_ns));
    json_f64(j, "idle_percent", share(a, a->idle_dead_ns));
    json_f64(j, "respawn_percent", share(a, a->respawn_ns));
    json_f64(j, "together_percent", share(a, a->redone_ns + a->idle_dead_ns + a->respawn_ns));
    json_u64(j, "measured", a->nagain);
    json_u64(j, "again_p50_ns", quantile(a, 50));
    json_u64(j, "again_p99_ns", quantile(a, 99));
    json_u64(j, "again_max_ns", quantile(a, 100));
    json_end(j, '}');
}

void account_json(struct json *j, const char *key, const struct trace *t, const struct account *a)
{
    json_begin(j, key, '{');
    json_str(j, "schema", "pwc.account/1");
    json_u64(j, "job", t->job);
    json_str(j, "op", t->op);
    json_str(j, "state", pwc_job_state_name(a->state));
    json_u64(j, "seats", a->seats);
    json_u64(j, "wall_ns", a->wall_ns);
    json_u64(j, "busy_ns", a->busy_ns);
    json_begin(j, "idle_ns", '{');
    for (size_t i = 0; i < COUNT(a->idle_ns); i++)
        if (a->idle_ns[i] > 0)
            json_u64(j, idle_name(i), a->idle_ns[i]);
    json_end(j, '}');
    json_u64(j, "chunks", a->chunks);
    json_u64(j, "absorbed", a->absorbed);
    json_u64(j, "given_up", a->given_up);
    json_u64(j, "recorded", a->recorded);
    json_u64(j, "leases", a->leases);
    json_u64(j, "consumer_restarts", a->restarts);
    json_u64(j, "records_dropped", t->dropped);
    json_u64(j, "supervisor_cpu_ns", a->supervisor_ns);
    json_deaths(j, a);
    json_end(j, '}');
}
