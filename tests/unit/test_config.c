/* test_config.c - settings: units, the file, the flags, which of them wins, what is said about mistakes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/nearest.h"
#include "daemon/units.h"
#include "ipc/clock.h"
#include "tests/unit/runner.h"

static char dir[] = "/tmp/pwc-config-XXXXXX";
static char *file; /* in dir */

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    file = xasprintf("%s/pwcd.conf", dir);
}

static void teardown(void)
{
    unlink(file);
    rmdir(dir);
    free(file);
}

static void put_bytes(const char *text, size_t len)
{
    FILE *f = fopen(file, "we");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, len, f), len);
    fclose(f);
}

static void put(const char *text)
{
    put_bytes(text, strlen(text));
}

#define ARGV(...)            ((char *[]){(char *)"pwcd", (char *)"--config", file, __VA_ARGS__ __VA_OPT__(, ) NULL})
#define PARSE(c, error, ...) parse(c, ARGV(__VA_ARGS__), error)

static int parse(struct config *c, char **argv, char **error)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    return config_parse(c, argc, argv, error);
}

static void complains(char **argv, const char *want)
{
    struct config c;
    char *error = NULL;
    int r = parse(&c, argv, &error);
    ck_assert_msg(r < 0, "accepted, instead of: %s", want);
    ck_assert_ptr_nonnull(error);
    AUTO_FREE char *full = strncmp(want, "FILE", 4) == 0 ? xasprintf("%s%s", file, want + 4) : xstrdup(want);
    ck_assert_str_eq(error, full);
    free(error);
}

/* ---- units ---- */

static void is_time(const char *text, int64_t ns)
{
    int64_t v = -1;
    ck_assert_msg(time_parse(text, &v) == 0, "%s", text);
    ck_assert_int_eq(v, ns);
}

