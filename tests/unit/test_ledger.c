/*
 * test_ledger.c - interval sets and the ledger of chunks, against plain models. Random walks are seeded; a
 * failure prints its seed.
 */
#include <string.h>

#include "daemon/ledger.h"
#include "proto/limits.h"
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
    size_t solos = 0;
    for (size_t i = 0; i < l->ncharges; i++)
        solos += l->charges[i].solo;
    ck_assert_uint_eq(l->solos, solos);
}

static void random_end(struct ledger *l, struct holder *h, const struct budget *budget)
{
    uint64_t mid = h->from + rng(h->to - h->from + 1);
    ck_assert(ledger_report(l, h->from, mid));
    if (mid < h->to && rng(3) == 0) {
        ledger_charge(l, mid, (enum cause)rng(CAUSES), budget);
        ledger_set_solo(l, mid, rng(2) == 0);
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
            uint64_t lowest = ledger_lowest(&l), charged = ledger_charged(&l), n;
            if (h->from < h->to)
                random_end(&l, h, &budget);
            else if (charged != UINT64_MAX && rng(2) == 0) {
                ck_assert_uint_eq(ledger_take_from(&l, charged, 1 + rng(30)), 1);
                *h = (struct holder){charged, charged + 1};
            } else if ((n = ledger_take(&l, 1 + rng(30), &h->from)) > 0) {
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

START_TEST(a_charged_chunk_need_not_wait_for_those_before_it)
{
    const struct budget budget = {.retries = {0, 2, 0, 0}};
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 100, 20);
    ck_assert_uint_eq(ledger_charged(&l), UINT64_MAX);
    ck_assert_uint_eq(ledger_take(&l, 20, &first), 20);
    ck_assert(ledger_charge(&l, 7, CAUSE_CRASH, &budget));
    ck_assert(ledger_charge(&l, 13, CAUSE_CRASH, &budget));
    ledger_give_back(&l, 0, 7);
    ledger_give_back(&l, 8, 13);
    ledger_give_back(&l, 14, 20);
    ck_assert_uint_eq(ledger_lowest(&l), 0);
    ck_assert_uint_eq(ledger_charged(&l), 7);
    ck_assert_uint_eq(ledger_take_from(&l, 7, 10), 1);
    ck_assert_uint_eq(ledger_charged(&l), 13);
    ck_assert_uint_eq(ledger_take_from(&l, 0, 10), 7);
    ck_assert_uint_eq(ledger_take_from(&l, 13, 10), 1);
    ck_assert_uint_eq(ledger_charged(&l), UINT64_MAX);
    ck_assert(ledger_charge(&l, 13, CAUSE_CRASH, &budget));
    ck_assert_uint_eq(ledger_charged(&l), 13);
    ledger_rewind(&l);
    ck_assert_uint_eq(ledger_charged(&l), UINT64_MAX); /* its producer has to come by first */
    ck_assert_uint_eq(ledger_take_from(&l, UINT64_MAX, 10), 0);
    ledger_set_ready(&l, 14);
    ck_assert_uint_eq(ledger_charged(&l), 13);
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
        ledger_recall(&l, 3, 2 + 2 * round);
        ck_assert(!ledger_complete(&l));
        ck_assert_uint_eq(ledger_attempt(&l, 3), 3 + 2 * round);
        ck_assert_uint_eq(ledger_left(&l, 3, CAUSE_CRASH, &once), 1);
        ledger_give_alone(&l, 3);
        ck_assert_uint_eq(ledger_take(&l, 10, &first), 1);
        ck_assert(ledger_charge(&l, 3, CAUSE_CRASH, &once));
    }
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 1);
    ledger_charge(&l, 3, CAUSE_CRASH, &once);
    ledger_recall(&l, 3, 8);
    ledger_reject(&l, 3);
    ck_assert_uint_eq(ledger_take(&l, 10, &first), 6);
    ck_assert(ledger_report(&l, 4, 10));
    ck_assert(ledger_complete(&l));
    ck_assert_uint_eq(l.bad.count, 1);
    ledger_free(&l);
}
END_TEST

