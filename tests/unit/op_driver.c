/* op_driver.c - see op_driver.h. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/op_driver.h"

/* ---- the op table ---- */

static const struct op *table[512];
static size_t table_len;

void optable_add(struct optable *t, const struct op *op)
{
    (void)t;
    if (table_len == ARRAY_LEN(table))
        abort();
    table[table_len++] = op;
}

size_t driver_ops(const struct op *const **ret)
{
    if (table_len == 0)
        ops_image(NULL);
    *ret = table;
    return table_len;
}

const struct op *driver_op(const char *name)
{
    const struct op *const *ops;
    size_t n = driver_ops(&ops);
    for (size_t i = 0; i < n; i++)
        if (strcmp(ops[i]->name, name) == 0)
            return ops[i];
    return NULL;
}

/* ---- parameters ---- */

static void parse_list(Pwc__Value *v, const char *text)
{
    Pwc__F64List *l = xcalloc(1, sizeof *l);
    pwc__f64_list__init(l);
    l->v = xcalloc(64, sizeof *l->v);
    for (char *end; *text; text = *end == ',' ? end + 1 : end)
        l->v[l->n_v++] = strtod(text, &end);
    v->kind_case = PWC__VALUE__KIND_F64S;
    v->f64s = l;
}

static void parse_value(Pwc__Value *v, Pwc__ParamType type, const char *text)
{
    switch ((int)type) {
    case PWC__PARAM_TYPE__PARAM_INT:
        v->kind_case = PWC__VALUE__KIND_I64;
        v->i64 = strtoll(text, NULL, 10);
        break;
    case PWC__PARAM_TYPE__PARAM_UINT:
        v->kind_case = PWC__VALUE__KIND_U64;
        v->u64 = strtoull(text, NULL, 10);
        break;
    case PWC__PARAM_TYPE__PARAM_FLOAT:
        v->kind_case = PWC__VALUE__KIND_F64;
        v->f64 = strtod(text, NULL);
        break;
    case PWC__PARAM_TYPE__PARAM_BOOL:
        v->kind_case = PWC__VALUE__KIND_FLAG;
        v->flag = strcmp(text, "true") == 0;
        break;
    case PWC__PARAM_TYPE__PARAM_FLOATS:
    case PWC__PARAM_TYPE__PARAM_INTS:
        parse_list(v, text);
        break;
    default:
        v->kind_case = PWC__VALUE__KIND_STR;
        v->str = xstrdup(text);
    }
}

static Pwc__Param *parse_param(const struct op *op, const char *assignment)
{
    Pwc__Param *p = xcalloc(1, sizeof *p);
    pwc__param__init(p);
    p->value = xcalloc(1, sizeof *p->value);
    pwc__value__init(p->value);
    const char *eq = strchr(assignment, '=');
    p->name = strndup(assignment, (size_t)(eq - assignment));
    Pwc__ParamType type = PWC__PARAM_TYPE__PARAM_STRING;
    for (size_t i = 0; op && i < op->nparams; i++)
        if (strcmp(op->params[i].name, p->name) == 0)
            type = op->params[i].type;
    parse_value(p->value, type, eq + 1);
    return p;
}

static void param_free(Pwc__Param *p)
{
    if (p->value->kind_case == PWC__VALUE__KIND_STR)
        free(p->value->str);
    if (p->value->kind_case == PWC__VALUE__KIND_F64S) {
        free(p->value->f64s->v);
        free(p->value->f64s);
    }
    free(p->value);
    free(p->name);
    free(p);
}

void run_param(struct op_run *run, const char *assignment)
{
    run->params[run->nparams++] = parse_param(run->op, assignment);
}

void run_save(struct op_run *run, const char *assignment)
{
    char name[64];
    snprintf(name, sizeof name, "save.%s", run->format);
    run->save[run->nsave++] = parse_param(driver_op(name), assignment);
}

void run_load(struct op_run *run, const char *loader, const char *assignment)
{
    char name[64];
    snprintf(name, sizeof name, "load.%s", loader);
    run->load[run->nload++] = parse_param(driver_op(name), assignment);
}

void run_fd(struct op_run *run, const char *role, int fd)
{
    run->fds[run->nfds].role = role;
    run->fds[run->nfds++].fd = fd;
}

