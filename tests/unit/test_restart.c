/* test_restart.c - the backoff of restart.h, cell by cell and through a million random events. */
#include "daemon/restart.h"
#include "tests/unit/runner.h"

static struct mono at(double seconds)
{
    return (struct mono){(int64_t)(seconds * 1e3 + 0.5) * NS_PER_MS};
}

static int64_t boot_failure(struct restart_state *s, double t)
{
    return restart_next(s, RESTART_DIED_BEFORE_READY, at(t));
}

START_TEST(doubles_to_thirty_seconds)
{
    struct restart_state s = {0};
    static const int64_t ms[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    double now = 1;
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        ck_assert_int_eq(boot_failure(&s, now), ms[i] * NS_PER_MS);
        ck_assert_uint_eq(s.in_row, i + 1);
        ck_assert_int_eq(s.phase, RESTART_FAILING);
        ck_assert_int_eq(restart_wait(&s, at(now)), ms[i] * NS_PER_MS);
        now += 100;
        ck_assert_int_eq(restart_wait(&s, at(now)), 0);
    }
}
END_TEST

START_TEST(death_in_work_costs_nothing)
{
    struct restart_state s = {0};
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(restart_next(&s, RESTART_READY, at(i)), 0);
        ck_assert_int_eq(restart_next(&s, RESTART_DIED_LATER, at(i)), 0);
    }
    ck_assert_int_eq(s.phase, RESTART_WELL);
    ck_assert_int_eq(boot_failure(&s, 200), RESTART_FIRST_NS);
}
END_TEST

START_TEST(ready_ends_the_row_but_not_the_memory)
{
    struct restart_state s = {0};
    for (int i = 0; i < 4; i++)
        boot_failure(&s, i);
    ck_assert_uint_eq(s.in_row, 4);
    ck_assert_int_eq(restart_next(&s, RESTART_READY, at(10)), 0);
    ck_assert_int_eq(s.phase, RESTART_PROBATION);
    ck_assert_uint_eq(s.in_row, 0);
    ck_assert_int_eq(boot_failure(&s, 11), 1600 * NS_PER_MS);
    ck_assert_uint_eq(s.in_row, 1);
}
END_TEST

START_TEST(each_further_success_halves_the_memory)
{
    struct restart_state s = {0};
    for (int i = 0; i < 3; i++)
        boot_failure(&s, i); /* 400 ms */
    restart_next(&s, RESTART_READY, at(10));
    restart_next(&s, RESTART_READY, at(11));
    ck_assert_int_eq(boot_failure(&s, 12), 400 * NS_PER_MS);
    for (int i = 0; i < 4; i++)
        restart_next(&s, RESTART_READY, at(13 + i));
    ck_assert_int_eq(s.phase, RESTART_WELL);
    ck_assert_int_eq(boot_failure(&s, 20), RESTART_FIRST_NS);
}
END_TEST

START_TEST(a_minute_of_health_forgives)
{
    struct restart_state s = {0};
    boot_failure(&s, 1);
    boot_failure(&s, 2);
    restart_next(&s, RESTART_READY, at(10));
    restart_next(&s, RESTART_READY, at(40)); /* another stage: probation counts from the first */
    restart_next(&s, RESTART_HEALTHY, at(69.9));
    ck_assert_int_eq(s.phase, RESTART_PROBATION);
    restart_next(&s, RESTART_HEALTHY, at(70));
    ck_assert_int_eq(s.phase, RESTART_WELL);
    ck_assert_int_eq(boot_failure(&s, 80), RESTART_FIRST_NS);
}
END_TEST

START_TEST(a_late_death_after_a_minute_forgives_too)
{
    struct restart_state s = {0};
    boot_failure(&s, 1);
    restart_next(&s, RESTART_READY, at(2));
    ck_assert_int_eq(restart_next(&s, RESTART_DIED_LATER, at(30)), 0);
    ck_assert_int_eq(s.phase, RESTART_PROBATION);
    ck_assert_int_eq(restart_next(&s, RESTART_DIED_LATER, at(62)), 0);
    ck_assert_int_eq(s.phase, RESTART_WELL);
}
END_TEST

/* While others fail to start, an old stage's death or health changes nothing about when the next may start.
 */
START_TEST(failing_ignores_the_old_ones)
{
    struct restart_state s = {0};
    boot_failure(&s, 1);
    boot_failure(&s, 2);
    ck_assert_int_eq(restart_next(&s, RESTART_DIED_LATER, at(2.05)), 150 * NS_PER_MS);
    ck_assert_int_eq(restart_next(&s, RESTART_HEALTHY, at(2.1)), 100 * NS_PER_MS);
    ck_assert_uint_eq(s.in_row, 2);
    ck_assert_int_eq(s.phase, RESTART_FAILING);
}
END_TEST

