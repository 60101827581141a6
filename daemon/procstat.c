/* procstat.c - see procstat.h. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "daemon/procstat.h"

/* The name of the program, which may be anything, is in brackets before. */
bool procstat_parse(const char *text, char *ret_state, uint64_t *ret_ticks)
{
    const char *after = strrchr(text, ')');
    unsigned long user, sys;
    if (after == NULL ||
        sscanf(after, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", ret_state, &user, &sys) != 3)
        return false;
    *ret_ticks = user + sys;
    return true;
}

static bool look(const char *path, char *ret_state, uint64_t *ret_ticks)
{
    char text[512];
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    return procstat_parse(text, ret_state, ret_ticks);
}

/* The state of a process is that of its first thread, which may be waiting for another one that computes. */
static bool some_thread_runs(pid_t pid)
{
    char path[64], state;
    uint64_t ticks;
    unsigned looked = 0;
    bool runs = false;
    const struct dirent *e;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *d = opendir(path);
    while (d != NULL && !runs && looked < PROCSTAT_THREADS && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", pid, e->d_name);
        runs = look(path, &state, &ticks) && state == 'R';
        looked++;
    }
    if (d != NULL)
        closedir(d);
    return runs;
}

uint64_t procstat_cpu(pid_t pid, bool *ret_waits)
{
    char path[40], state = 0;
    uint64_t ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    *ret_waits = !look(path, &state, &ticks) || (state != 'R' && !some_thread_runs(pid));
    return ticks;
}
