/* service.c - see service.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/nearest.h"
#include "daemon/service.h"
#include "ipc/clock.h"

static char last_status[256];

static bool status_changed(const char *status)
{
    char text[sizeof last_status];
    snprintf(text, sizeof text, "%s", status);
    one_line(text); /* a line break would begin another assignment */
    if (strcmp(text, last_status) == 0)
        return false;
    memcpy(last_status, text, sizeof text);
    return true;
}

int service_ready(const char *status)
{
    (void)status_changed(status);
    int r = sd_notifyf(0, "READY=1\nSTATUS=%s", last_status);
    return MIN(r, 0);
}

void service_status(const char *fmt, ...)
{
    char text[sizeof last_status];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (status_changed(text))
        sd_notifyf(0, "STATUS=%s", last_status);
}

/* Newer managers wait for a READY=1 later than this time; older ones ignore it. */
int service_reloading(void)
{
    int r = sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=reading the configuration again",
                       (int64_t)(clock_now().ns / NS_PER_US));
    last_status[0] = '\0';
    return MIN(r, 0);
}

void service_stopping(const char *status)
{
    (void)status_changed(status);
    sd_notifyf(0, "STOPPING=1\nSTATUS=%s", last_status);
}

int64_t service_watchdog_interval(void)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0 || usec > INT64_MAX / NS_PER_US)
        return 0;
    return (int64_t)usec * NS_PER_US / 2;
}

int service_watchdog_timer(int64_t interval)
{
    struct timespec t = {.tv_sec = interval / NS_PER_S, .tv_nsec = interval % NS_PER_S};
    const struct itimerspec each = {.it_interval = t, .it_value = t};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd >= 0 && timerfd_settime(fd, 0, &each, NULL) == 0)
        return fd;
    int r = -errno;
    if (fd >= 0)
        close(fd);
    return r;
}

void service_watchdog(int timer)
{
    uint64_t times;
    if (timer < 0 || read(timer, &times, sizeof times) == (ssize_t)sizeof times)
        sd_notify(0, "WATCHDOG=1");
}

bool service_journal_matches(const char *journal_stream, dev_t dev, ino_t ino)
{
    uint64_t d, i;
    int end = 0;
    if (journal_stream == NULL || sscanf(journal_stream, "%" SCNu64 ":%" SCNu64 "%n", &d, &i, &end) != 2)
        return false;
    return journal_stream[end] == '\0' && d == (uint64_t)dev && i == (uint64_t)ino;
}

bool service_stderr_is_journal(void)
{
    struct stat st;
    return fstat(STDERR_FILENO, &st) == 0 &&
           service_journal_matches(getenv("JOURNAL_STREAM"), st.st_dev, st.st_ino);
}
