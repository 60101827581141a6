/* test_stage_roles.c - planner, producer, workers and consumer as real stages that pass one job along, with
 * fault.copy: what comes out must be what went in. Then descriptors of the wrong kind, and batches. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"
#include "tests/unit/test_stage_super.h"

#define BYTES      300000u
#define CHUNK      4096u
#define CHUNK_TEXT "4096"
#define ARENA      (16 * CHUNK)

static char copy_name[] = "fault.copy", in_name[] = "in", out_name[] = "out";

static uint8_t *pattern(void)
{
    uint8_t *bytes = xcalloc(1, BYTES);
    for (unsigned i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    return bytes;
}

static Stage__JobOpen open_of(Stage__Role role, ...)
{
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    va_list ap;
    va_start(ap, role);
    m.params = params_of(&m.n_params, ap);
    va_end(ap);
    m.job = 1;
    m.op = copy_name;
    m.role = role;
    return m;
}

static void planned(Stage__JobOpen *m, const Stage__Planned *p)
{
    m->has_plan = true;
    m->chunks = p->chunks;
    m->result_bytes = p->result_bytes;
    m->absorb = p->absorb;
}

static int scratch_file(void)
{
    char name[] = "/tmp/pwc-test-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    unlink(name);
    return fd;
}

static void ask_plan(struct kid *k)
{
    Stage__Plan p = STAGE__PLAN__INIT;
    p.job = 1;
    p.lease = 1;
    say(k->chan, PWC_MSG_PLAN, &p);
}

static void same_bytes(int fd, const uint8_t *want)
{
    struct stat st;
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(st.st_size, BYTES);
    uint8_t *got = xcalloc(1, BYTES);
    ck_assert_int_eq(pread_all(fd, got, BYTES, 0), 0);
    ck_assert_int_eq(memcmp(got, want, BYTES), 0);
}

static void job_close(struct kid *k)
{
    Stage__JobClose m = STAGE__JOB_CLOSE__INIT;
    m.job = 1;
    say(k->chan, PWC_MSG_JOB_CLOSE, &m);
}

/* ---- the long way ---- */

static const Stage__Planned *plan_copy(struct kid *k, int scratch, int in, int *ret_plan)
{
    int plan;
    char *roles[] = {in_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_PLANNER, "chunk", CHUNK_TEXT, NULL);
    m.roles = roles;
    m.n_roles = 1;
    m.has_plan = m.has_raster = true;
    ck_assert_int_eq(memfd_blank("plan", PWC_PLAN_MAX, &plan), 0);
    say_full(k->chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){plan, scratch, in}, 3);
    close(plan);
    ask_plan(k);
    const struct answer *a = expect(k->chan, PWC_MSG_PLANNED);
    const Stage__Planned *p = (const void *)a->msg;
    ck_assert_uint_eq(p->chunks, (BYTES + CHUNK - 1) / CHUNK);
    ck_assert_uint_eq(p->bytes_in, BYTES);
    ck_assert(p->producer && p->has_plan);
    ck_assert_str_eq(p->unit, "bytes");
    ck_assert_uint_eq(a->nfds, 1);
    ck_assert(memfd_is_sealed(a->fds[0], true));
    *ret_plan = a->fds[0];
    return p;
}

static void produce_copy(struct kid *k, uint64_t chunks)
{
    Stage__Produce m = STAGE__PRODUCE__INIT;
    m.job = 1;
    m.lease = 2;
    say(k->chan, PWC_MSG_PRODUCE, &m);
    for (uint64_t i = 1; i <= chunks; i++)
        ck_assert_uint_eq(
            ((const Stage__Announce *)(const void *)expect(k->chan, PWC_MSG_ANNOUNCE)->msg)->upto, i);
    expect(k->chan, PWC_MSG_PRODUCED);
}

static int give_arena(struct kid *k, uint64_t id)
{
    int fd;
    ck_assert_int_eq(memfd_sized("arena", ARENA, &fd), 0);
    Stage__Arena m = STAGE__ARENA__INIT;
    m.arena = id;
    m.bytes = ARENA;
    say_full(k->chan, PWC_MSG_ARENA, &m, NULL, 0, &fd, 1);
    return fd;
}

