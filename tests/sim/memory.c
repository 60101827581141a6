/*
 * memory.c - the allocator of one world: a region that is empty again when its world is.
 *
 * malloc and its family are wrapped at link time. While a world runs, everything comes from here; what is
 * left at its end is a leak of the supervisor's (or of the simulation). Freed blocks are overwritten: whoever
 * still reads them reads nonsense. With sanitizers this file is left out: they know better. So does valgrind:
 * with PWC_SIM_MALLOC=system in the environment memory comes from where it always comes from.
 */
#include <string.h>
#include <sys/mman.h>

#include "tests/sim/sim.h"

#ifdef PWC_SANITIZED
void memory_begin(void)
{
}
void memory_check_empty(void)
{
}
#else

#define REGION  (512ull << 20)
#define CLASSES 64u /* of 16 bytes; larger blocks by powers of two */
#define POISON  0xd5

struct block {
    uint32_t class;
    bool live;
    size_t size;
    alignas(16) char bytes[];
};
union free_block {
    union free_block *next;
};

static char *region, *top;
static bool running;
static size_t live;
static void *free_small[CLASSES + 1], *free_large[48];

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static bool ours(const void *p)
{
    return region != NULL && (const char *)p >= region && (const char *)p < region + REGION;
}

static struct block *block_of(void *p)
{
    return (struct block *)(void *)((char *)p - offsetof(struct block, bytes));
}

static uint32_t class_of(size_t n, size_t *ret_size)
{
    if (n <= CLASSES * 16) {
        uint32_t c = (uint32_t)((n + 15) / 16);
        c = c == 0 ? 1 : c;
        *ret_size = c * 16u;
        return c;
    }
    uint32_t c = 64 - (uint32_t)__builtin_clzll(n - 1);
    *ret_size = (size_t)1 << c;
    return 1000 + c;
}

void *__wrap_malloc(size_t n)
{
    if (!running)
        return __real_malloc(n);
    size_t size;
    uint32_t c = class_of(n, &size);
    void **list = c >= 1000 ? &free_large[c - 1000] : &free_small[c];
    struct block *b;
    if (*list != NULL) {
        b = block_of(*list);
        memcpy(list, b->bytes, sizeof *list);
    } else {
        b = (struct block *)(void *)top;
        top += sizeof *b + size;
        if (top > region + REGION)
            sim_fail("the world needs more than %llu MiB", REGION >> 20);
    }
    *b = (struct block){.class = c, .live = true, .size = size};
    live++;
    return b->bytes;
}

void *__wrap_calloc(size_t n, size_t size)
{
    if (!running)
        return __real_calloc(n, size);
    void *p = __wrap_malloc(n * size);
    memset(p, 0, n * size);
    return p;
}

void __wrap_free(void *p)
{
    if (!ours(p)) {
        __real_free(p);
        return;
    }
    struct block *b = block_of(p);
    SIM_CHECK(b->live, "freed twice: a block of %zu bytes", b->size);
    b->live = false;
    live--;
    memset(p, POISON, MIN(b->size, (size_t)256));
    void **list = b->class >= 1000 ? &free_large[b->class - 1000] : &free_small[b->class];
    memcpy(p, list, sizeof *list);
    *list = p;
}

void *__wrap_realloc(void *p, size_t n)
{
    if (p == NULL)
        return __wrap_malloc(n);
    if (!ours(p))
        return __real_realloc(p, n);
    struct block *b = block_of(p);
    if (b->size >= n)
        return p;
    void *q = __wrap_malloc(n);
    memcpy(q, p, b->size);
    __wrap_free(p);
    return q;
}

static bool by_system(void)
{
    const char *which = getenv("PWC_SIM_MALLOC");
    return which != NULL && strcmp(which, "system") == 0;
}

void memory_begin(void)
{
    if (by_system())
        return;
    if (region == NULL) {
        region =
            mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        SIM_CHECK(region != MAP_FAILED, "no memory for the region");
    }
    top = region;
    live = 0;
    memset(free_small, 0, sizeof free_small);
    memset(free_large, 0, sizeof free_large);
    running = true;
}

void memory_check_empty(void)
{
    running = false;
    if (live == 0) /* nothing is counted of what the system gave */
        return;
    char text[400];
    size_t len = 0;
    for (char *at = region; at < top && len < sizeof text - 40;) {
        const struct block *b = (const struct block *)(void *)at;
        if (b->live)
            len += (size_t)snprintf(text + len, sizeof text - len, " %zu", b->size);
        at += sizeof *b + b->size;
    }
    sim_fail("%zu blocks of memory leaked:%s", live, text);
}
#endif
