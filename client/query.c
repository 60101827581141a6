/* query.c - questions that wait for their answer: ping, status, lists, cancel, attach, detach. */
#include <stdio.h>
#include <string.h>

#include "client/internal.h"

void request_end(struct request *rq, int code, const char *text)
{
    rq->done = true;
    rq->code = code;
    snprintf(rq->text, sizeof rq->text, "%s", text[0] != '\0' ? text : pwc_code_name(code));
}

void request_answer(struct request *rq, const struct frame *f, ProtobufCMessage *msg)
{
    if (rq->list && f->type == PWC_MSG_END) {
        rq->done = true;
        msg_free(msg);
        return;
    }
    if (f->type != rq->answer) {
        request_end(rq, PWC_E_PROTOCOL, "pwcd answered a question with something else");
        msg_free(msg);
        return;
    }
    if (rq->n == rq->room) {
        rq->room = rq->room * 2 + 4;
        rq->got = xrealloc(rq->got, rq->room, sizeof *rq->got);
    }
    rq->got[rq->n++] = msg;
    rq->done = !rq->list;
}

static bool request_done(void *arg)
{
    return ((struct request *)arg)->done;
}

static void request_free(struct request *rq)
{
    for (size_t i = 0; i < rq->n; i++)
        msg_free(rq->got[i]);
    free(rq->got);
}

/* With the lock held. */
static int ask_locked(struct pwc *c, uint16_t type, const ProtobufCMessage *msg, int timeout_ms,
                      struct request *rq)
{
    uint64_t tag = ++c->next_tag;
    int r = conn_send(c, type, tag, msg, NULL, 0);
    if (r != PWC_OK)
        return r;
    table_add(&c->requests, &rq->node, tag);
    r = conn_wait(c, request_done, rq, timeout_ms);
    table_remove(&c->requests, &rq->node);
    if (r == PWC_OK && rq->code != PWC_OK)
        r = fail(rq->code, "%s", rq->text);
    return r;
}

static int ask(struct pwc *c, uint16_t type, const ProtobufCMessage *msg, int timeout_ms, struct request *rq)
{
    conn_lock(c);
    int r = ask_locked(c, type, msg, timeout_ms, rq);
    conn_unlock(c);
    if (r != PWC_OK)
        request_free(rq);
    return r;
}

int pwc_ping(struct pwc *c, int timeout_ms)
{
    Pwc__Ping ping = PWC__PING__INIT;
    struct request rq = {.answer = PWC_MSG_PONG};
    int r = ask(c, PWC_MSG_PING, &ping.base, timeout_ms, &rq);
    if (r == PWC_OK)
        request_free(&rq);
    return r;
}

static void status_from(struct pwc_status *ret, const Pwc__Status *pb)
{
    *ret = (struct pwc_status){
        .server = text_of(pb->server),
        .pid = pb->pid,
        .workers = pb->workers,
        .workers_from = text_of(pb->workers_from),
        .busy = pb->busy,
        .stages = pb->stages,
        .spares = pb->spares,
        .clients = pb->clients,
        .jobs_queued = pb->jobs_queued,
        .jobs_running = pb->jobs_running,
        .jobs_done = pb->jobs_done,
        .jobs_failed = pb->jobs_failed,
        .deaths = pb->deaths,
        .up_ns = pb->up_ns,
        .health = text_of(pb->health),
        .dropped = pb->dropped,
        .layers = text_of(pb->layers),
        .missing = text_of(pb->missing),
        .scratch = text_of(pb->scratch),
        .limits = text_of(pb->limits),
        .memory = text_of(pb->memory),
    };
}

