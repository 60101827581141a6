/* test_client_again.c - libpwc when a request is made again under its key. Part of test-client. */
#include <unistd.h>

#include "tests/unit/client_case.h"

static struct pwc_spec *keyed(const char *op)
{
    struct pwc_spec *spec = pwc_spec_new(op);
    pwc_spec_request_key(spec, "this one", 8);
    return spec;
}

static void count_end(struct pwc_job *job, void *user)
{
    (void)job;
    ++*(unsigned *)user;
}
static const struct pwc_callbacks ends = {.finished = count_end};

static void reconnect(void)
{
    pwc_close(conn);
    ck_assert_msg(pwc_connect(path, LONG, &conn) == PWC_OK, "%s", pwc_error());
}

/* The end of the job is the end of this handle too. */
static void ends_well(struct pwc_job *job, bool existing)
{
    ck_assert_msg(pwc_wait(job, LONG) == PWC_OK, "%s", pwc_error());
    ck_assert_int_eq(pwc_job_state(job), PWC_JOB_DONE);
    ck_assert_int_eq(pwc_job_existing(job), existing);
}

START_TEST(after_its_end)
{
    struct pwc_spec *spec = keyed("echo");
    pwc_spec_i64(spec, "x", 5);
    struct pwc_job *first = submit(spec);
    ends_well(first, false);
    for (int i = 0; i < 2; i++) { /* over there as here */
        int64_t x = 0;
        struct pwc_job *again = submit(spec);
        ends_well(again, true);
        ck_assert_uint_eq(pwc_job_id(again), pwc_job_id(first));
        ck_assert_int_eq(pwc_result_i64(again, "x", &x), PWC_OK);
        ck_assert_int_eq(x, 5);
        pwc_job_free(again);
        reconnect();
    }
    pwc_job_free(first);
    pwc_spec_free(spec);
}
END_TEST

START_TEST(after_the_connection)
{
    unsigned ended = 0;
    int fd = temp_file("seven b");
    struct pwc_spec *spec = keyed("late");
    pwc_spec_fd(spec, "in", fd);
    pwc_spec_callbacks(spec, &ends, &ended);
    struct pwc_job *first = submit(spec);
    ck_assert_int_eq(pwc_wait_accepted(first, LONG), PWC_OK);
    reconnect();
    ck_assert_int_eq(pwc_job_state(first), PWC_JOB_LOST);
    fake_wait_connections(fake, 1);
    int before = count_fds();
    struct pwc_job *again = submit(spec);
    ends_well(again, true);
    ck_assert_uint_eq(pwc_job_id(again), pwc_job_id(first));
    ck_assert_uint_eq(ended, 1); /* of this one: with its connection the first fell silent */
    wait_fds(before);
    pwc_job_free(again);
    pwc_job_free(first);
    pwc_spec_free(spec);
    close(fd);
}
END_TEST

/* What the daemon wants is the first one's; the other's descriptors are let go at once. */
START_TEST(beside_the_first)
{
    unsigned ended = 0;
    int fd[2] = {temp_file("seven b"), temp_file("more than that")};
    struct pwc_spec *spec[2] = {keyed("late"), keyed("late")};
    struct pwc_job *job[2];
    for (int i = 0; i < 2; i++) {
        pwc_spec_fd(spec[i], "in", fd[i]);
        pwc_spec_callbacks(spec[i], &ends, &ended);
        job[i] = submit(spec[i]);
    }
    for (int i = 0; i < 2; i++) {
        struct pwc_value v;
        ends_well(job[i], i == 1);
        ck_assert_int_eq(pwc_result_value(job[i], "bytes", &v), PWC_OK);
        ck_assert_uint_eq(v.u.u64, 7);
    }
    ck_assert_uint_eq(ended, 2);
    for (int i = 0; i < 2; i++) {
        pwc_job_free(job[i]);
        pwc_spec_free(spec[i]);
        close(fd[i]);
    }
}
END_TEST

static struct pwc_job *send_batch(const char *op, struct item_counts *items)
{
    struct pwc_spec *spec = keyed(op);
    counted_batch(spec, 1, items);
    struct pwc_job *job = submit(spec);
    pwc_spec_free(spec);
    return job;
}

static struct pwc_job *submit_batch(const char *op, struct item_counts *items)
{
    struct pwc_job *job = send_batch(op, items);
    ck_assert_int_eq(pwc_wait_accepted(job, LONG), PWC_OK);
    return job;
}

/* Its files are the first one's: nobody is told to publish what he never opened. */
START_TEST(batch_after_the_connection)
{
    struct item_counts first = {0}, again = {0};
    pwc_job_free(submit_batch("late", &first));
    reconnect();
    struct pwc_job *job = submit_batch("late", &again);
    ends_well(job, true);
    ck_assert_uint_eq(again.opened + again.done, 0);
    pwc_job_free(job);
}
END_TEST