static void open_worker(struct kid *k, const Stage__Planned *p, int plan, int scratch)
{
    int ro;
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_WORKER, "chunk", CHUNK_TEXT, NULL);
    planned(&m, p);
    m.has_raster = true;
    ck_assert_int_eq(fd_reopen_ro(scratch, &ro), 0);
    say_full(k->chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){plan, ro}, 2);
    close(ro);
}

static void open_consumer(struct kid *k, const Stage__Planned *p, int plan, int out)
{
    char *roles[] = {out_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_CONSUMER, "chunk", CHUNK_TEXT, NULL);
    planned(&m, p);
    m.roles = roles;
    m.n_roles = 1;
    say_full(k->chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){plan, out}, 2);
    Stage__Consume c = STAGE__CONSUME__INIT;
    c.job = 1;
    c.lease = 3;
    say(k->chan, PWC_MSG_CONSUME, &c);
}

static void compute(struct kid *k, uint64_t lease, uint64_t first, uint64_t n)
{
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = lease;
    l.job = 1;
    l.first = first;
    l.n = n;
    l.attempt = 1;
    l.offset = 2 * CHUNK; /* not only at the arena's begin */
    const Stage__Report *r = kid_lease(k, &l);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
    ck_assert_uint_eq(r->done, n);
}

static void absorb(struct kid *k, uint64_t first, uint64_t n, uint64_t arena, int fd)
{
    Stage__Absorb m = STAGE__ABSORB__INIT;
    m.job = 1;
    m.first = first;
    m.n = n;
    m.arena = arena;
    m.offset = 2 * CHUNK;
    m.arena_bytes = ARENA;
    say_full(k->chan, PWC_MSG_ABSORB, &m, NULL, 0, &fd, fd >= 0 ? 1 : 0);
    for (uint64_t i = 0; i < n; i++)
        ck_assert_uint_eq(
            ((const Stage__Absorbed *)(const void *)expect(k->chan, PWC_MSG_ABSORBED)->msg)->upto,
            first + i + 1);
}

START_TEST(a_job_goes_through_every_role)
{
    struct nursery n = nursery_start();
    struct kid planner = kid_ready(&n), workers[2] = {kid_ready(&n), kid_ready(&n)}, consumer = kid_ready(&n);
    uint8_t *want = pattern();
    int in = memfd_with(want, BYTES), out = memfd_with("old contents", 12), scratch = scratch_file(), plan;
    const Stage__Planned *p = plan_copy(&planner, scratch, in, &plan);
    produce_copy(&planner, p->chunks);
    int arenas[2];
    for (unsigned i = 0; i < 2; i++) {
        arenas[i] = give_arena(&workers[i], 10 + i);
        open_worker(&workers[i], p, plan, scratch);
    }
    open_consumer(&consumer, p, plan, out);
    for (uint64_t first = 0, lease = 100; first < p->chunks; first += 7, lease++) {
        uint64_t w = lease % 2, count = MIN(7u, p->chunks - first);
        compute(&workers[w], lease, first, count);
        absorb(&consumer, first, count, 10 + w, lease < 102 ? arenas[w] : -1);
    }
    const Stage__Consumed *done = (const void *)expect(consumer.chan, PWC_MSG_CONSUMED)->msg;
    ck_assert_uint_eq(done->bytes_out, BYTES);
    same_bytes(out, want);
    ck_assert_int_eq(lseek(in, 0, SEEK_CUR), BYTES); /* the shared offset is where the test left it */
    job_close(&planner);                             /* and the stages can be used again */
    char *roles[] = {in_name, out_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_PLANNER, NULL);
    m.roles = roles;
    m.n_roles = 2;
    m.n_params = 0;
    say_full(planner.chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){memfd_with(want, CHUNK), out}, 2);
    ask_plan(&planner);
    ck_assert(((const Stage__Report *)(const void *)expect(planner.chan, PWC_MSG_REPORT)->msg)->whole);
}
END_TEST

static unsigned arenas_mapped(const struct kid *k)
{
    char path[32], line[512];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", k->pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, "memfd:arena") != NULL;
    fclose(f);
    return n;
}

static void arena_gone(struct kid *k, uint64_t arena)
{
    Stage__ArenaGone m = STAGE__ARENA_GONE__INIT;
    m.job = 1;
    m.arena = arena;
    say(k->chan, PWC_MSG_ARENA_GONE, &m);
}

