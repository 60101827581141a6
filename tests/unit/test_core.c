/*
 * test_core.c - the pure core against plain models: interval sets, the ledger of chunks, lease sizes, places
 * of results. Random walks are seeded; a failure prints its seed.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/assembly.h"
#include "daemon/cgroup.h"
#include "daemon/halt.h"
#include "daemon/backlog.h"
#include "daemon/lease_size.h"
#include "daemon/ledger.h"
#include "daemon/pressure.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"

static uint64_t rng_state;
static uint64_t rng(uint64_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state % below;
}

/* ---- iset ---- */

#define SPAN 200

static void check_against(const struct iset *s, const bool *model)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < SPAN; i++) {
        ck_assert_msg(iset_has(s, i) == model[i], "at %lu", (unsigned long)i);
        count += model[i];
    }
    ck_assert_uint_eq(s->count, count);
    for (size_t i = 0; i < s->n; i++) {
        ck_assert_uint_lt(s->ranges[i].from, s->ranges[i].to);
        if (i > 0)
            ck_assert_uint_lt(s->ranges[i - 1].to, s->ranges[i].from);
    }
}

START_TEST(iset_equals_a_bitmap)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        rng_state = seed * 0x9e3779b97f4a7c15ull;
        struct iset s = {0};
        bool model[SPAN] = {false};
        for (int step = 0; step < 60; step++) {
            uint64_t a = rng(SPAN), b = a + rng(SPAN - a + 1), changed = 0;
            bool add = rng(2) == 0;
            for (uint64_t i = a; i < b; i++) {
                changed += model[i] != add;
                model[i] = add;
            }
            ck_assert_uint_eq(add ? iset_add(&s, a, b) : iset_remove(&s, a, b), changed);
            check_against(&s, model);
        }
        iset_free(&s);
    }
}
END_TEST

START_TEST(iset_at_the_ends_of_the_numbers)
{
    struct iset s = {0};
    ck_assert_uint_eq(iset_add(&s, UINT64_MAX - 2, UINT64_MAX), 2);
    ck_assert(iset_has(&s, UINT64_MAX - 1));
    ck_assert(!iset_has(&s, UINT64_MAX));
    ck_assert_uint_eq(iset_add(&s, 0, UINT64_MAX), UINT64_MAX - 2);
    ck_assert_uint_eq(s.n, 1);
    ck_assert_uint_eq(iset_add(&s, 5, 5), 0);
    iset_free(&s);
}
END_TEST

/* ---- ledger ---- */

struct holder {
    uint64_t from, to;
};

/* Each chunk must be in exactly one state, and the sums must agree. */
static void check_ledger(const struct ledger *l)
{
    uint64_t waiting = ledger_waiting(l);
    uint64_t unready = l->total - MAX(l->ready, l->fresh);
    ck_assert_uint_eq(waiting + unready + l->held.count + l->done.count + l->bad.count, l->total);
}

static void random_end(struct ledger *l, struct holder *h, const struct budget *budget)
{
    uint64_t mid = h->from + rng(h->to - h->from + 1);
    ck_assert(ledger_report(l, h->from, mid));
    if (mid < h->to && rng(3) == 0) {
        ledger_charge(l, mid, (enum cause)rng(CAUSES), budget);
        mid++;
    }
    if (mid < h->to)
        ledger_give_back(l, mid, h->to);
    h->from = h->to = 0;
}

START_TEST(ledger_every_chunk_ends_once)
{
    const struct budget budget = {.retries = {1, 2, 2, 1}};
    for (uint64_t seed = 1; seed <= 300; seed++) {
        rng_state = seed * 0x2545f4914f6cdd1dull;
        struct ledger l;
        uint64_t total = 1 + rng(500);
        ledger_init(&l, total, rng(2) ? total : 0);
        struct holder held[4] = {0};
        for (int step = 0; step < 100000 && !ledger_complete(&l); step++) {
            if (rng(4) == 0)
                ledger_set_ready(&l, l.ready + rng(40));
            struct holder *h = &held[rng(4)];
            uint64_t lowest = ledger_lowest(&l), n;
            if (h->from < h->to)
                random_end(&l, h, &budget);
            else if ((n = ledger_take(&l, 1 + rng(30), &h->from)) > 0) {
                ck_assert_uint_eq(h->from, lowest);
                h->to = h->from + n;
            }
            if (rng(50) == 0 && l.done.count > 0)
                ledger_forget(&l, l.done.ranges[0].from, l.done.ranges[0].from + 1 + rng(5));
            check_ledger(&l);
        }
        ck_assert_msg(ledger_complete(&l), "seed %lu", (unsigned long)seed);
        ledger_free(&l);
    }
}
END_TEST

