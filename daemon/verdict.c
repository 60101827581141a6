/* verdict.c - see job.h: whether a job is over, and as what: done, partial, halted, or failed by how many
 * failures. Counts are the ledger's, what was given up the quarantine's; ending it is job.c's. */
#include <stdio.h>

#include "daemon/job.h"
#include "daemon/pool.h"
#include "daemon/quarantine.h"
#include "daemon/stage.h"

/* What it was at in the kernel when it was killed may go through yet: over what was filled in its place. */
static const struct stage *may_still_write(const struct job *j)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (s->may_write == j->id && iset_has(&j->ledger.bad, stage_slot_chunk(s)))
            return s;
    }
    return NULL;
}

static void partial(struct job *j)
{
    char late[96] = "";
    const struct stage *s = may_still_write(j);
    if (s != NULL)
        snprintf(late, sizeof late, "; process %d, which does not end, may still write over what was filled",
                 s->pid);
    job_end(j, PWC__JOB_STATE__JOB_PARTIAL, PWC__CODE__CODE_OP, "%lu of %lu %s failed%s",
            (unsigned long)j->ledger.bad.count, (unsigned long)j->ledger.total, j->batch ? "items" : "chunks",
            late);
}

static const char *const halt_words[] = {
    [HALT_FAIL] = "failures", [HALT_SUCCESS] = "successes", [HALT_DONE] = "chunks"};

/* All chunks make one thing, of which nobody may get a part; NULL: each is worth something by itself. */
static const char *half_of_what(const struct job *j)
{
    if (j->batch)
        return NULL;
    for (unsigned i = 0; i < j->nroles; i++)
        if (j->roles[i].out)
            return ": its output is not whole";
    return j->absorb == PWC__ABSORB__ABSORB_FOLDED && !j->op->results_optional ? ": its result is not whole"
                                                                               : NULL;
}

/* As many successes as were asked for, be it with the last chunk: then it is done, whatever was given up. */
static bool successes_suffice(const struct job *j)
{
    const struct ledger *l = &j->ledger;
    return j->halt.what == HALT_SUCCESS && half_of_what(j) == NULL &&
           halt_check(&j->halt, l->total, l->done.count, l->bad.count) != HALT_NEVER;
}

static void partial_or_done(struct job *j)
{
    if (j->ledger.bad.count == 0 || successes_suffice(j))
        job_end(j, PWC__JOB_STATE__JOB_DONE, PWC__CODE__CODE_OK, "%s", "");
    else
        partial(j);
}

/* A halt on failures is a failure, and the last of them the reason; one on successes was asked for, however
 * many failures there were. */
static void halt_now(struct job *j)
{
    bool failed = j->halt.what == HALT_FAIL;
    const char *half = failed ? NULL : half_of_what(j);
    bool some_bad = j->halt.what == HALT_DONE && j->ledger.bad.count > 0;
    const struct given_up *last = failed ? quarantine_last(j) : NULL;
    Pwc__JobState state = failed || half != NULL ? PWC__JOB_STATE__JOB_FAILED
                          : some_bad             ? PWC__JOB_STATE__JOB_PARTIAL
                                                 : PWC__JOB_STATE__JOB_DONE;
    Pwc__Code well = state == PWC__JOB_STATE__JOB_DONE ? PWC__CODE__CODE_OK : PWC__CODE__CODE_OP;
    const char *more = last != NULL ? "; the last: " : half != NULL ? half : "";
    job_end(j, state, last != NULL ? last->code : well, "halted after %g%s %s%s%s", j->halt.limit,
            j->halt.percent ? " %" : "", halt_words[j->halt.what], more, last != NULL ? last->reason : "");
}

/* Decided once: a consumer that dies takes chunks back that had counted. */
static void check_halt(struct job *j)
{
    enum halt_when when = halt_check(&j->halt, j->ledger.total, j->ledger.done.count, j->ledger.bad.count);
    if ((when == HALT_NEVER && !j->halting) || (ledger_complete(&j->ledger) && j->halt.what != HALT_FAIL))
        return; /* as many failures are one failure, be they among the last */
    j->halting = true;
    if (when == HALT_NOW || j->workers_on == 0)
        halt_now(j);
}

void job_failures(struct job *j, Pwc__Code code, const char *last)
{
    if (j->ledger.bad.count > j->max_failures)
        job_end(j, PWC__JOB_STATE__JOB_FAILED, code, "more than %lu failures; the last: %s",
                (unsigned long)j->max_failures, last);
    else if (ledger_overflows(&j->ledger, j->absorb == PWC__ABSORB__ABSORB_SERIAL))
        job_end(j, PWC__JOB_STATE__JOB_FAILED, code,
                "%lu failures, more than can be remembered; the last: %s", (unsigned long)j->ledger.bad.count,
                last);
    else if (j->records_wait > PWC_FAILURES_MAX)
        job_end(j, PWC__JOB_STATE__JOB_FAILED, code,
                "%zu records of failures that nobody has taken, more than are kept; the last: %s",
                j->records_wait, last);
}

static bool may_be_over(const struct job *j)
{
    return j->state == PWC__JOB_STATE__JOB_RUNNING ||
           (j->state == PWC__JOB_STATE__JOB_QUEUED && j->planned); /* of none, or the first are refused */
}

void job_check(struct job *j)
{
    if (may_be_over(j))
        check_halt(j);
    if (!may_be_over(j) || !ledger_complete(&j->ledger))
        return;
    daemon_touch(j->d);
    if (j->absorb == PWC__ABSORB__ABSORB_FOLDED && !j->got_results)
        return;
    if (j->absorb == PWC__ABSORB__ABSORB_SERIAL && !j->consumed)
        return;
    uint64_t blank;
    if (quarantine_blank(j, &blank))
        return;
    partial_or_done(j);
}
