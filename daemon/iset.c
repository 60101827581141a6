/* iset.c - see iset.h. Ranges are found by bisection; insertion moves the tail of a short array. */
#include <string.h>

#include "daemon/iset.h"

void iset_free(struct iset *s)
{
    free(s->ranges);
    *s = (struct iset){0};
}

void iset_clear(struct iset *s)
{
    s->n = 0;
    s->count = 0;
}

/* Index of the first range whose end is at or after x. */
static size_t lower(const struct iset *s, uint64_t x)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->ranges[mid].to < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void splice(struct iset *s, size_t at, size_t drop, const struct range *put, size_t nput)
{
    size_t n = s->n - drop + nput;
    if (n > s->room) {
        s->room = MAX(n, s->room * 2 + 4);
        s->ranges = xrealloc(s->ranges, s->room, sizeof *s->ranges);
    }
    memmove(s->ranges + at + nput, s->ranges + at + drop, (s->n - at - drop) * sizeof *s->ranges);
    if (nput > 0)
        memcpy(s->ranges + at, put, nput * sizeof *put);
    s->n = n;
}

uint64_t iset_add(struct iset *s, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    size_t first = lower(s, from), last = first;
    struct range merged = {from, to};
    uint64_t covered = 0;
    while (last < s->n && s->ranges[last].from <= to) {
        struct range r = s->ranges[last++];
        covered += r.to - r.from;
        merged.from = MIN(merged.from, r.from);
        merged.to = MAX(merged.to, r.to);
    }
    splice(s, first, last - first, &merged, 1);
    uint64_t added = merged.to - merged.from - covered;
    s->count += added;
    return added;
}

uint64_t iset_remove(struct iset *s, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    size_t first = lower(s, from + 1), last = first;
    struct range left[2];
    size_t nleft = 0;
    uint64_t removed = 0;
    while (last < s->n && s->ranges[last].from < to) {
        struct range r = s->ranges[last++];
        if (r.from < from)
            left[nleft++] = (struct range){r.from, from};
        if (r.to > to)
            left[nleft++] = (struct range){to, r.to};
        removed += MIN(r.to, to) - MAX(r.from, from);
    }
    if (last > first)
        splice(s, first, last - first, left, nleft);
    s->count -= removed;
    return removed;
}

bool iset_has(const struct iset *s, uint64_t x)
{
    const struct range *r = iset_after(s, x);
    return r != NULL && r->from <= x;
}

uint64_t iset_count_below(const struct iset *s, uint64_t x)
{
    if (s->n == 0 || s->ranges[s->n - 1].to <= x)
        return s->count;
    uint64_t n = 0;
    for (size_t i = 0; i < s->n && s->ranges[i].from < x; i++)
        n += MIN(s->ranges[i].to, x) - s->ranges[i].from;
    return n;
}

const struct range *iset_after(const struct iset *s, uint64_t x)
{
    if (x == UINT64_MAX)
        return NULL;
    size_t i = lower(s, x + 1);
    return i < s->n ? &s->ranges[i] : NULL;
}
