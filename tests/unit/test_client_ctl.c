/*
 * test_client_ctl.c - pwcctl as its users meet it: the real program against the fake daemon. Words, exit
 * statuses, what goes to which stream, how outputs appear.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/ctl_run.h"
#include "tests/unit/runner.h"

/* ODD_NAME for people and for programs. */
#define ODD_NAME_SHOWN "holiday?\"1\".tif"
#define ODD_NAME_JSON  "\"holiday\\u000a\\\"1\\\".tif\""

/* ---- words and statuses ---- */

static const struct {
    const char *words; /* separated by blanks */
    int status;
    const char *out, *err; /* contained in; "" nothing at all there; NULL whatever */
} cases[] = {
    {"", 2, "", "what to do"},
    {"--help", 0, "Usage: pwcctl VERB", ""},
    {"--version", 0, "pwcctl ", ""},
    {"version --json", 0, "{\"schema\":\"pwc.version/1\",\"pwcctl\":", ""},
    {"rnu", 2, "", "did you mean 'run'"},
    {"help run", 0, "--chunk-timeout", ""},
    {"run --help", 0, "pwcctl run image.gaussblur", ""},
    {"run", 2, "", "which op"},
    {"run nop", 2, "", "did you mean 'echo'"},
    {"run --retires 3 records", 2, "", "did you mean --retries"},
    {"run --retries x records", 2, "", "0 to 100"},
    {"run --retires 3 --json records", 2, "", "{\"error\":{\"status\":2,\"message\":\"unknown option"},
    {"--json run --retries x records", 2, "", "{\"error\":{\"status\":2,\"message\":\"--retries 'x'"},
    {"run --retires 3 -- --json", 2, "", "pwcctl: unknown option"},
    {"run --progress fast records", 2, "", "auto, bar, plain, json or none"},
    {"run --format", 2, "", "needs a value"},
    {"run --json=1 records", 2, "", "takes no value"},
    {"run --chunk-timeout soon records", 2, "", "must be a duration"},
    {"run --chunk-timeout 50% records", 2, "", "at least 100%"},
    {"run --on-failure fill=256 records", 2, "", "fill=BYTE, 0 to 255"},
    {"run --memory 2X records", 2, "", "must be a size"},
    {"run --workers 0 records", 2, "", "1 to 4096"},
    {"ping --retries 3", 2, "", "'ping' takes no --retries"},
    {"ping more", 2, "", "one word too many"},
    {"run tiny file", 2, "", "takes no files"},
    {"run echo", 2, "", "needs an input file 'in'"},
    {"run echo in.raw", 2, "", "where to?"},
    {"run echo in.raw out.xyz", 2, "", "tells no format"},
    {"run echo in.raw out.raw third", 2, "", "one file too many"},
    {"run size in.raw -o x.raw", 2, "", "writes no file"},
    {"run echo nothere -o out.raw", 1, "", "cannot open 'nothere': No such file"},
    {"run echo . -o out.raw", 1, "", "is a directory"},
    {"run echo /dev/zero -o out.raw", 1, "", "is a device"},
    {"run echo in.raw -o nowhere/out.raw", 1, "", "cannot write 'nowhere/out.raw': No such file"},
    {"run echo in.raw -o .", 2, "", "format"},
    {"run echo in.raw -o . --format raw", 1, "", "it is a directory"},
    {"run echo in.raw -o in.raw", 1, "", "is the input too"},
    {"run echo in.raw -o out.raw --in maks=in.raw", 2, "", "has no input 'maks'"},
    {"run echo in.raw -o out.raw --in mask", 2, "", "ROLE=FILE"},
    {"run refuse sigma=x", 2, "", "0.01 to 1000"},
    {"run busy", 75, "", "queue is full"},
    {"run fail", 1, "", "not an image"},
    {"run partial", 5, "", "given up"},
    {"run partial --allow-partial", 0, "", ""},
    {"run crash", 1, "", "pwcctl: chunk 17 killed by SIGSEGV\n"},
    {"run crash -v", 1, "", "chunk 17 (rows 2176 to 2303) killed by SIGSEGV, attempt 1 of 2"},
    {"run lose", 69, "", "lost"},
    {"run shutdown", 69, "", "shutting down"},
    {"run garbage", 69, "", "broke the protocol"},
    {"run tiny --json", 0, "\"results\":{\"bytes\":0}", ""},
    {"run tiny x=1 y=two", 0, "x 1\ny two\nbytes 0\n", ""},
    {"--quiet run tiny -v", 0, "bytes 0\n", ""},
    {"run size in.raw", 0, "bytes 6\n", ""},
    {"run size -- in.raw", 0, "bytes 6\n", ""},
    {"run size -- x=1", 1, "", "cannot open 'x=1'"},
    {"run size ./x=1", 1, "", "cannot open './x=1'"},
    {"run fail --json", 1, NULL, "{\"error\":{\"status\":1,\"message\":\"not an image\"}}"},
    {"run slow --progress json --timeout 1h --detach --private", 2, "", "exclude each other"},
    {"run tiny --request-key 123456789012345678901234567890123", 2, "", "1 to 32 bytes"},
    {"run tiny --request-key=", 2, "", "1 to 32 bytes"},
    {"run tiny --request-key k --trace t.json", 2, "", "exclude each other"},
    {"run tiny --request-key 12345678901234567890123456789012 --json", 0, "\"existing\":false", ""},
    {"submit echo in.raw -o -[Q=9] --format raw", 2, "", "the job's number only"},
    {"submit echo in.raw - --format raw", 2, "", "the job's number only"},
    {"submit echo in.raw -o /dev/stdout --format raw", 2, "", "the job's number only"},
    {"wait 901", 0, "sum -42\n", ""},
    {"wait 901 902", 4, "901 sum -42\n", "cancelled"},
    {"wait 901 902 --json", 4, "}\n{\"schema\":\"pwc.job/1\",\"job\":902,", "{\"error\":{\"status\":4,"},
    {"wait 5", 3, "", "no such job"},
    {"wait x", 2, "", "'x' is no job"},
    {"cancel", 2, "", "which job"},
    {"cancel 5", 3, "", "no such job"},
    {"cancel 5 902 --json", 3, "{\"schema\":\"pwc.cancel/1\",\"jobs\":[902]}\n", "{\"error\":{\"status\":3,"},
    {"cancel 902", 0, "", ""},
    {"show 901", 0, "\ninput    " ODD_NAME_SHOWN "\n", ""},
    {"show 901 --json", 0, "\"input\":" ODD_NAME_JSON, ""},
    {"show 5", 3, NULL, "no job 5"},
    {"jobs", 0, "  array.sum              " ODD_NAME_SHOWN "\n", ""},
    {"jobs --json", 0, "{\"schema\":\"pwc.jobs/1\",\"jobs\":[{\"job\":901,", ""},
    {"workers", 0, "spare", ""},
    {"deaths", 0, "job 901, " ODD_NAME_SHOWN ": chunk 17 (rows 2176 to 2303) killed by SIGSEGV", ""},
    {"deaths --json", 0, "\"input\":" ODD_NAME_JSON ",\"covers\":\"rows 2176 to 2303\"", ""},
    {"quarantine", 0, "nothing          " ODD_NAME_SHOWN ": chunk 17 killed", ""},
    {"quarantine ls 902", 0, "nothing          chunk 17 killed", ""},
    {"quarantine show 901", 0, "\ninput    " ODD_NAME_SHOWN "\n", ""},
    {"quarantine --json", 0, "\"input\":" ODD_NAME_JSON ",\"covers\":\"rows 2176 to 2303\"", ""},
    {"status --json", 0, "\"workers_from\":\"affinity\"", ""},
    {"doctor", 0, "seccomp", ""},
    {"ops", 0, "a pretended op", ""},
    {"ops zzz", 2, NULL, "contains 'zzz'"},
    {"help echo", 0, "0.01 to 1000 pixels, required", ""},
    {"help echo --json", 0, "{\"schema\":\"pwc.op/1\",\"name\":\"echo\",", ""},
    {"ping", 0, "pwcd fake", ""},
    {"ping --json", 0, "{\"schema\":\"pwc.ping/1\",\"server\":\"pwcd fake\",\"path\":", ""},
    {"completion bash --json", 2, "", "{\"error\":{\"status\":2,\"message\":\"'completion' takes no --json"},
    {"ping --socket /nonexistent/s", 69, "", "no pwcd answers"},
    {"completion bash", 0, "complete -F _pwcctl pwcctl", ""},
    {"completion fish", 2, "", "which shell"},
    {"submit hang in.raw -o nowhere/out.raw", 1, "", "cannot write"},
    {"submit tiny", 0, NULL, ""},
};

