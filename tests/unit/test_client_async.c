/* test_client_async.c - libpwc while jobs run: callbacks, batches, many jobs, many threads. Part of
 * test-client. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/client_case.h"

/* ---- callbacks ---- */

struct heard {
    unsigned progress, deaths, given_up, records, failed, finished;
    uint64_t done;
    int inner;
};

static void on_progress(struct pwc_job *job, enum pwc_job_state state, const struct pwc_counts *counts,
                        const char *waiting, void *user)
{
    struct heard *h = user;
    h->progress++;
    h->done = counts->done;
    ck_assert_int_eq(state, PWC_JOB_RUNNING);
    ck_assert_str_eq(waiting, "");
    if (counts->done == 400)
        ck_assert_int_eq(pwc_cancel(job), PWC_OK);
}

static void on_death(struct pwc_job *job, const struct pwc_death *death, int given_up, void *user)
{
    struct heard *h = user;
    h->deaths++;
    h->given_up += given_up != 0;
    ck_assert_int_eq(death->signal, 11);
    ck_assert_str_eq(death->covers, "rows 2176 to 2303");
    (void)job;
    h->inner = pwc_ping(conn, PWC_FOREVER); /* must say no, not hang */
}

static void on_record(struct pwc_job *job, const struct pwc_record *record, void *user)
{
    (void)job;
    struct heard *h = user;
    ck_assert_uint_eq(record->first, h->records);
    h->records++;
    h->failed += record->code != PWC_OK;
}

static void on_finished(struct pwc_job *job, void *user)
{
    ck_assert_int_ge(pwc_job_state(job), PWC_JOB_DONE);
    ((struct heard *)user)->finished++;
}

static const struct pwc_callbacks all = {on_progress, on_death, on_record, on_finished};

START_TEST(callbacks)
{
    struct heard h = {0};
    struct pwc_spec *spec = pwc_spec_new("slow");
    pwc_spec_callbacks(spec, &all, &h);
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_CANCELLED);
    ck_assert_uint_eq(h.progress, 4);
    ck_assert_uint_eq(h.done, 400);
    ck_assert_uint_eq(h.finished, 1);
    pwc_job_free(job);
    pwc_spec_free(spec);

    spec = pwc_spec_new("crash");
    pwc_spec_callbacks(spec, &all, &h);
    job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_CRASH);
    ck_assert_uint_eq(h.deaths, 2);
    ck_assert_uint_eq(h.given_up, 1);
    ck_assert_int_eq(h.inner, PWC_E_ARGUMENT);
    ck_assert_uint_eq(h.finished, 2);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

START_TEST(records)
{
    struct heard h = {0};
    struct pwc_spec *spec = pwc_spec_new("records");
    pwc_spec_callbacks(spec, &all, &h);
    pwc_spec_records(spec, 3); /* the fake sends no more than the credit: ten need several */
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    ck_assert_uint_eq(h.records, 10);
    ck_assert_uint_eq(h.failed, 1);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

static void free_it(struct pwc_job *job, void *user)
{
    (*(int *)user)++;
    pwc_job_free(job);
}

START_TEST(freed_in_a_callback)
{
    int n = 0;
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_callbacks(spec, &(struct pwc_callbacks){.finished = free_it}, &n);
    submit(spec);
    submit(spec);
    while (n < 2)
        ck_assert_int_eq(pwc_dispatch(conn, LONG), PWC_OK);
    pwc_spec_free(spec);
}
END_TEST

START_TEST(event_loop)
{
    int n = 0;
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_callbacks(spec, &(struct pwc_callbacks){.finished = free_it}, &n);
    for (int i = 0; i < 1000; i++)
        submit(spec);
    while (n < 1000) {
        struct pollfd p = {.fd = pwc_fd(conn), .events = pwc_events(conn)};
        ck_assert_int_eq(poll(&p, 1, LONG), 1);
        ck_assert_int_eq(pwc_dispatch(conn, 0), PWC_OK);
    }
    pwc_spec_free(spec);
}
END_TEST

/* ---- batches ---- */

struct items {
    unsigned opened, done, failed, open, most;
    int fds[20000];
};

static int open_item(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user)
{
    (void)job;
    struct items *b = user;
    b->opened++;
    if (index % 1000 == 999) {
        item->error = "cannot open it";
        return PWC_BAD_INPUT;
    }
    item->fds[0] = temp_file(index % 1000 == 500 ? "bad" : "good");
    item->fds[1] = temp_file("");
    b->fds[index] = dup(item->fds[1]);
    b->open++;
    b->most = b->open > b->most ? b->open : b->most;
    item->name = "x";
    return PWC_OK;
}

static void item_done(struct pwc_job *job, uint64_t index, int code, const char *reason, uint32_t attempts,
                      void *user)
{
    (void)job;
    (void)attempts;
    struct items *b = user;
    char text[8] = "";
    b->done++;
    if (index % 1000 == 999)
        ck_assert_str_eq(reason, "cannot open it");
    b->failed += code != PWC_OK;
    if (code == PWC_OK) {
        ck_assert_int_eq(pread(b->fds[index], text, 4, 0), 4);
        ck_assert_str_eq(text, "good");
    }
    if (index % 1000 != 999) {
        close(b->fds[index]);
        b->open--;
    }
}

START_TEST(batch_of_thousands)
{
    static struct items b;
    int fds = count_fds();
    struct rlimit few = {256, 4096};
    setrlimit(RLIMIT_NOFILE, &few); /* shared with the fake */
    const char *const roles[] = {"in", "out"};
    struct pwc_spec *spec = pwc_spec_new("batch");
    pwc_spec_batch(spec, &(struct pwc_batch){20000, roles, 2, open_item, item_done, &b});
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, 8 * LONG), PWC_E_PARTIAL);
    ck_assert_uint_eq(b.opened, 20000);
    ck_assert_uint_eq(b.done, 20000);
    ck_assert_uint_eq(b.failed, 40);
    ck_assert_uint_eq(b.open, 0);
    ck_assert_uint_le(b.most, 40);
    ck_assert_uint_eq(fake_most_items(fake), 32);
    pwc_job_free(job);
    pwc_spec_free(spec);
    wait_fds(fds);
}
END_TEST

