/* test_array_input.c - array.* with every kind of wrong input, of files and of other processes' states. */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/array_case.h"
#include "tests/unit/runner.h"
#include "worker/ops/array.h"

/* ---- wrong input ---- */

static void refused(const char *op, int fd, double offset, double count, Pwc__Code code, const char *text)
{
    struct driver d;
    driver_init(&d, op, "int32", fd);
    driver_set(&d, "offset", offset);
    driver_set(&d, "count", count);
    ck_assert_int_lt(driver_plan(&d), 0);
    ck_assert_str_eq(d.text, text);
    ck_assert_int_eq(d.code, code);
    driver_free(&d);
}

START_TEST(wrong_lengths_are_refused)
{
    const Pwc__Code bad = PWC__CODE__CODE_BAD_INPUT;
    AUTO_FD int fd = memory_file("1234567890", 10);
    AUTO_FD int empty = memory_file("", 0);
    refused("array.sum", fd, 0, 0, bad, "in: 10 bytes are not a whole number of int32 (4 bytes)");
    refused("array.sum", fd, 1, 0, bad,
            "in: 9 bytes from the offset on are not a whole number of int32 (4 bytes)");
    refused("array.sum", fd, 11, 0, bad, "in: offset 11 lies behind the end (10 bytes)");
    refused("array.sum", fd, 0, 3, bad, "in: 10 bytes do not hold 3 of int32 (4 bytes each) from byte 0");
    refused("array.sum", fd, 4, 0x1p62, bad,
            "in: 10 bytes do not hold 4611686018427387904 of int32 (4 bytes each) from byte 4");
    refused("array.sum", fd, 10, 0x1p62 - 1024, bad,
            "in: 10 bytes do not hold 4611686018427386880 of int32 (4 bytes each) from byte 10");
    refused("array.min", empty, 0, 0, bad, "in: no elements: array.min of nothing is not defined");
    refused("array.max", fd, 10, 0, bad, "in: no elements: array.max of nothing is not defined");
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
    const Pwc__Code bad = PWC__CODE__CODE_BAD_INPUT;
    AUTO_FD int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    AUTO_FD int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    refused("array.sum", zero, 0, 0, bad,
            "in: a device is not an array: a regular file or a memfd is needed");
    refused("array.sum", dir, 0, 0, bad,
            "in: a directory is not an array: a regular file or a memfd is needed");
    refused("array.sum", ends[0], 0, 0, bad,
            "in: a pipe is not an array: a regular file or a memfd is needed");
    refused("array.sum", -1, 0, 0, PWC__CODE__CODE_BAD_DESCRIPTOR, "in: missing");
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(count_takes_a_part_of_the_input)
{
    const int32_t x[] = {5, 6, 7, 8};
    struct driver d;
    AUTO_FD int fd = memory_file(x, sizeof x);
    driver_init(&d, "array.sum", "int32", fd);
    driver_set(&d, "offset", 4);
    driver_set(&d, "count", 2);
    ck_assert_int_eq(driver_run(&d, 1), 0);
    same_i128(want(&d, "sum")->i, 13, "sum");
    driver_free(&d);
}
END_TEST

START_TEST(sum_of_nothing_is_0)
{
    struct driver d;
    AUTO_FD int fd = memory_file("", 0);
    driver_init(&d, "array.sum", "int64", fd);
    ck_assert_int_eq(driver_run(&d, 1), 0);
    ck_assert_uint_eq(d.plan.chunks, 1);
    same_i128(want(&d, "sum")->i, 0, "sum");
    same_i128(want(&d, "count")->i, 0, "count");
    driver_free(&d);
}
END_TEST

static int (*const files[])(const void *data, size_t len) = {memory_file, disk_file};

/* Fails at its second part: what the first one had must not be in the lease's state. */
START_TEST(input_that_shrinks_fails_and_leaves_no_trace)
{
    struct driver d;
    uint8_t *data = xcalloc(1, ARRAY_CHUNK);
    memset(data, 1, ARRAY_CHUNK);
    AUTO_FD int fd = files[_i](data, ARRAY_CHUNK);
    driver_init(&d, "array.sum", "uint8", fd);
    ck_assert_int_eq(driver_plan(&d), 0);
    ck_assert_int_eq(driver_open(&d), 0);
    ck_assert_int_eq(ftruncate(fd, ARRAY_PART + 10), 0);
    ck_assert_int_lt(d.job.op->process(&d.job, 0, NULL), 0);
    ck_assert_int_eq(d.code, PWC__CODE__CODE_INPUT_SHRANK);
    ck_assert_str_eq(d.text, "in: became shorter while it was read: it ends at or before byte 262154");
    const struct array_sum nothing = {0};
    ck_assert_mem_eq(d.job.fold, &nothing, sizeof nothing);
    driver_free(&d);
    free(data);
}
END_TEST

/* 40 chunks and a bit, from an odd byte or not: the same numbers, copied and seen, and what was seen is given
 * back. */
START_TEST(files_and_memory_files_give_the_same)
{
    static const char *const ops[] = {"array.sum", "array.min", "array.max", "array.histogram"};
    static const char *const names[] = {"sum", "index", "index", "counts"};
    const size_t len = 40 * ARRAY_CHUNK + 1003;
    AUTO_FREE uint8_t *data = xcalloc(1, len);
    uint64_t state = 11;
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)driver_random(&state);
    for (unsigned k = 0; k < 16; k++) {
        struct driver d[2];
        for (unsigned f = 0; f < 2; f++) {
            AUTO_FD int fd = files[f](data, len);
            driver_init(&d[f], ops[k / 4], "int16", fd);
            driver_set(&d[f], "offset", k % 4);
            driver_set(&d[f], "count", (double)(len / 2 - 2));
            driver_set(&d[f], "bins", 7);
            driver_set(&d[f], "min", -20000);
            driver_set(&d[f], "max", 20000);
            ck_assert_int_eq(driver_run(&d[f], k), 0);
        }
        const struct driver_result *a = want(&d[0], names[k / 4]), *b = want(&d[1], names[k / 4]);
        same_i128(b->i, a->i, ops[k / 4]);
        ck_assert_mem_eq(b->list, a->list, sizeof a->list);
        driver_free(&d[0]);
        driver_free(&d[1]);
    }
}
END_TEST