static void check_stream(const char *got, const char *want, const char *words, const char *which)
{
    if (want == NULL)
        return;
    if (want[0] == '\0')
        ck_assert_msg(got[0] == '\0', "pwcctl %s: %s says '%s'", words, which, got);
    else
        ck_assert_msg(strstr(got, want) != NULL, "pwcctl %s: %s says '%s'", words, which, got);
}

START_TEST(words)
{
    char copy[256], *argv[32] = {W("pwcctl")}, *save = NULL;
    int n = 1;
    snprintf(copy, sizeof copy, "%s", cases[_i].words);
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    put("in.raw", "input\n");
    int status = run_in(STDIN_FILENO, argv);
    ck_assert_msg(status == cases[_i].status, "pwcctl %s: status %d, not %d: %s", cases[_i].words, status,
                  cases[_i].status, ran.err);
    check_stream(ran.out, cases[_i].out, cases[_i].words, "stdout");
    check_stream(ran.err, cases[_i].err, cases[_i].words, "stderr");
    ck_assert_str_eq(get("in.raw"), "input\n");
    ck_assert_int_eq(count_files("."), 1); /* whatever happened, nothing new lies about */
}
END_TEST

static const struct {
    enum fake_greeting greeting;
    int status;
    const char *err;
} greetings[] = {
    {FAKE_CLOSES, 76, "not pwcd"},
    {FAKE_HTTP, 76, "not pwcd"},
    {FAKE_VERSION, 76, "versions 7 to 9"},
    {FAKE_BUSY, 75, "too many clients"},
};

