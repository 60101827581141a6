/* job.c - handles: submit, wait, cancel, attach, detach, and what can be read from them. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/internal.h"
#include "ipc/fds.h"

/* ---- references ---- */

void job_unref(struct pwc_job *job)
{
    if (--job->refs > 0)
        return;
    items_close(job);
    msg_free(job->end);
    job->c->refs--; /* never the last: whoever is here holds the lock and a reference of its own */
    free(job);
}

static struct pwc_job *job_new(struct pwc *c, const struct pwc_callbacks *cb, void *user)
{
    struct pwc_job *job = xcalloc(1, sizeof *job);
    job->c = c;
    c->refs++;
    job->refs = 1;
    job->reason = job->field = "";
    if (cb != NULL)
        job->cb = *cb;
    job->user = user;
    return job;
}

static int send_cancel(struct pwc_job *job)
{
    Pwc__Cancel cancel = PWC__CANCEL__INIT;
    cancel.job = job->id;
    return conn_send(job->c, PWC_MSG_CANCEL, ++job->c->next_tag, &cancel.base, NULL, 0);
}

/* Nobody opens its items any more. */
static bool left_alone(const struct pwc_job *job)
{
    return job->released && job->batch.items > 0;
}

void job_set_id(struct pwc_job *job, uint64_t id)
{
    struct pwc *c = job->c;
    if (table_remove(&c->by_tag, &job->tag_node))
        job->refs--;
    job->id = id;
    table_add(&c->by_id, &job->id_node, id);
    job->refs++;
    if (job->state == PWC_JOB_SUBMITTED)
        job->state = PWC_JOB_QUEUED;
    if (job->window > 0)
        records_assign(c, id);
    if (job->cancel || left_alone(job))
        send_cancel(job);
}

void job_finish(struct pwc_job *job, enum pwc_job_state state, int code, const char *reason,
                ProtobufCMessage *end)
{
    struct pwc *c = job->c;
    if (job->cb.finished != NULL && !job->released)
        call_push(c, CALL_FINISHED, job, NULL);
    job->state = state;
    job->code = code;
    job->reason = reason;
    job->end = end;
    items_close(job);
    job->refs++;
    if (table_remove(&c->by_tag, &job->tag_node))
        job->refs--;
    if (table_remove(&c->by_id, &job->id_node))
        job->refs--;
    job_unref(job);
}

void pwc_job_free(struct pwc_job *job)
{
    if (job == NULL)
        return;
    struct pwc *c = job->c;
    conn_lock(c);
    c->refs++;
    job->released = true;
    if (left_alone(job) && job->id != 0 && !job_terminal(job))
        send_cancel(job);
    if (job->takes && !job_terminal(job))
        records_assign(c, job->id);
    job_unref(job);
    conn_unlock(c);
    conn_unref(c);
}

struct pwc_job *job_attached(struct pwc *c, uint64_t id, const struct pwc_callbacks *cb, void *user)
{
    struct pwc_job *job = job_new(c, cb, user);
    job->attached = true;
    job_set_id(job, id);
    return job;
}

void job_forget(struct pwc_job *job)
{
    job->released = true;
    if (table_remove(&job->c->by_id, &job->id_node))
        job->refs--;
    job_unref(job);
}

/* ---- submit ---- */

static int copy_item(struct pwc_job *job, const struct pwc_spec *spec)
{
    if (spec->nfds == 0)
        return PWC_OK;
    if (spec->name != NULL)
        job->name = xstrdup(spec->name);
    job->fds = xcalloc(spec->nfds, sizeof(int));
    for (; job->nfds < spec->nfds; job->nfds++) {
        int fd = fd_dup(spec->fds[job->nfds]);
        if (fd < 0)
            return fail_errno(fd == -EBADF ? PWC_E_ARGUMENT : PWC_E_SYSTEM, -fd, "descriptor %d",
                              spec->fds[job->nfds]);
        job->fds[job->nfds] = fd;
    }
    return PWC_OK;
}

/* What was said of its message, with the parameter that makes it so large, unless labels do. */
static int too_large(const struct pwc_spec *spec)
{
    static const char *const tables[] = {[PWC_PARAM] = "", [PWC_SAVE] = "save.", [PWC_LOAD] = "load."};
    const char *table = "", *name = "";
    size_t most = 0, sum = 0;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (size_t i = 0; i < spec->params[t].n; i++) {
            size_t bytes = pwc__param__get_packed_size(spec->params[t].v[i]);
            sum += bytes;
            if (bytes > most) {
                most = bytes;
                table = tables[t];
                name = spec->params[t].v[i]->name;
            }
        }
    if (sum < PWC_BODY_MAX / 2)
        return PWC_E_ARGUMENT;
    return fail(PWC_E_ARGUMENT,
                "%s%s: takes %zu bytes, all parameters together %zu; no job may be larger than %u", table,
                name, most, sum, PWC_BODY_MAX);
}