int pwc_get_status(struct pwc *c, int timeout_ms, void (*each)(const struct pwc_status *, void *), void *user)
{
    Pwc__GetStatus get = PWC__GET_STATUS__INIT;
    struct request rq = {.answer = PWC_MSG_STATUS};
    int r = ask(c, PWC_MSG_GET_STATUS, &get.base, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    struct pwc_status status;
    status_from(&status, (const void *)rq.got[0]);
    each(&status, user);
    request_free(&rq);
    return PWC_OK;
}

static void job_info_from(struct pwc_job_info *ret, const Pwc__JobInfo *pb)
{
    *ret = (struct pwc_job_info){
        .job = pb->job,
        .op = text_of(pb->op),
        .uid = pb->uid,
        .state = (enum pwc_job_state)pb->state,
        .waiting = text_of(pb->waiting),
        .age_ns = pb->age_ns,
        .run_ns = pb->run_ns,
        .code = (int)pb->code,
        .reason = text_of(pb->reason),
        .domain = text_of(pb->domain),
        .items = pb->items,
        .input = msg_name_of(&pb->input),
    };
    counts_from(&ret->counts, pb->counts);
}

int pwc_list_jobs(struct pwc *c, uint64_t job, int timeout_ms,
                  void (*each)(const struct pwc_job_info *, void *), void *user)
{
    Pwc__ListJobs list = PWC__LIST_JOBS__INIT;
    list.job = job;
    struct request rq = {.answer = PWC_MSG_JOB_INFO, .list = true};
    int r = ask(c, PWC_MSG_LIST_JOBS, &list.base, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    for (size_t i = 0; i < rq.n; i++) {
        struct pwc_job_info info;
        job_info_from(&info, (const void *)rq.got[i]);
        each(&info, user);
    }
    bool none = job != 0 && rq.n == 0;
    request_free(&rq);
    return none ? fail(PWC_NO_SUCH_JOB, "there is no job %llu", (unsigned long long)job) : PWC_OK;
}

int pwc_list_stages(struct pwc *c, int timeout_ms, void (*each)(const struct pwc_stage_info *, void *),
                    void *user)
{
    Pwc__ListStages list = PWC__LIST_STAGES__INIT;
    struct request rq = {.answer = PWC_MSG_STAGE_INFO, .list = true};
    int r = ask(c, PWC_MSG_LIST_STAGES, &list.base, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    for (size_t i = 0; i < rq.n; i++) {
        const Pwc__StageInfo *pb = (const void *)rq.got[i];
        struct pwc_stage_info info = {
            .stage = pb->stage,
            .pid = pb->pid,
            .role = text_of(pb->role),
            .state = text_of(pb->state),
            .uid = pb->uid,
            .job = pb->job,
            .chunk = pb->chunk,
            .in_chunk = pb->in_chunk,
            .chunks = pb->chunks,
            .age_ns = pb->age_ns,
            .layers = text_of(pb->layers),
        };
        each(&info, user);
    }
    request_free(&rq);
    return PWC_OK;
}

int pwc_list_deaths(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms,
                    void (*each)(const struct pwc_death *, void *), void *user)
{
    Pwc__ListDeaths list = PWC__LIST_DEATHS__INIT;
    list.job = job;
    list.one_chunk = chunk != PWC_ALL_CHUNKS;
    list.chunk = list.one_chunk ? chunk : 0;
    struct request rq = {.answer = PWC_MSG_DEATH, .list = true};
    int r = ask(c, PWC_MSG_LIST_DEATHS, &list.base, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    for (size_t i = 0; i < rq.n; i++) {
        struct pwc_death death;
        death_from(&death, (const void *)rq.got[i]);
        each(&death, user);
    }
    request_free(&rq);
    return PWC_OK;
}

/* ---- ops ---- */

static void param_from(struct pwc_param_info *ret, const Pwc__ParamInfo *pb)
{
    *ret = (struct pwc_param_info){
        .name = text_of(pb->name),
        .type = (enum pwc_param_type)pb->type,
        .summary = text_of(pb->summary),
        .required = pb->required,
        .min = pb->min,
        .max = pb->max,
        .def = text_of(pb->def),
        .unit = text_of(pb->unit),
        .nchoices = pb->n_choices,
    };
    struct pwc_choice *choices = xcalloc(pb->n_choices, sizeof *choices);
    for (size_t i = 0; i < pb->n_choices; i++)
        choices[i] = (struct pwc_choice){text_of(pb->choices[i]->nick), text_of(pb->choices[i]->summary)};
    ret->choices = choices;
}

static void op_tell(const Pwc__OpInfo *pb, void (*each)(const struct pwc_op_info *, void *), void *user)
{
    struct pwc_param_info *params = xcalloc(pb->n_params, sizeof *params);
    struct pwc_role_info *roles = xcalloc(pb->n_roles, sizeof *roles);
    for (size_t i = 0; i < pb->n_params; i++)
        param_from(&params[i], pb->params[i]);
    for (size_t i = 0; i < pb->n_roles; i++)
        roles[i] =
            (struct pwc_role_info){text_of(pb->roles[i]->name), pb->roles[i]->dir == PWC__ROLE_DIR__ROLE_OUT,
                                   pb->roles[i]->optional, text_of(pb->roles[i]->summary)};
    struct pwc_op_info info = {
        .name = text_of(pb->name),
        .version = text_of(pb->version),
        .summary = text_of(pb->summary),
        .kind = (enum pwc_op_kind)pb->kind,
        .params = params,
        .nparams = pb->n_params,
        .roles = roles,
        .nroles = pb->n_roles,
        .batches = pb->whole,
        .formats = pb->formats,
        .count_param = text_of(pb->count_param),
        .suffixes = (const char *const *)pb->suffixes,
        .nsuffixes = pb->n_suffixes,
    };
    each(&info, user);
    for (size_t i = 0; i < pb->n_params; i++)
        free((void *)(uintptr_t)params[i].choices);
    free(params);
    free(roles);
}

int pwc_list_ops(struct pwc *c, const char *name, int timeout_ms,
                 void (*each)(const struct pwc_op_info *, void *), void *user)
{
    Pwc__ListOps list = PWC__LIST_OPS__INIT;
    list.name = (char *)(uintptr_t)text_of(name);
    struct request rq = {.answer = PWC_MSG_OP_INFO, .list = true};
    int r = ask(c, PWC_MSG_LIST_OPS, &list.base, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    for (size_t i = 0; i < rq.n; i++)
        op_tell((const void *)rq.got[i], each, user);
    bool none = list.name[0] != '\0' && rq.n == 0;
    request_free(&rq);
    return none ? fail(PWC_NO_SUCH_OP, "there is no op '%s'", name) : PWC_OK;
}

/* ---- quarantine ---- */

static void quarantined_from(struct pwc_quarantined *ret, const Pwc__Quarantined *pb)
{
    *ret = (struct pwc_quarantined){
        .job = pb->job,
        .chunk = pb->chunk,
        .op = text_of(pb->op),
        .state = (enum pwc_job_state)pb->state,
        .uid = pb->uid,
        .covers = text_of(pb->covers),
        .code = (int)pb->code,
        .reason = text_of(pb->reason),
        .attempts = pb->attempts,
        .at_ns = pb->at_ns,
        .on_failure = (enum pwc_on_failure)pb->on_failure,
        .fill = (uint8_t)pb->fill,
        .why_not = text_of(pb->why_not),
        .input = msg_name_of(&pb->input),
    };
}

int pwc_list_quarantine(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms,
                        void (*each)(const struct pwc_quarantined *, void *), void *user)
{
    Pwc__ListQuarantine list = PWC__LIST_QUARANTINE__INIT;
    list.job = job;
    list.one_chunk = chunk != PWC_ALL_CHUNKS;
    list.chunk = list.one_chunk ? chunk : 0;
    struct request rq = {.answer = PWC_MSG_QUARANTINED, .list = true};
    int r = ask(c, PWC_MSG_LIST_QUARANTINE, &list.base, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    for (size_t i = 0; i < rq.n; i++) {
        struct pwc_quarantined q;
        quarantined_from(&q, (const void *)rq.got[i]);
        each(&q, user);
    }
    request_free(&rq);
    return PWC_OK;
}

static int ask_how_many(struct pwc *c, uint16_t type, const ProtobufCMessage *msg, int timeout_ms,
                        uint64_t *ret_n)
{
    struct request rq = {.answer = PWC_MSG_OK};
    int r = ask(c, type, msg, timeout_ms, &rq);
    if (r != PWC_OK)
        return r;
    *ret_n = ((const Pwc__Ok *)(const void *)rq.got[0])->n;
    request_free(&rq);
    return PWC_OK;
}

int pwc_quarantine_retry(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms, uint64_t *ret_n)
{
    Pwc__RetryChunks m = PWC__RETRY_CHUNKS__INIT;
    m.job = job;
    m.one_chunk = chunk != PWC_ALL_CHUNKS;
    m.chunk = m.one_chunk ? chunk : 0;
    return ask_how_many(c, PWC_MSG_RETRY_CHUNKS, &m.base, timeout_ms, ret_n);
}

int pwc_quarantine_drop(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms, uint64_t *ret_n)
{
    Pwc__DropChunks m = PWC__DROP_CHUNKS__INIT;
    m.job = job;
    m.one_chunk = chunk != PWC_ALL_CHUNKS;
    m.chunk = m.one_chunk ? chunk : 0;
    return ask_how_many(c, PWC_MSG_DROP_CHUNKS, &m.base, timeout_ms, ret_n);
}

/* ---- jobs by number ---- */

int pwc_cancel_id(struct pwc *c, uint64_t id, int timeout_ms)
{
    Pwc__Cancel cancel = PWC__CANCEL__INIT;
    cancel.job = id;
    struct request rq = {.answer = PWC_MSG_OK};
    int r = ask(c, PWC_MSG_CANCEL, &cancel.base, timeout_ms, &rq);
    if (r == PWC_OK)
        request_free(&rq);
    return r;
}

static bool has_sent(void *arg)
{
    const struct pwc_job *job = arg;
    return job->fds == NULL || job_terminal(job);
}

/* Its Item is on the way before we ask: the daemon answers in order, so with Ok it holds everything. */
int pwc_detach(struct pwc_job *job, int timeout_ms)
{
    if (job->on_disconnect != PWC_ON_DISCONNECT_DETACH || job->batch.items > 0)
        return fail(PWC_E_ARGUMENT, "only a single job with PWC_ON_DISCONNECT_DETACH can be detached");
    int r = pwc_wait_accepted(job, timeout_ms);
    if (r != PWC_OK)
        return r;
    Pwc__Detach detach = PWC__DETACH__INIT;
    detach.job = job->id;
    struct request rq = {.answer = PWC_MSG_OK};
    conn_lock(job->c);
    r = conn_wait(job->c, has_sent, job, timeout_ms);
    if (r == PWC_OK)
        r = ask_locked(job->c, PWC_MSG_DETACH, &detach.base, timeout_ms, &rq);
    request_free(&rq);
    conn_unlock(job->c);
    return r;
}

/* The handle is in the table before the question is sent: its events may come with the answer. They are told
 * when the caller has it, for a callback may free it, and not at all if he never gets it. */
int pwc_attach(struct pwc *c, uint64_t id, const struct pwc_callbacks *callbacks, void *user, int timeout_ms,
               struct pwc_job **ret_job)
{
    Pwc__Attach attach = PWC__ATTACH__INIT;
    attach.job = id;
    struct request rq = {.answer = PWC_MSG_OK};
    struct call_list held = {.end = &held.first};
    conn_lock(c);
    struct pwc_job *job = job_attached(c, id, callbacks, user);
    job->held = &held;
    int r = ask_locked(c, PWC_MSG_ATTACH, &attach.base, timeout_ms, &rq);
    request_free(&rq);
    job->held = NULL;
    if (r == PWC_OK) {
        *ret_job = job;
        calls_append(c, &held);
    } else {
        calls_drop(&held);
        job_forget(job);
    }
    conn_unlock(c);
    return r;
}
