/* traced.c - see traced.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/client.h"
#include "tests/bench/traced.h"

/* Behind the words that are always there, two more or none. */
static pid_t start(const char *pwcctl, const char *trace, uint64_t n, uint64_t steps, int out,
                   const char *option, const char *value)
{
    char chunks[40], work[40];
    snprintf(chunks, sizeof chunks, "n=%lu", (unsigned long)n);
    snprintf(work, sizeof work, "steps=%lu", (unsigned long)steps);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(out, STDOUT_FILENO) < 0)
            _exit(126);
        execl(pwcctl, pwcctl, "run", "-q", "--trace", trace, "bench.mix", chunks, work, option, value,
              (char *)NULL);
        _exit(127);
    }
    if (pid < 0)
        bench_fail("fork: %m");
    close(out);
    return pid;
}

pid_t start_traced(const char *pwcctl, const char *trace, uint64_t n, uint64_t steps, int out)
{
    return start(pwcctl, trace, n, steps, out, NULL, NULL);
}

pid_t start_retried(const char *pwcctl, const char *trace, uint64_t n, uint64_t steps, int out,
                    const char *retries)
{
    return start(pwcctl, trace, n, steps, out, "--retries", retries);
}

void check_result(int out, uint64_t n, uint64_t sum)
{
    char text[256];
    unsigned long chunks, got;
    ssize_t len = read(out, text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    if (sscanf(text, "chunks %lu sum %lu", &chunks, &got) != 2 || chunks != n || got != sum)
        bench_fail("the job says '%s', not %lu chunks and the sum %lu", text, (unsigned long)n,
                   (unsigned long)sum);
}

/* ---- its account ---- */

void read_account(const char *pwcctl, const char *trace, char *json, size_t size)
{
    char command[8192];
    snprintf(command, sizeof command, "%s trace --json '%s'", pwcctl, trace);
    FILE *f = popen(command, "re");
    size_t n = f != NULL ? fread(json, 1, size - 1, f) : 0;
    json[n] = '\0';
    if (f == NULL || pclose(f) != 0)
        bench_fail("%s failed", command);
}

double account_number(const char *json, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *at = strstr(json, quoted);
    at = at != NULL ? strchr(at, ':') : NULL;
    if (at == NULL)
        bench_fail("the account has no \"%s\"", key);
    return strtod(at + 1, NULL);
}

static void must_be(const char *json, const char *key, uint64_t n)
{
    double is = account_number(json, key);
    if (is != (double)n)
        bench_fail("the trace accounts for %.0f %s, not %lu", is, key, (unsigned long)n);
}

/* A trace whose records were dropped is written in less time. */
int cmd_whole(int argc, char **argv)
{
    char json[ACCOUNT_BYTES];
    uint64_t n = bench_number("chunks", argc > 3 ? argv[3] : NULL, 1, UINT64_MAX >> 1);
    read_account(argv[1], argv[2], json, sizeof json);
    must_be(json, "absorbed", n);
    must_be(json, "recorded", n);
    must_be(json, "records_dropped", 0);
    return 0;
}
