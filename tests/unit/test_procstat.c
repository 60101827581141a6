/* test_procstat.c - CPU time and states of processes, and of threads behind a first one that waits. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/pressure.h"
#include "daemon/procstat.h"
#include "tests/unit/runner.h"

START_TEST(reads_the_kernels_text)
{
    char state;
    uint64_t ticks;
    ck_assert(procstat_parse("17 (a) R) ) S 1 17 17 0 -1 4194304 11 12 13 14 30 12 0 0 20 0 3 0 99\n", &state,
                             &ticks));
    ck_assert_int_eq(state, 'S');
    ck_assert_uint_eq(ticks, 42);
    ck_assert(!procstat_parse("", &state, &ticks));
    ck_assert(!procstat_parse("17 (a", &state, &ticks));
    ck_assert(!procstat_parse("17 (a) S 1 17", &state, &ticks));
}
END_TEST

START_TEST(who_is_gone_waits)
{
    bool waits = false;
    uint64_t ticks = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert(procstat_cpu(pid, &ticks, &waits));
    ck_assert_uint_eq(ticks, 0);
    ck_assert(waits);
}
END_TEST

/* ---- a process whose first thread waits for another one ---- */

enum phase { BEGINS, SPINS, SLEEPS };

static _Noreturn void wait_for_ever(void)
{
    for (;;)
        pause();
}

static void *spin(void *arg)
{
    _Atomic int *phase = arg;
    atomic_store(phase, SPINS);
    while (atomic_load(phase) == SPINS)
        ;
    wait_for_ever();
}

static pid_t start(_Atomic int *phase)
{
    pthread_t thread;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (pthread_create(&thread, NULL, spin, phase) != 0)
        _exit(1);
    wait_for_ever();
}

static bool first_thread_sleeps(pid_t pid)
{
    char path[48], text[512], state = 0;
    uint64_t ticks;
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    ck_assert(procstat_parse(text, &state, &ticks));
    return state == 'S';
}

START_TEST(who_has_a_thread_that_computes_does_not_wait)
{
    bool waits = true;
    uint64_t ticks;
    _Atomic int *phase = mmap(NULL, sizeof *phase, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(phase, MAP_FAILED);
    pid_t pid = start(phase);
    ck_assert_int_gt(pid, 0);
    while (atomic_load(phase) == BEGINS || !first_thread_sleeps(pid))
        sched_yield();
    ck_assert(procstat_cpu(pid, &ticks, &waits));
    ck_assert(!waits);
    while (procstat_cpu(pid, &ticks, &waits) && ticks == 0)
        sched_yield(); /* a tick of its time has been counted, too */
    atomic_store(phase, SLEEPS);
    while (procstat_cpu(pid, &ticks, &waits) && !waits)
        sched_yield();
    ck_assert(waits);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

/* ---- without memory ---- */

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
static bool no_memory;

DIR *__wrap_fdopendir(int fd)
{
    if (!no_memory)
        return __real_fdopendir(fd);
    errno = ENOMEM;
    return NULL;
}

static int next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

START_TEST(whose_threads_are_not_known_is_not_known_to_wait)
{
    bool waits = true;
    uint64_t ticks;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        wait_for_ever();
    }
    ck_assert_int_gt(pid, 0);
    while (!first_thread_sleeps(pid))
        sched_yield();
    ck_assert(procstat_cpu(pid, &ticks, &waits)); /* keeps its descriptor from now on */
    int before = next_descriptor();
    no_memory = true;
    bool known = procstat_cpu(pid, &ticks, &waits);
    int after = next_descriptor();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert(!known);
    ck_assert_int_eq(after, before);
}
END_TEST

/* ---- without descriptors ---- */

#define MANY 64

static int used[MANY];
static unsigned nused;

static void use_all_descriptors(void)
{
    struct rlimit few = {MANY, MANY};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((used[nused] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        nused++;
    ck_assert_int_eq(errno, EMFILE);
    ck_assert_uint_gt(nused, 0);
}

/* A sanitizer wants some when the test is over. */
static void use_no_descriptors(void)
{
    while (nused > 0)
        close(used[--nused]);
}

START_TEST(one_descriptor_is_kept_to_look_with)
{
    bool waits = true;
    uint64_t ticks, bytes = 0, kills;
    ck_assert(procstat_cpu(getpid(), &ticks, &waits));
    use_all_descriptors();
    for (int i = 0; i < 3; i++) {
        waits = true;
        ck_assert(procstat_cpu(getpid(), &ticks, &waits));
        ck_assert(!waits);
        ck_assert(procstat_cpu(getppid(), &ticks, &waits)); /* with a look at its threads, perhaps */
        ck_assert(pressure_of(getpid(), false, &bytes));
        ck_assert_uint_gt(bytes, 0);
        ck_assert(pressure_oom_kills(&kills));
    }
    use_no_descriptors();
}
END_TEST

/* Neither does it wait, nor has it no memory. */
START_TEST(who_cannot_be_looked_at_is_unknown)
{
    bool waits = false;
    uint64_t ticks, bytes, kills;
    use_all_descriptors();
    ck_assert(!procstat_cpu(getpid(), &ticks, &waits));
    ck_assert(!waits);
    ck_assert(!pressure_of(getpid(), false, &bytes));
    ck_assert(!pressure_oom_kills(&kills));
    use_no_descriptors();
    ck_assert(procstat_cpu(getpid(), &ticks, &waits));
    ck_assert(pressure_of(getpid(), false, &bytes));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("procstat");
    TCase *t = tcase_create("procstat"), *none = tcase_create("nofile");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_set_tags(none, "nofile");
    suite_add_tcase(s, none);
    tcase_add_test(none, one_descriptor_is_kept_to_look_with);
    tcase_add_test(none, who_cannot_be_looked_at_is_unknown);
    tcase_add_test(t, reads_the_kernels_text);
    tcase_add_test(t, who_is_gone_waits);
    tcase_add_test(t, whose_threads_are_not_known_is_not_known_to_wait);
    tcase_add_test(t, who_has_a_thread_that_computes_does_not_wait);
    return run_suite(s);
}