START_TEST(ledger_a_charged_chunk_comes_alone)
{
    const struct budget budget = {.retries = {0, 2, 0, 0}};
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 100, 100);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 10);
    ck_assert(ledger_charge(&l, 3, CAUSE_CRASH, &budget));
    ledger_give_back(&l, 0, 3);
    ledger_give_back(&l, 4, 10);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 3);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 1);
    ck_assert_uint_eq(first, 3);
    ck_assert_uint_eq(ledger_attempt(&l, 3), 2);
    ck_assert(ledger_charge(&l, 3, CAUSE_CRASH, &budget));
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 1);
    ck_assert(!ledger_charge(&l, 3, CAUSE_CRASH, &budget));
    ck_assert(iset_has(&l.bad, 3));
    ledger_free(&l);
}
END_TEST

START_TEST(ledger_refuses_reports_of_what_is_not_held)
{
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 100, 100);
    ledger_take(&l, 10, &first);
    ck_assert(!ledger_report(&l, 0, 11));
    ck_assert(!ledger_report(&l, 50, 51));
    ledger_give_back(&l, 5, 10);
    ck_assert(!ledger_report(&l, 0, 6));
    ck_assert(ledger_report(&l, 0, 5));
    ck_assert(!ledger_report(&l, 0, 5));
    ck_assert_uint_eq(l.done.count, 5);
    ledger_free(&l);
}
END_TEST

START_TEST(ledger_of_a_milliard_stays_small)
{
    struct ledger l;
    uint64_t first[2], n[2];
    ledger_init(&l, 1000000000, 1000000000);
    while (!ledger_complete(&l)) {
        for (int i = 0; i < 2; i++)
            n[i] = ledger_take(&l, 3500000, &first[i]);
        for (int i = 1; i >= 0; i--)
            if (n[i] > 0)
                ck_assert(ledger_report(&l, first[i], first[i] + n[i]));
        ck_assert_uint_le(l.done.n, 3);
    }
    ledger_free(&l);
}
END_TEST

START_TEST(ledger_rejects_an_item_among_waiting_ones)
{
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 5, 0);
    ledger_set_ready(&l, 2);
    ledger_reject_next(&l);
    ledger_set_ready(&l, 5);
    check_ledger(&l);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 2);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 2);
    ck_assert_uint_eq(first, 3);
    ck_assert(ledger_report(&l, 0, 2) && ledger_report(&l, 3, 5));
    ck_assert(ledger_complete(&l));
    ledger_free(&l);
}
END_TEST

/* ---- lease size ---- */

START_TEST(leases_grow_to_the_target_and_shrink_at_the_end)
{
    struct lease_pace p = {0};
    uint64_t left = 100000000, leases = 0, largest = 0;
    ck_assert_uint_eq(lease_size(&p, left, 2), 1);
    while (left > 0) {
        uint64_t n = lease_size(&p, left, 2);
        ck_assert_uint_ge(n, 1);
        ck_assert_uint_le(n, left);
        largest = MAX(largest, n);
        pace_update(&p, n, n * 2); /* 2 ns a chunk */
        left -= n;
        leases++;
    }
    ck_assert_uint_ge(largest, 2000000);
    ck_assert_uint_le(largest, 2600000);
    ck_assert_uint_le(leases, 120);
    pace_free(&p);
}
END_TEST

START_TEST(slow_chunks_are_leased_one_by_one)
{
    struct lease_pace p = {0};
    pace_update(&p, 1, 50000000);
    ck_assert_uint_eq(lease_size(&p, 1000, 2), 1);
    ck_assert_uint_eq(lease_size(&p, 0, 2), 0);
    pace_free(&p);
}
END_TEST

#define MS 1000000ull

/* Each chunk takes the consumer so long, and there is always a next one. */
static struct backlog busy_consumer(uint64_t ns, unsigned chunks)
{
    struct backlog b = {0};
    backlog_fed(&b, 0);
    for (uint64_t i = 1; i <= chunks; i++)
        backlog_taken(&b, 1, i * ns);
    return b;
}

