/* test_client.c - libpwc against a fake daemon on a real socket: handshakes, jobs, questions, bad peers. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"
#include "tests/unit/client_case.h"
#include "tests/unit/runner.h"

/* ---- handshakes ---- */

START_TEST(welcome)
{
    const struct pwc_daemon *d = pwc_daemon(conn);
    ck_assert_str_eq(d->server, "pwcd fake");
    ck_assert_str_eq(d->path, path);
    ck_assert_uint_eq(d->workers, 2);
    ck_assert_uint_eq(d->uid, 1000);
    ck_assert_int_eq(pwc_ping(conn, LONG), PWC_OK);
}
END_TEST

static const struct {
    enum fake_greeting greeting;
    int timeout_ms, code;
    const char *text;
} bad_greetings[] = {
    {FAKE_SILENT, 50, PWC_E_PROTOCOL, "no welcome within 50 ms"},
    {FAKE_CLOSES, LONG, PWC_E_PROTOCOL, "closed the connection"},
    {FAKE_ENDS, LONG, PWC_E_UNREACHABLE, "has just ended"},
    {FAKE_HTTP, LONG, PWC_E_PROTOCOL, "is not pwcd: it broke the protocol: m"},
    {FAKE_VERSION, LONG, PWC_VERSION, "versions 7 to 9"},
    {FAKE_NEWER, LONG, PWC_VERSION, "version 99"},
    {FAKE_BUSY, LONG, PWC_BUSY, "too many clients"},
};

START_TEST(bad_greeting)
{
    struct pwc *c = NULL;
    with_greeting(bad_greetings[_i].greeting);
    int fds = count_fds();
    ck_assert_int_eq(pwc_connect(path, bad_greetings[_i].timeout_ms, &c), bad_greetings[_i].code);
    ck_assert_msg(strstr(pwc_error(), bad_greetings[_i].text) != NULL, "%s", pwc_error());
    ck_assert_ptr_null(c);
    fake_stop(fake);
    ck_assert_int_le(count_fds(), fds);
    rmdir(dir);
}
END_TEST

START_TEST(no_daemon)
{
    struct pwc *c;
    ck_assert_int_eq(pwc_connect("/nonexistent/sock", LONG, &c), PWC_E_UNREACHABLE);
    ck_assert_str_eq(pwc_error(), "/nonexistent/sock: No such file or directory");
    ck_assert_int_eq(pwc_connect("/dev/null", LONG, &c), PWC_E_UNREACHABLE);
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ck_assert_int_eq(pwc_connect(longer, LONG, &c), PWC_E_ARGUMENT);
    setenv("PWC_SOCKET", "/nonexistent/env", 1);
    ck_assert_int_eq(pwc_connect(NULL, LONG, &c), PWC_E_UNREACHABLE);
    ck_assert_str_eq(pwc_error(), "/nonexistent/env: No such file or directory");
    unsetenv("PWC_SOCKET");
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    int r = pwc_connect(NULL, LONG, &c); /* a system daemon may run here */
    if (r == PWC_OK)
        pwc_close(c);
    else
        ck_assert_ptr_nonnull(strstr(pwc_error(), "/nonexistent/pwcd.sock"));
}
END_TEST

