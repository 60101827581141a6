/*
 * array_kernels.c - the inner loops of array.*: sums here, the rest from the template array_type.h, and the
 * table of element types. Nothing here allocates, fails or knows where elements come from.
 *
 * Sums: integers of up to 32 bits accumulate in 64 bits; those of 64 bits as two sums of 32-bit halves;
 * float32 in double; float64 with the error of every addition kept beside it (Neumaier's and Knuth's
 * two-sum), so that the result is that of about 106 bits. Lanes are fixed, so a float sum depends on its
 * elements alone, not on the machine.
 */
#include <math.h>
#include <string.h>

#include "worker/ops/array.h"

#define BLOCK_BYTES 4096u
#define LANE_BYTES  128u
#define SUM_LANES   16u

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Wider vectors where the machine has them. Sanitizers cannot instrument the resolver, which runs too early.
 */
#if defined(__x86_64__) && !defined(PWC_SANITIZED)
#define KERNEL __attribute__((target_clones("avx2", "default")))
#else
#define KERNEL
#endif

static ALWAYS_INLINE void classify(struct array_histogram *h, const struct array_edges *edges, double v,
                                   uint64_t n)
{
    if (!(v >= edges->edge[0])) {
        *(v < edges->edge[0] ? &h->under : &h->nan) += n;
        return;
    }
    if (v > edges->edge[edges->n]) {
        h->over += n;
        return;
    }
    /* The product may be off by one where it was rounded: the edges decide. */
    size_t bin = (size_t)((v - edges->edge[0]) * edges->scale);
    bin = MIN(bin, edges->n - 1);
    while (bin > 0 && v < edges->edge[bin])
        bin--;
    while (bin + 1 < edges->n && v >= edges->edge[bin + 1])
        bin++;
    h->bins[bin] += n;
}

/* ---- sums ---- */

static void add_i128(struct array_sum *s, __int128 v)
{
    unsigned __int128 sum = ((unsigned __int128)s->high << 64 | s->low) + (unsigned __int128)v;
    s->low = (uint64_t)sum;
    s->high = (uint64_t)(sum >> 64);
}

/* BLOCK_BYTES of 8- or 16-bit elements cannot overflow 32 bits. */
#define SMALL_SUM(name, T, ACC)                                                                              \
    static ALWAYS_INLINE ACC block_sum_##name(const T *x, size_t n)                                          \
    {                                                                                                        \
        ACC sum = 0;                                                                                         \
        for (size_t i = 0; i < n; i++)                                                                       \
            sum += (ACC)x[i];                                                                                \
        return sum;                                                                                          \
    }                                                                                                        \
    KERNEL static void sum_##name(struct array_sum *s, const void *elements, size_t n)                       \
    {                                                                                                        \
        const T *x = elements;                                                                               \
        const size_t block = BLOCK_BYTES / sizeof(T);                                                        \
        int64_t sum = 0; /* ARRAY_PART elements of 32 bits fit */                                            \
        size_t i = 0;                                                                                        \
        for (; i + block <= n; i += block)                                                                   \
            sum += (int64_t)block_sum_##name(x + i, block);                                                  \
        sum += (int64_t)block_sum_##name(x + i, n - i);                                                      \
        s->count += n;                                                                                       \
        add_i128(s, sum);                                                                                    \
    }

SMALL_SUM(int8, int8_t, int32_t)
SMALL_SUM(uint8, uint8_t, uint32_t)
SMALL_SUM(int16, int16_t, int32_t)
SMALL_SUM(uint16, uint16_t, uint32_t)
SMALL_SUM(int32, int32_t, int64_t)
SMALL_SUM(uint32, uint32_t, uint64_t)

/* Sum of n values with `flip` applied; flipping the sign bit makes signed values unsigned ones, 2^63 larger.
 */
static ALWAYS_INLINE unsigned __int128 sum_64(const uint64_t *x, size_t n, uint64_t flip)
{
    const size_t block = BLOCK_BYTES / sizeof *x;
    uint64_t low = 0, high = 0;
    size_t i = 0;
    for (; i + block <= n; i += block)
        for (size_t j = 0; j < block; j++) {
            uint64_t v = x[i + j] ^ flip;
            low += v & UINT32_MAX;
            high += v >> 32;
        }
    for (; i < n; i++) {
        uint64_t v = x[i] ^ flip;
        low += v & UINT32_MAX;
        high += v >> 32;
    }
    return ((unsigned __int128)high << 32) + low;
}

KERNEL static void sum_uint64(struct array_sum *s, const void *elements, size_t n)
{
    s->count += n;
    add_i128(s, (__int128)sum_64(elements, n, 0));
}

KERNEL static void sum_int64(struct array_sum *s, const void *elements, size_t n)
{
    const uint64_t sign = (uint64_t)1 << 63;
    s->count += n;
    add_i128(s, (__int128)sum_64(elements, n, sign) - (__int128)sign * (__int128)n);
}

static ALWAYS_INLINE bool lanes_finite(const double *lane)
{
    bool finite = true;
    for (size_t j = 0; j < SUM_LANES; j++)
        finite = finite && isfinite(lane[j]);
    return finite;
}