START_TEST(a_slow_consumer_has_a_core_of_its_own)
{
    struct backlog b = busy_consumer(36 * MS, 3);
    ck_assert_uint_eq(backlog_workers(&b, 1, 20 * MS, false, 2), 1);
    ck_assert_uint_eq(backlog_workers(&b, 1, 20 * MS, true, 2), 0);
    ck_assert_uint_eq(backlog_workers(&b, 1, 20 * MS, true, 8), 6);
    ck_assert_uint_eq(backlog_workers(&b, 1, 20 * MS, true, 1), 0);
    /* Workers that need longer than all that waits are wanted. */
    ck_assert_uint_eq(backlog_workers(&b, 1, 80 * MS, true, 2), 2);
    ck_assert_uint_eq(backlog_workers(&b, 2, 80 * MS, true, 2), 0);
}
END_TEST

START_TEST(a_consumer_that_keeps_up_takes_no_worker)
{
    struct backlog b = busy_consumer(3 * MS, 3);
    ck_assert_uint_eq(backlog_workers(&b, 0, 20 * MS, true, 2), 2);
    ck_assert_uint_eq(backlog_workers(&b, 3, 20 * MS, true, 2), 2);
    /* It waited for each chunk: that it took the next one late says nothing. */
    for (uint64_t i = 1; i < 20; i++) {
        backlog_fed(&b, i * 100 * MS);
        backlog_taken(&b, 1, i * 100 * MS + 3 * MS);
    }
    ck_assert_uint_eq(backlog_workers(&b, 3, 20 * MS, true, 2), 2);
}
END_TEST

START_TEST(what_a_consumer_takes_into_its_buffers_does_not_make_it_fast)
{
    struct backlog b = busy_consumer(36 * MS, 3);
    for (uint64_t i = 0; i < 4; i++) {
        backlog_fed(&b, 200 * MS + i * MS);
        backlog_taken(&b, 1, 200 * MS + i * MS + 1);
    }
    ck_assert_uint_eq(backlog_workers(&b, 1, 20 * MS, false, 2), 1);
    for (uint64_t i = 0; i < 20; i++) /* now it had the next one all the time */
        backlog_taken(&b, 1, 300 * MS + i * MS);
    ck_assert_uint_eq(backlog_workers(&b, 1, 20 * MS, false, 2), 2);
}
END_TEST

/* Its start, or a pause, took long. While it is thought slow it always has none when the next result comes.
 */
START_TEST(a_consumer_that_was_slow_once_is_not_for_ever)
{
    struct backlog b = {0};
    backlog_fed(&b, 0);
    backlog_taken(&b, 1, 60 * MS);
    uint64_t now = 60 * MS;
    for (uint64_t i = 0; i < 30; i++) {
        backlog_fed(&b, now += 20 * MS);
        backlog_taken(&b, 1, now += 3 * MS);
    }
    ck_assert_uint_eq(backlog_workers(&b, 0, 20 * MS, true, 2), 2);
}
END_TEST

/* Whatever was measured: with nothing to take the consumer never waits for workers that may not begin. */
START_TEST(a_backlog_holds_nobody_for_ever)
{
    for (uint32_t seats = 1; seats <= 9; seats++)
        for (unsigned chunks = 0; chunks < 5; chunks++)
            for (uint64_t ns = 1; ns < 10000 * MS; ns *= 10)
                for (int producing = 0; producing < 2; producing++) {
                    struct backlog b = busy_consumer(ns, chunks);
                    uint32_t idle = backlog_workers(&b, 0, 20 * MS, producing, seats);
                    ck_assert_uint_ge(idle, 1);
                    ck_assert_uint_le(idle, seats);
                    ck_assert_uint_le(backlog_workers(&b, 1, 20 * MS, producing, seats), idle);
                }
}
END_TEST

START_TEST(the_median_is_right_to_an_eighth)
{
    struct lease_pace p = {0};
    for (uint64_t i = 0; i < 9; i++)
        pace_update(&p, 1, 1000);
    ck_assert_uint_eq(pace_median_ns(&p), 0);
    for (uint64_t i = 0; i < 90; i++)
        pace_update(&p, 1, 100000 + i * 10000); /* 100 to 1000 us */
    ck_assert_uint_ge(pace_median_ns(&p), 440000);
    ck_assert_uint_le(pace_median_ns(&p), 570000);
    for (uint64_t i = 0; i < 5; i++)
        pace_update(&p, 1, 3600ull * 1000000000);
    ck_assert_uint_le(pace_median_ns(&p), 570000);
    pace_free(&p);
}
END_TEST

