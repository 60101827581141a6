/*
 * batch.c - run with --out-dir: every input is an item, written under its own name.
 *
 * Before anything starts the names are checked: two inputs that would become one file, or an output that is
 * some input, are refused. Then files are opened as the daemon wants them and published as they are done;
 * what is broken fails alone and is named at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

struct item {
    char *in, *out; /* out: the whole path; NULL: the op writes no file */
    char *why;      /* it failed */
    struct output output;
};

struct identity {
    dev_t dev;
    ino_t ino;
};

struct batch {
    struct run *run;
    struct item *items;
    size_t n, failed;
    size_t in_at, out_at; /* places among the roles; SIZE_MAX: none */
    const char *roles[8];
    size_t nroles;
    bool made_dir; /* the directory is ours: it goes again if nothing was written */
};

/* ---- names ---- */

/* The input's own name, with the suffix of the format unless it has one of it. */
static char *output_path(const char *dir, const char *in, const char *format)
{
    const char *base = base_name(in), *dot = strrchr(base, '.');
    if (format == NULL || suffix_is(base, format) || format_suffix(format)[0] == '\0')
        return text("%s/%s", dir, base);
    int stem = dot != NULL && dot != base ? (int)(dot - base) : (int)strlen(base);
    return text("%s/%.*s%s", dir, stem, base, format_suffix(format));
}

/* All files of a batch have one format: the one named, or the one all their suffixes say. */
static int choose_format(struct run *run)
{
    struct request *rq = &run->rq;
    int r = format_of(rq->files[0], &run->args->o, run->c, &rq->format);
    for (size_t i = 1; r == 0 && run->args->o.format == NULL && i < rq->nfiles; i++)
        if (!suffix_is(rq->files[i], rq->format) && format_suffix(rq->format)[0] != '\0')
            r = complain(EXIT_USAGE, "'%s' and '%s' say different formats: --format says one for all of them",
                         rq->files[0], rq->files[i]);
    if (r == 0)
        pwc_spec_format(rq->spec, rq->format);
    return r;
}

static int by_out(const void *a, const void *b)
{
    return strcmp((*(const struct item *const *)a)->out, (*(const struct item *const *)b)->out);
}

static int check_collisions(const struct batch *b)
{
    const struct item **sorted = must(calloc(b->n, sizeof(struct item *)));
    int r = 0;
    for (size_t i = 0; i < b->n; i++)
        sorted[i] = &b->items[i];
    qsort(sorted, b->n, sizeof *sorted, by_out);
    for (size_t i = 1; r == 0 && i < b->n; i++)
        if (strcmp(sorted[i - 1]->out, sorted[i]->out) == 0)
            r = complain(EXIT_USAGE, "'%s' and '%s' would both become '%s'", sorted[i - 1]->in, sorted[i]->in,
                         sorted[i]->out);
    free(sorted);
    return r;
}

static int by_identity(const void *a, const void *b)
{
    const struct identity *x = a, *y = b;
    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Of all files that are read: the items', and those that all of them share. */
static int take_inputs(const struct batch *b, struct identity *ids, size_t *ret_n)
{
    const struct request *rq = &b->run->rq;
    struct stat st;
    int r = 0;
    for (size_t i = 0; r == 0 && i < b->n + rq->nextras; i++) {
        const struct extra *x = i < b->n ? NULL : &rq->extras[i - b->n];
        const char *name = x != NULL ? x->name : b->items[i].in;
        if ((x != NULL ? fstat(x->fd, &st) : stat(name, &st)) < 0)
            continue;
        ids[(*ret_n)++] = (struct identity){st.st_dev, st.st_ino};
        r = trace_spares_input(b->run, name, &st);
    }
    qsort(ids, *ret_n, sizeof *ids, by_identity);
    return r;
}

static int check_outputs(const struct batch *b, const struct identity *inputs, size_t n)
{
    struct stat st;
    for (size_t i = 0; i < b->n; i++) {
        const char *name = b->items[i].out;
        if (trace_spares_output(b->run, name) != 0)
            return EXIT_FAILED;
        if (stat(name, &st) < 0)
            continue;
        struct identity id = {st.st_dev, st.st_ino};
        if (bsearch(&id, inputs, n, sizeof id, by_identity) != NULL)
            return complain(EXIT_FAILED, "'%s' is an input too: --out-dir must be another directory", name);
    }
    return 0;
}

static int check_overwrites(const struct batch *b)
{
    struct identity *inputs = must(calloc(b->n + b->run->rq.nextras, sizeof *inputs));
    size_t n = 0;
    int r = take_inputs(b, inputs, &n);
    if (r == 0)
        r = check_outputs(b, inputs, n);
    free(inputs);
    return r;
}

/* ---- outputs that are links ---- */

struct place {
    char *path; /* where it is written to */
    const char *name;
};

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->path, ((const struct place *)b)->path);
}

