/*
 * test_crowd.c - clients that are too many, ask too much or never listen: the others are served, and memory
 * stays within its bound. Those who attack are another user where they can be.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/fill.h"
#include "tests/hostile/peer.h"
#include "tests/unit/runner.h"

#define CROWD        3000u
#define STRANGER     65534u
#define NEIGHBOUR    65533u
#define JOBS_A_USER  2000u
#define KIB_A_CLIENT 3u /* of one that says nothing */

static struct victim v;
static bool root;

static void start(void)
{
    struct rlimit rl;
    root = geteuid() == 0;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    victim_start(&v, (const char *const[]){"--set", "clients_max=4000", "--set", "clients_per_user=3500",
                                           "--set", "jobs_per_user=2000", "--set", "history=50", "--set",
                                           "max_pixels=1000000", NULL});
}
static void stop(void)
{
    victim_stop(&v);
}

/* Another user than the ordinary client, where we can be one. */
static struct peer stranger(void)
{
    return root ? peer_open_as(&v, STRANGER) : peer_open(&v);
}

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

static const struct job_spec waits = {
    .op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}};

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

START_TEST(the_same_request_again)
{
    struct job_spec keyed = waits;
    keyed.key = "the same";
    struct peer p = peer_open(&v), q = peer_open(&v);
    peer_submit(&p, 1, &keyed);
    uint64_t job = peer_accepted(&p);
    for (uint64_t i = 0; i < 500; i++) {
        struct peer *who = i % 2 == 0 ? &p : &q;
        peer_submit(who, i, &keyed);
        ck_assert_uint_eq(peer_accepted(who), job);
    }
    if (root) {
        struct peer other = peer_open_as(&v, STRANGER);
        peer_submit(&other, 1, &keyed);
        ck_assert_uint_ne(peer_accepted(&other), job);
        peer_free(&other);
    }
    peer_ask(&q, PWC_MSG_CANCEL, job);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_CANCELLED);
    peer_submit(&q, 9, &keyed); /* it has ended: still the same */
    ck_assert_uint_eq(peer_accepted(&q), job);
    ck_assert_int_eq(peer_code(&q), PWC__CODE__CODE_CANCELLED);
    keyed.key = "a key of thirty-two bytes, all in";
    peer_submit(&p, 10, &keyed);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_BAD_PARAM); /* thirty-three */
    keyed.key = "a key of thirty-two bytes, all i";
    peer_submit(&p, 11, &keyed);
    ck_assert_uint_ne(peer_accepted(&p), 0);
    keyed.key = "a key of thirty-two bytes, all in";
    peer_submit(&p, 12, &keyed);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_BAD_PARAM); /* still no other's */
    peer_free(&p);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

static uint64_t submit_keyed(struct peer *p, unsigned i)
{
    char key[32];
    snprintf(key, sizeof key, "request %u", i);
    struct job_spec keyed = waits;
    keyed.key = key;
    peer_submit(p, i, &keyed);
    uint64_t job = peer_accepted(p);
    ck_assert_uint_ne(job, 0);
    return job;
}

