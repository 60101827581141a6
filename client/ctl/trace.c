/* trace.c - `run --trace FILE` and `pwcctl trace FILE`: gathering the records, and what belongs together. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/trace.h"

/* Page by page the memory of a million records costs as much time as all else that is done with them. */
static void grow(struct trace *t)
{
    const size_t huge = 2 << 20;
    t->room = t->room * 2 + 1024;
    t->v = must(realloc(t->v, t->room * sizeof *t->v));
    uintptr_t from = ((uintptr_t)t->v + huge - 1) & ~(huge - 1),
              to = (uintptr_t)(t->v + t->room) & ~(huge - 1);
    if (to > from)
        madvise((void *)from, to - from, MADV_HUGEPAGE); /* a wish: without it all goes on */
}

void trace_add(struct trace *t, const struct pwc_trace_record *r)
{
    if (t->n == t->room)
        grow(t);
    t->v[t->n++] = *r;
}

void trace_free(struct trace *t)
{
    if (t == NULL)
        return;
    trace_writer_free(t->writer);
    output_drop(&t->out);
    free(t->v);
    free(t->leases);
    free(t);
}

/* ---- the index ---- */

static int by_lease(const void *a, const void *b)
{
    uint64_t x = ((const struct trace_lease *)a)->lease, y = ((const struct trace_lease *)b)->lease;
    return x < y ? -1 : x > y;
}

struct trace_lease *trace_lease_of(struct trace *t, uint64_t lease)
{
    const struct trace_lease key = {.lease = lease};
    return t->nleases > 0 ? bsearch(&key, t->leases, t->nleases, sizeof key, by_lease) : NULL;
}

static struct trace_lease lease_from(const struct pwc_trace_record *r)
{
    return (struct trace_lease){.lease = r->lease,
                                .stage = r->stage,
                                .given = r->at_ns,
                                .begun = r->at_ns,
                                .over = r->at_ns,
                                .first = r->first,
                                .n = r->n,
                                .kind = r->code,
                                .seat = r->seat};
}

/* An entry a record, sorted; what stands there twice is lost. */
static void list_leases(struct trace *t)
{
    size_t leases = 0, n = 0;
    for (size_t i = 0; i < t->n; i++)
        leases += t->v[i].kind == PWC_TRACE_LEASE;
    t->leases = must(calloc(leases + 1, sizeof *t->leases));
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].kind == PWC_TRACE_LEASE)
            t->leases[t->nleases++] = lease_from(&t->v[i]);
    qsort(t->leases, t->nleases, sizeof *t->leases, by_lease);
    for (size_t i = 0; i < t->nleases; i++)
        if (n == 0 || t->leases[n - 1].lease != t->leases[i].lease)
            t->leases[n++] = t->leases[i];
    t->nleases = n;
}

static void index_record(struct trace *t, const struct pwc_trace_record *r, struct trace_lease **cache)
{
    struct trace_lease *l = *cache;
    if (r->lease == 0 || ((l == NULL || l->lease != r->lease) && (l = trace_lease_of(t, r->lease)) == NULL))
        return;
    *cache = l;
    if (r->kind == PWC_TRACE_CHUNKS && r->code == PWC_OK) {
        l->recorded += r->n;
    } else if (r->kind == PWC_TRACE_ENDED) {
        l->ended = true;
        l->begun = r->value;
        l->over = r->end_ns;
        l->first = r->first;
        l->kept = r->n;
        l->why = r->code;
    }
}

void trace_index(struct trace *t)
{
    struct trace_lease *cache = NULL;
    list_leases(t);
    for (size_t i = 0; i < t->n; i++)
        index_record(t, &t->v[i], &cache);
}

/* ---- run --trace ---- */

static void on_records(struct pwc_job *job, const struct pwc_trace_record *records, size_t n,
                       uint64_t dropped, void *user)
{
    (void)job;
    struct trace *t = user;
    t->dropped = dropped;
    for (size_t i = 0; i < n; i++) {
        trace_writer_add(t->writer, &records[i]);
        if (t->keep)
            trace_add(t, &records[i]);
    }
}

int trace_prepare(struct run *run)
{
    const char *name = run->args->o.trace;
    char why[256];
    if (name == NULL)
        return 0;
    struct trace *t = run->trace = must(calloc(1, sizeof *t));
    t->out.fd = -1;
    if (output_open(name, &t->out, why, sizeof why) != 0)
        return complain(EXIT_FAILED, "cannot write the trace '%s': %s", name, why);
    t->writer = trace_writer_new(t->out.fd);
    t->keep = run->args->o.json || run->args->o.verbose;
    snprintf(t->op, sizeof t->op, "%s", run->rq.shape.name);
    pwc_spec_trace(run->rq.spec, TRACE_MOST, on_records, t);
    return 0;
}

int trace_spares_input(const struct run *run, const char *name, const struct stat *st)
{
    if (run->trace == NULL || !output_is(&run->trace->out, st))
        return 0;
    return complain(EXIT_FAILED, "'%s' is an input: the trace must be another file", name);
}

int trace_spares_output(const struct run *run, const char *name)
{
    if (run->trace == NULL || !output_takes(&run->trace->out, name))
        return 0;
    return complain(EXIT_FAILED, "'%s' is an output: the trace must be another file", name);
}

int trace_publish(struct run *run)
{
    struct trace *t = run->trace;
    char why[256];
    if (t == NULL || pwc_job_id(run->job) == 0)
        return 0;
    t->job = pwc_job_id(run->job);
    trace_index(t);
    if (trace_writer_end(t->writer, t) < 0)
        snprintf(why, sizeof why, "%s", strerror(errno));
    else if (output_publish(&t->out, why, sizeof why) == 0)
        return 0;
    return complain(EXIT_FAILED, "cannot write the trace '%s': %s", run->args->o.trace, why);
}

/* ---- the verb ---- */

static void print_line(const char *fmt, ...) FORMAT(1, 2);
static void print_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static int tell(struct trace *t, bool as_json)
{
    struct account a;
    account_make(t, &a);
    if (as_json) {
        struct json j;
        json_open(&j, stdout);
        account_json(&j, NULL, t, &a);
    } else {
        account_print(t, &a, print_line);
    }
    account_free(&a);
    return 0;
}

int verb_trace(const struct args *args)
{
    char why[128];
    if (args->n != 2)
        return complain(EXIT_USAGE, "which file? pwcctl trace FILE, as 'pwcctl run --trace FILE' wrote it");
    const char *name = args->words[1];
    int fd =
        strcmp(name, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return complain(EXIT_FAILED, "'%s': %s", name, strerror(errno));
    struct trace *t = must(calloc(1, sizeof *t));
    t->out.fd = -1;
    int r = trace_read(t, fd, why, sizeof why);
    close(fd);
    if (r == 0) {
        trace_index(t);
        r = tell(t, args->o.json);
    } else {
        r = complain(EXIT_FAILED, "'%s': %s", name, why);
    }
    trace_free(t);
    return r;
}
