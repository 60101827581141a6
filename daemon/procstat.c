/* procstat.c - see procstat.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/peek.h"
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

static int look(const char *path, char *ret_state, uint64_t *ret_ticks)
{
    char text[512];
    int r = peek(AT_FDCWD, path, text, sizeof text);
    return r == 0 && !procstat_parse(text, ret_state, ret_ticks) ? -EBADMSG : r;
}

/* How many there are, or -errno. */
static int list_threads(pid_t pid, int tids[PROCSTAT_THREADS])
{
    char path[64];
    int n = 0;
    const struct dirent *e;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    int fd = peek_open(AT_FDCWD, path, O_DIRECTORY), r = fd;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && d == NULL) {
        r = -errno;
        close(fd);
    }
    while (d != NULL && n < (int)PROCSTAT_THREADS && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            tids[n++] = atoi(e->d_name);
    if (d != NULL)
        closedir(d);
    peek_done();
    return r < 0 ? r : n;
}

/* The state of a process is that of its first thread, which may be waiting for another one that computes. 1,
 * 0, or -errno: that is not known. */
static int some_thread_runs(pid_t pid)
{
    char path[64], state;
    uint64_t ticks;
    int tids[PROCSTAT_THREADS], n = list_threads(pid, tids);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tids[i]);
        int r = look(path, &state, &ticks);
        if (r < 0 && !peek_is_gone(r))
            return r;
        if (r == 0 && state == 'R')
            return 1;
    }
    return n >= 0 || peek_is_gone(n) ? 0 : n;
}

bool procstat_cpu(pid_t pid, uint64_t *ret_ticks, bool *ret_waits)
{
    char path[40], state = 0;
    uint64_t ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int r = look(path, &state, &ticks);
    int runs = r < 0 ? 0 : state == 'R' ? 1 : some_thread_runs(pid);
    if ((r < 0 && !peek_is_gone(r)) || runs < 0)
        return false;
    *ret_ticks = ticks;
    *ret_waits = runs == 0;
    return true;
}