void run_init(struct op_run *run, const char *op)
{
    *run = (struct op_run){.op = driver_op(op), .format = "png", .seed = 1};
}

void run_free(struct op_run *run)
{
    for (size_t i = 0; i < run->nparams; i++)
        param_free(run->params[i]);
    for (size_t i = 0; i < run->nsave; i++)
        param_free(run->save[i]);
    for (size_t i = 0; i < run->nload; i++)
        param_free(run->load[i]);
    free(TAKE_PTR(run->plan.blob));
    for (size_t i = 0; i < run->nfds; i++)
        if (run->fds[i].fd >= 0)
            close(run->fds[i].fd);
}

/* ---- the run ---- */

struct op_job_private {
    struct op_run *run;
};

struct op_run_private {
    struct op_job_private link; /* every job's priv */
    struct op_job planner, workers[DRIVER_WORKERS], consumer;
    int raster_fd;
    void *raster, *raster_ro;
    void *input; /* mapped, for workers without a raster */
    size_t input_bytes;
    void *scratch; /* of whole() */
    size_t scratch_bytes;
    uint8_t *arena;
    bool opened[DRIVER_WORKERS];
    uint64_t announced, handed, absorbed;
    bool producing;
};

static uint32_t rnd(struct op_run *run)
{
    run->seed = run->seed * 1664525u + 1013904223u;
    return run->seed >> 8;
}

static void job_init(struct op_run *run, struct op_job *job)
{
    *job = (struct op_job){.id = 1,
                           .op = run->op,
                           .params = run->params,
                           .save = run->save,
                           .load = run->load,
                           .nparams = run->nparams,
                           .nsave = run->nsave,
                           .nload = run->nload,
                           .format = run->format,
                           .budget = run->budget,
                           .raster_fd = -1,
                           .batch = run->batch,
                           .attempt = 1,
                           .cancel = &run->cancel,
                           .priv = &run->priv->link};
}

static void job_planned(struct op_run *run, struct op_job *job)
{
    job_init(run, job);
    job->plan = run->plan.blob;
    job->plan_len = run->plan.blob_len;
    job->chunks = run->plan.chunks;
    job->result_bytes = run->plan.result_bytes;
    job->raster_bytes = run->plan.raster_bytes;
    job->absorb = run->plan.absorb;
}

static void *result_at(struct op_run *run, uint64_t chunk)
{
    return run->plan.result_bytes ? run->priv->arena + chunk * run->plan.result_bytes : NULL;
}

static int process(struct op_run *run, uint64_t chunk, void *result)
{
    struct op_run_private *p = run->priv;
    size_t w = rnd(run) % DRIVER_WORKERS;
    if (!p->opened[w]) {
        job_planned(run, &p->workers[w]);
        p->workers[w].raster = p->raster_ro;
        if (run->op->open(&p->workers[w]) < 0)
            return -1;
        p->opened[w] = true;
    }
    if (run->on_chunk && p->producing)
        run->on_chunk(run, chunk);
    return run->op->process(&p->workers[w], chunk, result);
}

/* Chunks [from, to) in random order. */
static int process_range(struct op_run *run, uint64_t from, uint64_t to, bool again)
{
    uint64_t n = to - from;
    AUTO_FREE uint64_t *order = xcalloc(n + 1, sizeof *order);
    AUTO_FREE uint8_t *second = again ? xcalloc(1, run->plan.result_bytes + 1) : NULL;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t j = rnd(run) % (i + 1);
        order[i] = order[j];
        order[j] = from + i;
    }
    for (uint64_t i = 0; i < n; i++) {
        void *at = result_at(run, order[i]);
        if (process(run, order[i], again ? second : at) < 0)
            return -1;
        /* The last strip is shorter; what follows it is not a result. */
        uint64_t len = run->plan.result_bytes;
        if (order[i] == run->plan.chunks - 1 && run->plan.unit_size)
            len = len / run->plan.unit_size * (run->plan.units - order[i] * run->plan.unit_size);
        if (again && at && memcmp(at, second, len) != 0)
            return op_fail(&run->priv->planner, PWC__CODE__CODE_INTERNAL, "chunk %llu is not the same again",
                           (unsigned long long)order[i]);
    }
    return 0;
}