/* A Want for everything at once must not open everything at once: unsent descriptors stay open. */
START_TEST(batch_with_huge_window)
{
    static struct items b;
    struct rlimit many;
    getrlimit(RLIMIT_NOFILE, &many);
    many.rlim_cur = many.rlim_max; /* items under way have theirs here, in the library and in the fake */
    setrlimit(RLIMIT_NOFILE, &many);
    const char *const roles[] = {"in", "out"};
    struct pwc_spec *spec = pwc_spec_new("batch");
    pwc_spec_param(spec, "window", "3000");
    pwc_spec_batch(spec, &(struct pwc_batch){3000, roles, 2, open_item, item_done, &b});
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, 4 * LONG), PWC_E_PARTIAL);
    ck_assert_uint_eq(b.done, 3000);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

/* ---- many, and many threads ---- */

START_TEST(pipelined)
{
    enum { N = 100000 };
    struct pwc_job **jobs = calloc(N, sizeof *jobs);
    struct pwc_spec *spec = pwc_spec_new("echo");
    for (int i = 0; i < N; i++)
        jobs[i] = submit(spec);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(pwc_wait(jobs[i], LONG), PWC_OK);
        pwc_job_free(jobs[i]);
    }
    pwc_spec_free(spec);
    free(jobs);
}
END_TEST

/* Who only submits hears of it as well, though nothing can be sent any more. */
START_TEST(submitted_after_the_loss)
{
    struct pwc_spec *spec = pwc_spec_new("echo");
    struct pwc_job *job = submit_op("lose");
    ck_assert_int_eq(pwc_flush(conn), PWC_OK);
    struct pollfd p = {.fd = pwc_fd(conn)};
    ck_assert_int_eq(poll(&p, 1, LONG), 1);
    int r = PWC_OK;
    for (int i = 0; i < 1000 && r == PWC_OK; i++) {
        struct pwc_job *other;
        r = pwc_submit(conn, spec, &other);
        if (r == PWC_OK)
            pwc_job_free(other);
        pwc_flush(conn);
    }
    ck_assert_int_eq(r, PWC_E_GONE);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

static atomic_int thread_jobs;

static void *submitter(void *arg)
{
    struct pwc_job *shared = arg;
    for (int i = 0; i < 500; i++) {
        struct pwc_job *job = submit_op("echo");
        ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
        if (i % 50 == 0)
            ck_assert_int_eq(pwc_ping(conn, LONG), PWC_OK);
        pwc_job_free(job);
        atomic_fetch_add(&thread_jobs, 1);
    }
    ck_assert_int_eq(pwc_wait(shared, LONG), PWC_CANCELLED);
    return NULL;
}

START_TEST(threads)
{
    pthread_t t[8];
    struct pwc_job *shared = submit_op("hang");
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, submitter, shared), 0);
    while (atomic_load(&thread_jobs) < 4000)
        ck_assert_int_eq(pwc_dispatch(conn, 10), PWC_OK);
    ck_assert_int_eq(pwc_cancel(shared), PWC_OK);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    pwc_job_free(shared);
}
END_TEST

static void *waiter(void *arg)
{
    return (void *)(intptr_t)pwc_wait(arg, LONG);
}

START_TEST(threads_see_the_end)
{
    pthread_t t[4];
    struct pwc_job *job = submit_op("hang");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, waiter, job), 0);
    struct pwc_job *lose = submit_op("lose");
    for (int i = 0; i < 4; i++) {
        void *r;
        pthread_join(t[i], &r);
        ck_assert_int_eq((intptr_t)r, PWC_E_GONE);
    }
    pwc_job_free(lose);
    pwc_job_free(job);
}
END_TEST

void add_async_tests(TCase *tc)
{
    tcase_add_test(tc, callbacks);
    tcase_add_test(tc, records);
    tcase_add_test(tc, freed_in_a_callback);
    tcase_add_test(tc, event_loop);
    tcase_add_test(tc, batch_of_thousands);
    tcase_add_test(tc, batch_with_huge_window);
    tcase_add_test(tc, pipelined);
    tcase_add_test(tc, submitted_after_the_loss);
    tcase_add_test(tc, threads);
    tcase_add_test(tc, threads_see_the_end);
}
