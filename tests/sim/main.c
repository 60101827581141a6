/*
 * main.c - many seeds, in batches, in processes.
 *
 *   sim                     as many seeds as PWC_SIM_SEEDS says (100,000; with sanitizers 10,000), in 100
 *                           batches
 *   sim --seeds N [--from S] [--jobs J]
 *   sim --seed N [-v]       one, with a readable log
 *
 * A batch is a process: a seed that fails, by a check or by an assertion of the supervisor's, says how, names
 * itself and ends it. The last line counts batches.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/dump.h"
#include "ipc/log.h"
#include "tests/sim/sim.h"

#define BATCHES 100u
#ifdef PWC_SANITIZED
#define SEEDS_DEFAULT 10000u /* each takes twice as long, and the other build runs them all */
#else
#define SEEDS_DEFAULT 100000u
#endif

bool sim_verbose;
static struct tally own_tally;
struct tally *sim_tally = &own_tally;

void sim_log_line(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%11.6f  ", (double)(sim_now() - 1000 * NS_PER_S) / 1e9);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

void sim_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "sim: seed %lu, step %lu: ", (ul)W.seed, (ul)W.steps);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    if (sim_verbose && W.d.pool != NULL)
        dump_state(&W.d);
    _exit(1);
}

static void on_crash(int sig)
{
    char text[96];
    int n = snprintf(text, sizeof text, "sim: seed %lu, step %lu: SIG%s\n", (ul)W.seed, (ul)W.steps,
                     sigabbrev_np(sig));
    (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(1);
}

static void watch_crashes(void)
{
    signal(SIGABRT, on_crash);
#ifndef PWC_SANITIZED
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
#endif
}

static _Noreturn void run_batch(uint64_t from, uint64_t n)
{
    watch_crashes();
    for (uint64_t i = 0; i < n; i++)
        world_run(from + i);
    exit(EXIT_SUCCESS);
}

struct verdict {
    unsigned passed, failed;
};

static void wait_one(struct verdict *t)
{
    int status;
    if (wait(&status) < 0)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        t->passed++;
    else
        t->failed++;
}

static void print_tally(const struct tally *t, double seconds)
{
    printf("counts: %lu seeds in %.1f s: %lu steps, %lu jobs, %lu faults, %lu failed calls; %lu deaths with "
           "a lease, "
           "%lu chunks "
           "given up, %lu tried again, %lu tails taken back, %lu leases sent ahead, %lu of them taken back, "
           "%lu messages "
           "dropped, %lu traces added up, %lu seats lent, %lu given on top, %lu messages without room for "
           "their descriptors, %lu "
           "leases alone in their domain, %lu requests repeated, %lu nurseries sick, %lu stages dead while "
           "they entered for one user\n",
           (ul)t->seeds, seconds, (ul)t->steps, (ul)t->jobs, (ul)t->faults, (ul)t->failed_calls,
           (ul)t->deaths, (ul)t->quarantined, (ul)t->retried, (ul)t->steals, (ul)t->ahead, (ul)t->recalled,
           (ul)t->dropped, (ul)t->traces, (ul)t->lent, (ul)t->on_top, (ul)t->lost, (ul)t->solo,
           (ul)t->repeats, (ul)t->sick, (ul)t->cursed);
}

static int run_all(uint64_t from, uint64_t seeds, unsigned jobs)
{
    struct verdict t = {0};
    unsigned batches = (unsigned)MIN(seeds, (uint64_t)BATCHES), running = 0;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    void *shared = mmap(NULL, sizeof *sim_tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared != MAP_FAILED)
        sim_tally = shared;
    printf("seeds %lu to %lu, in %u batches\n", (ul)from, (ul)(from + seeds - 1), batches);
    fflush(NULL);
    for (unsigned i = 0; i < batches; i++) {
        uint64_t first = from + seeds * i / batches, last = from + seeds * (i + 1) / batches;
        if (running == jobs) {
            wait_one(&t);
            running--;
        }
        pid_t pid = fork();
        if (pid == 0)
            run_batch(first, last - first);
        running += pid > 0;
        t.failed += pid < 0;
    }
    for (; running > 0; running--)
        wait_one(&t);
    clock_gettime(CLOCK_MONOTONIC, &end);
    print_tally(sim_tally, (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    printf("%u passed, %u failed\n", t.passed, t.failed);
    return t.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "sim: '%s' is no number\n", text);
        exit(2);
    }
    return n;
}

struct options {
    uint64_t seeds, from, jobs, one;
    bool single;
};

static struct options read_options(int argc, char **argv)
{
    const char *env = getenv("PWC_SIM_SEEDS");
    struct options o = {.seeds = env != NULL && *env != '\0' ? number(env) : SEEDS_DEFAULT, .from = 1};
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"--seed", &o.one}, {"--seeds", &o.seeds}, {"--from", &o.from}, {"--jobs", &o.jobs}};
    o.jobs = (uint64_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1l);
    for (int i = 1; i < argc; i++) {
        bool known = strcmp(argv[i], "-v") == 0;
        sim_verbose |= known;
        for (size_t k = 0; k < ARRAY_LEN(numbers) && !known; k++)
            if (strcmp(argv[i], numbers[k].name) == 0 && i + 1 < argc) {
                *numbers[k].value = number(argv[++i]);
                o.single |= numbers[k].value == &o.one;
                known = true;
            }
        if (!known) {
            fprintf(stderr, "usage: sim [--seeds N] [--from S] [--jobs J] | --seed N [-v]\n");
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    struct options o = read_options(argc, argv);
    log_open("pwcd", sim_verbose ? LOG_DBG : LOG_BUG, false);
    if (!o.single)
        return run_all(o.from, o.seeds, (unsigned)MAX(o.jobs, (uint64_t)1));
    watch_crashes();
    world_run(o.one);
    printf("seed %lu: %lu steps\n1 passed, 0 failed\n", (ul)o.one, (ul)W.steps);
    return EXIT_SUCCESS;
}
