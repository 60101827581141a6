/* ops.c - ops and `help OP`: the catalogue for people, and as JSON. */
#include <string.h>

#include "client/ctl/ctl.h"

static const char *type_name(enum pwc_param_type type)
{
    static const char *const names[] = {"integer", "integer", "number",   "true/false", "text",
                                        "word",    "numbers", "integers", "words"};
    return (size_t)type < COUNT(names) ? names[type] : "value";
}

/* ---- JSON ---- */

static void json_param(struct json *j, const struct pwc_param_info *p)
{
    static const char *const types[] = {"int",  "uint",   "float", "bool", "string",
                                        "enum", "floats", "ints",  "flags"};
    json_begin(j, NULL, '{');
    json_str(j, "name", p->name);
    json_str(j, "type", (size_t)p->type < COUNT(types) ? types[p->type] : "unknown");
    json_str(j, "summary", p->summary);
    json_bool(j, "required", p->required != 0);
    if (p->min != 0 || p->max != 0) {
        json_f64(j, "min", p->min);
        json_f64(j, "max", p->max);
    }
    if (p->def[0] != '\0')
        json_str(j, "default", p->def);
    if (p->unit[0] != '\0')
        json_str(j, "unit", p->unit);
    if (p->nchoices > 0) {
        json_begin(j, "choices", '[');
        for (size_t i = 0; i < p->nchoices; i++)
            json_str(j, NULL, p->choices[i].nick);
        json_end(j, ']');
    }
    json_end(j, '}');
}

/* In a list it has no schema of its own. */
static void json_op(struct json *j, const struct pwc_op_info *op, const char *schema)
{
    static const char *const kinds[] = {"job", "save", "load"};
    json_begin(j, NULL, '{');
    if (schema != NULL)
        json_str(j, "schema", schema);
    json_str(j, "name", op->name);
    json_str(j, "version", op->version);
    json_str(j, "summary", op->summary);
    json_str(j, "kind", (size_t)op->kind < COUNT(kinds) ? kinds[op->kind] : "unknown");
    json_bool(j, "batches", op->batches != 0);
    json_bool(j, "formats", op->formats != 0);
    json_begin(j, "params", '[');
    for (size_t i = 0; i < op->nparams; i++)
        json_param(j, &op->params[i]);
    json_end(j, ']');
    json_begin(j, "roles", '[');
    for (size_t i = 0; i < op->nroles; i++) {
        json_begin(j, NULL, '{');
        json_str(j, "name", op->roles[i].name);
        json_bool(j, "out", op->roles[i].out != 0);
        json_bool(j, "optional", op->roles[i].optional != 0);
        json_str(j, "summary", op->roles[i].summary);
        json_end(j, '}');
    }
    json_end(j, ']');
    json_begin(j, "suffixes", '[');
    for (size_t i = 0; i < op->nsuffixes; i++)
        json_str(j, NULL, op->suffixes[i]);
    json_end(j, ']');
    json_end(j, '}');
}

/* ---- the list ---- */

struct listing {
    struct json *j;
    const char *match;
    size_t n;
};

static void list_op(const struct pwc_op_info *op, void *user)
{
    struct listing *l = user;
    if (strstr(op->name, l->match) == NULL)
        return;
    l->n++;
    if (l->j != NULL)
        json_op(l->j, op, NULL);
    else if (op->kind == PWC_OP_JOB)
        printf("%-32s %s\n", op->name, op->summary);
}

int verb_ops(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct listing l = {args->o.json ? &j : NULL, args->n > 1 ? args->words[1] : "", 0};
    int r = ctl_connect(&args->o, &c);
    if (r != 0)
        return r;
    if (l.j != NULL) {
        json_open(&j, stdout);
        json_begin(&j, NULL, '{');
        json_str(&j, "schema", "pwc.ops/1");
        json_begin(&j, "ops", '[');
    }
    r = pwc_list_ops(c, NULL, ANSWER_MS, list_op, &l);
    if (l.j != NULL) {
        json_end(&j, ']');
        json_end(&j, '}');
    }
    if (r != PWC_OK)
        r = complain_code(r);
    else if (l.n == 0 && l.match[0] != '\0')
        r = complain(EXIT_USAGE, "no op's name contains '%s'", l.match);
    ctl_disconnect(c);
    return r;
}

/* ---- help OP ---- */

