/* pressure.c - see pressure.h. Files under /proc are read without waiting for anything. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/pressure.h"

static const char *slurp(const char *path, char *text, size_t size)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t r;
    while (fd >= 0 && n < size - 1 && (r = read(fd, text + n, size - 1 - n)) > 0) /* a page at a time */
        n += (size_t)r;
    text[n] = '\0';
    return text;
}

/* The number behind a key, in the file's unit; negative: not there. */
static double field(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    double v;
    return at != NULL && sscanf(at + strlen(key), "%lf", &v) == 1 ? v : -1;
}

enum pressure pressure_level(const char *meminfo, const char *psi)
{
    double total = field(meminfo, "MemTotal:"), available = field(meminfo, "MemAvailable:");
    if (total > 0 && available >= 0) {
        double percent = available * 100 / total;
        if (percent < PRESSURE_AVAILABLE_PERCENT)
            return percent < PRESSURE_LAST_PERCENT ? PRESSURE_LAST : PRESSURE_SHORT;
    }
    return field(psi, "full avg10=") > PRESSURE_FULL_PERCENT ? PRESSURE_SHORT : PRESSURE_NONE;
}

enum pressure pressure_now(void)
{
    char meminfo[2048], psi[256];
    return pressure_level(slurp("/proc/meminfo", meminfo, sizeof meminfo),
                          slurp("/proc/pressure/memory", psi, sizeof psi));
}

uint64_t pressure_worth(const char *meminfo)
{
    double kib = field(meminfo, "MemTotal:");
    return kib > 0 ? (uint64_t)(kib * 1024 * PRESSURE_WORTH_PERCENT / 100) : 0;
}

uint64_t pressure_worth_now(void)
{
    char meminfo[2048];
    return pressure_worth(slurp("/proc/meminfo", meminfo, sizeof meminfo));
}

uint64_t pressure_resident(const char *status)
{
    double anon = field(status, "RssAnon:"), shared = field(status, "RssShmem:");
    double kib = (anon > 0 ? anon : 0) + (shared > 0 ? shared : 0);
    return (uint64_t)kib * 1024;
}

uint64_t pressure_of(pid_t pid)
{
    char path[40], status[4096];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    return pressure_resident(slurp(path, status, sizeof status));
}

uint64_t pressure_threads(pid_t pid)
{
    char path[40];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    return stat(path, &st) == 0 && st.st_nlink > 2 ? (uint64_t)st.st_nlink - 2
                                                   : 0; /* a link each, and "." and ".." */
}

uint64_t pressure_kills(const char *vmstat)
{
    double n = field(vmstat, "\noom_kill ");
    return n > 0 ? (uint64_t)n : 0;
}

uint64_t pressure_oom_kills(void)
{
    char vmstat[16 * 1024];
    return pressure_kills(slurp("/proc/vmstat", vmstat, sizeof vmstat));
}
