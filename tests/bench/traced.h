/*
 * traced.h - a job of bench.mix that pwcctl runs and traces: its command, its result, what its trace accounts
 * for.
 */
#ifndef PWC_TESTS_BENCH_TRACED_H
#define PWC_TESTS_BENCH_TRACED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ACCOUNT_BYTES 65536

/* n chunks of so many steps; takes `out`, where the result goes. Retries as pwcctl takes them, "crash=2". */
pid_t start_traced(const char *pwcctl, const char *trace, uint64_t n, uint64_t steps, int out);
pid_t start_retried(const char *pwcctl, const char *trace, uint64_t n, uint64_t steps, int out,
                    const char *retries);
/* What a chunk that was lost, or counted twice, would change. */
void check_result(int out, uint64_t n, uint64_t sum);

/* What `pwcctl trace --json` says of it, and the number behind "key": in that. */
void read_account(const char *pwcctl, const char *trace, char *json, size_t size);
double account_number(const char *json, const char *key);

#endif
