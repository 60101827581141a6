/*
 * test_crowd.c - clients that are too many, ask too much or never listen: the others are served, and memory
 * stays within its bound. Those who attack are another user where they can be.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/crowd.h"
#include "tests/unit/runner.h"

#define CROWD        3000u
#define KIB_A_CLIENT 3u /* of one that says nothing */

/* ---- idle ---- */

START_TEST(thousands_of_idle_connections)
{
    static struct peer p[CROWD];
    size_t before = victim_rss_kib(&v);
    int64_t began = now_ms();
    for (unsigned i = 0; i < CROWD; i++) {
        p[i] = i % 2 == 0 ? peer_open(&v) : peer_new(&v);
        if (i % 3 == 0)
            peer_send(&p[i], "\x20", 1, NULL, 0); /* the beginning of something */
    }
    printf("%u connections in %ld ms\n", CROWD, (long)(now_ms() - began));
    for (int i = 0; i < 5; i++)
        victim_serves(&v);
    size_t grown = victim_rss_kib(&v) - before;
    printf("%zu KiB for %u connections\n", grown, CROWD);
#ifndef PWC_SANITIZED
    /* One in three has sent the beginning of a frame, for which there is a buffer of 16 KiB. */
    ck_assert_uint_le(grown, CROWD * KIB_A_CLIENT + CROWD / 3 * 17);
#endif
    for (unsigned i = 0; i < CROWD; i++)
        peer_free(&p[i]);
    victim_is_well(&v, CROWD * KIB_A_CLIENT + CROWD / 3 * 17);
}
END_TEST

START_TEST(more_than_may_connect)
{
    if (!root)
        return;
    static int fd[4200];
    unsigned n = 0;
    become(STRANGER);
    for (; n < ARRAY_LEN(fd); n++)
        fd[n] = peer_socket(&v);
    become(0);
    victim_serves(&v); /* root is another user */
    struct peer p = peer_open_as(&v, NEIGHBOUR);
    peer_free(&p);
    while (n > 0)
        close(fd[--n]);
    ck_assert_uint_le(victim_logged(&v, "too many connections"), 40);
    victim_is_well(&v, 32 * 1024);
}
END_TEST

/* ---- deaf ---- */

static void small_buffers(const struct peer *p)
{
    int small = 4096;
    setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
}

