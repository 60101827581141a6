/* test_ring.c - the trace ring, which a stage may write as it likes: what is read of it is bounded and true.
 */
#include <string.h>

#include "daemon/ring.h"
#include "tests/unit/runner.h"

static uint64_t rng_state;
static uint64_t rng(uint64_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state % below;
}

static void ring_write(struct segment *g, uint64_t i, uint64_t lease, uint64_t first, uint64_t n,
                       uint64_t from, uint64_t to)
{
    struct trace_record *r = &g->trace[i % TRACE_RECORDS];
    atomic_store(&r->lease, lease);
    atomic_store(&r->first, first);
    atomic_store(&r->n, n);
    atomic_store(&r->start_ns, from);
    atomic_store(&r->end_ns, to);
}

static size_t ring_count(const struct segment *g, uint64_t from, struct ring_bounds b, uint64_t *ret_chunks)
{
    const struct ring_bounds whole = b;
    struct ring_reader r;
    struct span s;
    size_t n = 0;
    uint64_t at = b.first;
    int64_t time = b.not_before;
    *ret_chunks = 0;
    ring_open(&r, g, from);
    while (ring_next(&r, &b, &s)) {
        ck_assert_uint_ge(s.first, at);
        ck_assert_uint_gt(s.n, 0);
        ck_assert_uint_le(s.n, whole.end - s.first);
        ck_assert_int_ge(s.start, time);
        ck_assert_int_ge(s.end, s.start);
        ck_assert_int_le(s.end, whole.not_after);
        at = s.first + s.n;
        time = s.end;
        *ret_chunks += s.n;
        ck_assert_uint_le(++n, TRACE_RECORDS);
    }
    return n;
}

START_TEST(ring_gives_what_a_lease_wrote)
{
    struct segment *g = xcalloc(1, sizeof *g);
    const struct ring_bounds b = {
        .lease = 7, .first = 100, .end = 200, .not_before = 1000, .not_after = 5000};
    const uint64_t from = UINT64_MAX - 3; /* the count may have run over */
    uint64_t chunks;
    for (uint64_t i = 0; i < 10; i++)
        ring_write(g, from + i, 7, 100 + i * 3, 3, 1000 + i * 10, 1010 + i * 10);
    atomic_store(&g->trace_next, from + 10);
    ck_assert_uint_eq(ring_count(g, from, b, &chunks), 10);
    ck_assert_uint_eq(chunks, 30);
    ring_write(g, from + 4, 6, 112, 3, 1040, 1050); /* another lease's */
    ring_write(g, from + 5, 7, 115, 3, 900, 1060);  /* before it was given */
    ring_write(g, from + 6, 7, 118, 83, 1060, 1070);
    ring_write(g, from + 7, 7, 121, 3, 1080, 1070);
    ring_write(g, from + 8, 7, 100, 1, 1080, 1090); /* a chunk that was told of */
    ck_assert_uint_eq(ring_count(g, from, b, &chunks), 5);
    /* Overrun: the last TRACE_RECORDS, of which these ten are some. */
    ck_assert_uint_le(ring_count(g, from - 5 * TRACE_RECORDS, b, &chunks), 5);
    ck_assert_uint_eq(ring_count(g, from + 10, b, &chunks), 0);
    free(g);
}
END_TEST

static uint64_t ring_lie(const struct ring_bounds *b)
{
    const uint64_t near[] = {0,
                             1,
                             2,
                             UINT64_MAX,
                             b->lease,
                             b->first,
                             b->end,
                             b->end - 1,
                             (uint64_t)b->not_before,
                             (uint64_t)b->not_after,
                             1ull << 63,
                             rng(UINT64_MAX)};
    return rng(3) == 0 ? b->first + rng(100) : near[rng(ARRAY_LEN(near))];
}

START_TEST(ring_of_lies_is_harmless)
{
    struct segment *g = xcalloc(1, sizeof *g);
    uint64_t chunks;
    rng_state = 4711;
    for (int round = 0; round < 2000; round++) {
        struct ring_bounds b = {.lease = 7,
                                .first = rng(3) == 0 ? UINT64_MAX - 200 : rng(1000),
                                .not_before = 50,
                                .not_after = 5000};
        b.end = b.first + rng(150);
        for (int i = 0; i < 64; i++)
            ring_write(g, rng(TRACE_RECORDS), rng(2) == 0 ? 7 : ring_lie(&b), ring_lie(&b), ring_lie(&b),
                       ring_lie(&b), ring_lie(&b));
        atomic_store(&g->trace_next, ring_lie(&b));
        ring_count(g, rng(2) == 0 ? 0 : ring_lie(&b), b, &chunks);
        ck_assert_uint_le(chunks, b.end - b.first);
    }
    free(g);
}
END_TEST

START_TEST(groups_grow_as_records_run_out)
{
    const uint64_t most = 1000000;
    ck_assert_uint_eq(ring_group_ns(most, most, 2), 8000);
    ck_assert_uint_eq(ring_group_ns(most - 16383, most, 8), 8000);
    ck_assert_uint_eq(ring_group_ns(most - 16384, most, 8), 32000);
    ck_assert_uint_eq(ring_group_ns(most, most, 9), 16000);
    ck_assert_uint_eq(ring_group_ns(most / 2 + 1, most, 2), 32000);
    ck_assert_uint_eq(ring_group_ns(most / 2, most, 2), 128000);
    ck_assert_uint_eq(ring_group_ns(most / 4, most, 2), 512000);
    ck_assert_uint_eq(ring_group_ns(1, most, 64), 1000000000);
    ck_assert_uint_eq(ring_group_ns(50, 100, 1), 32000); /* of few they run out at once */
    ck_assert_uint_eq(ring_group_ns(1, 1, 0), 8000);
    ck_assert_uint_eq(ring_group_ns(UINT64_MAX, UINT64_MAX, UINT32_MAX), 1000000000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ring");
    TCase *t = tcase_create("ring");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, ring_gives_what_a_lease_wrote);
    tcase_add_test(t, ring_of_lies_is_harmless);
    tcase_add_test(t, groups_grow_as_records_run_out);
    suite_add_tcase(s, t);
    return run_suite(s);
}
