/* test_stage_small.c - jobs that come and go with their leases, several on the way at once: which reports
 * wait for each other, and what was taken back. */
#include <signal.h>

#include "tests/unit/runner.h"
#include "tests/unit/test_stage_super.h"

/* All in one send: one that hangs and may be cancelled, or quick ones. */
static void say_small(struct kid *k, uint64_t lease, const char *op, char *name, uint64_t value)
{
    Stage__Small m = STAGE__SMALL__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *list[1] = {&param};
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_U64;
    v.u64 = value;
    param.name = name;
    param.value = &v;
    m.lease = lease;
    m.job = 100 + lease;
    m.attempt = 1;
    m.op = (char *)(uintptr_t)op;
    m.params = list;
    m.n_params = 1;
    chan_hold(k->chan, true);
    ck_assert_int_eq(chan_send(k->chan, PWC_MSG_SMALL, 0, &m.base), 0);
    chan_hold(k->chan, false);
}

static void reported(struct kid *k, uint64_t lease)
{
    const Stage__SmallDone *m = (const void *)expect(k->chan, PWC_MSG_SMALL_DONE)->msg;
    ck_assert_uint_eq(m->lease, lease);
    ck_assert_uint_eq(m->job, 100 + lease);
}

static void not_begun(struct kid *k, uint64_t lease)
{
    const Stage__Report *r = (const void *)expect(k->chan, PWC_MSG_REPORT)->msg;
    ck_assert_uint_eq(r->lease, lease);
    ck_assert_uint_eq(r->job, 100 + lease);
    ck_assert_uint_eq(r->done, 0);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
}

/* More than a stage may have open: none of them stays. */
START_TEST(small_jobs_come_and_go_with_their_leases)
{
    static char n[] = "n";
    struct nursery nursery = nursery_start();
    struct kid k = kid_ready(&nursery);
    for (uint64_t i = 1; i <= 40; i++)
        say_small(&k, i, "noop", n, 1);
    ck_assert_int_eq(chan_flush(k.chan), 0);
    for (uint64_t i = 1; i <= 40; i++)
        reported(&k, i);
    Stage__Lease again = lease_of(41, 101, 0, 1);
    ck_assert_int_eq(kid_lease(&k, &again)->code, PWC__CODE__CODE_PROTOCOL); /* it is not open any more */
}
END_TEST

/* What is done is told before something begins that may take long: another op, or other parameters. */
START_TEST(reports_do_not_wait_for_what_is_not_alike)
{
    static char n[] = "n", ms[] = "ms";
    for (int i = 0; i < 2; i++) {
        struct nursery nursery = nursery_start();
        struct kid k = kid_ready(&nursery);
        say_small(&k, 1, i == 0 ? "noop" : "sleep", i == 0 ? n : ms, i == 0 ? 1 : 0);
        say_small(&k, 2, "sleep", ms, 3600000);
        ck_assert_int_eq(chan_flush(k.chan), 0);
        reported(&k, 1);
        kill(k.pid, SIGKILL);
        kid_death(&k);
    }
}
END_TEST

/* Nor for anything else that a stage is told: to close a large job takes its time, and this ends the stage.
 */
START_TEST(reports_wait_for_leases_only)
{
    static char n[] = "n";
    struct nursery nursery = nursery_start();
    struct kid k = kid_ready(&nursery);
    Stage__Plan none = STAGE__PLAN__INIT;
    none.job = 999;
    for (uint64_t i = 1; i <= 2; i++)
        say_small(&k, i, "noop", n, 1);
    say(k.chan, PWC_MSG_PLAN, &none);
    for (uint64_t i = 1; i <= 2; i++)
        reported(&k, i);
    ck_assert(has_ended(k.chan));
}
END_TEST

START_TEST(a_lease_that_was_taken_back_is_not_begun)
{
    static char n[] = "n";
    struct nursery nursery = nursery_start();
    struct kid k = kid_ready(&nursery);
    atomic_store(&k.control->revoke, 3);
    for (uint64_t i = 1; i <= 4; i++)
        say_small(&k, i, i < 3 ? "fault.hang" : "noop", n, 1);
    ck_assert_int_eq(chan_flush(k.chan), 0);
    for (uint64_t i = 1; i <= 2; i++)
        not_begun(&k, i);
    for (uint64_t i = 3; i <= 4; i++)
        reported(&k, i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stage, small jobs");
    TCase *t = tcase_create("small");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, small_jobs_come_and_go_with_their_leases);
    tcase_add_test(t, reports_do_not_wait_for_what_is_not_alike);
    tcase_add_test(t, reports_wait_for_leases_only);
    tcase_add_test(t, a_lease_that_was_taken_back_is_not_begun);
    suite_add_tcase(s, t);
    return run_suite(s);
}
