/* descriptors.c - see descriptors.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/hostile/descriptors.h"
#include "tests/unit/runner.h"

#define JOB_TIMEOUT_MS (4000 * SLOWER)

struct victim v;

const struct job_spec sum = {.op = "array.sum",
                             .params = {"type", "uint8"},
                             .items = 1,
                             .roles = {"in"},
                             .job_timeout_ms = JOB_TIMEOUT_MS};
const struct job_spec invert = {.op = "image.invert",
                                .items = 1,
                                .roles = {"in", "out"},
                                .format = "png",
                                .job_timeout_ms = JOB_TIMEOUT_MS};

void descriptors_start(void)
{
    victim_start(&v, (const char *const[]){"--set", "retries_crash=0", "--set", "retries_oom=0", NULL});
}

void descriptors_stop(void)
{
    victim_stop(&v);
}

const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", v.dir, name);
    return path;
}

int file_with(const char *bytes, int flags)
{
    const char *path = path_of("file");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_eq(write_all(fd, bytes, strlen(bytes)), 0);
    close(fd);
    fd = open(path, flags | O_CLOEXEC);
    ck_assert_int_eq(unlink(path), 0);
    return fd;
}

Pwc__Finished *finish_job(const struct job_spec *spec, int *fds, unsigned nfds)
{
    struct peer p = peer_open(&v);
    peer_submit(&p, 1, spec);
    Pwc__Want *want = peer_await(&p, PWC_MSG_WANT);
    peer_item(&p, want->job, 0, fds, nfds);
    msg_free(&want->base);
    Pwc__Finished *m = peer_await(&p, PWC_MSG_FINISHED);
    peer_free(&p);
    for (unsigned i = 0; i < nfds; i++)
        close(fds[i]);
    return m;
}