/* What it has mapped takes memory. To look at a stage's maps is left to root. */
START_TEST(a_consumer_unmaps_arenas_that_are_gone)
{
    if (geteuid() != 0)
        return;
    struct nursery n = nursery_start();
    struct kid planner = kid_ready(&n), k = kid_ready(&n);
    uint8_t *want = pattern();
    int in = memfd_with(want, BYTES), out = memfd_with("", 0), plan, fd;
    const Stage__Planned *p = plan_copy(&planner, scratch_file(), in, &plan);
    open_consumer(&k, p, plan, out);
    for (uint64_t i = 0; i < 8; i++) {
        ck_assert_int_eq(memfd_sized("arena", ARENA, &fd), 0);
        absorb(&k, 3 * i, 3, 20 + i, fd);
        ck_assert_uint_eq(arenas_mapped(&k), MIN(i + 1, (uint64_t)2));
        if (i > 0)
            arena_gone(&k, 19 + i);
    }
    absorb(&k, 24, 1, 27, -1); /* where nothing was taken away */
    ck_assert_uint_eq(arenas_mapped(&k), 1);
    arena_gone(&k, 26); /* once is enough */
    ck_assert_int_eq(kid_death(&k).si_status, 76);
}
END_TEST

START_TEST(a_waiting_consumer_can_be_closed)
{
    struct nursery n = nursery_start();
    struct kid planner = kid_ready(&n), k = kid_ready(&n);
    uint8_t *want = pattern();
    int in = memfd_with(want, BYTES), out = memfd_with("", 0), plan;
    const Stage__Planned *p = plan_copy(&planner, scratch_file(), in, &plan);
    open_consumer(&k, p, plan, out);
    job_close(&k);
    kid_open(&k, 2, "noop", "n", "10", NULL); /* no answer for the closed job; the stage goes on */
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = 4;
    l.job = 2;
    l.n = 10;
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 10);
}
END_TEST

START_TEST(an_arena_that_could_shrink_is_refused)
{
    struct nursery n = nursery_start();
    struct kid planner = kid_ready(&n), k = kid_ready(&n);
    uint8_t *want = pattern();
    int in = memfd_with(want, BYTES), out = memfd_with("", 0), plan;
    const Stage__Planned *p = plan_copy(&planner, scratch_file(), in, &plan);
    open_consumer(&k, p, plan, out);
    Stage__Absorb m = STAGE__ABSORB__INIT;
    m.job = 1;
    m.n = 1;
    m.arena = 1;
    m.arena_bytes = CHUNK;
    int fd = memfd_with(want, CHUNK);
    say_full(k.chan, PWC_MSG_ABSORB, &m, NULL, 0, &fd, 1);
    ck_assert_int_eq(kid_death(&k).si_status, 76);
}
END_TEST

START_TEST(a_lease_outside_the_arena_is_refused)
{
    struct nursery n = nursery_start();
    struct kid planner = kid_ready(&n), k = kid_ready(&n);
    uint8_t *want = pattern();
    int scratch = scratch_file(), plan;
    const Stage__Planned *p = plan_copy(&planner, scratch, memfd_with(want, BYTES), &plan);
    open_worker(&k, p, plan, scratch);
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = 4;
    l.job = 1;
    l.n = 2;
    ck_assert_int_eq(kid_lease(&k, &l)->code, PWC__CODE__CODE_PROTOCOL); /* no arena at all */
    give_arena(&k, 1);
    l.offset = ARENA - 2 * CHUNK + 1;
    ck_assert_int_eq(kid_lease(&k, &l)->code, PWC__CODE__CODE_PROTOCOL);
    l.offset = UINT64_MAX - CHUNK;
    ck_assert_int_eq(kid_lease(&k, &l)->code, PWC__CODE__CODE_PROTOCOL);
    l.offset = ARENA - 2 * CHUNK;
    ck_assert_int_eq(kid_lease(&k, &l)->code, PWC__CODE__CODE_OK);
}
END_TEST

/* In the same stage, from nothing. */
START_TEST(a_plan_can_be_tried_again)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    uint8_t *want = pattern();
    int plan;
    char *roles[] = {in_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_PLANNER, "fail", "plan", NULL);
    Stage__Plan p = STAGE__PLAN__INIT;
    m.roles = roles;
    m.n_roles = 1;
    m.has_plan = m.has_raster = true;
    ck_assert_int_eq(memfd_blank("plan", PWC_PLAN_MAX, &plan), 0);
    say_full(k.chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){plan, scratch_file(), memfd_with(want, BYTES)},
             3);
    p.job = p.lease = p.attempt = 1;
    say(k.chan, PWC_MSG_PLAN, &p);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_str_eq(r->reason, "this plan always fails");
    p.lease = p.attempt = 2;
    say(k.chan, PWC_MSG_PLAN, &p);
    expect(k.chan, PWC_MSG_PLANNED);
}
END_TEST

