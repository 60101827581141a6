/*
 * array_type.h - the inner loops for one element type: array_kernels.c includes this once a type.
 *
 *   T       the element's C type            NAME(f)  f with the type's name appended
 *   KIND    ARRAY_INT, ARRAY_UINT or ARRAY_FLOAT, as a number: 0, 1, 2
 *   NARROW  1 for types of at most 16 bits, whose histogram is a table of all values
 *
 * Loops run over blocks of a constant number of elements, which compilers vectorize at any level of
 * optimization; the same body with a variable count does the rest. No include guard: that is the point.
 */

#define BLOCK ((size_t)BLOCK_BYTES / sizeof(T))
#define LANES ((size_t)LANE_BYTES / sizeof(T))

/* The better of two; `a` loses when it is a NaN. */
static ALWAYS_INLINE T NAME(pick)(T a, T b, bool max)
{
    return max ? (a > b ? a : b) : (a < b ? a : b);
}

#if KIND == 2
static ALWAYS_INLINE size_t NAME(count_nan)(const T *x, size_t n)
{
    size_t nan = 0;
    for (size_t i = 0; i < n; i++)
        nan += (size_t)(x[i] != x[i]);
    return nan;
}
#endif

/* The extreme of n > 0 elements; floats: the infinity that loses to everything if there are only NaNs. */
static ALWAYS_INLINE T NAME(block_extreme)(const T *x, size_t n, bool max)
{
    T lane[LANES];
#if KIND == 2
    T best = max ? -(T)INFINITY : (T)INFINITY;
#else
    T best = x[0];
#endif
    for (size_t j = 0; j < LANES; j++)
        lane[j] = best;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            lane[j] = NAME(pick)(x[i + j], lane[j], max);
    for (; i < n; i++)
        best = NAME(pick)(x[i], best, max);
    for (size_t j = 0; j < LANES; j++)
        best = NAME(pick)(lane[j], best, max);
    return best;
}

static ALWAYS_INLINE void NAME(add_block)(struct array_extreme *e, const T *x, size_t n, uint64_t first,
                                          bool max)
{
    size_t numbers = n;
#if KIND == 2
    numbers -= NAME(count_nan)(x, n);
    e->nan += n - numbers;
#endif
    T best = NAME(block_extreme)(x, n, max);
    T held = (T)e->value.MEMBER;
    if (numbers > 0 && (e->count == 0 || (max ? best > held : best < held))) {
        size_t i = 0;
        while (i + 1 < n && x[i] != best) /* who writes to the file meanwhile may take it away */
            i++;
        const T found = x[i]; /* the sign of a zero is that of the first */
        e->index = first + i;
        e->value.MEMBER = found == best ? found : best;
    }
    e->count += numbers;
}

static ALWAYS_INLINE void NAME(extreme)(struct array_extreme *e, const T *x, size_t n, uint64_t first,
                                        bool max)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        NAME(add_block)(e, x + i, BLOCK, first + i, max);
    if (i < n)
        NAME(add_block)(e, x + i, n - i, first + i, max);
}

KERNEL static void NAME(min)(struct array_extreme *e, const void *x, size_t n, uint64_t first)
{
    NAME(extreme)(e, x, n, first, false);
}

KERNEL static void NAME(max)(struct array_extreme *e, const void *x, size_t n, uint64_t first)
{
    NAME(extreme)(e, x, n, first, true);
}

#if NARROW
/* Counts every value, then classifies each value once. */
static void NAME(histogram)(struct array_histogram *h, const struct array_edges *edges, const void *elements,
                            size_t n)
{
    enum { VALUES = 1 << (8 * sizeof(T)) };
    uint32_t seen[VALUES] = {0};
    const T *x = elements;
    for (size_t i = 0; i < n; i++)
        seen[(size_t)x[i] & (VALUES - 1)]++;
    for (size_t v = 0; v < VALUES; v++)
        if (seen[v] > 0)
            classify(h, edges, (double)(T)v, seen[v]);
}
#else
static void NAME(histogram)(struct array_histogram *h, const struct array_edges *edges, const void *elements,
                            size_t n)
{
    const T *x = elements;
    for (size_t i = 0; i < n; i++)
        classify(h, edges, (double)x[i], 1);
}
#endif

#undef BLOCK
#undef LANES
#undef T
#undef NAME
#undef KIND
#undef MEMBER
#undef NARROW
