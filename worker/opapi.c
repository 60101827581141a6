/* opapi.c - what op.h offers to ops: parameters, descriptors, failures, results. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "worker/job.h"

/* ---- parameters ---- */

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

int64_t op_int(const struct op_job *job, const char *name, int64_t def)
{
    const Pwc__Value *v = value_of(job, name);
    if (v == NULL)
        return def;
    if (v->kind_case == PWC__VALUE__KIND_I64)
        return v->i64;
    if (v->kind_case == PWC__VALUE__KIND_U64)
        return v->u64 > INT64_MAX ? INT64_MAX : (int64_t)v->u64;
    return v->kind_case == PWC__VALUE__KIND_FLAG ? v->flag : def;
}

double op_float(const struct op_job *job, const char *name, double def)
{
    const Pwc__Value *v = value_of(job, name);
    if (v == NULL)
        return def;
    if (v->kind_case == PWC__VALUE__KIND_F64)
        return v->f64;
    if (v->kind_case == PWC__VALUE__KIND_I64)
        return (double)v->i64;
    return v->kind_case == PWC__VALUE__KIND_U64 ? (double)v->u64 : def;
}

bool op_bool(const struct op_job *job, const char *name, bool def)
{
    return op_int(job, name, def) != 0;
}

const char *op_str(const struct op_job *job, const char *name, const char *def)
{
    const Pwc__Value *v = value_of(job, name);
    return v != NULL && v->kind_case == PWC__VALUE__KIND_STR ? v->str : def;
}

int op_fd(const struct op_job *job, const char *role)
{
    const struct op_job_private *p = job->priv;
    for (unsigned i = 0; i < p->nroles; i++)
        if (strcmp(p->roles[i].name, role) == 0)
            return p->roles[i].fd;
    return -1;
}

/* ---- failures ---- */

int op_fail(struct op_job *job, Pwc__Code code, const char *fmt, ...)
{
    struct failure *f = &job->priv->failure;
    if (f->code != CODE(OK)) /* the first is nearest to the cause */
        return -1;
    f->code = code != CODE(OK) ? code : CODE(OP);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
    for (char *c = f->text; *c != 0; c++) /* one line */
        if (*c == '\n' || *c == '\r')
            *c = c[1] != 0 ? ' ' : 0;
    return -1;
}

const struct failure *job_failure(struct op_job *job)
{
    if (job->priv->failure.code == CODE(OK))
        op_fail(job, CODE(OP), "%s failed and gave no reason", job->op->name);
    return &job->priv->failure;
}

/* ---- results ---- */

struct result {
    struct result *next;
    Pwc__Param param;
    Pwc__Value value;
    Pwc__I64List list;
    uint8_t wide[16];
    void *own; /* copied string or list */
    char name[];
};

static struct result *result_add(struct op_job *job, const char *name, Pwc__Value__KindCase kind)
{
    struct op_job_private *p = job->priv;
    size_t len = strlen(name) + 1;
    struct result *r = xcalloc(1, sizeof *r + len);
    memcpy(r->name, name, len);
    pwc__param__init(&r->param);
    pwc__value__init(&r->value);
    pwc__i64_list__init(&r->list);
    r->param.name = r->name;
    r->param.value = &r->value;
    r->value.kind_case = kind;
    *p->results_tail = r;
    p->results_tail = &r->next;
    p->nresults++;
    return r;
}

void op_result_i64(struct op_job *job, const char *name, int64_t v)
{
    result_add(job, name, PWC__VALUE__KIND_I64)->value.i64 = v;
}

void op_result_u64(struct op_job *job, const char *name, uint64_t v)
{
    result_add(job, name, PWC__VALUE__KIND_U64)->value.u64 = v;
}

void op_result_f64(struct op_job *job, const char *name, double v)
{
    result_add(job, name, PWC__VALUE__KIND_F64)->value.f64 = v;
}

void op_result_i128(struct op_job *job, const char *name, __int128 v)
{
    struct result *r = result_add(job, name, PWC__VALUE__KIND_I128);
    unsigned __int128 bits = (unsigned __int128)v;
    for (size_t i = 0; i < sizeof r->wide; i++)
        r->wide[i] = (uint8_t)(bits >> (8 * i));
    r->value.i128 = (ProtobufCBinaryData){sizeof r->wide, r->wide};
}

void op_result_i64s(struct op_job *job, const char *name, const int64_t *v, size_t n)
{
    struct result *r = result_add(job, name, PWC__VALUE__KIND_I64S);
    r->own = xcalloc(n, sizeof *v);
    if (n > 0)
        memcpy(r->own, v, n * sizeof *v);
    r->list.v = r->own;
    r->list.n_v = n;
    r->value.i64s = &r->list;
}

void op_result_str(struct op_job *job, const char *name, const char *v)
{
    struct result *r = result_add(job, name, PWC__VALUE__KIND_STR);
    r->own = xstrdup(v);
    r->value.str = r->own;
}

Pwc__Param **job_results(struct op_job *job)
{
    struct op_job_private *p = job->priv;
    Pwc__Param **all = xcalloc(p->nresults, sizeof *all);
    size_t n = 0;
    for (struct result *r = p->results; r != NULL; r = r->next)
        all[n++] = &r->param;
    return all;
}

void job_reset(struct op_job *job)
{
    struct op_job_private *p = job->priv;
    for (struct result *r = p->results, *next; r != NULL; r = next) {
        next = r->next;
        free(r->own);
        free(r);
    }
    p->results = NULL;
    p->results_tail = &p->results;
    p->nresults = 0;
    p->failure.code = CODE(OK);
    p->failure.text[0] = 0;
}

void op_wrote(struct op_job *job, uint64_t bytes)
{
    job->priv->wrote = bytes;
}
