/*
 * test_core.c - the pure core: lease sizes, backlogs, halts, what the kernel says of memory, places of
 * results. Interval sets and the ledger are in test_ledger.c.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/assembly.h"
#include "daemon/cgroup.h"
#include "daemon/halt.h"
#include "daemon/backlog.h"
#include "daemon/lease_size.h"
#include "daemon/pressure.h"
#include "daemon/still.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"

/* ---- who stands still ---- */

#define TICK ((int64_t)STILL_NS)

static bool waits_still(struct still *st, uint64_t cpu, bool waits, int64_t now)
{
    still_waits(st, cpu, waits, now);
    return st->stands;
}

START_TEST(who_waits_stands_still_after_a_tick)
{
    struct still st = {0};
    ck_assert(!still_there(&st, 7, 3, 30, TICK));
    ck_assert(still_there(&st, 7, 3, 30, 2 * TICK));
    ck_assert(!waits_still(&st, 12, true, 2 * TICK)); /* what it had used before nobody knows */
    ck_assert(!waits_still(&st, 12, true, 3 * TICK - 1));
    ck_assert(waits_still(&st, 12, true, 3 * TICK));
    ck_assert(waits_still(&st, 12, true, 9 * TICK));
}
END_TEST

START_TEST(who_computes_or_would_if_it_could_does_not_stand_still)
{
    struct still st = {0};
    still_there(&st, 7, 3, 30, 0);
    for (int64_t i = 1; i < 100; i++) {
        ck_assert(still_there(&st, 7, 3, 30, i * TICK));
        ck_assert(!waits_still(&st, (uint64_t)i, true, i * TICK)); /* it sleeps whenever somebody looks */
    }
    for (int64_t i = 100; i < 200; i++)
        ck_assert(!waits_still(&st, 99, false, i * TICK)); /* it gets no processor */
    ck_assert(!waits_still(&st, 99, true, 200 * TICK - 1));
}
END_TEST

