/*
 * again.c - submits a request twice with one request key, as a client does that has lost its connection.
 *
 *   again SOCKET HOW OP [NAME=VALUE...] [-- IN OUT OUT]
 *
 *   here    on the same connection, while the job runs          ended   when it is over, there and elsewhere
 *   beside  on another one, and both wait                       gone    nobody has kept the job: a new one
 *   left    on another one; then the first goes, which alone would end the job
 *   told    as left, but the first took few records of chunks; the second cancels at the first it gets
 *   lost    the first goes with DETACH, then on another         linger  the same with LINGER
 *   expires  the first goes with LINGER, and nobody comes in time
 *
 * HOW,asked: the first goes when a line comes in, and says "gone"; the key is of this run alone.
 *
 * The first request opens IN and the first OUT, the repeated one IN and the second. Prints a line for each
 * handle that waited: which request it is, whether the job was there already, its state, and its result.
 */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/pwc.h"

#define PATIENCE_MS 60000

static char key[32] = "again";
static bool asked;

static struct pwc *connected(const char *path)
{
    struct pwc *c;
    if (pwc_connect(path, PATIENCE_MS, &c) != PWC_OK)
        errx(1, "%s", pwc_error());
    return c;
}

static void add_file(struct pwc_spec *spec, const char *role, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        err(1, "%s", path);
    pwc_spec_fd(spec, role, fd);
}

static void cancel_it(struct pwc_job *job, const struct pwc_record *record, void *user)
{
    (void)record, (void)user;
    pwc_cancel(job);
}
static const struct pwc_callbacks cancels = {.record = cancel_it};

static struct pwc_spec *spec_of(char **args, unsigned which)
{
    struct pwc_spec *spec = pwc_spec_new(*args++);
    for (; *args != NULL && strcmp(*args, "--") != 0; args++) {
        char name[64];
        size_t n = strcspn(*args, "=");
        snprintf(name, sizeof name, "%.*s", (int)n, *args);
        pwc_spec_param(spec, name, *args + n + 1);
    }
    if (*args != NULL) {
        add_file(spec, "in", args[1], O_RDONLY);
        add_file(spec, "out", args[1 + which], O_RDWR | O_CREAT);
    }
    pwc_spec_request_key(spec, key, strlen(key));
    return spec;
}

static struct pwc_job *submitted(struct pwc *c, const struct pwc_spec *spec)
{
    struct pwc_job *job;
    if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait_accepted(job, PATIENCE_MS) != PWC_OK)
        errx(1, "%s", pwc_error());
    return job;
}

/* Then the daemon has the descriptors, and a connection that is lost need not end the job. */
static void until_it_runs(struct pwc *c, struct pwc_job *job)
{
    while (pwc_job_state(job) < PWC_JOB_RUNNING)
        if (pwc_dispatch(c, PATIENCE_MS) != PWC_OK)
            errx(1, "%s", pwc_error());
}

/* Whoever runs this may decide when. */
static void go(struct pwc *c)
{
    char line[8];
    if (asked && fgets(line, sizeof line, stdin) == NULL)
        errx(1, "nobody says when");
    pwc_close(c);
    if (asked)
        puts("gone");
    fflush(stdout);
}

static void tell_end(const char *which, struct pwc_job *job)
{
    int64_t chunks = 0;
    if (pwc_wait(job, PATIENCE_MS) == PWC_E_TIMEOUT)
        errx(1, "%s request: job %" PRIu64 " is %s and never ends", which, pwc_job_id(job),
             pwc_job_state_name(pwc_job_state(job)));
    (void)pwc_result_i64(job, "chunks", &chunks);
    printf("%s: %s job, %s, %" PRId64 "\n", which, pwc_job_existing(job) ? "the same" : "a new",
           pwc_job_state_name(pwc_job_state(job)), chunks);
}

static bool is(const char *how, const char *one, const char *other, const char *third)
{
    return strcmp(how, one) == 0 || strcmp(how, other) == 0 || strcmp(how, third) == 0;
}

static void set_up(const char *how, struct pwc_spec *first, struct pwc_spec *again)
{
    if (strcmp(how, "lost") == 0)
        pwc_spec_on_disconnect(first, PWC_ON_DISCONNECT_DETACH, 0);
    if (strcmp(how, "linger") == 0)
        pwc_spec_on_disconnect(first, PWC_ON_DISCONNECT_LINGER, 3600ull * 1000000000);
    if (strcmp(how, "expires") == 0)
        pwc_spec_on_disconnect(first, PWC_ON_DISCONNECT_LINGER, 50 * 1000000);
    if (strcmp(how, "told") == 0) {
        pwc_spec_records(first, 1);
        pwc_spec_records(again, 8);
        pwc_spec_callbacks(again, &cancels, NULL);
    }
}

/* HOW as far as its comma. */
static const char *how_of(char *word)
{
    char *comma = strchr(word, ',');
    if (comma == NULL)
        return word;
    asked = strcmp(comma, ",asked") == 0;
    snprintf(key, sizeof key, "again %d", getpid());
    *comma = '\0';
    return word;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        errx(2, "usage: again SOCKET HOW OP [NAME=VALUE...] [-- IN OUT OUT]");
    const char *how = how_of(argv[2]);
    struct pwc_spec *first = spec_of(argv + 3, 1), *again = spec_of(argv + 3, 2);
    set_up(how, first, again);
    struct pwc *a = connected(argv[1]), *b = strcmp(how, "here") == 0 ? a : connected(argv[1]);
    struct pwc_job *job = submitted(a, first), *same = NULL;
    if (!asked)
        until_it_runs(a, job);
    if (strcmp(how, "ended") == 0) {
        tell_end("first", job);
        same = submitted(a, again);
        tell_end("again", same);
        pwc_job_free(same);
    }
    bool after = is(how, "left", "told", ""), stays = is(how, "here", "beside", "ended");
    bool expires = strcmp(how, "expires") == 0;
    if (!after && !stays)
        go(a);
    same = expires ? NULL : submitted(b, again);
    if (after)
        go(a);
    if (!expires)
        tell_end("again", same);
    if (is(how, "here", "beside", ""))
        tell_end("first", job);
    pwc_job_free(same);
    pwc_job_free(job);
    if (stays && a != b)
        pwc_close(a);
    pwc_close(b);
    pwc_spec_free(again);
    pwc_spec_free(first);
    return 0;
}
