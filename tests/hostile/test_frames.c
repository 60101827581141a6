/*
 * test_frames.c - clients that break the rules of frames and of the conversation, against a real pwcd. After
 * each of them an ordinary client is served and the daemon has grown by nothing.
 *
 * PWC_SEED chooses the random conversations; the seed in use is printed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/hostile/fill.h"
#include "tests/hostile/peer.h"
#include "tests/unit/runner.h"

#define TALKS     (400 / SLOWER)
#define GROWS_KIB 8192u

static struct victim v;
static uint64_t seed;

static void start(void)
{
    victim_start(&v, NULL);
}
static void stop(void)
{
    victim_stop(&v);
}
static void check_well(void)
{
    victim_is_well(&v, GROWS_KIB);
}

static struct source source_of(uint64_t *state, uint64_t what)
{
    *state = seed ^ what;
    return (struct source){seeded_next, state, {1, 2, 3, 0, 0, 0, 0, 0}};
}

/* What a client may send, filled at random and right in form. */
static size_t client_frame(const struct msg_desc *d, struct source *s, uint8_t *to)
{
    uint8_t body[PWC_BODY_MAX];
    size_t len = fill_body(d->proto, s, body, d->body_max);
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + len), d->type, 0, 7, (uint32_t)len};
    frame_put(to, &h);
    memcpy(to + PWC_HEADER_BYTES, body, len);
    return PWC_HEADER_BYTES + len;
}

static size_t hello_frame(uint8_t *to)
{
    Pwc__Hello m = PWC__HELLO__INIT;
    m.version_min = m.version_max = 1;
    return frame_of(to, PWC_MSG_HELLO, 0, &m, 0);
}

/* ---- one message, cut off or damaged ---- */

START_TEST(each_message_cut_at_each_byte)
{
    uint64_t state;
    struct source s = source_of(&state, 1);
    struct bytes b;
    unsigned cuts = 0;
    for (size_t i = 0; i < msg_table_len; i++) {
        const struct msg_desc *d = &msg_table[i];
        if (d->sender != MSG_FROM_CLIENT)
            continue;
        size_t before = d->type == PWC_MSG_HELLO ? 0 : hello_frame(b.at);
        size_t len = before + client_frame(d, &s, b.at + before), step = len > 300 * SLOWER ? len / 100 : 1;
        for (size_t cut = 0; cut < len; cut += step, cuts++) {
            struct peer p = peer_new(&v);
            peer_send(&p, b.at, cut, NULL, 0);
            if (cut % 2 == 0)
                shutdown(p.fd, SHUT_WR);
            ck_assert_msg(cut % 2 != 0 || peer_is_closed(&p, PATIENCE_MS),
                          "%s cut at %zu keeps the connection", d->name, cut);
            peer_free(&p);
        }
    }
    printf("%u cuts\n", cuts);
    check_well();
}
END_TEST

START_TEST(each_header_with_each_bit_turned)
{
    uint8_t good[64];
    const Pwc__Ping ping = PWC__PING__INIT;
    size_t len = frame_of(good, PWC_MSG_PING, 1, &ping, 0);
    for (unsigned bit = 0; bit < PWC_HEADER_BYTES * 8; bit++) {
        uint8_t bytes[64];
        struct peer p = peer_open(&v);
        memcpy(bytes, good, len);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_send(&p, bytes, len, NULL, 0);
        shutdown(p.fd, SHUT_WR);
        ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "bit %u keeps the connection", bit);
        peer_free(&p);
    }
    check_well();
}
END_TEST

