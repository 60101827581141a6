/* flow.c - see flow.h. One handler a message; each checks first that its sender holds what it speaks of.
 * Reports are in reports.c, deaths in loss.c. */
#include <stdio.h>
#include <string.h>

#include "daemon/cgroup.h"
#include "daemon/closer.h"
#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/pool.h"
#include "daemon/roles.h"
#include "daemon/small.h"
#include "daemon/trace.h"
#include "ipc/log.h"
#include "proto/limits.h"

/* ---- arenas ---- */

void flow_release_arena(struct stage *s)
{
    if (s->arena != NULL)
        arena_release(&s->arena_job->assembly, s->arena);
    s->arena = NULL;
    s->arena_job = NULL;
}

static bool holds(const struct stage *s, const struct job *j)
{
    for (unsigned i = 0; i < s->nahead; i++)
        if (s->ahead[i].job == j)
            return true;
    return s->job == j;
}

/* Its job is over, and so is whoever read there: the next job of this stage, which is of the same domain,
 * need not have its pages cleared again. */
static void keep_arena(struct stage *s)
{
    if (s->arena->taken != 0 || s->state != STAGE_IDLE) {
        flow_release_arena(s);
        return;
    }
    s->kept.id = s->arena->id;
    s->kept.bytes = s->arena->bytes;
    s->kept.fd = arena_take_fd(&s->arena_job->assembly, s->arena);
    s->arena = NULL;
    s->arena_job = NULL;
}

/* What is done to a stage for one job must not strike those that wait behind it. */
void flow_for_stages_of(struct job *j, void (*f)(struct job *, struct stage *))
{
    struct stage *s;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (holds(s, j))
            small_take_back(s);
        if (s->job == j && s->lease.kind != LEASE_NONE && s->control != NULL)
            f(j, s);
    }
}

void flow_forget_open(struct stage *s, uint64_t job)
{
    bool had = false;
    for (int i = 0; i < STAGE_OPEN_JOBS; i++)
        if (s->open[i].job == job) {
            s->open[i].job = 0;
            had = true;
        }
    if (!had)
        return;
    Stage__JobClose m = STAGE__JOB_CLOSE__INIT;
    m.job = job;
    stage_send(s, PWC_MSG_JOB_CLOSE, &m.base);
}

void flow_close_job(struct job *j)
{
    struct stage *s;
    if (j->d->pool == NULL)
        return;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (s->arena_job == j)
            keep_arena(s);
        flow_forget_open(s, j->id);
        if (s->state == STAGE_IDLE && s->domain == j->domain &&
            j->isolation != PWC__ISOLATION__ISOLATION_USER)
            stage_kill(s, PWC__CODE__CODE_OK, "its domain is over");
    }
}

/* Before it is told of new ones: so it never has more mapped than there are. */
static void tell_gone(struct job *j, struct stage *c)
{
    Stage__ArenaGone m = STAGE__ARENA_GONE__INIT;
    m.job = j->id;
    while (c->state == STAGE_BUSY && assembly_gone(&j->assembly, &m.arena))
        stage_send(c, PWC_MSG_ARENA_GONE, &m.base);
}

void flow_feed(struct job *j)
{
    struct stage *c = j->consumer;
    uint64_t first, n;
    const struct result *r;
    if (c == NULL)
        return;
    tell_gone(j, c);
    while (c->state == STAGE_BUSY && (r = assembly_next(&j->assembly, &first, &n)) != NULL) {
        if (first == j->assembly.absorbed)
            backlog_fed(&j->backlog, (uint64_t)clock_now().ns);
        Stage__Absorb m = STAGE__ABSORB__INIT;
        m.job = j->id;
        m.first = first;
        m.n = n;
        if (r->arena == NULL) {
            m.hole = true;
            stage_send(c, PWC_MSG_ABSORB, &m.base);
            continue;
        }
        m.arena = r->arena->id;
        m.arena_bytes = r->arena->bytes;
        m.offset = (r->place + (first - r->first)) * j->assembly.result_bytes;
        stage_send_full(c, PWC_MSG_ABSORB, &m.base, NULL, 0, &r->arena->fd, r->arena->known ? 0 : 1);
        r->arena->known = true;
    }
}

