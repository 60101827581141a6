/* test_geometry.c - the pure part of cutting: fits, grids, needs. Random demands, with borders as libvips
 * clips. */
#include <math.h>
#include <string.h>

#include "tests/unit/runner.h"
#include "worker/ops/image_geometry.h"

#define SAMPLES 8

/* What an operation asks for one row: a window around slope * row + shift, clipped to the image. */
struct model {
    double slope, shift;
    uint32_t above, below;
};

static struct demand ask(const struct model *m, const struct geometry *g, uint32_t row, uint32_t rows)
{
    double top = floor(m->slope * row + m->shift) - m->above;
    double bottom = ceil(m->slope * (row + rows - 1) + m->shift) + m->below + 1;
    top = MAX(top, 0.0);
    bottom = MIN(bottom, (double)g->in_rows);
    if (bottom <= top)
        return (struct demand){.row = row};
    return (struct demand){row, (uint32_t)top, (uint32_t)bottom};
}

static uint32_t fit(const struct model *m, struct geometry *g)
{
    uint32_t rows[SAMPLES];
    struct demand d[SAMPLES];
    size_t n = geometry_samples(g->out_rows, rows, SAMPLES);
    for (size_t i = 0; i < n; i++)
        d[i] = ask(m, g, rows[i], 1);
    return geometry_fit(g, d, n);
}

static uint64_t seed = 1;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % below;
}

/* Whatever a strip asks for must be there when the strip is said to be ready. */
static void check_covered(const struct model *m, const struct geometry *g)
{
    uint64_t before = 0;
    ck_assert(geometry_valid(g));
    for (uint64_t c = 0; c < g->chunks; c++) {
        struct demand d = ask(m, g, (uint32_t)(c * g->rows), geometry_rows_of(g, c));
        uint32_t need = geometry_need(g, c);
        ck_assert_uint_ge(need, d.bottom);
        ck_assert_uint_le(need, g->in_rows);
        for (uint64_t k = c; d.bottom > 0 && k + 3 > c && k < g->chunks; k--)
            ck_assert_uint_le(geometry_unneeded(g, k), d.top);
        ck_assert_uint_ge(need, before);
        before = need;
        ck_assert_uint_gt(geometry_ready(g, need), c);
        if (need > 1)
            ck_assert_uint_le(geometry_ready(g, need - 1), c + 1);
    }
    ck_assert_uint_eq(geometry_ready(g, g->in_rows), g->chunks);
    ck_assert_uint_eq(geometry_rows_of(g, g->chunks - 1) + (g->chunks - 1) * g->rows, g->out_rows);
}

START_TEST(lines_are_covered)
{
    for (int i = 0; i < 1000; i++) {
        struct geometry g = {.in_rows = 1 + rnd(3000), .out_width = 1, .out_rows = 1 + rnd(3000)};
        struct model m = {.slope = (double)g.in_rows / g.out_rows, .above = rnd(40), .below = rnd(40)};
        if (rnd(3) == 0)
            m = (struct model){
                .slope = rnd(400) / 100.0, .shift = (double)rnd(500) - 250, .above = rnd(9), .below = rnd(9)};
        uint32_t margin = fit(&m, &g);
        geometry_cut(&g, 1 + rnd(100000), margin, 1 + rnd(1u << 20));
        check_covered(&m, &g);
    }
}
END_TEST

START_TEST(a_blur_slides)
{
    struct geometry g = {.in_rows = 8192, .out_width = 8192, .out_rows = 8192};
    struct model m = {.slope = 1, .above = 14, .below = 14};
    uint32_t margin = fit(&m, &g);
    ck_assert_uint_eq(margin, 28);
    ck_assert(!g.all);
    geometry_cut(&g, 8192 * 3, margin, 3u << 20);
    ck_assert_uint_eq(g.rows, 128);
    ck_assert_uint_eq(g.chunks, 64);
    ck_assert_uint_lt(geometry_need(&g, 0), 128 + 64);
}
END_TEST

/* ---- what a worker has mapped ---- */

#define PAGE  4096u
#define BLOCK 16u /* pages that come with the one that is asked for */
#define STEP  (1u << 17)

struct mapped {
    uintptr_t begin;
    size_t pages;
    bool *there;
};

