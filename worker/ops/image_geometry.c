/* image_geometry.c - see image_geometry.h. */
#include <math.h>

#include "worker/ops/image_geometry.h"

/* A strip recomputes its margins, above and below: with three times both a fifth of a blur's work is done
 * twice. */
#define MARGIN_FACTOR 3u
/* Results wait in arenas that hold a few of them. */
#define STRIP_MOST (12u << 20)
/* libvips' squares are 128 wide. */
#define TILE_MOST 4096u
/* So that two workers, a producer and a consumer overlap at all. */
#define CHUNKS_LEAST 8u
/* With more of them the last ones end together on all cores: worth it while margins stay below an eighth. */
#define CHUNKS_AIM  24u
#define AIM_MARGINS 8u
/* Encoders and JPEG's blocks like multiples. */
#define ROWS_STEP 16u
/* What is read at a time lies in memory at once: of rows of megabytes fewer than a step. */
#define READ_MOST (16u << 20)
#define READ_ROWS 4096u

void geometry_cut(struct geometry *g, uint64_t line, uint32_t margin, uint64_t bytes)
{
    uint64_t row = line > 0 ? line : 1;
    uint64_t rows = bytes / row;
    rows = MIN(rows, MAX((uint64_t)g->out_rows / CHUNKS_AIM, (uint64_t)AIM_MARGINS * margin));
    uint64_t least = (uint64_t)MARGIN_FACTOR * margin;
    least += ROWS_STEP - 1 - (least + ROWS_STEP - 1) % ROWS_STEP;
    if (rows < least)
        rows = MIN(least, STRIP_MOST / row);
    if (rows > g->out_rows / CHUNKS_LEAST)
        rows = g->out_rows / CHUNKS_LEAST;
    /* Whole squares even if that makes fewer chunks: where they lie shows in the last bits. */
    if (g->tile > 0 && (rows > g->tile || g->tile * row <= STRIP_MOST))
        rows = MAX(rows - rows % g->tile, (uint64_t)g->tile);
    else if (rows > ROWS_STEP)
        rows -= rows % ROWS_STEP;
    if (rows < 1)
        rows = 1;
    g->rows = (uint32_t)MIN(rows, g->out_rows);
    g->chunks = (g->out_rows + (uint64_t)g->rows - 1) / g->rows;
}

uint32_t geometry_at_once(uint64_t line, uint64_t bytes)
{
    uint64_t row = MAX((uint64_t)1, line), rows = bytes / row;
    rows -= rows % ROWS_STEP;
    if (rows < ROWS_STEP)
        rows = MAX(MIN(READ_MOST / row, (uint64_t)ROWS_STEP), (uint64_t)1);
    return (uint32_t)MIN(rows, (uint64_t)READ_ROWS);
}

size_t geometry_samples(uint32_t out_rows, uint32_t *rows, size_t max)
{
    /* Uneven places, so that a pattern that repeats every so many rows shows. */
    static const double at[] = {0, 0.131, 0.25, 0.467, 0.613, 0.75, 0.897, 1};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(at) && n < max; i++) {
        uint32_t row = (uint32_t)(at[i] * (out_rows - 1));
        if (n == 0 || row > rows[n - 1])
            rows[n++] = row;
    }
    return n;
}

static bool inner(const struct geometry *g, const struct demand *d)
{
    return d->bottom > 0 && d->top > 0 && d->bottom < g->in_rows;
}

/* The slope between the outermost samples that no image border clips; false: fewer than two. */
static bool fit_slope(struct geometry *g, const struct demand *d, size_t n)
{
    size_t a = n, b = n;
    for (size_t i = 0; i < n; i++)
        if (inner(g, &d[i])) {
            a = a == n ? i : a;
            b = i;
        }
    if (a == b || d[a].row == d[b].row)
        return false;
    g->slope = ((double)d[b].bottom - d[a].bottom) / ((double)d[b].row - d[a].row);
    return g->slope >= 0;
}

