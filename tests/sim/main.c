/*
 * main.c - many seeds, in batches, in processes.
 *
 *   sim                     as many seeds as PWC_SIM_SEEDS says (20,000), in 100 batches
 *   sim --seeds N [--from S] [--jobs J]
 *   sim --seed N [-v]       one, with a readable log
 *
 * A batch is a process: a seed that fails, by a check or by an assertion of the supervisor's, says how, names
 * itself and ends it. The last line counts batches.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/dump.h"
#include "ipc/log.h"
#include "tests/sim/sim.h"

#define BATCHES       100u
#define SEEDS_DEFAULT 20000u

bool sim_verbose;

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

struct tally {
    unsigned passed, failed;
};

static void wait_one(struct tally *t)
{
    int status;
    if (wait(&status) < 0)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        t->passed++;
    else
        t->failed++;
}

static int run_all(uint64_t from, uint64_t seeds, unsigned jobs)
{
    struct tally t = {0};
    unsigned batches = (unsigned)MIN(seeds, (uint64_t)BATCHES), running = 0;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
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
    printf("%lu seeds in %.1f s\n", (ul)seeds,
           (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
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

int main(int argc, char **argv)
{
    const char *env = getenv("PWC_SIM_SEEDS");
    uint64_t seeds = env != NULL && *env != '\0' ? number(env) : SEEDS_DEFAULT, from = 1, one = 0;
    uint64_t jobs = (uint64_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1l);
    bool single = false;
    log_open("pwcd", LOG_BUG, false);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "-v") == 0)
            sim_verbose = true;
        else if (strcmp(argv[i], "--seed") == 0)
            one = number(value), single = true, i++;
        else if (strcmp(argv[i], "--seeds") == 0)
            seeds = number(value), i++;
        else if (strcmp(argv[i], "--from") == 0)
            from = number(value), i++;
        else if (strcmp(argv[i], "--jobs") == 0)
            jobs = MAX(number(value), (uint64_t)1), i++;
        else {
            fprintf(stderr, "usage: sim [--seeds N] [--from S] [--jobs J] | --seed N [-v]\n");
            return 2;
        }
    }
    if (!single)
        return run_all(from, seeds, (unsigned)jobs);
    if (sim_verbose)
        log_set_level(LOG_DBG);
    watch_crashes();
    world_run(one);
    printf("seed %lu: %lu steps\n1 passed, 0 failed\n", (ul)one, (ul)W.steps);
    return EXIT_SUCCESS;
}
