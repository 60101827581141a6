/*
 * reports.c - what workers and planners say at the end of their leases: what counts, what is done again, what
 * is given up. See flow.h.
 */
#include <string.h>

#include "daemon/deaths.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/quarantine.h"
#include "daemon/small.h"
#include "daemon/solo.h"
#include "daemon/trace.h"

/* ---- chunks that ended badly ---- */

static void item_gave_up(struct job *j, uint64_t chunk, const struct death *x)
{
    j->failed_items++;
    job_item_done(j, chunk, x->code, x->reason, x->attempt);
}

static void gave_up(struct job *j, uint64_t chunk, const struct death *x)
{
    quarantine_add(j, chunk, x->code, x->attempt, j->batch ? x->input : x->covers, x->reason);
    trace_chunk(j, TRACE_GAVE_UP, chunk, x->code, x->attempt);
    events_death(j, PWC__EVENT_KIND__EVENT_QUARANTINE, x);
    events_chunks(j, chunk, 1, x->code, x->attempt, x->reason);
    if (j->batch)
        item_gave_up(j, chunk, x);
    else if (j->on_failure == PWC__ON_FAILURE__ON_FAILURE_FAIL)
        job_end(j, PWC__JOB_STATE__JOB_FAILED, x->code, "%s", x->reason);
    else if (j->absorb == PWC__ABSORB__ABSORB_SERIAL)
        assembly_add_hole(&j->assembly, chunk);
    job_failures(j, x->code, x->reason);
    job_check(j);
}

/* The chunk is held. The death or error was recorded as x. */
void flow_charge(struct job *j, uint64_t chunk, const struct death *x)
{
    if (!ledger_charge(&j->ledger, chunk, cause_of(x->code), &j->budget)) {
        gave_up(j, chunk, x);
        return;
    }
    solo_chunk(j, chunk, x);
    trace_chunk(j, TRACE_RETRY, chunk, x->code, x->attempt);
    events_death(j, PWC__EVENT_KIND__EVENT_RETRY, x);
}

/* ---- reports ---- */

void flow_keep_results(struct job *j, Pwc__Param **results, size_t n)
{
    Pwc__Finished carrier = PWC__FINISHED__INIT;
    carrier.results = results;
    carrier.n_results = n;
    free(j->results);
    j->results_len = pwc__finished__get_packed_size(&carrier);
    j->results = xcalloc(1, j->results_len);
    pwc__finished__pack(&carrier, j->results);
    j->got_results = true;
}

/* The tail holds one state, u32 length and bytes. */
static bool state_fits(const struct frame *f)
{
    uint32_t n;
    if (f->tail_len <= sizeof n)
        return false;
    memcpy(&n, f->tail, sizeof n);
    return n == f->tail_len - sizeof n && n <= PWC_STATE_MAX;
}

static void keep_state(struct job *j, const struct frame *f)
{
    size_t n = f->tail_len - sizeof(uint32_t);
    struct fold_state *st = xcalloc(1, sizeof *st + n);
    st->len = n;
    memcpy(st->bytes, f->tail + sizeof(uint32_t), n);
    STAILQ_INSERT_TAIL(&j->states, st, link);
}

void flow_charge_role(struct job *j, enum lease_kind role, const struct death *x)
{
    enum cause c = cause_of(x->code);
    solo_role(j, role, x);
    if (++j->role_charges[role][c] > j->budget.retries[c])
        job_end(j, PWC__JOB_STATE__JOB_FAILED, x->code, "%s", x->reason);
    else
        events_death(j, PWC__EVENT_KIND__EVENT_RETRY, x);
}

static void report_plan(struct job *j, const Stage__Report *m, const struct death *x)
{
    if (x != NULL) {
        flow_charge_role(j, LEASE_PLAN, x);
        return;
    }
    ledger_init(&j->ledger, 1, 1);
    uint64_t first;
    ledger_take(&j->ledger, 1, &first);
    ledger_report(&j->ledger, 0, 1);
    trace_announced(j, 1);
    j->state = PWC__JOB_STATE__JOB_RUNNING;
    j->absorb = PWC__ABSORB__ABSORB_NONE;
    j->bytes_out = m->bytes_out;
    flow_keep_results(j, m->results, m->n_results);
    events_chunks(j, 0, 1, PWC__CODE__CODE_OK, 1, "");
    job_check(j);
}

/* What was computed stays in the arena until the consumer has it; the rest of the lease's places are free. */
static void keep_in_arena(struct job *j, struct stage *s, uint64_t first, uint64_t done)
{
    if (s->lease.nplaces == 0)
        return;
    uint32_t kept = (uint32_t)MIN(done, (uint64_t)s->lease.nplaces);
    if (kept > 0)
        assembly_add(&j->assembly, s->arena, first, kept, s->lease.place);
    if (kept < s->lease.nplaces)
        arena_free_places(s->arena, s->lease.place + kept, s->lease.nplaces - kept);
    s->lease.nplaces = 0;
}