static int submit_locked(struct pwc *c, const struct pwc_spec *spec, struct pwc_job *job)
{
    int r = copy_item(job, spec);
    if (r != PWC_OK)
        return r;
    job->batch = spec->batch;
    job->window = spec->window;
    job->trace = spec->trace;
    job->on_disconnect = (enum pwc_on_disconnect)spec->pb.on_disconnect;
    job->tag = ++c->next_tag;
    r = conn_send(c, PWC_MSG_SUBMIT, job->tag, &spec->pb.base, NULL, 0);
    if (r != PWC_OK)
        return r == PWC_E_ARGUMENT ? too_large(spec) : r;
    table_add(&c->by_tag, &job->tag_node, job->tag);
    job->refs++;
    conn_relieve(c); /* should the connection end here, the job says so */
    return PWC_OK;
}

int pwc_submit(struct pwc *c, const struct pwc_spec *spec, struct pwc_job **ret_job)
{
    if (spec->mistake != NULL)
        return fail(PWC_E_ARGUMENT, "%s", spec->mistake);
    conn_lock(c);
    struct pwc_job *job = job_new(c, &spec->cb, spec->user);
    int r = submit_locked(c, spec, job);
    if (r == PWC_OK)
        *ret_job = job;
    else
        job_unref(job);
    conn_unlock(c);
    return r;
}

/* ---- waiting ---- */

static bool has_answer(void *arg)
{
    const struct pwc_job *job = arg;
    return job->id != 0 || job_terminal(job);
}

static bool is_terminal(void *arg)
{
    return job_terminal(arg);
}

/* Who hears that may free the handle, and what its callbacks use: none of them runs any more. */
static bool is_told(void *arg)
{
    const struct pwc_job *job = arg;
    return job_terminal(job) && job->queued == 0;
}

static int outcome(const struct pwc_job *job)
{
    if (job->state == PWC_JOB_DONE)
        return PWC_OK;
    if (job->state == PWC_JOB_PARTIAL)
        return fail(PWC_E_PARTIAL, "%s", job->reason);
    return fail(job->code != 0 ? job->code : PWC_E_PROTOCOL, "%s",
                job->reason[0] != '\0' ? job->reason : pwc_code_name(job->code));
}

int pwc_wait_accepted(struct pwc_job *job, int timeout_ms)
{
    conn_lock(job->c);
    int r = conn_wait(job->c, has_answer, job, timeout_ms);
    if (has_answer(job))
        r = job->id != 0 ? PWC_OK : outcome(job);
    conn_unlock(job->c);
    return r;
}

int pwc_wait(struct pwc_job *job, int timeout_ms)
{
    conn_lock(job->c);
    bool inside = conn_is_reader(job->c); /* a callback, perhaps the job's own */
    int r = conn_wait(job->c, inside ? is_terminal : is_told, job, timeout_ms);
    if (r == PWC_OK)
        r = outcome(job);
    conn_unlock(job->c);
    return r;
}

int pwc_cancel(struct pwc_job *job)
{
    struct pwc *c = job->c;
    int r = PWC_OK;
    conn_lock(c);
    if (!job_terminal(job) && job->id != 0)
        r = send_cancel(job);
    job->cancel = true;
    conn_unlock(c);
    return r;
}

/* ---- what can be read ---- */

#define READ(type, name, expr)                                                                               \
    type name(struct pwc_job *job)                                                                           \
    {                                                                                                        \
        conn_lock(job->c);                                                                                   \
        type v = (expr);                                                                                     \
        conn_unlock(job->c);                                                                                 \
        return v;                                                                                            \
    }

static const Pwc__Finished *finished(const struct pwc_job *job)
{
    return job->end != NULL && job->end->descriptor == &pwc__finished__descriptor ? (const void *)job->end
                                                                                  : NULL;
}

READ(uint64_t, pwc_job_id, job->id)
READ(int, pwc_job_existing, job->existing)
READ(enum pwc_job_state, pwc_job_state, job->state)
READ(int, pwc_job_code, job->code)
READ(const char *, pwc_job_reason, job->reason)
READ(const char *, pwc_job_field, job->field)
READ(uint64_t, pwc_job_queued_ns, finished(job) != NULL ? finished(job)->queued_ns : 0)
READ(uint64_t, pwc_job_run_ns, finished(job) != NULL ? finished(job)->run_ns : 0)
READ(size_t, pwc_results, finished(job) != NULL ? finished(job)->n_results : 0)