/* How many of the map's pages this process has in its tables. */
static size_t pages_of(const void *map, size_t len)
{
    AUTO_FD int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n = len / page;
    AUTO_FREE uint64_t *entries = xcalloc(n, sizeof *entries);
    ck_assert_int_eq(
        pread(fd, entries, n * sizeof *entries, (off_t)((uintptr_t)map / page * sizeof *entries)),
        (ssize_t)(n * sizeof *entries));
    size_t present = 0;
    for (size_t i = 0; i < n; i++)
        present += entries[i] >> 63;
    return present * page;
}

START_TEST(passed_elements_leave_the_map)
{
    struct driver d;
    const size_t len = 64 * ARRAY_CHUNK;
    AUTO_FREE uint8_t *data = xcalloc(1, len);
    AUTO_FD int fd = disk_file(data, len);
    driver_init(&d, "array.sum", "uint8", fd);
    ck_assert_int_eq(driver_plan(&d), 0);
    ck_assert_int_eq(driver_open(&d), 0);
    for (uint64_t i = 0; i < d.plan.chunks; i++) {
        ck_assert_int_eq(d.job.op->process(&d.job, (i * 37) % d.plan.chunks, NULL), 0);
        if (d.map != NULL)
            ck_assert_uint_le(pages_of(d.map, len), 18 * ARRAY_CHUNK);
    }
    driver_free(&d);
}
END_TEST

/* No fault tells: the rest of the page that it ends in now is zeros. */
START_TEST(cut_inside_its_last_page_while_it_is_seen)
{
    struct driver d;
    AUTO_FREE uint8_t *data = xcalloc(1, ARRAY_CHUNK);
    AUTO_FD int fd = disk_file(data, ARRAY_CHUNK);
    driver_init(&d, "array.sum", "uint8", fd);
    ck_assert_int_eq(driver_plan(&d), 0);
    ck_assert_int_eq(driver_open(&d), 0);
    struct array *a = d.job.state;
    array_read_chunk(a, 0, ARRAY_CHUNK);
    if (a->seen) { /* not where the folder is in memory */
        ck_assert_int_eq(ftruncate(fd, ARRAY_CHUNK - 1), 0);
        ck_assert_int_lt(array_read_passed(&d.job, a, 0, ARRAY_CHUNK), 0);
        ck_assert_int_eq(d.code, PWC__CODE__CODE_INPUT_SHRANK);
    }
    driver_free(&d);
}
END_TEST