/* More than one chunk: it was the first attempt at each. */
static void items_reported(struct job *j, uint64_t first, uint64_t end, uint32_t attempt)
{
    for (uint64_t i = first; j->batch && i < end; i++)
        job_item_done(j, i, PWC__CODE__CODE_OK, "", attempt);
}

/* Results of all chunks but one that was recalled meanwhile: somebody will make them once more, of all. */
static bool results_are_late(const struct job *j, const struct lease *l)
{
    return l->final && l->recalls != j->recalls;
}

enum claim { CLAIM_TRUE, CLAIM_LATE, CLAIM_LIE };

/* Who stops before the end has an error to tell, or was told to: its job ends, its tail was to go to others,
 * or it was to begin no more small ones. */
static bool stops_for_nothing(const struct job *j, const struct lease *l, const Stage__Report *m)
{
    return m->code == PWC__CODE__CODE_OK && m->done < l->end - l->first && !l->small &&
           l->first + m->done < l->stop_least && j->state != PWC__JOB_STATE__JOB_ENDING;
}

/* A report that covers what its lease no longer holds is late: it is dropped whole, and what is still held is
 * done again. One that covers what its lease never held, stops before its end for nothing, or contradicts
 * itself is a lie. Only a final lease can fail with all its chunks done: in finishing. */
static enum claim judge(const struct job *j, const struct lease *l, const Stage__Report *m,
                        const struct frame *f)
{
    uint64_t held = l->end - l->first, given = l->given_end - l->first;
    bool error = m->code != PWC__CODE__CODE_OK;
    if (m->done > given || (error && m->failed != l->first + m->done) || stops_for_nothing(j, l, m))
        return CLAIM_LIE;
    if (m->done > held || (error && m->done == held && !l->final))
        return held < given ? CLAIM_LATE : CLAIM_LIE;
    if (m->done == held && results_are_late(j, l))
        return CLAIM_LATE;
    if (j->absorb != PWC__ABSORB__ABSORB_FOLDED || (l->final && m->done == held && !error))
        return CLAIM_TRUE;
    return (f->tail_len == 0 ? m->done == 0 : state_fits(f)) ? CLAIM_TRUE : CLAIM_LIE;
}

static void take_report(struct job *j, struct stage *s, const Stage__Report *m, const struct frame *f)
{
    struct lease *l = &s->lease;
    uint64_t first = l->first, end = first + m->done, held_end = l->end;
    bool error = m->code != PWC__CODE__CODE_OK;
    s->chunks += m->done;
    l->kept = m->done;
    l->why = m->code;
    BUG_ON(!ledger_report(&j->ledger, first, end));
    if (!l->small)
        pace_update(&j->pace, m->done, m->ns);
    else if (m->done > 0)
        small_took(j->d, j->op, m->ns);
    if (m->done > 0)
        j->idle_losses = j->lack_losses = 0;
    keep_in_arena(j, s, first, m->done);
    if (l->final && end == held_end && !error)
        flow_keep_results(j, m->results, m->n_results);
    else if (j->absorb == PWC__ABSORB__ABSORB_FOLDED && f->tail_len > 0)
        keep_state(j, f);
    uint64_t rest = end + (error ? 1 : 0);
    if (rest < held_end)
        ledger_give_back(&j->ledger, rest, held_end);
    items_reported(j, first, end, l->attempt);
    events_chunks(j, first, m->done, PWC__CODE__CODE_OK, l->attempt, "");
}

void flow_after(struct job *j)
{
    j->progress_due = true;
    if (j->state == PWC__JOB_STATE__JOB_ENDING) {
        if (j->stages_on == 0)
            job_settle(j);
        return;
    }
    flow_feed(j);
    job_check(j);
}

void flow_retire_if_used(struct stage *s, const struct job *j)
{
    if (j->isolation == PWC__ISOLATION__ISOLATION_CHUNK && s->state == STAGE_IDLE)
        stage_kill(s, PWC__CODE__CODE_OK, "one process a chunk");
}

void flow_retire_if_full(struct stage *s, Pwc__Code why)
{
    if (why == PWC__CODE__CODE_NO_MEMORY && s->leases > 1 && s->state == STAGE_IDLE)
        stage_kill(s, PWC__CODE__CODE_OK, "what it keeps may be what was lacking");
}

static void give_back_lease(struct job *j, struct stage *s, Pwc__Code why, bool keep_states)
{
    s->lease.why = why;
    ledger_give_back(&j->ledger, s->lease.first, s->lease.end);
    dispatch_release(s, keep_states);
}

/* Perhaps its arena has no pages: the next attempt, or the next job, gets another one. */
static void doubt_arena(struct stage *s, const Stage__Report *m)
{
    if (m->code == PWC__CODE__CODE_NO_MEMORY)
        flow_release_arena(s);
}

static struct op_error op_error_of(const Stage__Report *m)
{
    return (struct op_error){m->code, m->reason, m->cpu_ns, m->rss_before, m->rss_peak};
}

