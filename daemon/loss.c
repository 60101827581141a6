/*
 * loss.c - what the death of a stage means for the job it worked for: who is charged, what is done again,
 * which roles are filled anew. deaths_record() has written down before why it died.
 */
#include <string.h>

#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/lack.h"
#include "daemon/pool.h"
#include "daemon/small.h"
#include "daemon/solo.h"
#include "daemon/trace.h"
#include "ipc/log.h"

#define IDLE_LOSSES_MAX 10u /* leases lost in a row with no chunk to blame */

/* Whom does the slot name? Only a chunk of the lease it died with can be charged, and not for the time that
 * another one took. A stage that broke the protocol may have written anything there. */
enum verdict { VERDICT_CHUNK, VERDICT_NOBODY, VERDICT_UNKNOWN, VERDICT_FINISH, VERDICT_RETIRED };

static enum verdict who_did_it(const struct stage *s, uint64_t *ret)
{
    const struct lease *l = &s->lease;
    *ret = stage_slot_chunk(s);
    bool believed = s->kill_code != PWC__CODE__CODE_PROTOCOL;
    if (l->shared)
        return VERDICT_UNKNOWN;
    if (stage_went_on(s))
        return VERDICT_NOBODY;
    if (l->small && believed && stage_slot_lease(s) != l->id)
        return VERDICT_NOBODY; /* not begun: the slot still says the one before */
    if (believed && stage_slot_lease(s) == l->id && *ret >= l->first && *ret < l->end)
        return VERDICT_CHUNK;
    if (stage_slot_finishes(s))
        return VERDICT_FINISH;
    if (believed && (*ret == SLOT_IDLE || stage_slot_past(s)))
        return VERDICT_NOBODY;
    *ret = l->first;
    return l->end - l->first == 1 ? VERDICT_CHUNK : VERDICT_UNKNOWN;
}

/* No chunk is charged: who watches the job hears of it all the same. */
static void tell_death(struct job *j, const struct stage *s)
{
    const struct death *x = j->last_death;
    if (j->state != PWC__JOB_STATE__JOB_ENDING && x != NULL && x->stage == s->id)
        events_death(j, PWC__EVENT_KIND__EVENT_DEATH, x);
}

static void lost_to_nobody(struct job *j, const struct stage *s)
{
    if (++j->idle_losses > MAX(IDLE_LOSSES_MAX, j->budget.retries[CAUSE_CRASH]))
        job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_CRASH, "%s",
                j->last_death != NULL ? j->last_death->reason : "its workers die between chunks");
    else
        tell_death(j, s);
}

/* Of whose end it is not known what it was, though the chunk went to others: one attempt at most. Two would
 * be told, and counted, in any order. */
static struct stage *ended_before(const struct job *j, uint64_t chunk)
{
    struct stage *s;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (s->job == j && s->handed != NULL && s->handed->chunk == chunk)
            return s;
    }
    return NULL;
}

/*
 * May its chunks go to others before it is known of what it died? Only if it makes no difference: the slot
 * names one that will be tried again, be it a crash or want of memory, and the stage had no word in it
 * itself: an obituary may say that the input is to blame.
 */
static bool tried_again_anyway(const struct job *j, const struct stage *s, uint64_t *ret_chunk)
{
    const struct lease *l = &s->lease;
    return l->kind == LEASE_CHUNKS && !l->small && j->state == PWC__JOB_STATE__JOB_RUNNING &&
           atomic_load(&s->seg->obituary.ready) == 0 && who_did_it(s, ret_chunk) == VERDICT_CHUNK &&
           ended_before(j, *ret_chunk) == NULL &&
           ledger_left(&j->ledger, *ret_chunk, CAUSE_CRASH, &j->budget) > 0 &&
           ledger_left(&j->ledger, *ret_chunk, CAUSE_OOM, &j->budget) > 0;
}

static struct handed *handed_new(const struct job *j, uint64_t chunk)
{
    const char *input = job_input(j, chunk);
    struct handed *h = xcalloc(1, sizeof *h + strlen(input) + 1);
    h->chunk = chunk;
    h->attempt = ledger_attempt(&j->ledger, chunk);
    for (int i = 0; i < CAUSES; i++)
        h->left[i] = ledger_left(&j->ledger, chunk, (enum cause)i, &j->budget);
    job_covers(j, chunk, h->covers, sizeof h->covers);
    memcpy(h->input, input, strlen(input) + 1);
    return h;
}