START_TEST(batch_beside_the_first)
{
    struct item_counts first = {0}, again = {0};
    struct pwc_job *a = submit_batch("late", &first), *b = submit_batch("late", &again);
    ends_well(a, false);
    ends_well(b, true);
    ck_assert_uint_eq(first.opened, 1);
    ck_assert_uint_eq(first.done, 1);
    ck_assert_uint_eq(again.opened + again.done, 0);
    pwc_job_free(a);
    pwc_job_free(b);
}
END_TEST

/* A batch cannot go on without the handle that opens its items. This one does not. */
START_TEST(let_go)
{
    struct item_counts items = {0};
    struct pwc_job *a = submit_batch("hang", &items), *b = submit_batch("hang", &items);
    pwc_job_free(b);
    ck_assert_int_eq(pwc_ping(conn, LONG), PWC_OK);
    ck_assert_uint_eq(fake_cancels(fake), 0);
    pwc_job_free(a);
    ck_assert_int_eq(pwc_ping(conn, LONG), PWC_OK);
    ck_assert_uint_eq(fake_cancels(fake), 1);
}
END_TEST

/* How often the daemon was asked to cancel. With the first answer comes what makes us ask, so there is a
 * second. */
static unsigned cancels(void)
{
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pwc_ping(conn, LONG), PWC_OK);
    return fake_cancels(fake);
}

/* The same before the answer has said which of the two it is. */
START_TEST(let_go_before_the_answer)
{
    struct item_counts items = {0};
    struct pwc_job *a = submit_batch("hang", &items);
    pwc_job_free(send_batch("hang", &items));
    ck_assert_uint_eq(cancels(), 0);
    struct pwc_job *b = send_batch("hang", &items); /* cancelled and freed: that was asked for */
    pwc_cancel(b);
    pwc_job_free(b);
    ck_assert_uint_eq(cancels(), 1);
    pwc_job_free(a);
}
END_TEST

START_TEST(first_let_go_before_the_answer)
{
    struct item_counts items = {0};
    pwc_job_free(send_batch("hang", &items));
    ck_assert_uint_eq(cancels(), 1);
}
END_TEST

struct records {
    struct pwc_job *free; /* at the first record */
    uint64_t told;
};

static void on_record(struct pwc_job *job, const struct pwc_record *record, void *user)
{
    struct records *r = user;
    (void)job;
    r->told += record->n;
    if (r->free != NULL)
        pwc_job_free(r->free);
    r->free = NULL;
}
static const struct pwc_callbacks records = {.record = on_record};

static struct pwc_job *submit_records(struct records *r, uint32_t window)
{
    struct pwc_spec *spec = keyed("records");
    pwc_spec_callbacks(spec, &records, r);
    pwc_spec_records(spec, window);
    struct pwc_job *job = submit(spec);
    pwc_spec_free(spec);
    return job;
}

/* The one that has the records is let go in the middle of a window: they go on at the other, and what was on
 * the way to it counts no more. The job ends when all ten have been sent, never more than the credit. */
static const uint32_t windows[][2] = {{4, 4}, {1, 1}, {1, 8}, {8, 1}, {5, 3}};
START_TEST(records_go_on_at_the_other)
{
    struct records first = {0}, again = {0};
    first.free = submit_records(&first, windows[_i][0]);
    struct pwc_job *b = submit_records(&again, windows[_i][1]);
    ends_well(b, true);
    ck_assert_uint_eq(first.told, 1);
    ck_assert_uint_ge(again.told, 10 - windows[_i][0]);
    ck_assert_uint_le(again.told, 9);
    pwc_job_free(b);
}
END_TEST

START_TEST(records_once)
{
    struct records first = {0}, again = {0};
    struct pwc_job *a = submit_records(&first, 3), *b = submit_records(&again, 3);
    ends_well(a, false);
    ends_well(b, true);
    ck_assert_uint_eq(first.told, 10);
    ck_assert_uint_eq(again.told, 0);
    pwc_job_free(a);
    pwc_job_free(b);
}
END_TEST

void add_again_tests(TCase *tc)
{
    tcase_add_test(tc, after_its_end);
    tcase_add_test(tc, after_the_connection);
    tcase_add_test(tc, beside_the_first);
    tcase_add_test(tc, batch_after_the_connection);
    tcase_add_test(tc, batch_beside_the_first);
    tcase_add_test(tc, let_go);
    tcase_add_loop_test(tc, records_go_on_at_the_other, 0, sizeof windows / sizeof *windows);
    tcase_add_test(tc, records_once);
    tcase_add_test(tc, let_go_before_the_answer);
    tcase_add_test(tc, first_let_go_before_the_answer);
}
