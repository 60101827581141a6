/* test_channel_send.c - what a channel sends: at once, queued when the socket is full, held back, refused. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/unit/chan_peer.h"
#include "tests/unit/runner.h"

static int send_pong(uint64_t tag)
{
    uint8_t payload[32] = {0};
    Pwc__Pong m = PWC__PONG__INIT;
    m.payload.data = payload;
    m.payload.len = sizeof payload;
    return chan_send(chan, PWC_MSG_PONG, tag, &m.base);
}

/* Frames of 54 bytes until the socket takes no more and `n` are queued. Returns how many were sent in all. */
static uint64_t send_until_queued(size_t bytes)
{
    uint64_t tag = 0;
    while (chan_queued(chan) < bytes)
        ck_assert_int_eq(send_pong(tag++), 0);
    return tag;
}

START_TEST(a_full_socket_queues_in_order)
{
    static uint8_t bytes[4 << 20];
    size_t len = 0, fds;
    uint64_t sent = send_until_queued(100000);
    while (chan_queued(chan) > 0) {
        len += hear(bytes + len, sizeof bytes - len, &fds);
        ck_assert_int_eq(chan_flush(chan), 0);
    }
    len += hear(bytes + len, sizeof bytes - len, &fds);
    size_t at = 0;
    for (uint64_t tag = 0; tag < sent; tag++) {
        struct frame_head h;
        ck_assert_uint_le(at + PWC_HEADER_BYTES, len);
        ck_assert_int_eq(frame_get(bytes + at, &h), 0);
        ck_assert_uint_eq(h.tag, tag);
        at += frame_bytes(&h);
    }
    ck_assert_uint_eq(at, len);
}
END_TEST

START_TEST(queued_descriptors_are_duplicates_and_arrive)
{
    static uint8_t bytes[4 << 20];
    Stage__Arena m = STAGE__ARENA__INIT;
    size_t fds, arrived = 0;
    send_until_queued(1000);
    for (int i = 0; i < 10; i++) {
        int fd;
        ck_assert_int_eq(memfd_sized("test", 1000, &fd), 0);
        ck_assert_int_eq(chan_send_full(chan, PWC_MSG_ARENA, 1, &m.base, NULL, 0, &fd, 1), 0);
        close(fd);
    }
    while (chan_queued(chan) > 0) {
        hear(bytes, sizeof bytes, &fds);
        arrived += fds;
        ck_assert_int_eq(chan_flush(chan), 0);
    }
    hear(bytes, sizeof bytes, &fds);
    ck_assert_uint_eq(arrived + fds, 10);
}
END_TEST

