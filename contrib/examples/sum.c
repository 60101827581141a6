/*
 * sum.c - the smallest useful client: the sum of a file of integers, computed by every core.
 *
 *     sum FILE [TYPE]      TYPE: int32 (the default), uint8, float64, ...
 *
 * The descriptor goes to the daemon; no byte of the file is copied.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>

#include <pwc.h>

int main(int argc, char **argv)
{
    struct pwc *c;
    struct pwc_job *job;
    struct pwc_value sum;
    char text[64];

    if (argc < 2)
        errx(2, "usage: sum FILE [TYPE]");
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", argv[1]);

    /* NULL: $PWC_SOCKET, then the user's daemon, then the system's */
    if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        errx(1, "%s", pwc_error());

    /* what to do: parameters as text, the daemon knows their types; descriptors by the role they play */
    struct pwc_spec *spec = pwc_spec_new("array.sum");
    pwc_spec_param(spec, "type", argc > 2 ? argv[2] : "int32");
    pwc_spec_fd(spec, "in", fd);

    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait(job, PWC_FOREVER) != PWC_OK)
        errx(1, "%s", pwc_error());

    /* integer sums have 128 bits, so that they are always exact */
    if (pwc_result_value(job, "sum", &sum) != PWC_OK)
        errx(1, "%s", pwc_error());
    pwc_value_text(&sum, text, sizeof text);
    puts(text);

    pwc_job_free(job);
    pwc_spec_free(spec);
    pwc_close(c);
    return 0;
}
