/* test_channel.c - what a channel takes in: frames with descriptors, whole, in pieces, in excess and
 * malformed. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/unit/chan_peer.h"
#include "tests/unit/runner.h"

static void expect_frame(uint16_t type, uint64_t tag, size_t body, size_t tail, struct frame *ret)
{
    ck_assert_int_eq(chan_next(chan, ret), 1);
    ck_assert_uint_eq(ret->type, type);
    ck_assert_uint_eq(ret->tag, tag);
    ck_assert_uint_eq(ret->body_len, body);
    ck_assert_uint_eq(ret->tail_len, tail);
    for (size_t i = 0; i < body; i++)
        ck_assert_uint_eq(ret->body[i], (uint8_t)(tag + i));
    for (size_t i = 0; i < tail; i++)
        ck_assert_uint_eq(ret->tail[i], (uint8_t)(tag + body + i));
    for (unsigned i = ret->nfds; i < PWC_FDS_MAX; i++)
        ck_assert_int_eq(ret->fds[i], -1);
}

static void expect_broken(const char *why)
{
    struct frame f;
    ck_assert_int_eq(chan_next(chan, &f), -EPROTO);
    ck_assert_str_eq(chan_error(chan), why);
}

static void fill(void)
{
    ck_assert_int_gt(chan_fill(chan), 0);
}

/* ---- receiving ---- */

START_TEST(one_byte_at_a_time)
{
    uint8_t bytes[512];
    struct frame f;
    size_t len = make(bytes, PWC_MSG_LEASE, 2, 42, 100, 77);
    for (size_t i = 0; i < len; i++) {
        ck_assert_int_eq(chan_next(chan, &f), 0);
        say_with_files(bytes + i, 1, i == 0 ? 2 : 0, 0);
        ck_assert_int_eq(chan_fill(chan), 1);
        ck_assert(!chan_at_frame_start(chan));
    }
    expect_frame(PWC_MSG_LEASE, 42, 100, 77, &f);
    ck_assert_str_eq(f.desc->name, "lease");
    expect_file(&f, 0, 0);
    expect_file(&f, 1, 1);
    frame_close(chan, &f);
    ck_assert_int_eq(chan_next(chan, &f), 0);
    ck_assert(chan_at_frame_start(chan));
    ck_assert_int_eq(chan_fill(chan), -EAGAIN);
}
END_TEST

START_TEST(many_frames_in_one_read)
{
    uint8_t bytes[2048];
    struct frame f;
    size_t len = 0;
    for (uint64_t tag = 0; tag < 40; tag++)
        len += make(bytes + len, PWC_MSG_PING, 0, tag, tag % 30, 0);
    say(bytes, len, NULL, 0);
    fill();
    for (uint64_t tag = 0; tag < 40; tag++)
        expect_frame(PWC_MSG_PING, tag, tag % 30, 0, &f);
    ck_assert_int_eq(chan_next(chan, &f), 0);
}
END_TEST

/* One recvmsg returns the bytes of both frames with the descriptors of the second. */
START_TEST(descriptors_of_the_second_frame_come_early)
{
    uint8_t bytes[128];
    struct frame f;
    say(bytes, make(bytes, PWC_MSG_PING, 0, 1, 10, 0), NULL, 0);
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 2, 2, 20, 0), 2, 5);
    ck_assert_int_eq(chan_fill(chan), 2 * (int)PWC_HEADER_BYTES + 30);
    expect_frame(PWC_MSG_PING, 1, 10, 0, &f);
    ck_assert_uint_eq(f.nfds, 0);
    expect_frame(PWC_MSG_ITEM, 2, 20, 0, &f);
    ck_assert_uint_eq(f.nfds, 2);
    expect_file(&f, 0, 5);
    expect_file(&f, 1, 6);
    frame_close(chan, &f);
}
END_TEST

