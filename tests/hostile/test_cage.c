/*
 * test_cage.c - the sandbox from inside: an op that was taken over tries everything on files, network,
 * processes and its neighbours (fault.probe in the real pwc-stage-test). Each attempt is refused or ends the
 * stage, with the call's name; the neighbour never notices. What a stage inherits is counted. All of it for
 * stages that a nursery makes, and for those that are executed because there is none.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/unit/runner.h"
#include "tests/unit/test_stage_super.h"
#include "worker/op.h"
#include "worker/sandbox.h"

#define ALWAYS "ccesf" /* two that lead nowhere, the log, the channel, its own statm */

static void ask(struct kid *k, uint64_t job, uint64_t lease, const char *call, pid_t target)
{
    char number[16];
    snprintf(number, sizeof number, "%d", (int)target);
    kid_open(k, job, "fault.probe", "n", "9", "call", call, "target", number, NULL);
    Stage__Lease m = STAGE__LEASE__INIT;
    m.lease = lease;
    m.job = job;
    m.n = 1;
    m.attempt = 1;
    say(k->chan, PWC_MSG_LEASE, &m);
}

static const Stage__Report *answer(struct kid *k)
{
    return (const void *)expect(k->chan, PWC_MSG_REPORT)->msg;
}

/* ---- whose child it is ---- */

enum { FORKED, EXECUTED, WAYS }; /* each test is done for both: _i % WAYS */

static struct kid new_stage(int way)
{
    static struct nursery n;
    if (way == EXECUTED)
        return kid_executed();
    if (n.pid == 0)
        n = nursery_start();
    return kid_ready(&n);
}

/* ---- attempts ---- */

/* error: what it is answered; 0: the stage is ended, and the obituary names the call. */
static const struct {
    const char *call;
    int error;
    const char *named; /* as the obituary calls it; NULL: as above */
} attempts[] = {
#ifndef PWC_SANITIZED /* whose run-time opens files, and stops its own threads to look for leaks */
    {"openat", EACCES, NULL},
    {"newfstatat", EACCES, NULL},
    {"statx", EACCES, NULL},
    {"procmem", EACCES, NULL},
    {"procfd", EACCES, NULL},
    {"ptrace", 0, NULL},
    {"dumpable", 0, "prctl"},
#endif
    {"openat2", EACCES, NULL},
    {"creat", EACCES, NULL},
    {"unlink", EACCES, NULL},
    {"mknod", 0, NULL},
    {"chroot", 0, NULL},
    {"mount", 0, NULL},
    {"umount2", 0, NULL},
    {"open_by_handle_at", 0, NULL},
    {"socket", EACCES, NULL},
    {"unix", EACCES, NULL},
    {"netlink", EACCES, NULL},
    {"connect", EACCES, NULL},
    {"sendto", EISCONN, NULL},
    {"bind", EACCES, NULL},
    {"accept4", EACCES, NULL},
    {"io_uring_setup", 0, NULL},
    {"execve", 0, NULL},
    {"execveat", 0, NULL},
    {"fork", 0, NULL},
    {"vfork", 0, NULL},
    {"clone", EPERM, NULL},
    {"clone3", ENOSYS, NULL},
    {"newuser", EPERM, NULL},
    {"unshare", 0, NULL},
    {"setns", 0, NULL},
    {"kill", 0, NULL},
    {"tkill", 0, NULL},
    {"tgkill", 0, NULL},
    {"rt_sigqueueinfo", 0, NULL},
    {"pidfd_open", 0, NULL},
    {"pidfd_getfd", 0, NULL},
    {"pidfd_send_signal", 0, NULL},
    {"kcmp", 0, NULL},
    {"process_vm_readv", 0, NULL},
    {"process_vm_writev", 0, NULL},
    {"process_madvise", 0, NULL},
    {"sched_setaffinity", EPERM, NULL},
    {"setpriority", EPERM, NULL},
    {"perf_event_open", 0, NULL},
    {"prlimit", 0, "prlimit64"},
    {"shmget", 0, NULL},
    {"shmat", 0, NULL},
    {"msgget", 0, NULL},
    {"semget", 0, NULL},
    {"mq_open", 0, NULL},
    {"userfaultfd", 0, NULL},
    {"bpf", 0, NULL},
    {"add_key", 0, NULL},
    {"keyctl", 0, NULL},
    {"setuid", 0, NULL},
    {"setresuid", 0, NULL},
    {"seccomp", 0, NULL},
    {"personality", 0, NULL},
    {"reboot", 0, NULL},
    {"init_module", 0, NULL},
    {"fanotify_init", 0, NULL},
    {"ioctl", ENOTTY, NULL},
    {"memfd_create", EPERM, NULL},
    {"shared", EPERM, NULL},
    {"validated", EPERM, NULL},
    {"made", EPERM, NULL},
    {"protect", 0, "mprotect"},
    {"fallocate", 0, NULL},
    {"setown", 0, "fcntl"},
};

