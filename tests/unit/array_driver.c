/* array_driver.c - see array_driver.h. It is also the op_* API of the ops under test. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/array_driver.h"

#define WORKERS 3

/* ---- what ops call ---- */

static const struct op *table[8];
static size_t table_len;
static const _Atomic uint32_t not_cancelled;

void optable_add(struct optable *t, const struct op *op)
{
    (void)t;
    table[table_len++] = op;
}

static struct driver *driver_of(const struct op_job *job)
{
    return (struct driver *)(void *)job->priv;
}

static const struct driver_param *find_param(const struct op_job *job, const char *name)
{
    struct driver *d = driver_of(job);
    for (size_t i = 0; i < d->nparams; i++)
        if (strcmp(d->params[i].name, name) == 0)
            return &d->params[i];
    return NULL;
}

bool op_has(const struct op_job *job, const char *name)
{
    return find_param(job, name) != NULL;
}

int64_t op_int(const struct op_job *job, const char *name, int64_t def)
{
    const struct driver_param *p = find_param(job, name);
    return p != NULL ? (int64_t)p->number : def;
}

double op_float(const struct op_job *job, const char *name, double def)
{
    const struct driver_param *p = find_param(job, name);
    return p != NULL ? p->number : def;
}

const char *op_str(const struct op_job *job, const char *name, const char *def)
{
    const struct driver_param *p = find_param(job, name);
    return p != NULL ? p->text : def;
}

int op_fd(const struct op_job *job, const char *role)
{
    return strcmp(role, "in") == 0 ? driver_of(job)->in : -1;
}

const void *op_view_input(struct op_job *job, const char *role, uint64_t *ret_len)
{
    struct driver *d = driver_of(job);
    struct stat st;
    if (d->map == NULL && fstat(op_fd(job, role), &st) == 0 && st.st_size > 0) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, d->in, 0);
        d->map = map != MAP_FAILED ? map : NULL;
        d->mapped = (size_t)st.st_size;
    }
    *ret_len = d->mapped;
    return d->map;
}

int op_fail(struct op_job *job, Pwc__Code code, const char *fmt, ...)
{
    struct driver *d = driver_of(job);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->text, sizeof d->text, fmt, ap);
    va_end(ap);
    d->code = code;
    return -1;
}

static struct driver_result *new_result(struct op_job *job, const char *name)
{
    struct driver *d = driver_of(job);
    if (d->nresults == DRIVER_RESULTS)
        abort();
    struct driver_result *r = &d->results[d->nresults++];
    memset(r, 0, sizeof *r);
    snprintf(r->name, sizeof r->name, "%s", name);
    return r;
}

void op_result_i64(struct op_job *job, const char *name, int64_t v)
{
    new_result(job, name)->i = v;
}

void op_result_u64(struct op_job *job, const char *name, uint64_t v)
{
    new_result(job, name)->i = (__int128)v;
}

void op_result_i128(struct op_job *job, const char *name, __int128 v)
{
    new_result(job, name)->i = v;
}

void op_result_f64(struct op_job *job, const char *name, double v)
{
    new_result(job, name)->f = v;
}

void op_result_i64s(struct op_job *job, const char *name, const int64_t *v, size_t n)
{
    struct driver_result *r = new_result(job, name);
    if (n > ARRAY_LEN(r->list))
        abort();
    memcpy(r->list, v, n * sizeof *v);
    r->listed = n;
}

/* ---- the test's side ---- */

uint64_t driver_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

