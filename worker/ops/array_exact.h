/*
 * array_exact.h - sums of doubles without rounding, so that neither order nor grouping matters.
 *
 * The sum is an integer in units of the smallest double (2^-1074), in digits of 32 bits that lie in 64-bit
 * words: an addition touches three words and carries nothing. exact_carry() must be called at least every
 * 2^30 additions; a state that leaves this process is always carried. Infinities and NaNs are counted beside
 * it.
 */
#ifndef PWC_OPS_ARRAY_EXACT_H
#define PWC_OPS_ARRAY_EXACT_H

#include "ipc/base.h"

/* 2098 bits of a double's range and 62 of 2^62 elements need 68 digits; the last one holds the sign. */
#define EXACT_DIGITS 70

/* All zero: the empty sum. */
struct exact {
    uint64_t plus_inf, minus_inf, nan;
    int64_t digit[EXACT_DIGITS];
};

void exact_add(struct exact *a, double v);
void exact_carry(struct exact *a);
/* Both carried before, `into` after. */
void exact_merge(struct exact *into, const struct exact *from);
/* True for what exact_carry leaves of a sum of at most 2^62 doubles. */
bool exact_valid(const struct exact *a);
/* The sum, rounded once, to nearest even; an empty or zero sum is +0. `a` is carried. */
double exact_round(const struct exact *a);

#endif
