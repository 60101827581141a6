/*
 * request.c - from the words of `run` to a spec: parameters, files, formats, policy. What an op takes comes
 * from the daemon's catalogue, so that an unknown op is refused before any file is opened.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

/* ---- the op ---- */

static void take_shape(const struct pwc_op_info *op, void *user)
{
    struct shape *s = user;
    if (s->name != NULL)
        return; /* one name, one op */
    s->name = must(strdup(op->name));
    s->roles = must(calloc(op->nroles + 1, sizeof *s->roles));
    for (size_t i = 0; i < op->nroles; i++) {
        const struct pwc_role_info *r = &op->roles[i];
        s->roles[s->nroles++] =
            (struct role){must(strdup(r->name)), must(strdup(r->summary)), r->out != 0, r->optional != 0};
        s->nout += r->out != 0;
        s->nin += r->out == 0 && r->optional == 0;
    }
    s->formats = op->formats != 0;
    s->batches = op->batches != 0;
}

const char *first_role(const struct shape *s, bool out)
{
    for (int optional = 0; optional < 2; optional++)
        for (size_t i = 0; i < s->nroles; i++)
            if (s->roles[i].out == out && s->roles[i].optional == optional)
                return s->roles[i].name;
    return NULL;
}

/* ---- words ---- */

/* "name=value" whose name holds no slash; a '[' is a file's bracket, no parameter's name. */
static const char *param_equals(const struct args *args, size_t i)
{
    const char *word = args->words[i], *eq = strchr(word, '=');
    if (i >= args->files_from || eq == NULL || eq == word)
        return NULL;
    for (const char *p = word; p < eq; p++)
        if (*p == '/' || *p == '[')
            return NULL;
    return eq;
}

static void add_file(struct request *rq, const char *name)
{
    rq->files = must(realloc(rq->files, (rq->nfiles + 1) * sizeof *rq->files));
    rq->files[rq->nfiles++] = must(strdup(name));
}

static int take_words(const struct args *args, struct request *rq)
{
    struct pairs params = {0};
    int r = 0;
    for (size_t i = 2; r == 0 && i < args->n; i++) {
        const char *word = args->words[i], *eq = param_equals(args, i);
        if (eq == NULL)
            add_file(rq, word);
        else
            r = pairs_add(&params, word, (size_t)(eq - word), eq + 1);
    }
    for (size_t i = 0; i < params.n; i++)
        pwc_spec_param(rq->spec, params.v[i].name, params.v[i].value);
    pairs_free(&params);
    return r;
}

/* A name a line, or between NULs if there are any (find -print0). */
static int take_files_from(const char *list, struct request *rq)
{
    int fd;
    struct stat st;
    int r = input_open(list, &fd, &st);
    if (r != 0)
        return r;
    lseek(fd, 0, SEEK_SET);
    FILE *f = must(fdopen(fd, "r"));
    int delimiter = '\n', ch;
    while (delimiter != 0 && (ch = fgetc(f)) != EOF)
        if (ch == 0)
            delimiter = 0;
    rewind(f);
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getdelim(&line, &room, delimiter, f)) > 0;) {
        if (line[n - 1] == delimiter)
            line[n - 1] = '\0';
        if (line[0] != '\0')
            add_file(rq, line);
    }
    free(line);
    fclose(f);
    return 0;
}