static void touch(struct mapped *m, uintptr_t from, uintptr_t to)
{
    for (uintptr_t p = from / PAGE / BLOCK * BLOCK; p * PAGE < to; p++)
        if (p * PAGE >= m->begin && p * PAGE - m->begin < m->pages * PAGE)
            m->there[p - m->begin / PAGE] = true;
}

static void leave(struct mapped *m, uintptr_t from, uint64_t bytes)
{
    ck_assert_uint_eq(from % PAGE, 0);
    ck_assert_uint_ge(from, m->begin);
    ck_assert_uint_le(from + bytes, m->begin + m->pages * PAGE);
    memset(m->there + (from - m->begin) / PAGE, 0, bytes / PAGE);
}

static uintptr_t lowest(const struct mapped *m)
{
    for (size_t i = 0; i < m->pages; i++)
        if (m->there[i])
            return m->begin + i * PAGE;
    return UINTPTR_MAX;
}

/* One of several workers; now and then it is given a chunk of somebody who died. */
static void walk(const struct model *m, const struct geometry *g, struct mapped *pages, uint32_t line)
{
    struct trail t = {.map = pages->begin,
                      .pixels = pages->begin + rnd(2 * PAGE),
                      .line = line,
                      .step = STEP,
                      .keep = rnd(3) * 10000,
                      .left = UINTPTR_MAX};
    for (uint64_t c = rnd(3); c < g->chunks;
         c = rnd(9) == 0 ? c - MIN(c, (uint64_t)rnd(6)) : c + 1 + rnd(2)) {
        struct demand d = ask(m, g, (uint32_t)(c * g->rows), geometry_rows_of(g, c)), next = {0};
        uintptr_t from = 0, top = t.pixels + (uint64_t)d.top * line;
        if (d.bottom > 0)
            touch(pages, top, t.pixels + (uint64_t)d.bottom * line);
        uint64_t bytes = geometry_leave(g, &t, c, &from);
        if (bytes > 0)
            leave(pages, from, bytes);
        if (c + 1 < g->chunks)
            next = ask(m, g, (uint32_t)((c + 1) * g->rows), geometry_rows_of(g, c + 1));
        if (bytes > 0 && next.bottom > 0)
            ck_assert_uint_le(from + bytes + t.keep, t.pixels + (uint64_t)next.top * line);
        ck_assert_uint_gt(lowest(pages), t.pixels + geometry_unneeded(g, c + 1) * line - STEP - t.keep);
    }
}

START_TEST(passed_rows_leave_the_map)
{
    for (int i = 0; i < 200; i++) {
        struct geometry g = {.in_rows = 1000 + rnd(3000), .out_width = 1, .out_rows = 500 + rnd(3000)};
        struct model m = {.slope = (double)g.in_rows / g.out_rows, .above = rnd(40), .below = rnd(40)};
        uint32_t line = 1 + rnd(5000), margin = fit(&m, &g);
        ck_assert(!g.all);
        geometry_cut(&g, line, margin, 1 + rnd(1u << 17));
        struct mapped pages = {.begin = (1000 + rnd(100)) * (uintptr_t)PAGE,
                               .pages = (uint64_t)g.in_rows * line / PAGE + 3};
        pages.there = calloc(pages.pages, sizeof *pages.there);
        walk(&m, &g, &pages, line);
        free(pages.there);
    }
}
END_TEST

/* Whoever needs the whole picture for every strip keeps it. */
START_TEST(what_all_need_stays_mapped)
{
    struct geometry g = {.in_rows = 5000, .out_width = 1, .out_rows = 5000, .all = true};
    struct trail t = {.map = PAGE, .pixels = PAGE + 8, .line = 3000, .step = STEP, .left = UINTPTR_MAX};
    uintptr_t from;
    geometry_cut(&g, 3000, 0, 50000);
    for (uint64_t c = 0; c < g.chunks; c++)
        ck_assert_uint_eq(geometry_leave(&g, &t, c, &from), 0);
}
END_TEST