START_TEST(times)
{
    static const char *const bad[] = {"",    "s",    "10",  "1.",  ".5s",  "1.s",   "-1s",   "+1s", "1 s",
                                      "10S", "1e3s", "inf", "1s1", "0x1s", "0.5ns", "1..2s", "nan"};
    int64_t v;
    is_time("10s", 10 * NS_PER_S);
    is_time("1.5s", 1500 * NS_PER_MS);
    is_time("0.000000001s", 1);
    is_time("0.1s", 100 * NS_PER_MS);
    is_time("200ms", 200 * NS_PER_MS);
    is_time("5m", 300 * NS_PER_S);
    is_time("2h", 7200 * NS_PER_S);
    is_time("1d", 86400 * NS_PER_S);
    is_time("7us", 7000);
    is_time("3ns", 3);
    is_time("0", 0);
    is_time("none", 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(time_parse(bad[i], &v) == -EINVAL, "%s", bad[i]);
    ck_assert_int_eq(time_parse("999999999999d", &v), -ERANGE);
    ck_assert_int_eq(time_parse("9223372036854775808ns", &v), -ERANGE);
}
END_TEST

static void is_size(const char *text, uint64_t bytes)
{
    uint64_t v = 1;
    ck_assert_msg(size_parse(text, &v) == 0, "%s", text);
    ck_assert_uint_eq(v, bytes);
}

START_TEST(sizes)
{
    static const char *const bad[] = {"", "G", "1GB", "1.5", "-1", "1 G", "0x10", "12kk"};
    uint64_t v;
    is_size("1000000000", 1000000000);
    is_size("16G", 16ull << 30);
    is_size("1.5G", 3ull << 29);
    is_size("1g", 1000000000);
    is_size("2k", 2000);
    is_size("2K", 2048);
    is_size("1T", 1ull << 40);
    is_size("none", 0);
    is_size("0", 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(size_parse(bad[i], &v) == -EINVAL, "%s", bad[i]);
    ck_assert_int_eq(size_parse("99999999999999999999", &v), -ERANGE);
    ck_assert_int_eq(size_parse("99999999T", &v), -ERANGE);
}
END_TEST

START_TEST(formats_read_back)
{
    char text[UNITS_TEXT];
    unsigned seed = 3;
    for (int i = 0; i < 100000; i++) {
        uint64_t size;
        int64_t ns;
        seed = seed * 1103515245u + 12345u;
        uint64_t v = (uint64_t)(seed >> 8) << (seed % 38);
        size_format(v, text);
        ck_assert_int_eq(size_parse(text, &size), 0);
        ck_assert_uint_eq(size, v);
        time_format((int64_t)v, text);
        ck_assert_int_eq(time_parse(text, &ns), 0);
        ck_assert_int_eq(ns, (int64_t)v);
    }
    time_format(1500 * NS_PER_MS, text);
    ck_assert_str_eq(text, "1500ms");
    size_format(1ull << 34, text);
    ck_assert_str_eq(text, "16G");
    time_format(0, text);
    ck_assert_str_eq(text, "none");
}
END_TEST

/* ---- precedence ---- */

START_TEST(defaults)
{
    struct config c;
    config_defaults(&c);
    ck_assert_uint_eq(c.workers, 0);
    ck_assert_uint_eq(c.socket_mode, 0660);
    ck_assert_str_eq(c.scratch, "/var/tmp");
    ck_assert_str_eq(c.stage_program, PWC_LIBEXECDIR "/pwc-stage");
    ck_assert_uint_eq(c.max_pixels, 1000000000);
    ck_assert_uint_eq(c.max_bytes, 16ull << 30);
    ck_assert_int_eq(c.shutdown_grace, 30 * NS_PER_S);
    ck_assert_int_eq(c.cancel_grace, 200 * NS_PER_MS);
    ck_assert_int_eq(c.chunk_timeout, 0);
    ck_assert_uint_eq(c.retries_crash, 2);
    ck_assert_int_eq(c.isolation, PWC__ISOLATION__ISOLATION_USER);
    ck_assert_int_eq(c.log_level, LOG_INFO);
    ck_assert_uint_eq(config_stages_max(&c, 2), 18);
    for (size_t i = 0; i < CFG_COUNT; i++)
        ck_assert_str_eq(c.origin[i], "default");
    config_free(&c);
    config_free(&c); /* twice is harmless */
}
END_TEST

START_TEST(default_socket)
{
    struct config c;
    setenv("XDG_RUNTIME_DIR", "/run/user/1000", 1);
    config_defaults(&c);
    ck_assert_str_eq(c.socket, geteuid() == 0 ? "/run/pwcd/pwcd.sock" : "/run/user/1000/pwcd.sock");
    config_free(&c);
}
END_TEST

START_TEST(file_then_flags)
{
    struct config c;
    char *error = NULL;
    put("# a comment\n\n  workers = 3   # three\nscratch=/tmp\n\tsocket = /a#b\nmax_pixels = "
        "50m\nsocket_group = pwc\r\n"
        "require_sandbox = yes\nisolation = job\nlog_level = warning\nsocket_mode = 600\nchunk_timeout = "
        "1.5s");
    ck_assert_int_eq(PARSE(&c, &error), CONFIG_RUN);
    AUTO_FREE char *line3 = xasprintf("%s:3", file);
    ck_assert_uint_eq(c.workers, 3);
    ck_assert_str_eq(c.origin[CFG_workers], line3);
    ck_assert_str_eq(c.socket, "/a#b");
    ck_assert_str_eq(c.socket_group, "pwc");
    ck_assert_uint_eq(c.max_pixels, 50000000);
    ck_assert_uint_eq(c.socket_mode, 0600);
    ck_assert_int_eq(c.chunk_timeout, 1500 * NS_PER_MS);
    ck_assert(c.require_sandbox);
    ck_assert_int_eq(c.isolation, PWC__ISOLATION__ISOLATION_JOB);
    ck_assert_int_eq(c.log_level, LOG_WARN);
    ck_assert_str_eq(c.file, file);
    config_free(&c);

    ck_assert_int_eq(PARSE(&c, &error, (char *)"--workers=5", (char *)"--set", (char *)"history=7",
                           (char *)"-d", (char *)"-n", (char *)"--socket", (char *)"/s"),
                     CONFIG_RUN);
    ck_assert_uint_eq(c.workers, 5);
    ck_assert_str_eq(c.origin[CFG_workers], "--workers");
    ck_assert_uint_eq(c.history, 7);
    ck_assert_str_eq(c.origin[CFG_history], "--set");
    ck_assert_int_eq(c.log_level, LOG_DBG);
    ck_assert_str_eq(c.origin[CFG_log_level], "-d");
    ck_assert(c.debug && c.check_only);
    ck_assert_str_eq(c.socket, "/s");
    ck_assert_str_eq(c.scratch, "/tmp");
    config_free(&c);
}
END_TEST

START_TEST(flags_are_relative_to_here)
{
    struct config c;
    char *error = NULL, cwd[4096];
    put("");
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
    AUTO_FREE char *want = xasprintf("%s/x.sock", cwd);
    ck_assert_int_eq(PARSE(&c, &error, (char *)"--socket", (char *)"x.sock"), CONFIG_RUN);
    ck_assert_str_eq(c.socket, want);
    config_free(&c);
}
END_TEST

/* ---- mistakes ---- */

#define FLAGS(...) ((char *[]){(char *)"pwcd", __VA_ARGS__, NULL})
#define W(s)       ((char *)(uintptr_t)(s))

START_TEST(bad_lines)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"\nworker = 3\n", "FILE:2: no setting is called \"worker\"; did you mean \"workers\"?"},
        {"zzzzzzzz = 3\n", "FILE:1: no setting is called \"zzzzzzzz\"; pwcd -n lists them"},
        {"workers\n", "FILE:1: \"workers\" has no \"=\"; write key = value"},
        {"workers = many\n",
         "FILE:1: workers: \"many\" is not understood; give auto or a number from 1 to 4096"},
        {"workers = 0\n", "FILE:1: workers: \"0\" is out of range; give auto or a number from 1 to 4096"},
        {"workers =\n", "FILE:1: workers: \"\" is not understood; give auto or a number from 1 to 4096"},
        {"workers = 99999999999999999999\n",
         "FILE:1: workers: \"99999999999999999999\" is out of range; give auto or a number from 1 to 4096"},
        {"workers = 2\n#\nworkers = 3\n", "FILE:3: workers was set in line 1 already; keep one of them"},
        {"scratch = tmp\n", "FILE:1: scratch: \"tmp\" is not understood; give an absolute path"},
        {"socket_mode = 0999\n",
         "FILE:1: socket_mode: \"0999\" is not understood; give an octal mode like 0660"},
        {"socket_mode = 7777\n",
         "FILE:1: socket_mode: \"7777\" is out of range; give an octal mode like 0660"},
        {"cancel_grace = 5\n",
         "FILE:1: cancel_grace: \"5\" is not understood; give none or a time like 200ms, 30s or 5m"},
        {"ready_timeout = none\n",
         "FILE:1: ready_timeout: \"none\" is out of range; give a time like 200ms, 30s or 5m, at least 1ms"},
        {"max_bytes = 1X\n",
         "FILE:1: max_bytes: \"1X\" is not understood; give a size like 500M, 16G (1024s) or 1g (1000s)"},
        {"require_sandbox = maybe\n", "FILE:1: require_sandbox: \"maybe\" is not understood; give yes or no"},
        {"isolation = none\n", "FILE:1: isolation: \"none\" is not understood; give user, job or chunk"},
        {"log_level = loud\n",
         "FILE:1: log_level: \"loud\" is not understood; give fatal, warning, info or debug"},
        {"scratch = \033[1m\n", "FILE:1: scratch: \"?[1m\" is not understood; give an absolute path"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        put(cases[i].text);
        complains(ARGV(), cases[i].want);
    }
    put_bytes("workers = 2\nscr\0tch = /\n", 24);
    complains(ARGV(), "FILE:2: holds a NUL byte; this is not a text file");
}
END_TEST

