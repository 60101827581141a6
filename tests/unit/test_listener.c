/* test_listener.c - binding, stale sockets, the service manager's sockets, accepting when descriptors run
 * out. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/listener.h"
#include "daemon/service.h"
#include "ipc/clock.h"
#include "tests/unit/runner.h"

static char dir[] = "/tmp/pwc-listen-XXXXXX";
static char *path;
static struct listener l = {.reserve = -1};

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    path = xasprintf("%s/s", dir);
}

static void teardown(void)
{
    listener_close(&l);
    unlink(path);
    rmdir(dir);
    free(path);
}

static struct sockaddr_un address(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strcpy(sa.sun_path, path);
    return sa;
}

static int dial(void)
{
    struct sockaddr_un sa = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    return fd;
}

static void bind_ok(void)
{
    char *error = NULL;
    int r = listener_bind(&l, path, 0640, "", &error);
    ck_assert_msg(r == 0, "%s", error);
}

static void refused(int want, const char *text)
{
    struct listener other = LISTENER_NONE;
    char *error = NULL;
    ck_assert_int_eq(listener_bind(&other, path, 0660, "", &error), want);
    ck_assert_ptr_nonnull(error);
    ck_assert_msg(strstr(error, text) != NULL, "%s", error);
    free(error);
}

START_TEST(binds_accepts_and_cleans_up)
{
    struct stat st;
    struct peer peer;
    mode_t before = umask(022);
    umask(before);
    bind_ok();
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(listener_accept(&l, l.fds[0], &peer), -EAGAIN);
    int c = dial();
    int s = listener_accept(&l, l.fds[0], &peer);
    ck_assert_int_ge(s, 0);
    ck_assert_uint_eq(peer.uid, geteuid());
    ck_assert_uint_eq(peer.gid, getegid());
    ck_assert_int_eq(peer.pid, getpid());
    ck_assert_int_eq(fcntl(s, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(fcntl(s, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    close(s);
    close(c);
    listener_close(&l);
    ck_assert_int_eq(lstat(path, &st), -1);
    ck_assert_uint_eq(umask(before), before);
}
END_TEST

START_TEST(a_living_one_stays)
{
    bind_ok();
    refused(-EADDRINUSE, "another pwcd listens there");
    int c = dial();
    ck_assert_int_ge(c, 0); /* and is still there */
    close(c);
}
END_TEST

START_TEST(a_dead_ones_file_goes)
{
    struct sockaddr_un sa = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    close(fd);
    ck_assert_int_eq(dial(), -ECONNREFUSED);
    bind_ok();
    int c = dial();
    ck_assert_int_ge(c, 0);
    close(c);
}
END_TEST

START_TEST(other_files_stay)
{
    struct stat st;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    refused(-EEXIST, "no socket");
    ck_assert_int_eq(lstat(path, &st), 0);
}
END_TEST

START_TEST(anothers_socket_is_not_removed)
{
    struct listener second = LISTENER_NONE;
    char *error = NULL;
    bind_ok();
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(listener_bind(&second, path, 0600, "", &error), 0);
    listener_close(&l);
    int c = dial();
    ck_assert_int_ge(c, 0);
    close(c);
    listener_close(&second);
    ck_assert_int_eq(dial(), -ENOENT);
}
END_TEST

START_TEST(bad_places)
{
    struct listener o = LISTENER_NONE;
    char *error = NULL, longer[200];
    ck_assert_int_eq(listener_bind(&o, "", 0600, "", &error), -EINVAL);
    ck_assert_str_eq(error, "no socket to listen on: give --socket PATH");
    free(TAKE_PTR(error));
    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[199] = '\0';
    ck_assert_int_eq(listener_bind(&o, longer, 0600, "", &error), -ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(error, "199 bytes; the kernel takes at most 107"));
    free(TAKE_PTR(error));
    ck_assert_int_eq(listener_bind(&o, "/nowhere/s", 0600, "", &error), -ENOENT);
    ck_assert_ptr_nonnull(strstr(error, "/nowhere"));
    free(TAKE_PTR(error));
    ck_assert_int_eq(listener_bind(&o, path, 0600, "no-such-group-here", &error), -EINVAL);
    ck_assert_str_eq(error, "socket_group: there is no group \"no-such-group-here\"");
    free(TAKE_PTR(error));
    ck_assert_int_eq(access(path, F_OK), -1); /* nothing is left behind */
}
END_TEST

START_TEST(group)
{
    struct stat st;
    char *error = NULL, number[20];
    snprintf(number, sizeof number, "%u", getegid());
    ck_assert_int_eq(listener_bind(&l, path, 0660, number, &error), 0);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert_uint_eq(st.st_gid, getegid());
}
END_TEST

