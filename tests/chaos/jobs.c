/*
 * jobs.c - the kinds of jobs, and what each must give.
 *
 * A kind submits the same job every time. Results and outputs of the undisturbed run are kept (outputs in
 * unlinked files); every later run is compared with them byte for byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/chaos/chaos.h"

#define BATCH_ITEMS 12

struct run {
    int in, outs[BATCH_ITEMS];
    unsigned nouts;
    char results[256];
};

static const struct kind {
    const char *name, *input, *op, *params[6]; /* params: name, value, ...; NULL ends */
    const char *format;
    unsigned outputs, items;
} kinds[KINDS] = {
    [KIND_COUNT] = {"count", NULL, "fault.none", {"n", "300", "ms", "1", NULL}, NULL, 0, 0},
    [KIND_SUM] = {"sum", "numbers", "array.sum", {"type", "int32", NULL}, NULL, 0, 0},
    [KIND_BLUR] = {"blur", "large.tif", "image.gaussblur", {"sigma", "3", NULL}, "tiff", 1, 0},
    [KIND_BLUR_SMALL] = {"blur-small", "small.tif", "image.gaussblur", {"sigma", "5", NULL}, "png", 1, 0},
    [KIND_PLACED] = {"placed", "large.tif", "image.sharpen", {NULL}, "raw", 1, 0},
    [KIND_BATCH] = {"batch", "small.tif", "image.thumbnail", {"width", "64", NULL}, "png", 0, BATCH_ITEMS},
    [KIND_COPY_IN] = {"copy-in", "bytes", "fault.copy", {"slow", "produce", "ms", "4", NULL}, NULL, 1, 0},
    [KIND_COPY_OUT] = {"copy-out", "bytes", "fault.copy", {"slow", "merge", "ms", "4", NULL}, NULL, 1, 0},
};

static int inputs[KINDS];
static const char *directory;
static struct run reference[KINDS];

const char *kind_name(int kind)
{
    return kinds[kind].name;
}

bool kind_usable(int kind)
{
    return kinds[kind].input == NULL || inputs[kind] >= 0;
}

void jobs_prepare(const char *dir)
{
    directory = dir;
    for (int k = 0; k < KINDS; k++) {
        char path[4096];
        inputs[k] = -1;
        if (kinds[k].input == NULL)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, kinds[k].input);
        inputs[k] = open(path, O_RDONLY | O_CLOEXEC);
    }
}

static int new_output(void)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        give_up("no unlinked file in %s: %s", directory, strerror(errno));
    return fd;
}

/* ---- what a run gave ---- */

static void read_results(struct pwc_job *job, char *text, size_t size)
{
    const char *name;
    struct pwc_value v;
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < pwc_results(job) && at < size; i++) {
        char value[96];
        if (pwc_result(job, i, &name, &v) != PWC_OK)
            continue;
        pwc_value_text(&v, value, sizeof value);
        at += (size_t)snprintf(text + at, size - at, "%s=%s ", name, value);
    }
}

static void *map_file(int fd, size_t *ret_len)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        give_up("fstat: %s", strerror(errno));
    *ret_len = (size_t)st.st_size;
    if (st.st_size == 0)
        return NULL;
    void *p = mmap(NULL, *ret_len, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        give_up("mmap: %s", strerror(errno));
    return p;
}

static bool same_file(int a, int b)
{
    size_t an, bn;
    void *ap = map_file(a, &an), *bp = map_file(b, &bn);
    bool same = an == bn && (an == 0 || memcmp(ap, bp, an) == 0);
    if (ap != NULL)
        munmap(ap, an);
    if (bp != NULL)
        munmap(bp, bn);
    return same;
}

static void compare(int kind, const struct run *r)
{
    const struct run *ref = &reference[kind];
    if (strcmp(r->results, ref->results) != 0)
        give_up("%s gave '%s' instead of '%s'", kinds[kind].name, r->results, ref->results);
    for (unsigned i = 0; i < r->nouts; i++)
        if (!same_file(r->outs[i], ref->outs[i]))
            give_up("%s: output %u is not that of the undisturbed run", kinds[kind].name, i);
}

