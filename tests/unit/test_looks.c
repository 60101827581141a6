/* test_looks.c - when the supervisor looks for the next small job before it sleeps, by a clock of the test's.
 */
#include "daemon/looks.h"
#include "tests/unit/runner.h"

#define SEATS 2

static struct looks l;
static struct mono now;
static uint64_t flown;

static void setup(void)
{
    l = looks_begin();
    now = (struct mono){NS_PER_S};
    flown = 0;
}

static bool turn(uint32_t flying)
{
    return looks_on(&l, flown, flying, SEATS, now);
}

/* One after the other: each is leased so long after the one before was back. */
static void jobs(unsigned n, int64_t after)
{
    for (unsigned i = 0; i < n; i++) {
        now = mono_add(now, after);
        flown++;
        ck_assert(turn(1));
        (void)turn(0);
    }
}

START_TEST(nothing_is_out)
{
    for (int i = 0; i < 100; i++)
        ck_assert(!turn(0));
    ck_assert(!turn(1)); /* of before: it is long since it was leased */
}
END_TEST

START_TEST(a_bound_for_one_that_is_out)
{
    int looked = 0;
    flown++;
    while (turn(1))
        looked++;
    ck_assert_int_eq(looked, LOOKS_MOST);
    ck_assert(!turn(1));
    flown++;
    ck_assert(turn(2)); /* a second one: as many again */
}
END_TEST

START_TEST(more_out_than_seats)
{
    flown += 3;
    ck_assert(!turn(3)); /* who waits is work */
    ck_assert(turn(2));
}
END_TEST

START_TEST(for_the_next_one_of_many)
{
    jobs(1, 0);
    jobs(LOOKS_HOLD - 1, LOOKS_SOON - 1);
    ck_assert(!turn(0));
    jobs(1, LOOKS_SOON - 1);
    int looked = 0;
    while (turn(0))
        looked++;
    ck_assert_int_lt(looked, LOOKS_MOST);
    ck_assert_int_gt(looked, 0);
    ck_assert(!turn(0)); /* and sleeps until one comes */
}
END_TEST

START_TEST(a_late_one_begins_the_count_again)
{
    jobs(LOOKS_HOLD + 1, LOOKS_SOON - 1);
    ck_assert(turn(0));
    jobs(1, LOOKS_SOON);
    ck_assert(!turn(0));
    jobs(LOOKS_HOLD, LOOKS_SOON - 1);
    ck_assert(turn(0));
}
END_TEST

START_TEST(slow_ones_only)
{
    for (int i = 0; i < 200; i++) {
        jobs(1, LOOKS_SOON);
        ck_assert(!turn(0));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("looks");
    TCase *t = tcase_create("looks");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, nothing_is_out);
    tcase_add_test(t, a_bound_for_one_that_is_out);
    tcase_add_test(t, more_out_than_seats);
    tcase_add_test(t, for_the_next_one_of_many);
    tcase_add_test(t, a_late_one_begins_the_count_again);
    tcase_add_test(t, slow_ones_only);
    suite_add_tcase(s, t);
    return run_suite(s);
}