struct scribbler {
    _Atomic bool stop;
    uint8_t *bytes;
    size_t len;
};

static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    for (int i = 0; !atomic_load(&s->stop); i++)
        memset(s->bytes, 1 + i % 2, s->len);
    return NULL;
}

/* The file that is seen is somebody else's: the smallest element may be gone when it is looked for. Behind
 * the last one nothing is mapped. */
START_TEST(who_writes_meanwhile_leads_nobody_out)
{
    const struct array_type *type = array_type_find("uint8");
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *bytes = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(bytes != MAP_FAILED);
    ck_assert_int_eq(mprotect(bytes + page, page, PROT_NONE), 0);
    struct scribbler s = {.bytes = bytes, .len = page};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, scribble, &s), 0);
    for (int i = 0; i < 100000; i++) {
        struct array_extreme e = {0};
        type->min(&e, bytes, page, 0);
        ck_assert_uint_lt(e.index, page);
    }
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    munmap(bytes, 2 * page);
}
END_TEST

START_TEST(input_that_cannot_be_read_fails)
{
    struct driver d;
    AUTO_FD int fd = memory_file("1234", 4);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    AUTO_FD int write_only = open(path, O_WRONLY | O_CLOEXEC);
    driver_init(&d, "array.sum", "int32", write_only);
    ck_assert_int_lt(driver_run(&d, 1), 0);
    ck_assert_int_eq(d.code, PWC__CODE__CODE_INPUT_IO);
    ck_assert_str_eq(d.text, "in: reading at byte 0: Bad file descriptor");
    driver_free(&d);
}
END_TEST

START_TEST(cancel_is_seen_inside_a_chunk)
{
    static const _Atomic uint32_t cancelled = 1;
    struct driver d;
    AUTO_FD int fd = memory_file("1234", 4);
    driver_init(&d, "array.sum", "int32", fd);
    ck_assert_int_eq(driver_plan(&d), 0);
    ck_assert_int_eq(driver_open(&d), 0);
    d.job.cancel = &cancelled;
    ck_assert_int_lt(d.job.op->process(&d.job, 0, NULL), 0);
    ck_assert_int_eq(d.code, PWC__CODE__CODE_CANCELLED);
    driver_free(&d);
}
END_TEST

/* 2^62 bytes of holes: numbers hold, and reading allocates nothing. */
START_TEST(sparse_files_of_any_size)
{
    struct driver d;
    AUTO_FD int fd = memory_file("\1", 1);
    ck_assert_int_eq(ftruncate(fd, (off_t)1 << 62), 0);
    driver_init(&d, "array.sum", "float64", fd);
    ck_assert_int_eq(driver_plan(&d), 0);
    ck_assert_uint_eq(d.plan.chunks, ((uint64_t)1 << 62) / ARRAY_CHUNK);
    ck_assert_uint_eq(d.plan.units, (uint64_t)1 << 62);
    ck_assert_int_eq(driver_open(&d), 0);
    ck_assert_int_eq(d.job.op->process(&d.job, d.plan.chunks - 1, NULL), 0);
    ck_assert_uint_eq(((const struct array_sum *)d.job.fold)->count, ARRAY_CHUNK / 8);
    struct stat st;
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_le(st.st_blocks, 8);
    driver_free(&d);
}
END_TEST

/* ---- states from other processes ---- */

static void refuses_state(struct driver *d, const void *state, size_t len, const char *what)
{
    const size_t own = d->job.op->fold_bytes;
    AUTO_FREE void *before = xcalloc(1, own);
    memcpy(before, d->job.fold, own);
    d->code = PWC__CODE__CODE_OK;
    ck_assert_msg(d->job.op->fold(&d->job, state, len) < 0, "%s was taken", what);
    ck_assert_int_eq(d->code, PWC__CODE__CODE_PROTOCOL);
    ck_assert_mem_eq(d->job.fold, before, own);
}

