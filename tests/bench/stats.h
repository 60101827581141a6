/* stats.h - medians of ratios, how sure they are, whether a goal holds. Pure: no clock, no files. */
#ifndef PWC_TESTS_BENCH_STATS_H
#define PWC_TESTS_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

/* A goal holds when the bound is within this of it. */
#define STATS_SLACK 1.05
/* And with at least so many pairs. */
#define STATS_ENOUGH 15

struct stats {
    size_t n;
    double median, low, high; /* bounds of the median, by order statistics */
    double coverage;          /* how sure they are: at least 0.95, less when n is below 6 */
};

/* The bounds hold with 95 %; false: there are too few values for that, and they are the smallest and the
 * largest. */
bool stats_sure(const struct stats *s);

/* Sorts. n of at least 1. */
struct stats stats_of(double *values, size_t n);

/* "<=": the upper bound must be near enough; ">=": the lower one. */
bool stats_reaches(const struct stats *s, bool at_most, double goal);

#endif