/* ---- planned ---- */

static const char *check_plan(const struct job *j, const Stage__Planned *m, const struct frame *f)
{
    if (m->chunks == 0 || m->chunks > PWC_CHUNKS_MAX)
        return "planned an impossible number of chunks";
    if (m->result_bytes > PWC_RESULT_MAX)
        return "planned results that are too large";
    if (m->absorb == PWC__ABSORB__ABSORB_SERIAL && m->result_bytes == 0)
        return "planned a consumer without results";
    if (m->has_plan != (f->nfds == 1))
        return "planned without its plan";
    if (m->raster && j->scratch_ro_fd < 0)
        return "planned a raster nobody asked for";
    return (unsigned)m->absorb > PWC__ABSORB__ABSORB_PLACED ? "planned an unknown way to absorb" : NULL;
}

static void take_plan(struct job *j, const Stage__Planned *m, struct frame *f)
{
    j->planned = true;
    j->plan_lost = false;
    j->lack_losses = 0;
    j->absorb = m->absorb;
    j->producer_needed = m->producer;
    j->windowed = m->producer && m->windowed && m->absorb == PWC__ABSORB__ABSORB_SERIAL;
    if (m->has_plan)
        j->plan_fd = frame_take_fd(f, 0);
    if (m->raster)
        j->raster_fd = TAKE_FD(j->scratch_ro_fd);
    else
        closer_close_for(TAKE_FD(j->scratch_ro_fd), j->user->uid);
    snprintf(j->unit, sizeof j->unit, "%s", m->unit);
    j->unit_size = m->unit_size;
    j->units = m->units;
    j->unit_from = m->unit_from;
    j->bytes_in = m->bytes_in;
    ledger_init(&j->ledger, m->chunks, m->producer ? 0 : m->chunks);
    trace_announced(j, j->ledger.ready);
    assembly_init(&j->assembly, m->result_bytes);
}

static void on_planned(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Stage__Planned *m = (const Stage__Planned *)msg;
    struct job *j = s->job;
    if (j == NULL || s->lease.kind != LEASE_PLAN || m->job != j->id) {
        stage_garbage(s, "planned a job it does not hold");
        return;
    }
    const char *wrong = check_plan(j, m, f);
    if (wrong != NULL) {
        stage_garbage(s, wrong);
        return;
    }
    j->planner = NULL;
    dispatch_release(s, false);
    if (j->state == PWC__JOB_STATE__JOB_ENDING) {
        flow_after(j);
        return;
    }
    take_plan(j, m, f);
    j->state = PWC__JOB_STATE__JOB_RUNNING;
    events_state(j);
    if (m->producer && !s->stays) /* else roles_fill finds another */
        roles_produce(j, s);
    else
        flow_retire_if_used(s, j);
}

/* ---- producer, consumer ---- */

static void on_announce(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)f;
    const Stage__Announce *m = (const Stage__Announce *)msg;
    struct job *j = s->job;
    if (j == NULL || s->lease.kind != LEASE_PRODUCE || m->job != j->id || m->upto > j->ledger.total) {
        stage_garbage(s, "announced chunks that are not its own");
        return;
    }
    j->announced = m->upto;
    ledger_set_ready(&j->ledger, m->upto);
    trace_announced(j, j->ledger.ready);
    daemon_touch(s->d);
}

static void on_produced(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)f;
    const Stage__Produced *m = (const Stage__Produced *)msg;
    struct job *j = s->job;
    if (j == NULL || s->lease.kind != LEASE_PRODUCE || m->job != j->id) {
        stage_garbage(s, "ended a job it does not produce");
        return;
    }
    j->produced = true;
    j->producer = NULL;
    ledger_set_ready(&j->ledger, j->ledger.total);
    trace_announced(j, j->ledger.ready);
    dispatch_release(s, false);
    flow_retire_if_used(s, j);
    flow_after(j);
}

