/* ours.c - see bench.h: the daemon under test, through libpwc. */
#include <poll.h>
#include <stdio.h>

#include "tests/bench/bench.h"

#define READY_TRIES 200
#define READY_MS    50

struct pwc *bench_connect(void)
{
    struct pwc *c;
    if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        bench_fail("%s", pwc_error());
    return c;
}

/* The socket may not be there yet. */
struct pwc *bench_wait_ready(void)
{
    struct pwc *c = NULL;
    for (int i = 0; i < READY_TRIES && pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK; i++)
        poll(NULL, 0, READY_MS);
    if (c == NULL)
        return NULL;
    struct pwc_spec *spec = bench_chunks_spec("noop", 1, 0);
    pwc_job_free(bench_run(c, spec));
    pwc_spec_free(spec);
    return c;
}

uint64_t bench_result(struct pwc_job *job, const char *name)
{
    struct pwc_value v;
    if (pwc_result_value(job, name, &v) != PWC_OK)
        bench_fail("%s", pwc_error());
    if (v.type != PWC_U64)
        bench_fail("result '%s' is no u64", name);
    return v.u.u64;
}

static void take_pid(const struct pwc_status *status, void *user)
{
    *(pid_t *)user = (pid_t)status->pid;
}

pid_t bench_daemon(struct pwc *c)
{
    pid_t pid = 0;
    if (pwc_get_status(c, PWC_TIMEOUT_DEFAULT, take_pid, &pid) != PWC_OK)
        bench_fail("%s", pwc_error());
    return pid;
}

struct pwc_spec *bench_chunks_spec(const char *op, uint64_t n, uint64_t steps)
{
    struct pwc_spec *spec = pwc_spec_new(op);
    pwc_spec_i64(spec, "n", (int64_t)n);
    if (steps > 0)
        pwc_spec_i64(spec, "steps", (int64_t)steps);
    return spec;
}

struct pwc_job *bench_run(struct pwc *c, struct pwc_spec *spec)
{
    struct pwc_job *job;
    struct pwc_counts counts;
    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait(job, PWC_FOREVER) != PWC_OK)
        bench_fail("%s", pwc_error());
    pwc_job_counts(job, &counts);
    if (counts.done != counts.total || counts.failed != 0)
        bench_fail("%lu of %lu chunks were done", (unsigned long)counts.done, (unsigned long)counts.total);
    return job;
}