/* The stage keeps its lease, of no chunks now and without the seat, so that its job does not end before the
 * death is told. */
void flow_stage_ends(struct stage *s)
{
    small_take_back(s);
    struct job *j = s->job;
    struct lease *l = &s->lease;
    uint64_t chunk;
    if (j == NULL || !tried_again_anyway(j, s, &chunk))
        return;
    pool_rest(s->d->pool);
    l->why = PWC__CODE__CODE_CRASH; /* says its trace; the chunk's retry tells the cause that turns out */
    trace_stage_died(s, l->why);
    dispatch_let_go(s);
    trace_ended(j, s);
    s->handed = handed_new(j, chunk);
    j->ledger.redone += l->end - l->first - 1;
    ledger_give_back(&j->ledger, l->first, chunk);
    ledger_give_back(&j->ledger, chunk + 1, l->end);
    ledger_charge(&j->ledger, chunk, CAUSE_CRASH, &j->budget);
    l->end = l->first;
    flow_after(j);
}

/* Charged as a crash it was. Within the budget of what it was instead: none was charged since. */
static void settle_handed(struct job *j, struct stage *s)
{
    const struct death *x = j->last_death;
    uint64_t chunk = s->handed->chunk;
    bool called_back = j->state == PWC__JOB_STATE__JOB_ENDING && j->outcome != PWC__JOB_STATE__JOB_DONE &&
                       j->outcome != PWC__JOB_STATE__JOB_PARTIAL;
    dispatch_release(s, true);
    if (x == NULL || x->stage != s->id || x->chunk != chunk || x->attempt != s->handed->attempt)
        return; /* the daemon ends */
    ledger_recharge(&j->ledger, chunk, CAUSE_CRASH, cause_of(x->code));
    if (called_back || iset_has(&j->ledger.bad, chunk))
        return;
    solo_chunk(j, chunk, x);
    trace_chunk(j, TRACE_RETRY, chunk, x->code, x->attempt);
    events_death(j, PWC__EVENT_KIND__EVENT_RETRY, x);
}

/* A lack is waited for where something is to begin; this began, and was for nothing. */
static void lost_to_a_lack(struct job *j, const struct stage *s, enum lease_kind kind)
{
    char why[LACK_TEXT];
    if (!s->lacked)
        return;
    bool again =
        kind == LEASE_CONSUME ? ++j->lack_restarts <= LACK_RESTARTS_MAX : ++j->lack_losses <= LACK_LOSSES_MAX;
    if (!again)
        job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_NO_MEMORY, "%s",
                lack_now(j->d, why) ? why : "pwcd lacks descriptors again and again");
}

static void lost_chunks(struct job *j, struct stage *s)
{
    if (s->handed != NULL) {
        settle_handed(j, s);
        return;
    }
    uint64_t chunk;
    enum verdict verdict = stage_retired(s) ? VERDICT_RETIRED : who_did_it(s, &chunk);
    struct lease l = s->lease;
    dispatch_release(s, true);
    j->ledger.redone += l.end - l.first - (verdict == VERDICT_CHUNK ? 1 : 0);
    if (j->state == PWC__JOB_STATE__JOB_ENDING || l.first == l.end || verdict == VERDICT_NOBODY ||
        verdict == VERDICT_FINISH || verdict == VERDICT_RETIRED) {
        ledger_give_back(&j->ledger, l.first, l.end);
        if (verdict == VERDICT_NOBODY)
            lost_to_nobody(j, s);
        else if (verdict == VERDICT_RETIRED && j->state != PWC__JOB_STATE__JOB_ENDING)
            lost_to_a_lack(j, s, LEASE_CHUNKS);
        else if (verdict == VERDICT_FINISH && j->state != PWC__JOB_STATE__JOB_ENDING)
            flow_charge_role(j, LEASE_FINISH, j->last_death);
    } else if (verdict == VERDICT_UNKNOWN) {
        ledger_suspect(&j->ledger, l.first, l.end);
        j->alone = true;
        tell_death(j, s);
    } else {
        ledger_give_back(&j->ledger, l.first, chunk);
        ledger_give_back(&j->ledger, chunk + 1, l.end);
        flow_charge(j, chunk, j->last_death);
    }
}

/* The next consumer starts from nothing. A windowed raster has given its beginning back: there the producer
 * starts again with it. */
static void consumer_restarts(struct job *j)
{
    trace_restart(j);
    if (!j->windowed) {
        assembly_restart(&j->assembly, &j->ledger);
        return;
    }
    assembly_rewind(&j->assembly, &j->ledger);
    j->produced = false;
    if (j->producer != NULL)
        stage_kill(j->producer, PWC__CODE__CODE_OK, "its job starts again");
}

