/* util.c - see bench.h: time, numbers, /proc. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_print(const char *key, double value)
{
    printf("%s %.9g\n", key, value);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t n, double q)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof *values, by_value);
    size_t at = (size_t)(q * (double)n);
    return values[at < n ? at : n - 1];
}

void bench_print_quantiles(const char *prefix, double *seconds, size_t n)
{
    char key[64];
    snprintf(key, sizeof key, "%sp50", prefix);
    bench_print(key, bench_quantile(seconds, n, 0.50) * 1e6);
    snprintf(key, sizeof key, "%sp99", prefix);
    bench_print(key, bench_quantile(seconds, n, 0.99) * 1e6);
}

void bench_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(EXIT_FAILURE);
}

uint64_t bench_number(const char *what, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    if (text == NULL)
        bench_fail("%s is missing", what);
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || v < (double)min || v > (double)max)
        bench_fail("%s: '%s' is no number from %lu to %lu", what, text, (unsigned long)min,
                   (unsigned long)max);
    /* Beyond 2^53 only digits are exact. */
    return strpbrk(text, ".eE") != NULL ? (uint64_t)v : strtoull(text, NULL, 10);
}

/* ---- /proc ---- */

static FILE *open_proc(pid_t pid, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

/* The clock of the process: libraries compute in threads of their own, and those that have ended count, too.
 */
double bench_cpu_of(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* utime, stime and, of children it has waited for, cutime, cstime: fields 14 to 17. */
static double cpu_ticks(pid_t pid, bool with_dead_children)
{
    char line[1024];
    unsigned long u = 0, s = 0;
    long cu = 0, cs = 0;
    FILE *f = open_proc(pid, "stat");
    if (f == NULL)
        return 0;
    const char *at = fgets(line, sizeof line, f) != NULL ? strrchr(line, ')') : NULL;
    fclose(f);
    if (at == NULL ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &u, &s, &cu, &cs) != 4)
        return 0;
    double ticks = (double)(u + s) + (with_dead_children ? (double)(cu + cs) : 0);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

size_t bench_children(pid_t pid, pid_t *ret_pids, size_t max)
{
    char name[64];
    size_t n = 0;
    int child;
    snprintf(name, sizeof name, "task/%d/children", (int)pid);
    FILE *f = open_proc(pid, name);
    if (f == NULL)
        return 0;
    while (n < max && fscanf(f, "%d", &child) == 1)
        ret_pids[n++] = child;
    fclose(f);
    return n;
}

double bench_cpu_of_children(pid_t pid)
{
    pid_t children[512];
    size_t n = bench_children(pid, children, sizeof children / sizeof children[0]);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += bench_cpu_of(children[i]);
    return sum;
}

double bench_cpu_of_family(pid_t pid)
{
    pid_t children[512];
    size_t n = bench_children(pid, children, sizeof children / sizeof children[0]);
    double sum = cpu_ticks(pid, true);
    for (size_t i = 0; i < n; i++)
        sum += cpu_ticks(children[i], true);
    return sum;
}

double bench_cpu_of_all(pid_t pid)
{
    return bench_cpu_of(pid) + bench_cpu_of_children(pid) + cpu_ticks(pid, true) - cpu_ticks(pid, false);
}

void bench_cpu_begin(struct bench_cpu *cpu, pid_t daemon)
{
    *cpu = (struct bench_cpu){daemon, bench_cpu_of(daemon), bench_cpu_of_all(daemon)};
}

void bench_cpu_end(struct bench_cpu *cpu)
{
    cpu->own = bench_cpu_of(cpu->daemon) - cpu->own;
    cpu->all = bench_cpu_of_all(cpu->daemon) - cpu->all;
}

void bench_cpu_print(const struct bench_cpu *cpu)
{
    bench_print("daemon_cpu_ms", cpu->own * 1e3);
    bench_print("daemon_percent", cpu->all > 0 ? 100 * cpu->own / cpu->all : 0);
}

static uint64_t status_field(pid_t pid, const char *field)
{
    char line[256];
    uint64_t v = 0;
    size_t len = strlen(field);
    FILE *f = open_proc(pid, "status");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, field, len) == 0 && line[len] == ':')
            v = strtoull(line + len + 1, NULL, 10);
    }
    fclose(f);
    return v;
}

uint64_t bench_rss_kib(pid_t pid)
{
    return status_field(pid, "VmRSS");
}

uint64_t bench_peak_kib(pid_t pid)
{
    return status_field(pid, "VmHWM");
}

uint64_t bench_switches_of(pid_t pid)
{
    return status_field(pid, "voluntary_ctxt_switches");
}
