/*
 * test_records.c - batches of which nearly all items fail, by the client's own word, so that there is much to
 * tell of them: records that wait for credit, or for a client that reads slowly, and items that are wanted
 * again.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/hostile/crowd.h"
#include "tests/unit/runner.h"

static const struct job_spec fails = {.op = "fault.bus",
                                      .params = {"ms", "600000"},
                                      .batch = true,
                                      .roles = {"in"},
                                      .records = true,
                                      .max_failures = UINT64_MAX};

/* No two neighbours of one code: they cannot be told together. */
static void cannot_open(const struct peer *p, uint64_t job, uint64_t index)
{
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = job;
    m.index = index;
    m.code = index % 2 == 0 ? PWC__CODE__CODE_BAD_INPUT : PWC__CODE__CODE_DENIED;
    peer_say(p, PWC_MSG_ITEM, 0, &m);
}

struct heard {
    uint64_t wanted, items_done, records; /* items asked for, ended, told with ChunkDone */
    Pwc__Finished *end;                   /* NULL: it goes on */
};

/* The next frame. False: the connection was ended. */
static bool hear(struct peer *p, struct heard *h, Pwc__Want *ret_want)
{
    struct frame f;
    *ret_want = (Pwc__Want)PWC__WANT__INIT;
    int r = peer_hear(p, &f, PATIENCE_MS);
    ck_assert_msg(r >= 0, "nothing comes after %lu records", (unsigned long)h->records);
    if (r == 0)
        return false;
    ProtobufCMessage *m = msg_unpack(f.desc, f.body, f.body_len);
    ck_assert_ptr_nonnull(m);
    if (f.type == PWC_MSG_WANT) {
        ret_want->first = ((Pwc__Want *)m)->first;
        ret_want->n = ((Pwc__Want *)m)->n;
        h->wanted += ret_want->n;
    }
    h->items_done += f.type == PWC_MSG_ITEM_DONE;
    h->records += f.type == PWC_MSG_CHUNK_DONE;
    if (f.type == PWC_MSG_FINISHED)
        h->end = (Pwc__Finished *)m;
    else
        msg_free(m);
    return true;
}

/* Of each that is wanted below `most` it says that it cannot be opened, until so many are done, or the job.
 */
static void fail_items(struct peer *p, uint64_t job, uint64_t most, struct heard *h)
{
    Pwc__Want w;
    while (h->items_done < most && h->end == NULL) {
        ck_assert_msg(hear(p, h, &w), "the connection was ended behind %lu items",
                      (unsigned long)h->items_done);
        for (uint64_t i = w.first; i < w.first + w.n && i < most; i++)
            cannot_open(p, job, i);
    }
}

static uint64_t begin(struct peer *p, uint64_t items)
{
    struct job_spec spec = fails;
    spec.items = items;
    peer_submit(p, 1, &spec);
    uint64_t job = peer_accepted(p);
    ck_assert_uint_ne(job, 0);
    return job;
}

/* ---- records ---- */

#define MANY 30000u /* their records are several times what may wait for a client */

/* Who gives credit late, and for all of them, reads what it gets: it is told of each. */
START_TEST(credit_for_all_of_them_at_once)
{
    struct peer p = peer_open(&v);
    uint64_t job = begin(&p, MANY + 1);
    struct heard h = {0};
    fail_items(&p, job, MANY, &h);
    ck_assert_uint_eq(h.records, 0);
    Pwc__ChunkCredit credit = PWC__CHUNK_CREDIT__INIT;
    credit.job = job;
    credit.n = 65536;
    peer_say(&p, PWC_MSG_CHUNK_CREDIT, 0, &credit);
    Pwc__Want w;
    while (h.records < MANY)
        ck_assert_msg(hear(&p, &h, &w), "the connection was ended behind %lu records",
                      (unsigned long)h.records);
    peer_free(&p);
    victim_is_well(&v, 16 * 1024);
}
END_TEST

/* What waits at the end is told as far as there is room: the end is told in any case. */
START_TEST(no_credit_at_all)
{
    struct peer p = peer_open(&v);
    uint64_t job = begin(&p, MANY);
    struct heard h = {0};
    Pwc__Want w;
    fail_items(&p, job, MANY, &h);
    while (h.end == NULL)
        ck_assert_msg(hear(&p, &h, &w), "the connection was ended, and its job is not told of");
    ck_assert_int_eq(h.end->state, PWC__JOB_STATE__JOB_PARTIAL);
    ck_assert_uint_eq(h.end->counts->failed, MANY);
    ck_assert_uint_gt(h.records, 1000);
    printf("%lu of %u records told without credit\n", (unsigned long)h.records, MANY);
    msg_free(&h.end->base);
    peer_free(&p);
    victim_is_well(&v, 16 * 1024);
}
END_TEST