START_TEST(bad_files)
{
    complains(ARGV(), "FILE: cannot be read: No such file or directory");
    ck_assert_int_eq(mkfifo(file, 0600), 0);
    complains(ARGV(), "FILE: is not a regular file");
}
END_TEST

/* `pwcd -n` writes settings down as the file has them. */
START_TEST(what_the_file_could_not_say)
{
    static const char *const unfit[] = {"/a ", "/a\t", "/a\nworkers = 9", "/a #b", "/a\r"};
    for (size_t i = 0; i < ARRAY_LEN(unfit); i++) {
        char want[200], shown[40];
        snprintf(want, sizeof want,
                 "--scratch: scratch: \"%s\" is not understood; give an absolute path without a line's end, "
                 "a blank at its end or one before a #",
                 printable(unfit[i], shown, sizeof shown));
        complains(FLAGS(W("--scratch"), W(unfit[i])), want);
    }
}
END_TEST

START_TEST(bad_flags)
{
    complains(FLAGS(W("--worker")), "no option is called --worker; did you mean --workers?");
    complains(FLAGS(W("--frobnicate")), "no option is called --frobnicate; see pwcd --help");
    complains(FLAGS(W("--config"), W("/\033[1m\n")), "/?[1m?: cannot be read: No such file or directory");
    complains(FLAGS(W("start")), "\"start\" is no option, and pwcd takes nothing else; see pwcd --help");
    complains(FLAGS(W("--workers")), "--workers needs a value after it");
    complains(FLAGS(W("-n=1")), "-n takes no value");
    complains(FLAGS(W("--set"), W("workers")), "--set workers has no \"=\"; write --set KEY=VALUE");
    complains(FLAGS(W("--set"), W("work=1"), W("--config"), W("/dev/null")),
              "/dev/null: is not a regular file");
    put("");
    complains(ARGV(W("--set"), W("wrokers=1")),
              "--set: no setting is called \"wrokers\"; did you mean \"workers\"?");
    complains(ARGV(W("--workers"), W("two")),
              "--workers: workers: \"two\" is not understood; give auto or a number from 1 to 4096");
}
END_TEST

