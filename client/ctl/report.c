/* report.c - what happened: results on stdout; deaths, the summary and reasons on stderr. */
#include <inttypes.h>
#include <string.h>

#include "client/ctl/trace.h"

/* From the fields, for a death that came without a sentence. */
static void compose_death(const struct pwc_death *d, char *buf, size_t size)
{
    char what[160], how[160];
    if (d->in_chunk)
        snprintf(what, sizeof what, d->covers[0] != '\0' ? "chunk %" PRIu64 " (%s)" : "chunk %" PRIu64,
                 d->chunk, d->covers);
    else
        snprintf(what, sizeof what, "%s %u between chunks", d->role[0] != '\0' ? d->role : "stage", d->pid);
    if (d->signal != 0)
        snprintf(how, sizeof how, "killed by %s", signal_name(d->signal));
    else
        snprintf(how, sizeof how, "%s", pwc_code_name(d->code));
    int n = snprintf(buf, size, "%s %s", what, how);
    if (d->attempt > 0 && n > 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, ", attempt %u of %u", d->attempt, d->attempts_max);
}

/* "chunk 17 (rows 2176 to 2303) killed by SIGSEGV, attempt 1 of 3" */
const char *death_text(const struct pwc_death *d, char *buf, size_t size)
{
    if (d->reason[0] != '\0')
        snprintf(buf, size, "%s", d->reason);
    else
        compose_death(d, buf, size);
    return buf;
}

/* A text has "?" where a name has bytes that are no character. */
static bool says(const char *covers, const char *input)
{
    while (*input != '\0' && (*covers == *input || (*covers == '?' && (unsigned char)*input >= 0x80)))
        covers++, input++;
    return *input == '\0' && *covers == '\0';
}

char *input_text(const char *input, const char *covers)
{
    return one_line(text("%s", says(covers, input) ? "" : input));
}

void report_results(struct pwc_job *job, const char *prefix)
{
    size_t n = pwc_results(job);
    for (size_t i = 0; i < n; i++) {
        const char *name;
        struct pwc_value v;
        if (pwc_result(job, i, &name, &v) != PWC_OK)
            continue;
        size_t len = pwc_value_text(&v, NULL, 0);
        char *value = must(malloc(len + 1));
        pwc_value_text(&v, value, len + 1);
        printf("%s%s %s\n", prefix, name, value);
        free(value);
    }
}

static void json_account(struct json *j, struct trace *t)
{
    struct account a;
    if (t == NULL || t->job == 0)
        return;
    account_make(t, &a);
    account_json(j, "account", t, &a);
    account_free(&a);
}

void report_json(struct pwc_job *job, const char *op, const struct run *run)
{
    struct json j;
    struct pwc_counts counts;
    struct pwc_death death;
    size_t n = pwc_results(job);
    pwc_job_counts(job, &counts);
    json_open(&j, stdout);
    json_begin(&j, NULL, '{');
    json_str(&j, "schema", "pwc.job/1");
    json_u64(&j, "job", pwc_job_id(job));
    if (run != NULL)
        json_bool(&j, "existing", pwc_job_existing(job) != 0);
    if (op != NULL)
        json_str(&j, "op", op);
    json_str(&j, "state", pwc_job_state_name(pwc_job_state(job)));
    json_str(&j, "code", pwc_code_name(pwc_job_code(job)));
    json_str(&j, "reason", pwc_job_reason(job));
    json_begin(&j, "results", '{');
    for (size_t i = 0; i < n; i++) {
        const char *name;
        struct pwc_value v;
        if (pwc_result(job, i, &name, &v) == PWC_OK)
            json_value(&j, name, &v);
    }
    json_end(&j, '}');
    json_counts(&j, "counts", &counts);
    json_u64(&j, "queued_ns", pwc_job_queued_ns(job));
    json_u64(&j, "run_ns", pwc_job_run_ns(job));
    if (pwc_job_death(job, &death))
        json_death(&j, "death", &death);
    if (run != NULL && run->batch != NULL)
        batch_json(run, &j);
    if (run != NULL)
        json_account(&j, run->trace);
    json_end(&j, '}');
}

static void many(char *buf, size_t size, uint64_t n, const char *one, const char *more)
{
    size_t len = strlen(buf);
    snprintf(buf + len, size - len, "%s%" PRIu64 " %s", len > 0 ? ", " : "", n, n == 1 ? one : more);
}

