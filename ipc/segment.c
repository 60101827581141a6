/* segment.c - see segment.h. */
#include <sys/mman.h>

#include "ipc/segment.h"

void *segment_map(int fd, size_t bytes, bool writable)
{
    void *p = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

void segment_unmap(void *p, size_t bytes)
{
    if (p != NULL)
        munmap(p, bytes);
}