/* Somebody kills them: chance, until it is more than chance. */
START_TEST(killed_by_somebody)
{
    struct restart_state s = {0};
    for (unsigned i = 0; i < 100 * RESTART_KILLS_MAX; i++) {
        if (i % RESTART_KILLS_MAX == 0)
            restart_next(&s, RESTART_READY, at(i));
        ck_assert_int_eq(restart_next(&s, RESTART_KILLED, at(i)), 0);
    }
    ck_assert_int_eq(s.phase, RESTART_WELL);
    ck_assert_int_eq(restart_next(&s, RESTART_KILLED, at(3000)), RESTART_FIRST_NS);
    ck_assert_int_eq(restart_next(&s, RESTART_KILLED, at(3001)), 2 * RESTART_FIRST_NS);
    ck_assert_uint_eq(s.in_row, 2);
    ck_assert_int_eq(restart_next(&s, RESTART_READY, at(3002)), 0);
    ck_assert_int_eq(restart_next(&s, RESTART_KILLED, at(3003)), 0);
}
END_TEST

/* A machine of many processors starts many at once, and all of them die of the same. */
START_TEST(many_at_once_count_once)
{
    struct restart_state s = {0};
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(boot_failure(&s, 1), RESTART_FIRST_NS);
    ck_assert_uint_eq(s.in_row, 1);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(boot_failure(&s, 2), 2 * RESTART_FIRST_NS);
    ck_assert_uint_eq(s.in_row, 2);
}
END_TEST

/* ---- those that one nursery has made ---- */

START_TEST(a_few_waves_and_the_nursery_is_to_blame)
{
    struct restart_state s = {0};
    unsigned brood = 0;
    for (unsigned i = 1; i <= RESTART_SICK; i++) {
        ck_assert_uint_eq(brood, i - 1);
        for (int n = 0; n < 64; n++)
            brood += restart_counts(&s, RESTART_DIED_BEFORE_READY, at(i));
    }
    ck_assert_uint_eq(brood, RESTART_SICK);
    ck_assert_uint_lt(s.in_row, RESTART_GIVE_UP);
}
END_TEST

/* One account waits long, for what was before: what is tried for another one counts all the same. */
START_TEST(whoever_they_were_made_for)
{
    struct restart_state one = {0}, other = {0};
    for (int i = 0; i < 8; i++)
        boot_failure(&one, 100 * i);
    ck_assert(!restart_counts(&one, RESTART_DIED_BEFORE_READY, at(701)));
    for (unsigned i = 0; i < RESTART_SICK; i++)
        ck_assert(restart_counts(&other, RESTART_DIED_BEFORE_READY, at(701 + i)));
}
END_TEST

START_TEST(who_gets_ready_or_is_killed_by_others_does_not_count)
{
    struct restart_state s = {0};
    boot_failure(&s, 1);
    ck_assert(!restart_counts(&s, RESTART_READY, at(2)));
    for (unsigned i = 0; i < RESTART_KILLS_MAX; i++)
        ck_assert(!restart_counts(&s, RESTART_KILLED, at(3 + i)));
    ck_assert(restart_counts(&s, RESTART_KILLED, at(1000)));
}
END_TEST

/* In the row they stay: if those die as well that are made otherwise, it is not the nursery. */
START_TEST(made_otherwise_the_next_need_not_wait)
{
    struct restart_state s = {0};
    restart_otherwise(&s, at(1));
    ck_assert_int_eq(s.phase, RESTART_WELL);
    for (int i = 0; i < (int)RESTART_SICK; i++)
        boot_failure(&s, 1 + i);
    restart_otherwise(&s, at(3.1));
    ck_assert_int_eq(restart_wait(&s, at(3.1)), 0);
    ck_assert_int_eq(boot_failure(&s, 3.2), 800 * NS_PER_MS);
    ck_assert_uint_eq(s.in_row, RESTART_SICK + 1);
}
END_TEST

/* All that nurseries make dies at once, what is made otherwise lives: none of the waits ends the jobs, and
 * another nursery is started ever more slowly. */
