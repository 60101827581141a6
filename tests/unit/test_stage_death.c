/* test_stage_death.c - how stages die and what they leave; what the sandbox refuses, seen from inside. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"
#include "tests/unit/test_stage_super.h"
#include "worker/op.h"
#include "worker/sandbox.h"

static void begin(struct kid *k, const char *op, const char *name, const char *value)
{
    kid_open(k, 1, op, "n", "10", name, value, NULL);
    Stage__Lease m = STAGE__LEASE__INIT;
    m.lease = 5;
    m.job = 1;
    m.n = 10;
    m.attempt = 1;
    say(k->chan, PWC_MSG_LEASE, &m);
}

static siginfo_t die_by(struct kid *k, const char *op)
{
    struct nursery n = nursery_start();
    *k = kid_ready(&n);
    begin(k, op, "at", "3");
    return kid_death(k);
}

static void check_obituary(const struct kid *k, const siginfo_t *info, int sig)
{
    const struct obituary *o = &k->segment->obituary;
    ck_assert(info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED);
    ck_assert_int_eq(info->si_status, sig);
    ck_assert_uint_eq(atomic_load(&o->ready), 1);
    ck_assert_int_eq(o->signal, sig);
    ck_assert_uint_gt(o->cpu_ns, 0);
    ck_assert(text_has(k, "#0 0x"));
    ck_assert(text_has(k, "on_lease+0x"));
    ck_assert_uint_eq(atomic_load(&k->segment->slots[0].chunk), 3);
    ck_assert_uint_eq(atomic_load(&k->segment->slots[0].lease), 5);
    ck_assert_uint_eq(atomic_load(&k->segment->slots[0].done), 3);
}

START_TEST(abort_leaves_an_obituary)
{
    struct kid k;
    siginfo_t info = die_by(&k, "fault.abort");
    check_obituary(&k, &info, SIGABRT);
    ck_assert(text_has(&k, "abort+0x"));
}
END_TEST

START_TEST(segv_leaves_an_obituary)
{
    struct kid k;
    siginfo_t info = die_by(&k, "fault.segv");
    check_obituary(&k, &info, SIGSEGV);
    ck_assert_uint_eq(k.segment->obituary.address, 0);
    ck_assert_int_eq(k.segment->obituary.code, SEGV_MAPERR);
    ck_assert_uint_eq(k.segment->obituary.why, 0);
    ck_assert(text_has(&k, " act_segv+0x")); /* static: no table of exported names has it */
    ck_assert(text_has(&k, " (pwc-stage-test)\n"));
}
END_TEST

static const struct {
    const char *to, *head;
} jumps[] = {{"null", "#0 0x0 ?\n#1 0x"}, {"gone", "#0 0x"}, {"closed", "#0 0x"}, {"data", "#0 0x"}};

/* The commonest of all, and the one that leaves no code to begin with: the stack is that of who called. */
START_TEST(a_call_to_nowhere_is_told)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    begin(&k, "fault.jump", "call", jumps[_i].to);
    ck_assert_int_eq(kid_death(&k).si_status, SIGSEGV);
    const char *text = (const char *)k.segment->obituary.text, *second = strstr(text, "\n#1 ");
    ck_assert_int_eq(strncmp(text, jumps[_i].head, strlen(jumps[_i].head)), 0);
    ck_assert_ptr_nonnull(second);
    const char *caller = strstr(second, " act_jump+0x");
    ck_assert(caller != NULL && memchr(second + 1, '\n', (size_t)(caller - second - 1)) == NULL);
    ck_assert_ptr_nonnull(strstr(caller, " on_lease+0x"));
    ck_assert_ptr_null(strstr(text, " on_death+0x"));
}
END_TEST

/* Nobody knows who called, but where it was. */
START_TEST(a_broken_stack_leaves_its_first_frame)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    begin(&k, "fault.smash", "at", "0");
    ck_assert_int_eq(kid_death(&k).si_status, SIGSEGV);
    const char *text = (const char *)k.segment->obituary.text;
    ck_assert_int_eq(strncmp(text, "#0 0x", 5), 0);
    ck_assert(strstr(text, " act_segv+0x") != NULL || strstr(text, " act_smash+0x") != NULL);
}
END_TEST

START_TEST(exit_is_seen)
{
    struct kid k;
    siginfo_t info = die_by(&k, "fault.exit");
    ck_assert_int_eq(info.si_code, CLD_EXITED);
    ck_assert_int_eq(info.si_status, 3);
    ck_assert_uint_eq(atomic_load(&k.segment->obituary.ready), 0);
}
END_TEST

