/* test_jobs.c - the tables of jobs: found by number, and read one after the other while they come and go. */
#include "daemon/job.h"
#include "tests/unit/runner.h"

#define MANY 100000u

static struct daemon d;
static struct user ann, bob;

static void begin(void)
{
    d = (struct daemon){0};
    ann = (struct user){.uid = 1};
    bob = (struct user){.uid = 2};
    TAILQ_INIT(&d.by_id);
    TAILQ_INIT(&ann.by_id);
    TAILQ_INIT(&bob.by_id);
}

static void end(void)
{
    ck_assert_uint_eq(d.njobs, 0);
    ck_assert(TAILQ_EMPTY(&d.by_id) && TAILQ_EMPTY(&ann.by_id) && TAILQ_EMPTY(&bob.by_id));
    free(d.jobs);
}

static void add(struct user *u, uint64_t id)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->id = id;
    j->user = u;
    jobs_add(&d, j);
}

static void drop(uint64_t id)
{
    struct job *j = job_find(&d, id);
    ck_assert_ptr_nonnull(j);
    jobs_remove(&d, j);
    free(j);
}

static uint64_t next(struct place_reader *r)
{
    const struct job *j = places_read_next(r);
    return j != NULL ? j->id : 0;
}

START_TEST(jobs_are_read_by_number_while_they_come_and_go)
{
    struct place_reader r = {0};
    for (uint64_t id = 1; id <= 9; id++)
        add(id % 3 == 0 ? &bob : &ann, id);
    places_read(&r, &d.by_id);
    ck_assert_uint_eq(next(&r), 1);
    ck_assert_uint_eq(next(&r), 2);
    drop(2); /* it stands there */
    drop(1);
    drop(3);
    ck_assert_uint_eq(next(&r), 4);
    drop(7);
    add(&bob, 10);
    for (uint64_t id = 5; id <= 9; id++)
        if (id != 7)
            ck_assert_uint_eq(next(&r), id);
    ck_assert_uint_eq(next(&r), 0); /* 10 came later: the list ends however many do */
    add(&bob, 11);
    ck_assert_uint_eq(next(&r), 0); /* the end is the end */
    for (uint64_t id = 4; id <= 11; id++)
        if (id != 7)
            drop(id);
}
END_TEST

START_TEST(readers_do_not_see_each_other)
{
    struct place_reader r[3] = {{0}}, bobs = {0};
    for (uint64_t id = 1; id <= 6; id++)
        add(id % 3 == 0 ? &bob : &ann, id);
    for (int i = 0; i < 3; i++)
        places_read(&r[i], &d.by_id);
    places_read(&bobs, &bob.by_id);
    for (uint64_t id = 1; id <= 3; id++)
        for (int i = 0; i < 3; i++)
            ck_assert_uint_eq(next(&r[i]), id);
    places_read_end(&r[0]);
    places_read_end(&r[0]);
    places_read(&r[1], &d.by_id); /* from the start */
    ck_assert_uint_eq(next(&r[1]), 1);
    ck_assert_uint_eq(next(&r[2]), 4);
    ck_assert_uint_eq(next(&bobs), 3);
    drop(3);
    ck_assert_uint_eq(next(&bobs), 6);
    ck_assert_uint_eq(next(&bobs), 0);
    for (int i = 1; i < 3; i++)
        places_read_end(&r[i]);
    for (uint64_t id = 1; id <= 6; id++)
        if (id != 3)
            drop(id);
}
END_TEST

/* Each step costs the same, whatever is gone between two jobs: a walk over the table for each would take
 * hours. */
START_TEST(many_jobs_far_apart)
{
    struct place_reader r = {0};
    for (uint64_t i = 1; i <= MANY; i++)
        add(&ann, i * 100);
    for (int round = 0; round < 10; round++) {
        places_read(&r, &bob.by_id);
        ck_assert_uint_eq(next(&r), 0);
        places_read(&r, round % 2 == 0 ? &d.by_id : &ann.by_id);
        for (uint64_t i = 1; i <= MANY; i++)
            ck_assert_uint_eq(next(&r), i * 100);
        ck_assert_uint_eq(next(&r), 0);
    }
    ck_assert_ptr_null(job_find(&d, 101));
    for (uint64_t i = 1; i <= MANY; i++)
        drop(i * 100);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs");
    TCase *t = tcase_create("jobs");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, begin, end);
    suite_add_tcase(s, t);
    tcase_add_test(t, jobs_are_read_by_number_while_they_come_and_go);
    tcase_add_test(t, readers_do_not_see_each_other);
    tcase_add_test(t, many_jobs_far_apart);
    return run_suite(s);
}
