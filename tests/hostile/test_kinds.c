/*
 * test_kinds.c - clients that send the wrong kinds of descriptors, as input and as output, to a real pwcd:
 * their job fails with a reason, or their item of a batch and no other, nobody waits, and pwcd holds none of
 * them afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/hostile/descriptors.h"
#include "tests/hostile/picture.h"
#include "tests/unit/runner.h"

/* ---- kinds ---- */

static int make_directory(void)
{
    return open(v.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
static int make_fifo(void)
{
    const char *path = path_of("fifo");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unlink(path);
    return fd;
}
static int make_pipe(void)
{
    static int ends[2]; /* the other end stays open: who reads waits */
    return pipe2(ends, O_CLOEXEC) == 0 ? ends[0] : -1;
}
static int make_socket(void)
{
    int ends[2];
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 ? ends[0] : -1;
}
static int make_zero(void)
{
    return open("/dev/zero", O_RDWR | O_CLOEXEC);
}
static int make_null(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}
static int make_path(void)
{
    return open("/etc/passwd", O_PATH | O_CLOEXEC);
}
static int make_write_only(void)
{
    return file_with("some bytes", O_WRONLY);
}
static int make_read_only(void)
{
    return file_with("some bytes", O_RDONLY);
}
static int make_append(void)
{
    return file_with("some bytes", O_RDWR | O_APPEND);
}
static int make_epoll(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}
static int make_event(void)
{
    return eventfd(0, EFD_CLOEXEC);
}
static int make_timer(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}
static int make_signal(void)
{
    sigset_t none;
    sigemptyset(&none);
    return signalfd(-1, &none, SFD_CLOEXEC);
}
static int make_inotify(void)
{
    return inotify_init1(IN_CLOEXEC);
}
static int make_pidfd(void)
{
    return (int)syscall(SYS_pidfd_open, getpid(), 0);
}
static int make_memory(void)
{
    return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}
static int make_proc(void)
{
    return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}
static int make_daemon_memory(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)v.pid);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd >= 0 ? fd : make_memory();
}
static int make_sealed(void)
{
    int fd = -1;
    ck_assert_int_eq(memfd_sealed_copy("sealed", "some bytes", 10, &fd), 0);
    return fd;
}
static int make_client(void)
{
    return peer_socket(&v); /* pwcd's own other end */
}

enum { ARRAY = 1, PICTURE = 2, IN = ARRAY | PICTURE, OUT = 4 }; /* an array may be empty, a picture not */
static const struct {
    const char *what;
    int (*make)(void);
    unsigned wrong_as;
} kinds[] = {
    {"a directory", make_directory, IN | OUT},
    {"a FIFO", make_fifo, IN | OUT},
    {"an empty pipe", make_pipe, IN | OUT},
    {"a socket", make_socket, IN | OUT},
    {"/dev/zero", make_zero, IN | OUT},
    {"/dev/null", make_null, IN | OUT},
    {"an O_PATH descriptor", make_path, IN | OUT},
    {"a write-only file", make_write_only, IN | OUT},
    {"a read-only file", make_read_only, OUT},
    {"an O_APPEND file", make_append, OUT},
    {"an epoll", make_epoll, IN | OUT},
    {"an eventfd", make_event, IN | OUT},
    {"a timerfd", make_timer, IN | OUT},
    {"a signalfd", make_signal, IN | OUT},
    {"an inotify", make_inotify, IN | OUT},
    {"a pidfd", make_pidfd, IN | OUT},
    {"/proc/self/mem", make_memory, PICTURE | OUT},
    {"/proc/self/status", make_proc, PICTURE | OUT},
    {"pwcd's memory", make_daemon_memory, PICTURE | OUT},
    {"a sealed memfd", make_sealed, OUT},
    {"a connection to pwcd", make_client, IN | OUT},
};
static void must_fail(Pwc__Finished *m, const char *what, const char *as)
{
    ck_assert_msg(m->state == PWC__JOB_STATE__JOB_FAILED && m->reason[0] != '\0', "%s as %s: state %d", what,
                  as, m->state);
    ck_assert_msg(m->code != PWC__CODE__CODE_TIMEOUT && m->code != PWC__CODE__CODE_STALLED,
                  "%s as %s: nobody noticed", what, as);
    ck_assert_msg(m->code != PWC__CODE__CODE_SANDBOX && m->code != PWC__CODE__CODE_INTERNAL, "%s as %s: %s",
                  what, as, m->reason);
    msg_free(&m->base);
}

START_TEST(as_input_of_an_array)
{
    if ((kinds[_i].wrong_as & ARRAY) == 0)
        return;
    int fd = kinds[_i].make();
    ck_assert_msg(fd >= 0, "%s: %s", kinds[_i].what, strerror(errno));
    must_fail(finish_job(&sum, &fd, 1), kinds[_i].what, "input of array.sum");
}
END_TEST

START_TEST(as_input_of_an_image)
{
    if ((kinds[_i].wrong_as & PICTURE) == 0)
        return;
    int fds[] = {kinds[_i].make(), memfd_of("", 0)};
    must_fail(finish_job(&invert, fds, 2), kinds[_i].what, "input of image.invert");
}
END_TEST

/* ---- as items of a batch ---- */

#define ITEMS_MOST (2 * ARRAY_LEN(kinds) + 1)

/* A good one before and behind each bad one; `at` says in which role it is bad. Their names are the kinds'.
 */