static int make_room(struct op_run *run)
{
    struct op_run_private *p = run->priv;
    uint64_t bytes = run->plan.raster_bytes;
    p->arena = xcalloc(run->plan.chunks, run->plan.result_bytes + 1);
    if (bytes == 0)
        return 0;
    if (ftruncate(p->raster_fd, (off_t)bytes) < 0)
        return -1;
    p->raster = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->raster_fd, 0);
    p->raster_ro = mmap(NULL, bytes, PROT_READ, MAP_SHARED, p->raster_fd, 0);
    return p->raster == MAP_FAILED || p->raster_ro == MAP_FAILED ? -1 : 0;
}

static int run_cut(struct op_run *run)
{
    struct op_run_private *p = run->priv;
    if (make_room(run) < 0)
        return -1;
    struct op_job *job = &p->planner;
    job->plan = run->plan.blob;
    job->plan_len = run->plan.blob_len;
    job->chunks = run->plan.chunks;
    job->result_bytes = run->plan.result_bytes;
    job->absorb = run->plan.absorb;
    job->raster = p->raster;
    job->raster_bytes = run->plan.raster_bytes;
    p->producing = true;
    if (run->op->produce(job) < 0)
        return -1;
    p->producing = false;
    if (p->announced != run->plan.chunks)
        return op_fail(job, PWC__CODE__CODE_INTERNAL, "only %llu of %llu chunks were announced",
                       (unsigned long long)p->announced, (unsigned long long)run->plan.chunks);
    struct stat st;
    if (fstat(p->raster_fd, &st) == 0)
        run->raster_kept = (uint64_t)st.st_blocks * 512;
    /* A window's passed rows are gone. */
    if (!run->plan.windowed && process_range(run, 0, run->plan.chunks, true) < 0)
        return -1;
    if (run->blank && run->op->blank(&p->workers[0], run->blank_chunk, run->blank_byte) < 0)
        return -1;
    if (run->plan.absorb != PWC__ABSORB__ABSORB_SERIAL)
        return 0;
    job_planned(run, &p->consumer);
    if (run->op->merge(&p->consumer) < 0)
        return -1;
    return p->absorbed == run->plan.chunks
               ? 0
               : op_fail(job, PWC__CODE__CODE_INTERNAL, "only %llu chunks were absorbed",
                         (unsigned long long)p->absorbed);
}

static void drop(struct op_run *run)
{
    struct op_run_private *p = run->priv;
    if (run->op->close) {
        run->op->close(&p->planner);
        run->op->close(&p->consumer);
        for (size_t i = 0; i < DRIVER_WORKERS; i++)
            run->op->close(&p->workers[i]);
    }
    if (p->raster)
        munmap(p->raster, run->plan.raster_bytes);
    if (p->raster_ro)
        munmap(p->raster_ro, run->plan.raster_bytes);
    if (p->input)
        munmap(p->input, p->input_bytes);
    if (p->scratch)
        munmap(p->scratch, p->scratch_bytes);
    if (p->raster_fd >= 0)
        close(p->raster_fd);
    free(p->arena);
    if (!run->keep_plan)
        free(TAKE_PTR(run->plan.blob));
    free(TAKE_PTR(run->priv));
}

static int scratch_fd(void)
{
    const char *dir = getenv("TMPDIR");
    return open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int run_go(struct op_run *run)
{
    run->priv = xcalloc(1, sizeof *run->priv);
    run->priv->link.run = run;
    run->priv->raster_fd = run->batch ? -1 : scratch_fd();
    run->plan = (struct op_plan){0};
    run->code = PWC__CODE__CODE_OK;
    run->text[0] = '\0';
    struct op_job *job = &run->priv->planner;
    job_init(run, job);
    job->raster_fd = run->priv->raster_fd;
    int r = 0;
    if (!run->batch)
        r = run->op->plan(job, &run->plan);
    if (r == 0 && run->on_plan && !run->batch)
        run->on_plan(run);
    if (r == 0)
        r = run->batch || run->plan.whole ? run->op->whole(job) : run_cut(run);
    if (r < 0 && run->code == PWC__CODE__CODE_OK)
        op_fail(job, PWC__CODE__CODE_INTERNAL, "failed without a reason");
    drop(run);
    return r;
}

/* ---- op.h ---- */

static const Pwc__Value *value_of(const struct op_job *job, const char *name)
{
    for (size_t i = 0; i < job->nparams; i++)
        if (strcmp(job->params[i]->name, name) == 0)
            return job->params[i]->value;
    return NULL;
}

bool op_has(const struct op_job *job, const char *name)
{
    return value_of(job, name) != NULL;
}

int op_fd(const struct op_job *job, const char *role)
{
    const struct op_run *run = job->priv->run;
    for (size_t i = 0; i < run->nfds; i++)
        if (strcmp(run->fds[i].role, role) == 0)
            return run->fds[i].fd;
    return -1;
}

const void *op_map_input(struct op_job *job, const char *role, uint64_t *ret_len)
{
    struct op_run_private *p = job->priv->run->priv;
    int fd = op_fd(job, role);
    struct stat st;
    if (!p->input && fstat(fd, &st) == 0) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        p->input = map == MAP_FAILED ? NULL : map;
        p->input_bytes = (size_t)st.st_size;
    }
    *ret_len = p->input_bytes;
    return p->input;
}

