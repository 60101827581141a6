/*
 * signals.c - ^C and its like. Outside a job a signal ends us at once. During one the first is an event of
 * the run's loop, which cancels; the second ends us at once. Always with status 128 + signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

static volatile sig_atomic_t held, came;
static int wake[2] = {-1, -1};
static char clean_dir[256], clean_file[256]; /* static: a handler may not touch the heap */

static void on_signal(int sig)
{
    int saved = errno;
    if (!held || came != 0) {
        if (clean_file[0] != '\0')
            unlink(clean_file);
        if (clean_dir[0] != '\0')
            rmdir(clean_dir);
        _exit(EXIT_SIGNAL + sig);
    }
    came = sig;
    (void)!write(wake[1], "", 1);
    errno = saved;
}

/* A signal that whoever started us ignores stays ignored (nohup); one that they had blocked, as a thread that
 * leaves signals to others does, would wait for ever. */
void signals_setup(void)
{
    sigset_t ours;
    struct sigaction sa = {.sa_handler = on_signal};
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    must(pipe2(wake, O_CLOEXEC | O_NONBLOCK) == 0 ? wake : NULL);
    sigemptyset(&ours);
    for (size_t i = 0; i < COUNT(ends); i++) {
        struct sigaction old;
        sigaction(ends[i], NULL, &old);
        if (old.sa_handler != SIG_IGN)
            sigaction(ends[i], &sa, NULL);
        sigaddset(&ours, ends[i]);
    }
    sigprocmask(SIG_UNBLOCK, &ours, NULL);
    signal(SIGPIPE, SIG_IGN); /* write says EPIPE */
    signal(SIGXFSZ, SIG_IGN); /* ... and EFBIG */
}

void signals_hold(void)
{
    held = 1;
}

void signals_release(void)
{
    held = 0;
}

int signals_fd(void)
{
    return wake[0];
}

int signals_take(void)
{
    char c;
    (void)!read(wake[0], &c, 1);
    return came;
}

void signals_cleanup_path(const char *dir, const char *file)
{
    clean_dir[0] = clean_file[0] = '\0';
    if (dir == NULL)
        return;
    snprintf(clean_file, sizeof clean_file, "%s", file);
    snprintf(clean_dir, sizeof clean_dir, "%s", dir);
}
