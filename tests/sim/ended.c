/*
 * ended.c - a job that has ended: is the outcome right? One that ended well must have the results of a world
 * without faults, for all chunks but those that were given up; one that did not, a reason this world knows
 * of.
 */
#include <string.h>

#include "daemon/events.h"
#include "daemon/lack.h"
#include "tests/sim/sim.h"

#define LACK_LEAST (9500 * NS_PER_MS) /* ten seconds, and what somebody says late */

void __real_events_finished(struct job *j);
void __wrap_events_finished(struct job *j);

static uint64_t expected_hash(const struct spec *s)
{
    uint64_t h = 0;
    for (uint64_t c = 0; c < s->chunks; c++)
        h = sim_mix(h, (s->bad >> c & 1) != 0 ? SIM_HOLE : spec_value(s, c));
    return h;
}

static uint64_t result_of(const struct job *j, const char *name)
{
    ProtobufCMessage *m = msg_unpack(msg_find(PWC_MSG_FINISHED), j->results, j->results_len);
    const Pwc__Finished *f = (const Pwc__Finished *)m;
    SIM_CHECK(m != NULL, "job %lu: its results do not parse", (ul)j->id);
    uint64_t value = 0;
    bool found = false;
    for (size_t i = 0; i < f->n_results; i++)
        if (strcmp(f->results[i]->name, name) == 0) {
            value = f->results[i]->value->u64;
            found = true;
        }
    SIM_CHECK(found, "job %lu ended well without its result %s", (ul)j->id, name);
    msg_free(m);
    return value;
}

/* All its chunks make one output, or one result. */
static bool makes_one(const struct spec *s)
{
    return s->op == OP_SERIAL || s->op == OP_PLACED || s->op == OP_FOLD;
}

/* As many successes as it was to have, though it had tried everything by then. */
static bool has_enough(const struct spec *s, const struct job *j)
{
    uint64_t bad = (uint64_t)__builtin_popcountll(s->bad);
    return j->halt.what == HALT_SUCCESS && !makes_one(s) &&
           halt_check(&j->halt, s->chunks, s->chunks - bad, bad) != HALT_NEVER;
}

static void check_results(const struct spec *s, const struct job *j)
{
    uint64_t all = chunk_bits(0, s->chunks), good = all & ~s->bad, sum = 0;
    if (strncmp(job_reason(j), "halted", 6) == 0) {
        SIM_CHECK(!makes_one(s), "job %lu ended well with half an output, or result", (ul)j->id);
        return; /* as it was asked to: with what there was */
    }
    SIM_CHECK((s->computed & good) == good, "job %lu ended well, but nobody computed chunks %lx", (ul)j->id,
              (ul)(good & ~s->computed));
    SIM_CHECK((s->bad == 0 || has_enough(s, j)) == (j->state == PWC__JOB_STATE__JOB_DONE),
              "job %lu: %s, given up: %lx", (ul)j->id, job_state_name(j->state), (ul)s->bad);
    for (uint64_t c = 0; c < s->chunks; c++)
        if ((good >> c & 1) != 0)
            sum += spec_value(s, c);
    if (s->op == OP_FOLD || s->op == OP_COUNT_FOLD) {
        SIM_CHECK(s->whole || result_of(j, "count") == (uint64_t)__builtin_popcountll(good),
                  "job %lu: %lu chunks count, %d should", (ul)j->id, (ul)result_of(j, "count"),
                  __builtin_popcountll(good));
        SIM_CHECK(s->whole || result_of(j, "sum") == sum, "job %lu: its sum is wrong", (ul)j->id);
    }
    SIM_CHECK(s->op != OP_PLACED || s->blanked == s->bad, "job %lu: given up %lx, filled %lx", (ul)j->id,
              (ul)s->bad, (ul)s->blanked);
    SIM_CHECK(!proc_may_write(s) || strstr(job_reason(j), "may still write") != NULL,
              "job %lu: somebody may still write over what was filled: %s", (ul)j->id, job_reason(j));
    if (s->op == OP_SERIAL && !s->whole)
        SIM_CHECK(result_of(j, "hash") == expected_hash(s), "job %lu: its stream is wrong", (ul)j->id);
    if (s->whole)
        SIM_CHECK(result_of(j, "hash") == spec_value(s, 0), "job %lu: its whole result is wrong", (ul)j->id);
}

