/*
 * omp.c - bench-omp: the same work under OpenMP's dynamic schedule, in one process that a crash would end.
 *
 *   calibrate NS        steps of arithmetic that take about NS nanoseconds
 *   expect N STEPS      the sum that N chunks must give
 *   empty N             N calls through a pointer
 *   mix N STEPS SUM     N chunks of arithmetic
 *   sum FILE SUM        int32 of a file, opened and mapped afresh
 *   hold N              fills a memory file with N int32, prints its path and sum, lives until its input ends
 *   file N PATH         the same numbers in a file
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma GCC optimize("O3") /* the peer gets the best that its compiler can do, whatever CFLAGS say */

#include "tests/bench/bench.h"
#include "worker/ops/bench_mix.h"

#define BLOCK (1u << 20) /* elements a turn */

/* The threads exist and have run before anything is timed. */
static void warm(void)
{
    uint64_t sum = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : sum)
    for (uint64_t i = 0; i < 1000; i++)
        sum += bench_mix(i, 1000);
    if (sum == 0)
        bench_fail("the sum is 0");
}

/* Each try is shorter than what a busy machine gives in one go: one of them was alone. */
static int cmd_calibrate(char **argv)
{
    const uint64_t steps = 500000;
    double ns = (double)bench_number("nanoseconds", argv[2], 1, 1u << 30), best = 0;
    volatile uint64_t keep = 0;
    for (int i = 0; i < 200; i++) {
        double start = bench_now();
        keep += bench_mix((uint64_t)i, steps);
        double took = bench_now() - start;
        best = best == 0 || took < best ? took : best;
    }
    printf("%lu\n", (unsigned long)(ns * 1e-9 / best * (double)steps));
    return 0;
}

static uint64_t mix_all(uint64_t n, uint64_t steps)
{
    uint64_t sum = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : sum)
    for (uint64_t i = 0; i < n; i++)
        sum += bench_mix(i, steps);
    return sum;
}

static int cmd_expect(char **argv)
{
    uint64_t n = bench_number("chunks", argv[2], 1, UINT64_MAX >> 1);
    printf("%lu\n", (unsigned long)mix_all(n, bench_number("steps", argv[3], 0, UINT64_MAX >> 1)));
    return 0;
}

static int nothing(uint64_t chunk)
{
    (void)chunk;
    return 0;
}

/* What our chunk does too: a call that nobody can look into, whose answer is looked at. */
static int (*volatile process)(uint64_t) = nothing;

static int cmd_empty(char **argv)
{
    uint64_t n = bench_number("chunks", argv[2], 1, UINT64_MAX >> 1), bad = 0;
    int (*f)(uint64_t) = process;
    warm();
    double start = bench_now();
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : bad)
    for (uint64_t i = 0; i < n; i++)
        bad += f(i) != 0;
    double seconds = bench_now() - start;
    if (bad > 0)
        bench_fail("%lu chunks failed", (unsigned long)bad);
    bench_print("seconds", seconds);
    bench_print("ns_chunk", seconds * 1e9 / (double)n);
    return 0;
}

static int cmd_mix(char **argv)
{
    uint64_t n = bench_number("chunks", argv[2], 1, UINT64_MAX >> 1);
    uint64_t steps = bench_number("steps", argv[3], 0, UINT64_MAX >> 1);
    uint64_t expected = bench_number("sum", argv[4], 0, UINT64_MAX);
    warm();
    double start = bench_now();
    uint64_t sum = mix_all(n, steps);
    double seconds = bench_now() - start;
    if (sum != expected)
        bench_fail("the sum is %lu, not %lu", (unsigned long)sum, (unsigned long)expected);
    bench_print("seconds", seconds);
    bench_print("ns_chunk", seconds * 1e9 / (double)n);
    return 0;
}

/* ---- sums ---- */

/* Vectors as wide as with -march=native, and as in array.sum. */
#if defined(__x86_64__) && !defined(PWC_SANITIZED)
#define KERNEL __attribute__((target_clones("avx2", "default")))
#else
#define KERNEL
#endif

KERNEL static int64_t sum_block(const int32_t *v, uint64_t n)
{
    int64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += v[i];
    return sum;
}

static int64_t sum_mapped(const int32_t *v, uint64_t n)
{
    int64_t sum = 0;
#pragma omp parallel for schedule(static) reduction(+ : sum)
    for (uint64_t at = 0; at < n; at += BLOCK)
        sum += sum_block(v + at, n - at < BLOCK ? n - at : BLOCK);
    return sum;
}

static int cmd_sum(char **argv)
{
    struct stat st;
    warm();
    int64_t expected = strtoll(argv[3], NULL, 10);
    double start = bench_now();
    int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        bench_fail("%s: %m", argv[2]);
    const int32_t *v = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (v == MAP_FAILED)
        bench_fail("mmap: %m");
    int64_t sum = sum_mapped(v, (uint64_t)st.st_size / sizeof *v);
    munmap((void *)(uintptr_t)v, (size_t)st.st_size);
    close(fd);
    double seconds = bench_now() - start;
    if (sum != expected)
        bench_fail("the sum is %ld, not %ld", (long)sum, (long)expected);
    bench_print("seconds", seconds);
    bench_print("gb_s", (double)st.st_size / seconds * 1e-9);
    return 0;
}

/* Of both signs, from a generator whose numbers differ in every block. */
static int64_t fill(int fd, uint64_t n)
{
    static int32_t block[BLOCK];
    int64_t sum = 0;
    for (uint64_t at = 0; at < n; at += BLOCK) {
        size_t k = n - at < BLOCK ? (size_t)(n - at) : BLOCK;
        for (size_t i = 0; i < k; i++) {
            block[i] = (int32_t)((at + i) * 2654435761u);
            sum += block[i];
        }
        if (write(fd, block, k * sizeof block[0]) != (ssize_t)(k * sizeof block[0]))
            bench_fail("no room for %lu numbers: %m", (unsigned long)n);
    }
    return sum;
}

static int cmd_hold(char **argv)
{
    char byte;
    uint64_t n = bench_number("numbers", argv[2], 1, 1ull << 40);
    int fd = memfd_create("bench", MFD_CLOEXEC);
    if (fd < 0)
        bench_fail("memfd: %m");
    int64_t sum = fill(fd, n);
    printf("/proc/%d/fd/%d %ld\n", (int)getpid(), fd, (long)sum);
    fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) < 0 ? 1 : 0;
}

/* On the disk before anything is timed: writing it out would run beside the first rounds. */
static int cmd_file(char **argv)
{
    uint64_t n = bench_number("numbers", argv[2], 1, 1ull << 40);
    int fd = open(argv[3], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        bench_fail("%s: %m", argv[3]);
    printf("%ld\n", (long)fill(fd, n));
    return fdatasync(fd) < 0 || close(fd) < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int argc;
        int (*run)(char **argv);
    } commands[] = {{"calibrate", 3, cmd_calibrate},
                    {"expect", 4, cmd_expect},
                    {"empty", 3, cmd_empty},
                    {"mix", 5, cmd_mix},
                    {"sum", 4, cmd_sum},
                    {"hold", 3, cmd_hold},
                    {"file", 4, cmd_file}};
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0 && argc == commands[i].argc)
            return commands[i].run(argv);
    }
    fprintf(stderr, "usage: see the head of tests/bench/omp.c\n");
    return 2;
}