static void number_text(double v, char *buf, size_t size)
{
    if (v > -9e18 && v < 9e18 && v == (double)(int64_t)v) {
        snprintf(buf, size, "%.0f", v);
        return;
    }
    pwc_value_text(&(struct pwc_value){.type = PWC_F64, .u.f64 = v}, buf, size);
}

static void print_param(const struct pwc_param_info *p)
{
    char low[40], high[40];
    number_text(p->min, low, sizeof low);
    number_text(p->max, high, sizeof high);
    printf("  %-18s %s", p->name, type_name(p->type));
    if (p->min != 0 || p->max != 0)
        printf(", %s to %s", low, high);
    if (p->unit[0] != '\0')
        printf(" %s", p->unit);
    if (p->required)
        printf(", required");
    else if (p->def[0] != '\0')
        printf(", default %s", p->def);
    printf("\n");
    if (p->summary[0] != '\0')
        printf("  %-18s %s\n", "", p->summary);
    for (size_t i = 0; i < p->nchoices; i++)
        if (p->choices[i].summary[0] != '\0')
            printf("  %-18s   %-14s %s\n", "", p->choices[i].nick, p->choices[i].summary);
        else
            printf("  %-18s   %s\n", "", p->choices[i].nick);
}

static void print_usage(const struct pwc_op_info *op)
{
    size_t nin = 0, nout = 0;
    printf("usage: pwcctl run %s", op->name);
    for (size_t i = 0; i < op->nparams; i++)
        if (op->params[i].required)
            printf(" %s=...", op->params[i].name);
    printf(op->nparams > 0 ? " [NAME=VALUE...]" : "");
    for (size_t i = 0; i < op->nroles; i++) {
        nin += !op->roles[i].out;
        nout += op->roles[i].out != 0;
        if (!op->roles[i].out && !op->roles[i].optional)
            printf(nin == 1 ? " INPUT" : " --in %s=FILE", op->roles[i].name);
    }
    printf(nout > 0 ? " -o OUTPUT\n" : "\n");
    if (op->batches && nin > 0)
        printf("       pwcctl run %s ... --out-dir DIR INPUT...\n", op->name);
}

static void print_op(const struct pwc_op_info *op, void *user)
{
    struct json *j = user;
    if (j != NULL) {
        json_op(j, op, "pwc.op/1");
        return;
    }
    printf("%s - %s\n", op->name, op->summary);
    if (op->kind == PWC_OP_JOB)
        print_usage(op);
    else
        printf("usage: pwcctl run ... --%s NAME=VALUE\n", op->kind == PWC_OP_SAVE ? "save" : "load");
    if (op->nparams > 0)
        printf("\n%s:\n", op->kind == PWC_OP_JOB ? "parameters" : "options");
    for (size_t i = 0; i < op->nparams; i++)
        print_param(&op->params[i]);
    if (op->nroles > 0)
        printf("\nfiles:\n");
    for (size_t i = 0; i < op->nroles; i++)
        printf("  %-18s %s%s  %s\n", op->roles[i].name, op->roles[i].out ? "output" : "input",
               op->roles[i].optional ? ", optional" : "", op->roles[i].summary);
    if (op->formats)
        printf(
            "\noutput formats and their options: 'pwcctl help save.png', save.jpeg, save.tiff, save.webp\n");
}

int verb_help_verb(const struct args *args)
{
    const struct verb *verb = args->n > 1 ? verb_find(args->words[1]) : NULL;
    if (args->n < 2 || verb != NULL) {
        verb_help(verb);
        return 0;
    }
    if (strchr(args->words[1], '.') == NULL && args->o.socket == NULL && !args->o.private &&
        getenv("PWC_SOCKET") == NULL) {
        /* perhaps a verb mistyped: an op's help needs a daemon, this one does not */
        const char *names[64];
        for (size_t i = 0; i < nverbs && i < COUNT(names); i++)
            names[i] = verbs[i].name;
        const char *near = nearest(args->words[1], names, nverbs < COUNT(names) ? nverbs : COUNT(names));
        if (near != NULL)
            return verb_unknown(args->words[1]);
    }
    struct pwc *c = NULL;
    struct json j;
    int r = ctl_connect(&args->o, &c);
    if (r != 0)
        return r;
    json_open(&j, stdout);
    r = pwc_list_ops(c, args->words[1], ANSWER_MS, print_op, args->o.json ? &j : NULL);
    if (r != PWC_OK)
        r = complain_code(r);
    ctl_disconnect(c);
    return r;
}