START_TEST(suspects_are_halved_until_one_is_left)
{
    const struct budget budget = {.retries = {0, 0, 0, 0}};
    struct ledger l;
    uint64_t deaths = 0, first, n;
    ledger_init(&l, 1000, 1000);
    while (!ledger_complete(&l)) {
        n = ledger_take(&l, 256, &first);
        ck_assert_uint_gt(n, 0);
        bool guilty = first <= 777 && 777 < first + n;
        if (!guilty)
            ck_assert(ledger_report(&l, first, first + n));
        else if (n > 1)
            ledger_suspect(&l, first, first + n);
        else
            ck_assert(!ledger_charge(&l, first, CAUSE_CRASH, &budget));
        deaths += guilty;
    }
    ck_assert(iset_has(&l.bad, 777));
    ck_assert_uint_eq(l.bad.count, 1);
    ck_assert_uint_le(deaths, 9);
    ck_assert_uint_eq(l.suspect.count, 0);
    ledger_free(&l);
}
END_TEST

START_TEST(a_rewound_ledger_waits_for_its_producer)
{
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 10, 0);
    ledger_set_ready(&l, 6);
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 4);
    ck_assert_uint_eq(ledger_take(&l, 1, &first), 1);
    ck_assert(ledger_report(&l, 0, 4));
    ledger_rewind(&l);
    ck_assert_uint_eq(ledger_waiting(&l), 0);
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 0);
    ledger_set_ready(&l, 2);
    ck_assert_uint_eq(ledger_take(&l, 9, &first), 2);
    ck_assert_uint_eq(first, 0);
    ck_assert(ledger_report(&l, 4, 5)); /* what was held goes on */
    ledger_set_ready(&l, 10);
    ck_assert(ledger_report(&l, 0, 2));
    ck_assert_uint_eq(ledger_take(&l, 9, &first), 2);
    ck_assert_uint_eq(ledger_take(&l, 9, &first), 5);
    ledger_free(&l);
}
END_TEST

/* ---- halt, pressure ---- */