/* It can make no memory for one itself. */
START_TEST(a_plan_lies_where_the_supervisor_says)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    uint8_t *want = pattern();
    char *roles[] = {in_name};
    int fd;
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_PLANNER, "chunk", CHUNK_TEXT, NULL);
    m.roles = roles;
    m.n_roles = 1;
    m.has_plan = m.has_raster = true;
    ck_assert_int_eq(memfd_blank("plan", 1, &fd), 0); /* in which there is no room for it */
    ck_assert_int_lt(ftruncate(fd, 2), 0);
    say_full(k.chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){fd, scratch_file(), memfd_with(want, BYTES)}, 3);
    ask_plan(&k);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_int_eq(r->code, PWC__CODE__CODE_NO_MEMORY);
    ck_assert_ptr_nonnull(strstr(r->reason, "the plan cannot be stored: "));
}
END_TEST

/* A small tmpfs cannot be had without root; a file-size limit refuses a raster the same way. */
START_TEST(scratch_space_that_cannot_be_had_is_named)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    uint8_t *want = pattern();
    int full = memfd_create("full", MFD_CLOEXEC | MFD_ALLOW_SEALING), in = memfd_with(want, BYTES);
    ck_assert_int_eq(fcntl(full, F_ADD_SEALS, F_SEAL_GROW), 0);
    char *roles[] = {in_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_PLANNER, "chunk", CHUNK_TEXT, NULL);
    m.roles = roles;
    m.n_roles = 1;
    m.has_raster = true;
    say_full(k.chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){full, in}, 2);
    ask_plan(&k);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_int_eq(r->code, PWC__CODE__CODE_NO_MEMORY);
    ck_assert(!r->whole);
    ck_assert_str_eq(r->reason,
                     "scratch space of 1 MiB is needed: Operation not permitted (pwcctl doctor shows where)");
}
END_TEST

/* ---- descriptors ---- */

static const Stage__Report *whole_with(struct kid *k, int in, int out)
{
    static uint64_t job = 1;
    char *roles[] = {in_name, out_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_PLANNER, NULL);
    m.job = ++job;
    m.roles = roles;
    m.n_roles = 2;
    say_full(k->chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, (int[]){in, out}, 2);
    Stage__Plan p = STAGE__PLAN__INIT;
    p.job = job;
    p.lease = job;
    say(k->chan, PWC_MSG_PLAN, &p);
    const Stage__Report *r = (const void *)expect(k->chan, PWC_MSG_REPORT)->msg;
    Stage__JobClose c = STAGE__JOB_CLOSE__INIT;
    c.job = job;
    say(k->chan, PWC_MSG_JOB_CLOSE, &c);
    return r;
}

static void refused(struct kid *k, int in, int out, const char *reason)
{
    const Stage__Report *r = whole_with(k, in, out);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_BAD_DESCRIPTOR);
    ck_assert_str_eq(r->reason, reason);
}

START_TEST(descriptors_of_the_wrong_kind_are_refused)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    int good = memfd_with("hello", 5), out = memfd_with("a longer text", 13), pipes[2];
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    char name[] = "/tmp/pwc-test-XXXXXX";
    int file = mkostemp(name, O_CLOEXEC);
    int append = open(name, O_RDWR | O_APPEND | O_CLOEXEC), write_only = open(name, O_WRONLY | O_CLOEXEC);
    int path = open(name, O_PATH | O_CLOEXEC), again = open(name, O_RDONLY | O_CLOEXEC);
    unlink(name);
    refused(&k, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), out,
            "in: is a directory, a regular file is needed");
    refused(&k, open("/dev/zero", O_RDONLY | O_CLOEXEC), out, "in: is a device, a regular file is needed");
    refused(&k, pipes[0], out, "in: is a pipe, a regular file is needed");
    refused(&k, chan_fd(k.chan), out, "in: is a socket, a regular file is needed");
    refused(&k, path, out, "in: opened with O_PATH, it must be open for reading");
    refused(&k, write_only, out, "in: is not open for reading");
    refused(&k, open("/proc/self/status", O_RDONLY | O_CLOEXEC), out,
            "in: says that it is empty and is not, as files of /proc do: a copy is needed");
    refused(&k, good, append, "out: opened with O_APPEND, open it without");
    refused(&k, good, write_only, "out: must be open for reading and writing");
    refused(&k, again, file, "out: is the same file as in, name another");
    const Stage__Report *r = whole_with(&k, good, out);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
    struct stat st;
    ck_assert_int_eq(fstat(out, &st), 0);
    ck_assert_int_eq(st.st_size, 5); /* what was there is gone */
    r = whole_with(&k, memfd_with("", 0), out);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_BAD_INPUT);
}
END_TEST