/* The first bytes of the second frame arrive with the end of the first, with its descriptors. */
START_TEST(a_split_second_frame_with_descriptors)
{
    uint8_t first[128], second[128];
    struct frame f;
    size_t len = make(second, PWC_MSG_ITEM, 3, 2, 20, 0);
    say(first, make(first, PWC_MSG_ITEM, 0, 1, 10, 0), NULL, 0);
    say_with_files(second, 7, 3, 0);
    fill();
    expect_frame(PWC_MSG_ITEM, 1, 10, 0, &f);
    ck_assert_int_eq(chan_next(chan, &f), 0);
    say(second + 7, len - 7, NULL, 0);
    fill();
    expect_frame(PWC_MSG_ITEM, 2, 20, 0, &f);
    for (unsigned i = 0; i < 3; i++)
        expect_file(&f, i, i);
    frame_close(chan, &f);
}
END_TEST

/* As many as can wait: a frame's own sixteen and those of the next one. */
START_TEST(the_most_descriptors)
{
    uint8_t bytes[128];
    struct frame f;
    size_t len = make(bytes, PWC_MSG_LEASE, PWC_FDS_MAX, 9, 4, 0);
    say_with_files(bytes, len, PWC_FDS_MAX, 0);
    say_with_files(bytes, len, PWC_FDS_MAX, PWC_FDS_MAX);
    for (size_t round = 0; round < 2; round++) {
        fill();
        expect_frame(PWC_MSG_LEASE, 9, 4, 0, &f);
        for (unsigned i = 0; i < PWC_FDS_MAX; i++)
            expect_file(&f, i, round * PWC_FDS_MAX + i);
        frame_close(chan, &f);
    }
}
END_TEST

START_TEST(taken_descriptors_are_the_takers)
{
    uint8_t bytes[64];
    struct frame f;
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 2, 0, 0, 0), 2, 0);
    fill();
    expect_frame(PWC_MSG_ITEM, 0, 0, 0, &f);
    int fd = frame_take_fd(&f, 1);
    frame_close(chan, &f);
    frame_close(chan, &f);
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
    close(fd);
}
END_TEST

START_TEST(missing_descriptors_break_it)
{
    uint8_t bytes[64];
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 2, 0, 0, 0), 1, 0);
    fill();
    expect_broken("descriptors missing");
}
END_TEST

/* They travel with the first byte: a header without them is wrong before the rest is there. */
START_TEST(a_header_without_its_descriptors_breaks_it)
{
    uint8_t bytes[64];
    make(bytes, PWC_MSG_ITEM, 1, 0, 10, 0);
    say(bytes, PWC_HEADER_BYTES, NULL, 0);
    fill();
    expect_broken("descriptors missing");
}
END_TEST

START_TEST(surplus_descriptors_break_it)
{
    uint8_t bytes[64];
    struct frame f;
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 1, 0, 0, 0), 2, 0);
    fill();
    expect_frame(PWC_MSG_ITEM, 0, 0, 0, &f);
    frame_close(chan, &f);
    expect_broken("descriptors without a message");
}
END_TEST

START_TEST(surplus_descriptors_of_an_unfinished_frame_break_it)
{
    uint8_t bytes[64];
    make(bytes, PWC_MSG_ITEM, 1, 0, 20, 0);
    say_with_files(bytes, 30, 2, 0);
    fill();
    expect_broken("surplus descriptors");
}
END_TEST

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* What one frame may have, with the beginning of a header; and before that is complete more than there is
 * room for. */
START_TEST(descriptors_beyond_all_room_are_closed)
{
    uint8_t bytes[64];
    struct frame f;
    unsigned before = open_descriptors();
    make(bytes, PWC_MSG_ITEM, PWC_FDS_MAX, 0, 20, 0);
    say_with_files(bytes, 10, PWC_FDS_MAX, 0);
    fill();
    ck_assert_int_eq(chan_next(chan, &f), 0);
    say_with_files(bytes + 10, 2, PWC_FDS_MAX + 4, 0);
    ck_assert_int_eq(chan_fill(chan), -EPROTO);
    ck_assert_uint_eq(open_descriptors(),
                      before + 2 * PWC_FDS_MAX); /* which the channel closes with itself */
}
END_TEST

START_TEST(surplus_descriptors_of_an_unfinished_header_break_it)
{
    uint8_t bytes[64];
    make(bytes, PWC_MSG_ITEM, 8, 0, 20, 0);
    say_with_files(bytes, 10, PWC_FDS_MAX + 1, 0);
    fill();
    expect_broken("surplus descriptors");
}
END_TEST