/* Asks as long as the daemon listens, and reads nothing. */
static void ask_and_do_not_listen(uint16_t type, uint64_t job)
{
    struct peer p = peer_open(&v);
    small_buffers(&p);
    struct timeval tv = {2, 0};
    setsockopt(p.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    uint8_t bytes[64];
    Pwc__Cancel m = PWC__CANCEL__INIT;
    m.job = job;
    size_t len = frame_of(bytes, type, 1, &m, 0);
    for (int i = 0; i < 100000 && peer_send(&p, bytes, len, NULL, 0); i++)
        ;
    victim_serves(&v);
    peer_free(&p);
}

START_TEST(answers_are_never_read)
{
    static const uint16_t types[] = {PWC_MSG_PING,        PWC_MSG_LIST_OPS,   PWC_MSG_LIST_JOBS,
                                     PWC_MSG_LIST_STAGES, PWC_MSG_GET_STATUS, PWC_MSG_CANCEL,
                                     PWC_MSG_LIST_DEATHS, PWC_MSG_DATA};
    for (unsigned i = 0; i < ARRAY_LEN(types); i++)
        ask_and_do_not_listen(types[i], 1u << 30);
    victim_is_well(&v, 8192);
}
END_TEST

/* Many at a time, each with as much in its queue as it gets. */
START_TEST(many_deaf_clients)
{
    struct peer p[40];
    uint8_t bytes[64];
    const Pwc__Ping m = PWC__PING__INIT;
    size_t len = frame_of(bytes, PWC_MSG_PING, 1, &m, 0);
    for (unsigned i = 0; i < ARRAY_LEN(p); i++) {
        p[i] = peer_open(&v);
        small_buffers(&p[i]);
        fcntl(p[i].fd, F_SETFL, O_NONBLOCK);
    }
    for (int n = 0; n < 200; n++)
        for (unsigned i = 0; i < ARRAY_LEN(p); i++)
            for (int k = 0; k < 50; k++)
                (void)!send(p[i].fd, bytes, len, MSG_NOSIGNAL);
    victim_serves(&v);
#ifndef PWC_SANITIZED
    /* Twice the bound of a queue each, whatever the size of what lies in it. */
    size_t grown = victim_rss_kib(&v) - v.rss_kib;
    printf("%zu KiB for %zu deaf clients\n", grown, ARRAY_LEN(p));
    ck_assert_uint_le(grown, ARRAY_LEN(p) * 2 * PWC_SEND_QUEUE_MAX / 1024 + 8192);
#endif
    for (unsigned i = 0; i < ARRAY_LEN(p); i++)
        peer_free(&p[i]);
    victim_is_well(&v, ARRAY_LEN(p) * 2 * PWC_SEND_QUEUE_MAX / 1024 + 8192);
}
END_TEST

/* Its jobs go on; their events are thinned out, then the connection ends, and their end can be asked for
 * again. */
START_TEST(events_are_never_read)
{
    const struct job_spec many = {
        .op = "noop", .params = {"n", "1000"}, .on_disconnect = PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH};
    struct peer p = stranger();
    small_buffers(&p);
    struct timeval tv = {2, 0};
    setsockopt(p.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    for (unsigned sent = 0; sent < 20000; sent++)
        peer_submit(&p, sent, &many);
    if (root)
        victim_serves(&v);
    ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "the connection goes on though nothing is read");
    peer_free(&p);
    p = stranger();
    peer_ask(&p, PWC_MSG_LIST_JOBS, 0);
    Pwc__End *end = peer_await(&p, PWC_MSG_END);
    ck_assert_uint_gt(end->count, 0);
    msg_free(&end->base);
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- floods ---- */

static unsigned submit_many(struct peer *p, const struct job_spec *spec, unsigned n)
{
    unsigned accepted = 0, answered = 0;
    struct frame f;
    for (unsigned i = 0; i < n; i++)
        peer_submit(p, i, spec);
    while (answered < n && peer_hear(p, &f, PATIENCE_MS) == 1) {
        accepted += f.type == PWC_MSG_ACCEPTED;
        answered += f.type == PWC_MSG_ACCEPTED || f.type == PWC_MSG_REJECTED;
    }
    ck_assert_uint_eq(answered, n);
    return accepted;
}

START_TEST(submits_up_to_the_limit_of_the_user)
{
    if (!root)
        return;
    struct peer p = peer_open_as(&v, STRANGER);
    unsigned accepted = 0;
    for (int i = 0; i < 25; i++)
        accepted += submit_many(&p, &waits, 100);
    ck_assert_uint_eq(accepted, JOBS_A_USER);
    for (int i = 0; i < 3; i++)
        victim_serves(&v);
    struct peer q = peer_open_as(&v, NEIGHBOUR);
    ck_assert_uint_eq(submit_many(&q, &waits, 10), 10);
    peer_free(&q);
    peer_free(&p);
    victim_is_well(&v, 16 * 1024);
}
END_TEST

/* Each with as much in its parameters as there may be, all waiting. */
START_TEST(large_submits_up_to_the_limit)
{
    if (!root)
        return;
    static char list[1500];
    size_t n = 0;
    while (n + 3 < 1400) /* 700 numbers of 8 bytes, twice: nearly 12 KiB */
        n += (size_t)snprintf(list + n, 4, "%s1", n > 0 ? "," : "");
    const struct job_spec heavy = {.op = "image.linear",
                                   .params = {"a", list, "b", list},
                                   .items = 1,
                                   .roles = {"in", "out"},
                                   .format = "png"};
    struct peer p = peer_open_as(&v, STRANGER);
    unsigned accepted = 0;
    for (unsigned i = 0; i < JOBS_A_USER / 50; i++)
        accepted += submit_many(&p, &heavy, 50);
    size_t grown = victim_rss_kib(&v) - v.rss_kib;
    printf("%zu KiB for %u large jobs that wait\n", grown, accepted);
    victim_serves(&v);
#ifndef PWC_SANITIZED
    ck_assert_uint_le(grown, 64 * 1024);
#endif
    peer_free(&p);
    victim_is_well(&v, 64 * 1024);
}
END_TEST

/* A new label with each job: what is kept of them must not grow. */
START_TEST(a_label_for_each_job)
{
    struct peer p = peer_open(&v);
    size_t before = 0;
    for (unsigned i = 0; i < 20000 / SLOWER; i++) {
        char label[64];
        snprintf(label, sizeof label, "%050u", i);
        struct job_spec bad = waits;
        bad.label = label;
        peer_submit(&p, i, &bad);
        uint64_t job = peer_accepted(&p);
        ck_assert_uint_ne(job, 0);
        peer_ask(&p, PWC_MSG_CANCEL, job);
        msg_free(peer_await(&p, PWC_MSG_FINISHED));
        if (i == 2000)
            before = victim_rss_kib(&v);
    }
#ifndef PWC_SANITIZED
    size_t after = victim_rss_kib(&v);
    ck_assert_msg(after <= before + 512, "20000 labels: from %zu to %zu KiB", before, after);
#else
    (void)before;
#endif
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- failures ---- */

/* As many chunks fail as may, and the client takes no record of them: what waits for it is bounded, and it is
 * told of the end. */
START_TEST(failures_that_nobody_takes)
{
    struct job_spec many = waits;
    many.max_failures = PWC_FAILURES_MAX;
    many.records = true;
    struct peer p = peer_open(&v);
    int fd = memfd_of("", 0);
    ck_assert_int_eq(ftruncate(fd, 1ll << 40), 0);
    peer_submit(&p, 1, &many);
    uint64_t job = peer_accepted(&p), told = 0;
    peer_item(&p, job, 0, &fd, 1);
    for (bool running = false; !running;) {
        Pwc__Event *e = peer_await(&p, PWC_MSG_EVENT);
        running = e->state == PWC__JOB_STATE__JOB_RUNNING && e->counts->done > 0;
        msg_free(&e->base);
    }
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    struct frame f;
    size_t most = 0;
    do {
        ck_assert_int_eq(peer_hear(&p, &f, PATIENCE_MS), 1);
        if (f.type == PWC_MSG_CHUNK_DONE) {
            Pwc__ChunkDone *m = (Pwc__ChunkDone *)msg_unpack(f.desc, f.body, f.body_len);
            told += m->code != PWC__CODE__CODE_OK ? m->n : 0;
            msg_free(&m->base);
        }
        most = MAX(most, victim_rss_kib(&v));
    } while (f.type != PWC_MSG_FINISHED);
    ck_assert_uint_eq(told, PWC_FAILURES_MAX + 1);
#ifndef PWC_SANITIZED
    ck_assert_msg(most <= v.rss_kib + 4096, "from %zu to %zu KiB", v.rss_kib, most);
#endif
    close(fd);
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- many users ---- */

#define USERS 100u

/* Whoever waits for something comes before those who compute, and gets nothing: the seats go on to the next.
 */
START_TEST(who_has_nothing_to_start_holds_up_nobody)
{
    if (!root)
        return;
    static struct peer p[USERS];
    static const struct job_spec long_one = {.op = "noop", .params = {"n", "100000000"}};
    struct peer q = peer_open_as(&v, NEIGHBOUR);
    for (unsigned i = 0; i < USERS; i++) {
        p[i] = peer_open_as(&v, 20000 + i);
        peer_submit(&p[i], 1, &waits);
        ck_assert_uint_ne(peer_accepted(&p[i]), 0);
    }
    peer_submit(&q, 1, &long_one);
    Pwc__Finished *f = peer_await(&q, PWC_MSG_FINISHED);
    ck_assert_msg(f->state == PWC__JOB_STATE__JOB_DONE, "%s", f->reason);
    msg_free(&f->base);
    for (unsigned i = 0; i < USERS; i++)
        peer_free(&p[i]);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

/* What is kept of users that are gone must not grow. */
START_TEST(users_come_and_go)
{
    if (!root)
        return;
    size_t before = 0;
    for (unsigned i = 0; i < 10000 / SLOWER; i++) {
        struct peer p = peer_open_as(&v, 20000 + i);
        peer_free(&p);
        if (i == 1000)
            before = victim_rss_kib(&v);
    }
#ifndef PWC_SANITIZED
    size_t after = victim_rss_kib(&v);
    ck_assert_msg(after <= before + 512, "10000 users: from %zu to %zu KiB", before, after);
#else
    (void)before;
#endif
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- lists ---- */

/* Lists must not cost what all jobs that ever were would. Submits go up to the limit while lists are asked
 * for. */
START_TEST(lists_after_many_jobs)
{
    static const struct job_spec noop = {.op = "noop", .params = {"n", "1"}};
    struct peer p = peer_open(&v);
    for (int i = 0; i < 300 / SLOWER; i++)
        submit_many(&p, &noop, 100);
    struct peer q = peer_open(&v);
    int64_t began = now_ms();
    for (int i = 0; i < 100; i++)
        peer_ask(&q, PWC_MSG_LIST_JOBS, 0);
    for (int i = 0; i < 100; i++)
        msg_free(peer_await(&q, PWC_MSG_END));
    printf("100 lists in %ld ms\n", (long)(now_ms() - began));
    peer_free(&p);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

/* Nor what lies between those that are left: numbers of which most are gone, and lists of somebody who sees
 * none of them. */
START_TEST(lists_of_few_jobs_far_apart)
{
    if (!root)
        return;
    enum { LISTERS = 8, LISTS = 1000 };
    static const struct job_spec noop = {.op = "noop", .params = {"n", "1"}};
    struct peer owner = peer_open_as(&v, STRANGER), p = peer_open(&v), q[LISTERS];
    for (unsigned i = 0; i < JOBS_A_USER / SLOWER; i++) {
        ck_assert_uint_eq(submit_many(&owner, &waits, 1), 1);
        submit_many(&p, &noop, 20);
    }
    for (unsigned i = 0; i < LISTERS; i++)
        q[i] = peer_open_as(&v, NEIGHBOUR);
    for (unsigned i = 0; i < LISTERS * LISTS; i++)
        peer_ask(&q[i % LISTERS], PWC_MSG_LIST_JOBS, 0);
    victim_serves(&v);
    for (unsigned i = 0; i < LISTERS * LISTS; i++) {
        Pwc__End *m = peer_await(&q[i % LISTERS], PWC_MSG_END);
        ck_assert_uint_eq(m->count, 0);
        msg_free(&m->base);
    }
    for (unsigned i = 0; i < LISTERS; i++)
        peer_free(&q[i]);
    peer_free(&p);
    peer_free(&owner);
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- the end ---- */

#define AT_ONCE  12000u       /* their ends are several times what may wait for a client */
#define UNREAD   4200u        /* theirs are more than a socket takes, less than that and half a queue */
#define FOLLOWED 1500u        /* theirs are less than half a queue */
#define TURNS    (2u * 2 + 2) /* so many jobs of a user are under way */

static void crowded_start(void)
{
    victim_start(&v, (const char *const[]){"--set", "jobs_per_user=20000", "--set", "jobs_max=20000", NULL});
}

static void refused(struct peer *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ck_assert_int_eq(peer_code(p), PWC__CODE__CODE_SHUTDOWN);
}

/* Submits n; the number of the first. */
static uint64_t submit_in_row(struct peer *p, unsigned n)
{
    peer_submit(p, 1, &waits);
    uint64_t first = peer_accepted(p);
    for (unsigned i = 1; i < n; i += 100)
        ck_assert_uint_eq(submit_many(p, &waits, MIN(n - i, 100)), MIN(n - i, 100));
    return first;
}

/* Who has thousands of jobs when the daemon stops is told of each that waits, and those that had their turn
 * go on. */
START_TEST(stopped_with_thousands_of_jobs)
{
    struct peer p = peer_open(&v);
    uint64_t first = submit_in_row(&p, AT_ONCE);
    ck_assert_int_eq(kill(v.pid, SIGTERM), 0);
    refused(&p, AT_ONCE - TURNS);
    for (uint64_t job = first; job < first + TURNS; job++)
        peer_ask(&p, PWC_MSG_CANCEL, job);
    for (unsigned i = 0; i < TURNS; i++)
        ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_CANCELLED);
    peer_free(&p);
}
END_TEST

/* Has every job ended, as far as another connection can see? Also when the daemon has. */
static bool all_over(struct peer *q)
{
    struct frame f;
    peer_ask(q, PWC_MSG_GET_STATUS, 0);
    do {
        int r = peer_hear(q, &f, PATIENCE_MS);
        ck_assert_int_ge(r, 0);
        if (r == 0)
            return true;
    } while (f.type != PWC_MSG_STATUS);
    Pwc__Status *m = (Pwc__Status *)msg_unpack(f.desc, f.body, f.body_len);
    bool over = m->jobs_queued + m->jobs_running == 0;
    msg_free(&m->base);
    return over;
}

/* With the last job the daemon could go, and the ends of a thousand lie in the queue of a client that has
 * read none of them yet: it hears of them all. */
START_TEST(stopped_when_nothing_runs)
{
    unsigned told[2] = {0};
    struct peer p = peer_open(&v), q = peer_open(&v);
    uint64_t first = submit_in_row(&p, UNREAD);
    ck_assert_int_eq(kill(v.pid, SIGTERM), 0);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_SHUTDOWN);
    told[0]++;
    for (uint64_t job = first; job < first + TURNS; job++)
        peer_ask(&p, PWC_MSG_CANCEL, job);
    while (!all_over(&q)) /* as little as it takes for all to end */
        told[peer_code(&p) == PWC__CODE__CODE_CANCELLED]++;
    while (told[0] + told[1] < UNREAD)
        told[peer_code(&p) == PWC__CODE__CODE_CANCELLED]++;
    ck_assert_uint_eq(told[1], TURNS);
    peer_free(&p);
    peer_free(&q);
}
END_TEST

/* Nor does who never reads keep others from hearing of theirs, be they the same user's, and behind his. */
START_TEST(stopped_with_a_client_that_is_deaf)
{
    struct peer deaf = peer_open(&v), p = peer_open(&v);
    submit_in_row(&deaf, AT_ONCE / 2);
    submit_in_row(&p, AT_ONCE / 2);
    ck_assert_int_eq(kill(v.pid, SIGTERM), 0);
    refused(&p, AT_ONCE / 2);
    peer_free(&p);
    peer_free(&deaf);
}
END_TEST

/* Who looks on at thousands, of several connections that can be told of theirs at once, hears of each, too.
 */
START_TEST(stopped_with_one_who_follows_thousands)
{
    struct peer owner[8], p = peer_open(&v), q = peer_open(&v);
    for (unsigned i = 0; i < ARRAY_LEN(owner); i++) {
        owner[i] = peer_open(&v);
        uint64_t first = submit_in_row(&owner[i], FOLLOWED);
        for (uint64_t job = first; job < first + FOLLOWED; job++) {
            peer_ask(&p, PWC_MSG_ATTACH, job);
            msg_free(peer_await(&p, PWC_MSG_OK));
            msg_free(peer_await(&owner[i], PWC_MSG_EVENT)); /* all who follow are told the state */
        }
    }
    ck_assert_int_eq(kill(v.pid, SIGTERM), 0);
    ck_assert_int_eq(peer_code(&owner[0]), PWC__CODE__CODE_SHUTDOWN);
    ck_assert(!all_over(&q)); /* the turn of the signal is over */
    refused(&p, ARRAY_LEN(owner) * FOLLOWED - TURNS);
    for (unsigned i = 0; i < ARRAY_LEN(owner); i++)
        refused(&owner[i], FOLLOWED - (i == 0 ? TURNS + 1 : 0));
    for (unsigned i = 0; i < ARRAY_LEN(owner); i++)
        peer_free(&owner[i]);
    peer_free(&p);
    peer_free(&q);
}
END_TEST

/* Whoever asks again and again does not kill it in the middle of its end. */
START_TEST(told_to_stop_until_it_is_gone)
{
    struct pollfd p = {.fd = v.pidfd, .events = POLLIN};
    int64_t until = now_ms() + PATIENCE_MS;
    while (poll(&p, 1, 0) == 0 && now_ms() < until)
        ck_assert_int_eq(kill(v.pid, SIGTERM), 0);
}
END_TEST

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile crowd");
    TCase *t = tcase_create("crowd");
    tcase_set_timeout(t, 0);
    /* A daemon each: what one leaves in the heap is not the next one's. */
    tcase_add_checked_fixture(t, crowd_start, crowd_stop);
    tcase_add_test(t, answers_are_never_read);
    tcase_add_test(t, many_deaf_clients);
    tcase_add_test(t, events_are_never_read);
    tcase_add_test(t, submits_up_to_the_limit_of_the_user);
#ifdef HAVE_VIPS
    tcase_add_test(t, large_submits_up_to_the_limit);
#else
    (void)large_submits_up_to_the_limit;
#endif
    tcase_add_test(t, a_label_for_each_job);
    tcase_add_test(t, failures_that_nobody_takes);
    tcase_add_test(t, who_has_nothing_to_start_holds_up_nobody);
    tcase_add_test(t, users_come_and_go);
    tcase_add_test(t, lists_after_many_jobs);
    tcase_add_test(t, lists_of_few_jobs_far_apart);
    tcase_add_test(t, more_than_may_connect);
    tcase_add_test(t, thousands_of_idle_connections);
    suite_add_tcase(s, t);
    t = tcase_create("end");
    tcase_set_timeout(t, 0);
    tcase_add_checked_fixture(t, crowded_start, crowd_stop);
    tcase_add_test(t, told_to_stop_until_it_is_gone);
    tcase_add_test(t, stopped_with_thousands_of_jobs);
    tcase_add_test(t, stopped_when_nothing_runs);
    tcase_add_test(t, stopped_with_a_client_that_is_deaf);
    tcase_add_test(t, stopped_with_one_who_follows_thousands);
    suite_add_tcase(s, t);
    return run_suite(s);
}
