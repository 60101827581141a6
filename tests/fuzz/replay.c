/*
 * replay.c - runs a fuzz target over its corpora. Seeds ($srcdir/tests/fuzz/corpus/NAME, or the directory
 * named on the command line): every file as it is, cut off at every length and with every byte damaged. What
 * has grown from them ($srcdir/tests/fuzz/grown/NAME, or the file named behind that directory; grown.sh
 * writes it): every input as it is, one a line in hexadecimal.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#ifdef PWC_SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

/* Files longer than this are cut and damaged in as many places. */
#ifdef PWC_SANITIZED
#define CUTS 100 /* libFuzzer damages the same files in this build */
#else
#define CUTS 400
#endif

static unsigned long inputs;

/* ---- an input that ends the program: which it was ---- */

static struct {
    const char *file; /* NULL: none is being run */
    const char *what;
    size_t number;
} running;

static void say_which(void)
{
    if (running.file != NULL)
        fprintf(stderr, "%s: %s %zu\n", running.file, running.what, running.number);
    running.file = NULL;
}

static void on_death(int sig)
{
    say_which();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Sanitizers have handlers of their own, which say more, and call back. */
static void watch_deaths(void)
{
    signal(SIGABRT, on_death);
#ifdef PWC_SANITIZED
    __sanitizer_set_death_callback(say_which);
#else
    signal(SIGSEGV, on_death);
    signal(SIGBUS, on_death);
#endif
}

/* ---- one of them ---- */

static FILE *open_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
    return f;
}

static size_t read_file(const char *path, uint8_t *to, size_t room)
{
    FILE *f = open_file(path);
    size_t n = fread(to, 1, room, f);
    fclose(f);
    return n;
}

/* From memory of exactly that length, so that a sanitizer sees a read behind the end. */
static void run(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    inputs++;
}

/* ---- seeds ---- */

static void damage(uint8_t *data, size_t len, size_t i)
{
    const uint8_t was = data[i];
    const uint8_t damaged[] = {0,
                               1,
                               7,
                               0x1f,
                               0x7f,
                               0x80,
                               0xff,
                               (uint8_t)(was + 1),
                               (uint8_t)(was - 1),
                               (uint8_t)(was ^ 1u << (i % 8)),
                               (uint8_t)(was + 8)};
    for (size_t k = 0; k < sizeof damaged; k++) {
        data[i] = damaged[k];
        run(data, len);
    }
    data[i] = was;
}

static void replay(const char *path)
{
    static uint8_t data[2 * PWC_FRAME_MAX];
    size_t len = read_file(path, data, sizeof data), step = 1 + len / CUTS;
    running.file = path;
    running.what = "whole, bytes";
    running.number = len;
    run(data, len);
    running.what = "cut or damaged at byte";
    for (size_t i = 0; i < len; i += step) {
        running.number = i;
        run(data, i);
        damage(data, len, i);
    }
    running.file = NULL;
}

/* How many files there were. */
static int replay_seeds(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        AUTO_FREE char *path = xasprintf("%s/%s", dir, e->d_name);
        replay(path);
        n++;
    }
    if (d != NULL)
        closedir(d);
    if (n == 0)
        fprintf(stderr, "%s: no corpus there\n", dir);
    return n;
}

/* ---- what has grown ---- */

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != 0 ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* False: that is no line of hexadecimal digits, or an empty one. */
static bool decode(const char *line, size_t chars, uint8_t *to)
{
    for (size_t i = 0; i + 1 < chars; i += 2) {
        int high = digit(line[i]), low = digit(line[i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i / 2] = (uint8_t)(high << 4 | low);
    }
    return chars > 0 && chars % 2 == 0;
}

static bool replay_line(char *line, size_t chars)
{
    chars -= chars > 0 && line[chars - 1] == '\n';
    AUTO_FREE uint8_t *data = xcalloc(chars / 2 + 1, 1);
    if (!decode(line, chars, data)) {
        running.what = "not hexadecimal: line";
        return false;
    }
    run(data, chars / 2);
    return true;
}

/* How many there were; a file that holds something else, or nothing, is a failure. */
static unsigned long replay_grown(const char *path)
{
    FILE *f = open_file(path);
    AUTO_FREE char *line = NULL;
    size_t room = 0;
    bool good = true;
    running.file = path;
    running.what = "line";
    running.number = 0;
    for (ssize_t n; good && (n = getline(&line, &room, f)) > 0;) {
        running.number++;
        good = replay_line(line, (size_t)n);
    }
    fclose(f);
    if (!good || running.number == 0)
        say_which();
    running.file = NULL;
    return good ? running.number : 0;
}

int main(int argc, char **argv)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE char *seeds = xasprintf("%s/tests/fuzz/corpus/%s", srcdir != NULL ? srcdir : ".", FUZZ_NAME);
    AUTO_FREE char *grown = xasprintf("%s/tests/fuzz/grown/%s", srcdir != NULL ? srcdir : ".", FUZZ_NAME);
    bool with_grown = argc != 2;
    watch_deaths();
    int n = replay_seeds(argc > 1 ? argv[1] : seeds);
    unsigned long whole = with_grown ? replay_grown(argc > 2 ? argv[2] : grown) : 0;
    int failed = (n == 0) + (with_grown && whole == 0);
    printf("counts: %lu inputs: %d files whole, cut and damaged, and %lu that have grown\n", inputs, n,
           whole);
    printf("%d passed, %d failed\n", n + (whole > 0), failed);
    return failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