void *op_map_scratch(struct op_job *job, uint64_t bytes)
{
    struct op_run_private *p = job->priv->run->priv;
    p->scratch_bytes = bytes;
    p->scratch = ftruncate(job->raster_fd, (off_t)bytes) == 0
                     ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, job->raster_fd, 0)
                     : MAP_FAILED;
    return p->scratch == MAP_FAILED ? p->scratch = NULL : p->scratch;
}

int op_fail(struct op_job *job, Pwc__Code code, const char *fmt, ...)
{
    struct op_run *run = job->priv->run;
    if (run->code != PWC__CODE__CODE_OK)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(run->text, sizeof run->text, fmt, ap);
    va_end(ap);
    run->code = code;
    return -1;
}

static void result_put(struct op_job *job, const char *name, const char *value)
{
    struct op_run *run = job->priv->run;
    if (run->nresults == DRIVER_RESULTS)
        return;
    snprintf(run->results[run->nresults].name, sizeof run->results[0].name, "%s", name);
    snprintf(run->results[run->nresults++].value, sizeof run->results[0].value, "%s", value);
}

void op_result_i64(struct op_job *job, const char *name, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    result_put(job, name, text);
}

void op_result_f64(struct op_job *job, const char *name, double v)
{
    char text[32];
    snprintf(text, sizeof text, "%g", v);
    result_put(job, name, text);
}

void op_result_str(struct op_job *job, const char *name, const char *v)
{
    result_put(job, name, v);
}

int op_announce(struct op_job *job, uint64_t upto)
{
    struct op_run *run = job->priv->run;
    struct op_run_private *p = run->priv;
    if (upto <= p->announced || upto > run->plan.chunks)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "announced %llu after %llu", (unsigned long long)upto,
                       (unsigned long long)p->announced);
    if (upto < run->plan.chunks)
        run->early = upto;
    int r = process_range(run, p->announced, upto, false);
    p->announced = upto;
    return r;
}

const void *op_next(struct op_job *job, uint64_t *ret_chunk)
{
    struct op_run *run = job->priv->run;
    struct op_run_private *p = run->priv;
    if (p->handed >= run->plan.chunks) {
        op_fail(job, PWC__CODE__CODE_PROTOCOL, "more chunks wanted than there are");
        return NULL;
    }
    *ret_chunk = p->handed++;
    return result_at(run, *ret_chunk);
}

int op_absorbed(struct op_job *job, uint64_t upto)
{
    struct op_run *run = job->priv->run;
    struct op_run_private *p = run->priv;
    if (upto < p->absorbed || upto > p->handed)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "absorbed %llu of %llu", (unsigned long long)upto,
                       (unsigned long long)p->handed);
    /* Its memory may be used again: whoever still reads it gets caught. */
    if (upto > p->absorbed)
        memset(result_at(run, p->absorbed), 0xa5, (upto - p->absorbed) * run->plan.result_bytes);
    p->absorbed = upto;
    return 0;
}

void op_wrote(struct op_job *job, uint64_t bytes)
{
    job->priv->run->wrote = bytes;
}

/* Announced chunks have been computed and lie in the arena: that is as good as absorbed. */
int op_released(struct op_job *job, bool wait, uint64_t *ret_upto)
{
    struct op_run *run = job->priv->run;
    if (wait && *ret_upto == run->priv->announced)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "waits for chunks that it has not announced");
    *ret_upto = run->priv->announced;
    return 0;
}