/* More than fit the FIFO: the kernel cuts them off and says so (MSG_CTRUNC). */
START_TEST(far_too_many_descriptors_break_it)
{
    uint8_t bytes[64];
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 1, 0, 0, 0), 64, 0);
    ck_assert_int_eq(chan_fill(chan), -EPROTO);
    ck_assert_str_eq(chan_error(chan), "too many descriptors, or no room for them");
}
END_TEST

/* Our own limit of open files is reached: the kernel drops what it cannot install, which must not pass
 * unseen. */
static int fill_with_room(unsigned n)
{
    struct rlimit before, tight;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)MAX(chan_fd(chan), peer) + 1 + n;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int r = chan_fill(chan);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    return r;
}

START_TEST(no_room_for_descriptors_breaks_it)
{
    uint8_t bytes[64];
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 4, 0, 0, 0), 4, 0);
    ck_assert_int_eq(fill_with_room(2), -EPROTO);
}
END_TEST

static void expect_lost(uint64_t tag)
{
    struct frame f;
    expect_frame(PWC_MSG_ITEM, tag, 4, 0, &f);
    ck_assert(f.lost);
    ck_assert_uint_eq(f.nfds, 0);
}

static void expect_files(uint64_t tag, unsigned n, size_t first)
{
    struct frame f;
    expect_frame(PWC_MSG_ITEM, tag, 4, 0, &f);
    ck_assert(!f.lost);
    ck_assert_uint_eq(f.nfds, n);
    for (unsigned i = 0; i < n; i++)
        expect_file(&f, i, first + i);
    frame_close(chan, &f);
}

/* Some, or all: of those that came none is kept, and what follows has its own. */
START_TEST(who_asked_is_told_which_frame_has_lost_its_descriptors)
{
    uint8_t bytes[64];
    struct frame f;
    chan_tell_lost(chan);
    for (unsigned room = 0; room < 4; room++) {
        size_t len = make(bytes, PWC_MSG_ITEM, 4, room, 4, 0);
        say_with_files(bytes, len, 4, 0);
        ck_assert_int_eq(fill_with_room(room), (int)len);
        expect_lost(room);
        ck_assert_int_eq(chan_next(chan, &f), 0);
        ck_assert_int_eq(chan_peer_new_fds(), 2);
        say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 3, 9, 4, 0), 3, 5);
        fill();
        expect_files(9, 3, 5);
    }
}
END_TEST

/* Three frames in one message of the peer's; there is room for the descriptors of the first, and for one
 * more. */
START_TEST(the_frame_before_the_lost_ones_has_its_own)
{
    uint8_t bytes[256];
    struct frame f;
    size_t len = 0;
    chan_tell_lost(chan);
    for (uint64_t tag = 0; tag < 3; tag++)
        len += make(bytes + len, PWC_MSG_ITEM, 2, tag, 4, 0);
    len += make(bytes + len, PWC_MSG_PING, 0, 3, 4, 0);
    say_with_files(bytes, len, 6, 0);
    ck_assert_int_eq(fill_with_room(3), (int)len);
    expect_files(0, 2, 0);
    expect_lost(1);
    expect_lost(2);
    expect_frame(PWC_MSG_PING, 3, 4, 0, &f);
    ck_assert(!f.lost);
    ck_assert_int_eq(chan_next(chan, &f), 0);
}
END_TEST

/* In pieces: the rest of a frame that has lost some comes with the whole next one, which has all of its own,
 * or has lost some, too. */
START_TEST(a_lost_frame_in_pieces_and_the_next_one)
{
    uint8_t first[64], second[64];
    size_t len = make(first, PWC_MSG_ITEM, 3, 1, 4, 0), next = make(second, PWC_MSG_ITEM, 2, 2, 4, 0);
    chan_tell_lost(chan);
    say_with_files(first, 7, 3, 0);
    ck_assert_int_eq(fill_with_room(1), 7);
    say(first + 7, len - 7, NULL, 0);
    say_with_files(second, next, 2, 5);
    ck_assert_int_eq(_i == 0 ? chan_fill(chan) : fill_with_room(2), (int)(len - 7 + next));
    expect_lost(1);
    if (_i == 0)
        expect_files(2, 2, 5);
    else
        expect_lost(2);
    ck_assert_int_eq(chan_peer_new_fds(), 2);
}
END_TEST

