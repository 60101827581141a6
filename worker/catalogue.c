/*
 * catalogue.c - ops as pwc.OpInfo: what the supervisor checks jobs against and clients show as help.
 *
 * The messages borrow the ops' strings; protobuf-c wants them without const.
 */
#include <errno.h>
#include <string.h>

#include "proto/limits.h"
#include "worker/optable.h"

static char *text(const char *s)
{
    return (char *)(uintptr_t)(s != NULL ? s : "");
}

static Pwc__ParamInfo *param_info(const struct op_param *p)
{
    Pwc__ParamInfo *m = xcalloc(1, sizeof *m);
    pwc__param_info__init(m);
    m->name = text(p->name);
    m->type = p->type;
    m->summary = text(p->summary);
    m->required = p->required;
    m->min = p->min;
    m->max = p->max;
    m->def = text(p->def);
    m->unit = text(p->unit);
    while (p->choices != NULL && p->choices[m->n_choices].nick != NULL)
        m->n_choices++;
    m->choices = xcalloc(m->n_choices, sizeof(Pwc__Choice *));
    for (size_t i = 0; i < m->n_choices; i++) {
        Pwc__Choice *c = xcalloc(1, sizeof *c);
        pwc__choice__init(c);
        c->nick = text(p->choices[i].nick);
        c->summary = text(p->choices[i].summary);
        m->choices[i] = c;
    }
    return m;
}

static void param_info_free(Pwc__ParamInfo *m)
{
    for (size_t i = 0; i < m->n_choices; i++)
        free(m->choices[i]);
    free(m->choices);
    free(m);
}

static void info_roles(const struct op *op, Pwc__OpInfo *info)
{
    info->n_roles = op->nroles;
    info->roles = xcalloc(op->nroles, sizeof(Pwc__RoleInfo *));
    for (size_t i = 0; i < op->nroles; i++) {
        Pwc__RoleInfo *m = xcalloc(1, sizeof *m);
        pwc__role_info__init(m);
        m->name = text(op->roles[i].name);
        m->dir = op->roles[i].dir;
        m->optional = op->roles[i].optional;
        m->summary = text(op->roles[i].summary);
        info->roles[i] = m;
    }
}

static void info_fill(const struct op *op, Pwc__OpInfo *info)
{
    pwc__op_info__init(info);
    info->name = text(op->name);
    info->version = text(op->version);
    info->summary = text(op->summary);
    info->kind = op->kind;
    info->split = op->count_param != NULL ? PWC__SPLIT__SPLIT_COUNT : PWC__SPLIT__SPLIT_PLANNED;
    info->count_param = text(op->count_param);
    info->absorb = op->absorb;
    info->whole = op->whole != NULL;
    info->formats = op->formats;
    info->scratch = op->scratch;
    info->results_optional = op->results_optional;
    info->needs = op->needs;
    info->n_params = op->nparams;
    info->params = xcalloc(op->nparams, sizeof(Pwc__ParamInfo *));
    for (size_t i = 0; i < op->nparams; i++)
        info->params[i] = param_info(&op->params[i]);
    info_roles(op, info);
    while (op->suffixes != NULL && op->suffixes[info->n_suffixes] != NULL)
        info->n_suffixes++;
    info->suffixes = (char **)(uintptr_t)op->suffixes;
}

static void info_release(Pwc__OpInfo *info)
{
    for (size_t i = 0; i < info->n_params; i++)
        param_info_free(info->params[i]);
    free(info->params);
    for (size_t i = 0; i < info->n_roles; i++)
        free(info->roles[i]);
    free(info->roles);
}

struct packer {
    uint8_t *bytes;
    size_t len, room;
};

static void packer_add(struct packer *p, const Pwc__OpInfo *info, size_t len)
{
    if (p->room - p->len < len + 4) {
        p->room = p->room * 2 + len + 4096;
        p->bytes = xrealloc(p->bytes, p->room, 1);
    }
    for (unsigned i = 0; i < 4; i++)
        p->bytes[p->len++] = (uint8_t)(len >> (8 * i));
    p->len += pwc__op_info__pack(info, p->bytes + p->len);
}

int catalogue_pack(const struct optable *t, uint8_t **ret_bytes, size_t *ret_len)
{
    struct packer p = {0};
    for (size_t i = 0; i < t->n; i++) {
        Pwc__OpInfo info;
        info_fill(t->ops[i], &info);
        size_t len = pwc__op_info__get_packed_size(&info);
        if (len <= PWC_BODY_MAX)
            packer_add(&p, &info, len);
        info_release(&info);
        if (len > PWC_BODY_MAX) { /* a client could never be told of it */
            free(p.bytes);
            return -E2BIG;
        }
    }
    *ret_bytes = p.bytes;
    *ret_len = p.len;
    return 0;
}

static void print_param(const struct op_param *p, FILE *out)
{
    static const char *const types[] = {"int",  "uint",   "float", "bool", "string",
                                        "enum", "floats", "ints",  "flags"};
    fprintf(out, "    %s: %s%s", p->name, (size_t)p->type < ARRAY_LEN(types) ? types[p->type] : "?",
            p->required ? ", required" : "");
    if (p->min != 0 || p->max != 0)
        fprintf(out, ", %g to %g", p->min, p->max);
    if (p->def != NULL)
        fprintf(out, ", default %s", p->def);
    fprintf(out, ". %s\n", p->summary != NULL ? p->summary : "");
    for (const struct op_choice *c = p->choices; c != NULL && c->nick != NULL; c++)
        fprintf(out, "        %s  %s\n", c->nick, c->summary != NULL ? c->summary : "");
}

void catalogue_print(const struct optable *t, FILE *out)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct op *op = t->ops[i];
        fprintf(out, "%s %s - %s\n", op->name, op->version, op->summary);
        for (size_t k = 0; k < op->nroles; k++)
            fprintf(out, "  %s %s%s. %s\n", op->roles[k].dir == PWC__ROLE_DIR__ROLE_OUT ? "output" : "input",
                    op->roles[k].name, op->roles[k].optional ? " (optional)" : "",
                    op->roles[k].summary != NULL ? op->roles[k].summary : "");
        for (size_t k = 0; k < op->nparams; k++)
            print_param(&op->params[k], out);
    }
}
