/* client_case.c - see client_case.h. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/client_case.h"
#include "tests/unit/runner.h"

char dir[64], path[96];
struct fake *fake;
struct pwc *conn;

void with_greeting(enum fake_greeting greeting)
{
    strcpy(dir, "/tmp/pwc-test-client-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sock", dir);
    fake = fake_start(path, greeting);
}

void client_setup(void)
{
    with_greeting(FAKE_WELCOME);
    ck_assert_msg(pwc_connect(path, LONG, &conn) == PWC_OK, "%s", pwc_error());
}

void client_teardown(void)
{
    pwc_close(conn);
    conn = NULL;
    fake_stop(fake);
    rmdir(dir);
}

struct pwc_job *submit(struct pwc_spec *spec)
{
    struct pwc_job *job;
    ck_assert_msg(pwc_submit(conn, spec, &job) == PWC_OK, "%s", pwc_error());
    return job;
}

struct pwc_job *submit_op(const char *op)
{
    struct pwc_spec *spec = pwc_spec_new(op);
    struct pwc_job *job = submit(spec);
    pwc_spec_free(spec);
    return job;
}

int count_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

void wait_fds(int n)
{
    for (int i = 0; i < LONG && count_fds() != n; i++)
        poll(NULL, 0, 1);
    ck_assert_int_eq(count_fds(), n);
}

int temp_file(const char *text)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static int open_item(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user)
{
    (void)job, (void)index;
    ((struct item_counts *)user)->opened++;
    item->fds[0] = temp_file("an item");
    return PWC_OK;
}

static void item_done(struct pwc_job *job, uint64_t index, int code, const char *reason, uint32_t attempts,
                      void *user)
{
    (void)job, (void)index, (void)reason, (void)attempts;
    struct item_counts *counts = user;
    counts->done++;
    counts->failed += code != PWC_OK;
}

void counted_batch(struct pwc_spec *spec, uint64_t n, struct item_counts *counts)
{
    static const char *const roles[] = {"in"};
    pwc_spec_batch(spec, &(struct pwc_batch){n, roles, 1, open_item, item_done, counts});
}
