/*
 * blur.c - a picture through image.gaussblur, with progress and an output that appears whole or not at all.
 *
 *     blur INPUT OUTPUT.png [SIGMA]
 *
 * The daemon writes through the descriptor we give it. That is an O_TMPFILE: a file without a name, which
 * gets one when the job is done and is gone if anything goes wrong, whoever dies.
 */
#include <err.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pwc.h>

static void on_progress(struct pwc_job *job, enum pwc_job_state state, const struct pwc_counts *n,
                        const char *waiting, void *user)
{
    (void)job;
    (void)user;
    fprintf(stderr, "\r%s: %llu of %llu strips%s%s\033[K", pwc_job_state_name(state),
            (unsigned long long)n->done, (unsigned long long)n->total,
            waiting[0] != '\0' ? ", waiting for " : "", waiting);
}

/* A process died: an event, not a failure. The chunk is computed again. */
static void on_death(struct pwc_job *job, const struct pwc_death *d, int given_up, void *user)
{
    (void)job;
    (void)user;
    fprintf(stderr, "\nworker %u died at %s: %s; %s\n", d->pid, d->covers, d->reason,
            given_up ? "giving up" : "trying again");
}

static int nameless_file_beside(const char *path)
{
    char *copy = strdup(path);
    int fd = copy != NULL ? open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666) : -1;
    free(copy);
    return fd;
}

static void publish(int fd, const char *path)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
        err(1, "%s", path);
}

int main(int argc, char **argv)
{
    struct pwc *c;
    struct pwc_job *job;
    struct pwc_callbacks callbacks = {.progress = on_progress, .death = on_death};

    if (argc < 3)
        errx(2, "usage: blur INPUT OUTPUT.png [SIGMA]");
    int in = open(argv[1], O_RDONLY | O_CLOEXEC), out = nameless_file_beside(argv[2]);
    if (in < 0)
        err(1, "%s", argv[1]);
    if (out < 0)
        err(1, "%s", argv[2]);
    if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        errx(1, "%s", pwc_error());

    struct pwc_spec *spec = pwc_spec_new("image.gaussblur");
    pwc_spec_param(spec, "sigma", argc > 3 ? argv[3] : "8");
    pwc_spec_format(spec, "png"); /* a bare descriptor names no format */
    pwc_spec_text(spec, PWC_SAVE, "compression", "1");
    pwc_spec_fd(spec, "in", in);
    pwc_spec_name(spec, argv[1]); /* for messages */
    pwc_spec_fd(spec, "out", out);
    pwc_spec_callbacks(spec, &callbacks, NULL);

    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait(job, PWC_FOREVER) != PWC_OK)
        errx(1, "\n%s", pwc_error());
    publish(out, argv[2]);
    fprintf(stderr, "\n%s: %.2f s\n", argv[2], (double)pwc_job_run_ns(job) / 1e9);

    pwc_job_free(job);
    pwc_spec_free(spec);
    pwc_close(c);
    return 0;
}
