/*
 * alloc.c - preloaded: lets one allocation of a process, or of a family of them, fail.
 *
 * $PWC_ALLOC_CONTROL names a file that is mapped shared, before any sandbox, and so is common to a nursery
 * and the stages it makes. Its words, little-endian, each 8 bytes: `countdown` (the allocation that takes it
 * from 1 to 0 fails; 0 or less: none does), `seen` (allocations so far), `hits`.
 *
 * glibc's own names are beneath, so nothing here allocates, and nothing must be found before it can be
 * called.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t n);                     /* NOLINT(bugprone-reserved-identifier) */
extern void *__libc_calloc(size_t n, size_t size);        /* NOLINT(bugprone-reserved-identifier) */
extern void *__libc_realloc(void *p, size_t n);           /* NOLINT(bugprone-reserved-identifier) */
extern void *__libc_memalign(size_t alignment, size_t n); /* NOLINT(bugprone-reserved-identifier) */

struct control {
    _Atomic int64_t countdown;
    _Atomic uint64_t seen, hits;
};

static struct control *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("PWC_ALLOC_CONTROL");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

/* True: this one shall fail. */
static bool fails(void)
{
    struct control *c = control;
    if (c == NULL)
        return false;
    atomic_fetch_add(&c->seen, 1);
    if (atomic_load(&c->countdown) <= 0 || atomic_fetch_sub(&c->countdown, 1) != 1)
        return false;
    atomic_fetch_add(&c->hits, 1);
    errno = ENOMEM;
    return true;
}

EXPORT void *malloc(size_t n)
{
    return fails() ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t n)
{
    return fails() ? NULL : __libc_realloc(p, n);
}

EXPORT void *aligned_alloc(size_t alignment, size_t n)
{
    return fails() ? NULL : __libc_memalign(alignment, n);
}

EXPORT void *memalign(size_t alignment, size_t n)
{
    return fails() ? NULL : __libc_memalign(alignment, n);
}

EXPORT int posix_memalign(void **ret, size_t alignment, size_t n)
{
    void *p = fails() ? NULL : __libc_memalign(alignment, n);
    if (p == NULL)
        return ENOMEM;
    *ret = p;
    return 0;
}