const struct op *driver_op(const char *name)
{
    if (table_len == 0)
        ops_array(NULL);
    for (size_t i = 0; i < table_len; i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

static void job_init(struct driver *d, struct op_job *job, const struct op *op)
{
    *job = (struct op_job){.op = op, .cancel = &not_cancelled, .priv = (struct op_job_private *)(void *)d};
}

void driver_init(struct driver *d, const char *op, const char *type, int in)
{
    memset(d, 0, sizeof *d);
    job_init(d, &d->job, driver_op(op));
    d->params[d->nparams++] = (struct driver_param){.name = "type", .text = type};
    d->in = in;
}

static void job_done(struct op_job *job)
{
    job->op->close(job);
    free(TAKE_PTR(job->fold));
}

void driver_free(struct driver *d)
{
    job_done(&d->job);
    free(d->plan.blob);
    if (d->map != NULL)
        munmap((void *)(uintptr_t)d->map, d->mapped);
    memset(d, 0, sizeof *d);
}

void driver_set(struct driver *d, const char *name, double number)
{
    for (size_t i = 0; i < d->nparams; i++)
        if (strcmp(d->params[i].name, name) == 0) {
            d->params[i].number = number;
            return;
        }
    if (d->nparams == DRIVER_PARAMS)
        abort();
    d->params[d->nparams++] = (struct driver_param){.name = name, .number = number};
}

int driver_plan(struct driver *d)
{
    free(d->plan.blob);
    memset(&d->plan, 0, sizeof d->plan);
    int r = d->job.op->plan(&d->job, &d->plan);
    d->job.plan = d->plan.blob;
    d->job.plan_len = d->plan.blob_len;
    d->job.chunks = d->plan.chunks;
    return r;
}

static void fold_reset(struct op_job *job)
{
    free(job->fold);
    job->fold = xcalloc(1, job->op->fold_bytes);
    if (job->op->fold_init != NULL)
        job->op->fold_init(job);
}

static int job_start(struct op_job *job)
{
    fold_reset(job);
    return job->op->open(job);
}

int driver_open(struct driver *d)
{
    return job_start(&d->job);
}

/* States the supervisor holds. */
struct pending {
    void *state[64];
    size_t n;
};

static int fold_some(struct op_job *job, struct pending *p, size_t n)
{
    int r = 0;
    for (; n > 0 && p->n > 0; n--) {
        void *state = p->state[--p->n];
        r = r < 0 ? r : job->op->fold(job, state, job->op->fold_bytes);
        free(state);
    }
    return r;
}

static void push(struct pending *p, const void *state, size_t len, uint64_t *random)
{
    void *copy = xcalloc(1, len);
    memcpy(copy, state, len);
    size_t at = (size_t)(driver_random(random) % (p->n + 1));
    p->state[p->n++] = p->state[at];
    p->state[at] = copy;
}

/* One lease of some worker: its state is reported, lost and done again, or takes others in first. */
static int run_lease(struct op_job *job, struct pending *p, uint64_t first, uint64_t n, uint64_t *random)
{
    uint64_t dice = driver_random(random);
    fold_reset(job);
    if (dice % 5 == 0) {
        for (uint64_t i = 0; i < n; i++)
            if (job->op->process(job, first + i, NULL) < 0)
                return -1;
        fold_reset(job);
    }
    if (fold_some(job, p, p->n > 50 ? 20 : dice / 8 % 3) < 0)
        return -1;
    for (uint64_t i = 0; i < n; i++)
        if (job->op->process(job, first + i, NULL) < 0)
            return -1;
    push(p, job->fold, job->op->fold_bytes, random);
    return 0;
}

/* Leases from both ends of what is left, so that chunks come in no order. */
static int run_leases(struct op_job *workers, struct pending *p, uint64_t chunks, unsigned seed)
{
    uint64_t random = seed, lo = 0, hi = chunks;
    while (lo < hi) {
        uint64_t dice = driver_random(&random), n = MIN(1 + dice % 7, hi - lo);
        struct op_job *job = &workers[dice / 7 % WORKERS];
        bool low = dice >> 63;
        if (run_lease(job, p, low ? lo : hi - n, n, &random) < 0)
            return -1;
        lo += low ? n : 0;
        hi -= low ? 0 : n;
    }
    fold_reset(&workers[0]);
    return fold_some(&workers[0], p, p->n);
}

int driver_run(struct driver *d, unsigned seed)
{
    struct op_job workers[WORKERS];
    struct pending pending = {.n = 0};
    d->nresults = 0;
    int r = driver_plan(d);
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = d->job;
        workers[i].state = workers[i].fold = NULL;
        r = r < 0 ? r : job_start(&workers[i]);
    }
    r = r < 0 ? r : run_leases(workers, &pending, d->plan.chunks, seed);
    r = r < 0 ? r : workers[0].op->finish(&workers[0]);
    for (size_t i = 0; i < WORKERS; i++)
        job_done(&workers[i]);
    while (pending.n > 0)
        free(pending.state[--pending.n]);
    return r;
}

const struct driver_result *driver_result(const struct driver *d, const char *name)
{
    for (size_t i = 0; i < d->nresults; i++)
        if (strcmp(d->results[i].name, name) == 0)
            return &d->results[i];
    return NULL;
}