START_TEST(strangers)
{
    fake_stop(fake);
    fake = fake_start(sock, greetings[_i].greeting);
    ck_assert_int_eq(RUN(W("ping")), greetings[_i].status);
    check_stream(ran.err, greetings[_i].err, "ping", "stderr");
}
END_TEST

/* Only root can become somebody else, who may not even reach the program in the builder's own directory: the
 * library's part is in test_client.c too. */
START_TEST(no_permission)
{
    ck_assert_int_eq(chmod(dir, 0711), 0);
    ck_assert_int_eq(chmod(sock, geteuid() == 0 ? 0600 : 0000), 0);
    as_nobody = geteuid() == 0;
    int status = RUN(W("ping"));
    if (status == CANNOT_EXEC)
        return;
    ck_assert_int_eq(status, 77);
    check_stream(ran.err, "permission denied", "ping", "stderr");
}
END_TEST

/* ---- publishing ---- */

START_TEST(new_file)
{
    put("in", "hello");
    mode_t old = umask(027);
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("out.raw")), 0);
    umask(old);
    struct stat st;
    ck_assert_str_eq(get("out.raw"), "hello");
    ck_assert_int_eq(stat("out.raw", &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    ck_assert_int_eq(count_files("."), 2);
}
END_TEST

START_TEST(existing_file)
{
    struct stat before, after;
    put("in", "new");
    put("out.raw", "much older");
    chmod("out.raw", 0604);
    ck_assert_int_eq(symlink("out.raw", "link.raw"), 0);
    ck_assert_int_eq(stat("out.raw", &before), 0);
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("-o"), W("link.raw")), 0);
    ck_assert_int_eq(stat("out.raw", &after), 0);
    ck_assert_str_eq(get("out.raw"), "new");
    ck_assert_int_eq(after.st_mode, before.st_mode);
    ck_assert_uint_ne(after.st_ino, before.st_ino); /* replaced, not written over */
    ck_assert_int_eq(lstat("link.raw", &after), 0);
    ck_assert(S_ISLNK(after.st_mode));
    ck_assert_int_eq(count_files("."), 3);
}
END_TEST