START_TEST(halt_speaks_parallel)
{
    struct halt h;
    ck_assert_int_eq(halt_parse("", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 5, 5), HALT_NEVER);
    ck_assert_int_eq(halt_parse("soon,fail=2", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 5, 1), HALT_NEVER);
    ck_assert_int_eq(halt_check(&h, 10, 5, 2), HALT_SOON);
    ck_assert_int_eq(halt_check(&h, 0, 0, 0), HALT_NEVER); /* of none, 20 % are none: no failure */
    ck_assert_int_eq(halt_parse("now,success=30%", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 2, 8), HALT_NEVER);
    ck_assert_int_eq(halt_check(&h, 10, 3, 0), HALT_NOW);
    ck_assert_int_eq(halt_parse("now,done=1", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 0, 1), HALT_NOW);
    static const char *const wrong[] = {
        "now",          "now,",         "now,fail",      "now,fail=",   "now,fail=0", "now,fail=-1",
        "now,fail=1.5", "later,fail=1", "now,fail=101%", "now,fail=1 ", "nowfail=1",  "soon,lost=1"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        ck_assert_msg(halt_parse(wrong[i], &h) < 0, "%s", wrong[i]);
}
END_TEST

START_TEST(cgroups_are_found_in_the_kernels_texts)
{
    char path[32];
    ck_assert_int_eq(cgroup_parse_self("9:name=systemd:/x\n0::/a.slice/b\n", path, sizeof path), 0);
    ck_assert_str_eq(path, "/a.slice/b");
    ck_assert_int_eq(cgroup_parse_self("0::/\n", path, sizeof path), 0);
    ck_assert_str_eq(path, "/");
    ck_assert_int_eq(cgroup_parse_self("4:memory:/x\n", path, sizeof path), -ENOENT);
    ck_assert_int_eq(cgroup_parse_self("0::/../outside\n", path, sizeof path), -ENOENT);
    ck_assert_int_eq(cgroup_parse_self("0::/somewhat/longer/than/the/place/for/it\n", path, sizeof path),
                     -ENOENT);
    ck_assert_int_eq(cgroup_parse_self("", path, sizeof path), -ENOENT);
    static const char mounts[] = "22 1 0:5 / /proc rw - proc proc rw\n"
                                 "30 1 0:9 /part /mnt rw shared:4 - cgroup2 cgroup2 rw\n"
                                 "31 1 0:9 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
    ck_assert_int_eq(cgroup_parse_mount(mounts, path, sizeof path), 0);
    ck_assert_str_eq(path, "/sys/fs/cgroup");
    ck_assert_int_eq(cgroup_parse_mount("22 1 0:5 / /proc rw - proc proc rw\n", path, sizeof path), -ENOENT);
}
END_TEST

/* Cgroups are used again: only what was counted since counts. */
START_TEST(who_ran_out_of_memory)
{
    struct cgroup_events none = {0, 0};
    struct cgroup_events e =
        cgroup_parse_events("low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n");
    ck_assert_uint_eq(e.oom, 1);
    ck_assert_uint_eq(e.oom_kill, 2);
    ck_assert_int_eq(cgroup_judge(none, none), OOM_NONE);
    ck_assert_int_eq(cgroup_judge(none, e), OOM_CGROUP);
    ck_assert_int_eq(cgroup_judge(e, e), OOM_NONE);
    struct cgroup_events later = {.oom = 1, .oom_kill = 3};
    ck_assert_int_eq(cgroup_judge(e, later), OOM_KERNEL);
    ck_assert_uint_eq(pressure_kills("pgfault 7\noom_kill 6\nx 1\n"), 6);
    ck_assert_uint_eq(pressure_kills(""), 0);
}
END_TEST

START_TEST(pressure_reads_the_kernels_texts)
{
#define PSI(full)                                                                                            \
    "some avg10=50.00 avg60=1.00 avg300=0.10 total=1\nfull avg10=" full " avg60=0.00 avg300=0.00 total=1\n"
    const char *text = PSI("2.50");
    ck_assert(pressure_short("", PSI("12.50")));
    ck_assert(!pressure_short("", text));
    ck_assert(pressure_short("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:     49 kB\n", text));
    ck_assert(!pressure_short("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:     51 kB\n", text));
    ck_assert(!pressure_short("", ""));
    ck_assert_uint_eq(pressure_resident("RssAnon:\t   100 kB\nRssFile:\t 7 kB\nRssShmem:\t   28 kB\n"),
                      128 * 1024);
    ck_assert_uint_gt(pressure_of(getpid()), 0);
}
END_TEST

/* ---- assembly ---- */

static struct arena *new_arena(struct assembly *a, uint64_t id, uint64_t places)
{
    int fd;
    ck_assert_int_eq(memfd_sized("test", places * a->result_bytes, &fd), 0);
    return arena_new(a, id, fd, places * a->result_bytes);
}

/* What was given up has a whole budget when it is recalled, and its attempts go on counting. */
START_TEST(a_recalled_chunk_is_tried_as_if_it_were_new)
{
    struct ledger l;
    struct budget once = {.retries = {[CAUSE_CRASH] = 1}};
    uint64_t first;
    ledger_init(&l, 10, 10);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 10);
    ledger_give_back(&l, 4, 10);
    ledger_report(&l, 0, 3);
    ck_assert(ledger_charge(&l, 3, CAUSE_CRASH, &once));
    for (uint32_t round = 0; round < 3; round++) {
        ck_assert_uint_eq(ledger_take(&l, 10, &first), 1); /* alone */
        ck_assert_uint_eq(first, 3);
        ck_assert_uint_eq(ledger_attempt(&l, 3), 2 + 2 * round);
        ck_assert(!ledger_charge(&l, 3, CAUSE_CRASH, &once));
        ck_assert(iset_has(&l.bad, 3));
        ledger_recall(&l, 3);
        ck_assert(!ledger_complete(&l));
        ck_assert_uint_eq(ledger_attempts_before(&l, 3), 2 + 2 * round);
        ledger_give_alone(&l, 3);
        ck_assert_uint_eq(ledger_take(&l, 10, &first), 1);
        ck_assert(ledger_charge(&l, 3, CAUSE_CRASH, &once));
    }
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 1);
    ledger_charge(&l, 3, CAUSE_CRASH, &once);
    ledger_recall(&l, 3);
    ledger_reject(&l, 3);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 6);
    ck_assert(ledger_report(&l, 4, 10));
    ck_assert(ledger_complete(&l));
    ck_assert_uint_eq(l.bad.count, 1);
    ledger_free(&l);
}
END_TEST

