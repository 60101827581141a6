/* test_session.c - connections that pwcd cannot keep. The supervisor is the fuzzers' (inproc.c). */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "daemon/session.h"
#include "tests/fuzz/inproc.h"
#include "tests/fuzz/jobs.h"
#include "tests/unit/runner.h"

/* epoll refuses files, as it refuses everything once fs.epoll.max_user_watches is reached. */
START_TEST(what_cannot_be_watched_is_turned_away)
{
    world_begin();
    int fd = memfd_create("no socket", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    session_accept(&world, fd, 1000, 1);
    ck_assert_uint_eq(world.nsessions, 0);
    ck_assert(TAILQ_EMPTY(&world.sessions));
    caller_connect(0, 1000);
    world_turn();
    ck_assert_uint_eq(world.nsessions, 1);
    world_end();
}
END_TEST

/* The frame, with our own end of the connection as its descriptor. */
static void send_own_end(unsigned who, uint16_t type)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    uint8_t bytes[PWC_HEADER_BYTES];
    frame_put(bytes, &(struct frame_head){PWC_HEADER_BYTES - 4, type, 1, 1, 0});
    struct iovec iov = {bytes, sizeof bytes};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
    *cm = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(cm), &callers[who].fd, sizeof(int));
    ck_assert_int_eq(sendmsg(callers[who].fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL), sizeof bytes);
}

static void ask(unsigned who, uint16_t type)
{
    uint8_t bytes[PWC_HEADER_BYTES];
    frame_put(bytes, &(struct frame_head){PWC_HEADER_BYTES - 4, type, 0, 1, 0});
    caller_send(who, bytes, sizeof bytes, 0);
    world_turn();
}

static bool list_waits(void)
{
    const struct session *s = TAILQ_FIRST(&world.sessions);
    return s->list.step != NULL;
}

/* A client that has asked for more than it has read. */
static void begin_with_a_list(void)
{
    world_begin();
    caller_connect(0, 1000);
    say_hello(0);
    for (int i = 0; i < 10000 && !list_waits(); i++)
        ask(0, PWC_MSG_LIST_OPS);
    ck_assert(list_waits());
}

/* Nobody but pwcd's own queue holds that end any more: no process is left that could read, or close it. */
START_TEST(who_has_left_its_own_end_behind_a_list_goes)
{
    begin_with_a_list();
    send_own_end(0, PWC_MSG_PING);
    caller_close(0);
    world_turn();
    ck_assert_uint_eq(world.nsessions, 1);
    world_tick(599 * NS_PER_S);
    ck_assert_uint_eq(world.nsessions, 1);
    world_tick(2 * NS_PER_S);
    ck_assert_uint_eq(world.nsessions, 0);
    world_end();
}
END_TEST

/* Who reads a little has all the time it needs, be it too little for the socket to say that it takes more. */
START_TEST(who_reads_slowly_stays)
{
    char bytes[8192];
    begin_with_a_list();
    world_tick(400 * NS_PER_S);
    ck_assert_int_gt(recv(callers[0].fd, bytes, sizeof bytes, MSG_DONTWAIT), 0);
    world_turn();
    ck_assert(list_waits());
    world_tick(400 * NS_PER_S);
    ck_assert_uint_eq(world.nsessions, 1);
    world_end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_add_test(t, what_cannot_be_watched_is_turned_away);
    tcase_add_test(t, who_has_left_its_own_end_behind_a_list_goes);
    tcase_add_test(t, who_reads_slowly_stays);
    suite_add_tcase(s, t);
    return run_suite(s);
}