START_TEST(a_scribbler_harms_only_its_segment)
{
    struct kid k;
    siginfo_t info = die_by(&k, "fault.scribble");
    ck_assert_int_eq(info.si_status, SIGKILL);
    ck_assert(k.segment->magic != SEGMENT_MAGIC);
    ck_assert_uint_eq(atomic_load(&k.control->limit), UINT64_MAX);
}
END_TEST

START_TEST(garbage_is_no_frame)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    struct frame f;
    begin(&k, "fault.garbage", "at", "0");
    ck_assert_int_eq(chan_wait(k.chan, PATIENCE_MS), 1);
    ck_assert_int_gt(chan_fill(k.chan), 0);
    ck_assert_int_lt(chan_next(k.chan, &f), 0);
}
END_TEST

START_TEST(a_stopped_stage_can_be_killed)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    begin(&k, "fault.stop", "at", "2");
    siginfo_t info = {0};
    ck_assert_int_eq(waitid(P_PID, (id_t)k.pid, &info, WSTOPPED), 0);
    ck_assert_int_eq(info.si_status, SIGSTOP);
    ck_assert_uint_eq(atomic_load(&k.segment->slots[0].chunk), 2);
    kill(k.pid, SIGKILL);
    ck_assert_int_eq(kid_death(&k).si_status, SIGKILL);
}
END_TEST

START_TEST(a_living_stage_shows_its_stack)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    begin(&k, "fault.hang", "at", "1");
    while (atomic_load(&k.segment->slots[0].chunk) != 1)
        sched_yield();
    kill(k.pid, SIGUSR1);
    /* the text grows after `ready`: wait for the frame we want, the test's time-out ends it */
    while (atomic_load(&k.segment->obituary.ready) == 0 ||
           memmem(k.segment->obituary.text, OBITUARY_TEXT, "stage_main", 10) == NULL)
        sched_yield();
    ck_assert(text_has(&k, "on_lease+0x"));
    kill(k.pid, SIGKILL);
    ck_assert_int_eq(kid_death(&k).si_status, SIGKILL);
}
END_TEST

/* Which of an op's threads is at fault: the first in the text, not the one that the signal finds. */
static const char *begins(const struct kid *k, const char *head, const char *frame)
{
    static char text[OBITUARY_TEXT + 1];
    const struct obituary *o = &k->segment->obituary;
    memcpy(text, (const char *)o->text, OBITUARY_TEXT);
    const char *at = strstr(text, frame), *next = strstr(text + 1, "\nthread ");
    return strncmp(text, head, strlen(head)) == 0 && at != NULL && next != NULL && at < next ? text : NULL;
}

/* It may be asked before it has made its thread. */
static void ask_until(const struct kid *k, const char *head, const char *frame)
{
    while (begins(k, head, frame) == NULL) {
        kill(k->pid, SIGUSR1);
        sched_yield();
    }
}

static const struct {
    const char *call, *head, *frame;
} of_threads[] = {{"spin", "thread pwc-stage-test computes:\n", " thread_spins+0x"},
#if defined(__x86_64__)
                  {"made", "thread pwc-stage-test computes:\n", " thread_runs_made+0x"},
#endif
                  {"sleep", "thread pwc-stage-test is in a system call:\n", " thread_sleeps+0x"}};

START_TEST(a_living_stage_shows_the_thread_that_computes)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready_with(&n, OP_NEEDS_CODE);
    begin(&k, "fault.thread", "call", of_threads[_i].call);
    ask_until(&k, of_threads[_i].head, of_threads[_i].frame);
    kill(k.pid, SIGABRT); /* to the process: it strikes the thread that waits */
    ck_assert_int_eq(kid_death(&k).si_status, SIGABRT);
    ck_assert_int_eq(k.segment->obituary.signal, SIGABRT);
    ck_assert_ptr_nonnull(begins(&k, of_threads[_i].head, of_threads[_i].frame));
    ck_assert(text_has(&k, " waits for another:\n"));
    ck_assert(text_has(&k, "on_lease+0x"));
}
END_TEST

static const struct {
    const char *call, *frame;
} crashes[] = {{"segv", " thread_segv+0x"}, {"overflow", " thread_overflows+0x"}};

/* What it did itself tells of itself alone, also when its stack is used up. */
START_TEST(a_thread_that_crashes_is_told)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    begin(&k, "fault.thread", "call", crashes[_i].call);
    ck_assert_int_eq(kid_death(&k).si_status, SIGSEGV);
    ck_assert(text_has(&k, "#0 0x"));
    ck_assert(text_has(&k, crashes[_i].frame));
    ck_assert_ptr_null(strstr((const char *)k.segment->obituary.text, "on_lease"));
}
END_TEST