static const struct {
    const char *what;
    struct frame_head head;
} oversized[] = {
    {"a ping of 65 bytes", {16 + 65, PWC_MSG_PING, 0, 1, 65}},
    {"a body of 16 KiB and one", {16 + PWC_BODY_MAX + 1, PWC_MSG_SUBMIT, 0, 1, PWC_BODY_MAX + 1}},
    {"a tail where none may be", {16 + 2, PWC_MSG_PING, 0, 1, 1}},
    {"a tail of 64 KiB and one", {16 + PWC_TAIL_MAX + 1, PWC_MSG_DATA, 0, 1, 0}},
    {"a length below the header's", {15, PWC_MSG_PING, 0, 1, 0}},
    {"a length of 4 GiB", {UINT32_MAX, PWC_MSG_PING, 0, 1, 0}},
    {"a body longer than its frame", {16, PWC_MSG_PING, 0, 1, 1}},
    {"a body of 4 GiB", {16, PWC_MSG_PING, 0, 1, UINT32_MAX}},
    {"descriptors that do not come", {16, PWC_MSG_ITEM, 1, 1, 0}},
    {"65535 descriptors", {16, PWC_MSG_ITEM, UINT16_MAX, 1, 0}},
    {"what only daemons say", {16, PWC_MSG_FINISHED, 0, 1, 0}},
    {"what only stages say", {16, PWC_MSG_REPORT, 0, 1, 0}},
    {"what only supervisors say", {16, PWC_MSG_LEASE, 0, 1, 0}},
    {"what only nurseries say", {16, PWC_MSG_SPAWNED, 0, 1, 0}},
};

START_TEST(what_is_too_large_or_not_theirs_ends_the_connection)
{
    static uint8_t bytes[PWC_FRAME_MAX + 64];
    struct peer p = peer_open(&v);
    frame_put(bytes, &oversized[_i].head);
    peer_send(&p, bytes, sizeof bytes, NULL, 0);
    struct frame f;
    int r = peer_hear(&p, &f, PATIENCE_MS);
    ck_assert_msg(r == 0 || f.type == PWC_MSG_ERROR, "%s was answered by %s", oversized[_i].what,
                  msg_name(f.type));
    ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "%s keeps the connection", oversized[_i].what);
    peer_free(&p);
    check_well();
}
END_TEST

/* ---- order and repetition ---- */

START_TEST(before_and_again)
{
    uint8_t bytes[PWC_FRAME_MAX];
    for (size_t i = 0; i < msg_table_len; i++) {
        const struct msg_desc *d = &msg_table[i];
        if (d->sender != MSG_FROM_CLIENT || d->type == PWC_MSG_HELLO)
            continue;
        struct peer p = peer_new(&v);
        const struct frame_head h = {16, d->type, 0, 1, 0};
        frame_put(bytes, &h);
        peer_send(&p, bytes, PWC_HEADER_BYTES, NULL, 0);
        ck_assert_msg(peer_code(&p) == PWC__CODE__CODE_STATE, "%s before hello", d->name);
        ck_assert(peer_is_closed(&p, PATIENCE_MS));
        peer_free(&p);
    }
    struct peer p = peer_new(&v);
    const struct frame_head unknown = {16, 200, 0, 1, 0};
    frame_put(bytes, &unknown);
    peer_send(&p, bytes, PWC_HEADER_BYTES, NULL, 0);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_STATE);
    ck_assert(peer_is_closed(&p, PATIENCE_MS));
    peer_free(&p);
    p = peer_open(&v);
    peer_send(&p, bytes, hello_frame(bytes), NULL, 0);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_STATE);
    ck_assert(peer_is_closed(&p, PATIENCE_MS));
    peer_free(&p);
    check_well();
}
END_TEST

/* Its sender encodes something else than it thinks: an Item that was lost would be waited for. */
START_TEST(a_body_that_does_not_parse_ends_the_connection)
{
    struct peer p = peer_open(&v);
    uint8_t bytes[PWC_HEADER_BYTES + 1];
    const struct frame_head h = {16 + 1, PWC_MSG_PING, 0, 77, 1};
    struct frame f;
    frame_put(bytes, &h);
    bytes[PWC_HEADER_BYTES] = 0x0a; /* without its length */
    peer_send(&p, bytes, sizeof bytes, NULL, 0);
    ck_assert_int_eq(peer_hear(&p, &f, PATIENCE_MS), 1);
    ck_assert_uint_eq(f.tag, 77);
    Pwc__Error *e = (Pwc__Error *)msg_unpack(f.desc, f.body, f.body_len);
    ck_assert_ptr_nonnull(e);
    ck_assert_int_eq(e->code, PWC__CODE__CODE_MALFORMED);
    msg_free(&e->base);
    ck_assert(peer_is_closed(&p, PATIENCE_MS));
    peer_free(&p);
    check_well();
}
END_TEST