/* Each is found among all, and none any more once its job is forgotten: 50 ended ones are remembered. */
START_TEST(many_requests_again)
{
    enum { REQUESTS = 600 };
    static uint64_t job[REQUESTS];
    struct peer p = peer_open(&v), q = peer_open(&v);
    for (unsigned i = 0; i < REQUESTS; i++)
        job[i] = submit_keyed(&p, i);
    for (unsigned i = REQUESTS; i-- > 0;)
        ck_assert_uint_eq(submit_keyed(&q, i), job[i]);
    for (unsigned i = 0; i < REQUESTS; i++) {
        peer_ask(&p, PWC_MSG_CANCEL, job[i]);
        msg_free(peer_await(&p, PWC_MSG_FINISHED));
    }
    for (unsigned i = REQUESTS - 50; i < REQUESTS; i++)
        ck_assert_uint_eq(submit_keyed(&q, i), job[i]);
    uint64_t again = submit_keyed(&p, 0);
    for (unsigned i = 0; i < REQUESTS; i++)
        ck_assert_uint_ne(again, job[i]);
    peer_ask(&p, PWC_MSG_CANCEL, again);
    peer_free(&p);
    peer_free(&q);
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

/* ---- other people's jobs ---- */

START_TEST(others_jobs_are_not_theirs)
{
    if (!root)
        return;
    static const uint16_t asks[] = {PWC_MSG_CANCEL, PWC_MSG_ATTACH, PWC_MSG_DETACH, PWC_MSG_CHUNK_CREDIT};
    struct peer owner = peer_open_as(&v, NEIGHBOUR), thief = peer_open_as(&v, STRANGER);
    int fd = memfd_of("some bytes", 10);
    peer_submit(&owner, 1, &waits);
    uint64_t job = peer_accepted(&owner);
    for (unsigned i = 0; i < ARRAY_LEN(asks); i++) {
        peer_ask(&thief, asks[i], job);
        ck_assert_int_eq(peer_code(&thief), PWC__CODE__CODE_NO_SUCH_JOB);
    }
    peer_item(&thief, job, 0, &fd, 1); /* ignored */
    peer_ask(&thief, PWC_MSG_LIST_JOBS, job);
    Pwc__End *end = peer_await(&thief, PWC_MSG_END);
    ck_assert_uint_eq(end->count, 0);
    msg_free(&end->base);
    peer_item(&owner, job, 0, &fd, 1);
    Pwc__Finished *f = peer_await(&owner, PWC_MSG_FINISHED);
    ck_assert_msg(f->state == PWC__JOB_STATE__JOB_DONE, "%s", f->reason);
    msg_free(&f->base);
    peer_ask(&thief, PWC_MSG_ATTACH, job); /* not even its end */
    ck_assert_int_eq(peer_code(&thief), PWC__CODE__CODE_NO_SUCH_JOB);
    close(fd);
    peer_free(&owner);
    peer_free(&thief);
    victim_is_well(&v, 8192);
}
END_TEST

/* On another connection of the same user: items belong to the connection that was asked for them. */
START_TEST(items_from_the_wrong_connection)
{
    struct peer p = peer_open(&v), q = peer_open(&v);
    int fd = memfd_of("some bytes", 10);
    peer_submit(&p, 1, &waits);
    uint64_t job = peer_accepted(&p);
    for (uint64_t i = 0; i < 100; i++)
        peer_item(&q, job, i % 3, &fd, 1);
    peer_ask(&q, PWC_MSG_ATTACH, job); /* a watcher is not asked for them either */
    for (uint64_t i = 0; i < 100; i++)
        peer_item(&q, job, i % 3, &fd, 1);
    peer_item(&p, job, 0, &fd, 1);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_OK);
    ck_assert_int_eq(peer_code(&q), PWC__CODE__CODE_OK);
    close(fd);
    peer_free(&p);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- items that are wanted a second time ---- */

static void full_item(const struct peer *p, uint64_t job, uint64_t index)
{
    int fd = memfd_of("some bytes", 10);
    peer_item(p, job, index, &fd, 1);
    close(fd);
}

/* A batch of two whose first has been given up (its file is empty) while the second takes long. */
static uint64_t half_a_batch(struct peer *p)
{
    static const struct job_spec spec = {
        .op = "fault.bus", .params = {"ms", "600000"}, .items = 2, .batch = true, .roles = {"in"}};
    int empty = memfd_of("", 0);
    peer_submit(p, 1, &spec);
    uint64_t job = peer_accepted(p);
    msg_free(peer_await(p, PWC_MSG_WANT));
    peer_item(p, job, 0, &empty, 1);
    close(empty);
    full_item(p, job, 1);
    Pwc__ItemDone *done = peer_await(p, PWC_MSG_ITEM_DONE);
    ck_assert_uint_eq(done->index, 0);
    ck_assert_int_ne(done->code, PWC__CODE__CODE_OK);
    msg_free(&done->base);
    return job;
}

/* The daemon does not hold all it needs again, whatever it held before. */
START_TEST(detached_while_an_item_is_wanted_again)
{
    struct peer p = peer_open(&v);
    uint64_t job = half_a_batch(&p);
    peer_ask(&p, PWC_MSG_RETRY_CHUNKS, job);
    msg_free(peer_await(&p, PWC_MSG_OK));
    peer_ask(&p, PWC_MSG_DETACH, job);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_STATE);
    full_item(&p, job, 0);
    peer_ask(&p, PWC_MSG_DETACH, job);
    msg_free(peer_await(&p, PWC_MSG_OK));
    peer_ask(&p, PWC_MSG_CANCEL, job);
    msg_free(peer_await(&p, PWC_MSG_OK));
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

static bool can_be_retried(struct peer *p, uint64_t job)
{
    peer_ask(p, PWC_MSG_LIST_QUARANTINE, job);
    Pwc__Quarantined *m = peer_await(p, PWC_MSG_QUARANTINED);
    bool can = m->why_not[0] == '\0';
    msg_free(&m->base);
    return can;
}

/* Who says no more is not waited for. */
START_TEST(wanted_again_of_a_half_closed_client)
{
    struct peer p = peer_open(&v), q = peer_open(&v);
    uint64_t job = half_a_batch(&p);
    ck_assert(can_be_retried(&q, job));
    ck_assert_int_eq(shutdown(p.fd, SHUT_WR), 0);
    int64_t until = now_ms() + PATIENCE_MS;
    while (can_be_retried(&q, job))
        ck_assert(poll_again(until));
    peer_ask(&q, PWC_MSG_RETRY_CHUNKS, job);
    ck_assert_int_eq(peer_code(&q), PWC__CODE__CODE_STATE);
    peer_ask(&q, PWC_MSG_CANCEL, job);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_CANCELLED);
    peer_free(&p);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

static bool peer_answer_is(struct peer *p, uint16_t type)
{
    struct frame f;
    do
        ck_assert_int_eq(peer_hear(p, &f, PATIENCE_MS), 1);
    while (f.type != PWC_MSG_OK && f.type != PWC_MSG_ERROR);
    return f.type == type;
}

/* So many may follow a job, each is told of its end once, and who goes makes room. */
START_TEST(watchers_of_a_job)
{
    struct peer p = peer_open(&v), more[PWC_WATCHERS_MAX];
    int fd = memfd_of("some bytes", 10);
    struct job_spec keyed = waits;
    keyed.key = "much looked at";
    peer_submit(&p, 1, &keyed);
    uint64_t job = peer_accepted(&p);
    for (unsigned i = 0; i < PWC_WATCHERS_MAX; i++) {
        more[i] = peer_open(&v);
        peer_ask(&more[i], PWC_MSG_ATTACH, job);
        peer_ask(&more[i], PWC_MSG_ATTACH, job); /* twice is once */
    }
    ck_assert_int_eq(peer_code(&more[PWC_WATCHERS_MAX - 1]), PWC__CODE__CODE_BUSY);
    ck_assert_int_eq(peer_code(&more[PWC_WATCHERS_MAX - 1]), PWC__CODE__CODE_BUSY);
    peer_submit(&more[PWC_WATCHERS_MAX - 1], 2, &keyed); /* the same request is no way in */
    ck_assert_int_eq(peer_code(&more[PWC_WATCHERS_MAX - 1]), PWC__CODE__CODE_BUSY);
    peer_free(&more[0]);
    more[0] = peer_open(&v);
    do
        peer_ask(&more[0], PWC_MSG_ATTACH, job);
    while (peer_answer_is(&more[0], PWC_MSG_ERROR)); /* until the one before is seen to be gone */
    peer_item(&p, job, 0, &fd, 1);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_OK);
    for (unsigned i = 0; i < PWC_WATCHERS_MAX - 1; i++) {
        ck_assert_int_eq(peer_code(&more[i]), PWC__CODE__CODE_OK);
        peer_say(&more[i], PWC_MSG_DATA, 7, &(Pwc__Data)PWC__DATA__INIT);
        ck_assert_int_eq(peer_code(&more[i]), PWC__CODE__CODE_UNSUPPORTED); /* not told of the end twice */
    }
    close(fd);
    peer_free(&p);
    for (unsigned i = 0; i < PWC_WATCHERS_MAX; i++)
        peer_free(&more[i]);
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

/* ---- what is asked of jobs ---- */

START_TEST(guessed_jobs)
{
    struct peer p = stranger();
    uint64_t state = 7;
    struct source s = {seeded_next, &state, {1, 2, 3, 4, 5, 100, 1000, 100000}};
    for (int i = 0; i < 2000; i++) {
        static const uint16_t asks[] = {PWC_MSG_CANCEL, PWC_MSG_ATTACH, PWC_MSG_DETACH, PWC_MSG_CHUNK_CREDIT};
        uint64_t job = source_number(&s) | (root ? 0 : 1ull << 40);
        peer_ask(&p, asks[i % 4], job);
        ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_NO_SUCH_JOB);
    }
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

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

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile crowd");
    TCase *t = tcase_create("crowd");
    tcase_set_timeout(t, 0);
    tcase_add_checked_fixture(t, start,
                              stop); /* a daemon each: what one leaves in the heap is not the next one's */
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
    tcase_add_test(t, the_same_request_again);
    tcase_add_test(t, many_requests_again);
    tcase_add_test(t, failures_that_nobody_takes);
    tcase_add_test(t, others_jobs_are_not_theirs);
    tcase_add_test(t, items_from_the_wrong_connection);
    tcase_add_test(t, detached_while_an_item_is_wanted_again);
    tcase_add_test(t, wanted_again_of_a_half_closed_client);
    tcase_add_test(t, watchers_of_a_job);
    tcase_add_test(t, who_has_nothing_to_start_holds_up_nobody);
    tcase_add_test(t, users_come_and_go);
    tcase_add_test(t, guessed_jobs);
    tcase_add_test(t, lists_after_many_jobs);
    tcase_add_test(t, lists_of_few_jobs_far_apart);
    tcase_add_test(t, more_than_may_connect);
    tcase_add_test(t, thousands_of_idle_connections);
    suite_add_tcase(s, t);
    return run_suite(s);
}