START_TEST(assembly_forgets_a_hole_that_was_not_handed_out)
{
    struct assembly a;
    uint64_t first, n;
    assembly_init(&a, 8);
    assembly_add_hole(&a, 1);
    assembly_add_hole(&a, 2);
    ck_assert_ptr_null(assembly_next(&a, &first, &n));
    assembly_remove_hole(&a, 1);
    ck_assert(!assembly_holds(&a, 1));
    ck_assert(assembly_holds(&a, 2));
    assembly_add_hole(&a, 0);
    ck_assert_ptr_nonnull(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(first, 0);
    ck_assert_ptr_null(assembly_next(&a, &first, &n)); /* 1 is on its way again */
    assembly_free(&a);
}
END_TEST

START_TEST(assembly_hands_out_in_order)
{
    struct assembly a;
    assembly_init(&a, 4096);
    struct arena *x = new_arena(&a, 1, 4), *y = new_arena(&a, 2, 4);
    uint32_t px, py;
    uint64_t first, n;
    ck_assert_uint_eq(arena_take(&a, x, 0, 2, &px), 2);
    ck_assert_uint_eq(arena_take(&a, y, 2, 8, &py), 3); /* one place is kept */
    assembly_add(&a, y, 2, 3, py);
    ck_assert_ptr_null(assembly_next(&a, &first, &n));
    assembly_add(&a, x, 0, 2, px);
    ck_assert_ptr_nonnull(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(first, 0);
    const struct result *r = assembly_next(&a, &first, &n);
    ck_assert_uint_eq(first, 2);
    ck_assert_uint_eq(n, 3);
    ck_assert_ptr_eq(r->arena, y);
    ck_assert(!assembly_absorbed(&a, 6));
    ck_assert(assembly_absorbed(&a, 2));
    ck_assert_uint_eq(x->taken, 0);
    arena_release(&a, y); /* its stage died: results stay */
    ck_assert(assembly_holds(&a, 4));
    ck_assert(assembly_absorbed(&a, 5));
    ck_assert(!assembly_holds(&a, 4));
    assembly_free(&a);
}
END_TEST

START_TEST(assembly_a_retried_first_chunk_always_finds_room)
{
    struct assembly a;
    assembly_init(&a, 4096);
    struct arena *x = new_arena(&a, 1, 3);
    uint32_t p;
    uint64_t first, n;
    ck_assert_uint_eq(arena_take(&a, x, 1, 3, &p), 2);
    assembly_add(&a, x, 1, 2, p);
    ck_assert_uint_eq(arena_take(&a, x, 3, 1, &p), 0);
    ck_assert_ptr_null(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(arena_take(&a, x, 0, 1, &p), 1);
    assembly_add(&a, x, 0, 1, p);
    ck_assert_ptr_nonnull(assembly_next(&a, &first, &n));
    assembly_restart(&a);
    ck_assert_ptr_nonnull(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(first, 0);
    assembly_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("core");
    TCase *t = tcase_create("core");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_test(t, iset_equals_a_bitmap);
    tcase_add_test(t, iset_at_the_ends_of_the_numbers);
    tcase_add_test(t, ledger_every_chunk_ends_once);
    tcase_add_test(t, ledger_a_charged_chunk_comes_alone);
    tcase_add_test(t, ledger_refuses_reports_of_what_is_not_held);
    tcase_add_test(t, ledger_of_a_milliard_stays_small);
    tcase_add_test(t, ledger_rejects_an_item_among_waiting_ones);
    tcase_add_test(t, leases_grow_to_the_target_and_shrink_at_the_end);
    tcase_add_test(t, slow_chunks_are_leased_one_by_one);
    tcase_add_test(t, a_slow_consumer_has_a_core_of_its_own);
    tcase_add_test(t, a_consumer_that_keeps_up_takes_no_worker);
    tcase_add_test(t, what_a_consumer_takes_into_its_buffers_does_not_make_it_fast);
    tcase_add_test(t, a_consumer_that_was_slow_once_is_not_for_ever);
    tcase_add_test(t, a_backlog_holds_nobody_for_ever);
    tcase_add_test(t, the_median_is_right_to_an_eighth);
    tcase_add_test(t, suspects_are_halved_until_one_is_left);
    tcase_add_test(t, a_rewound_ledger_waits_for_its_producer);
    tcase_add_test(t, halt_speaks_parallel);
    tcase_add_test(t, cgroups_are_found_in_the_kernels_texts);
    tcase_add_test(t, who_ran_out_of_memory);
    tcase_add_test(t, pressure_reads_the_kernels_texts);
    tcase_add_test(t, a_recalled_chunk_is_tried_as_if_it_were_new);
    tcase_add_test(t, assembly_forgets_a_hole_that_was_not_handed_out);
    tcase_add_test(t, assembly_hands_out_in_order);
    tcase_add_test(t, assembly_a_retried_first_chunk_always_finds_room);
    return run_suite(s);
}