/* A frame that leaves in pieces: its descriptors go with the first one only. */
START_TEST(descriptors_go_once)
{
    static uint8_t bytes[4 << 20], tail[PWC_TAIL_MAX];
    Stage__Lease m = STAGE__LEASE__INIT;
    const int small = 4096, both[] = {peer, peer};
    size_t fds, arrived = 0, pieces = 0;
    ck_assert_int_eq(setsockopt(chan_fd(chan), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    send_until_queued(1000);
    ck_assert_int_eq(chan_send_full(chan, PWC_MSG_LEASE, 1, &m.base, tail, sizeof tail, both, 2), 0);
    while (chan_queued(chan) > 0) {
        hear(bytes, sizeof bytes, &fds);
        arrived += fds;
        pieces++;
        ck_assert_int_eq(chan_flush(chan), 0);
    }
    hear(bytes, sizeof bytes, &fds);
    ck_assert_uint_gt(pieces, 5);
    ck_assert_uint_eq(arrived + fds, 2);
}
END_TEST

/* Teardown counts: duplicates in a queue that never leaves are closed with the channel. */
START_TEST(queued_descriptors_are_closed_with_the_channel)
{
    Stage__Arena m = STAGE__ARENA__INIT;
    AUTO_FD int fd = -1;
    send_until_queued(1000);
    ck_assert_int_eq(memfd_sized("test", 1000, &fd), 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(chan_send_full(chan, PWC_MSG_ARENA, 1, &m.base, NULL, 0, &fd, 1), 0);
    ck_assert_int_eq(chan_peer_new_fds(), 2 + 1 + 10);
}
END_TEST

START_TEST(the_queue_has_a_limit)
{
    send_until_queued(1000);
    chan_set_queue_limit(chan, 5000);
    int r;
    while ((r = send_pong(0)) == 0)
        ck_assert_uint_le(chan_queued(chan), 5000);
    ck_assert_int_eq(r, -ENOBUFS);
    ck_assert_uint_gt(chan_queued(chan), 5000 - 60);
    size_t queued = chan_queued(chan);
    ck_assert_int_eq(send_pong(0), -ENOBUFS);
    ck_assert_uint_eq(chan_queued(chan), queued);
}
END_TEST

START_TEST(held_frames_leave_together)
{
    static uint8_t bytes[1 << 20];
    Stage__Arena m = STAGE__ARENA__INIT;
    AUTO_FD int fd = -1;
    size_t fds;
    ck_assert_int_eq(memfd_sized("test", 1000, &fd), 0);
    chan_hold(chan, true);
    for (uint64_t i = 0; i < 500; i++) {
        if (i % 100 == 50)
            ck_assert_int_eq(chan_send_full(chan, PWC_MSG_ARENA, i, &m.base, NULL, 0, &fd, 1), 0);
        else
            ck_assert_int_eq(send_pong(i), 0);
    }
    ck_assert_uint_eq(hear(bytes, sizeof bytes, &fds), 0);
    ck_assert_int_eq(chan_flush(chan), 0);
    size_t len = hear(bytes, sizeof bytes, &fds), at = 0;
    ck_assert_uint_eq(fds, 5);
    for (uint64_t i = 0; i < 500; i++) {
        struct frame_head h;
        ck_assert_int_eq(frame_get(bytes + at, &h), 0);
        ck_assert_uint_eq(h.tag, i);
        at += frame_bytes(&h);
    }
    ck_assert_uint_eq(at, len);
    chan_hold(chan, false);
    ck_assert_int_eq(send_pong(1), 0);
    ck_assert_uint_gt(hear(bytes, sizeof bytes, &fds), 0);
}
END_TEST

START_TEST(what_the_peer_would_refuse_is_not_sent)
{
    static const uint8_t tail[PWC_TAIL_MAX + 1];
    Pwc__Pong m = PWC__PONG__INIT;
    uint8_t bytes[128];
    size_t fds;
    m.payload.data = (uint8_t *)(uintptr_t)tail;
    m.payload.len = 100;
    ck_assert_int_eq(chan_send(chan, PWC_MSG_PONG, 0, &m.base), -EMSGSIZE);
    m.payload.len = 10;
    ck_assert_int_eq(chan_send_full(chan, PWC_MSG_PONG, 0, &m.base, tail, 1, NULL, 0), -EMSGSIZE);
    ck_assert_int_eq(chan_send_full(chan, PWC_MSG_PONG, 0, &m.base, NULL, 0, &peer, 1), -EMSGSIZE);
    ck_assert_int_eq(chan_send_full(chan, PWC_MSG_REPORT, 0, NULL, tail, sizeof tail, NULL, 0), -EMSGSIZE);
    ck_assert_uint_eq(hear(bytes, sizeof bytes, &fds), 0);
    ck_assert_int_eq(chan_send(chan, PWC_MSG_PONG, 0, &m.base), 0);
    ck_assert_uint_eq(hear(bytes, sizeof bytes, &fds), PWC_HEADER_BYTES + 12);
}
END_TEST

START_TEST(a_peer_that_is_gone)
{
    close(TAKE_FD(peer));
    ck_assert_int_eq(chan_fill(chan), 0);
    ck_assert_int_eq(send_pong(0), -EPIPE);
}
END_TEST

/* Two channels, back to back, with everything a frame can carry. */
START_TEST(channel_to_channel)
{
    struct chan *other = chan_new(TAKE_FD(peer), MSG_FROM_STAGE, NULL);
    struct frame f;
    uint8_t tail[3000];
    memset(tail, 7, sizeof tail);
    Stage__Catalogue m = STAGE__CATALOGUE__INIT;
    m.bytes = 123456789;
    AUTO_FD int fd = -1;
    ck_assert_int_eq(memfd_sealed_copy("test", "hello", 5, &fd), 0);
    ck_assert_int_eq(chan_send_full(chan, PWC_MSG_CATALOGUE, 77, &m.base, NULL, 0, &fd, 1), 0);
    Stage__Report report = STAGE__REPORT__INIT;
    report.done = 99;
    ck_assert_int_eq(chan_send_full(chan, PWC_MSG_REPORT, 78, &report.base, tail, sizeof tail, NULL, 0), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_gt(chan_fill(other), 0);
        ck_assert_int_eq(chan_next(other, &f), 1);
        ProtobufCMessage *got = msg_unpack(f.desc, f.body, f.body_len);
        ck_assert_ptr_nonnull(got);
        if (i == 0) {
            ck_assert_uint_eq(((Stage__Catalogue *)got)->bytes, 123456789);
            ck_assert_uint_eq(f.nfds, 1);
            ck_assert(memfd_is_sealed(f.fds[0], true));
        } else {
            ck_assert_uint_eq(((Stage__Report *)got)->done, 99);
            ck_assert_uint_eq(f.tail_len, sizeof tail);
            ck_assert_mem_eq(f.tail, tail, sizeof tail);
        }
        msg_free(got);
        frame_close(other, &f);
    }
    chan_free(other);
}
END_TEST

START_TEST(wait_knows_readable_timeout_and_end)
{
    uint8_t bytes[32];
    ck_assert_int_eq(chan_wait(chan, 0), 0);
    ck_assert_int_eq(chan_wait(chan, 20), 0);
    say(bytes, make(bytes, PWC_MSG_PING, 0, 0, 0, 0), NULL, 0);
    ck_assert_int_eq(chan_wait(chan, -1), 1);
    ck_assert_int_gt(chan_fill(chan), 0);
    close(TAKE_FD(peer));
    ck_assert_int_eq(chan_wait(chan, -1), 1);
}
END_TEST

/* The peer makes room again and again and never answers: the time-out still counts from the call. */
START_TEST(wait_sends_meanwhile)
{
    static uint8_t bytes[4 << 20];
    size_t fds;
    send_until_queued(50000);
    hear(bytes, sizeof bytes, &fds);
    size_t queued = chan_queued(chan);
    ck_assert_int_eq(chan_wait(chan, 50), 0);
    ck_assert_uint_lt(chan_queued(chan), queued);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("channel, sending");
    TCase *t = tcase_create("sending");
    tcase_add_checked_fixture(t, chan_peer_setup, chan_peer_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_full_socket_queues_in_order);
    tcase_add_test(t, queued_descriptors_are_duplicates_and_arrive);
    tcase_add_test(t, descriptors_go_once);
    tcase_add_test(t, queued_descriptors_are_closed_with_the_channel);
    tcase_add_test(t, the_queue_has_a_limit);
    tcase_add_test(t, held_frames_leave_together);
    tcase_add_test(t, what_the_peer_would_refuse_is_not_sent);
    tcase_add_test(t, a_peer_that_is_gone);
    tcase_add_test(t, channel_to_channel);
    tcase_add_test(t, wait_knows_readable_timeout_and_end);
    tcase_add_test(t, wait_sends_meanwhile);
    suite_add_tcase(s, t);
    return run_suite(s);
}
