/* lists.c - see lists.h. Each step looks at one item and moves on: a list waits where its reader does not
 * read.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/deaths.h"
#include "daemon/lists.h"
#include "daemon/pool.h"
#include "daemon/quarantine.h"

const char *lists_why_no_ops(const struct daemon *d, char *text, size_t size)
{
    if (d->pool->last_words[0] == '\0')
        return "stages are starting: try again";
    snprintf(text, size, "no stage can be started: %s", d->pool->last_words);
    return text;
}

static void send_job(struct session *s, const struct job *j)
{
    Pwc__JobInfo m = PWC__JOB_INFO__INIT;
    Pwc__Counts counts;
    struct mono now = clock_now();
    job_counts(j, &counts);
    m.job = j->id;
    m.op = j->op->name;
    m.uid = (uint32_t)j->user->uid;
    m.state = j->state;
    m.counts = &counts;
    m.waiting = (char *)(uintptr_t)job_waiting_for(j);
    m.age_ns = (uint64_t)mono_since(now, j->born);
    m.run_ns = j->began.ns == 0 ? 0 : (uint64_t)mono_since(job_is_terminal(j) ? j->ended : now, j->began);
    m.code = j->code;
    m.reason = (char *)(uintptr_t)job_reason(j);
    m.domain = (char *)(uintptr_t)j->label;
    m.items = j->items;
    m.input = msg_bytes(j->input != NULL ? j->input : "");
    session_send(s, PWC_MSG_JOB_INFO, s->list.tag, &m.base);
}

static enum list_found step_one_job(struct session *s, uint64_t *position)
{
    const struct job *j = job_find(s->d, s->list.filter);
    if ((*position)++ > 0 || j == NULL || !session_may_see(s, j))
        return LIST_END;
    send_job(s, j);
    return LIST_ITEM;
}

static enum list_found step_jobs(struct session *s, uint64_t *position)
{
    (void)position;
    const struct job *j = places_read_next(&s->list.reader);
    if (j != NULL)
        send_job(s, j);
    return j != NULL ? LIST_ITEM : LIST_END;
}

void lists_jobs(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    uint64_t only = ((const Pwc__ListJobs *)msg)->job;
    if (only == 0)
        places_read(&s->list.reader, s->uid == 0 ? &s->d->by_id : &s->user->by_id);
    session_list(s, f->tag, only != 0 ? step_one_job : step_jobs, only, UINT64_MAX);
}

/* One that was asked for and is no process yet has no pid; 0 would be the group of whoever signals it. */
static enum list_found step_stages(struct session *s, uint64_t *position)
{
    const struct stage *x, *found = NULL;
    TAILQ_FOREACH(x, &s->d->pool->stages, link)
    {
        if (x->pid > 0 && x->id > *position && (found == NULL || x->id < found->id) &&
            (s->uid == 0 || x->domain == 0 || x->uid == s->uid))
            found = x;
    }
    if (found == NULL)
        return LIST_END;
    *position = found->id;
    uint64_t chunk = stage_slot_chunk(found);
    Pwc__StageInfo m = PWC__STAGE_INFO__INIT;
    m.stage = found->id;
    m.pid = (uint32_t)found->pid;
    m.role = (char *)(uintptr_t)stage_role_name(found);
    m.state = (char *)(uintptr_t)stage_state_name(found->state);
    m.uid = found->uid;
    m.job = found->job != NULL ? found->job->id : 0;
    m.in_chunk = found->lease.kind == LEASE_CHUNKS && chunk >= found->lease.first && chunk < found->lease.end;
    m.chunk = m.in_chunk ? chunk : 0;
    m.chunks = found->chunks;
    m.age_ns = (uint64_t)mono_since(clock_now(), found->born);
    m.layers = (char *)(uintptr_t)found->layers;
    session_send(s, PWC_MSG_STAGE_INFO, s->list.tag, &m.base);
    return LIST_ITEM;
}

/* The nursery stands first in the list, as stage 0. */
static enum list_found step_nursery(struct session *s, uint64_t *position)
{
    const struct pool *p = s->d->pool;
    *position = 0;
    s->list.step = step_stages;
    if (p->nursery == NULL)
        return step_stages(s, position);
    Pwc__StageInfo m = PWC__STAGE_INFO__INIT;
    m.pid = (uint32_t)p->nursery_pid;
    m.role = (char *)(uintptr_t) "nursery";
    m.state = (char *)(uintptr_t)(p->nursery_ready ? "ready" : "booting");
    m.age_ns = (uint64_t)mono_since(clock_now(), p->nursery_born);
    session_send(s, PWC_MSG_STAGE_INFO, s->list.tag, &m.base);
    return LIST_ITEM;
}