START_TEST(failed_leaves_the_old)
{
    put("in", "new");
    put("out.raw", "old");
    fake_stop(fake);
    fake = NULL;
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("out.raw")), 69);
    ck_assert_str_eq(get("out.raw"), "old");
    fake = fake_start(sock, FAKE_WELCOME);
}
END_TEST

START_TEST(links_to_nothing_yet)
{
    struct stat st;
    put("in", "new");
    ck_assert_int_eq(mkdir("sub", 0700), 0);
    ck_assert_int_eq(symlink("sub/second", "first.raw"), 0);
    ck_assert_int_eq(symlink("third.raw", "sub/second"), 0);
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("first.raw")), 0);
    ck_assert_str_eq(get("sub/third.raw"), "new");
    ck_assert_int_eq(lstat("first.raw", &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(symlink("loop.raw", "loop.raw"), 0);
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("loop.raw")), 1);
    unlink("sub/third.raw");
    unlink("sub/second");
}
END_TEST

START_TEST(streams)
{
    put("in", "through a pipe");
    int p[2];
    ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
    ck_assert_int_eq(write(p[1], "piped", 5), 5);
    close(p[1]);
    char *const argv[] = {W("pwcctl"), W("run"),      W("echo"), W("-"), W("-o"),
                          W("-"),      W("--format"), W("raw"),  NULL};
    ck_assert_int_eq(run_in(p[0], argv), 0);
    close(p[0]);
    ck_assert_str_eq(ran.out, "piped"); /* and no results between the bytes */
    int fd = open("in", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(run_in(fd, argv), 0);
    ck_assert_str_eq(ran.out, "through a pipe");
    lseek(fd, 8, SEEK_SET); /* a file read halfway: only the rest is stdin */
    ck_assert_int_eq(run_in(fd, argv), 0);
    ck_assert_str_eq(ran.out, "a pipe");
    close(fd);
}
END_TEST

START_TEST(fifo)
{
    char text[16] = "";
    put("in", "fifo bytes");
    ck_assert_int_eq(mkfifo("pipe.raw", 0600), 0);
    int fd = open("pipe.raw", O_RDWR | O_CLOEXEC); /* so that nobody's open waits */
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("-o"), W("pipe.raw")), 0);
    ck_assert_int_eq(read(fd, text, sizeof text - 1), 10);
    ck_assert_str_eq(text, "fifo bytes");
    close(fd);
    struct stat st;
    ck_assert_int_eq(lstat("pipe.raw", &st), 0);
    ck_assert(S_ISFIFO(st.st_mode));
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("-o"), W("/dev/null"), W("--format"), W("raw")), 0);
    ck_assert_int_eq(RUN(W("run"), W("")), 2);
    ck_assert_int_eq(RUN(W("run"), W("size"), W("pipe.raw")), 1);
    check_stream(ran.err, "nobody writes to", "run", "stderr");
    fd = open("pipe.raw", O_RDWR | O_CLOEXEC);
    int reader = open("pipe.raw", O_RDONLY | O_CLOEXEC | O_NONBLOCK), out, err;
    ck_assert_int_eq(write(fd, "12345", 5), 5);
    char *const argv[] = {W("pwcctl"), W("run"), W("size"), W("pipe.raw"), W("-v"), NULL};
    pid_t pid = start(argv, STDIN_FILENO, &out, &err);
    wait_empty(reader);
    close(fd);
    close(reader);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 0);
    ck_assert_str_eq(ran.out, "bytes 5\n");
}
END_TEST