static void add_lanes(struct exact *exact, const double *lane)
{
    for (size_t j = 0; j < SUM_LANES; j++)
        exact_add(exact, lane[j]);
}

KERNEL static void sum_float32(struct array_sum *s, const void *elements, size_t n)
{
    const float *x = elements;
    double lane[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (size_t j = 0; j < SUM_LANES; j++)
            lane[j] += (double)x[i + j];
    for (size_t j = 0; i < n; i++, j++)
        lane[j] += (double)x[i];
    s->count += n;
    if (lanes_finite(lane))
        add_lanes(&s->exact, lane);
    else
        for (i = 0; i < n; i++)
            exact_add(&s->exact, (double)x[i]);
    exact_carry(&s->exact);
}

/* sum + x = the new sum + what `error` grows by, exactly (unless something is infinite). */
static ALWAYS_INLINE void two_sum(double *sum, double *error, double x)
{
    double t = *sum + x;
    double from_x = t - *sum;
    *error += (*sum - (t - from_x)) + (x - from_x);
    *sum = t;
}

/* Infinities and overflow make an error term that is not finite: then every element is added by itself. */
KERNEL static void sum_float64(struct array_sum *s, const void *elements, size_t n)
{
    const double *x = elements;
    double lane[SUM_LANES] = {0}, error[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (size_t j = 0; j < SUM_LANES; j++)
            two_sum(&lane[j], &error[j], x[i + j]);
    for (size_t j = 0; i < n; i++, j++)
        two_sum(&lane[j], &error[j], x[i]);
    s->count += n;
    if (lanes_finite(lane) && lanes_finite(error)) {
        add_lanes(&s->exact, lane);
        add_lanes(&s->exact, error);
    } else {
        for (i = 0; i < n; i++)
            exact_add(&s->exact, x[i]);
    }
    exact_carry(&s->exact);
}

/* ---- everything else ---- */

#define T       int8_t
#define NAME(f) f##_int8
#define KIND    0
#define MEMBER  i
#define NARROW  1
#include "worker/ops/array_type.h"

#define T       int16_t
#define NAME(f) f##_int16
#define KIND    0
#define MEMBER  i
#define NARROW  1
#include "worker/ops/array_type.h"

#define T       int32_t
#define NAME(f) f##_int32
#define KIND    0
#define MEMBER  i
#define NARROW  0
#include "worker/ops/array_type.h"

#define T       int64_t
#define NAME(f) f##_int64
#define KIND    0
#define MEMBER  i
#define NARROW  0
#include "worker/ops/array_type.h"

#define T       uint8_t
#define NAME(f) f##_uint8
#define KIND    1
#define MEMBER  u
#define NARROW  1
#include "worker/ops/array_type.h"

#define T       uint16_t
#define NAME(f) f##_uint16
#define KIND    1
#define MEMBER  u
#define NARROW  1
#include "worker/ops/array_type.h"

#define T       uint32_t
#define NAME(f) f##_uint32
#define KIND    1
#define MEMBER  u
#define NARROW  0
#include "worker/ops/array_type.h"

#define T       uint64_t
#define NAME(f) f##_uint64
#define KIND    1
#define MEMBER  u
#define NARROW  0
#include "worker/ops/array_type.h"

#define T       float
#define NAME(f) f##_float32
#define KIND    2
#define MEMBER  f
#define NARROW  0
#include "worker/ops/array_type.h"

#define T       double
#define NAME(f) f##_float64
#define KIND    2
#define MEMBER  f
#define NARROW  0
#include "worker/ops/array_type.h"

#define TYPE(name, bytes, kind)                                                                              \
    {                                                                                                        \
#name, bytes, kind, sum_##name, min_##name, max_##name, histogram_##name                             \
    }

static const struct array_type types[] = {
    TYPE(int8, 1, ARRAY_INT),      TYPE(int16, 2, ARRAY_INT),   TYPE(int32, 4, ARRAY_INT),
    TYPE(int64, 8, ARRAY_INT),     TYPE(uint8, 1, ARRAY_UINT),  TYPE(uint16, 2, ARRAY_UINT),
    TYPE(uint32, 4, ARRAY_UINT),   TYPE(uint64, 8, ARRAY_UINT), TYPE(float32, 4, ARRAY_FLOAT),
    TYPE(float64, 8, ARRAY_FLOAT),
};

const struct op_choice array_type_choices[] = {
    {"int8", "signed, 1 byte"},
    {"int16", "signed, 2 bytes"},
    {"int32", "signed, 4 bytes"},
    {"int64", "signed, 8 bytes"},
    {"uint8", "unsigned, 1 byte"},
    {"uint16", "unsigned, 2 bytes"},
    {"uint32", "unsigned, 4 bytes"},
    {"uint64", "unsigned, 8 bytes"},
    {"float32", "IEEE 754 single, 4 bytes"},
    {"float64", "IEEE 754 double, 8 bytes"},
    {NULL, NULL},
};

const struct array_type *array_type_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}
