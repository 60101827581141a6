/*
 * strike.c - sends a stage a signal in the very moment in which its supervisor writes to its control page.
 *
 *   strike SUPERVISOR STAGE limit|cancel|revoke SIGNAL
 *
 * Both have the page mapped; it is read through the supervisor's mapping, so this needs the right to trace
 * it, and root's to see what a stage maps. Prints "watching", and then how the word changed: "hit OLD NEW".
 * Ends with 2 when the stage is gone before it does, with 77 where nobody may look into a process.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "ipc/segment.h"

static const struct {
    const char *name;
    size_t offset, size;
} words[] = {
    {"limit", offsetof(struct control_page, limit), sizeof(uint64_t)},
    {"cancel", offsetof(struct control_page, cancel), sizeof(uint32_t)},
    {"revoke", offsetof(struct control_page, revoke), sizeof(uint64_t)},
};

/* The first map of a control page with this inode (0: any): where it begins, and its inode. */
static bool find_page(const char *pid, unsigned long inode, uint64_t *ret_at, unsigned long *ret_inode)
{
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        err(errno == EACCES || errno == EPERM ? 77 : 1, "%s", path);
    while (!found && fgets(line, sizeof line, f) != NULL) {
        found = strstr(line, "/memfd:pwc-control") != NULL &&
                sscanf(line, "%" SCNx64 "-%*x %*s %*x %*s %lu", ret_at, ret_inode) == 2 &&
                (inode == 0 || *ret_inode == inode);
    }
    fclose(f);
    return found;
}

static uint64_t load(pid_t supervisor, uint64_t at, size_t size)
{
    uint64_t v = 0;
    struct iovec here = {&v, size}, there = {(void *)(uintptr_t)at, size}; /* NOLINT */
    if (process_vm_readv(supervisor, &here, 1, &there, 1, 0) != (ssize_t)size)
        err(errno == EPERM ? 77 : 1, "the control page");
    return v;
}

int main(int argc, char **argv)
{
    uint64_t at, before, now;
    unsigned long inode;
    size_t w = 0;
    while (argc == 5 && w < ARRAY_LEN(words) && strcmp(words[w].name, argv[3]) != 0)
        w++;
    if (argc != 5 || w == ARRAY_LEN(words))
        errx(2, "usage: strike SUPERVISOR STAGE limit|cancel|revoke SIGNAL");
    pid_t supervisor = atoi(argv[1]), stage = atoi(argv[2]);
    if (!find_page(argv[2], 0, &at, &inode) || !find_page(argv[1], inode, &at, &inode))
        errx(1, "process %d has no control page of %d", stage, supervisor);
    at += words[w].offset;
    before = now = load(supervisor, at, words[w].size);
    puts("watching");
    fflush(stdout);
    while (w == 0 ? now >= before : now <= before) { /* a limit falls, the others rise */
        before = now;
        if (kill(stage, 0) < 0)
            return 2;
        sched_yield();
        now = load(supervisor, at, words[w].size);
    }
    if (kill(stage, atoi(argv[4])) < 0)
        return 2;
    printf("hit %" PRIu64 " %" PRIu64 "\n", before, now);
    return 0;
}