START_TEST(questions)
{
    struct config c;
    char *error = NULL;
    ck_assert_int_eq(parse(&c, FLAGS(W("--version")), &error), CONFIG_EXIT);
    ck_assert_int_eq(parse(&c, FLAGS(W("--help")), &error), CONFIG_EXIT);
    ck_assert_int_lt(parse(&c, FLAGS(W("--nonsense"), W("--help")), &error), 0);
    free(error);
}
END_TEST

/* ---- printing and reloading ---- */

static char *printed(const struct config *c, const struct cpus *cpus)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    config_print(c, cpus, f);
    fclose(f);
    return text;
}

/* Drops the origins, which differ. */
static char *values_of(const struct config *c)
{
    char *text = printed(c, NULL), *out = text;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        size_t n = strcspn(line, "#");
        memmove(out, line, n);
        out += n;
    }
    *out = '\0';
    return text;
}

START_TEST(print_reads_back)
{
    struct config a, b;
    char *error = NULL;
    put("workers = 3\nchunk_timeout = 1.5s\nmax_bytes = 1000001\nsocket = /tmp/s\nmemory = 3G\nisolation = "
        "chunk\n"
        "shutdown_grace = 0\nsocket_mode = 0\n");
    ck_assert_int_eq(PARSE(&a, &error), CONFIG_RUN);
    AUTO_FREE char *text = printed(&a, NULL);
    AUTO_FREE char *origin = xasprintf("workers            = 3                        # %s:1\n", file);
    ck_assert_ptr_nonnull(strstr(text, origin));
    ck_assert_ptr_nonnull(strstr(text, "scratch            = /var/tmp                 # default\n"));
    put(text);
    ck_assert_int_eq(PARSE(&b, &error), CONFIG_RUN);
    AUTO_FREE char *x = values_of(&a), *y = values_of(&b);
    ck_assert_str_eq(x, y);
    ck_assert_uint_eq(b.max_bytes, 1000001);
    ck_assert_int_eq(b.chunk_timeout, 1500 * NS_PER_MS);
    config_free(&a);
    config_free(&b);
}
END_TEST

/* Neither configured nor to be had: a comment, for no line says that in the file. */
START_TEST(print_without_a_socket_reads_back)
{
    struct config a, b;
    char *error = NULL;
    put("");
    ck_assert_int_eq(PARSE(&a, &error), CONFIG_RUN);
    free(a.socket);
    a.socket = xstrdup("");
    AUTO_FREE char *text = printed(&a, NULL);
    ck_assert_ptr_nonnull(strstr(text, "\n# socket           =                          # default\n"));
    put(text);
    ck_assert_msg(PARSE(&b, &error) == CONFIG_RUN, "%s", error);
    config_free(&a);
    config_free(&b);
}
END_TEST

START_TEST(print_says_what_auto_is)
{
    struct config c;
    struct cpus cpus = {6, "cpu.max"};
    config_defaults(&c);
    AUTO_FREE char *text = printed(&c, &cpus);
    ck_assert_ptr_nonnull(strstr(text, "# default (6, cpu.max)\n"));
    ck_assert_ptr_nonnull(strstr(text, "# default (38)\n"));
    config_free(&c);
}
END_TEST