START_TEST(a_flip_needs_all)
{
    struct geometry g = {.in_rows = 5000, .out_width = 1, .out_rows = 5000};
    struct model m = {.slope = -1, .shift = 4999};
    struct demand d[SAMPLES];
    uint32_t rows[SAMPLES];
    size_t n = geometry_samples(g.out_rows, rows, SAMPLES);
    for (size_t i = 0; i < n; i++)
        d[i] = (struct demand){rows[i], (uint32_t)m.shift - rows[i], (uint32_t)m.shift - rows[i] + 1};
    geometry_fit(&g, d, n);
    ck_assert(g.all);
    geometry_cut(&g, 100, 0, 50000);
    ck_assert(geometry_valid(&g));
    ck_assert_uint_eq(geometry_need(&g, 0), 5000);
    ck_assert_uint_eq(geometry_ready(&g, 4999), 0);
}
END_TEST

START_TEST(steps_need_all)
{
    /* as `grid` asks: every 30 rows it jumps */
    struct geometry g = {.in_rows = 3000, .out_width = 1, .out_rows = 1500};
    uint32_t rows[SAMPLES];
    struct demand d[SAMPLES];
    size_t n = geometry_samples(g.out_rows, rows, SAMPLES);
    for (size_t i = 0; i < n; i++) {
        uint32_t top = rows[i] / 300 * 600 + rows[i] % 300;
        d[i] = (struct demand){rows[i], top, top + 301};
    }
    geometry_fit(&g, d, n);
    ck_assert(g.all);
}
END_TEST

START_TEST(strips_stay_small)
{
    /* a line of 90 KB, 14 rows of margin: four times the margin, not 3 MiB */
    struct geometry g = {.in_rows = 30000, .out_width = 30000, .out_rows = 30000};
    geometry_cut(&g, 90000, 28, 3u << 20);
    ck_assert_uint_ge(g.rows, 48);
    ck_assert_uint_le(g.rows * 90000ull, 12u << 20);
    /* a margin that cannot be hidden */
    geometry_cut(&g, 90000, 2400, 3u << 20);
    ck_assert_uint_le(g.rows * 90000ull, 12u << 20);
    /* one row is more than a strip should hold */
    geometry_cut(&g, 64u << 20, 28, 3u << 20);
    ck_assert_uint_eq(g.rows, 1);
    struct geometry tiny = {.in_rows = 3, .out_width = 1, .out_rows = 3};
    geometry_cut(&tiny, 1, 0, 3u << 20);
    ck_assert(geometry_valid(&tiny));
}
END_TEST

/* Whole blocks of JPEG's, but for rows of which sixteen would be half a gigabyte. */
START_TEST(rows_of_any_size_are_read)
{
    ck_assert_uint_eq(geometry_at_once(24576, 256u << 10), 16);
    ck_assert_uint_eq(geometry_at_once(3, 256u << 10), 4096);
    for (uint64_t line = 1; line < 1ull << 30; line += 1 + line / 7) {
        uint32_t rows = geometry_at_once(line, 256u << 10);
        ck_assert_uint_ge(rows, 1);
        ck_assert(rows % 16 == 0 || 16 * line > 16u << 20);
        ck_assert_msg(rows == 1 || rows * line <= 16u << 20, "%u rows of %lu bytes", rows,
                      (unsigned long)line);
    }
}
END_TEST

START_TEST(nonsense_is_refused)
{
    struct geometry good = {.in_rows = 10, .out_width = 1, .out_rows = 10, .rows = 4, .chunks = 3};
    ck_assert(geometry_valid(&good));
    struct geometry g = good;
    g.rows = 0;
    ck_assert(!geometry_valid(&g));
    g = good;
    g.chunks = 4;
    ck_assert(!geometry_valid(&g));
    g = good;
    g.slope = NAN;
    ck_assert(!geometry_valid(&g));
    g = good;
    g.shift = INFINITY;
    ck_assert(!geometry_valid(&g));
    g = good;
    g.slope = -1;
    ck_assert(!geometry_valid(&g));
    g = good;
    g.tile = 128;
    ck_assert(geometry_valid(&g));
    g.tile = 1u << 31;
    ck_assert(!geometry_valid(&g));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("geometry");
    TCase *t = tcase_create("geometry");
    tcase_add_test(t, lines_are_covered);
    tcase_add_test(t, a_blur_slides);
    tcase_add_test(t, passed_rows_leave_the_map);
    tcase_add_test(t, what_all_need_stays_mapped);
    tcase_add_test(t, a_flip_needs_all);
    tcase_add_test(t, steps_need_all);
    tcase_add_test(t, strips_stay_small);
    tcase_add_test(t, rows_of_any_size_are_read);
    tcase_add_test(t, nonsense_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
