/* jobs.c - wait and cancel: jobs by number. */
#include <inttypes.h>
#include <string.h>

#include "client/ctl/ctl.h"

static int wait_for(struct pwc *c, const struct args *args, uint64_t id, int64_t end)
{
    struct pwc_job *job = NULL;
    char prefix[32] = "";
    enum published published = detach_wait_published(c, id, end);
    if (published == NOT_IN_TIME)
        return complain(EXIT_TIMEOUT, "job %" PRIu64 " is not done yet", id);
    int r = pwc_attach(c, id, NULL, NULL, ANSWER_MS, &job);
    if (r != PWC_OK)
        return complain_code(r);
    if (pwc_wait(job, left_ms(end)) == PWC_E_TIMEOUT) {
        pwc_job_free(job);
        return complain(EXIT_TIMEOUT, "job %" PRIu64 " is not done yet", id);
    }
    if (args->n > 2)
        snprintf(prefix, sizeof prefix, "%" PRIu64 " ", id);
    r = report_outcome(job, args->o.allow_partial, NULL);
    if (r == 0 && published == NOT_PUBLISHED)
        r = complain_unpublished(id);
    if (args->o.json)
        report_json(job, NULL, NULL);
    else
        report_results(job, prefix);
    pwc_job_free(job);
    return r;
}

static int parse_jobs(const struct args *args, uint64_t **ret_ids)
{
    if (args->n < 2)
        return complain(EXIT_USAGE, "which job? 'pwcctl %s JOB...'; 'pwcctl jobs' lists them",
                        args->words[0]);
    uint64_t *ids = must(calloc(args->n, sizeof *ids));
    for (size_t i = 1; i < args->n; i++) {
        int r = parse_job(args->words[i], &ids[i - 1]);
        if (r != 0) {
            free(ids);
            return r;
        }
    }
    *ret_ids = ids;
    return 0;
}

/* The first failure's status, after all have ended. */
int verb_wait(const struct args *args)
{
    struct pwc *c = NULL;
    uint64_t *ids = NULL;
    int64_t end = end_ms(args->o.timeout_ms);
    int r = parse_jobs(args, &ids);
    if (r != 0)
        return r;
    r = ctl_connect(&args->o, &c);
    for (size_t i = 0; c != NULL && i + 1 < args->n; i++) {
        int one = wait_for(c, args, ids[i], end);
        r = r != 0 ? r : one;
    }
    free(ids);
    ctl_disconnect(c);
    return r;
}

/* With j as a document that lists those that the daemon knew. */
static int cancel_each(struct pwc *c, const uint64_t *ids, size_t n, struct json *j)
{
    int r = 0;
    if (j != NULL) {
        json_open(j, stdout);
        json_begin(j, NULL, '{');
        json_str(j, "schema", "pwc.cancel/1");
        json_begin(j, "jobs", '[');
    }
    for (size_t i = 0; i < n; i++) {
        int code = pwc_cancel_id(c, ids[i], ANSWER_MS);
        if (code != PWC_OK)
            r = complain_code(code);
        else if (j != NULL)
            json_u64(j, NULL, ids[i]);
    }
    if (j != NULL) {
        json_end(j, ']');
        json_end(j, '}');
    }
    return r;
}

int verb_cancel(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    uint64_t *ids = NULL;
    int r = parse_jobs(args, &ids);
    if (r != 0)
        return r;
    r = ctl_connect(&args->o, &c);
    if (r == 0)
        r = cancel_each(c, ids, args->n - 1, args->o.json ? &j : NULL);
    free(ids);
    ctl_disconnect(c);
    return r;
}