void pwc_job_counts(struct pwc_job *job, struct pwc_counts *ret_counts)
{
    conn_lock(job->c);
    *ret_counts = job->counts;
    conn_unlock(job->c);
}

int pwc_job_death(struct pwc_job *job, struct pwc_death *ret_death)
{
    conn_lock(job->c);
    const Pwc__Finished *f = finished(job);
    bool is = f != NULL && f->death != NULL;
    if (is)
        death_from(ret_death, f->death);
    conn_unlock(job->c);
    return is;
}

const char *pwc_job_state_name(enum pwc_job_state state)
{
    switch (state) {
    case PWC_JOB_SUBMITTED:
        return "submitted";
    case PWC_JOB_QUEUED:
        return "queued";
    case PWC_JOB_PLANNING:
        return "planning";
    case PWC_JOB_RUNNING:
        return "running";
    case PWC_JOB_ENDING:
        return "ending";
    case PWC_JOB_DONE:
        return "done";
    case PWC_JOB_FAILED:
        return "failed";
    case PWC_JOB_CANCELLED:
        return "cancelled";
    case PWC_JOB_PARTIAL:
        return "partial";
    case PWC_JOB_REFUSED:
        return "refused";
    case PWC_JOB_LOST:
        return "lost";
    }
    return "unknown";
}

/* ---- results ---- */

int pwc_result(struct pwc_job *job, size_t index, const char **ret_name, struct pwc_value *ret_value)
{
    conn_lock(job->c);
    const Pwc__Finished *f = finished(job);
    int r = f != NULL && index < f->n_results
                ? value_from(ret_value, f->results[index]->value)
                : fail(PWC_E_ARGUMENT, "the job has no result number %zu", index);
    if (r == PWC_OK)
        *ret_name = text_of(f->results[index]->name);
    conn_unlock(job->c);
    return r;
}

int pwc_result_value(struct pwc_job *job, const char *name, struct pwc_value *ret_value)
{
    size_t n = pwc_results(job);
    for (size_t i = 0; i < n; i++) {
        const char *this;
        struct pwc_value v;
        int r = pwc_result(job, i, &this, &v);
        if (r == PWC_OK && strcmp(this, name) == 0) {
            *ret_value = v;
            return PWC_OK;
        }
    }
    return fail(PWC_E_ARGUMENT, "the job has no result '%s'", name);
}

int pwc_result_i64(struct pwc_job *job, const char *name, int64_t *ret_v)
{
    struct pwc_value v;
    int r = pwc_result_value(job, name, &v);
    if (r != PWC_OK)
        return r;
    if (v.type == PWC_I64)
        *ret_v = v.u.i64;
    else if (v.type == PWC_U64 && v.u.u64 <= INT64_MAX)
        *ret_v = (int64_t)v.u.u64;
    else if (v.type == PWC_I128 && (v.u.i128.hi ^ ((int64_t)v.u.i128.lo >> 63)) == 0)
        *ret_v = (int64_t)v.u.i128.lo;
    else
        return fail(PWC_E_ARGUMENT, "result '%s' is no integer of 64 bits", name);
    return PWC_OK;
}

/* Rounded once. Half by half would be twice, which of a small negative number leaves nothing. */
static double f64_of_i128(uint64_t lo, int64_t hi)
{
    return (double)(__int128)((unsigned __int128)(uint64_t)hi << 64 | lo);
}

int pwc_result_f64(struct pwc_job *job, const char *name, double *ret_v)
{
    struct pwc_value v;
    int r = pwc_result_value(job, name, &v);
    if (r != PWC_OK)
        return r;
    if (v.type == PWC_F64)
        *ret_v = v.u.f64;
    else if (v.type == PWC_I64)
        *ret_v = (double)v.u.i64;
    else if (v.type == PWC_U64)
        *ret_v = (double)v.u.u64;
    else if (v.type == PWC_I128)
        *ret_v = f64_of_i128(v.u.i128.lo, v.u.i128.hi);
    else
        return fail(PWC_E_ARGUMENT, "result '%s' is no number", name);
    return PWC_OK;
}

int pwc_result_str(struct pwc_job *job, const char *name, const char **ret_v)
{
    struct pwc_value v;
    int r = pwc_result_value(job, name, &v);
    if (r != PWC_OK)
        return r;
    if (v.type != PWC_STR)
        return fail(PWC_E_ARGUMENT, "result '%s' is no text", name);
    *ret_v = v.u.str;
    return PWC_OK;
}