START_TEST(who_goes_on_is_seen_at_once)
{
    static const uint64_t on[3][3] = {{7, 4, 31}, {7, 4, 32}, {8, 4, 32}};
    struct still st = {0};
    int64_t now = 0;
    still_there(&st, 7, 3, 30, now);
    for (int i = 0; i < 3; i++) {
        still_waits(&st, 5, true, now);
        ck_assert(waits_still(&st, 5, true, now + TICK));
        now += 2 * TICK;
        ck_assert(!still_there(&st, on[i][0], on[i][1], on[i][2], now) && !st.stands);
        ck_assert(!waits_still(&st, 5, true, now += TICK));
    }
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

/* The worker that has the next chunk hangs in it, the first one as well. */
START_TEST(a_consumer_that_starves_holds_nobody_back)
{
    struct backlog b = {0};
    backlog_begins(&b, 1000 * MS);
    ck_assert(!backlog_starves(&b, 0, 0, 1100 * MS));
    ck_assert(backlog_starves(&b, 0, 0, 1101 * MS));
    b = busy_consumer(36 * MS, 3); /* the last one at 108 */
    ck_assert_uint_eq(backlog_workers(&b, 0, 20 * MS, false, 2), 1);
    ck_assert(!backlog_starves(&b, 0, 20 * MS, 100 * MS));
    ck_assert(!backlog_starves(&b, 0, 20 * MS, 264 * MS));
    ck_assert(backlog_starves(&b, 0, 20 * MS, 265 * MS));
    ck_assert(!backlog_starves(&b, 1, 20 * MS, 1000 * MS));
    backlog_fed(&b, 300 * MS);
    ck_assert(!backlog_starves(&b, 0, 20 * MS, 301 * MS));
}
END_TEST

START_TEST(the_median_is_right_to_an_eighth)
{
    struct lease_pace p = {0};
    for (uint64_t i = 1; i < PACE_SAMPLES; i++)
        pace_update(&p, 1, 1000);
    ck_assert_uint_eq(pace_median_ns(&p), 0);
    pace_update(&p, 1, 1000);
    ck_assert_uint_gt(pace_median_ns(&p), 0);
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
    /* What it took before it had words. */
    ck_assert_int_eq(halt_parse("0", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 5, 5), HALT_NEVER);
    ck_assert_int_eq(halt_parse("1", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 5, 0), HALT_NEVER);
    ck_assert_int_eq(halt_check(&h, 10, 0, 1), HALT_SOON);
    ck_assert_int_eq(halt_parse("2", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 0, 1), HALT_NOW);
    ck_assert_int_eq(halt_parse("-1", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 1, 0), HALT_SOON);
    ck_assert_int_eq(halt_parse("-2", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 1, 0), HALT_NOW);
    ck_assert_int_eq(halt_parse("20%", &h), 0);
    ck_assert_int_eq(halt_check(&h, 10, 5, 1), HALT_NEVER);
    ck_assert_int_eq(halt_check(&h, 10, 5, 2), HALT_SOON);
    static const char *const wrong[] = {"3",
                                        "-3",
                                        "%",
                                        "0%",
                                        "101%",
                                        "1 %",
                                        "now",
                                        "now,",
                                        "now,fail",
                                        "now,fail=",
                                        "now,fail=0",
                                        "now,fail=0x10",
                                        "now,fail=1e1",
                                        "now,fail=-1",
                                        "now,fail=1.5",
                                        "later,fail=1",
                                        "now,fail=101%",
                                        "now,fail=1 ",
                                        "nowfail=1",
                                        "soon,lost=1"};
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
    ck_assert_int_eq(pressure_level("", PSI("12.50")), PRESSURE_SHORT);
    ck_assert_int_eq(pressure_level("", text), PRESSURE_NONE);
#define AVAILABLE(n) "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:     " #n " kB\n"
    ck_assert_int_eq(pressure_level(AVAILABLE(51), text), PRESSURE_NONE);
    ck_assert_int_eq(pressure_level(AVAILABLE(49), text), PRESSURE_SHORT);
    ck_assert_int_eq(pressure_level(AVAILABLE(26), text), PRESSURE_SHORT);
    ck_assert_int_eq(pressure_level(AVAILABLE(24), text), PRESSURE_LAST);
    ck_assert_int_eq(pressure_level(AVAILABLE(24), ""), PRESSURE_LAST);
    ck_assert_int_eq(pressure_level("", ""), PRESSURE_NONE);
    ck_assert_int_eq(pressure_group("1000\n", "960\n", "anon 900\ninactive_file 0\n", ""), PRESSURE_SHORT);
    ck_assert_int_eq(pressure_group("1000\n", "980\n", "", ""), PRESSURE_LAST);
    ck_assert_int_eq(pressure_group("1000\n", "1008\n", "", ""), PRESSURE_LAST);
    ck_assert_int_eq(pressure_group("1000\n", "980\n", "anon 1\ninactive_file 5\nactive_file 40\n", ""),
                     PRESSURE_NONE);
    ck_assert_int_eq(pressure_group("1000\n", "980\n", "anon 1\ninactive_file 5\nactive_file 10\n", ""),
                     PRESSURE_SHORT);
    ck_assert_int_eq(pressure_group("1000\n", "980\n", "anon 1\ninactive_file 30\nslab_reclaimable 10\n", ""),
                     PRESSURE_NONE);
    ck_assert_int_eq(pressure_group("1000\n", "5\n", "", PSI("12.50")), PRESSURE_SHORT);
    ck_assert_int_eq(pressure_group("max\n", "980\n", "", PSI("12.50")), PRESSURE_NONE);
    ck_assert_int_eq(pressure_group("", "", "", ""), PRESSURE_NONE);
    ck_assert_uint_eq(pressure_worth(AVAILABLE(24)), 102400);
    ck_assert_uint_eq(pressure_worth(""), 0);
    static const char rss[] = "RssAnon:\t   100 kB\nRssFile:\t 7 kB\nRssShmem:\t   28 kB\nVmPTE:\t   12 kB\n";
    ck_assert_uint_eq(pressure_resident(rss, true), 140 * 1024);
    ck_assert_uint_eq(pressure_resident(rss, false), 112 * 1024);
    uint64_t held = 0;
    ck_assert(pressure_of(getpid(), false, &held));
    ck_assert_uint_gt(held, 0);
}
END_TEST

/* ---- assembly ---- */

static struct ledger none; /* of no chunk */

static struct arena *new_arena(struct assembly *a, uint64_t id, uint64_t places)
{
    int fd;
    ck_assert_int_eq(memfd_sized("test", places * a->result_bytes, &fd), 0);
    return arena_new(a, id, fd, places * a->result_bytes);
}

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

START_TEST(assembly_says_which_arenas_are_gone)
{
    struct assembly a;
    assembly_init(&a, 4096);
    struct arena *x = new_arena(&a, 7, 4), *y = new_arena(&a, 8, 4), *z = new_arena(&a, 9, 4);
    uint32_t p;
    uint64_t first, n, id;
    ck_assert_uint_eq(arena_take(&a, x, 0, 2, &p), 2);
    assembly_add(&a, x, 0, 2, p);
    ck_assert_uint_eq(arena_take(&a, y, 2, 1, &p), 1);
    assembly_add(&a, y, 2, 1, p);
    x->known = y->known = true;
    while (assembly_next(&a, &first, &n) != NULL)
        ;
    arena_release(&a, x);
    ck_assert(!assembly_full(&a, 1));
    arena_release(&a, y);
    ck_assert(assembly_full(&a, 1));
    ck_assert(!assembly_full(&a, 2));
    ck_assert(assembly_absorbed(&a, 1));
    ck_assert(!assembly_gone(&a, &id)); /* chunk 1 waits there */
    ck_assert(assembly_absorbed(&a, 2));
    ck_assert(!assembly_full(&a, 1));
    ck_assert(assembly_gone(&a, &id));
    ck_assert_uint_eq(id, 7);
    ck_assert(!assembly_gone(&a, &id));
    ck_assert(assembly_absorbed(&a, 3));
    assembly_restart(&a, &none); /* who had it mapped is dead */
    ck_assert(!assembly_gone(&a, &id));
    arena_release(&a, z); /* nobody was ever told of it */
    ck_assert(!assembly_gone(&a, &id));
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
    assembly_restart(&a, &none);
    ck_assert_ptr_nonnull(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(first, 0);
    assembly_free(&a);
}
END_TEST

#define MANY (1ull << 40)

/* Every 7th of the first 70 chunks was given up; of the four behind MANY, which lie in an arena, two were
 * absorbed, and so was all before them. */
static void absorb_many(struct assembly *a, struct ledger *l)
{
    const struct budget once = {0};
    struct arena *x = new_arena(a, 1, 64);
    uint64_t first, n;
    uint32_t p;
    ledger_init(l, 2 * MANY, MANY + 4);
    ck_assert_uint_eq(ledger_take(l, 2 * MANY, &first), MANY + 4);
    for (uint64_t c = 7; c <= 70; c += 7) {
        ck_assert(!ledger_charge(l, c, CAUSE_ERROR, &once));
        assembly_add_hole(a, c);
    }
    for (uint64_t c = 0; c <= 70; c += 7)
        ck_assert(ledger_report(l, c == 0 ? 0 : c + 1, c < 70 ? c + 7 : MANY + 4));
    ck_assert_uint_eq(arena_take(a, x, MANY, 4, &p), 4);
    assembly_add(a, x, MANY, 4, p);
    a->sent = MANY; /* one by one would take years */
    ck_assert(assembly_absorbed(a, MANY));
    ck_assert_ptr_nonnull(assembly_next(a, &first, &n));
    ck_assert(assembly_absorbed(a, MANY + 2));
}

START_TEST(a_consumer_of_many_chunks_starts_again_at_once)
{
    struct assembly a;
    struct ledger l;
    uint64_t first, n;
    assembly_init(&a, 8);
    absorb_many(&a, &l);
    assembly_restart(&a, &l);
    ck_assert_uint_eq(l.done.count, 4); /* these still lie there */
    ck_assert_uint_eq(l.bad.count, 10);
    ck_assert_uint_eq(ledger_waiting(&l), MANY - 10);
    for (uint64_t c = 0; c < 100; c++)
        ck_assert(assembly_holds(&a, c) == (c > 0 && c <= 70 && c % 7 == 0));
    ck_assert_ptr_null(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(ledger_take(&l, 100, &first), 7);
    ck_assert_uint_eq(first, 0);
    a.sent = MANY;
    ck_assert_ptr_nonnull(assembly_next(&a, &first, &n));
    ck_assert_uint_eq(n, 4);
    ledger_free(&l);
    assembly_free(&a);
}
END_TEST

START_TEST(with_its_producer_everything_starts_again)
{
    struct assembly a;
    struct ledger l;
    uint64_t first;
    assembly_init(&a, 8);
    absorb_many(&a, &l);
    assembly_rewind(&a, &l);
    ck_assert_uint_eq(l.done.count, 0);
    ck_assert_uint_eq(ledger_waiting(&l), 0);
    ck_assert(!assembly_holds(&a, MANY));
    for (uint64_t c = 0; c < 100; c++)
        ck_assert(assembly_holds(&a, c) == (c > 0 && c <= 70 && c % 7 == 0));
    ledger_set_ready(&l, MANY);
    ck_assert_uint_eq(ledger_take(&l, 100, &first), 7);
    ledger_free(&l);
    assembly_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("core");
    TCase *t = tcase_create("core");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_test(t, who_waits_stands_still_after_a_tick);
    tcase_add_test(t, who_computes_or_would_if_it_could_does_not_stand_still);
    tcase_add_test(t, who_goes_on_is_seen_at_once);
    tcase_add_test(t, leases_grow_to_the_target_and_shrink_at_the_end);
    tcase_add_test(t, slow_chunks_are_leased_one_by_one);
    tcase_add_test(t, a_slow_consumer_has_a_core_of_its_own);
    tcase_add_test(t, a_consumer_that_keeps_up_takes_no_worker);
    tcase_add_test(t, what_a_consumer_takes_into_its_buffers_does_not_make_it_fast);
    tcase_add_test(t, a_consumer_that_was_slow_once_is_not_for_ever);
    tcase_add_test(t, a_backlog_holds_nobody_for_ever);
    tcase_add_test(t, a_consumer_that_starves_holds_nobody_back);
    tcase_add_test(t, the_median_is_right_to_an_eighth);
    tcase_add_test(t, halt_speaks_parallel);
    tcase_add_test(t, cgroups_are_found_in_the_kernels_texts);
    tcase_add_test(t, who_ran_out_of_memory);
    tcase_add_test(t, pressure_reads_the_kernels_texts);
    tcase_add_test(t, assembly_forgets_a_hole_that_was_not_handed_out);
    tcase_add_test(t, assembly_hands_out_in_order);
    tcase_add_test(t, assembly_says_which_arenas_are_gone);
    tcase_add_test(t, assembly_a_retried_first_chunk_always_finds_room);
    tcase_add_test(t, a_consumer_of_many_chunks_starts_again_at_once);
    tcase_add_test(t, with_its_producer_everything_starts_again);
    return run_suite(s);
}