START_TEST(options_of_formats)
{
    put("in", "x");
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("-o"), W("out.jpg[Q=90,strip]")), 0);
    ck_assert_str_eq(get("out.jpg"), "x");
    put("odd[name]", "odd");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("odd[name]")), 0);
    ck_assert_str_eq(ran.out, "bytes 3\n");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("in[page=1]")), 0);
    ck_assert_str_eq(ran.out, "bytes 1\n");
}
END_TEST

static void check_name(const char *want)
{
    char told[256];
    fake_item_name(fake, told, sizeof told);
    ck_assert_str_eq(told, want);
}

/* As it was typed, less the loader's options. */
START_TEST(names_of_inputs)
{
    put("in", ""); /* else the fake would copy one to the other */
    put("mask", "");
    put("a \"b\"\nc", "z");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("./in")), 0);
    check_name("./in");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("a \"b\"\nc")), 0);
    check_name("a \"b\"\nc");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("in[page=1]")), 0);
    check_name("in");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("in"), W("--in"), W("mask=mask")), 0);
    check_name("in");
    ck_assert_int_eq(RUN(W("run"), W("size"), W("--in"), W("mask=mask"), W("--in"), W("in=./in")), 0);
    check_name("./in");
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("o"), W("--format"), W("raw"), W("mask")),
                     0);
    check_name("mask");
    int fd = open("in", O_RDONLY | O_CLOEXEC);
    char *const argv[] = {W("pwcctl"), W("run"), W("size"), W("-"), NULL};
    ck_assert_int_eq(run_in(fd, argv), 0);
    check_name("");
    close(fd);
    ck_assert_int_eq(RUN(W("submit"), W("size"), W("in")), 0);
    check_name("in");
    unlink("o/mask.raw");
}
END_TEST

/* ---- batches ---- */

START_TEST(batch)
{
    put("a.raw", "first");
    put("b.raw", "second");
    put("c.raw", "bad one");
    ck_assert_int_eq(
        RUN(W("run"), W("batch"), W("--out-dir"), W("o"), W("a.raw"), W("b.raw"), W("c.raw"), W("d.raw")), 5);
    ck_assert_str_eq(get("o/a.raw"), "first");
    ck_assert_str_eq(get("o/b.raw"), "second");
    ck_assert_int_eq(count_files("o"), 2);
    check_stream(ran.err, "pwcctl: c.raw: not an image\n", "run", "stderr");
    check_stream(ran.err, "pwcctl: d.raw: cannot open: No such file or directory\n", "run", "stderr");
    check_stream(ran.err, "2 of 4 files failed", "run", "stderr");
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("o"), W("--format"), W("png"), W("a.raw")),
                     0);
    ck_assert_str_eq(get("o/a.png"), "first");
    unlink("o/a.raw");
    unlink("o/b.raw");
    unlink("o/a.png");
}
END_TEST

START_TEST(batch_refused)
{
    ck_assert_int_eq(mkdir("sub", 0700), 0);
    put("a.raw", "first");
    put("sub/a.raw", "second");
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("o"), W("a.raw"), W("sub/a.raw")), 2);
    check_stream(ran.err, "would both become 'o/a.raw'", "run", "stderr");
    ck_assert_int_eq(access("o", F_OK), -1);
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("sub"), W("a.raw"), W("./sub/a.raw"),
                         W("--format"), W("png"), W("--quiet")),
                     2); /* the same name still */
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("."), W("sub/a.raw"), W("sub/../a.raw")), 2);
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("."), W("a.raw")), 1);
    check_stream(ran.err, "is an input too", "run", "stderr");
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("a.raw"), W("sub/a.raw")), 1);
    ck_assert_int_eq(RUN(W("run"), W("size"), W("--out-dir"), W("o"), W("a.raw")), 2);
    unlink("sub/a.raw");
}
END_TEST