static void must_die_of(struct kid *k, const char *call)
{
    char line[64];
    siginfo_t info = kid_death(k);
    snprintf(line, sizeof line, "syscall: %s\n", call);
    ck_assert_msg(info.si_status == SIGSYS, "%s: signal %d", call, info.si_status);
    ck_assert_uint_eq(k->segment->obituary.why, PWC__CODE__CODE_SANDBOX);
    ck_assert_msg(strncmp(k->segment->obituary.text, line, strlen(line)) == 0, "%s is called %.40s", call,
                  k->segment->obituary.text);
}

/* It is in the middle of a chunk while its neighbour is attacked, and goes on. */
START_TEST(each_attempt_is_denied)
{
    struct kid victim = new_stage(_i % WAYS), k = new_stage(_i % WAYS);
    const int i = _i / WAYS;
    const char *call = attempts[i].call;
    char text[128];
    ask(&k, 1, 1, call, victim.pid);
    if (attempts[i].error == 0) {
        must_die_of(&k, attempts[i].named != NULL ? attempts[i].named : call);
    } else {
        const Stage__Report *r = answer(&k);
        snprintf(text, sizeof text, "%s: %s", call, strerror(attempts[i].error));
        ck_assert_str_eq(r->reason, text);
    }
    kid_open(&victim, 1, "noop", "n", "100", NULL);
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = 1, l.job = 1, l.n = 100, l.attempt = 1;
    ck_assert_uint_eq(kid_lease(&victim, &l)->done, 100);
}
END_TEST

/* What one op declares is no other's: the same call in a stage that was made for it. */
START_TEST(code_is_made_where_an_op_needs_it)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready_with(&n, OP_NEEDS_CODE), plain = kid_ready(&n);
    ck_assert_ptr_null(strstr(k.entered->layers, "nocode"));
    ck_assert_ptr_nonnull(strstr(plain.entered->layers, "nocode"));
    ask(&k, 1, 1, "made", 0);
    ck_assert_str_eq(answer(&k)->reason, "made: it worked");
    ask(&k, 2, 2, "protect", 0);
    must_die_of(&k, "mprotect");
}
END_TEST

#ifdef __x86_64__
/* Not by the other doors of the same kernel either: there the filter knows no names. */
START_TEST(no_call_of_another_architecture)
{
    static const char *const calls[] = {"int80", "x32"};
    struct kid k = new_stage(_i % WAYS);
    const char *call = calls[_i / WAYS];
    ask(&k, 1, 1, call, 0);
    siginfo_t info = kid_death(&k);
    ck_assert_msg(info.si_code != CLD_EXITED, "%s went through", call);
    ck_assert_msg(info.si_status == SIGSYS || info.si_status == SIGSEGV || info.si_status == SIGKILL,
                  "%s: signal %d", call, info.si_status); /* SIGSEGV: a kernel without that door */
}
END_TEST
#endif

/* ---- what it has ---- */

/* more: what it has besides, a letter each. */
static void check_descriptors(struct kid *k, uint64_t job, const char *more)
{
    char text[64];
    ask(k, job, job, "descriptors", 0);
    snprintf(text, sizeof text, "descriptors: " ALWAYS "%s", more);
    ck_assert_str_eq(answer(k)->reason, text);
}

static int give_arena(struct kid *k, uint64_t id)
{
    int fd;
    Stage__Arena m = STAGE__ARENA__INIT;
    m.arena = id;
    m.bytes = 1 << 20;
    ck_assert_int_eq(memfd_sized("arena", m.bytes, &fd), 0);
    say_full(k->chan, PWC_MSG_ARENA, &m, NULL, 0, &fd, 1);
    return fd;
}