void flow_release(struct job *j)
{
    if (!j->windowed || j->producer == NULL)
        return;
    Stage__Release m = STAGE__RELEASE__INIT;
    m.job = j->id;
    m.upto = j->assembly.absorbed;
    stage_send(j->producer, PWC_MSG_RELEASE, &m.base);
}

static void on_absorbed(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)f;
    const Stage__Absorbed *m = (const Stage__Absorbed *)msg;
    struct job *j = s->job;
    uint64_t before = j != NULL ? j->assembly.absorbed : 0;
    if (j == NULL || s->lease.kind != LEASE_CONSUME || m->job != j->id ||
        !assembly_absorbed(&j->assembly, m->upto)) {
        stage_garbage(s, "absorbed what it was not given");
        return;
    }
    if (m->upto == before)
        return; /* however often it says so, its producer is told once */
    backlog_taken(&j->backlog, m->upto - before, (uint64_t)clock_now().ns);
    trace_absorbed(j, s, before, m->upto);
    j->progress_due = true;
    flow_release(j);
    daemon_touch(s->d);
}

static void on_consumed(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)f;
    const Stage__Consumed *m = (const Stage__Consumed *)msg;
    struct job *j = s->job;
    if (j == NULL || s->lease.kind != LEASE_CONSUME || m->job != j->id) {
        stage_garbage(s, "ended a job it does not consume");
        return;
    }
    if (j->assembly.absorbed != j->ledger.total) { /* what it has not taken cannot be in its output */
        stage_garbage(s, "ended before it had absorbed everything");
        return;
    }
    j->consumed = true;
    j->consumer = NULL;
    j->bytes_out = m->bytes_out;
    flow_keep_results(j, m->results, m->n_results);
    dispatch_release(s, false);
    flow_retire_if_used(s, j);
    flow_after(j);
}

static void on_failed(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)f;
    const Stage__Failed *m = (const Stage__Failed *)msg;
    struct job *j = s->job;
    enum lease_kind role = s->lease.kind;
    if (j == NULL || m->job != j->id || (role != LEASE_PRODUCE && role != LEASE_CONSUME)) {
        stage_garbage(s, "failed a job it does not hold");
        return;
    }
    s->lease.why = m->code != PWC__CODE__CODE_OK ? m->code : PWC__CODE__CODE_OP;
    struct op_error why = {s->lease.why, m->reason, m->cpu_ns, m->rss_before, m->rss_peak};
    bool ending = j->state == PWC__JOB_STATE__JOB_ENDING;
    const struct death *x = ending ? NULL : deaths_refused(s, role, false, &why);
    if (j->producer == s)
        j->producer = NULL;
    if (j->consumer == s)
        j->consumer = NULL;
    dispatch_release(s, false);
    flow_forget_open(s, j->id); /* whoever is next starts from nothing */
    flow_retire_if_full(s, why.code);
    flow_retire_if_used(s, j);
    if (x != NULL)
        flow_role_lost(j, role, x);
    if (!job_is_terminal(j))
        flow_after(j);
}

/* ---- life of a stage ---- */

static void on_ready(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)f;
    int error = ((const Stage__Ready *)msg)->cgroup_error;
    if (s->said_ready) { /* above all: a cgroup that it may live in is not given to others */
        stage_garbage(s, "was ready before");
        return;
    }
    if (error != 0) {
        log_warn("stage %lu cannot join its cgroup: %s; its memory is watched instead", (unsigned long)s->id,
                 strerror(error));
        cgroup_give_back(TAKE_PTR(s->cgroup));
    }
    s->said_ready = true;
}

static void on_catalogue(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)msg;
    struct daemon *d = s->d;
    if (!s->describing || f->nfds != 1) {
        stage_garbage(s, "described ops unasked");
        return;
    }
    char *error = NULL;
    d->catalogue = catalogue_load(f->fds[0], &error);
    if (d->catalogue == NULL) {
        log_warn("catalogue refused: %s", error);
        stage_garbage(s, "its catalogue is malformed"); /* still describing: a start that failed */
    } else {
        s->describing = false;
        log_info("catalogue: %zu ops and formats", catalogue_len(d->catalogue));
    }
    free(error);
    daemon_touch(d);
}