void flow_role_lost(struct job *j, enum lease_kind role, const struct death *x)
{
    flow_charge_role(j, role, x);
    if (role == LEASE_CONSUME && j->state == PWC__JOB_STATE__JOB_RUNNING)
        consumer_restarts(j);
}

static void role_retired(struct job *j, const struct stage *s, enum lease_kind role)
{
    lost_to_a_lack(j, s, role);
    if (role == LEASE_CONSUME && j->state == PWC__JOB_STATE__JOB_RUNNING)
        consumer_restarts(j);
}

/* Who was retired, be it because pwcd lacks something, or dies because the daemon ends, is not charged. */
static void lost_lease(struct job *j, struct stage *s)
{
    enum lease_kind kind = s->lease.kind;
    bool ending = j->state == PWC__JOB_STATE__JOB_ENDING;
    const struct death *x = j->last_death;
    if (kind == LEASE_CHUNKS) {
        lost_chunks(j, s);
        return;
    }
    if (j->planner == s)
        j->planner = NULL;
    if (j->producer == s)
        j->producer = NULL;
    if (j->consumer == s)
        j->consumer = NULL;
    dispatch_release(s, true);
    if (!ending && stage_retired(s))
        role_retired(j, s, kind);
    else if (!ending && x != NULL && x->stage == s->id)
        flow_role_lost(j, kind, x);
}

/* Retired ones held no lease, or one that nobody wanted any more. */
static Pwc__Code why_gone(const struct stage *s)
{
    const struct death *x = s->job != NULL ? s->job->last_death : NULL;
    if (stage_retired(s))
        return s->lease.kind != LEASE_NONE ? PWC__CODE__CODE_CANCELLED : PWC__CODE__CODE_OK;
    if (x != NULL && x->stage == s->id)
        return x->code;
    return s->kill_code != PWC__CODE__CODE_OK ? s->kill_code : PWC__CODE__CODE_CRASH;
}

void flow_settle_before(struct job *j, uint64_t chunk)
{
    struct stage *s = ended_before(j, chunk);
    if (s != NULL)
        flow_write_off(s);
}

void flow_stage_dies(struct stage *s)
{
    uint64_t chunk;
    if (s->lease.kind == LEASE_CHUNKS && s->handed == NULL && who_did_it(s, &chunk) == VERDICT_CHUNK)
        flow_settle_before(s->job, chunk);
}

void flow_write_off(struct stage *s)
{
    s->written_off = true;
    small_take_back(s);
    if (s->lease.kind == LEASE_CHUNKS && s->job->absorb == PWC__ABSORB__ABSORB_PLACED && !s->ends)
        s->may_write = s->job->id;
    if (!stage_retired(s)) { /* else it dies of nothing */
        flow_stage_dies(s);
        deaths_record(s, NULL);
    }
    flow_stage_gone(s);
}

void flow_stage_gone(struct stage *s)
{
    small_take_back(s);
    struct job *j = s->job;
    s->lease.why = why_gone(s);
    trace_stage_died(s, s->lease.why);
    if (j != NULL && s->lease.kind != LEASE_NONE) {
        lost_lease(j, s);
        if (!job_is_terminal(j))
            flow_after(j);
    }
    flow_release_arena(s);
}

/* And nothing goes on for the job before it has one: its consumer alone puts nothing together. */
static bool waits_for_stage(const struct job *j, const struct user *whose, uint32_t needs)
{
    if (whose != NULL && j->op->needs != needs)
        return false;
    bool producer = j->producer_needed && !j->produced && j->producer == NULL;
    bool waits = j->stages_on == 0 ? !job_awaits_client(j)
                                   : j->planner == NULL && j->workers_on == 0 &&
                                         (producer || ledger_waiting(&j->ledger) > 0);
    return waits && pool_count(j->d->pool, STAGE_IDLE, j->domain) == 0;
}

void flow_cannot_start(struct daemon *d, const struct user *whose, uint32_t needs, const char *why)
{
    struct user *u;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        struct job *j, *next;
        for (j = whose == NULL || u == whose ? TAILQ_FIRST(&u->active) : NULL; j != NULL; j = next) {
            next = TAILQ_NEXT(j, link);
            if (waits_for_stage(j, whose, needs))
                job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_START, "no stage can be started: %s",
                        why);
        }
    }
}