START_TEST(a_stage_has_what_it_needs_and_no_more)
{
    struct kid first = new_stage(_i % WAYS);
    close(give_arena(&first, 1));
    check_descriptors(&first, 1, ""); /* mapped and closed */
    /* A later one inherits nothing of what the nursery, we or the first one hold. */
    int secret = memfd_with("secret", 6);
    struct kid second = new_stage(_i % WAYS);
    check_descriptors(&second, 2, "");
    close(secret);
}
END_TEST

/* What pwcd opens is closed by exec; what a library of its has opened need not be. */
START_TEST(what_exec_would_leave_open_is_closed)
{
    int secret = memfd_with("secret", 6), ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_ge(fcntl(secret, F_DUPFD, 4), 4);
    ck_assert_int_ge(fcntl(secret, F_DUPFD, 100), 100);
    ck_assert_int_ge(fcntl(ends[0], F_DUPFD, 50), 50);
    ck_assert_int_ge(fcntl(ends[1], F_DUPFD, 51), 51);
    struct kid k = kid_executed();
    check_descriptors(&k, 1, "");
}
END_TEST

static void open_files(struct kid *k, uint64_t job, const int *fds, unsigned n)
{
    static char op[] = "array.sum", in[] = "in", type[] = "type", uint8[] = "uint8", *roles[] = {in};
    Pwc__Param p = PWC__PARAM__INIT, *params[] = {&p};
    Pwc__Value v = PWC__VALUE__INIT;
    p.name = type;
    p.value = &v;
    v.kind_case = PWC__VALUE__KIND_STR;
    v.str = uint8;
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    m.job = job;
    m.op = op;
    m.params = params;
    m.n_params = 1;
    m.roles = roles;
    m.n_roles = n;
    m.role = STAGE__ROLE__ROLE_PLANNER;
    say_full(k->chan, PWC_MSG_JOB_OPEN, &m, NULL, 0, fds, n);
}

/* A job's descriptors go with its JobClose: the next one in the same domain does not see them. */
START_TEST(a_job_leaves_no_descriptors_behind)
{
    struct kid k = new_stage(_i % WAYS);
    int fd = memfd_with("some bytes", 10);
    for (uint64_t job = 1; job < 40; job += 2) {
        open_files(&k, job, &fd, 1);
        check_descriptors(&k, job + 1, "f");
        Stage__JobClose m = STAGE__JOB_CLOSE__INIT;
        m.job = job;
        say(k.chan, PWC_MSG_JOB_CLOSE, &m);
        m.job = job + 1;
        say(k.chan, PWC_MSG_JOB_CLOSE, &m);
    }
    check_descriptors(&k, 99, "");
    close(fd);
}
END_TEST

/* From outside: another process of the same user cannot read it either. */
START_TEST(a_stage_cannot_be_looked_into)
{
    struct kid k = new_stage(_i % WAYS);
    char path[64], line[256];
    bool dumpable = true;
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/mem", (int)k.pid);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, 0); /* the kernel gives what cannot be dumped to root */
    snprintf(path, sizeof path, "/proc/%d/status", (int)k.pid);
    FILE *f = fopen(path, "re");
    unsigned long long caps = 1;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "CapEff: %llx", &caps) == 1)
            ck_assert_uint_eq(caps, 0);
        dumpable = dumpable && strncmp(line, "CoreDumping:\t1", 14) != 0;
    }
    fclose(f);
    ck_assert(dumpable);
    ck_assert_uint_eq(caps, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cage");
    TCase *t = tcase_create("cage");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, each_attempt_is_denied, 0, ARRAY_LEN(attempts) * WAYS);
    tcase_add_test(t, code_is_made_where_an_op_needs_it);
#ifdef __x86_64__
    tcase_add_loop_test(t, no_call_of_another_architecture, 0, 2 * WAYS);
#endif
    tcase_add_loop_test(t, a_stage_has_what_it_needs_and_no_more, 0, WAYS);
    tcase_add_test(t, what_exec_would_leave_open_is_closed);
    tcase_add_loop_test(t, a_job_leaves_no_descriptors_behind, 0, WAYS);
    tcase_add_loop_test(t, a_stage_cannot_be_looked_into, 0, WAYS);
    suite_add_tcase(s, t);
    return run_suite(s);
}