START_TEST(files_from)
{
    put("a b.raw", "first");
    put("c.raw", "second");
    put("list", "a b.raw\n\nc.raw\n");
    ck_assert_int_eq(RUN(W("run"), W("batch"), W("--out-dir"), W("o"), W("--files-from"), W("list")), 0);
    ck_assert_int_eq(count_files("o"), 2);
    int fd = open("list0", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "c.raw", 6), 6); /* with its NUL */
    lseek(fd, 0, SEEK_SET);
    char *const argv[] = {W("pwcctl"), W("run"),          W("batch"), W("--out-dir"),
                          W("o"),      W("--files-from"), W("-"),     NULL};
    unlink("o/c.raw");
    ck_assert_int_eq(run_in(fd, argv), 0);
    ck_assert_str_eq(get("o/c.raw"), "second");
    close(fd);
    unlink("o/c.raw");
    unlink("o/a b.raw");
}
END_TEST

/* ---- signals ---- */

/* Reads until the text has come. */
static void await(int fd, const char *text)
{
    char buf[8192];
    size_t len = 0;
    do {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 60000), 1);
        ssize_t n = read(fd, buf + len, sizeof buf - 1 - len);
        ck_assert_int_gt(n, 0);
        len += (size_t)n;
        buf[len] = '\0';
    } while (strstr(buf, text) == NULL);
}

static pid_t start_slow(const char *op, int *ret_out, int *ret_err)
{
    char *const argv[] = {W("pwcctl"), W("run"), W(op), W("--progress"), W("json"), NULL};
    return start(argv, STDIN_FILENO, ret_out, ret_err);
}

START_TEST(interrupted)
{
    int out, err;
    pid_t pid = start_slow("slow", &out, &err);
    await(err, "\"done\":400");
    kill(pid, SIGINT);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 130);
    check_stream(ran.err, "cancelling", "run slow", "stderr");
    check_stream(ran.err, "\"event\":\"finished\",\"job\":1,\"state\":\"cancelled\"", "run slow", "stderr");
}
END_TEST

START_TEST(terminated)
{
    int out, err;
    pid_t pid = start_slow("slow", &out, &err);
    await(err, "\"done\":400");
    kill(pid, SIGTERM);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 128 + SIGTERM);
}
END_TEST

/* A daemon that does not answer the cancellation: the second ^C does not wait for it. */
START_TEST(interrupted_twice)
{
    int out, err;
    pid_t pid = start_slow("deaf", &out, &err);
    await(err, "\"done\":400");
    kill(pid, SIGINT);
    await(err, "cancelling");
    kill(pid, SIGINT);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 130);
}
END_TEST

START_TEST(interrupted_with_output)
{
    int out, err;
    put("in", "x");
    char *const argv[] = {W("pwcctl"),  W("run"),        W("stall"), W("in"), W("-o"),
                          W("out.raw"), W("--progress"), W("json"),  NULL};
    pid_t pid = start(argv, STDIN_FILENO, &out, &err);
    await(err, "\"done\":400");
    kill(pid, SIGINT);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 130);
    ck_assert_int_eq(count_files("."), 1);
}
END_TEST

/* Mode of the one hidden file here. */
static mode_t hidden_mode(void)
{
    struct stat st = {0};
    int n = 0;
    DIR *d = opendir(".");
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] == '.' && strlen(e->d_name) > 2) {
            ck_assert_int_eq(stat(e->d_name, &st), 0);
            n++;
        }
    closedir(d);
    ck_assert_int_eq(n, 1);
    return st.st_mode & 0777;
}