/* Fills the table up, so that not one descriptor is left; returns how to undo it. */
static int fill_table(int *fds, int max)
{
    int n = 0;
    while (n < max && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    ck_assert_int_eq(errno, EMFILE);
    return n;
}

START_TEST(sheds_when_descriptors_run_out)
{
    struct rlimit few = {64, 64};
    struct peer peer;
    int fds[64], c[3];
    bind_ok();
    for (int i = 0; i < 3; i++)
        c[i] = dial();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    int n = fill_table(fds, 64);
    ck_assert_int_eq(listener_accept(&l, l.fds[0], &peer), -EMFILE);
    ck_assert_int_eq(listener_accept(&l, l.fds[0], &peer), -EMFILE);
    ck_assert_uint_eq(l.shed, 2);
    struct pollfd p = {.fd = c[0], .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    ck_assert(p.revents & POLLHUP);
    close(fds[--n]);
    close(fds[--n]);
    int s = listener_accept(&l, l.fds[0], &peer);
    ck_assert_int_ge(s, 0);
    ck_assert_int_eq(listener_accept(&l, l.fds[0], &peer), -EAGAIN);
    close(s);
    while (n > 0)
        close(fds[--n]);
    for (int i = 0; i < 3; i++)
        close(c[i]);
}
END_TEST

START_TEST(without_a_reserve)
{
    struct rlimit few = {64, 64};
    struct peer peer;
    int fds[64];
    bind_ok();
    int c = dial();
    close(l.reserve);
    l.reserve = -1;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    int n = fill_table(fds, 64);
    ck_assert_int_eq(listener_accept(&l, l.fds[0], &peer), -ENFILE);
    while (n > 0)
        close(fds[--n]);
    close(c);
}
END_TEST

static void pass(int fd)
{
    char pid[20];
    ck_assert_int_eq(dup2(fd, 3), 3);
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
}

START_TEST(from_the_service_manager)
{
    struct sockaddr_un sa = address();
    struct peer peer;
    char *error = NULL;
    ck_assert_int_eq(listener_from_service(&l, &error), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    pass(fd);
    ck_assert_int_eq(listener_from_service(&l, &error), 1);
    ck_assert_int_eq(l.fds[0], 3);
    ck_assert_int_eq(fcntl(3, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    ck_assert_ptr_null(getenv("LISTEN_FDS"));
    int c = dial(), s = listener_accept(&l, 3, &peer);
    ck_assert_int_ge(s, 0);
    close(s);
    close(c);
    listener_close(&l);
    ck_assert_int_eq(access(path, F_OK), 0); /* the file is the manager's */
}
END_TEST

START_TEST(not_what_the_manager_should_pass)
{
    struct listener o = LISTENER_NONE;
    char *error = NULL;
    pass(socket(AF_UNIX, SOCK_DGRAM, 0));
    ck_assert_int_eq(listener_from_service(&o, &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error, "descriptor 3"));
    free(error);
}
END_TEST

/* ---- the service manager's ear ---- */

static int notify_fd = -1;

static void notify_setup(void)
{
    setup();
    struct sockaddr_un sa = address();
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(notify_fd, (struct sockaddr *)&sa, sizeof sa), 0);
    setenv("NOTIFY_SOCKET", path, 1);
}

static void heard(const char *want)
{
    char text[600];
    ssize_t n = recv(notify_fd, text, sizeof text - 1, 0);
    if (want == NULL) {
        ck_assert_int_lt(n, 0);
        return;
    }
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    ck_assert_str_eq(text, want);
}

START_TEST(notifies)
{
    service_ready("ready");
    heard("READY=1\nSTATUS=ready");
    service_status("%u jobs", 3u);
    heard("STATUS=3 jobs");
    service_status("%u jobs", 3u);
    heard(NULL);
    service_status("two\nlines");
    heard("STATUS=two?lines");
    service_watchdog(-1);
    heard("WATCHDOG=1");
    service_stopping("stopping");
    heard("STOPPING=1\nSTATUS=stopping");
    ck_assert_int_eq(service_reloading(), 0);
    char text[200];
    ssize_t n = recv(notify_fd, text, sizeof text - 1, 0);
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    long long usec;
    ck_assert_int_eq(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld\n", &usec), 1);
    ck_assert_int_gt(usec, 0);
}
END_TEST

START_TEST(signs_of_life_when_it_is_time)
{
    int timer = service_watchdog_timer(3600ll * NS_PER_S);
    ck_assert_int_ge(timer, 0);
    service_watchdog(timer);
    heard(NULL);
    close(timer);
    timer = service_watchdog_timer(NS_PER_MS);
    struct pollfd p = {.fd = timer, .events = POLLIN};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(poll(&p, 1, -1), 1);
        service_watchdog(timer);
        heard("WATCHDOG=1");
    }
    close(timer);
}
END_TEST

START_TEST(watchdog_and_journal)
{
    char pid[20];
    ck_assert_int_eq(service_watchdog_interval(), 0);
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("WATCHDOG_USEC", "30000000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    ck_assert_int_eq(service_watchdog_interval(), 15000000000ll);
    setenv("WATCHDOG_PID", "1", 1);
    ck_assert_int_eq(service_watchdog_interval(), 0);
    ck_assert(service_journal_matches("8:1234", 8, 1234));
    ck_assert(!service_journal_matches("8:1235", 8, 1234));
    ck_assert(!service_journal_matches("9:1234", 8, 1234));
    ck_assert(!service_journal_matches("8:1234x", 8, 1234));
    ck_assert(!service_journal_matches("", 8, 1234));
    ck_assert(!service_journal_matches(NULL, 8, 1234));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("listener");
    TCase *t = tcase_create("listener");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, binds_accepts_and_cleans_up);
    tcase_add_test(t, a_living_one_stays);
    tcase_add_test(t, a_dead_ones_file_goes);
    tcase_add_test(t, other_files_stay);
    tcase_add_test(t, anothers_socket_is_not_removed);
    tcase_add_test(t, bad_places);
    tcase_add_test(t, group);
    tcase_add_test(t, from_the_service_manager);
    tcase_add_test(t, not_what_the_manager_should_pass);
    suite_add_tcase(s, t);
    t = tcase_create("limit of descriptors");
    tcase_set_tags(t, "nofile");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, sheds_when_descriptors_run_out);
    tcase_add_test(t, without_a_reserve);
    suite_add_tcase(s, t);
    t = tcase_create("service");
    tcase_add_checked_fixture(t, notify_setup, teardown);
    tcase_add_test(t, notifies);
    tcase_add_test(t, signs_of_life_when_it_is_time);
    tcase_add_test(t, watchdog_and_journal);
    suite_add_tcase(s, t);
    return run_suite(s);
}
