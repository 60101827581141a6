/*
 * iset.h - a set of 64-bit numbers kept as sorted, disjoint, non-adjacent ranges [from, to). Pure.
 *
 * Chunks end roughly in order, so a job of 10^9 chunks needs a handful of ranges.
 */
#ifndef PWC_ISET_H
#define PWC_ISET_H

#include "ipc/base.h"

struct range {
    uint64_t from, to;
};

struct iset {
    struct range *ranges;
    size_t n, room;
    uint64_t count; /* numbers in the set */
};

void iset_free(struct iset *s);
void iset_clear(struct iset *s);
/* Both return how many numbers really came in or went out. */
uint64_t iset_add(struct iset *s, uint64_t from, uint64_t to);
uint64_t iset_remove(struct iset *s, uint64_t from, uint64_t to);
bool iset_has(const struct iset *s, uint64_t x);
/* Numbers of the set below x. */
uint64_t iset_count_below(const struct iset *s, uint64_t x);
/* First range that ends after x; NULL none. */
const struct range *iset_after(const struct iset *s, uint64_t x);

#endif