START_TEST(reload)
{
    struct config running, fresh;
    char *error = NULL, *note = NULL;
    char **argv = ARGV(W("--workers"), W("4"), W("--set"), W("history=5"), W("--stage"), W("/bin/sh"));
    put("max_pixels = 10\nsocket = /tmp/a\nhistory = 9\n");
    ck_assert_int_eq(parse(&running, argv, &error), CONFIG_RUN);
    put("max_pixels = 20\nsocket = /tmp/b\nsocket_mode = 0600\nhistory = 10\nlog_level = debug\n");
    ck_assert_int_eq(config_reload(&running, &fresh, &note, &error), 0);
    ck_assert_uint_eq(fresh.max_pixels, 20);
    ck_assert_int_eq(fresh.log_level, LOG_DBG);
    ck_assert_uint_eq(fresh.history, 5); /* the flag still wins */
    ck_assert_uint_eq(fresh.workers, 4);
    ck_assert_str_eq(fresh.socket, "/tmp/a");
    ck_assert_str_eq(fresh.origin[CFG_socket], running.origin[CFG_socket]);
    ck_assert_uint_eq(fresh.socket_mode, 0660);
    ck_assert_str_eq(note, "socket = /tmp/b needs a restart; socket_mode = 0600 needs a restart");
    free(TAKE_PTR(note));
    config_free(&running);
    running = fresh;

    put("max_pixels = lots\n");
    ck_assert_int_lt(config_reload(&running, &fresh, &note, &error), 0);
    ck_assert_ptr_nonnull(strstr(error, "max_pixels"));
    free(TAKE_PTR(error));
    ck_assert_uint_eq(running.max_pixels, 20);
    put("scratch = /nowhere/at/all\n");
    ck_assert_int_eq(config_reload(&running, &fresh, &note, &error), -ENOENT);
    free(TAKE_PTR(error));

    put("");
    ck_assert_int_eq(config_reload(&running, &fresh, NULL, &error), 0);
    ck_assert_uint_eq(fresh.max_pixels, 1000000000);
    config_free(&fresh);
    config_free(&running);
}
END_TEST

START_TEST(paths_must_be_there)
{
    struct config c;
    char *error = NULL;
    put("");
    ck_assert_int_eq(PARSE(&c, &error, W("--stage"), W("/bin/sh"), W("--scratch"), dir), CONFIG_RUN);
    ck_assert_int_eq(config_check_paths(&c, &error), 0);
    ck_assert_int_eq(config_set(&c, "stage_program", "/etc/passwd", "--stage", &error), 0);
    ck_assert_int_lt(config_check_paths(&c, &error), 0);
    ck_assert_str_eq(
        error, "--stage: stage_program: /etc/passwd is no program; is pwc-stage installed? --stage names it");
    free(TAKE_PTR(error));
    ck_assert_int_eq(config_set(&c, "scratch", file, "x:1", &error), 0);
    ck_assert_int_eq(config_check_paths(&c, &error), -ENOTDIR);
    free(TAKE_PTR(error));
    ck_assert_int_eq(config_set(&c, "scratch", "/nowhere/at/all", "x:1", &error), 0);
    ck_assert_int_eq(config_check_paths(&c, &error), -ENOENT);
    ck_assert_str_eq(error, "x:1: scratch: /nowhere/at/all does not exist; name a directory");
    free(TAKE_PTR(error));
    config_free(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, times);
    tcase_add_test(t, sizes);
    tcase_add_test(t, formats_read_back);
    tcase_add_test(t, defaults);
    tcase_add_test(t, default_socket);
    tcase_add_test(t, file_then_flags);
    tcase_add_test(t, flags_are_relative_to_here);
    tcase_add_test(t, bad_lines);
    tcase_add_test(t, bad_files);
    tcase_add_test(t, what_the_file_could_not_say);
    tcase_add_test(t, bad_flags);
    tcase_add_test(t, questions);
    tcase_add_test(t, print_reads_back);
    tcase_add_test(t, print_without_a_socket_reads_back);
    tcase_add_test(t, print_says_what_auto_is);
    tcase_add_test(t, reload);
    tcase_add_test(t, paths_must_be_there);
    suite_add_tcase(s, t);
    return run_suite(s);
}