static void start(struct driver *d, const char *op, int fd)
{
    driver_init(d, op, "float64", fd);
    driver_set(d, "bins", 4);
    driver_set(d, "min", 0);
    driver_set(d, "max", 1);
    ck_assert_int_eq(driver_plan(d), 0);
    ck_assert_int_eq(driver_open(d), 0);
}

START_TEST(garbage_states_are_refused)
{
    struct driver d;
    const double x[] = {1, 2};
    AUTO_FD int fd = memory_file(x, sizeof x);
    start(&d, "array.sum", fd);
    struct array_sum sum = {.count = 3};
    refuses_state(&d, &sum, sizeof sum, "too many elements");
    sum = (struct array_sum){.exact.digit[5] = -1};
    refuses_state(&d, &sum, sizeof sum, "a digit out of range");
    sum = (struct array_sum){.exact.digit[EXACT_DIGITS - 1] = 1};
    refuses_state(&d, &sum, sizeof sum, "a sign out of range");
    sum = (struct array_sum){0};
    refuses_state(&d, &sum, sizeof sum - 1, "a short state");
    refuses_state(&d, &sum, 0, "no state");
    driver_free(&d);
    start(&d, "array.min", fd);
    struct array_extreme extreme = {.count = 1, .index = 2};
    refuses_state(&d, &extreme, sizeof extreme, "an index behind the end");
    extreme = (struct array_extreme){.count = 1, .nan = 2};
    refuses_state(&d, &extreme, sizeof extreme, "too many NaNs");
    driver_free(&d);
    start(&d, "array.histogram", fd);
    struct array_histogram histogram = {.bins[3] = 2, .under = 1};
    refuses_state(&d, &histogram, sizeof histogram, "too many counts");
    histogram = (struct array_histogram){.bins[3] = UINT64_MAX, .under = 2};
    refuses_state(&d, &histogram, sizeof histogram, "counts that overflow");
    driver_free(&d);
}
END_TEST

/* States lie in a frame's tail behind a length: at any address. */
START_TEST(states_at_odd_addresses)
{
    struct driver d;
    const double x[] = {1, 2};
    AUTO_FD int fd = memory_file(x, sizeof x);
    start(&d, "array.sum", fd);
    ck_assert_int_eq(d.job.op->process(&d.job, 0, NULL), 0);
    uint8_t bytes[sizeof(struct array_sum) + 1];
    memcpy(bytes + 1, d.job.fold, sizeof(struct array_sum));
    memset(d.job.fold, 0, sizeof(struct array_sum));
    ck_assert_int_eq(d.job.op->fold(&d.job, bytes + 1, sizeof(struct array_sum)), 0);
    ck_assert_int_eq(d.job.op->finish(&d.job), 0);
    ck_assert_double_eq(want(&d, "sum")->f, 3.0);
    driver_free(&d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("array input");
    TCase *t = tcase_create("input");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, wrong_lengths_are_refused);
    tcase_add_test(t, what_is_no_file_is_refused);
    tcase_add_test(t, count_takes_a_part_of_the_input);
    tcase_add_test(t, sum_of_nothing_is_0);
    tcase_add_loop_test(t, input_that_shrinks_fails_and_leaves_no_trace, 0, ARRAY_LEN(files));
    tcase_add_test(t, files_and_memory_files_give_the_same);
    tcase_add_test(t, passed_elements_leave_the_map);
    tcase_add_test(t, cut_inside_its_last_page_while_it_is_seen);
    tcase_add_test(t, who_writes_meanwhile_leads_nobody_out);
    tcase_add_test(t, input_that_cannot_be_read_fails);
    tcase_add_test(t, cancel_is_seen_inside_a_chunk);
    tcase_add_test(t, sparse_files_of_any_size);
    tcase_add_test(t, garbage_states_are_refused);
    tcase_add_test(t, states_at_odd_addresses);
    suite_add_tcase(s, t);
    return run_suite(s);
}