/* A user's own place that cannot be asked, be it another one's or too long for a socket, is no daemon. */
START_TEST(the_systems_is_asked_too)
{
    struct pwc *c;
    bool own = _i == 0;
    char place[200];
    strcpy(dir, "/tmp/pwc-test-client-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(place, sizeof place, "%s/%0*d", dir, own ? 1 : 107, 0);
    setenv("XDG_RUNTIME_DIR", place, 1);
    unsetenv("PWC_SOCKET");
    ck_assert_int_eq(chmod(dir, 0), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    int r = pwc_connect(NULL, LONG, &c);
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    rmdir(dir);
    if (r == PWC_OK) { /* one runs here */
        pwc_close(c);
        return;
    }
    ck_assert_ptr_nonnull(strstr(pwc_error(), "/run/pwcd/pwcd.sock"));
    if (strstr(pwc_error(), "/run/pwcd/pwcd.sock: No such file") != NULL) {
        ck_assert_int_eq(r, own ? PWC_E_ACCESS : PWC_E_UNREACHABLE);
        ck_assert_ptr_nonnull(strstr(pwc_error(), own ? "/pwcd.sock: permission denied" : "107 bytes; "));
    }
}
END_TEST

START_TEST(no_permission)
{
    struct pwc *c;
    with_greeting(FAKE_WELCOME);
    ck_assert_int_eq(chmod(path, 0000), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chmod(dir, 0711), 0);
        ck_assert_int_eq(seteuid(65534), 0);
    }
    int r = pwc_connect(path, LONG, &c);
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(r, PWC_E_ACCESS);
    fake_stop(fake);
    rmdir(dir);
}
END_TEST

/* ---- jobs ---- */

/* What fits a type is given as it, what does not is refused. */
static void check_conversions(struct pwc_job *job)
{
    int64_t i64;
    double f64;
    const char *str;
    ck_assert_int_eq(pwc_result_i64(job, "m1", &i64), PWC_OK);
    ck_assert_int_eq(i64, -1);
    ck_assert_int_eq(pwc_result_i64(job, "min", &i64), PWC_E_ARGUMENT);
    ck_assert_int_eq(pwc_result_i64(job, "u", &i64), PWC_E_ARGUMENT);
    ck_assert_int_eq(pwc_result_f64(job, "min", &f64), PWC_OK);
    ck_assert_double_eq(f64, -170141183460469231731687303715884105728.0);
    ck_assert_int_eq(pwc_result_str(job, "text", &str), PWC_OK);
    ck_assert_str_eq(str, "hello");
    ck_assert_int_eq(pwc_result_str(job, "nothing", &str), PWC_E_ARGUMENT);
}

START_TEST(results_of_all_types)
{
    double f[2] = {0.1, 1e300};
    int64_t n[3] = {-1, 0, INT64_MAX};
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_param(spec, "text", "first");
    pwc_spec_param(spec, "text", "hello"); /* the same name replaces */
    pwc_spec_i64(spec, "i", INT64_MIN);
    pwc_spec_f64(spec, "f", 0.1);
    pwc_spec_value(spec, PWC_PARAM, "u", &(struct pwc_value){.type = PWC_U64, .u.u64 = UINT64_MAX});
    pwc_spec_value(spec, PWC_PARAM, "min", &(struct pwc_value){.type = PWC_I128, .u.i128 = {0, INT64_MIN}});
    pwc_spec_value(spec, PWC_PARAM, "m1", &(struct pwc_value){.type = PWC_I128, .u.i128 = {UINT64_MAX, -1}});
    pwc_spec_value(spec, PWC_PARAM, "flag", &(struct pwc_value){.type = PWC_FLAG, .u.flag = 1});
    pwc_spec_value(spec, PWC_PARAM, "blob", &(struct pwc_value){.type = PWC_BLOB, .u.blob = {"\x00\xff", 2}});
    pwc_spec_value(spec, PWC_PARAM, "fs", &(struct pwc_value){.type = PWC_F64S, .u.f64s = {f, 2}});
    pwc_spec_value(spec, PWC_PARAM, "ns", &(struct pwc_value){.type = PWC_I64S, .u.i64s = {n, 3}});
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    static const char *const want[][2] = {
        {"text", "hello"},
        {"i", "-9223372036854775808"},
        {"f", "0.1"},
        {"u", "18446744073709551615"},
        {"min", "-170141183460469231731687303715884105728"},
        {"m1", "-1"},
        {"flag", "true"},
        {"blob", "00ff"},
        {"fs", "0.1 1e+300"},
        {"ns", "-1 0 9223372036854775807"},
        {"bytes", "0"},
    };
    ck_assert_uint_eq(pwc_results(job), 11);
    for (size_t i = 0; i < 11; i++) {
        const char *name;
        struct pwc_value v;
        char text[64];
        ck_assert_int_eq(pwc_result(job, i, &name, &v), PWC_OK);
        pwc_value_text(&v, text, sizeof text);
        ck_assert_str_eq(name, want[i][0]);
        ck_assert_str_eq(text, want[i][1]);
    }
    check_conversions(job);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

/* Sums of integers have 128 bits. */
static const struct {
    uint64_t lo;
    int64_t hi;
    double want;
} sums[] = {
    {0, 0, 0},
    {1, 0, 1},
    {UINT64_MAX, -1, -1},
    {UINT64_MAX - 2999, -1, -3000},
    {3000, 0, 3000},
    {0, 1, 0x1p64},
    {0, -1, -0x1p64},
    {UINT64_MAX, 0, 0x1p64},
    {1, -1, -0x1p64},
    {(1ull << 53) + 1, 0, 0x1p53}, /* a tie: to the even one */
    {(1ull << 53) + 3, 0, 0x1p53 + 4},
    {UINT64_MAX - (1ull << 53), -1, -0x1p53},
    {2049, 1ll << 53, 0x1p117},
    {(1ull << 63) + 1, 1, 0x1.8p64}, /* 2^64 + 2^63 + 1 */
    {1ull << 63, -1, -0x1p63},
    {(1ull << 63) - 1, -1, -0x1p63},
    {UINT64_MAX, INT64_MAX, 0x1p127},
    {0, INT64_MIN, -0x1p127},
};

START_TEST(sums_as_f64)
{
    const struct pwc_value v = {.type = PWC_I128, .u.i128 = {sums[_i].lo, sums[_i].hi}};
    double got;
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_value(spec, PWC_PARAM, "sum", &v);
    struct pwc_job *job = submit(spec);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    ck_assert_int_eq(pwc_result_f64(job, "sum", &got), PWC_OK);
    ck_assert_double_eq(got, sums[_i].want);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

START_TEST(value_text_is_cut)
{
    char small[4];
    struct pwc_value v = {.type = PWC_I64, .u.i64 = 1234567};
    ck_assert_uint_eq(pwc_value_text(&v, small, sizeof small), 7);
    ck_assert_str_eq(small, "123");
    ck_assert_uint_eq(pwc_value_text(&v, NULL, 0), 7);
}
END_TEST

static const struct {
    const char *op;
    int code;
    enum pwc_job_state state;
    const char *text;
} endings[] = {
    {"refuse", PWC_BAD_PARAM, PWC_JOB_REFUSED, "0.01 to 1000"},
    {"busy", PWC_BUSY, PWC_JOB_REFUSED, "queue is full"},
    {"fail", PWC_BAD_INPUT, PWC_JOB_FAILED, "not an image"},
    {"partial", PWC_E_PARTIAL, PWC_JOB_PARTIAL, "given up"},
    {"crash", PWC_CRASH, PWC_JOB_FAILED, "SIGSEGV"},
    {"lose", PWC_E_GONE, PWC_JOB_LOST, "is lost"},
    {"garbage", PWC_E_GONE, PWC_JOB_LOST, "broke the protocol"},
    {"shutdown", PWC_E_GONE, PWC_JOB_LOST, "shutting down"},
};

START_TEST(ending)
{
    struct pwc_job *job = submit_op(endings[_i].op);
    ck_assert_int_eq(pwc_wait(job, LONG), endings[_i].code);
    ck_assert_msg(strstr(pwc_error(), endings[_i].text) != NULL, "%s", pwc_error());
    ck_assert_int_eq(pwc_job_state(job), endings[_i].state);
    if (endings[_i].state == PWC_JOB_REFUSED)
        ck_assert_int_eq(pwc_wait_accepted(job, LONG), endings[_i].code);
    if (strcmp(endings[_i].op, "refuse") == 0)
        ck_assert_str_eq(pwc_job_field(job), "params.sigma");
    struct pwc_death death;
    ck_assert_int_eq(pwc_job_death(job, &death), endings[_i].code == PWC_CRASH);
    if (endings[_i].code == PWC_CRASH)
        ck_assert_int_eq(death.signal, 11);
    struct pwc_job *second = NULL;
    struct pwc_spec *spec = pwc_spec_new("echo");
    int r = pwc_submit(conn, spec, &second);
    if (endings[_i].state == PWC_JOB_LOST) {
        ck_assert_int_ne(r, PWC_OK);
        ck_assert_int_ne(pwc_ping(conn, LONG), PWC_OK);
    } else {
        ck_assert_int_eq(pwc_wait(second, LONG), PWC_OK);
    }
    pwc_spec_free(spec);
    pwc_job_free(second);
    pwc_job_free(job);
}
END_TEST

/* The kernel says behind it that the connection was reset. */
START_TEST(last_words)
{
    struct pwc_job *job = submit_op("unread");
    ck_assert_int_eq(pwc_wait_accepted(job, LONG), PWC_OK);
    struct pwc_job *second = submit_op("echo");
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_E_GONE);
    ck_assert_msg(strstr(pwc_error(), "shutting down") != NULL, "%s", pwc_error());
    pwc_job_free(second);
    pwc_job_free(job);
}
END_TEST

START_TEST(descriptors)
{
    int fds = count_fds(), in = temp_file("twelve bytes"), out = temp_file("");
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_fd(spec, "in", in);
    pwc_spec_fd(spec, "out", out);
    for (int i = 0; i < 3; i++) {
        struct pwc_job *job = submit(spec);
        int64_t n;
        ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
        ck_assert_int_eq(pwc_result_i64(job, "bytes", &n), PWC_OK);
        ck_assert_int_eq(n, 12);
        pwc_job_free(job);
    }
    char text[32] = "";
    ck_assert_int_eq(pread(out, text, sizeof text - 1, 0), 12);
    ck_assert_str_eq(text, "twelve bytes");
    pwc_spec_free(spec);
    close(in);
    close(out);
    wait_fds(fds);
}
END_TEST

/* For messages only, so too long a name is no mistake. */
START_TEST(name_of_the_input)
{
    char name[PWC_ITEM_NAME_MAX + 100], told[sizeof name];
    int in = temp_file("x");
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_fd(spec, "in", in);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const char *const names[] = {NULL, "first.png", "a \"b\"\n.png", name, ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char copy[sizeof name];
        snprintf(copy, sizeof copy, "%s", names[i] != NULL ? names[i] : "");
        if (names[i] != NULL)
            pwc_spec_name(spec, copy);
        memset(copy, '?', sizeof copy); /* ours again */
        for (int twice = 0; twice < 2; twice++) {
            struct pwc_job *job = submit(spec);
            ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
            pwc_job_free(job);
            fake_item_name(fake, told, sizeof told);
            ck_assert_uint_le(strlen(told), PWC_ITEM_NAME_MAX);
            ck_assert_msg(strncmp(told, names[i] != NULL ? names[i] : "", PWC_ITEM_NAME_MAX) == 0, "%s",
                          told);
        }
    }
    pwc_spec_free(spec);
    close(in);
}
END_TEST

START_TEST(mistakes)
{
    struct pwc_job *job = NULL;
    struct pwc_spec *spec = pwc_spec_new("echo");
    pwc_spec_fd(spec, "in", 900);
    ck_assert_int_eq(pwc_submit(conn, spec, &job), PWC_E_ARGUMENT);
    pwc_spec_fd(spec, "in", -1);
    ck_assert_int_eq(pwc_submit(conn, spec, &job), PWC_E_ARGUMENT);
    pwc_spec_free(spec);
    spec = pwc_spec_new("echo");
    char *large = malloc(20001);
    memset(large, 'x', 20000);
    large[20000] = '\0';
    pwc_spec_param(spec, "large", large);
    ck_assert_int_eq(pwc_submit(conn, spec, &job), PWC_E_ARGUMENT);
    ck_assert_str_eq(
        pwc_error(),
        "large: takes 20015 bytes, all parameters together 20015; no job may be larger than 16384");
    ck_assert_ptr_null(job);
    free(large);
    pwc_spec_free(spec);
    spec = pwc_spec_new("echo");
    for (char name[] = "p00"; name[1] < '7'; name[2] == '9' ? (name[1]++, name[2] = '0') : name[2]++)
        pwc_spec_i64(spec, name, 1);
    ck_assert_int_eq(pwc_submit(conn, spec, &job), PWC_E_ARGUMENT);
    ck_assert_str_eq(pwc_error(), "parameter 'p64' is one too many; at most 64 are taken");
    pwc_spec_free(spec);
    ck_assert_int_eq(pwc_ping(conn, LONG), PWC_OK); /* nothing of it was sent */
}
END_TEST

START_TEST(cancelled)
{
    struct pwc_job *early = submit_op("hang"), *late = submit_op("hang");
    ck_assert_int_eq(pwc_wait(late, 0), PWC_E_TIMEOUT);
    ck_assert_int_eq(pwc_cancel(early), PWC_OK); /* perhaps before it has an id */
    ck_assert_int_eq(pwc_wait(early, LONG), PWC_CANCELLED);
    ck_assert_int_eq(pwc_wait_accepted(late, LONG), PWC_OK);
    ck_assert_uint_ne(pwc_job_id(late), 0);
    ck_assert_int_eq(pwc_cancel_id(conn, pwc_job_id(late), LONG), PWC_OK);
    ck_assert_int_eq(pwc_wait(late, LONG), PWC_CANCELLED);
    ck_assert_int_eq(pwc_cancel_id(conn, 77, LONG), PWC_NO_SUCH_JOB);
    ck_assert_int_eq(pwc_cancel(late), PWC_OK);
    pwc_job_free(early);
    pwc_job_free(late);
}
END_TEST

START_TEST(closed_under_jobs)
{
    struct pwc_job *job = submit_op("hang");
    ck_assert_int_eq(pwc_wait_accepted(job, LONG), PWC_OK);
    pwc_close(conn);
    conn = NULL;
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_E_GONE);
    ck_assert_int_eq(pwc_cancel(job), PWC_OK);
    pwc_job_free(job);
}
END_TEST

START_TEST(bytewise_frames)
{
    struct pwc_job *job = submit_op("tiny");
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    ck_assert_uint_eq(pwc_results(job), 1);
    pwc_job_free(job);
}
END_TEST

START_TEST(attached)
{
    struct pwc_job *job;
    int64_t sum;
    ck_assert_int_eq(pwc_attach(conn, 901, NULL, NULL, LONG, &job), PWC_OK);
    ck_assert_int_eq(pwc_wait(job, LONG), PWC_OK);
    ck_assert_int_eq(pwc_result_i64(job, "sum", &sum), PWC_OK);
    ck_assert_int_eq(sum, -42);
    pwc_job_free(job);
    ck_assert_int_eq(pwc_attach(conn, 5, NULL, NULL, LONG, &job), PWC_NO_SUCH_JOB);
    struct pwc_spec *spec = pwc_spec_new("hang");
    job = submit(spec);
    ck_assert_int_eq(pwc_detach(job, LONG), PWC_E_ARGUMENT);
    pwc_job_free(job);
    pwc_spec_on_disconnect(spec, PWC_ON_DISCONNECT_DETACH, 0);
    job = submit(spec);
    ck_assert_int_eq(pwc_detach(job, LONG), PWC_OK);
    pwc_job_free(job);
    pwc_spec_free(spec);
}
END_TEST

/* ---- questions ---- */

static void see_status(const struct pwc_status *s, void *user)
{
    (*(int *)user)++;
    ck_assert_str_eq(s->workers_from, "affinity");
    ck_assert_str_eq(s->health, "ok");
}
static void see_job(const struct pwc_job_info *j, void *user)
{
    (*(int *)user)++;
    ck_assert_uint_eq(j->job, 901);
    ck_assert_uint_eq(j->counts.total, 10);
    ck_assert_str_eq(j->input, ODD_NAME);
}
static void see_stage(const struct pwc_stage_info *s, void *user)
{
    ck_assert_uint_eq(s->pid, (unsigned)(1000 + (*(int *)user)++));
}
static void see_death(const struct pwc_death *d, void *user)
{
    (*(int *)user)++;
    ck_assert_uint_eq(d->attempts_max, 3);
    ck_assert_str_eq(d->input, ODD_NAME);
}
static void see_quarantined(const struct pwc_quarantined *q, void *user)
{
    ck_assert_uint_eq(q->job, (unsigned)(901 + (*(int *)user)++));
    ck_assert_str_eq(q->input, ODD_NAME);
}
static void see_op(const struct pwc_op_info *op, void *user)
{
    (*(int *)user)++;
    ck_assert_uint_eq(op->nparams, 1);
    ck_assert_str_eq(op->params[0].unit, "pixels");
}

START_TEST(questions)
{
    int n = 0;
    ck_assert_int_eq(pwc_get_status(conn, LONG, see_status, &n), PWC_OK);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(pwc_list_jobs(conn, 0, LONG, see_job, &n), PWC_OK);
    ck_assert_int_eq(n, 2);
    ck_assert_int_eq(pwc_list_jobs(conn, 5, LONG, see_job, &n), PWC_NO_SUCH_JOB);
    n = 0;
    ck_assert_int_eq(pwc_list_stages(conn, LONG, see_stage, &n), PWC_OK);
    ck_assert_int_eq(n, 3);
    n = 0;
    ck_assert_int_eq(pwc_list_deaths(conn, 0, PWC_ALL_CHUNKS, LONG, see_death, &n), PWC_OK);
    ck_assert_int_eq(n, 1);
    n = 0;
    ck_assert_int_eq(pwc_list_quarantine(conn, 0, PWC_ALL_CHUNKS, LONG, see_quarantined, &n), PWC_OK);
    ck_assert_int_eq(n, 2);
    n = 0;
    ck_assert_int_eq(pwc_list_ops(conn, NULL, LONG, see_op, &n), PWC_OK);
    ck_assert_int_gt(n, 10);
    n = 0;
    ck_assert_int_eq(pwc_list_ops(conn, "echo", LONG, see_op, &n), PWC_OK);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(pwc_list_ops(conn, "ecko", LONG, see_op, &n), PWC_NO_SUCH_OP);
    ck_assert_ptr_nonnull(strstr(pwc_error(), "did you mean 'echo'"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("client");
    TCase *plain = tcase_create("plain"), *tc = tcase_create("connected");
    tcase_set_timeout(plain, 60);
    tcase_set_timeout(tc, 180);
    tcase_add_loop_test(plain, bad_greeting, 0, sizeof bad_greetings / sizeof *bad_greetings);
    tcase_add_test(plain, no_daemon);
    tcase_add_loop_test(plain, the_systems_is_asked_too, 0, 2);
    tcase_add_test(plain, no_permission);
    tcase_add_checked_fixture(tc, client_setup, client_teardown);
    tcase_add_test(tc, welcome);
    tcase_add_test(tc, results_of_all_types);
    tcase_add_loop_test(tc, sums_as_f64, 0, sizeof sums / sizeof *sums);
    tcase_add_test(tc, value_text_is_cut);
    tcase_add_loop_test(tc, ending, 0, sizeof endings / sizeof *endings);
    tcase_add_test(tc, last_words);
    tcase_add_test(tc, descriptors);
    tcase_add_test(tc, name_of_the_input);
    tcase_add_test(tc, mistakes);
    tcase_add_test(tc, cancelled);
    tcase_add_test(tc, closed_under_jobs);
    tcase_add_test(tc, bytewise_frames);
    tcase_add_test(tc, attached);
    tcase_add_test(tc, questions);
    add_again_tests(tc);
    add_async_tests(tc);
    add_calls_tests(tc);
    suite_add_tcase(s, plain);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
