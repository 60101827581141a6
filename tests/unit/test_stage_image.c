/*
 * test_stage_image.c - libvips inside the sandbox: its threads come and go, and must be able to come again
 * after a stage has been idle. The long wait cannot be less: libvips' own idle time is 15 s.
 */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"
#include "tests/unit/test_stage_super.h"
#include "worker/op.h"

#define SIDE 256u
/* Decoded it is more than lies in ordinary memory, and so many points take a Hough transform minutes. */
#define LARGE_SIDE 8200u

struct tag {
    uint16_t tag, type;
    uint32_t count, value;
} __attribute__((packed));

/* A grey TIFF of one strip, written by hand so that the test needs no image library. */
static int tiff_file(uint32_t side)
{
    const struct tag tags[] = {{256, 3, 1, side}, {257, 3, 1, side}, {258, 3, 1, 8},
                               {259, 3, 1, 1},    {262, 3, 1, 1},    {273, 4, 1, 512},
                               {277, 3, 1, 1},    {278, 3, 1, side}, {279, 4, 1, side * side}};
    const uint16_t n = ARRAY_LEN(tags);
    uint8_t *bytes = xcalloc(1, 512 + side * side);
    memcpy(bytes, "II*\0\x08\0\0\0", 8);
    memcpy(bytes + 8, &n, sizeof n);
    memcpy(bytes + 10, tags, sizeof tags);
    for (unsigned i = 0; i < side * side; i++)
        bytes[512 + i] = (uint8_t)(i * 2654435761u >> 24);
    int fd = memfd_with(bytes, 512 + side * side);
    free(bytes);
    return fd;
}

static void open_blur(struct kid *k)
{
    static char op[] = "image.gaussblur", in[] = "in", out[] = "out", format[] = "tiff", sigma[] = "sigma";
    char *roles[] = {in, out};
    Pwc__Value value = PWC__VALUE__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *params[] = {&param};
    Stage__Budget budget = STAGE__BUDGET__INIT;
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    value.kind_case = PWC__VALUE__KIND_F64;
    value.f64 = 3;
    param.name = sigma;
    param.value = &value;
    budget.pixels = budget.bytes = 1u << 30;
    budget.frames = 1;
    m.job = 1;
    m.op = op;
    m.params = params;
    m.n_params = 1;
    m.format = format;
    m.budget = &budget;
    m.roles = roles;
    m.n_roles = 2;
    m.batch = true;
    m.role = STAGE__ROLE__ROLE_WORKER;
    say(k->chan, PWC_MSG_JOB_OPEN, &m);
}

static void blur(struct kid *k, uint64_t item)
{
    int fds[2] = {tiff_file(SIDE), memfd_with("", 0)};
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = item + 1;
    l.job = 1;
    l.first = item;
    l.n = 1;
    l.n_item_fds = 1;
    l.item_fds = (uint32_t[]){2};
    say_full(k->chan, PWC_MSG_LEASE, &l, NULL, 0, fds, 2);
    const Stage__Report *r = (const void *)expect(k->chan, PWC_MSG_REPORT)->msg;
    ck_assert_msg(r->code == PWC__CODE__CODE_OK, "%s", r->reason);
    struct stat st;
    ck_assert_int_eq(fstat(fds[1], &st), 0);
    ck_assert_int_ge(st.st_size, SIDE * SIDE);
    close(fds[0]);
    close(fds[1]);
}

START_TEST(a_picture_in_the_sandbox)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready_with(&n, OP_NEEDS_CODE);
    open_blur(&k);
    for (uint64_t i = 0; i < 50; i++)
        blur(&k, i);
}
END_TEST

static unsigned threads_of(pid_t pid)
{
    char path[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 2;
}

/* No event tells that 20 s have passed without events. */
static void idle(struct kid *k, int ms)
{
    struct pollfd p = {.fd = k->pidfd, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, ms), 0);
}

START_TEST(an_idle_spare_still_works)
{
    struct nursery n = nursery_start();
    struct kid fresh = kid_ready_with(&n, OP_NEEDS_CODE), used = kid_ready_with(&n, OP_NEEDS_CODE);
    open_blur(&used);
    blur(&used, 0);
    idle(&fresh, 20000);
    open_blur(&fresh);
    blur(&fresh, 0);
    while (threads_of(used.pid) > 1) /* libvips' idle threads have ended */
        idle(&used, 200);
    blur(&used, 1);
}
END_TEST

/* ---- a picture that is computed whole ---- */

static void ask_hough(struct kid *k, int scratch)
{
    static char op[] = "image.hough_line", in[] = "in", out[] = "out", format[] = "tiff";
    char *roles[] = {in, out};
    Stage__Budget budget = STAGE__BUDGET__INIT;
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    Stage__Plan p = STAGE__PLAN__INIT;
    budget.pixels = budget.bytes = 1u << 30;
    m.job = p.job = 1;
    m.op = op;
    m.format = format;
    m.budget = &budget;
    m.roles = roles;
    m.n_roles = 2;
    m.has_raster = true;
    m.role = STAGE__ROLE__ROLE_PLANNER;
    say_full(k->chan, PWC_MSG_JOB_OPEN, &m, NULL, 0,
             (int[]){scratch, tiff_file(LARGE_SIDE), memfd_with("", 0)}, 3);
    p.lease = 1;
    say(k->chan, PWC_MSG_PLAN, &p);
}

/* Scratch space whose pages are not there after all, as on a full disk that could not reserve them: no fault
 * of the client's file. */
START_TEST(scratch_space_that_fails_is_not_the_input)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready_with(&n, OP_NEEDS_CODE);
    struct stat st = {0};
    int scratch = memfd_with("", 0);
    ask_hough(&k, scratch);
    while (st.st_size == 0) {
        idle(&k, 1);
        ck_assert_int_eq(fstat(scratch, &st), 0);
    }
    ck_assert_int_ge(st.st_size, LARGE_SIDE * LARGE_SIDE);
    ck_assert_int_eq(ftruncate(scratch, 0), 0);
    siginfo_t info = kid_death(&k);
    ck_assert_int_eq(info.si_status, SIGBUS);
    ck_assert_uint_eq(atomic_load(&k.segment->slots[0].chunk), SLOT_WHOLE);
    ck_assert_int_eq((int)k.segment->obituary.why, (int)PWC__CODE__CODE_NO_MEMORY);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stage image");
    TCase *t = tcase_create("sandbox");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_picture_in_the_sandbox);
    tcase_add_test(t, an_idle_spare_still_works);
    tcase_add_test(t, scratch_space_that_fails_is_not_the_input);
    suite_add_tcase(s, t);
    return run_suite(s);
}