/* A chunk is charged before it is known for what: with budgets that allow either, and put right afterwards.
 */
START_TEST(a_charge_finds_its_cause_later)
{
    const struct budget budget = {.retries = {[CAUSE_CRASH] = 2, [CAUSE_OOM] = 1}};
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 3, 3);
    ck_assert_uint_eq(ledger_take(&l, 3, &first), 3);
    ck_assert_uint_eq(ledger_left(&l, 1, CAUSE_CRASH, &budget), 2);
    ck_assert_uint_eq(ledger_left(&l, 1, CAUSE_OOM, &budget), 1);
    ck_assert_uint_eq(ledger_left(&l, 1, CAUSE_TIMEOUT, &budget), 0);
    ck_assert(ledger_charge(&l, 1, CAUSE_CRASH, &budget));
    ledger_recharge(&l, 1, CAUSE_CRASH, CAUSE_OOM);
    ck_assert_uint_eq(ledger_attempt(&l, 1), 2);
    ck_assert_uint_eq(ledger_left(&l, 1, CAUSE_CRASH, &budget), 2);
    ck_assert_uint_eq(ledger_left(&l, 1, CAUSE_OOM, &budget), 0);
    ck_assert_uint_eq(ledger_take(&l, 3, &first), 1);
    ck_assert(!ledger_charge(&l, 1, CAUSE_OOM, &budget));
    ledger_recall(&l, 1, 2); /* a clean slate: late news of the first death do not touch it */
    ledger_recharge(&l, 1, CAUSE_CRASH, CAUSE_OOM);
    ck_assert_uint_eq(ledger_left(&l, 1, CAUSE_OOM, &budget), 1);
    ck_assert_uint_eq(ledger_attempt(&l, 1), 3);
    ledger_give_back(&l, 0, 3);
    ledger_free(&l);
}
END_TEST

/* Until its next attempt ends otherwise, or it is over. */
START_TEST(a_charged_chunk_may_have_to_be_the_only_one)
{
    const struct budget budget = {.retries = {[CAUSE_CRASH] = 1, [CAUSE_OOM] = 2}};
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 4, 4);
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 4);
    ledger_set_solo(&l, 0, true); /* was not charged: nothing is kept of it */
    ck_assert(!ledger_is_solo(&l, 0));
    for (uint64_t i = 1; i < 4; i++) {
        ck_assert(ledger_charge(&l, i, CAUSE_OOM, &budget));
        ledger_set_solo(&l, i, true);
        ledger_set_solo(&l, i, true);
        ck_assert(ledger_is_solo(&l, i));
    }
    ck_assert_uint_eq(l.solos, 3);
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 1);
    ck_assert(ledger_is_solo(&l, 1)); /* while it is held, too */
    ck_assert(ledger_charge(&l, 1, CAUSE_CRASH, &budget));
    ledger_set_solo(&l, 1, false);
    ck_assert(!ledger_is_solo(&l, 1) && ledger_is_solo(&l, 2));
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 1);
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 1);
    ck_assert_uint_eq(first, 2);
    ck_assert(ledger_report(&l, 2, 3)); /* done */
    ck_assert_uint_eq(l.solos, 1);
    ck_assert_uint_eq(ledger_take(&l, 4, &first), 1);
    ledger_reject(&l, 3); /* given up */
    ck_assert_uint_eq(l.solos, 0);
    check_ledger(&l);
    ledger_give_back(&l, 0, 2);
    ledger_free(&l);
}
END_TEST

