/* client_files.c - jobs with files: a sum over descriptors, one image, a batch of photographs. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/client.h"

static int open_or_fail(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        bench_fail("%s: %m", path);
    return fd;
}

/* ---- sum ---- */

/* Opens the file itself: a memory file comes as /proc/PID/fd/N. */
static double sum_once(struct pwc *c, const char *path, int64_t expected)
{
    double start = bench_now();
    int fd = open_or_fail(path, O_RDONLY);
    struct pwc_spec *spec = pwc_spec_new("array.sum");
    pwc_spec_param(spec, "type", "int32");
    pwc_spec_fd(spec, "in", fd);
    struct pwc_job *job = bench_run(c, spec);
    int64_t sum;
    if (pwc_result_i64(job, "sum", &sum) != PWC_OK)
        bench_fail("%s", pwc_error());
    close(fd);
    double seconds = bench_now() - start;
    if (sum != expected)
        bench_fail("the sum is %ld, not %ld", (long)sum, (long)expected);
    pwc_job_free(job);
    pwc_spec_free(spec);
    return seconds;
}

int cmd_sum(int argc, char **argv)
{
    if (argc < 3)
        bench_fail("sum FILE SUM");
    struct stat st;
    if (stat(argv[1], &st) < 0)
        bench_fail("%s: %m", argv[1]);
    int64_t expected = strtoll(argv[2], NULL, 10);
    struct pwc *c = bench_connect();
    struct pwc_spec *warm = bench_chunks_spec("noop", 1000, 0);
    pwc_job_free(bench_run(c, warm));
    pwc_spec_free(warm);
    double seconds = sum_once(c, argv[1], expected);
    bench_print("seconds", seconds);
    bench_print("gb_s", (double)st.st_size / seconds * 1e-9);
    pwc_close(c);
    return 0;
}

/* ---- one image ---- */

static void set_params(struct pwc_spec *spec, char **at, int n)
{
    for (int i = 0; i < n; i++) {
        char *eq = strchr(at[i], '=');
        if (eq == NULL)
            bench_fail("'%s': expected NAME=VALUE, or save.NAME=VALUE", at[i]);
        *eq = '\0';
        if (strncmp(at[i], "save.", 5) == 0)
            pwc_spec_text(spec, PWC_SAVE, at[i] + 5, eq + 1);
        else
            pwc_spec_param(spec, at[i], eq + 1);
    }
}

int cmd_image(int argc, char **argv)
{
    if (argc < 5)
        bench_fail("image OP IN OUT FORMAT [NAME=VALUE...]");
    int in = open_or_fail(argv[2], O_RDONLY), out = open_or_fail(argv[3], O_RDWR | O_CREAT | O_TRUNC);
    struct pwc *c = bench_connect();
    struct pwc_spec *spec = pwc_spec_new(argv[1]);
    set_params(spec, argv + 5, argc - 5);
    pwc_spec_fd(spec, "in", in);
    pwc_spec_fd(spec, "out", out);
    pwc_spec_format(spec, argv[4]);
    pwc_job_free(bench_run(c, spec));
    pwc_spec_free(spec);
    pwc_close(c);
    close(in);
    return close(out) < 0 ? 1 : 0;
}

/* ---- photographs ---- */

struct thumbs {
    char *const *paths;
    const char *folder;
    size_t bad;
};

static int open_photo(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user)
{
    (void)job;
    const struct thumbs *t = user;
    const char *path = t->paths[index], *slash = strrchr(path, '/');
    char out[4096];
    snprintf(out, sizeof out, "%s/%s", t->folder, slash != NULL ? slash + 1 : path);
    item->fds[0] = open_or_fail(path, O_RDONLY);
    item->fds[1] = open_or_fail(out, O_RDWR | O_CREAT | O_TRUNC);
    item->name = path;
    return PWC_OK;
}

static void photo_done(struct pwc_job *job, uint64_t index, int code, const char *reason, uint32_t attempts,
                       void *user)
{
    (void)job, (void)attempts;
    struct thumbs *t = user;
    if (code == PWC_OK)
        return;
    fprintf(stderr, "%s: %s\n", t->paths[index], reason);
    t->bad++;
}

int cmd_thumbs(int argc, char **argv)
{
    static const char *const roles[] = {"in", "out"};
    if (argc < 4)
        bench_fail("thumbs FOLDER SIZE FILE...");
    struct thumbs t = {.paths = argv + 3, .folder = argv[1]};
    const struct pwc_batch batch = {.items = (uint64_t)(argc - 3),
                                    .roles = roles,
                                    .nroles = 2,
                                    .open_item = open_photo,
                                    .item_done = photo_done,
                                    .user = &t};
    struct pwc *c = bench_connect();
    struct pwc_spec *spec = pwc_spec_new("image.thumbnail");
    pwc_spec_param(spec, "width", argv[2]);
    pwc_spec_format(spec, "jpeg");
    pwc_spec_batch(spec, &batch);
    pwc_job_free(bench_run(c, spec));
    pwc_spec_free(spec);
    pwc_close(c);
    if (t.bad > 0)
        bench_fail("%zu photographs failed", t.bad);
    return 0;
}