static void forget(struct run *r)
{
    for (unsigned i = 0; i < r->nouts; i++)
        close(r->outs[i]);
}

/* ---- running one ---- */

static int open_item(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user)
{
    (void)job;
    const struct run *r = user;
    item->name = "an item";
    item->fds[0] = fcntl(r->in, F_DUPFD_CLOEXEC, 0);
    item->fds[1] = fcntl(r->outs[index], F_DUPFD_CLOEXEC, 0);
    return item->fds[0] < 0 || item->fds[1] < 0 ? PWC_E_SYSTEM : PWC_OK;
}

/* Chaos decides how often a chunk dies; the job must not give up before chaos does. */
static void be_patient(struct pwc_spec *spec)
{
    struct pwc_policy policy;
    pwc_policy_default(&policy);
    policy.retries_crash = policy.retries_timeout = policy.retries_oom = 100; /* the most there is */
    pwc_spec_policy(spec, &policy);
}

static struct pwc_spec *make_spec(int kind, const struct apart *apart, struct run *r)
{
    static const char *const item_roles[] = {"in", "out"};
    const struct kind *k = &kinds[kind];
    struct pwc_spec *spec = pwc_spec_new(k->op);
    be_patient(spec);
    pwc_spec_isolation(spec, apart->isolation);
    if (apart->domain != NULL)
        pwc_spec_domain(spec, apart->domain);
    for (unsigned i = 0; k->params[i] != NULL; i += 2)
        pwc_spec_param(spec, k->params[i], k->params[i + 1]);
    if (k->format != NULL)
        pwc_spec_format(spec, k->format);
    r->in = inputs[kind];
    for (r->nouts = 0; r->nouts < MAX(k->outputs, k->items); r->nouts++)
        r->outs[r->nouts] = new_output();
    if (k->items > 0) {
        const struct pwc_batch batch = {
            .items = k->items, .roles = item_roles, .nroles = 2, .open_item = open_item, .user = r};
        pwc_spec_batch(spec, &batch);
    } else {
        if (r->in >= 0)
            pwc_spec_fd(spec, "in", r->in);
        if (k->outputs > 0)
            pwc_spec_fd(spec, "out", r->outs[0]);
    }
    return spec;
}

static void run_job(struct pwc *c, int kind, const struct apart *apart, struct run *r,
                    struct pwc_counts *ret_counts)
{
    struct pwc_job *job;
    struct pwc_spec *spec = make_spec(kind, apart, r);
    if (pwc_submit(c, spec, &job) != PWC_OK)
        give_up("%s: %s", kinds[kind].name, pwc_error());
    int code = pwc_wait(job, JOB_LIMIT_MS);
    if (code != PWC_OK)
        give_up("%s (job %lu): %s: %s", kinds[kind].name, (unsigned long)pwc_job_id(job), pwc_code_name(code),
                pwc_error());
    read_results(job, r->results, sizeof r->results);
    pwc_job_counts(job, ret_counts);
    pwc_job_free(job);
    pwc_spec_free(spec);
}

void jobs_reference(struct pwc *c)
{
    static const struct apart beside = {PWC_ISOLATION_USER, NULL};
    for (int k = 0; k < KINDS; k++) {
        struct pwc_counts counts;
        if (!kind_usable(k))
            continue;
        struct mono start = clock_now();
        run_job(c, k, &beside, &reference[k], &counts);
        printf("chaos: undisturbed %s: %lu chunks, %.0f ms %s\n", kinds[k].name, (unsigned long)counts.total,
               (double)mono_since(clock_now(), start) / 1e6, reference[k].results);
    }
}

void jobs_run(struct pwc *c, int kind, const struct apart *apart, struct tally *tally)
{
    struct run r = {0};
    struct pwc_counts counts;
    run_job(c, kind, apart, &r, &counts);
    compare(kind, &r);
    forget(&r);
    tally->jobs[kind]++;
    tally->deaths += counts.deaths;
    tally->retried += counts.retried;
    tally->redone += counts.redone;
}