START_TEST(a_leak_is_called_out_of_memory)
{
#ifndef PWC_SANITIZED
    struct nursery n = nursery_start();
    struct kid k = kid_spawn(&n);
    kid_enter(&k, 64 << 20);
    begin(&k, "fault.leak", "at", "3");
    siginfo_t info = kid_death(&k);
    check_obituary(&k, &info, SIGABRT);
    ck_assert_uint_eq(k.segment->obituary.why, PWC__CODE__CODE_OOM);
#endif
}
END_TEST

/* ---- SIGBUS ---- */

START_TEST(an_input_that_shrinks_is_to_blame)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    uint8_t *bytes = xcalloc(1, 1 << 20);
    int fd = memfd_with(bytes, 1 << 20);
    char in[] = "in", op[] = "fault.bus", *roles[] = {in};
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    m.job = 1;
    m.op = op;
    m.role = STAGE__ROLE__ROLE_PLANNER;
    m.roles = roles;
    m.n_roles = 1;
    say_full(k.chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, &fd, 1);
    Stage__Plan p = STAGE__PLAN__INIT;
    p.job = 1;
    p.lease = 9;
    say(k.chan, PWC_MSG_PLAN, &p); /* whole: reads all of it */
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert(r->whole);
    ck_assert_uint_eq(r->results[0]->value->u64, 0);
    ck_assert_int_eq(ftruncate(fd, 8192), 0);
    say(k.chan, PWC_MSG_PLAN, &p);
    siginfo_t info = kid_death(&k);
    ck_assert_int_eq(info.si_status, SIGBUS);
    ck_assert_uint_eq(k.segment->obituary.why, PWC__CODE__CODE_INPUT_SHRANK);
    ck_assert_uint_eq(atomic_load(&k.segment->slots[0].chunk), SLOT_WHOLE);
    ck_assert_uint_eq(atomic_load(&k.segment->slots[0].lease), 9);
}
END_TEST

/* ---- the sandbox ---- */

START_TEST(all_layers_are_in_force)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    const unsigned most = LAYER_NO_NEW_PRIVS | LAYER_SECCOMP | LAYER_NOFILE | LAYER_NOCORE | LAYER_NOCAPS;
    printf("layers: %s; missing: %s\n", k.entered->layers, k.entered->missing);
    ck_assert_uint_eq(k.entered->layer_bits & most, most);
    ck_assert_ptr_nonnull(strstr(k.entered->layers, "no_new_privs"));
    ck_assert_ptr_nonnull(strstr(k.entered->layers, "seccomp"));
    if ((k.entered->layer_bits & LAYER_LANDLOCK) == 0) /* a kernel without it */
        ck_assert_ptr_nonnull(strstr(k.entered->missing, "landlock"));
    char path[64], line[256];
    bool seccomp = false, nnp = false;
    snprintf(path, sizeof path, "/proc/%d/status", k.pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL) {
        seccomp = seccomp || strcmp(line, "Seccomp:\t2\n") == 0;
        nnp = nnp || strcmp(line, "NoNewPrivs:\t1\n") == 0;
    }
    fclose(f);
    ck_assert(seccomp && nnp);
}
END_TEST

/* Calls that libraries make in passing get an error, threads work. */
static const struct {
    const char *call;
    int error; /* 0: it must work */
} answered[] = {
#ifndef PWC_SANITIZED
    {"open", EACCES},
#endif
    {"socket", EACCES}, {"clone", EPERM}, {"setfl", EPERM}, {"thread", 0}, {"tid", 0}};

START_TEST(harmless_calls_are_answered)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    char text[128];
    snprintf(text, sizeof text, "%s: %s", answered[_i].call, strerror(answered[_i].error));
    begin(&k, "fault.syscall", "call", answered[_i].call);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    if (answered[_i].error == 0)
        ck_assert_uint_eq(r->done, 10);
    else
        ck_assert_str_eq(r->reason, text);
}
END_TEST

static const struct {
    const char *call, *line;
} trapped[] = {{"exec", "syscall: execve\n"},
               {"ptrace", "syscall: ptrace\n"},
               {"kill", "syscall: kill\n"},
               {"killall", "syscall: kill\n"},
               {"readmem", "syscall: process_vm_readv\n"},
               {"mount", "syscall: mount\n"}};