static bool is_link(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0 && S_ISLNK(st.st_mode);
}

/* They are followed: different names may be one file, of which the later output would replace the earlier. */
static int check_links(const struct batch *b)
{
    size_t n = 0, links = 0;
    for (size_t i = 0; i < b->n; i++)
        links += is_link(b->items[i].out);
    if (links == 0)
        return 0;
    struct place *v = must(calloc(b->n, sizeof *v));
    for (size_t i = 0; i < b->n; i++)
        if ((v[n].path = output_place(b->items[i].out)) != NULL)
            v[n++].name = b->items[i].out;
    qsort(v, n, sizeof *v, by_path);
    int r = 0;
    for (size_t i = 1; r == 0 && i < n; i++)
        if (by_path(&v[i - 1], &v[i]) == 0)
            r = complain(EXIT_USAGE, "'%s' and '%s' are links to one file, or one of them to the other",
                         v[i - 1].name, v[i].name);
    while (n > 0)
        free(v[--n].path);
    free(v);
    return r;
}

/* ---- the two callbacks ---- */

static int item_failed(struct batch *b, struct item *it, const char *why)
{
    if (it->why == NULL)
        b->failed++;
    free(it->why);
    it->why = must(strdup(why));
    output_drop(&it->output);
    return PWC_BAD_INPUT;
}

/* Items are files: a pipe among thousands is a mistake, and waiting for one would hold up the rest. */
static int open_input(struct item *it, int *ret_fd, char *why, size_t size)
{
    struct stat st;
    int fd = open(it->in, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *ret_fd = fd;
        return 0;
    }
    snprintf(why, size, "cannot open: %s", fd < 0 ? strerror(errno) : "it is no regular file");
    if (fd >= 0)
        close(fd);
    return -1;
}

static int open_item(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user)
{
    (void)job;
    struct batch *b = user;
    struct item *it = &b->items[index];
    char why[320], reason[256];
    item->name = it->in;
    if (it->why != NULL) { /* it failed, and is wanted once more */
        free(it->why);
        it->why = NULL;
        b->failed--;
    }
    if (open_input(it, &item->fds[b->in_at], why, sizeof why) < 0) {
        item_failed(b, it, why);
        item->error = it->why;
        return PWC_BAD_INPUT;
    }
    if (b->out_at != SIZE_MAX) {
        output_drop(&it->output);
        if (output_open(it->out, &it->output, reason, sizeof reason) != 0) {
            snprintf(why, sizeof why, "cannot write '%s': %s", it->out, reason);
            item_failed(b, it, why);
            item->error = it->why;
            return PWC_OUTPUT;
        }
        item->fds[b->out_at] = fcntl(it->output.fd, F_DUPFD_CLOEXEC, 3);
    }
    for (size_t i = 0; i < b->run->rq.nextras; i++)
        item->fds[b->nroles - b->run->rq.nextras + i] = fcntl(b->run->rq.extras[i].fd, F_DUPFD_CLOEXEC, 3);
    return PWC_OK;
}

static void item_done(struct pwc_job *job, uint64_t index, int code, const char *reason, uint32_t attempts,
                      void *user)
{
    (void)job;
    (void)attempts;
    struct batch *b = user;
    struct item *it = &b->items[index];
    char why[320], cannot[256];
    if (code != PWC_OK) {
        if (it->why == NULL)
            item_failed(b, it, reason[0] != '\0' ? reason : pwc_code_name(code));
        return;
    }
    if (it->out != NULL && output_publish(&it->output, cannot, sizeof cannot) != 0) {
        snprintf(why, sizeof why, "cannot write '%s': %s", it->out, cannot);
        item_failed(b, it, why);
        b->run->unpublished = true;
    }
    output_drop(&it->output);
}

/* ---- life ---- */

static void choose_roles(struct batch *b, const struct request *rq)
{
    b->roles[b->nroles] = first_role(&rq->shape, false);
    b->in_at = b->nroles++;
    b->out_at = SIZE_MAX;
    if (rq->shape.nout > 0) {
        b->roles[b->nroles] = first_role(&rq->shape, true);
        b->out_at = b->nroles++;
    }
    for (size_t i = 0; i < rq->nextras && b->nroles < COUNT(b->roles); i++)
        b->roles[b->nroles++] = rq->extras[i].role;
}

