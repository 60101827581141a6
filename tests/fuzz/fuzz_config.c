/*
 * fuzz_config.c - any bytes as the configuration file (first byte even) or as flags divided by line breaks
 * (odd): refused with one line that can be shown, or taken, printed by `pwcd -n`, and then read again to the
 * same.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"
#include "ipc/fds.h"
#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 12

static char path[32];

static int fill(const void *bytes, size_t len)
{
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("config", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    return write_all(fd, bytes, len);
}

static void check_error(int r, char *error)
{
    FUZZ_CHECK(r != -EINVAL || error != NULL);
    for (const char *p = error; p != NULL && *p != '\0'; p++)
        FUZZ_CHECK((unsigned char)*p >= ' ');
    free(error);
}

static size_t print(const struct config *c, char **ret)
{
    size_t len = 0;
    FILE *f = open_memstream(ret, &len);
    config_print(c, NULL, f);
    fclose(f);
    return len;
}

/* What is printed means what was read. */
static void check_same(const struct config *c)
{
    struct config again;
    char *error = NULL, *text = NULL;
    size_t len = print(c, &text);
    FUZZ_CHECK(fill(text, len) == 0);
    config_defaults(&again);
    int r = config_load_file(&again, path, &error);
    if (r < 0)
        fprintf(stderr, "%s\n%s", error, text);
    FUZZ_CHECK(r == 0);
    FUZZ_CHECK(again.workers == c->workers && again.max_pixels == c->max_pixels && again.memory == c->memory);
    FUZZ_CHECK(again.chunk_timeout == c->chunk_timeout && again.ready_timeout == c->ready_timeout);
    FUZZ_CHECK(strcmp(again.scratch, c->scratch) == 0 && strcmp(again.stage_program, c->stage_program) == 0);
    FUZZ_CHECK(again.require_sandbox == c->require_sandbox && again.isolation == c->isolation);
    config_free(&again);
    free(text);
}

static void as_file(const uint8_t *data, size_t size)
{
    struct config c;
    char *error = NULL;
    FUZZ_CHECK(fill(data, size) == 0);
    config_defaults(&c);
    int r = config_load_file(&c, path, &error);
    if (r < 0)
        check_error(r, error);
    else
        check_same(&c);
    config_free(&c);
}

static void as_flags(const uint8_t *data, size_t size)
{
    struct config c;
    char *error = NULL, *argv[ARGS_MAX + 1] = {(char *)(uintptr_t) "pwcd"};
    int argc = 1;
    AUTO_FREE char *text = xcalloc(1, size + 1);
    memcpy(text, data, size);
    char *save = NULL;
    for (char *w = strtok_r(text, "\n", &save); w != NULL && argc < ARGS_MAX; w = strtok_r(NULL, "\n", &save))
        if (strncmp(w, "-h", 2) != 0 && strncmp(w, "--h", 3) != 0 && strncmp(w, "-V", 2) != 0 &&
            strncmp(w, "--v", 3) != 0)
            argv[argc++] = w;
    argv[argc] = NULL;
    int r = config_parse(&c, argc, argv, &error);
    if (r < 0) {
        check_error(r, error);
        return;
    }
    check_same(&c);
    config_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        as_file(data + 1, size - 1);
    else
        as_flags(data + 1, size - 1);
    return 0;
}