START_TEST(forbidden_calls_are_named)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    begin(&k, "fault.syscall", "call", trapped[_i].call);
    siginfo_t info = kid_death(&k);
    ck_assert_int_eq(info.si_status, SIGSYS);
    ck_assert_uint_eq(k.segment->obituary.why, PWC__CODE__CODE_SANDBOX);
    ck_assert_int_eq(strncmp(k.segment->obituary.text, trapped[_i].line, strlen(trapped[_i].line)), 0);
    ck_assert(text_has(&k, "on_lease+0x"));
}
END_TEST

START_TEST(a_required_layer_that_is_missing_ends_the_stage)
{
    struct nursery n = nursery_start();
    struct kid k = kid_spawn(&n);
    int fds[2];
    ck_assert_int_eq(memfd_sized("control", CONTROL_BYTES, &fds[0]), 0);
    ck_assert_int_eq(memfd_sized("segment", SEGMENT_BYTES, &fds[1]), 0);
    Stage__Enter m = STAGE__ENTER__INIT;
    m.require = 1u << 30; /* no kernel has it */
    say_full(k.chan, PWC_MSG_ENTER, &m, NULL, 0, fds, 2);
    expect(k.chan, PWC_MSG_ENTERED);
    ck_assert_int_eq(kid_death(&k).si_status, 77);
}
END_TEST

/* Its limits are lower than those that it is to have, and it may not raise them. */
static const struct {
    unsigned layer;
    __rlimit_resource_t what;
    rlim_t most;
} lacking[] = {{LAYER_NOFILE, RLIMIT_NOFILE, 32}, {LAYER_MEMORY, RLIMIT_DATA, 512 << 20}};

/* All that are required: it serves. All but one: it says which and serves nobody. */
START_TEST(each_layer_that_is_required_is_looked_at)
{
#ifndef PWC_SANITIZED
    const struct rlimit lower = {lacking[_i].most, lacking[_i].most};
    struct nursery n = nursery_start();
    struct kid well = kid_spawn(&n);
    kid_enter(&well, 1 << 30);
    struct kid again = kid_spawn(&n);
    again.require = well.entered->layer_bits;
    ck_assert_uint_ne(again.require & lacking[_i].layer, 0);
    kid_enter(&again, 1 << 30);
    kid_open(&again, 1, "noop", "n", "10", NULL);
    Stage__Lease lease = lease_of(1, 1, 0, 10);
    ck_assert_uint_eq(kid_lease(&again, &lease)->done, 10);
    ck_assert_int_eq(setrlimit(lacking[_i].what, &lower), 0);
    n = nursery_start();
    struct kid less = kid_spawn(&n);
    less.require = again.require;
    kid_enter(&less, 1 << 30);
    ck_assert_uint_eq(less.entered->layer_bits, again.require & ~lacking[_i].layer);
    ck_assert_str_ne(less.entered->missing, "");
    ck_assert_int_eq(kid_death(&less).si_status, 77);
#endif
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stage death");
    TCase *deaths = tcase_create("deaths"), *box = tcase_create("sandbox");
    tcase_set_timeout(deaths, 60);
    tcase_set_timeout(box, 60);
    tcase_add_test(deaths, abort_leaves_an_obituary);
    tcase_add_test(deaths, segv_leaves_an_obituary);
    tcase_add_loop_test(deaths, a_call_to_nowhere_is_told, 0, ARRAY_LEN(jumps));
    tcase_add_test(deaths, a_broken_stack_leaves_its_first_frame);
    tcase_add_test(deaths, exit_is_seen);
    tcase_add_test(deaths, a_scribbler_harms_only_its_segment);
    tcase_add_test(deaths, garbage_is_no_frame);
    tcase_add_test(deaths, a_stopped_stage_can_be_killed);
    tcase_add_test(deaths, a_living_stage_shows_its_stack);
    tcase_add_loop_test(deaths, a_living_stage_shows_the_thread_that_computes, 0, ARRAY_LEN(of_threads));
    tcase_add_loop_test(deaths, a_thread_that_crashes_is_told, 0, ARRAY_LEN(crashes));
    tcase_add_test(deaths, a_leak_is_called_out_of_memory);
    tcase_add_test(deaths, an_input_that_shrinks_is_to_blame);
    tcase_add_test(box, all_layers_are_in_force);
    tcase_add_loop_test(box, harmless_calls_are_answered, 0, ARRAY_LEN(answered));
    tcase_add_loop_test(box, forbidden_calls_are_named, 0, ARRAY_LEN(trapped));
    tcase_add_test(box, a_required_layer_that_is_missing_ends_the_stage);
    tcase_add_loop_test(box, each_layer_that_is_required_is_looked_at, 0, ARRAY_LEN(lacking));
    suite_add_tcase(s, deaths);
    suite_add_tcase(s, box);
    return run_suite(s);
}
