/* test_session.c - connections that pwcd cannot keep. The supervisor is the fuzzers' (inproc.c). */
#include <sys/mman.h>

#include "daemon/session.h"
#include "tests/fuzz/inproc.h"
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

int main(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_add_test(t, what_cannot_be_watched_is_turned_away);
    suite_add_tcase(s, t);
    return run_suite(s);
}
