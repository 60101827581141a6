/*
 * stats.c - see stats.h. The bounds assume nothing about how values are spread: the median lies between the
 * k-th smallest and the k-th largest unless fewer than k of n values fell on one side of it, and how likely
 * that is counts coins.
 */
#include "tests/bench/bench.h"
#include "tests/bench/stats.h"

#define SURE 0.95

/* P(fewer than k heads of n), times 2: both sides. */
static double miss(size_t n, size_t k)
{
    double p = 1, sum = 0; /* p: n over i, halved n times */
    for (size_t i = 0; i < n; i++)
        p /= 2;
    for (size_t i = 0; i < k; i++) {
        sum += p;
        p *= (double)(n - i) / (double)(i + 1);
    }
    return 2 * sum;
}

struct stats stats_of(double *values, size_t n)
{
    struct stats s = {.n = n};
    size_t k = 1;
    double mid = bench_quantile(values, n, 0.5); /* sorts */
    s.median = n % 2 == 1 ? mid : (values[n / 2 - 1] + values[n / 2]) / 2;
    while (2 * (k + 1) <= n && miss(n, k + 1) <= 1 - SURE)
        k++;
    s.low = values[k - 1];
    s.high = values[n - k];
    s.coverage = n == 1 ? 0 : 1 - miss(n, k);
    return s;
}

bool stats_sure(const struct stats *s)
{
    return s->coverage >= SURE;
}

bool stats_reaches(const struct stats *s, bool at_most, double goal)
{
    return at_most ? s->high <= goal * STATS_SLACK : s->low >= goal / STATS_SLACK;
}
