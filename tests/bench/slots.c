/* slots.c - see slots.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "tests/bench/slots.h"

static FILE *open_maps(pid_t daemon, int *ret_mem)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)daemon);
    *ret_mem = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)daemon);
    FILE *f = *ret_mem >= 0 ? fopen(path, "re") : NULL;
    if (f != NULL)
        return f;
    fprintf(stderr, "bench-client: the memory of process %d: %m (this wants its user, or root)\n",
            (int)daemon);
    exit(errno == EACCES || errno == EPERM ? BENCH_SKIP : EXIT_FAILURE);
}

/* Magic and the first slot: a stage of today has one thread of execution. */
static bool read_slot(int mem, uint64_t at, struct slot_seen *ret)
{
    struct segment head;
    const size_t size = offsetof(struct segment, slots) + sizeof head.slots[0];
    if (pread(mem, &head, size, (off_t)at) != (ssize_t)size || head.magic != SEGMENT_MAGIC)
        return false;
    ret->chunk = head.slots[0].chunk;
    ret->since = head.slots[0].fresh;
    return true;
}

void slots_read(pid_t daemon, struct slots *ret)
{
    char line[512];
    int mem;
    FILE *maps = open_maps(daemon, &mem);
    ret->n = 0;
    while (fgets(line, sizeof line, maps) != NULL && ret->n < SLOTS_MAX) {
        unsigned long from, to;
        if (strstr(line, "/memfd:pwc-segment") == NULL || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        /* Neighbours in memory can share a line. */
        for (; from + SEGMENT_BYTES <= to && ret->n < SLOTS_MAX; from += SEGMENT_BYTES)
            if (read_slot(mem, from, &ret->seen[ret->n]))
                ret->n++;
    }
    fclose(maps);
    close(mem);
}

const struct slot_seen *slots_begun(const struct slots *s, uint64_t chunk, uint64_t after_ns)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->seen[i].chunk == chunk && s->seen[i].since > after_ns)
            return &s->seen[i];
    return NULL;
}