/* As many as the job has chunks may be given up, at once or after some attempts: nothing is kept of each. */
START_TEST(what_is_given_up_is_charged_nothing)
{
    const struct budget budget = {.retries = {[CAUSE_CRASH] = 1}};
    struct ledger l;
    uint64_t first;
    ledger_init(&l, 100000, 100000);
    for (uint64_t i = 0; i < 100000; i++) {
        ck_assert_uint_eq(ledger_take(&l, 1, &first), 1);
        if (i % 2 == 0) {
            ck_assert(ledger_charge(&l, i, CAUSE_CRASH, &budget));
            ck_assert_uint_eq(ledger_take(&l, 1, &first), 1);
            ck_assert_uint_eq(ledger_attempt(&l, i), 2);
        }
        ck_assert(!ledger_charge(&l, i, i % 2 == 0 ? CAUSE_CRASH : CAUSE_ERROR, &budget));
        ck_assert_uint_eq(l.ncharges, 0);
    }
    ledger_recharge(&l, 0, CAUSE_CRASH, CAUSE_OOM); /* late news of what is over */
    ck_assert_uint_eq(l.ncharges, 0);
    ck_assert_uint_le(l.room, 8);
    ck_assert(ledger_complete(&l));
    ck_assert_uint_eq(l.bad.count, 100000);
    ledger_free(&l);
}
END_TEST

/* Nor do those grow that are tried again; and whoever gives chunks back does not look at each of them. */
START_TEST(charges_are_bounded)
{
    const struct budget budget = {.retries = {[CAUSE_CRASH] = 1}};
    const uint64_t total = 2 * LEDGER_CHARGES_MAX;
    struct ledger l;
    uint64_t first;
    ledger_init(&l, total, total);
    ck_assert_uint_eq(ledger_take(&l, total, &first), total);
    for (uint64_t i = 0; i < LEDGER_CHARGES_MAX; i++)
        ck_assert(ledger_charge(&l, i, CAUSE_CRASH, &budget));
    ck_assert_uint_eq(ledger_left(&l, LEDGER_CHARGES_MAX, CAUSE_CRASH, &budget), 0);
    ck_assert(!ledger_charge(&l, LEDGER_CHARGES_MAX, CAUSE_CRASH, &budget));
    ck_assert_uint_eq(l.ncharges, LEDGER_CHARGES_MAX);
    ck_assert_uint_eq(ledger_take(&l, total, &first), 1);
    ck_assert(!ledger_charge(&l, 0, CAUSE_CRASH, &budget)); /* its second: there is room for another now */
    ck_assert(ledger_charge(&l, LEDGER_CHARGES_MAX + 1, CAUSE_CRASH, &budget));
    for (int i = 0; i < 300000; i++) {
        ledger_give_back(&l, total - 1, total);
        iset_remove(&l.back, total - 1, total);
        iset_add(&l.held, total - 1, total);
    }
    check_ledger(&l);
    ledger_free(&l);
}
END_TEST

/* A job of days, in which somebody kills a worker now and then: each chunk is well the second time. */
START_TEST(what_is_done_is_charged_nothing)
{
    const struct budget budget = {.retries = {[CAUSE_CRASH] = 1}};
    const uint64_t total = LEDGER_CHARGES_MAX + 10;
    struct ledger l;
    uint64_t first;
    ledger_init(&l, total, total);
    for (uint64_t i = 0; i < total; i++) {
        ck_assert_uint_eq(ledger_take(&l, 1, &first), 1);
        ck_assert_msg(ledger_charge(&l, i, CAUSE_CRASH, &budget), "chunk %lu is given up", (unsigned long)i);
        ck_assert_uint_eq(ledger_take(&l, 1, &first), 1);
        ck_assert_uint_eq(ledger_attempt(&l, i), 2);
        ck_assert(ledger_report(&l, i, i + 1));
        ck_assert_uint_eq(l.ncharges, 0);
    }
    ck_assert(ledger_complete(&l));
    ledger_recharge(&l, 7, CAUSE_CRASH, CAUSE_OOM); /* late news of what is over */
    ck_assert_uint_eq(l.ncharges, 0);
    ledger_forget(&l, 7, 8);
    ck_assert_uint_eq(ledger_take(&l, 1, &first), 1);
    ck_assert_uint_eq(ledger_left(&l, 7, CAUSE_CRASH, &budget), 1);
    ledger_free(&l);
}
END_TEST