/* As many failures as it likes are only counted; of records that it does not take so many are kept. */
START_TEST(more_than_are_kept)
{
    struct peer p = peer_open(&v);
    uint64_t job = begin(&p, PWC_ITEMS_MAX);
    struct heard h = {0};
    fail_items(&p, job, PWC_FAILURES_MAX + PWC_WANT_WINDOW, &h);
    Pwc__Want w;
    while (h.end == NULL)
        ck_assert(hear(&p, &h, &w));
    ck_assert_int_eq(h.end->state, PWC__JOB_STATE__JOB_FAILED);
    ck_assert_msg(strstr(h.end->reason, "records") != NULL, "%s", h.end->reason);
    msg_free(&h.end->base);
    peer_free(&p);
    victim_is_well(&v, 24 * 1024);
}
END_TEST

/* ---- tried again ---- */

static void answered(struct peer *p, struct heard *h, uint64_t *ret_first)
{
    struct frame f;
    peer_ask(p, PWC_MSG_PING, 0);
    do {
        ck_assert_int_eq(peer_hear(p, &f, PATIENCE_MS), 1);
        if (f.type != PWC_MSG_WANT)
            continue;
        Pwc__Want *w = (Pwc__Want *)msg_unpack(f.desc, f.body, f.body_len);
        *ret_first = h->wanted++ == 0 ? w->first : *ret_first;
        ck_assert_uint_eq(w->n, 1);
        msg_free(&w->base);
    } while (f.type != PWC_MSG_PONG);
}

/* However many are tried again at once, no more are wanted than there is room for in the window: each may
 * come with descriptors, and their client has to hold what it opens. */
START_TEST(many_wanted_again)
{
    enum { GIVEN_UP = 500 };
    struct peer p = peer_open(&v);
    uint64_t job = begin(&p, GIVEN_UP + 1), first = 0;
    struct heard h = {0}, again = {0};
    fail_items(&p, job, GIVEN_UP, &h);
    peer_ask(&p, PWC_MSG_RETRY_CHUNKS, job);
    answered(&p, &again, &first);
    ck_assert_uint_ge(again.wanted, 1);
    ck_assert_uint_lt(again.wanted, PWC_WANT_WINDOW); /* the last item is wanted, too */
    ck_assert_uint_eq(first, 0);
    for (uint64_t i = 0; i < again.wanted; i++)
        cannot_open(&p, job, i);
    fail_items(&p, job, GIVEN_UP, &again);
    peer_ask(&p, PWC_MSG_CANCEL, job);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_CANCELLED);
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

static uint64_t in_quarantine(struct peer *p, uint64_t job)
{
    peer_ask(p, PWC_MSG_LIST_QUARANTINE, job);
    Pwc__End *end = peer_await(p, PWC_MSG_END);
    uint64_t n = end->count;
    msg_free(&end->base);
    return n;
}

/* Those that are not wanted yet are given up like those that are when their client says no more. */
START_TEST(half_closed_while_many_wait_to_be_wanted_again)
{
    enum { GIVEN_UP = 500 };
    struct peer p = peer_open(&v), q = peer_open(&v);
    uint64_t job = begin(&p, GIVEN_UP + 1);
    struct heard h = {0};
    int fd = memfd_of("some bytes", 10);
    fail_items(&p, job, GIVEN_UP, &h);
    peer_item(&p, job, GIVEN_UP, &fd, 1);
    close(fd);
    ck_assert_uint_eq(in_quarantine(&q, job), GIVEN_UP);
    peer_ask(&p, PWC_MSG_RETRY_CHUNKS, job);
    msg_free(peer_await(&p, PWC_MSG_OK));
    ck_assert_uint_eq(in_quarantine(&q, job), 0);
    ck_assert_int_eq(shutdown(p.fd, SHUT_WR), 0);
    int64_t until = now_ms() + PATIENCE_MS;
    while (in_quarantine(&q, job) != GIVEN_UP)
        ck_assert(poll_again(until));
    peer_ask(&q, PWC_MSG_CANCEL, job);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_CANCELLED);
    peer_free(&p);
    peer_free(&q);
    victim_is_well(&v, 8192);
}
END_TEST

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile records");
    TCase *t = tcase_create("records");
    tcase_set_timeout(t, 0);
    /* A daemon each: what one leaves in the heap is not the next one's. */
    tcase_add_checked_fixture(t, crowd_start, crowd_stop);
    tcase_add_test(t, credit_for_all_of_them_at_once);
    tcase_add_test(t, no_credit_at_all);
    tcase_add_test(t, more_than_are_kept);
    tcase_add_test(t, many_wanted_again);
    tcase_add_test(t, half_closed_while_many_wait_to_be_wanted_again);
    suite_add_tcase(s, t);
    return run_suite(s);
}