/* Where the file that replaces a private one has a name while the job runs. */
START_TEST(no_nameless_files)
{
    int out, err;
    struct stat st;
    put("in", "secret");
    put("out.raw", "old");
    chmod("out.raw", 0600);
    no_tmpfile = true;
    char *const argv[] = {W("pwcctl"),  W("run"),        W("stall"), W("in"), W("-o"),
                          W("out.raw"), W("--progress"), W("json"),  NULL};
    mode_t old = umask(022);
    pid_t pid = start(argv, STDIN_FILENO, &out, &err);
    await(err, "\"done\":400");
    ck_assert_int_eq(hidden_mode(), 0600);
    kill(pid, SIGINT);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 130);
    ck_assert_int_eq(count_files("."), 2);
    chmod("out.raw", 0640);
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("out.raw")), 0);
    ck_assert_int_eq(RUN(W("run"), W("echo"), W("in"), W("new.raw")), 0);
    umask(old);
    ck_assert_str_eq(get("out.raw"), "secret");
    ck_assert_int_eq(stat("out.raw", &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    ck_assert_int_eq(stat("new.raw", &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0644);
    ck_assert_int_eq(count_files("."), 3);
}
END_TEST

/* The job was done already: then it is done, but where its output would be there is none. */
START_TEST(interrupted_too_late)
{
    int out, err;
    put("in", "x");
    char *const argv[] = {W("pwcctl"),  W("run"),        W("overtaken"), W("in"), W("-o"),
                          W("out.raw"), W("--progress"), W("json"),      W("-v"), NULL};
    pid_t pid = start(argv, STDIN_FILENO, &out, &err);
    await(err, "\"done\":400");
    kill(pid, SIGINT);
    collect(out, err, &ran);
    ck_assert_int_eq(finish(pid), 130);
    check_stream(ran.err, "\"state\":\"done\"", "run overtaken", "stderr");
    ck_assert_msg(strstr(ran.err, "out.raw") == NULL, "%s", ran.err);
    ck_assert_int_eq(count_files("."), 1);
}
END_TEST

START_TEST(not_published)
{
    put("in", "x");
    ck_assert_int_eq(
        RUN(W("run"), W("echo"), W("in"), W("-o"), W("/dev/full"), W("--format"), W("raw"), W("-v")), 1);
    check_stream(ran.err, "cannot write '/dev/full': No space left", "run echo", "stderr");
    ck_assert_msg(strstr(ran.err, "-> /dev/full") == NULL, "%s", ran.err);
}
END_TEST

/* ---- detached, private ---- */

START_TEST(submitted)
{
    put("in", "later");
    ck_assert_int_eq(RUN(W("submit"), W("stall"), W("in"), W("-o"), W("out.raw")), 0);
    ck_assert_str_eq(ran.out, "1\n"); /* only the number, though the job goes on */
    ck_assert_str_eq(ran.err, "");
    ck_assert_ptr_null(get("out.raw"));
    /* `wait` waits for the publisher; the fake's connections are apart, so then there is no such job */
    int out, err;
    char *const argv[] = {W("pwcctl"), W("wait"), W("1"), NULL};
    pid_t pid = start(argv, STDIN_FILENO, &out, &err);
    struct pollfd p = {.fd = out, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 300), 0);
    fake_stop(fake); /* the publisher's job is lost: it ends */
    fake = fake_start(sock, FAKE_WELCOME);
    collect(out, err, &ran);
    finish(pid);
    ck_assert_ptr_null(get("out.raw"));
}
END_TEST

/* Where the publisher of a job is met. */
static socklen_t publisher(const char *job, struct sockaddr_un *sa)
{
    char instance[16] = "", *at = sa->sun_path + 1;
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(instance, sizeof instance, "fake %d", (int)getpid());
    at += sprintf(at, "pwc/");
    for (size_t i = 0; i < sizeof instance; i++)
        at += sprintf(at, "%02x", (unsigned char)instance[i]);
    at += sprintf(at, "/%s", job);
    return (socklen_t)(at - (char *)sa);
}

static int stream_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* A listener under the publisher's name whose backlog is full, and who takes nobody. */
static void take_name(const char *job, int fds[2])
{
    struct sockaddr_un sa;
    socklen_t len = publisher(job, &sa);
    fds[0] = stream_socket();
    fds[1] = stream_socket();
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&sa, len), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&sa, len), 0);
}

