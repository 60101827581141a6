/*
 * replay.c - runs a fuzz target over its corpus: every file as it is, cut off at every length and with every
 * byte damaged. The corpus is $srcdir/tests/fuzz/corpus/NAME, or the directory named on the command line.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

/* Files longer than this are cut and damaged in as many places. */
#ifdef PWC_SANITIZED
#define CUTS 100 /* libFuzzer damages the same files in this build */
#else
#define CUTS 400
#endif

static size_t read_file(const char *path, uint8_t *to, size_t room)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
    size_t n = fread(to, 1, room, f);
    fclose(f);
    return n;
}

static unsigned long inputs;

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

static void replay(const char *path)
{
    static uint8_t data[2 * PWC_FRAME_MAX];
    size_t len = read_file(path, data, sizeof data), step = 1 + len / CUTS;
    run(data, len);
    for (size_t i = 0; i < len; i += step) {
        run(data, i);
        uint8_t was = data[i];
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
}

int main(int argc, char **argv)
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE char *own = xasprintf("%s/tests/fuzz/corpus/%s", srcdir != NULL ? srcdir : ".", FUZZ_NAME);
    const char *dir = argc > 1 ? argv[1] : own;
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
    printf("counts: %lu inputs out of %d files\n", inputs, n);
    printf("%d passed, %d failed\n", n, n == 0);
    return n == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
