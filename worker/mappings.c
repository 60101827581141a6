/* mappings.c - see mappings.h. */
#include <stdatomic.h>
#include <sys/stat.h>

#include "worker/mappings.h"

/* 8 jobs of 8 roles, each listed as a descriptor and as a map, and a few of the stage's own. When it is
 * full a fault is blamed on memory instead: a worse text, nothing else. */
#define MAPPINGS 160

static struct mapping {
    _Atomic int kind;
    uintptr_t base;
    uint64_t bytes;
    int fd;
} table[MAPPINGS];

void mapping_add(enum mapping_kind kind, const void *base, uint64_t bytes, int fd)
{
    for (size_t i = 0; i < MAPPINGS; i++) {
        struct mapping *m = &table[i];
        if (atomic_load_explicit(&m->kind, memory_order_relaxed) != MAPPING_NONE)
            continue;
        m->base = (uintptr_t)base;
        m->bytes = bytes;
        m->fd = fd;
        atomic_store_explicit(&m->kind, (int)kind, memory_order_release);
        return;
    }
}

void mapping_remove(const void *base)
{
    for (size_t i = 0; base != NULL && i < MAPPINGS; i++)
        if (table[i].base == (uintptr_t)base)
            atomic_store_explicit(&table[i].kind, MAPPING_NONE, memory_order_release);
}

void mapping_remove_fd(int fd)
{
    for (size_t i = 0; fd >= 0 && i < MAPPINGS; i++)
        if (table[i].fd == fd)
            atomic_store_explicit(&table[i].kind, MAPPING_NONE, memory_order_release);
}

static bool shorter_than(int fd, uint64_t bytes)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (uint64_t)st.st_size < bytes;
}

Pwc__Code mapping_blame(uintptr_t addr)
{
    bool inputs = false, shrank = false;
    for (size_t i = 0; i < MAPPINGS; i++) {
        const struct mapping *m = &table[i];
        int kind = atomic_load_explicit(&m->kind, memory_order_acquire);
        bool inside = m->base != 0 && addr >= m->base && addr - m->base < m->bytes;
        if (kind == MAPPING_OWN && inside)
            return PWC__CODE__CODE_NO_MEMORY;
        if (kind != MAPPING_INPUT)
            continue;
        if (inside)
            return shorter_than(m->fd, addr - m->base + 1) ? PWC__CODE__CODE_INPUT_SHRANK
                                                           : PWC__CODE__CODE_INPUT_IO;
        inputs = true;
        shrank = shrank || shorter_than(m->fd, m->bytes);
    }
    /* Not a map of ours: a library mapped the input by itself. */
    if (shrank)
        return PWC__CODE__CODE_INPUT_SHRANK;
    return inputs ? PWC__CODE__CODE_INPUT_IO : PWC__CODE__CODE_NO_MEMORY;
}
