/*
 * memwatch.c - how much memory a process and all its descendants use at most.
 *
 *   memwatch PID [PID...]
 *
 * Every SAMPLE_MS it adds up Pss_Anon + Pss_Shmem of /proc/PID/smaps_rollup over the tree, so memory that
 * several of them map counts once, and pages of files, which the kernel can take back, do not count. When its
 * standard input ends it prints the largest sum in KiB and how many samples there were, and ends.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base.h"

/* A strip of a large image takes longer than this to compute, so no state of the window is missed for long.
 */
#define SAMPLE_MS 50
#define PIDS_MAX  4096u

struct procs {
    int pid[PIDS_MAX], parent[PIDS_MAX];
    size_t n;
};

static bool read_parent(int pid, int *ret_parent)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = '\0';
    const char *close = strrchr(line, ')');
    char state;
    return close != NULL && sscanf(close + 1, " %c %d", &state, ret_parent) == 2;
}

static void list_all(struct procs *all)
{
    all->n = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d != NULL && all->n < PIDS_MAX && (e = readdir(d)) != NULL;) {
        int pid = atoi(e->d_name);
        if (pid > 0 && read_parent(pid, &all->parent[all->n]))
            all->pid[all->n++] = pid;
    }
    if (d != NULL)
        closedir(d);
}

static bool in_tree(const struct procs *all, int pid, char *const *roots)
{
    for (int depth = 0; pid > 1 && depth < 64; depth++) {
        for (char *const *r = roots; *r != NULL; r++)
            if (atoi(*r) == pid)
                return true;
        int parent = 0;
        for (size_t i = 0; i < all->n; i++)
            if (all->pid[i] == pid)
                parent = all->parent[i];
        pid = parent;
    }
    return false;
}

/* KiB; 0 for a process that has just ended. */
static unsigned long rollup(int pid)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    unsigned long sum = 0, kib;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Pss_Anon: %lu", &kib) == 1 || sscanf(line, "Pss_Shmem: %lu", &kib) == 1)
            sum += kib;
    if (f != NULL)
        fclose(f);
    return sum;
}

static unsigned long sample(char *const *roots)
{
    static struct procs all;
    list_all(&all);
    unsigned long sum = 0;
    for (size_t i = 0; i < all.n; i++)
        if (in_tree(&all, all.pid[i], roots))
            sum += rollup(all.pid[i]);
    return sum;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return fputs("usage: memwatch PID...\n", stderr), 64;
    unsigned long most = 0, samples = 0;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    do {
        unsigned long now = sample(argv + 1);
        most = MAX(most, now);
        samples++;
    } while (poll(&p, 1, SAMPLE_MS) == 0);
    printf("%lu %lu\n", most, samples);
    return 0;
}