/* What stages hold that wait for jobs of others would have done. It may have waited for the end of its own
 * since. */
static void check_nothing_kept(const struct job *j)
{
    const struct stage *x;
    TAILQ_FOREACH(x, &j->d->pool->stages, link)
    {
        SIM_CHECK(x->state != STAGE_IDLE || x->domain == j->domain || j->lack_at.ns - x->since.ns < NS_PER_S,
                  "job %lu failed, and stage %lu is idle: %s", (ul)j->id, (ul)x->id, job_reason(j));
    }
}

/* The descriptors of a job that is no batch are sent once. */
static bool lost(const struct spec *s, const struct job *j)
{
    return s->item_lost && !j->batch && strstr(job_reason(j), "cannot make room for the descriptors") != NULL;
}

/* While pwcd itself could not make something; and nothing was done of the job for as long as it may wait. */
static bool lacked(const struct spec *s, const struct job *j)
{
    if (j->lack_losses > LACK_LOSSES_MAX || j->lack_restarts > LACK_RESTARTS_MAX)
        return true;
    if (!W.scarce || strncmp(job_reason(j), "pwcd cannot make", 16) != 0)
        return false;
    int64_t moved = MAX(s->moved, j->born.ns);
    SIM_CHECK(sim_now() - moved > LACK_LEAST, "job %lu failed %ld ms after something was done of it: %s",
              (ul)j->id, (long)((sim_now() - moved) / NS_PER_MS), job_reason(j));
    check_nothing_kept(j);
    return true;
}

/* A job may end badly only for a reason this world knows of. */
static void check_reason(const struct spec *s, const struct job *j)
{
    bool cursed = s->client->uid == W.cursed && j->op->needs == W.cursed_needs;
    bool faults = s->trouble > 0 || W.start_troubles > 0 || cursed;
    if (j->state == PWC__JOB_STATE__JOB_CANCELLED)
        SIM_CHECK(s->cancelled || s->client_gone || W.ending, "job %lu is cancelled, but by nobody: %s",
                  (ul)j->id, job_reason(j));
    else if (j->code == PWC__CODE__CODE_TIMEOUT && strstr(job_reason(j), "job's time") != NULL)
        SIM_CHECK(j->job_timeout_ns > 0, "job %lu timed out without a limit", (ul)j->id);
    else if (j->state == PWC__JOB_STATE__JOB_FAILED)
        SIM_CHECK(lost(s, j) || lacked(s, j) || faults || W.ending ||
                      (j->halt.what != HALT_FAIL && strncmp(job_reason(j), "halted", 6) == 0),
                  "job %lu failed, but nothing happened to it: %s", (ul)j->id, job_reason(j));
    SIM_CHECK(strcmp(job_reason(j), "no stage can be started: ") != 0, "job %lu: %sit is not said why",
              (ul)j->id, job_reason(j));
    SIM_CHECK(job_reason(j)[0] != '\0' || j->state == PWC__JOB_STATE__JOB_DONE,
              "job %lu failed without a reason", (ul)j->id);
}

/* job_settle tells of the end before it lets go of the job; who attaches later is told again. */
void __wrap_events_finished(struct job *j)
{
    struct spec *s = spec_of_job(j->id);
    __real_events_finished(j);
    if (j->params == NULL)
        return;
    sim_log("job %lu has ended: %s, code %d, %s", (ul)j->id, job_state_name(j->state), (int)j->code,
            job_reason(j));
    SIM_CHECK(job_is_terminal(j) && ++s->terminals == 1, "job %lu ended twice", (ul)j->id);
    s->end_state = j->state;
    if (j->state == PWC__JOB_STATE__JOB_DONE || j->state == PWC__JOB_STATE__JOB_PARTIAL)
        check_results(s, j);
    else
        check_reason(s, j);
}
