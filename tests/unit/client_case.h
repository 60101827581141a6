/* client_case.h - what the tests of libpwc begin with: a fake daemon in a directory, a connection to it. */
#ifndef PWC_TESTS_CLIENT_CASE_H
#define PWC_TESTS_CLIENT_CASE_H

#include <check.h>

#include "client/pwc.h"
#include "tests/unit/test_client_fake.h"

#define LONG 20000 /* ms: a deadline for what takes no time */

extern char dir[64], path[96];
extern struct fake *fake;
extern struct pwc *conn;

void with_greeting(enum fake_greeting greeting);
void client_setup(void); /* with_greeting(FAKE_WELCOME), connected */
void client_teardown(void);

struct pwc_job *submit(struct pwc_spec *spec);
struct pwc_job *submit_op(const char *op);
int count_fds(void);
void wait_fds(
    int n); /* until so many are open; the fake closes what it was sent a moment after it has answered */
/* A batch of n items with a file each, of which is counted what is asked for and told. */
struct item_counts {
    unsigned opened, done, failed;
};
void counted_batch(struct pwc_spec *spec, uint64_t n, struct item_counts *counts);
int temp_file(const char *text); /* without a name; the offset is at its end */

/* test_client_again.c, test_client_async.c, test_client_calls.c */
void add_again_tests(TCase *tc);
void add_async_tests(TCase *tc);
void add_calls_tests(TCase *tc);

#endif