/* Both what it names and what it does not speak of. */
static bool lacks_a_layer(struct stage *s, const Stage__Entered *m)
{
    uint32_t left = s->required & ~m->layer_bits;
    if (left != 0 && m->missing[0] == '\0')
        snprintf(s->missing, sizeof s->missing, "layers that it does not speak of (bits %u)", left);
    return s->required != 0 && s->missing[0] != '\0';
}

static void on_entered(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Stage__Entered *m = (const Stage__Entered *)msg;
    if (s->state != STAGE_ENTERING) {
        stage_garbage(s, "entered twice");
        return;
    }
    snprintf(s->layers, sizeof s->layers, "%s", m->layers);
    snprintf(s->missing, sizeof s->missing, "%s", m->missing);
    if (lacks_a_layer(s, m)) {
        log_warn("stage %lu: sandbox lacks %s, which require_sandbox forbids", (unsigned long)s->id,
                 s->missing);
        stage_kill(s, PWC__CODE__CODE_START, "the sandbox is not complete");
        return;
    }
    s->entered = true;
    if (f->nfds == 1) /* it has seen no byte of a client yet: this is what it says it is */
        stage_watch_end(s, frame_take_fd(f, 0));
    starts_entered(s->d->pool, s);
    stage_set_state(s, STAGE_IDLE);
}

static const struct {
    uint16_t type;
    void (*handle)(struct stage *, struct frame *, const ProtobufCMessage *);
} handlers[] = {
    {PWC_MSG_READY, on_ready},       {PWC_MSG_CATALOGUE, on_catalogue},     {PWC_MSG_ENTERED, on_entered},
    {PWC_MSG_PLANNED, on_planned},   {PWC_MSG_REPORT, flow_report},         {PWC_MSG_ANNOUNCE, on_announce},
    {PWC_MSG_PRODUCED, on_produced}, {PWC_MSG_ABSORBED, on_absorbed},       {PWC_MSG_CONSUMED, on_consumed},
    {PWC_MSG_FAILED, on_failed},     {PWC_MSG_SMALL_DONE, flow_small_done},
};

/* One spare after the other, until one has said which ops there are; as slowly as they are started when what
 * they say is refused. */
void flow_describe(struct daemon *d)
{
    struct stage *s;
    if (d->catalogue != NULL || d->pool->described || pool_wait(d->pool) > 0)
        return;
    TAILQ_FOREACH(s, &d->pool->stages, link)
    {
        if (s->state != STAGE_SPARE)
            continue;
        d->pool->described = s->describing = true;
        s->since = clock_now(); /* its time to answer begins now */
        Stage__Describe m = STAGE__DESCRIBE__INIT;
        stage_send(s, PWC_MSG_DESCRIBE, &m.base);
        return;
    }
}

/* Booting becomes a spare when both words are there: the nursery's (a process) and its own (ready). */
void flow_maybe_spare(struct stage *s)
{
    if (s->state != STAGE_BOOTING || !s->said_ready)
        return;
    stage_set_state(s, STAGE_SPARE);
    flow_describe(s->d);
}

void flow_frame(struct stage *s, struct frame *f)
{
    if (f->lost) {
        if (s->job != NULL && s->lease.kind == LEASE_PLAN)
            s->job->plan_lost = true;
        pool_lacks_for(s, "room for a descriptor of a stage", -EMFILE);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (handlers[i].type != f->type)
            continue;
        ProtobufCMessage *m = msg_unpack(f->desc, f->body, f->body_len);
        if (m == NULL) {
            stage_garbage(s, "sent a message that does not parse");
            return;
        }
        handlers[i].handle(s, f, m);
        msg_free(m);
        flow_maybe_spare(s);
        return;
    }
    stage_garbage(s, "sent a message of unknown type");
}