static int make_items(struct batch *b, struct run *run)
{
    struct request *rq = &run->rq;
    const char *dir = run->args->o.out_dir;
    b->items = must(calloc(rq->nfiles, sizeof *b->items));
    for (b->n = 0; b->n < rq->nfiles; b->n++)
        b->items[b->n] = (struct item){
            .in = rq->files[b->n],
            .out = rq->shape.nout > 0 ? output_path(dir, rq->files[b->n], rq->format) : NULL,
            .output = {.fd = -1},
        };
    if (rq->shape.nout == 0)
        return 0;
    int r = check_collisions(b);
    if (r == 0)
        r = check_overwrites(b);
    if (r == 0)
        r = check_links(b);
    b->made_dir = r == 0 && mkdir(dir, 0777) == 0;
    if (r == 0 && !b->made_dir && errno != EEXIST)
        r = complain(EXIT_FAILED, "cannot make '%s': %s", dir, strerror(errno));
    struct stat st;
    if (r == 0 && (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)))
        r = complain(EXIT_FAILED, "--out-dir '%s' is no directory", dir);
    return r;
}

static int check_request(const struct run *run)
{
    const struct request *rq = &run->rq;
    if (run->args->o.output != NULL)
        return complain(EXIT_USAGE, "-o and --out-dir exclude each other");
    if (!rq->shape.batches || rq->shape.nin == 0)
        return complain(EXIT_USAGE, "%s cannot run as a batch", rq->shape.name);
    if (rq->nfiles == 0)
        return complain(EXIT_USAGE, "no input files: name them, or use --files-from");
    for (size_t i = 0; i < rq->nfiles; i++)
        if (strcmp(rq->files[i], "-") == 0)
            return complain(EXIT_USAGE, "- (stdin) cannot be in a batch: it has no name to be written under");
    return 0;
}

/* As halt_parse of the daemon, which knows all other words. */
static bool never_halts(const char *halt)
{
    return halt == NULL || halt[0] == '\0' || strcmp(halt, "never") == 0 || strcmp(halt, "0") == 0;
}

/* Its files fail one by one, unless somebody asks for what is the default elsewhere. */
static void choose_policy(const struct run *run)
{
    const struct options *o = &run->args->o;
    struct pwc_policy p = o->policy;
    if (!o->fail_asked || !never_halts(p.halt))
        return;
    p.halt = "now,fail=1";
    pwc_spec_policy(run->rq.spec, &p);
}

int batch_prepare(struct run *run)
{
    struct request *rq = &run->rq;
    int r = check_request(run);
    if (r == 0 && rq->shape.formats)
        r = choose_format(run);
    if (r != 0)
        return r;
    struct batch *b = run->batch = must(calloc(1, sizeof *b));
    b->run = run;
    if ((r = make_items(b, run)) != 0)
        return r;
    choose_roles(b, rq);
    choose_policy(run);
    pwc_spec_batch(rq->spec, &(struct pwc_batch){b->n, b->roles, b->nroles, open_item, item_done, b});
    r = pwc_submit(run->c, rq->spec, &run->job);
    return r == PWC_OK ? 0 : complain_code(r);
}

void batch_report(struct run *run)
{
    const struct batch *b = run->batch;
    if (b == NULL || b->failed == 0)
        return;
    for (size_t i = 0; i < b->n; i++) {
        const struct item *it = &b->items[i];
        if (it->why != NULL && strncmp(it->why, "chunk ", 6) == 0) /* the daemon's line names the file, too */
            note("pwcctl: %s", it->why);
        else if (it->why != NULL)
            note("pwcctl: %s: %s", it->in, it->why);
    }
}

/*
 * What the daemon did may still not have been published: what counts are the files. A job that was halted
 * when enough of them were good is done; which others it had come to by then, be it only to open them, is
 * chance.
 */
int batch_outcome(struct run *run)
{
    const struct batch *b = run->batch;
    enum pwc_job_state state = pwc_job_state(run->job);
    bool lacks = state == PWC_JOB_PARTIAL || (state == PWC_JOB_DONE && run->unpublished);
    if (b->failed == 0 || !lacks)
        return report_outcome(run->job, run->args->o.allow_partial, run);
    if (!run->args->o.allow_partial)
        return complain(EXIT_PARTIAL, "%zu of %zu files failed", b->failed, b->n);
    note("pwcctl: %zu of %zu files failed", b->failed, b->n); /* no error, and none in JSON */
    return EXIT_OK;
}

void batch_json(const struct run *run, struct json *j)
{
    const struct batch *b = run->batch;
    json_begin(j, "files_failed", '[');
    for (size_t i = 0; i < b->n; i++) {
        if (b->items[i].why == NULL)
            continue;
        json_begin(j, NULL, '{');
        json_str(j, "file", b->items[i].in);
        json_str(j, "reason", b->items[i].why);
        json_end(j, '}');
    }
    json_end(j, ']');
}

void batch_drop(struct run *run)
{
    struct batch *b = run->batch;
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n; i++) {
        output_drop(&b->items[i].output);
        free(b->items[i].out);
        free(b->items[i].why);
    }
    free(b->items);
    if (b->made_dir)
        rmdir(run->args->o.out_dir); /* fails if anything is in it */
    free(b);
}