int take_brackets(char *name, bool is_input, struct pairs *ret_options)
{
    size_t len = strlen(name);
    char *open = strrchr(name, '[');
    if (len < 3 || name[len - 1] != ']' || open == NULL || open == name)
        return 0;
    if (is_input && access(name, F_OK) == 0)
        return 0; /* a file may be called so */
    name[len - 1] = *open = '\0';
    char *save = NULL;
    for (char *opt = strtok_r(open + 1, ",", &save); opt != NULL; opt = strtok_r(NULL, ",", &save)) {
        char *eq = strchr(opt, '=');
        size_t n = eq != NULL ? (size_t)(eq - opt) : strlen(opt);
        if (n == 0)
            return complain(EXIT_USAGE, "'%s[%s]': options in brackets are NAME=VALUE or NAME", name, opt);
        int r = pairs_add(ret_options, opt, n, eq != NULL ? eq + 1 : "true");
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- formats ---- */

static const struct {
    const char *suffix, *format;
} suffixes[] = {
    {".png", "png"},  {".jpg", "jpeg"},  {".jpeg", "jpeg"}, {".jpe", "jpeg"}, {".jfif", "jpeg"},
    {".tif", "tiff"}, {".tiff", "tiff"}, {".webp", "webp"}, {".raw", "raw"},
};

const char *format_suffix(const char *format)
{
    for (size_t i = 0; i < COUNT(suffixes); i++)
        if (strcmp(suffixes[i].format, format) == 0)
            return suffixes[i].suffix;
    return "";
}

static const char *suffix_of(const char *name)
{
    const char *base = base_name(name), *dot = strrchr(base, '.');
    return dot != NULL && dot != base ? dot : "";
}

bool suffix_is(const char *name, const char *format)
{
    const char *suffix = suffix_of(name);
    for (size_t i = 0; i < COUNT(suffixes); i++)
        if (strcasecmp(suffixes[i].suffix, suffix) == 0)
            return strcmp(suffixes[i].format, format) == 0;
    return false;
}

/* The daemon may know formats that we do not: save.heif says it writes .heic. */
struct look {
    const char *suffix;
    char *format;
};

static void look_at(const struct pwc_op_info *op, void *user)
{
    struct look *l = user;
    for (size_t i = 0; l->format == NULL && op->kind == PWC_OP_SAVE && i < op->nsuffixes; i++)
        if (strcasecmp(op->suffixes[i], l->suffix) == 0)
            l->format = must(strdup(strchr(op->name, '.') != NULL ? strchr(op->name, '.') + 1 : op->name));
}

int format_of(const char *name, const struct options *o, struct pwc *c, char **ret_format)
{
    if (o->format != NULL) {
        *ret_format = text("%s", o->format);
        return 0;
    }
    struct look look = {.suffix = suffix_of(name)};
    for (size_t i = 0; i < COUNT(suffixes); i++)
        if (strcasecmp(suffixes[i].suffix, look.suffix) == 0)
            look.format = text("%s", suffixes[i].format);
    int r =
        look.format == NULL && look.suffix[0] != '\0' ? pwc_list_ops(c, NULL, ANSWER_MS, look_at, &look) : 0;
    if (r != PWC_OK)
        return complain_code(r);
    if (look.format == NULL)
        return complain(EXIT_USAGE,
                        "'%s': its name tells no format that can be written; --format png (or jpeg, tiff, "
                        "webp, raw) does",
                        name);
    *ret_format = look.format;
    return 0;
}

/* ---- the spec ---- */

static void add_pairs(struct pwc_spec *spec, enum pwc_table table, const struct pairs *p)
{
    for (size_t i = 0; i < p->n; i++)
        pwc_spec_text(spec, table, p->v[i].name, p->v[i].value);
}

static void take_options(const struct options *o, struct pwc_spec *spec)
{
    if (o->policy_set)
        pwc_spec_policy(spec, &o->policy);
    pwc_spec_isolation(spec, o->isolation);
    if (o->domain != NULL)
        pwc_spec_domain(spec, o->domain);
    if (o->request_key != NULL)
        pwc_spec_request_key(spec, o->request_key, strlen(o->request_key));
    pwc_spec_priority(spec, o->priority);
    pwc_spec_max_workers(spec, o->workers);
    add_pairs(spec, PWC_SAVE, &o->save);
    add_pairs(spec, PWC_LOAD, &o->load);
}

static bool has_input_role(const struct shape *s, const char *name)
{
    for (size_t i = 0; i < s->nroles; i++)
        if (!s->roles[i].out && strcmp(s->roles[i].name, name) == 0)
            return true;
    return false;
}

static int open_extras(const struct options *o, struct request *rq)
{
    for (size_t i = 0; i < o->in.n; i++) {
        const struct pair *p = &o->in.v[i];
        struct stat st;
        if (!has_input_role(&rq->shape, p->name))
            return complain(EXIT_USAGE, "%s has no input '%s': 'pwcctl help %s' lists them", rq->shape.name,
                            p->name, rq->shape.name);
        if (rq->nextras == COUNT(rq->extras))
            return complain(EXIT_USAGE, "more than %zu files by --in", COUNT(rq->extras));
        struct extra *x = &rq->extras[rq->nextras];
        int r = input_open(p->value, &x->fd, &st);
        if (r != 0)
            return r;
        x->role = p->name;
        x->name = p->value;
        rq->nextras++;
    }
    return 0;
}

int request_build(struct pwc *c, const struct args *args, struct request *ret_rq)
{
    struct request *rq = ret_rq;
    *rq = (struct request){0};
    int r = pwc_list_ops(c, args->words[1], ANSWER_MS, take_shape, &rq->shape);
    if (r != PWC_OK)
        return complain_code(r);
    rq->spec = pwc_spec_new(rq->shape.name);
    r = take_words(args, rq);
    take_options(&args->o, rq->spec);
    if (r == 0 && args->o.files_from != NULL)
        r = take_files_from(args->o.files_from, rq);
    return r == 0 ? open_extras(&args->o, rq) : r;
}

void request_free(struct request *rq)
{
    for (size_t i = 0; i < rq->shape.nroles; i++) {
        free(rq->shape.roles[i].name);
        free(rq->shape.roles[i].summary);
    }
    free(rq->shape.roles);
    free(rq->shape.name);
    for (size_t i = 0; i < rq->nfiles; i++)
        free(rq->files[i]);
    free(rq->files);
    for (size_t i = 0; i < rq->nextras; i++)
        close(rq->extras[i].fd);
    free(rq->format);
    pwc_spec_free(rq->spec);
}