/* More than fit at all are the peer's fault, whatever room there is. */
START_TEST(too_many_break_it_all_the_same)
{
    uint8_t bytes[64];
    chan_tell_lost(chan);
    say_with_files(bytes, make(bytes, PWC_MSG_ITEM, 1, 0, 0, 0), 64, 0);
    ck_assert_int_eq(chan_fill(chan), -EPROTO);
}
END_TEST

START_TEST(a_message_of_the_wrong_side_breaks_it)
{
    uint8_t bytes[64];
    say(bytes, make(bytes, PWC_MSG_ACCEPTED, 0, 0, 2, 0), NULL, 0);
    fill();
    expect_broken("message from the wrong side");
}
END_TEST

/* Body, tail and descriptors of one too many, each refused when the header is there, before the rest is read.
 */
START_TEST(too_large_for_its_type_breaks_it)
{
    uint8_t *bytes = xcalloc(1, PWC_FRAME_MAX);
    const struct msg_desc *d = msg_find(_i == 0 ? PWC_MSG_PING : _i == 1 ? PWC_MSG_SUBMIT : PWC_MSG_ITEM);
    make(bytes, d->type, (uint16_t)(_i == 2 ? d->fds_max + 1 : 0), 0, _i == 0 ? d->body_max + 1 : 0,
         _i == 1 ? d->tail_max + 1 : 0);
    say_with_files(bytes, PWC_HEADER_BYTES, _i == 2 ? d->fds_max + 1u : 0, 0);
    fill();
    expect_broken("message too large for its type");
    free(bytes);
}
END_TEST

START_TEST(a_malformed_header_breaks_it)
{
    const uint8_t bytes[PWC_HEADER_BYTES] = "GET / HTTP/1.0\r\n\r\n";
    say(bytes, sizeof bytes, NULL, 0);
    fill();
    fill(); /* reads no more: what is there decides */
    expect_broken("malformed frame header");
}
END_TEST

START_TEST(unknown_types_pass)
{
    uint8_t bytes[256];
    struct frame f;
    say_with_files(bytes, make(bytes, 9999, 1, 3, 100, 50), 1, 0);
    fill();
    expect_frame(9999, 3, 100, 50, &f);
    ck_assert_ptr_null(f.desc);
    frame_close(chan, &f);
}
END_TEST

START_TEST(the_largest_frame)
{
    static uint8_t bytes[PWC_FRAME_MAX];
    struct frame f;
    size_t len = make(bytes, PWC_MSG_DATA, 0, 5, 64, PWC_TAIL_MAX), said = 0;
    while (said < len) {
        size_t n = MIN(len - said, (size_t)10000);
        say(bytes + said, n, NULL, 0);
        said += n;
        ck_assert_int_eq(chan_next(chan, &f), 0);
        fill();
    }
    expect_frame(PWC_MSG_DATA, 5, 64, PWC_TAIL_MAX, &f);
}
END_TEST

/* Who takes one frame a turn does not gather what a flooding peer sends meanwhile. */
START_TEST(a_flood_is_read_only_as_it_is_taken)
{
    uint8_t bytes[64];
    struct frame f;
    size_t len = make(bytes, PWC_MSG_PING, 0, 1, 4, 0), sent = 0;
    ck_assert_int_eq(fd_set_nonblock(peer, true), 0);
    for (int turn = 0; turn < 20000; turn++) {
        while (send(peer, bytes, len, MSG_NOSIGNAL) == (ssize_t)len)
            sent++;
        ck_assert_int_eq(errno, EAGAIN);
        int waiting = chan_fill(chan);
        ck_assert_int_gt(waiting, 0);
        ck_assert_int_le(waiting, 2 * 16384);
        expect_frame(PWC_MSG_PING, 1, 4, 0, &f);
    }
    ck_assert_uint_gt(sent, 20000);
}
END_TEST

