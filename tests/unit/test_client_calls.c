/*
 * test_client_calls.c - libpwc: what has been told when pwc_wait returns, and not before pwc_attach has. Part
 * of test-client.
 *
 * pwc_submit reads answers now and then, and runs no callbacks: so a job's end can be known before it was
 * told.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/client_case.h"

static void count(struct pwc_job *job, void *user)
{
    (void)job;
    ++*(int *)user;
}
static const struct pwc_callbacks counting = {.finished = count};

static struct pwc_job *submit_counted(const char *op, int *n)
{
    struct pwc_spec *spec = pwc_spec_new(op);
    pwc_spec_callbacks(spec, &counting, n);
    struct pwc_job *job = submit(spec);
    pwc_spec_free(spec);
    return job;
}

/* Until the job's end has been read. */
static void submit_others(struct pwc_job *job)
{
    struct pwc_spec *spec = pwc_spec_new("echo");
    struct pwc_job *other;
    while (pwc_job_state(job) < PWC_JOB_DONE)
        if (pwc_submit(conn, spec, &other) == PWC_OK)
            pwc_job_free(other);
    pwc_spec_free(spec);
}

START_TEST(told_when_wait_returns)
{
    int n = 0;
    struct pwc_job *job = submit_counted("echo", &n);
    submit_others(job);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(pwc_wait(job, _i == 0 ? 0 : LONG), PWC_OK);
    ck_assert_int_eq(n, 1);
    pwc_job_free(job);
}
END_TEST

START_TEST(a_thousand_told)
{
    enum { N = 1000 };
    static struct pwc_job *jobs[N];
    int n = 0;
    for (int i = 0; i < N; i++)
        jobs[i] = submit_counted("echo", &n);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(pwc_wait(jobs[i], LONG), PWC_OK);
        pwc_job_free(jobs[i]);
    }
    ck_assert_int_eq(n, N);
}
END_TEST

/* What was not told would never be published. */
START_TEST(last_item_told)
{
    struct item_counts items = {0};
    struct pwc_spec *spec = pwc_spec_new("batch");
    counted_batch(spec, 3, &items);
    struct pwc_job *job = submit(spec);
    while (items.opened < 3)
        ck_assert_int_eq(pwc_dispatch(conn, LONG), PWC_OK);
    submit_others(job);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    pwc_job_free(job);
    ck_assert_uint_eq(items.done, 3);
    ck_assert_uint_eq(items.failed, 0);
    pwc_spec_free(spec);
}
END_TEST

/* The connection breaks while we submit. */
START_TEST(loss_told)
{
    int n = 0;
    struct pwc_job *job = submit_counted("hang", &n);
    pwc_job_free(submit_op("lose"));
    submit_others(job);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_E_GONE);
    ck_assert_int_eq(n, 1);
    pwc_job_free(job);
}
END_TEST

/* Nothing is told any more: nothing is waited for. */
START_TEST(closed_untold)
{
    int n = 0;
    struct pwc_job *job = submit_counted("echo", &n);
    submit_others(job);
    pwc_close(conn);
    conn = NULL;
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    ck_assert_int_eq(n, 0);
    pwc_job_free(job);
}
END_TEST

struct asked {
    int early, late;
};

static void ask_early(struct pwc_job *job, enum pwc_job_state state, const struct pwc_counts *counts,
                      const char *waiting, void *user)
{
    (void)state, (void)counts, (void)waiting;
    struct asked *asked = user;
    if (asked->early < 0) { /* later the end may have been read behind this */
        asked->early = pwc_wait(job, PWC_FOREVER);
        pwc_cancel(job);
    }
}

static void ask_late(struct pwc_job *job, void *user)
{
    ((struct asked *)user)->late = pwc_wait(job, PWC_FOREVER);
}

START_TEST(wait_in_a_callback)
{
    struct asked asked = {-1, -1};
    struct pwc_spec *spec = pwc_spec_new("slow");
    pwc_spec_callbacks(spec, &(struct pwc_callbacks){.progress = ask_early, .finished = ask_late}, &asked);
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_CANCELLED);
    ck_assert_int_eq(asked.early, PWC_E_ARGUMENT);
    ck_assert_int_eq(asked.late, PWC_CANCELLED);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

/* ---- two threads wait, one of them runs the callback ---- */

static struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool reached, open;
    atomic_bool passed;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void stop_at_gate(struct pwc_job *job, void *user)
{
    (void)job, (void)user;
    pthread_mutex_lock(&gate.lock);
    gate.reached = true;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    atomic_store(&gate.passed, true);
}

static void *waiter(void *arg)
{
    int r = pwc_wait(arg, LONG);
    return (void *)(intptr_t)(r == PWC_OK && atomic_load(&gate.passed));
}

START_TEST(told_in_another_thread)
{
    pthread_t t[2];
    void *ok;
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_callbacks(spec, &(struct pwc_callbacks){.finished = stop_at_gate}, NULL);
    struct pwc_job *job = submit(spec);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, waiter, job), 0);
    pthread_mutex_lock(&gate.lock);
    while (!gate.reached)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    ck_assert_int_eq(pwc_job_state(job), PWC_JOB_DONE);
    ck_assert_int_eq(pwc_wait(job, 0), PWC_E_TIMEOUT);
    pthread_mutex_lock(&gate.lock);
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    ck_assert(atomic_load(&gate.passed));
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], &ok);
        ck_assert_ptr_nonnull(ok);
    }
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

/* ---- attached: told when there is a handle ---- */

struct freed {
    int n;
    struct pwc_job *job;
};

static void free_it(struct pwc_job *job, void *user)
{
    struct freed *f = user;
    f->n++;
    f->job = job;
    pwc_job_free(job);
}
static const struct pwc_callbacks freeing = {.finished = free_it};

START_TEST(attached_then_told)
{
    struct freed f = {0};
    struct pwc_job *job = NULL;
    ck_assert_int_eq(pwc_attach(conn, 901, &freeing, &f, LONG, &job), PWC_OK);
    ck_assert_int_eq(f.n, 0);
    ck_assert_uint_eq(pwc_job_id(job), 901);
    if (_i > 0) { /* an event loop would wake up for it */
        struct pollfd p = {.fd = pwc_fd(conn), .events = pwc_events(conn)};
        ck_assert_int_eq(poll(&p, 1, LONG), 1);
    }
    while (f.n == 0)
        ck_assert_int_eq(pwc_dispatch(conn, LONG), PWC_OK);
    ck_assert_ptr_eq(f.job, job);
}
END_TEST

START_TEST(not_attached_not_told)
{
    struct freed f = {0};
    struct pwc_job *job = NULL;
    ck_assert_int_eq(pwc_attach(conn, _i == 0 ? 5 : 903, &freeing, &f, LONG, &job),
                     _i == 0 ? PWC_NO_SUCH_JOB : PWC_E_GONE);
    ck_assert_int_eq(pwc_dispatch(conn, 0), _i == 0 ? PWC_OK : PWC_E_GONE);
    ck_assert_int_eq(f.n, 0);
    ck_assert_ptr_null(job);
}
END_TEST

static void *dispatcher(void *arg)
{
    const struct freed *f = arg;
    while (f->n == 0)
        ck_assert_int_eq(pwc_dispatch(conn, PWC_FOREVER), PWC_OK);
    return f->job;
}

/* It polls, and nothing more comes. */
START_TEST(attached_beside_a_reader)
{
    struct freed f = {0};
    struct pwc_job *job = NULL;
    pthread_t t;
    void *told;
    ck_assert_int_eq(pthread_create(&t, NULL, dispatcher, &f), 0);
    ck_assert_int_eq(pwc_attach(conn, 901, &freeing, &f, LONG, &job), PWC_OK);
    pthread_join(t, &told);
    ck_assert_int_eq(f.n, 1);
    ck_assert_ptr_eq(told, job);
}
END_TEST

void add_calls_tests(TCase *tc)
{
    tcase_add_loop_test(tc, told_when_wait_returns, 0, 2);
    tcase_add_test(tc, a_thousand_told);
    tcase_add_test(tc, last_item_told);
    tcase_add_test(tc, loss_told);
    tcase_add_test(tc, closed_untold);
    tcase_add_test(tc, wait_in_a_callback);
    tcase_add_test(tc, told_in_another_thread);
    tcase_add_loop_test(tc, attached_then_told, 0, 2);
    tcase_add_loop_test(tc, not_attached_not_told, 0, 2);
    tcase_add_test(tc, attached_beside_a_reader);
}
