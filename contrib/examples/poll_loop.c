/*
 * poll_loop.c - the library inside an event loop: many small jobs at once beside a timer, without a thread.
 *
 *     poll_loop [JOBS]
 *
 * Works with any loop: wait for pwc_fd() with pwc_events(), which may change from turn to turn, and call
 * pwc_dispatch(c, 0) when it is ready.
 */
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <pwc.h>

static long finished, failed;

static void on_finished(struct pwc_job *job, void *user)
{
    (void)user;
    finished++;
    failed += pwc_job_state(job) != PWC_JOB_DONE;
    pwc_job_free(job); /* a callback may free its job */
}

static int ticking_timer(void)
{
    struct itimerspec every = {{0, 250000000}, {0, 250000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0)
        err(1, "timer");
    return fd;
}

int main(int argc, char **argv)
{
    struct pwc *c;
    struct pwc_job *job;
    struct pwc_callbacks callbacks = {.finished = on_finished};
    long jobs = argc > 1 ? atol(argv[1]) : 1000;
    int timer = ticking_timer();

    if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        errx(1, "%s", pwc_error());
    struct pwc_spec *spec = pwc_spec_new("noop");
    pwc_spec_i64(spec, "n", 1);
    pwc_spec_callbacks(spec, &callbacks, NULL);

    long submitted = 0;
    while (finished < jobs) {
        /* some hundreds on the way keep the daemon busy; requests leave together with the next dispatch */
        while (submitted < jobs && submitted - finished < 500) {
            if (pwc_submit(c, spec, &job) != PWC_OK)
                errx(1, "%s", pwc_error());
            submitted++;
        }
        struct pollfd p[2] = {
            {.fd = pwc_fd(c), .events = pwc_events(c)},
            {.fd = timer, .events = POLLIN},
        };
        if (poll(p, 2, -1) < 0)
            err(1, "poll");
        uint64_t ticks;
        if (p[1].revents != 0 && read(timer, &ticks, sizeof ticks) > 0)
            fprintf(stderr, "%ld of %ld\n", finished, jobs);
        if (p[0].revents != 0 && pwc_dispatch(c, 0) != PWC_OK)
            errx(1, "%s", pwc_error());
    }
    printf("%ld jobs, %ld failed\n", finished, failed);

    pwc_spec_free(spec);
    pwc_close(c);
    close(timer);
    return failed == 0 ? 0 : 1;
}