START_TEST(a_pong_has_the_payload_of_its_ping)
{
    struct peer p = peer_open(&v);
    uint8_t bytes[62];
    memset(bytes, 0x99, sizeof bytes);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        Pwc__Ping ping = PWC__PING__INIT;
        ping.payload = (ProtobufCBinaryData){len, bytes};
        peer_say(&p, PWC_MSG_PING, len, &ping);
        Pwc__Pong *pong = peer_await(&p, PWC_MSG_PONG);
        ck_assert_uint_eq(pong->payload.len, len);
        ck_assert(len == 0 || memcmp(pong->payload.data, bytes, len) == 0);
        msg_free(&pong->base);
    }
    peer_free(&p);
    check_well();
}
END_TEST

START_TEST(unknown_and_reserved_types_are_answered)
{
    struct peer p = peer_open(&v);
    uint8_t bytes[PWC_HEADER_BYTES];
    for (unsigned type = 0; type < 1024; type++) {
        if (msg_find((uint16_t)type) != NULL)
            continue;
        const struct frame_head h = {16, (uint16_t)type, 0, type, 0};
        frame_put(bytes, &h);
        ck_assert(peer_send(&p, bytes, sizeof bytes, NULL, 0));
        ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_UNKNOWN_MESSAGE);
    }
    static uint8_t data[PWC_HEADER_BYTES + PWC_TAIL_MAX];
    const struct frame_head h = {16 + PWC_TAIL_MAX, PWC_MSG_DATA, 0, 1, 0};
    frame_put(data, &h);
    ck_assert(peer_send(&p, data, sizeof data, NULL, 0));
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_UNSUPPORTED);
    Pwc__Credit credit = PWC__CREDIT__INIT;
    peer_say(&p, PWC_MSG_CREDIT, 1, &credit);
    ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_UNSUPPORTED);
    peer_free(&p);
    check_well();
}
END_TEST

/* Every request two hundred times in one write, the answers read afterwards. */
START_TEST(each_message_many_times)
{
    static uint8_t bytes[200 * 4096];
    uint64_t state;
    struct source s = source_of(&state, 2);
    for (size_t i = 0; i < msg_table_len; i++) {
        const struct msg_desc *d = &msg_table[i];
        if (d->sender != MSG_FROM_CLIENT || d->type == PWC_MSG_HELLO)
            continue;
        uint8_t one[PWC_FRAME_MAX];
        size_t len, all = 0;
        do
            len = client_frame(d, &s, one);
        while (len > 4096);
        for (int n = 0; n < 200; n++, all += len)
            memcpy(bytes + all, one, len);
        struct peer p = peer_open(&v);
        peer_send(&p, bytes, all, NULL, 0);
        shutdown(p.fd, SHUT_WR);
        ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "%s: 200 times", d->name);
        peer_free(&p);
    }
    check_well();
}
END_TEST

/* ---- conversations at random ---- */

static void say_something(struct peer *p, struct source *s, const int *fds)
{
    uint8_t bytes[PWC_FRAME_MAX];
    const struct msg_desc *d;
    do
        d = &msg_table[source_below(s, (uint32_t)msg_table_len)];
    while (d->sender != MSG_FROM_CLIENT || (d->type == PWC_MSG_HELLO && source_below(s, 50) != 0));
    uint8_t body[PWC_BODY_MAX];
    size_t len = fill_body(d->proto, s, body, d->body_max);
    if (source_below(s, 20) == 0)
        len = spoil_body(s, body, len, d->body_max);
    unsigned nfds = source_below(s, 4) == 0 ? source_below(s, d->fds_max + 1u) : d->type == PWC_MSG_ITEM;
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + len), d->type, (uint16_t)nfds,
                                 source_number(s), (uint32_t)len};
    frame_put(bytes, &h);
    memcpy(bytes + PWC_HEADER_BYTES, body, len);
    (void)peer_send(p, bytes, PWC_HEADER_BYTES + len, fds, nfds);
}

