/* ctl_run.h - runs the real pwcctl in a directory of its own, beside a fake daemon, and keeps what it said.
 */
#ifndef PWC_TESTS_CTL_RUN_H
#define PWC_TESTS_CTL_RUN_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/unit/test_client_fake.h"

#define CANNOT_EXEC 126

struct ran {
    int status;
    char out[16384], err[16384];
};

extern bool as_nobody;  /* pwcctl gives up root first */
extern bool no_tmpfile; /* and finds no file system that has files without names */
extern bool traced;     /* and is traced by us, from its first step */
extern char dir[64], sock[96];
extern struct fake *fake;
extern struct ran ran; /* of the last run */

const char *pwcctl(void); /* where it is */
void ctl_setup(void);
void ctl_teardown(void);

pid_t start(char *const *argv, int in, int *ret_out, int *ret_err);
/* Both streams to their ends, whichever fills first. */
void collect(int out, int err, struct ran *r);
int finish(pid_t pid); /* its exit status */
int run_in(int in, char *const *argv);
#define RUN(...) run_in(STDIN_FILENO, (char *const[]){(char *)"pwcctl", __VA_ARGS__, NULL})
#define W(s)     ((char *)(uintptr_t)(s))

void wait_empty(int reader); /* of a FIFO: until another one has read what was in it */
void put(const char *name, const char *text);
const char *get(const char *name);  /* NULL: there is no such file */
int count_files(const char *where); /* but for the socket */
void script(const char *name, const char *body);

void add_io_tests(TCase *tc); /* test_ctl_io.c */

#endif