START_TEST(frames_before_the_end_come_before_the_end)
{
    uint8_t bytes[128] = {0};
    struct frame f;
    size_t len = make(bytes, PWC_MSG_PING, 0, 1, 0, 0);
    len += make(bytes + len, PWC_MSG_PING, 0, 2, 0, 0);
    say(bytes, len + 5, NULL, 0);
    close(TAKE_FD(peer));
    fill();
    expect_frame(PWC_MSG_PING, 1, 0, 0, &f);
    fill();
    expect_frame(PWC_MSG_PING, 2, 0, 0, &f);
    ck_assert_int_eq(chan_fill(chan), 0);
    ck_assert(!chan_at_frame_start(chan));
}
END_TEST

static int closed_here;
static void count_close(int fd)
{
    closed_here++;
    close(fd);
}

START_TEST(foreign_descriptors_go_through_the_closer)
{
    uint8_t bytes[64];
    struct frame f;
    int ends[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    int kept = peer;
    peer = ends[1];
    struct chan *c = chan_new(ends[0], MSG_FROM_CLIENT, count_close);
    size_t len = make(bytes, PWC_MSG_ITEM, 2, 0, 0, 0);
    say_with_files(bytes, len, 2, 0);
    say_with_files(bytes, len, 2, 0);
    ck_assert_int_gt(chan_fill(c), 0);
    ck_assert_int_eq(chan_next(c, &f), 1);
    frame_close(c, &f);
    ck_assert_int_eq(closed_here, 2);
    ck_assert_int_gt(chan_fill(c), 0);
    chan_free(c);
    ck_assert_int_eq(closed_here, 4);
    close(peer);
    peer = kept;
}
END_TEST

int main(void)
{
    Suite *s = suite_create("channel");
    TCase *t = tcase_create("receiving");
    tcase_add_checked_fixture(t, chan_peer_setup, chan_peer_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, one_byte_at_a_time);
    tcase_add_test(t, many_frames_in_one_read);
    tcase_add_test(t, descriptors_of_the_second_frame_come_early);
    tcase_add_test(t, a_split_second_frame_with_descriptors);
    tcase_add_test(t, the_most_descriptors);
    tcase_add_test(t, taken_descriptors_are_the_takers);
    tcase_add_test(t, missing_descriptors_break_it);
    tcase_add_test(t, a_header_without_its_descriptors_breaks_it);
    tcase_add_test(t, surplus_descriptors_break_it);
    tcase_add_test(t, surplus_descriptors_of_an_unfinished_frame_break_it);
    tcase_add_test(t, surplus_descriptors_of_an_unfinished_header_break_it);
    tcase_add_test(t, descriptors_beyond_all_room_are_closed);
    tcase_add_test(t, far_too_many_descriptors_break_it);
    tcase_add_test(t, a_message_of_the_wrong_side_breaks_it);
    tcase_add_loop_test(t, too_large_for_its_type_breaks_it, 0, 3);
    tcase_add_test(t, a_malformed_header_breaks_it);
    tcase_add_test(t, unknown_types_pass);
    tcase_add_test(t, the_largest_frame);
    tcase_add_test(t, a_flood_is_read_only_as_it_is_taken);
    tcase_add_test(t, frames_before_the_end_come_before_the_end);
    tcase_add_test(t, foreign_descriptors_go_through_the_closer);
    suite_add_tcase(s, t);
    t = tcase_create("limit of descriptors");
    tcase_set_tags(t, "nofile");
    tcase_add_checked_fixture(t, chan_peer_setup, chan_peer_teardown);
    tcase_add_test(t, no_room_for_descriptors_breaks_it);
    tcase_add_test(t, who_asked_is_told_which_frame_has_lost_its_descriptors);
    tcase_add_test(t, the_frame_before_the_lost_ones_has_its_own);
    tcase_add_loop_test(t, a_lost_frame_in_pieces_and_the_next_one, 0, 2);
    tcase_add_test(t, too_many_break_it_all_the_same);
    suite_add_tcase(s, t);
    return run_suite(s);
}
