/*
 * many.c - small jobs from one connection, many at a time: so that pwcd sends some of them ahead to stages
 * that have not done the one before.
 *
 *   many SOCKET WARM BEHIND OP [NAME=VALUE...]
 *
 * Submits WARM jobs of one chunk, one behind the other, and waits for them: then pwcd knows OP to be quick.
 * Prints "warm", reads a line (or the end of its input), and submits one job with the parameters given and
 * BEHIND without. Prints "submitted", and when all are over, for the first job and for all others together:
 * how many ended well, processes that died in them, attempts beyond the first.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/pwc.h"

#define PATIENCE_MS 60000

struct tally {
    unsigned jobs, done;
    uint64_t deaths, retried;
};

static struct pwc_job *submit(struct pwc *c, const char *op, char **args)
{
    struct pwc_job *job;
    struct pwc_spec *spec = pwc_spec_new(op);
    pwc_spec_i64(spec, "n", 1);
    for (; args != NULL && *args != NULL; args++) {
        char name[64];
        size_t n = strcspn(*args, "=");
        snprintf(name, sizeof name, "%.*s", (int)n, *args);
        pwc_spec_param(spec, name, *args + n + 1);
    }
    if (pwc_submit(c, spec, &job) != PWC_OK)
        errx(1, "%s", pwc_error());
    pwc_spec_free(spec);
    return job;
}

static void finish(struct pwc_job *job, struct tally *t)
{
    struct pwc_counts counts;
    int code = pwc_wait(job, PATIENCE_MS);
    if (code == PWC_E_TIMEOUT)
        errx(1, "job %" PRIu64 " is %s and never ends", pwc_job_id(job),
             pwc_job_state_name(pwc_job_state(job)));
    if (code != PWC_OK)
        warnx("job %" PRIu64 ": %s", pwc_job_id(job), pwc_error());
    pwc_job_counts(job, &counts);
    t->jobs++;
    t->done += code == PWC_OK;
    t->deaths += counts.deaths;
    t->retried += counts.retried;
    pwc_job_free(job);
}

static void tell(const char *what, const struct tally *t)
{
    printf("%s: %u of %u done, %" PRIu64 " deaths, %" PRIu64 " retried\n", what, t->done, t->jobs, t->deaths,
           t->retried);
}

static void say(const char *word)
{
    puts(word);
    if (fflush(stdout) != 0)
        err(1, "stdout");
}

int main(int argc, char **argv)
{
    if (argc < 5)
        errx(2, "usage: many SOCKET WARM BEHIND OP [NAME=VALUE...]");
    struct tally warm = {0}, first = {0}, others = {0};
    unsigned long n = strtoul(argv[2], NULL, 10), behind = strtoul(argv[3], NULL, 10);
    struct pwc_job **jobs = calloc(behind + 1, sizeof(struct pwc_job *));
    struct pwc *c;
    char line[8];
    if (jobs == NULL || pwc_connect(argv[1], PATIENCE_MS, &c) != PWC_OK)
        errx(1, "%s", pwc_error());
    while (warm.jobs < n)
        finish(submit(c, argv[4], NULL), &warm);
    say("warm");
    if (fgets(line, sizeof line, stdin) == NULL)
        line[0] = '\0'; /* nobody wants it to wait */
    for (unsigned long i = 0; i <= behind; i++)
        jobs[i] = submit(c, argv[4], i == 0 ? argv + 5 : NULL);
    if (pwc_flush(c) != PWC_OK)
        errx(1, "%s", pwc_error());
    say("submitted");
    for (unsigned long i = 0; i <= behind; i++)
        finish(jobs[i], i == 0 ? &first : &others);
    tell("first", &first);
    tell("others", &others);
    free(jobs);
    pwc_close(c);
    return 0;
}
