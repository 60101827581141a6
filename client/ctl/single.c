/* single.c - run with one item: which word is which file, opening them, publishing the output. */
#include <string.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

/* Required inputs in the op's order, less those that --in names. */
static size_t wanted_inputs(const struct request *rq, const char **ret_roles, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < rq->shape.nroles && n < room; i++) {
        const struct role *r = &rq->shape.roles[i];
        bool named = false;
        for (size_t k = 0; k < rq->nextras; k++)
            named |= strcmp(rq->extras[k].role, r->name) == 0;
        if (!r->out && !r->optional && !named)
            ret_roles[n++] = r->name;
    }
    return n;
}

static int too_many(const struct request *rq, size_t nin)
{
    const char *op = rq->shape.name, *first = rq->files[nin];
    if (rq->shape.nroles == 0)
        return complain(EXIT_USAGE, "%s takes no files, and '%s' is no parameter (NAME=VALUE)", op, first);
    if (rq->shape.batches)
        return complain(EXIT_USAGE, "'%s' is one file too many for %s; --out-dir DIR makes a batch of many",
                        first, op);
    return complain(EXIT_USAGE, "'%s' is one file too many: %s takes %zu", first, op, nin);
}

/* The output by -o, or the word after the inputs where the op has one input and one output. */
static int find_output(struct run *run, size_t nin, const char **ret_output)
{
    struct request *rq = &run->rq;
    const struct options *o = &run->args->o;
    size_t words = nin;
    *ret_output = o->output;
    if (rq->nfiles == nin + 1 && o->output == NULL && rq->shape.nout == 1 && nin == 1) {
        *ret_output = rq->files[nin];
        words++;
    }
    if (rq->nfiles > words)
        return too_many(rq, words);
    if (*ret_output != NULL && rq->shape.nout == 0)
        return complain(EXIT_USAGE, "%s writes no file: its results are printed", rq->shape.name);
    if (*ret_output == NULL && rq->shape.nout > 0)
        return complain(EXIT_USAGE, "where to? 'pwcctl run %s %s -o OUTPUT'; - is stdout", rq->shape.name,
                        rq->nfiles > 0 ? rq->files[0] : "INPUT");
    return 0;
}

static void add_options(struct pwc_spec *spec, enum pwc_table table, struct pairs *p)
{
    for (size_t i = 0; i < p->n; i++)
        pwc_spec_text(spec, table, p->v[i].name, p->v[i].value);
    pairs_free(p);
}

/* Stdout by whatever name. A process that is detached has none any more. */
static bool is_stdout(const char *name)
{
    struct stat named, ours;
    if (strcmp(name, "-") == 0)
        return true;
    return stat(name, &named) == 0 && S_ISFIFO(named.st_mode) && fstat(STDOUT_FILENO, &ours) == 0 &&
           named.st_dev == ours.st_dev && named.st_ino == ours.st_ino;
}

static int open_output(struct run *run, const char *word)
{
    struct request *rq = &run->rq;
    struct pairs save = {0};
    char why[256], *name = must(strdup(word));
    int r = take_brackets(name, false, &save);
    add_options(rq->spec, PWC_SAVE, &save);
    if (r == 0 && run->args->o.detach && is_stdout(name))
        r = complain(EXIT_USAGE,
                     "'%s' is stdout, which with --detach gets the job's number only: name a file", name);
    if (r == 0 && rq->shape.formats && (r = format_of(name, &run->args->o, run->c, &rq->format)) == 0)
        pwc_spec_format(rq->spec, rq->format);
    if (r == 0 && output_open(name, &run->out, why, sizeof why) != 0)
        r = complain(EXIT_FAILED, "cannot write '%s': %s", name, why);
    if (r == 0)
        r = trace_spares_output(run, name);
    free(name);
    return r;
}

/* Opens, hands the descriptor to the spec and closes it: pwc_submit must come before, so it is kept in fds.
 */
static int open_inputs(struct run *run, const char *const *roles, size_t n, int *fds)
{
    struct request *rq = &run->rq;
    for (size_t i = 0; i < n; i++) {
        struct pairs load = {0};
        struct stat st;
        int r = take_brackets(rq->files[i], true, &load);
        add_options(rq->spec, PWC_LOAD, &load);
        if (r == 0)
            r = input_open(rq->files[i], &fds[i], &st);
        if (r != 0 || (r = trace_spares_input(run, rq->files[i], &st)) != 0)
            return r;
        if (run->out.fd >= 0 && output_is(&run->out, &st))
            return complain(EXIT_FAILED, "'%s' is the input too: the output must be another file",
                            run->out.name);
        pwc_spec_fd(rq->spec, roles[i], fds[i]);
    }
    return 0;
}

static int check_extras(const struct run *run)
{
    for (size_t i = 0; i < run->rq.nextras; i++) {
        struct stat st;
        const struct extra *x = &run->rq.extras[i];
        bool seen = fstat(x->fd, &st) == 0;
        if (seen && trace_spares_input(run, x->name, &st) != 0)
            return EXIT_FAILED;
        if (seen && run->out.fd >= 0 && output_is(&run->out, &st))
            return complain(EXIT_FAILED, "'%s' is the input '%s' too: the output must be another file",
                            run->out.name, x->role);
        pwc_spec_fd(run->rq.spec, x->role, x->fd);
    }
    return 0;
}

/* What messages call the job's input: the file as it was typed. Stdin has no name. */
static void tell_name(const struct request *rq)
{
    const char *first = first_role(&rq->shape, false), *name = rq->nfiles > 0 ? rq->files[0] : "-";
    for (size_t i = 0; first != NULL && i < rq->nextras; i++)
        if (strcmp(rq->extras[i].role, first) == 0)
            name = rq->extras[i].name;
    if (strcmp(name, "-") != 0)
        pwc_spec_name(rq->spec, name);
}

int single_prepare(struct run *run)
{
    struct request *rq = &run->rq;
    const char *roles[8], *output = NULL;
    int fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    size_t n = wanted_inputs(rq, roles, COUNT(roles));
    if (rq->nfiles < n)
        return complain(EXIT_USAGE, "%s needs %s'%s': 'pwcctl help %s' says more", rq->shape.name,
                        n > 1 ? "a file for each input; missing is " : "an input file ", roles[rq->nfiles],
                        rq->shape.name);
    int r = find_output(run, n, &output);
    if (r == 0 && output != NULL)
        r = open_output(run, output);
    if (r == 0)
        r = open_inputs(run, roles, n, fds);
    if (r == 0)
        r = check_extras(run);
    if (r == 0 && run->out.fd >= 0)
        pwc_spec_fd(rq->spec, first_role(&rq->shape, true), run->out.fd);
    tell_name(rq);
    if (r == 0 && (r = pwc_submit(run->c, rq->spec, &run->job)) != PWC_OK)
        r = complain_code(r);
    for (size_t i = 0; i < COUNT(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return r;
}

int single_publish(struct run *run)
{
    char why[256];
    if (run->out.fd < 0 || output_publish(&run->out, why, sizeof why) == 0)
        return 0;
    return complain(EXIT_FAILED, "cannot write '%s': %s", run->out.name, why);
}

void single_drop(struct run *run)
{
    output_drop(&run->out);
}
