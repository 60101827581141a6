/* client_files.c - jobs with files: a sum over a descriptor. Images are run by pwcctl, as people do. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/client.h"

static int open_or_fail(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        bench_fail("%s: %m", path);
    return fd;
}

/* Opens the file itself: a memory file comes as /proc/PID/fd/N. */
static double sum_once(struct pwc *c, const char *path, int64_t expected)
{
    double start = bench_now();
    int fd = open_or_fail(path, O_RDONLY);
    struct pwc_spec *spec = pwc_spec_new("array.sum");
    pwc_spec_param(spec, "type", "int32");
    pwc_spec_fd(spec, "in", fd);
    struct pwc_job *job = bench_run(c, spec);
    int64_t sum;
    if (pwc_result_i64(job, "sum", &sum) != PWC_OK)
        bench_fail("%s", pwc_error());
    close(fd);
    double seconds = bench_now() - start;
    if (sum != expected)
        bench_fail("the sum is %ld, not %ld", (long)sum, (long)expected);
    pwc_job_free(job);
    pwc_spec_free(spec);
    return seconds;
}

int cmd_sum(int argc, char **argv)
{
    if (argc < 3)
        bench_fail("sum FILE SUM");
    struct stat st;
    if (stat(argv[1], &st) < 0)
        bench_fail("%s: %m", argv[1]);
    int64_t expected = strtoll(argv[2], NULL, 10);
    struct pwc *c = bench_connect();
    struct pwc_spec *warm = bench_chunks_spec("noop", 1000, 0);
    pwc_job_free(bench_run(c, warm));
    pwc_spec_free(warm);
    double seconds = sum_once(c, argv[1], expected);
    bench_print("seconds", seconds);
    bench_print("gb_s", (double)st.st_size / seconds * 1e-9);
    pwc_close(c);
    return 0;
}