void geometry_need_all(struct geometry *g)
{
    g->all = true;
    g->slope = g->shift = g->low = 0;
}

void geometry_widen(struct geometry *g, uint32_t rows)
{
    g->shift += g->all ? 0 : rows;
    g->low -= g->all ? 0 : rows;
}

uint32_t geometry_fit(struct geometry *g, const struct demand *d, size_t n)
{
    uint32_t span = 0;
    for (size_t i = 0; i < n; i++)
        if (d[i].bottom > 0)
            span = MAX(span, d[i].bottom - d[i].top);
    geometry_need_all(g);
    if (span > g->in_rows / 2 || !fit_slope(g, d, n)) {
        g->slope = 0;
        return span > 1 ? span - 1 : 0;
    }
    uint32_t own = g->slope > 1 ? (uint32_t)g->slope : 1;
    double high = -HUGE_VAL, low = HUGE_VAL, top = HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        if (d[i].bottom == 0)
            continue;
        double shift = d[i].bottom - g->slope * d[i].row;
        high = MAX(high, shift);
        top = MIN(top, d[i].top - g->slope * d[i].row);
        if (inner(g, &d[i]))
            low = MIN(low, shift);
    }
    /* Demands off the line by more than a margin's worth do not follow it. */
    double slack = MAX(8.0, span / 2.0);
    if (high - low <= slack) {
        g->all = false;
        g->shift = high + slack;
        g->low = top - slack;
    }
    return span > own ? span - own : 0;
}

uint32_t geometry_need(const struct geometry *g, uint64_t chunk)
{
    if (g->all)
        return g->in_rows;
    uint64_t last = chunk * g->rows + geometry_rows_of(g, chunk) - 1;
    double need = ceil(g->slope * (double)last + g->shift);
    if (need >= g->in_rows)
        return g->in_rows;
    return need < 1 ? 1 : (uint32_t)need;
}

uint32_t geometry_unneeded(const struct geometry *g, uint64_t chunk)
{
    double low = floor(g->slope * (double)(chunk * g->rows) + g->low);
    if (g->all || low <= 0)
        return 0;
    return low >= g->in_rows ? g->in_rows : (uint32_t)low;
}

uint64_t geometry_ready(const struct geometry *g, uint32_t rows)
{
    if (rows >= g->in_rows)
        return g->chunks;
    if (g->all)
        return 0;
    /* need grows with the chunk: bisect */
    uint64_t lo = 0, hi = g->chunks;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (geometry_need(g, mid) <= rows)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/*
 * Whole steps, by their addresses: the kernel maps the neighbours of a page that is asked for, in blocks of
 * which a step holds a whole number, so nothing of what was left is mapped again from above.
 */
uint64_t geometry_leave(const struct geometry *g, struct trail *t, uint64_t chunk, uintptr_t *ret_from)
{
    uintptr_t from = t->pixels + geometry_unneeded(g, chunk) * t->line;
    uintptr_t to = t->pixels + geometry_unneeded(g, chunk + 1) * t->line;
    from = MAX(from - from % t->step, t->map);
    t->left = MIN(t->left, from); /* a chunk that is tried again has come back here */
    if (to - t->map <= t->keep)
        return 0;
    to -= t->keep;
    to -= to % t->step;
    if (to <= t->left)
        return 0;
    *ret_from = t->left;
    t->left = to;
    return to - *ret_from;
}

uint32_t geometry_rows_of(const struct geometry *g, uint64_t chunk)
{
    uint64_t first = chunk * g->rows;
    return (uint32_t)MIN((uint64_t)g->rows, g->out_rows - first);
}

bool geometry_valid(const struct geometry *g)
{
    return g->in_rows > 0 && g->out_width > 0 && g->out_rows > 0 && g->rows > 0 && g->rows <= g->out_rows &&
           g->chunks == (g->out_rows + (uint64_t)g->rows - 1) / g->rows && g->tile <= TILE_MOST &&
           isfinite(g->slope) && g->slope >= 0 && isfinite(g->shift) && isfinite(g->low);
}