static void summarize_trace(struct trace *t)
{
    struct account a;
    if (t == NULL || t->job == 0)
        return;
    account_make(t, &a);
    account_print(t, &a, note);
    account_free(&a);
}

void report_summary(const struct run *run)
{
    const struct options *o = &run->args->o;
    struct pwc_counts n;
    char line[256] = "", t[32];
    if (o->quiet || !(progress_on_terminal() || o->verbose))
        return;
    pwc_job_counts(run->job, &n);
    many(line, sizeof line, n.done, run->batch != NULL ? "file" : "chunk",
         run->batch != NULL ? "files" : "chunks");
    if (n.workers > 0) /* 0: small enough for the stage that planned it */
        many(line, sizeof line, n.workers, "worker", "workers");
    if (n.retried > 0)
        many(line, sizeof line, n.retried, "retry", "retries");
    if (n.deaths > 0)
        many(line, sizeof line, n.deaths, "death", "deaths");
    if (n.failed > 0)
        many(line, sizeof line, n.failed, "given up", "given up");
    const char *to = run->batch != NULL ? o->out_dir : run->out.name;
    if (pwc_job_existing(run->job)) /* it is where the first command put it */
        to = NULL;
    note("%s: %s, %s%s%s", run->rq.shape.name, line, duration_text(pwc_job_run_ns(run->job), t, sizeof t),
         to != NULL ? " -> " : "", to != NULL ? to : "");
    if (o->verbose)
        summarize_trace(run->trace);
}

/* A chunk that timed out is a failure of the job; the job's own limit is a time-out. Nor is it the daemon's
 * fault when a process that ran an op talks nonsense: like a crash. */
static int job_status(struct pwc_job *job, int code)
{
    struct pwc_death death;
    if ((code == PWC_TIMEOUT || code == PWC_STAGE_PROTOCOL) && pwc_job_death(job, &death))
        return EXIT_FAILED;
    return status_of(code);
}

/* "mask: too large" is about the file in that role. */
static const char *after_role(const char *why, const char *role)
{
    size_t n = role != NULL ? strlen(role) : 0;
    return n > 0 && strncmp(why, role, n) == 0 && strncmp(why + n, ": ", 2) == 0 ? why + n + 2 : NULL;
}

static const char *input_of(const struct request *rq, const char **why)
{
    const char *rest;
    for (size_t i = 0; i < rq->nextras; i++)
        if ((rest = after_role(*why, rq->extras[i].role)) != NULL) {
            *why = rest;
            return rq->extras[i].name;
        }
    if ((rest = after_role(*why, first_role(&rq->shape, false))) != NULL)
        *why = rest;
    return rq->nfiles > 0 ? rq->files[0] : NULL;
}

/* The file that a reason is about; NULL: none that we know. */
static const char *culprit(int code, const struct run *run, const char **why)
{
    const char *rest;
    if (run->batch != NULL)
        return NULL;
    switch (code) {
    case PWC_BAD_INPUT:
    case PWC_BUDGET:
    case PWC_INPUT_SHRANK:
    case PWC_INPUT_IO:
        if (after_role(*why, first_role(&run->rq.shape, true)) != NULL)
            return NULL; /* "out: 10^14 pixels are more than": no file's fault */
        return input_of(&run->rq, why);
    case PWC_OUTPUT:
    case PWC_OP:
        rest = after_role(*why, first_role(&run->rq.shape, true));
        if (rest == NULL && code == PWC_OP)
            return NULL; /* the op's own words are about no file */
        if (rest != NULL)
            *why = rest;
        return run->out.name;
    default:
        return NULL;
    }
}

int report_outcome(struct pwc_job *job, bool allow_partial, const struct run *run)
{
    int code = pwc_wait(job, 0);
    if (code == PWC_OK || (code == PWC_E_PARTIAL && allow_partial))
        return EXIT_OK;
    const char *why = pwc_error()[0] != '\0' ? pwc_error() : "some chunks were given up";
    if (run == NULL)
        return complain(job_status(job, code), "job %" PRIu64 ": %s", pwc_job_id(job), why);
    const char *file = culprit(code, run, &why);
    if (file != NULL && code == PWC_OUTPUT && run->out.kind == OUTPUT_STREAM)
        return complain(job_status(job, code), "'%s', gathered in %s: %s", file, temporary_dir(), why);
    if (file != NULL)
        return complain(job_status(job, code), "'%s': %s", file, why);
    return complain(job_status(job, code), "%s", why);
}