static void report_chunks(struct job *j, struct stage *s, const Stage__Report *m, const struct frame *f)
{
    bool error = m->code != PWC__CODE__CODE_OK;
    if (error)
        flow_settle_before(j, m->failed); /* of which the job may end */
    if (j->state == PWC__JOB_STATE__JOB_ENDING) {
        give_back_lease(j, s, PWC__CODE__CODE_CANCELLED, false);
        doubt_arena(s, m);
        return;
    }
    if (judge(j, &s->lease, m, f) == CLAIM_LATE) {
        s->d->totals.dropped++;
        j->ledger.redone += s->lease.end - s->lease.first;
        give_back_lease(j, s, PWC__CODE__CODE_STATE, true);
        return;
    }
    bool finishing = error && m->done == s->lease.end - s->lease.first;
    const struct death *x = NULL;
    struct op_error why = op_error_of(m);
    if (error)
        x = finishing ? deaths_refused(s, LEASE_FINISH, false, &why) : deaths_error(s, m->failed, &why);
    take_report(j, s, m, f);
    /* Without a chunk done and a state sent nothing was folded: what it was handed is wanted again. */
    dispatch_release(s, m->done == 0 && f->tail_len == 0);
    doubt_arena(s, m);
    if (finishing)
        flow_charge_role(j, LEASE_FINISH, x);
    else if (error)
        flow_charge(j, m->failed, x);
}

/* Unless it was handed all states there are, it owes one that holds what it was handed. */
static bool finish_is_lie(const struct job *j, const struct lease *l, const Stage__Report *m,
                          const struct frame *f)
{
    if (m->code != PWC__CODE__CODE_OK)
        return false;
    if (j->absorb == PWC__ABSORB__ABSORB_PLACED)
        return m->done != 1;
    return !l->final && !state_fits(f);
}

static void report_blank(struct job *j, struct stage *s, const Stage__Report *m, const struct death *x)
{
    uint64_t chunk;
    if (m->code == PWC__CODE__CODE_OK && quarantine_blank(j, &chunk))
        j->filled = chunk + 1;
    s->lease.why = m->code;
    dispatch_release(s, false);
    if (x != NULL)
        flow_charge_role(j, LEASE_FINISH, x);
}

static void report_finish(struct job *j, struct stage *s, const Stage__Report *m, const struct frame *f,
                          const struct death *x)
{
    bool error = m->code != PWC__CODE__CODE_OK;
    if (results_are_late(j, &s->lease)) {
        s->d->totals.dropped++;
        s->lease.why = PWC__CODE__CODE_STATE;
        dispatch_release(s, true);
        return;
    }
    if (!error && s->lease.final)
        flow_keep_results(j, m->results, m->n_results);
    else if (!error)
        keep_state(j, f);
    s->lease.why = m->code;
    dispatch_release(s, error);
    if (x != NULL)
        flow_charge_role(j, LEASE_FINISH, x);
}

void flow_report(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Stage__Report *m = (const Stage__Report *)msg;
    enum lease_kind kind = s->lease.kind;
    struct job *j = small_face_lease(s, m->lease) ? s->job : NULL;
    if (j == NULL || m->job != j->id || kind == LEASE_PRODUCE || kind == LEASE_CONSUME) {
        s->d->totals.dropped++;
        return;
    }
    if ((kind == LEASE_CHUNKS && judge(j, &s->lease, m, f) == CLAIM_LIE) ||
        (kind == LEASE_FINISH && finish_is_lie(j, &s->lease, m, f))) {
        stage_garbage(s, "reported what cannot be true");
        return;
    }
    const struct death *x = NULL;
    struct op_error why = op_error_of(m);
    if (kind != LEASE_CHUNKS && m->code != PWC__CODE__CODE_OK && j->state != PWC__JOB_STATE__JOB_ENDING)
        x = deaths_refused(s, kind, m->whole, &why);
    if (kind == LEASE_CHUNKS) {
        report_chunks(j, s, m, f);
    } else if (kind == LEASE_FINISH && j->absorb == PWC__ABSORB__ABSORB_PLACED) {
        report_blank(j, s, m, x);
    } else if (kind == LEASE_FINISH) {
        report_finish(j, s, m, f, x);
    } else {
        j->planner = NULL;
        s->lease.why = m->code;
        s->lease.kept = m->code == PWC__CODE__CODE_OK && j->state != PWC__JOB_STATE__JOB_ENDING ? 1 : 0;
        dispatch_release(s, false);
        if (j->state != PWC__JOB_STATE__JOB_ENDING)
            report_plan(j, m, x);
    }
    if (m->code == PWC__CODE__CODE_NO_MEMORY) /* a job that could not be opened stays so until it is anew */
        flow_forget_open(s, j->id);
    flow_retire_if_full(s, m->code);
    flow_retire_if_used(s, j);
    if (!job_is_terminal(j))
        flow_after(j);
}

void flow_small_done(struct stage *s, struct frame *f, const ProtobufCMessage *msg)
{
    const Stage__SmallDone *m = (const Stage__SmallDone *)msg;
    Stage__Report r = STAGE__REPORT__INIT;
    r.lease = m->lease;
    r.job = m->job;
    r.done = 1;
    r.ns = r.cpu_ns = m->ns;
    flow_report(s, f, &r.base);
}
