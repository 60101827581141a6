/* ring.c - see ring.h. */
#include "daemon/ring.h"

#define GROUP_NS   8000u
#define DETAILED   16384u /* so many records are made of chunks and groups of GROUP_NS, those behind of */
#define LATER_NS   32000u
#define GROUP_MOST 1000000000u
#define SEATS_FULL 8u

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

uint64_t ring_position(const struct segment *seg)
{
    return atomic_load_explicit(&seg->trace_next, memory_order_acquire);
}

void ring_open(struct ring_reader *r, const struct segment *seg, uint64_t from)
{
    uint64_t upto = ring_position(seg);
    *r = (struct ring_reader){seg, upto - from > TRACE_RECORDS ? upto - TRACE_RECORDS : from, upto};
}

static bool fits(const struct span *s, uint64_t lease, const struct ring_bounds *b)
{
    return lease == b->lease && s->first >= b->first && s->first < b->end && s->n > 0 &&
           s->n <= b->end - s->first && s->start >= b->not_before && s->end >= s->start &&
           s->end <= b->not_after;
}

uint32_t ring_group_ns(uint64_t left, uint64_t most, unsigned seats)
{
    uint64_t ns = most - left < DETAILED ? GROUP_NS : LATER_NS;
    ns *= 1 + (MAX(seats, 1u) - 1) / SEATS_FULL;
    for (; left <= most / 2 && ns < GROUP_MOST; most /= 2)
        ns *= 4;
    return (uint32_t)MIN(ns, (uint64_t)GROUP_MOST);
}

bool ring_next(struct ring_reader *r, struct ring_bounds *b, struct span *ret)
{
    while (r->next != r->upto) {
        const struct trace_record *t = &r->seg->trace[r->next++ % TRACE_RECORDS];
        const struct span s = {load(&t->first), load(&t->n), (int64_t)load(&t->start_ns),
                               (int64_t)load(&t->end_ns)};
        if (!fits(&s, load(&t->lease), b))
            continue;
        b->first = s.first + s.n;
        b->not_before = s.end;
        *ret = s;
        return true;
    }
    return false;
}