START_TEST(nurseries_that_are_all_sick)
{
    struct restart_state nursery = {0}, stages = {0};
    struct mono now = at(1);
    int64_t last = 0;
    for (int n = 0; n < 20; n++) {
        restart_next(&nursery, RESTART_READY, now);
        for (unsigned brood = 0; brood < RESTART_SICK;) {
            now = mono_add(now, restart_wait(&stages, now) + NS_PER_MS);
            brood += restart_counts(&stages, RESTART_DIED_BEFORE_READY, now);
            ck_assert_uint_lt(stages.in_row, RESTART_GIVE_UP);
        }
        int64_t wait = restart_next(&nursery, RESTART_DIED_BEFORE_READY, now);
        ck_assert_int_ge(wait, MAX(RESTART_FIRST_NS, MIN(2 * last, RESTART_LONGEST_NS)));
        restart_otherwise(&stages, now);
        ck_assert_int_eq(restart_next(&stages, RESTART_READY, now), 0);
        now = mono_add(now, wait);
        last = wait;
    }
    ck_assert_int_eq(last, RESTART_LONGEST_NS);
}
END_TEST

/* Whatever happens: waits stay within bounds, the row counts what it says. */
START_TEST(random_walk)
{
    struct restart_state s = {0};
    struct mono now = at(1);
    unsigned row = 0, killed = 0, seed = 1;
    for (int i = 0; i < 1000000; i++) {
        seed = seed * 1103515245u + 12345u;
        enum restart_event e = (seed >> 16) % RESTART_EVENTS;
        now = mono_add(now, (seed >> 8) % (20 * NS_PER_S));
        int64_t before = restart_wait(&s, now), wait = restart_next(&s, e, now);
        bool failed = e == RESTART_DIED_BEFORE_READY || (e == RESTART_KILLED && killed == RESTART_KILLS_MAX);
        killed = e == RESTART_READY ? 0 : MIN(killed + (e == RESTART_KILLED), RESTART_KILLS_MAX);
        row = failed ? row + (before == 0) : e == RESTART_READY ? 0 : row;
        bool good = wait >= 0 && wait <= RESTART_LONGEST_NS && s.in_row == row &&
                    (s.phase == RESTART_WELL) == (s.delay_ns == 0) &&
                    (!failed || wait >= (before > 0 ? before : RESTART_FIRST_NS));
        if (!good) /* an assertion each time would take longer than the walk */
            ck_abort_msg("step %d: event %u, phase %u, wait %jd, %u in a row", i, e, s.phase, (intmax_t)wait,
                         s.in_row);
    }
}
END_TEST

START_TEST(phases_have_names)
{
    ck_assert_str_eq(restart_phase_name(RESTART_PROBATION), "probation");
    ck_assert_str_eq(restart_phase_name(RESTART_PHASES), "?");
}
END_TEST

/* Two nurseries are sick one after the other, and pwcd had no descriptor for the stage between them. */
START_TEST(a_second_sick_nursery_ends_no_job)
{
    struct restart_state stages = {0};
    for (unsigned i = 0; i < 2 * RESTART_SICK; i++)
        boot_failure(&stages, 100 * i);
    ck_assert_uint_eq(stages.in_row, RESTART_GIVE_UP);
    ck_assert(!restart_gives_up(&stages, true));
    ck_assert(restart_gives_up(&stages, false)); /* the one between them died as well */
    while (stages.in_row < 2 * RESTART_GIVE_UP)
        boot_failure(&stages, 100 * stages.in_row);
    ck_assert(restart_gives_up(&stages, true));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("restart");
    TCase *t = tcase_create("restart");
    tcase_add_test(t, doubles_to_thirty_seconds);
    tcase_add_test(t, death_in_work_costs_nothing);
    tcase_add_test(t, ready_ends_the_row_but_not_the_memory);
    tcase_add_test(t, each_further_success_halves_the_memory);
    tcase_add_test(t, a_minute_of_health_forgives);
    tcase_add_test(t, a_late_death_after_a_minute_forgives_too);
    tcase_add_test(t, failing_ignores_the_old_ones);
    tcase_add_test(t, killed_by_somebody);
    tcase_add_test(t, many_at_once_count_once);
    tcase_add_test(t, a_few_waves_and_the_nursery_is_to_blame);
    tcase_add_test(t, whoever_they_were_made_for);
    tcase_add_test(t, who_gets_ready_or_is_killed_by_others_does_not_count);
    tcase_add_test(t, made_otherwise_the_next_need_not_wait);
    tcase_add_test(t, nurseries_that_are_all_sick);
    tcase_add_test(t, a_second_sick_nursery_ends_no_job);
    tcase_add_test(t, random_walk);
    tcase_add_test(t, phases_have_names);
    suite_add_tcase(s, t);
    return run_suite(s);
}