static uint64_t fill_batch(struct batch_item *items, unsigned wrong_as, unsigned at, int (*good_in)(void))
{
    uint64_t n = 0;
    items[n++] = (struct batch_item){.name = "good", .fds = {good_in(), memfd_of("", 0)}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if ((kinds[i].wrong_as & wrong_as) == 0)
            continue;
        struct batch_item bad = {.name = kinds[i].what, .fds = {good_in(), memfd_of("", 0)}};
        close(bad.fds[at]);
        bad.fds[at] = kinds[i].make();
        ck_assert_msg(bad.fds[at] >= 0, "%s: %s", kinds[i].what, strerror(errno));
        items[n++] = bad;
        items[n++] = (struct batch_item){.name = "good", .fds = {good_in(), memfd_of("", 0)}};
    }
    return n;
}

static void check_item(const struct batch_item *it)
{
    const Pwc__Code c = it->code;
    if (strcmp(it->name, "good") == 0) {
        ck_assert_msg(c == PWC__CODE__CODE_OK, "a good one beside the bad ones: %d: %s", c, it->reason);
        return;
    }
    ck_assert_msg(c == PWC__CODE__CODE_BAD_DESCRIPTOR || c == PWC__CODE__CODE_BAD_INPUT ||
                      c == PWC__CODE__CODE_INPUT_IO || c == PWC__CODE__CODE_OUTPUT,
                  "%s: %d: %s", it->name, c, it->reason);
    ck_assert_msg(strstr(it->reason, it->name) != NULL, "%s is not named: %s", it->name, it->reason);
}

/* The same bytes in all outputs of good items, and some. */
static void check_outputs(const struct batch_item *items, uint64_t n)
{
    static char first[1 << 16], other[1 << 16];
    ssize_t len = pread(items[0].fds[1], first, sizeof first, 0);
    ck_assert_int_gt(len, 0);
    for (uint64_t i = 0; i < n; i++)
        if (strcmp(items[i].name, "good") == 0) {
            ck_assert_int_eq(pread(items[i].fds[1], other, sizeof other, 0), len);
            ck_assert_int_eq(memcmp(first, other, (size_t)len), 0);
        }
}

static void in_a_batch(struct job_spec spec, unsigned wrong_as, unsigned at, int (*good_in)(void))
{
    static struct batch_item items[ITEMS_MOST];
    spec.batch = true;
    spec.items = fill_batch(items, wrong_as, at, good_in);
    spec.max_failures = spec.items;
    finish_batch(&spec, items);
    for (uint64_t i = 0; i < spec.items; i++)
        check_item(&items[i]);
    if (spec.roles[1] != NULL)
        check_outputs(items, spec.items);
    for (uint64_t i = 0; i < spec.items; i++)
        for (unsigned k = 0; k < 2; k++)
            close(items[i].fds[k]);
    victim_is_well(&v, GROWS_KIB);
}

static int good_bytes(void)
{
    return memfd_of("some bytes", 10);
}

START_TEST(as_inputs_of_a_batch)
{
    static const struct job_spec bus = {.op = "fault.bus", .roles = {"in"}};
    in_a_batch(bus, ARRAY, 0, good_bytes);
}
END_TEST

static int good_picture(void)
{
    return picture(40, 40, 3);
}

START_TEST(as_inputs_of_a_batch_of_images)
{
    in_a_batch(invert, PICTURE, 0, good_picture);
}
END_TEST

START_TEST(as_outputs_of_a_batch_of_images)
{
    in_a_batch(invert, OUT, 1, good_picture);
}
END_TEST

/* Small images are done by one stage, large ones by producer, workers and a consumer; raw ones are placed. */
static const struct {
    uint32_t size;
    const char *format;
} outputs[] = {{40, "png"}, {2000, "tiff"}, {2000, "raw"}};

static void as_output(unsigned kind, unsigned how)
{
    struct job_spec spec = invert;
    spec.format = outputs[how].format;
    int fds[] = {picture(outputs[how].size, outputs[how].size, 3), kinds[kind].make()};
    must_fail(finish_job(&spec, fds, 2), kinds[kind].what, outputs[how].format);
}

START_TEST(as_output_of_an_image)
{
    for (unsigned how = 0; how < ARRAY_LEN(outputs) && (kinds[_i].wrong_as & OUT) != 0; how++)
        as_output((unsigned)_i, how);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

START_TEST(as_output_the_input)
{
    for (unsigned how = 0; how < ARRAY_LEN(outputs); how++) {
        struct job_spec spec = invert;
        spec.format = outputs[how].format;
        int fd = picture(outputs[how].size, outputs[how].size, 3), fds[] = {fd, dup(fd)};
        must_fail(finish_job(&spec, fds, 2), "the input", "output");
    }
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile kinds");
    TCase *t = tcase_create("kinds");
    tcase_set_timeout(t, 0);
    tcase_add_unchecked_fixture(t, descriptors_start, descriptors_stop);
    tcase_add_loop_test(t, as_input_of_an_array, 0, ARRAY_LEN(kinds));
    tcase_add_test(t, as_inputs_of_a_batch);
#ifdef HAVE_VIPS
    tcase_add_loop_test(t, as_input_of_an_image, 0, ARRAY_LEN(kinds));
    tcase_add_loop_test(t, as_output_of_an_image, 0, ARRAY_LEN(kinds));
    tcase_add_test(t, as_output_the_input);
    tcase_add_test(t, as_inputs_of_a_batch_of_images);
    tcase_add_test(t, as_outputs_of_a_batch_of_images);
#else
    (void)as_input_of_an_image;
    (void)as_output_of_an_image;
    (void)as_output_the_input;
    (void)as_inputs_of_a_batch_of_images;
    (void)as_outputs_of_a_batch_of_images;
#endif
    suite_add_tcase(s, t);
    return run_suite(s);
}