/* ---- batches ---- */

START_TEST(batch_items_end_one_by_one)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    char *roles[] = {in_name, out_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_WORKER, "die", "whole", "at", "12", NULL);
    m.batch = true;
    m.roles = roles;
    m.n_roles = 2;
    say(k.chan, PWC_MSG_JOB_OPEN, &m);
    int fds[6] = {memfd_with("one", 3), memfd_with("", 0), open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                  memfd_with("two", 3), memfd_with("", 0), memfd_with("", 0)};
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = 5;
    l.job = 1;
    l.first = 10;
    l.n = 2;
    l.attempt = 1;
    l.n_item_fds = 2;
    l.item_fds = (uint32_t[]){2, 2};
    say_full(k.chan, PWC_MSG_LEASE, &l, NULL, 0, fds, 4);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_uint_eq(r->done, 1);
    ck_assert_uint_eq(r->failed, 11);
    ck_assert_str_eq(r->reason, "in: is a directory, a regular file is needed");
    char got[4] = "";
    ck_assert_int_eq(pread_all(fds[1], got, 3, 0), 0);
    ck_assert_str_eq(got, "one");
    l.first = 12; /* this one kills it */
    l.n = 1;
    l.n_item_fds = 1;
    say_full(k.chan, PWC_MSG_LEASE, &l, NULL, 0, fds + 3, 2);
    ck_assert_int_eq(kid_death(&k).si_status, SIGKILL);
    ck_assert_uint_eq(atomic_load(&k.segment->slots[0].chunk), 12);
}
END_TEST

START_TEST(many_items_leak_no_descriptor)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    char *roles[] = {in_name, out_name};
    Stage__JobOpen m = open_of(STAGE__ROLE__ROLE_WORKER, NULL);
    m.batch = true;
    m.roles = roles;
    m.n_roles = 2;
    say(k.chan, PWC_MSG_JOB_OPEN, &m);
    int fds[2] = {memfd_with("one", 3), memfd_with("", 0)};
    Stage__Lease l = STAGE__LEASE__INIT;
    l.job = 1;
    l.n = 1;
    l.n_item_fds = 1;
    l.item_fds = (uint32_t[]){2};
    for (l.first = 0; l.first < 200; l.first++) { /* three times what RLIMIT_NOFILE allows */
        l.lease = l.first + 1;
        say_full(k.chan, PWC_MSG_LEASE, &l, NULL, 0, fds, 2);
        const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
        ck_assert_msg(r->code == PWC__CODE__CODE_OK, "item %d: %s", (int)l.first, r->reason);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stage roles");
    TCase *roles = tcase_create("roles"), *fds = tcase_create("descriptors");
    tcase_set_timeout(roles, 60);
    tcase_set_timeout(fds, 60);
    tcase_add_test(roles, a_job_goes_through_every_role);
    tcase_add_test(roles, a_consumer_unmaps_arenas_that_are_gone);
    tcase_add_test(roles, a_waiting_consumer_can_be_closed);
    tcase_add_test(roles, an_arena_that_could_shrink_is_refused);
    tcase_add_test(roles, a_lease_outside_the_arena_is_refused);
    tcase_add_test(roles, a_plan_can_be_tried_again);
    tcase_add_test(roles, a_plan_lies_where_the_supervisor_says);
    tcase_add_test(roles, scratch_space_that_cannot_be_had_is_named);
    tcase_add_test(fds, descriptors_of_the_wrong_kind_are_refused);
    tcase_add_test(fds, batch_items_end_one_by_one);
    tcase_add_test(fds, many_items_leak_no_descriptor);
    suite_add_tcase(s, roles);
    suite_add_tcase(s, fds);
    return run_suite(s);
}