/* Those that are recalled are among them: when there are as many as there may be, one has a last attempt. */
START_TEST(charges_of_recalled_chunks_are_bounded)
{
    const struct budget budget = {.retries = {[CAUSE_CRASH] = 1}};
    const uint64_t total = LEDGER_CHARGES_MAX + 1;
    struct ledger l;
    uint64_t first;
    ledger_init(&l, total, total);
    ck_assert_uint_eq(ledger_take(&l, total, &first), total);
    ledger_reject(&l, 0);
    for (uint64_t i = 1; i < total; i++)
        ck_assert(ledger_charge(&l, i, CAUSE_CRASH, &budget));
    ledger_recall(&l, 0, 2);
    ck_assert_uint_eq(l.ncharges, LEDGER_CHARGES_MAX);
    ledger_give_alone(&l, 0);
    ck_assert_uint_eq(ledger_take(&l, total, &first), 1);
    ck_assert(!ledger_charge(&l, 0, CAUSE_CRASH, &budget));
    ck_assert_uint_eq(l.ncharges, LEDGER_CHARGES_MAX);
    check_ledger(&l);
    ledger_free(&l);
}
END_TEST

/* Every other chunk of many is given up: what is remembered of them are ranges, which are bounded. Neighbours
 * are one range, however many. */
START_TEST(what_is_given_up_is_bounded)
{
    const struct budget none = {0};
    const uint64_t most = PWC_FAILURE_RUNS_MAX, all = 3 * most;
    struct ledger l;
    uint64_t first;
    ledger_init(&l, all, all);
    for (uint64_t i = 0; i < most; i++) {
        ck_assert_uint_eq(ledger_take(&l, 2, &first), 2);
        ck_assert(ledger_report(&l, first, first + 1));
        ck_assert(!ledger_charge(&l, first + 1, CAUSE_ERROR, &none));
    }
    ck_assert(!ledger_overflows(&l, false));
    ck_assert(ledger_overflows(&l, true));
    ck_assert_uint_eq(ledger_take(&l, 2, &first), 2);
    ck_assert(ledger_report(&l, first, first + 1));
    ck_assert(!ledger_charge(&l, first + 1, CAUSE_ERROR, &none));
    ck_assert(ledger_overflows(&l, false));
    ledger_free(&l);
    ledger_init(&l, all, all);
    ck_assert_uint_eq(ledger_take(&l, all, &first), all);
    for (uint64_t i = 0; i < all; i++)
        ledger_reject(&l, i);
    ck_assert(!ledger_overflows(&l, false) && ledger_overflows(&l, true) && ledger_complete(&l));
    ledger_free(&l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ledger");
    TCase *t = tcase_create("ledger");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_test(t, iset_equals_a_bitmap);
    tcase_add_test(t, iset_at_the_ends_of_the_numbers);
    tcase_add_test(t, ledger_every_chunk_ends_once);
    tcase_add_test(t, ledger_a_charged_chunk_comes_alone);
    tcase_add_test(t, a_charged_chunk_need_not_wait_for_those_before_it);
    tcase_add_test(t, ledger_refuses_reports_of_what_is_not_held);
    tcase_add_test(t, ledger_of_a_milliard_stays_small);
    tcase_add_test(t, ledger_rejects_an_item_among_waiting_ones);
    tcase_add_test(t, suspects_are_halved_until_one_is_left);
    tcase_add_test(t, a_rewound_ledger_waits_for_its_producer);
    tcase_add_test(t, a_recalled_chunk_is_tried_as_if_it_were_new);
    tcase_add_test(t, a_charge_finds_its_cause_later);
    tcase_add_test(t, a_charged_chunk_may_have_to_be_the_only_one);
    tcase_add_test(t, what_is_given_up_is_charged_nothing);
    tcase_add_test(t, charges_are_bounded);
    tcase_add_test(t, what_is_done_is_charged_nothing);
    tcase_add_test(t, what_is_given_up_is_bounded);
    tcase_add_test(t, charges_of_recalled_chunks_are_bounded);
    return run_suite(s);
}