/* Waiting for it has an end too. */
START_TEST(crowd_waits)
{
    int fds[2];
    take_name("901", fds);
    ck_assert_int_eq(RUN(W("wait"), W("901"), W("--timeout"), W("50ms")), 124);
    check_stream(ran.err, "is not done yet", "wait", "stderr");
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* Another user's, who is no publisher of ours: there is nothing to wait for, whoever takes whose name. */
START_TEST(a_stranger_has_the_name)
{
    int fds[2];
    if (geteuid() != 0)
        return;
    ck_assert_int_eq(chmod(dir, 0711), 0);
    ck_assert_int_eq(chmod(sock, 0666), 0);
    ck_assert_int_eq(seteuid(_i == 0 ? 65534 : 0), 0);
    take_name("901", fds);
    ck_assert_int_eq(seteuid(0), 0);
    as_nobody = _i != 0;
    /* Less than who cannot be told from a publisher would be waited for. */
    int status = RUN(W("wait"), W("901"), W("--timeout"), W("5s"));
    if (status != CANNOT_EXEC)
        ck_assert_msg(status == 0, "%d: %s", status, ran.err);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* More come and give up than a listener's backlog holds: who comes after them is heard, and told. */
START_TEST(many_give_up_waiting)
{
    int fd;
    struct sockaddr_un sa;
    socklen_t len = publisher("1", &sa);
    const struct timeval patience = {.tv_sec = 20};
    put("in", "later");
    ck_assert_int_eq(RUN(W("submit"), W("stall"), W("in"), W("-o"), W("out.raw")), 0);
    for (int i = 0; i < 300; i++) {
        fd = stream_socket();
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        ck_assert_msg(connect(fd, (struct sockaddr *)&sa, len) == 0, "number %d: %m", i);
        close(fd);
    }
    fd = stream_socket();
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
    fake_stop(fake); /* the job is lost, and with it the output */
    fake = fake_start(sock, FAKE_WELCOME);
    char byte = 0;
    ck_assert_int_eq(read(fd, &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    close(fd);
}
END_TEST

START_TEST(private_daemon_fails)
{
    char path[128];
    setenv("TMPDIR", dir, 1);
    setenv("XDG_RUNTIME_DIR", dir, 1);
    setenv("PWC_PWCD", "/nonexistent/pwcd", 1);
    ck_assert_int_eq(RUN(W("--private"), W("ping")), 69);
    check_stream(ran.err, "PWC_PWCD is '/nonexistent/pwcd'", "ping", "stderr");
    script("dies", "echo 'pwcd: fatal: no seats' >&2; exit 3");
    snprintf(path, sizeof path, "%s/dies", dir);
    setenv("PWC_PWCD", path, 1);
    ck_assert_int_eq(RUN(W("--private"), W("ping")), 69);
    check_stream(ran.err, "ended at once: pwcd: fatal: no seats", "ping", "stderr");
    ck_assert_int_eq(count_files("."), 1); /* no directory is left */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pwcctl");
    TCase *tc = tcase_create("pwcctl");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, ctl_setup, ctl_teardown);
    tcase_add_loop_test(tc, words, 0, sizeof cases / sizeof *cases);
    tcase_add_loop_test(tc, strangers, 0, sizeof greetings / sizeof *greetings);
    tcase_add_test(tc, no_permission);
    tcase_add_test(tc, new_file);
    tcase_add_test(tc, existing_file);
    tcase_add_test(tc, failed_leaves_the_old);
    tcase_add_test(tc, links_to_nothing_yet);
    tcase_add_test(tc, streams);
    tcase_add_test(tc, fifo);
    tcase_add_test(tc, options_of_formats);
    tcase_add_test(tc, names_of_inputs);
    tcase_add_test(tc, batch);
    tcase_add_test(tc, batch_refused);
    tcase_add_test(tc, files_from);
    tcase_add_test(tc, interrupted);
    tcase_add_test(tc, terminated);
    tcase_add_test(tc, interrupted_twice);
    tcase_add_test(tc, interrupted_with_output);
    tcase_add_test(tc, no_nameless_files);
    tcase_add_test(tc, interrupted_too_late);
    tcase_add_test(tc, not_published);
    tcase_add_test(tc, submitted);
    tcase_add_test(tc, crowd_waits);
    tcase_add_loop_test(tc, a_stranger_has_the_name, 0, 2);
    tcase_add_test(tc, many_give_up_waiting);
    tcase_add_test(tc, private_daemon_fails);
    add_io_tests(tc);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
