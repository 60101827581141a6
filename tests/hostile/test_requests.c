/*
 * test_requests.c - requests about jobs: the same one again, about somebody else's job, about items that are
 * wanted a second time, from as many as may follow a job. Nobody gets what is not theirs, nobody waits for
 * ever, and memory stays within its bound.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/crowd.h"
#include "tests/hostile/fill.h"
#include "tests/unit/runner.h"

/* ---- the same again ---- */

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

/* ---- items that cannot be opened, or are wanted a second time ---- */

/* Who asked for a record of every chunk gets one of each item, also of what its client could not open. */
START_TEST(records_of_items_that_cannot_be_opened)
{
    static const struct job_spec spec = {
        .op = "fault.bus", .items = 3, .batch = true, .roles = {"in"}, .records = true};
    static const Pwc__Code codes[] = {PWC__CODE__CODE_DENIED, PWC__CODE__CODE_OK, (Pwc__Code)1005};
    static char why[] = "it is not there";
    struct peer p = peer_open(&v);
    struct frame f;
    peer_submit(&p, 1, &spec);
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = peer_accepted(&p);
    msg_free(peer_await(&p, PWC_MSG_WANT));
    for (m.index = 0; m.index < 3; m.index++) {
        m.code = codes[m.index];
        m.reason = m.index == 1 ? (char *)(uintptr_t) "" : why;
        int fd = memfd_of("some bytes", 10);
        peer_say_with(&p, PWC_MSG_ITEM, 0, &m, &fd, m.index == 1);
        close(fd);
    }
    unsigned told = 0;
    do {
        ck_assert_int_eq(peer_hear(&p, &f, PATIENCE_MS), 1);
        if (f.type != PWC_MSG_CHUNK_DONE)
            continue;
        Pwc__ChunkDone *done = (Pwc__ChunkDone *)msg_unpack(f.desc, f.body, f.body_len);
        bool good = done->first == 1;
        ck_assert_uint_eq(done->n, 1);
        ck_assert_int_eq(done->code, done->first == 2 ? PWC__CODE__CODE_BAD_INPUT : codes[done->first]);
        ck_assert_str_eq(done->reason, good ? "" : why);
        told |= 1u << done->first;
        msg_free(&done->base);
    } while (f.type != PWC_MSG_FINISHED);
    ck_assert_uint_eq(told, 7);
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

/* The next ChunkDone or Finished. */
static uint16_t hear_record_or_end(struct peer *p, Pwc__ChunkDone **ret)
{
    struct frame f;
    do
        ck_assert_int_eq(peer_hear(p, &f, PATIENCE_MS), 1);
    while (f.type != PWC_MSG_CHUNK_DONE && f.type != PWC_MSG_FINISHED);
    *ret = f.type == PWC_MSG_CHUNK_DONE ? (Pwc__ChunkDone *)msg_unpack(f.desc, f.body, f.body_len) : NULL;
    return f.type;
}

static void full_item(const struct peer *p, uint64_t job, uint64_t index)
{
    int fd = memfd_of("some bytes", 10);
    peer_item(p, job, index, &fd, 1);
    close(fd);
}

/* So does who submits a job that its planner does as a whole: it is one chunk, counted as done. */
START_TEST(a_record_of_a_job_that_is_done_whole)
{
    static const struct job_spec spec = {.op = "fault.bus", .items = 1, .roles = {"in"}, .records = true};
    struct peer p = peer_open(&v);
    Pwc__ChunkDone *done;
    peer_submit(&p, 1, &spec);
    uint64_t job = peer_accepted(&p);
    msg_free(peer_await(&p, PWC_MSG_WANT));
    full_item(&p, job, 0);
    ck_assert_uint_eq(hear_record_or_end(&p, &done), PWC_MSG_CHUNK_DONE);
    ck_assert_uint_eq(done->first, 0);
    ck_assert_uint_eq(done->n, 1);
    ck_assert_int_eq(done->code, PWC__CODE__CODE_OK);
    ck_assert_uint_eq(done->attempt, 1);
    msg_free(&done->base);
    ck_assert_uint_eq(hear_record_or_end(&p, &done), PWC_MSG_FINISHED);
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

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

/* Of the second item first: that it cannot be opened is no more in order than its descriptors would be, and
 * the daemon would wait for it again when it has the first. */
START_TEST(items_out_of_order)
{
    static const struct job_spec spec = {.op = "fault.bus", .items = 2, .batch = true, .roles = {"in"}};
    struct peer p = peer_open(&v);
    for (int fails = 0; fails < 2; fails++) {
        peer_submit(&p, 1, &spec);
        Pwc__Item m = PWC__ITEM__INIT;
        m.job = peer_accepted(&p);
        m.index = 1;
        m.code = fails ? PWC__CODE__CODE_DENIED : PWC__CODE__CODE_OK;
        msg_free(peer_await(&p, PWC_MSG_WANT));
        int fd = memfd_of("some bytes", 10);
        peer_say_with(&p, PWC_MSG_ITEM, 5, &m, &fd, fails ? 0 : 1);
        close(fd);
        ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_STATE);
        Pwc__Finished *f = peer_await(&p, PWC_MSG_FINISHED);
        ck_assert_int_eq(f->state, PWC__JOB_STATE__JOB_FAILED);
        ck_assert_int_eq(f->code, PWC__CODE__CODE_STATE);
        msg_free(&f->base);
    }
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

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

/* ---- those who follow a job ---- */

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

/* Whoever follows it has the owner's place at once, not only when the owner's connection is gone. */
START_TEST(a_follower_of_a_detached_job)
{
    static const struct job_spec spec = {
        .op = "fault.none", .params = {"n", "3000", "ms", "10"}, .records = true};
    struct peer p = peer_open(&v), q = peer_open(&v);
    peer_submit(&p, 1, &spec);
    uint64_t job = peer_accepted(&p);
    peer_ask(&q, PWC_MSG_ATTACH, job);
    msg_free(peer_await(&q, PWC_MSG_OK));
    peer_ask(&p, PWC_MSG_DETACH, job);
    msg_free(peer_await(&p, PWC_MSG_OK));
    Pwc__ChunkCredit credit = PWC__CHUNK_CREDIT__INIT;
    credit.job = job;
    credit.n = 3;
    peer_say(&q, PWC_MSG_CHUNK_CREDIT, 7, &credit);
    for (int i = 0; i < 3; i++)
        msg_free(peer_await(&q, PWC_MSG_CHUNK_DONE));
    peer_ask(&q, PWC_MSG_CANCEL, job);
    ck_assert_int_eq(peer_code(&q), PWC__CODE__CODE_CANCELLED);
    peer_free(&p);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

/* Until the daemon has seen so many connections and no more. */
static void await_clients(struct peer *p, uint32_t n)
{
    int64_t until = now_ms() + PATIENCE_MS;
    for (bool there = false; !there;) {
        peer_say(p, PWC_MSG_GET_STATUS, 1, NULL);
        Pwc__Status *m = peer_await(p, PWC_MSG_STATUS);
        there = m->clients == n;
        msg_free(&m->base);
        ck_assert(there || poll_again(until));
    }
}

static void nothing_is_told(struct peer *p)
{
    struct frame f;
    peer_say(p, PWC_MSG_DATA, 7, &(Pwc__Data)PWC__DATA__INIT);
    ck_assert_int_eq(peer_hear(p, &f, PATIENCE_MS), 1);
    ck_assert_msg(f.type == PWC_MSG_ERROR && f.tag == 7, "it is told %s", msg_name(f.type));
}

/* Whoever of its user detaches a job has the word of the daemon that it outlives all connections: the one
 * that sent the same request, one that looks on, one that has nothing to do with it. */
START_TEST(detached_by_others)
{
    static const char *const ways[] = {"submits", "attaches", "neither"};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct job_spec spec = {.op = "fault.none", .params = {"n", "3", "ms", "600000"}, .key = ways[i]};
        struct peer p = peer_open(&v), q = peer_open(&v), r = peer_open(&v);
        peer_submit(&p, 1, &spec);
        uint64_t job = peer_accepted(&p);
        spec.on_disconnect = PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH;
        if (i == 0)
            peer_submit(&q, 2, &spec);
        else if (i == 1)
            peer_ask(&q, PWC_MSG_ATTACH, job);
        peer_ask(&q, PWC_MSG_DETACH, job);
        msg_free(peer_await(&q, PWC_MSG_OK));
        if (i == 1)
            msg_free(peer_await(&q, PWC_MSG_OK)); /* the first was for the other */
        nothing_is_told(&q);
        peer_free(&q);
        peer_free(&p);
        await_clients(&r, 1);
        peer_submit(&r, 3, &spec); /* one that was cancelled would not be found */
        ck_assert_msg(peer_accepted(&r) == job, "it %s: the job is gone", ways[i]);
        peer_ask(&r, PWC_MSG_CANCEL, job);
        ck_assert_int_eq(peer_code(&r), PWC__CODE__CODE_CANCELLED);
        peer_ask(&r, PWC_MSG_DETACH, job); /* is as good of one that has ended */
        ck_assert(peer_answer_is(&r, PWC_MSG_OK));
        peer_free(&r);
    }
    victim_is_well(&v, 8192);
}
END_TEST

static Pwc__JobState state_of(struct peer *p, uint64_t job)
{
    peer_ask(p, PWC_MSG_LIST_JOBS, job);
    Pwc__JobInfo *m = peer_await(p, PWC_MSG_JOB_INFO);
    Pwc__JobState state = m->state;
    msg_free(&m->base);
    return state;
}

/* One whose client is gone already and that would be waited for a while longer. Who comes too late, on a busy
 * machine, tries again with more time. */
START_TEST(detached_while_it_lingers)
{
    Pwc__JobState end = PWC__JOB_STATE__JOB_CANCELLED;
    for (unsigned ms = 200; end != PWC__JOB_STATE__JOB_DONE; ms *= 2) {
        char takes[16];
        snprintf(takes, sizeof takes, "%u", 2 * ms);
        const struct job_spec spec = {.op = "fault.none",
                                      .params = {"n", "1", "ms", takes},
                                      .on_disconnect = PWC__ON_DISCONNECT__ON_DISCONNECT_LINGER,
                                      .linger_ms = ms};
        struct peer p = peer_open(&v), q = peer_open(&v);
        peer_submit(&p, 1, &spec);
        uint64_t job = peer_accepted(&p);
        peer_free(&p);
        await_clients(&q, 1);
        peer_ask(&q, PWC_MSG_DETACH, job);
        ck_assert(peer_answer_is(&q, PWC_MSG_OK));
        int64_t until = now_ms() + PATIENCE_MS;
        while ((end = state_of(&q, job)) < PWC__JOB_STATE__JOB_DONE)
            ck_assert(poll_again(until));
        ck_assert_msg(end == PWC__JOB_STATE__JOB_DONE || 8 * ms < PATIENCE_MS, "it was cancelled");
        peer_free(&q);
    }
    victim_is_well(&v, 8192);
}
END_TEST

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile requests");
    TCase *t = tcase_create("requests");
    tcase_set_timeout(t, 0);
    /* A daemon each: what one leaves in the heap is not the next one's. */
    tcase_add_checked_fixture(t, crowd_start, crowd_stop);
    tcase_add_test(t, the_same_request_again);
    tcase_add_test(t, many_requests_again);
    tcase_add_test(t, others_jobs_are_not_theirs);
    tcase_add_test(t, guessed_jobs);
    tcase_add_test(t, items_from_the_wrong_connection);
    tcase_add_test(t, records_of_items_that_cannot_be_opened);
    tcase_add_test(t, a_record_of_a_job_that_is_done_whole);
    tcase_add_test(t, items_out_of_order);
    tcase_add_test(t, detached_while_an_item_is_wanted_again);
    tcase_add_test(t, wanted_again_of_a_half_closed_client);
    tcase_add_test(t, watchers_of_a_job);
    tcase_add_test(t, a_follower_of_a_detached_job);
    tcase_add_test(t, detached_by_others);
    tcase_add_test(t, detached_while_it_lingers);
    suite_add_tcase(s, t);
    return run_suite(s);
}
