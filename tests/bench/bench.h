/*
 * bench.h - what the programs of `contrib/bench` share. Each program does one thing once and prints what it
 * measured, a line "key value" each; tests/bench/pair.c runs ours and theirs in turn and compares.
 *
 * A program that finds a wrong result says so and exits with 1: a fast wrong answer is a failure. What cannot
 * be measured here exits with 77.
 */
#ifndef PWC_TESTS_BENCH_H
#define PWC_TESTS_BENCH_H

#include <errno.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>

#include "client/pwc.h"

#define BENCH_SKIP 77

/* Seconds, monotonic. */
double bench_now(void);

void bench_print(const char *key, double value);
/* p50 and p99 of the values, in microseconds when they are in seconds: prints "KEYp50 x", "KEYp99 x". */
void bench_print_quantiles(const char *prefix, double *seconds, size_t n);
double bench_quantile(double *values, size_t n, double q); /* sorts */

/* One line on stderr; exits with 1. */
_Noreturn void bench_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The next argument as a number within bounds, or the end. */
uint64_t bench_number(const char *what, const char *text, uint64_t min, uint64_t max);

/* ---- other processes, from /proc ---- */
double bench_cpu_of(pid_t pid);          /* seconds of CPU, of all its threads, exactly; 0: it is gone */
double bench_cpu_of_children(pid_t pid); /* the same of each living child; dead ones count for nothing */
double bench_cpu_of_family(pid_t pid);   /* in ticks: of pid, its children, those that it has waited for */
double bench_cpu_of_all(pid_t pid);      /* exactly of pid and its living children, in ticks of the dead */
uint64_t bench_rss_kib(pid_t pid);       /* VmRSS */
uint64_t bench_peak_kib(pid_t pid);      /* VmHWM: the most it ever had */
uint64_t bench_switches_of(pid_t pid);   /* times it was put on a CPU anew: 0 new ones mean no wakeup */
size_t bench_children(pid_t pid, pid_t *ret_pids, size_t max);

/* Seconds of CPU from begin to end: of the supervisor, and of it and all its processes. Printed as
 * "daemon_cpu_ms x" and its share, "daemon_percent x". */
struct bench_cpu {
    pid_t daemon;
    double own, all;
};
void bench_cpu_begin(struct bench_cpu *cpu, pid_t daemon);
void bench_cpu_end(struct bench_cpu *cpu);
void bench_cpu_print(const struct bench_cpu *cpu);

/* ---- the daemon at $PWC_SOCKET ---- */
struct pwc *bench_connect(void);
struct pwc *bench_wait_ready(void); /* connects as soon as it computes; NULL: it does not */
pid_t bench_daemon(struct pwc *c);  /* its process */
uint64_t bench_result(struct pwc_job *job, const char *name);
/* op with n chunks of `steps` (bench.mix only), submitted and waited for; checks the counts. */
struct pwc_spec *bench_chunks_spec(const char *op, uint64_t n, uint64_t steps);
struct pwc_job *bench_run(struct pwc *c, struct pwc_spec *spec);

#endif
