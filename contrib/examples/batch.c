/*
 * batch.c - many files in one job: thumbnails of pictures, each file a chunk that fails alone.
 *
 *     batch DIR PICTURE...
 *
 * Files are opened when the daemon wants them: at most some thirty are open at a time, however many there
 * are.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pwc.h>

struct thumbnails {
    const char *dir;
    char **pictures;
    int *outputs; /* open while an item is under way, to be linked when it is done */
    unsigned done, failed;
};

static int open_item(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user)
{
    (void)job;
    struct thumbnails *t = user;
    item->name = t->pictures[index];
    item->fds[0] = open(t->pictures[index], O_RDONLY | O_CLOEXEC);
    if (item->fds[0] < 0) {
        item->error = strerror(errno);
        return PWC_BAD_INPUT; /* this one fails, the others go on */
    }
    t->outputs[index] = open(t->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    item->fds[1] = fcntl(t->outputs[index], F_DUPFD_CLOEXEC, 3); /* the library closes what is in item */
    if (item->fds[1] < 0) {
        item->error = strerror(errno);
        return PWC_OUTPUT;
    }
    return PWC_OK;
}

static bool publish(const struct thumbnails *t, uint64_t index)
{
    char self[64], path[4096], *copy = strdup(t->pictures[index]);
    snprintf(self, sizeof self, "/proc/self/fd/%d", t->outputs[index]);
    snprintf(path, sizeof path, "%s/%s.jpg", t->dir, copy != NULL ? basename(copy) : "thumbnail");
    free(copy);
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
        return true;
    warn("%s", path); /* it may be there from another time */
    return false;
}

static void item_done(struct pwc_job *job, uint64_t index, int code, const char *reason, uint32_t attempts,
                      void *user)
{
    (void)job;
    (void)attempts;
    struct thumbnails *t = user;
    t->done++;
    if (code != PWC_OK)
        warnx("%s: %s", t->pictures[index], reason);
    if (code != PWC_OK || !publish(t, index)) /* done is what is there */
        t->failed++;
    if (t->outputs[index] >= 0)
        close(t->outputs[index]);
    t->outputs[index] = -1;
}

int main(int argc, char **argv)
{
    static const char *const roles[] = {"in", "out"}; /* of each item's descriptors, in this order */
    struct pwc *c;
    struct pwc_job *job;

    if (argc < 3)
        errx(2, "usage: batch DIR PICTURE...");
    size_t n = (size_t)argc - 2;
    struct thumbnails t = {.dir = argv[1], .pictures = argv + 2, .outputs = calloc(n, sizeof(int))};
    if (t.outputs == NULL)
        err(1, NULL);
    for (size_t i = 0; i < n; i++)
        t.outputs[i] = -1;
    if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
        errx(1, "%s", pwc_error());

    struct pwc_spec *spec = pwc_spec_new("image.thumbnail");
    struct pwc_batch batch = {
        .items = n, .roles = roles, .nroles = 2, .open_item = open_item, .item_done = item_done, .user = &t};
    pwc_spec_i64(spec, "width", 256);
    pwc_spec_format(spec, "jpeg");
    pwc_spec_batch(spec, &batch);

    int r = pwc_submit(c, spec, &job);
    if (r == PWC_OK)
        r = pwc_wait(job, PWC_FOREVER);
    if (r != PWC_OK && r != PWC_E_PARTIAL)
        errx(1, "%s", pwc_error());
    printf("%u done, %u failed\n", t.done, t.failed);

    pwc_job_free(job);
    pwc_spec_free(spec);
    pwc_close(c);
    free(t.outputs);
    return t.failed == 0 ? 0 : 1;
}