void lists_stages(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    (void)msg;
    session_list(s, f->tag, step_nursery, 0, UINT64_MAX);
}

static enum list_found step_ops(struct session *s, uint64_t *position)
{
    const struct catalogue *c = s->d->catalogue;
    if (c == NULL || *position >= catalogue_len(c))
        return LIST_END;
    const struct catalogue_op *op = catalogue_at(c, (*position)++);
    if (s->list.name[0] != '\0' && strcmp(s->list.name, op->info->name) != 0)
        return LIST_OTHER;
    session_send(s, PWC_MSG_OP_INFO, s->list.tag, &op->info->base);
    return LIST_ITEM;
}

void lists_ops(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ListOps *m = (const Pwc__ListOps *)msg;
    char text[256];
    if (s->d->catalogue == NULL) {
        session_error(s, f->tag, f->type, PWC__CODE__CODE_START, lists_why_no_ops(s->d, text, sizeof text));
        return;
    }
    if (m->name[0] != '\0' && catalogue_find(s->d->catalogue, m->name) == NULL) {
        const char *near = catalogue_nearest(s->d->catalogue, m->name);
        snprintf(text, sizeof text, "no op '%.64s'%s%s%s", m->name, near != NULL ? "; did you mean '" : "",
                 near != NULL ? near : "", near != NULL ? "'?" : "");
        session_error(s, f->tag, f->type, PWC__CODE__CODE_NO_SUCH_OP, text);
        return;
    }
    snprintf(s->list.name, sizeof s->list.name, "%s", m->name);
    session_list(s, f->tag, step_ops, 0, UINT64_MAX);
}

static bool asked_for(const struct session *s, uint64_t job, bool in_chunk, uint64_t chunk)
{
    return (s->list.filter == 0 || job == s->list.filter) &&
           (s->list.chunk == UINT64_MAX || (in_chunk && chunk == s->list.chunk));
}

static void read_kept(struct session *s, struct places *all, enum kept kind)
{
    places_read(&s->list.reader, s->uid == 0 ? all : &s->user->kept[kind]);
}

static enum list_found step_deaths(struct session *s, uint64_t *position)
{
    (void)position;
    const struct death *x = places_read_next(&s->list.reader);
    if (x == NULL)
        return LIST_END;
    if (!asked_for(s, x->job, x->in_chunk, x->chunk))
        return LIST_OTHER;
    Pwc__Death m;
    deaths_pack(x, &m);
    session_send(s, PWC_MSG_DEATH, s->list.tag, &m.base);
    return LIST_ITEM;
}

void lists_deaths(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ListDeaths *m = (const Pwc__ListDeaths *)msg;
    read_kept(s, &s->d->deaths, KEPT_DEATHS);
    session_list(s, f->tag, step_deaths, m->job, m->one_chunk ? m->chunk : UINT64_MAX);
}

static void send_quarantined(struct session *s, const struct given_up *g)
{
    char why[PWC_TEXT_MAX];
    quarantine_why_not(g, why, sizeof why);
    Pwc__Quarantined m = PWC__QUARANTINED__INIT;
    m.job = g->job->id;
    m.chunk = g->chunk;
    m.op = g->job->op->name;
    m.state = g->job->state;
    m.uid = (uint32_t)g->job->user->uid;
    m.covers = g->covers;
    m.code = g->code;
    m.reason = g->reason;
    m.attempts = g->attempts;
    m.at_ns = (uint64_t)g->at_ns;
    m.on_failure = g->job->on_failure;
    m.fill = g->job->fill;
    m.why_not = why;
    m.input = msg_bytes(quarantine_input(g));
    session_send(s, PWC_MSG_QUARANTINED, s->list.tag, &m.base);
}

static enum list_found step_quarantine(struct session *s, uint64_t *position)
{
    (void)position;
    const struct given_up *g = places_read_next(&s->list.reader);
    if (g == NULL)
        return LIST_END;
    if (!asked_for(s, g->job->id, true, g->chunk))
        return LIST_OTHER;
    send_quarantined(s, g);
    return LIST_ITEM;
}

void lists_quarantine(struct session *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Pwc__ListQuarantine *m = (const Pwc__ListQuarantine *)msg;
    if (m->job != 0 && request_job(s, f, m->job) == NULL)
        return;
    read_kept(s, &s->d->quarantine, KEPT_GIVEN_UP);
    session_list(s, f->tag, step_quarantine, m->job, m->one_chunk ? m->chunk : UINT64_MAX);
}
