/*
 * array_states.c - the fold states of array.*: how elements get in, how two become one, what comes out.
 *
 * All merges are associative and commutative, and a state of zeros is neutral, so leases may be grouped in
 * any way. States come back through other processes: each is checked before it counts.
 */
#include <math.h>

#include "worker/ops/array.h"

/* ---- sum ---- */

static void sum_add(const struct array *a, union array_state *s, const void *elements, size_t n,
                    uint64_t first)
{
    (void)first;
    a->type->sum(&s->sum, elements, n);
}

static void sum_merge(const struct array *a, union array_state *into, const union array_state *from)
{
    (void)a;
    struct array_sum *s = &into->sum;
    const struct array_sum *f = &from->sum;
    s->count += f->count;
    s->high += f->high + (uint64_t)__builtin_add_overflow(s->low, f->low, &s->low);
    exact_merge(&s->exact, &f->exact);
}

static bool sum_valid(const struct array *a, const union array_state *s)
{
    return s->sum.count <= a->elements && exact_valid(&s->sum.exact);
}

static void sum_results(struct op_job *job, const struct array *a, const union array_state *s)
{
    if (a->type->kind == ARRAY_FLOAT)
        op_result_f64(job, "sum", exact_round(&s->sum.exact));
    else
        op_result_i128(job, "sum", (__int128)((unsigned __int128)s->sum.high << 64 | s->sum.low));
    op_result_u64(job, "count", s->sum.count);
}

/* ---- min, max ---- */

static void min_add(const struct array *a, union array_state *s, const void *elements, size_t n,
                    uint64_t first)
{
    a->type->min(&s->extreme, elements, n, first);
}

static void max_add(const struct array *a, union array_state *s, const void *elements, size_t n,
                    uint64_t first)
{
    a->type->max(&s->extreme, elements, n, first);
}

static int compare(enum array_kind kind, const struct array_extreme *x, const struct array_extreme *y)
{
    switch (kind) {
    case ARRAY_INT:
        return (x->value.i > y->value.i) - (x->value.i < y->value.i);
    case ARRAY_UINT:
        return (x->value.u > y->value.u) - (x->value.u < y->value.u);
    default:
        return (x->value.f > y->value.f) - (x->value.f < y->value.f);
    }
}

static void extreme_merge(const struct array *a, struct array_extreme *into, const struct array_extreme *from,
                          int sign)
{
    struct array_extreme best = *into;
    int order = sign * compare(a->type->kind, from, into);
    if (into->count == 0 || (from->count > 0 && (order < 0 || (order == 0 && from->index < into->index))))
        best = *from;
    best.count = into->count + from->count;
    best.nan = into->nan + from->nan;
    *into = best;
}

static void min_merge(const struct array *a, union array_state *into, const union array_state *from)
{
    extreme_merge(a, &into->extreme, &from->extreme, 1);
}

static void max_merge(const struct array *a, union array_state *into, const union array_state *from)
{
    extreme_merge(a, &into->extreme, &from->extreme, -1);
}

static bool extreme_valid(const struct array *a, const union array_state *s)
{
    const struct array_extreme *e = &s->extreme;
    return e->count <= a->elements && e->nan <= a->elements - e->count &&
           (e->count == 0 || e->index < a->elements);
}

static void extreme_results(struct op_job *job, const char *name, const struct array *a,
                            const struct array_extreme *e)
{
    switch (a->type->kind) {
    case ARRAY_INT:
        op_result_i64(job, name, e->value.i);
        break;
    case ARRAY_UINT:
        op_result_u64(job, name, e->value.u);
        break;
    case ARRAY_FLOAT:
        op_result_f64(job, name, e->count > 0 ? e->value.f : (double)NAN);
        op_result_u64(job, "nan", e->nan);
        break;
    }
    if (e->count > 0)
        op_result_u64(job, "index", e->index);
    op_result_u64(job, "count", e->count + e->nan);
}

static void min_results(struct op_job *job, const struct array *a, const union array_state *s)
{
    extreme_results(job, "min", a, &s->extreme);
}

static void max_results(struct op_job *job, const struct array *a, const union array_state *s)
{
    extreme_results(job, "max", a, &s->extreme);
}

/* ---- histogram ---- */

static void histogram_add(const struct array *a, union array_state *s, const void *elements, size_t n,
                          uint64_t first)
{
    (void)first;
    a->type->histogram(&s->histogram, a->edges, elements, n);
}

static void histogram_merge(const struct array *a, union array_state *into, const union array_state *from)
{
    struct array_histogram *h = &into->histogram;
    const struct array_histogram *f = &from->histogram;
    h->under += f->under;
    h->over += f->over;
    h->nan += f->nan;
    for (size_t i = 0; i < a->edges->n; i++)
        h->bins[i] += f->bins[i];
}

/* False: more than 64 bits hold. */
static bool histogram_count(const struct array *a, const struct array_histogram *h, uint64_t *ret_count)
{
    uint64_t count = h->under;
    bool ok = add_u64(count, h->over, &count) && add_u64(count, h->nan, &count);
    for (size_t i = 0; ok && i < a->edges->n; i++)
        ok = add_u64(count, h->bins[i], &count);
    *ret_count = count;
    return ok;
}

static bool histogram_valid(const struct array *a, const union array_state *s)
{
    uint64_t count;
    return histogram_count(a, &s->histogram, &count) && count <= a->elements;
}

static void histogram_results(struct op_job *job, const struct array *a, const union array_state *s)
{
    const struct array_histogram *h = &s->histogram;
    int64_t counts[ARRAY_BINS_MAX];
    for (size_t i = 0; i < a->edges->n; i++)
        counts[i] = (int64_t)h->bins[i];
    op_result_i64s(job, "counts", counts, a->edges->n);
    op_result_u64(job, "under", h->under);
    op_result_u64(job, "over", h->over);
    if (a->type->kind == ARRAY_FLOAT)
        op_result_u64(job, "nan", h->nan);
    uint64_t count;
    if (histogram_count(a, h, &count))
        op_result_u64(job, "count", count);
}

const char *array_edges_set(struct array_edges *edges, size_t n, double min, double max)
{
    double width = max - min, scale = (double)n / width;
    if (!isfinite(min) || !isfinite(max) || !isfinite(width))
        return "must be finite, and so must their difference";
    if (!(min < max))
        return "min must be less than max";
    if (!isfinite(scale))
        return "min and max are too close together";
    edges->n = n;
    edges->scale = scale;
    for (size_t i = 0; i < n; i++)
        edges->edge[i] = MIN(min + (double)i * (width / (double)n), max);
    edges->edge[n] = max;
    return NULL;
}

const struct array_family array_family_sum = {
    .add = sum_add, .merge = sum_merge, .valid = sum_valid, .results = sum_results};
const struct array_family array_family_min = {
    .some = true, .add = min_add, .merge = min_merge, .valid = extreme_valid, .results = min_results};
const struct array_family array_family_max = {
    .some = true, .add = max_add, .merge = max_merge, .valid = extreme_valid, .results = max_results};
const struct array_family array_family_histogram = {
    .add = histogram_add, .merge = histogram_merge, .valid = histogram_valid, .results = histogram_results};
