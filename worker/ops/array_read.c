/*
 * array_read.c - the elements of a chunk, part by part, where the inner loops can read them.
 *
 * Two ways, chosen chunk by chunk; the bytes and the cut into parts are the same:
 *
 * Seen: the end of the chunk stands in the page cache. The elements are added up where they are, in one map
 * of the input; nothing is copied. Should the file shrink in the middle, the fault is told as input-shrank.
 *
 * Copied: all else goes through a buffer that stays in the core's cache. Memory files: a map would count as
 * the stage's memory and fill their holes, and gain little or nothing, since their pages of 4 KiB are mapped
 * one by one. What has to come from the disk: read(2) asks for it further ahead, and its errors are ours to
 * tell. Arrays that begin at an odd address.
 *
 * What has been passed leaves the map, so that an array of any size costs a stage no more than MAPPED_MAX.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "worker/ops/array.h"

#define PAGE       65536 /* the largest there is: of use on any machine */
#define MAPPED_MAX ((size_t)16 << 20)
#define TABLED_MAX ((size_t)1 << 30) /* whose page tables, 2 MiB of them, count as the stage's memory */

static bool in_page_cache(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC;
}

int array_read_open(struct op_job *job, struct array *a)
{
    a->part = aligned_alloc(PAGE, ARRAY_PART);
    if (a->part == NULL)
        return op_fail(job, PWC__CODE__CODE_NO_MEMORY, "no memory for a buffer of %zu bytes", ARRAY_PART);
    a->low = UINT64_MAX;
    if (a->elements > 0 && a->at % a->type->size == 0 && in_page_cache(a->fd))
        a->map = op_view_input(job, "in", &a->mapped);
    return 0;
}

void array_read_close(struct array *a)
{
    free(a->part);
}

/* A read that would have to wait is refused, one behind the end finds nothing: both are the other way's. */
static bool ends_in_cache(const struct array *a, uint64_t end)
{
    char last;
    struct iovec v = {&last, 1};
    return end <= a->mapped && preadv2(a->fd, &v, 1, (off_t)(end - 1), RWF_NOWAIT) == 1;
}

void array_read_chunk(struct array *a, uint64_t first, uint64_t end)
{
    a->seen = a->map != NULL && first < end && ends_in_cache(a, a->at + end * a->type->size);
}

static int copy_part(struct op_job *job, const struct array *a, uint64_t at, size_t len)
{
    char *to = a->part;
    for (size_t have = 0; have < len;) {
        ssize_t n = pread(a->fd, to + have, len - have, (off_t)(at + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return op_fail(job, PWC__CODE__CODE_INPUT_IO, "in: reading at byte %" PRIu64 ": %s", at + have,
                           strerror(errno));
        if (n == 0)
            return op_fail(job, PWC__CODE__CODE_INPUT_SHRANK,
                           "in: became shorter while it was read: it ends at or before byte %" PRIu64,
                           at + have);
        have += (size_t)n;
    }
    return 0;
}

const void *array_read_part(struct op_job *job, const struct array *a, uint64_t first, size_t n)
{
    uint64_t at = a->at + first * a->type->size;
    if (a->seen)
        return a->map + at;
    return copy_part(job, a, at, n * a->type->size) < 0 ? NULL : a->part;
}

/* Given back pages leave their tables behind, which go with the map only. It comes back in the same place:
 * who guards it against shrinking knows it by that. */
static void renew(struct array *a)
{
    void *at = (void *)(uintptr_t)a->map;
    a->tabled = 0;
    if (mmap(at, a->mapped, PROT_READ, MAP_SHARED | MAP_FIXED, a->fd, 0) != MAP_FAILED)
        return;
    a->map = NULL; /* the place stays ours until the job is closed */
    (void)mmap(at, a->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* Chunks come in runs, and from several leases: one range holds them, and what nobody read in it costs
 * nothing. */
static void leave(struct array *a, uint64_t from, uint64_t to)
{
    a->low = MIN(a->low, from);
    a->high = MAX(a->high, to);
    a->shown += to - from;
    if (a->shown < MAPPED_MAX)
        return;
    uint64_t first = a->low - a->low % PAGE;
    (void)madvise((void *)(uintptr_t)(a->map + first), a->high - first, MADV_DONTNEED); /* a wish */
    a->tabled += a->shown;
    a->low = UINT64_MAX;
    a->high = a->shown = 0;
    if (a->tabled >= TABLED_MAX)
        renew(a);
}

/* Where it was cut off inside of a page there are zeros, and no fault tells. */
int array_read_passed(struct op_job *job, struct array *a, uint64_t first, uint64_t end)
{
    uint64_t from = a->at + first * a->type->size, to = a->at + end * a->type->size;
    struct stat st;
    if (!a->seen)
        return 0;
    leave(a, from, to);
    if (fstat(a->fd, &st) == 0 && (uint64_t)st.st_size < to)
        return op_fail(job, PWC__CODE__CODE_INPUT_SHRANK,
                       "in: became shorter while it was read: it ends at byte %" PRIu64,
                       (uint64_t)st.st_size);
    return 0;
}