static void random_talk(uint64_t which, const int *fds)
{
    uint64_t state;
    struct source s = source_of(&state, which << 8);
    struct peer p = peer_open(&v);
    for (uint32_t n = source_below(&s, 60); n > 0; n--) {
        if (source_below(&s, 8) == 0) {
            const struct job_spec sum = {
                .op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}};
            peer_submit(&p, source_number(&s), &sum);
        }
        say_something(&p, &s, fds);
        struct frame f;
        while (source_below(&s, 2) == 0 && peer_hear(&p, &f, 0) > 0)
            s.like[f.tag & 7] = f.tag;
    }
    peer_free(&p);
}

START_TEST(random_conversations)
{
    int fds[PWC_ROLES_MAX], fd = memfd_of("some bytes", 10);
    for (unsigned i = 0; i < PWC_ROLES_MAX; i++)
        fds[i] = fd;
    for (uint64_t i = 0; i < TALKS; i++)
        random_talk(i + 1, fds);
    close(fd);
    check_well();
}
END_TEST

/* ---- slow, half-closed, silent ---- */

#define SLOW_PEERS 50

START_TEST(byte_by_byte)
{
    static const struct job_spec noop = {.op = "noop", .params = {"n", "3"}};
    struct peer p[SLOW_PEERS];
    uint8_t bytes[512], after[16] = {0};
    Pwc__Submit m = PWC__SUBMIT__INIT;
    Pwc__Param n = PWC__PARAM__INIT, *list[] = {&n};
    Pwc__Value three = PWC__VALUE__INIT;
    m.op = (char *)(uintptr_t)noop.op;
    three.kind_case = PWC__VALUE__KIND_U64;
    three.u64 = 3;
    n.name = (char *)(uintptr_t) "n";
    n.value = &three;
    m.params = list;
    m.n_params = 1;
    size_t len = hello_frame(bytes);
    len += frame_of(bytes + len, PWC_MSG_SUBMIT, 1, &m, 0);
    memcpy(bytes + len, after, sizeof after); /* and the beginning of nothing */
    len += 3;
    for (unsigned i = 0; i < SLOW_PEERS; i++)
        p[i] = peer_new(&v);
    for (size_t at = 0; at < len; at++)
        for (unsigned i = 0; i < SLOW_PEERS; i++)
            ck_assert(peer_send(&p[i], bytes + at, 1, NULL, 0));
    for (unsigned i = 0; i < SLOW_PEERS; i++) {
        Pwc__Finished *f = peer_await(&p[i], PWC_MSG_FINISHED);
        ck_assert_int_eq(f->state, PWC__JOB_STATE__JOB_DONE);
        msg_free(&f->base);
    }
    for (unsigned i = 0; i < SLOW_PEERS; i++)
        peer_free(&p[i]);
    check_well();
}
END_TEST

/* Descriptors that come with any byte but the first (the kernel may hand them over with it all the same), or
 * twice. */
START_TEST(descriptors_at_the_wrong_byte)
{
    uint8_t bytes[128];
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = 999;
    int fd = memfd_of("x", 1), fds[PWC_FDS_MAX];
    for (unsigned i = 0; i < PWC_FDS_MAX; i++)
        fds[i] = fd;
    size_t len = frame_of(bytes, PWC_MSG_ITEM, 1, &m, 1);
    for (size_t at = 1; at < len; at++) {
        struct peer p = peer_open(&v);
        peer_send(&p, bytes, at, NULL, 0);
        peer_send(&p, bytes + at, len - at, fds, 1);
        peer_free(&p);
        p = peer_open(&v);
        peer_send(&p, bytes, at, fds, 1);
        peer_send(&p, bytes + at, len - at, fds, PWC_FDS_MAX);
        ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "twice at byte %zu", at);
        peer_free(&p);
    }
    close(fd);
    check_well();
}
END_TEST

