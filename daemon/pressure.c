/* pressure.c - see pressure.h. Files under /proc are read without waiting for anything. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/cgroup.h"
#include "daemon/peek.h"
#include "daemon/pressure.h"

static const char *slurp(const char *path, char *text, size_t size)
{
    (void)peek(AT_FDCWD, path, text, size);
    return text;
}

/* The number behind a key, in the file's unit; negative: not there. */
static double field(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    double v;
    return at != NULL && sscanf(at + strlen(key), "%lf", &v) == 1 ? v : -1;
}

/* total and available in one unit; negative: not known. */
static enum pressure level_of(double total, double available, const char *psi)
{
    double percent = total > 0 && available >= 0 ? available * 100 / total : 100;
    if (percent < PRESSURE_AVAILABLE_PERCENT)
        return percent < PRESSURE_LAST_PERCENT ? PRESSURE_LAST : PRESSURE_SHORT;
    return field(psi, "full avg10=") > PRESSURE_FULL_PERCENT ? PRESSURE_SHORT : PRESSURE_NONE;
}

enum pressure pressure_level(const char *meminfo, const char *psi)
{
    return level_of(field(meminfo, "MemTotal:"), field(meminfo, "MemAvailable:"), psi);
}

/* What is cached of files is as good as free, as in MemAvailable: also what was read twice or is mapped, of
 * which a busy group's cache consists. Whether it is missed, PSI says. */
enum pressure pressure_group(const char *max, const char *current, const char *stat, const char *psi)
{
    double limit = field(max, ""), used = field(current, "");
    if (limit < 0 || used < 0)
        return PRESSURE_NONE;
    used -= MAX(field(stat, "\ninactive_file "), 0) + MAX(field(stat, "\nactive_file "), 0) +
            MAX(field(stat, "\nslab_reclaimable "), 0);
    return level_of(limit, MAX(limit - used, 0), psi);
}

/* ---- now ---- */

#define GROUPS_MAX 16 /* one in the other */

/* Calls f with the folder of each group around this process, that of the whole tree last. */
static void each_group(void (*f)(const char *, void *), void *arg)
{
    static char own[PATH_MAX];
    static size_t root;
    static bool looked;
    if (!looked && cgroup_find_self(own, sizeof own, &root) < 0)
        own[0] = '\0';
    looked = true;
    if (own[0] == '\0')
        return;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", own);
    for (int i = 0; i < GROUPS_MAX; i++) {
        f(path, arg);
        char *last = strrchr(path, '/');
        if (strlen(path) <= root || last == NULL)
            return;
        *last = '\0';
    }
}

static const char *of_group(const char *group, const char *file, char *text, size_t size)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", group, file);
    return slurp(path, text, size);
}

static void worst_of(const char *group, void *worst)
{
    char max[32], current[32], stat[4096], psi[256];
    if (field(of_group(group, "memory.max", max, sizeof max), "") < 0)
        return;
    enum pressure p = pressure_group(max, of_group(group, "memory.current", current, sizeof current),
                                     of_group(group, "memory.stat", stat, sizeof stat),
                                     of_group(group, "memory.pressure", psi, sizeof psi));
    *(enum pressure *)worst = MAX(p, *(enum pressure *)worst);
}

enum pressure pressure_now(void)
{
    char meminfo[2048], psi[256];
    enum pressure worst = pressure_level(slurp("/proc/meminfo", meminfo, sizeof meminfo),
                                         slurp("/proc/pressure/memory", psi, sizeof psi));
    each_group(worst_of, &worst);
    return worst;
}

uint64_t pressure_worth(const char *meminfo)
{
    double kib = field(meminfo, "MemTotal:");
    return kib > 0 ? (uint64_t)(kib * 1024 * PRESSURE_WORTH_PERCENT / 100) : 0;
}

static void least_worth(const char *group, void *least)
{
    char max[32];
    double limit = field(of_group(group, "memory.max", max, sizeof max), "");
    if (limit >= 0)
        *(uint64_t *)least = MIN(*(uint64_t *)least, (uint64_t)(limit * PRESSURE_WORTH_PERCENT / 100));
}

uint64_t pressure_worth_now(void)
{
    char meminfo[2048];
    uint64_t least = pressure_worth(slurp("/proc/meminfo", meminfo, sizeof meminfo));
    each_group(least_worth, &least);
    return least;
}

uint64_t pressure_memory(void)
{
    return (uint64_t)((double)pressure_worth_now() * 100 / PRESSURE_WORTH_PERCENT);
}

uint64_t pressure_resident(const char *status, bool shared)
{
    double anon = field(status, "RssAnon:"), files = shared ? field(status, "RssShmem:") : 0;
    double tables = field(status, "VmPTE:"); /* of a map that nothing is written to, too */
    double kib = (anon > 0 ? anon : 0) + (files > 0 ? files : 0) + (tables > 0 ? tables : 0);
    return (uint64_t)kib * 1024;
}

bool pressure_of(pid_t pid, bool shared, uint64_t *ret_bytes)
{
    char path[40], status[4096];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int r = peek(AT_FDCWD, path, status, sizeof status);
    if (r < 0 && !peek_is_gone(r))
        return false;
    *ret_bytes = pressure_resident(status, shared);
    return true;
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

bool pressure_oom_kills(uint64_t *ret)
{
    char vmstat[16 * 1024];
    if (peek(AT_FDCWD, "/proc/vmstat", vmstat, sizeof vmstat) < 0)
        return false;
    *ret = pressure_kills(vmstat);
    return true;
}