START_TEST(half_closed_and_served)
{
    static const struct job_spec noop = {.op = "noop", .params = {"n", "1000"}};
    struct peer p = peer_open(&v);
    for (uint64_t i = 0; i < 20; i++)
        peer_submit(&p, i, &noop);
    peer_ask(&p, PWC_MSG_LIST_OPS, 0);
    peer_ask(&p, PWC_MSG_LIST_JOBS, 0);
    shutdown(p.fd, SHUT_WR);
    unsigned finished = 0, ends = 0;
    struct frame f;
    int r;
    while ((r = peer_hear(&p, &f, PATIENCE_MS)) > 0) {
        finished += f.type == PWC_MSG_FINISHED;
        ends += f.type == PWC_MSG_END;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(finished, 20);
    ck_assert_uint_eq(ends, 2);
    peer_free(&p);
    check_well();
}
END_TEST

/* Half-closed peers that ask for long lists and do not read them, then vanish. */
START_TEST(half_closed_and_deaf)
{
    struct peer p[SLOW_PEERS];
    for (unsigned i = 0; i < SLOW_PEERS; i++) {
        int small = 4096;
        p[i] = peer_open(&v);
        setsockopt(p[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        for (int n = 0; n < 10; n++)
            peer_ask(&p[i], PWC_MSG_LIST_OPS, 0);
        shutdown(p[i].fd, i % 2 == 0 ? SHUT_WR : SHUT_RDWR);
    }
    victim_serves(&v);
    for (unsigned i = 0; i < SLOW_PEERS; i++)
        peer_free(&p[i]);
    check_well();
}
END_TEST

START_TEST(who_never_greets_is_sent_away)
{
    struct peer silent = peer_new(&v), slow = peer_new(&v);
    uint8_t bytes[1024];
    char name[900];
    Pwc__Hello m = PWC__HELLO__INIT;
    m.client = memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    frame_of(bytes, PWC_MSG_HELLO, 0, &m, 0);
    int64_t began = now_ms();
    size_t said = 0;
    /* A byte now and then does not buy time. */
    while (!peer_is_closed(&slow, 300) && now_ms() - began < PATIENCE_MS)
        peer_send(&slow, bytes + said++, 1, NULL, 0);
    ck_assert_msg(now_ms() - began < PATIENCE_MS, "a byte now and then keeps the connection for %ld ms",
                  (long)(now_ms() - began));
    ck_assert(peer_is_closed(&silent, PATIENCE_MS));
    peer_free(&silent);
    peer_free(&slow);
    check_well();
}
END_TEST

int main(void)
{
    const char *given = getenv("PWC_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)now_ms();
    printf("seed %llu\n", (unsigned long long)seed);
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile frames");
    TCase *t = tcase_create("frames");
    tcase_set_timeout(t, 0); /* each wait has a deadline */
    tcase_add_unchecked_fixture(t, start, stop);
    tcase_add_test(t, each_message_cut_at_each_byte);
    tcase_add_test(t, each_header_with_each_bit_turned);
    tcase_add_loop_test(t, what_is_too_large_or_not_theirs_ends_the_connection, 0, ARRAY_LEN(oversized));
    tcase_add_test(t, before_and_again);
    tcase_add_test(t, a_body_that_does_not_parse_ends_the_connection);
    tcase_add_test(t, a_pong_has_the_payload_of_its_ping);
    tcase_add_test(t, unknown_and_reserved_types_are_answered);
    tcase_add_test(t, each_message_many_times);
    tcase_add_test(t, random_conversations);
    tcase_add_test(t, byte_by_byte);
    tcase_add_test(t, descriptors_at_the_wrong_byte);
    tcase_add_test(t, half_closed_and_served);
    tcase_add_test(t, half_closed_and_deaf);
    tcase_add_test(t, who_never_greets_is_sent_away);
    suite_add_tcase(s, t);
    return run_suite(s);
}
