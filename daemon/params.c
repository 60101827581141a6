/* params.c - a list of named values against an op's declarations. See params.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/nearest.h"
#include "daemon/params.h"
#include "daemon/values.h"

/* "sigma" in messages about parameters, "save.Q" in those about options. */
static void shown_name(const char *prefix, const char *name, char *out, size_t size)
{
    char clean[PWC_NAME_MAX];
    printable(name, clean, sizeof clean);
    if (strcmp(prefix, "params") == 0)
        snprintf(out, size, "%s", clean);
    else
        snprintf(out, size, "%s.%s", prefix, clean);
}

static int refuse(struct refusal *why, Pwc__Code code, const char *prefix, const char *name, const char *fmt,
                  ...) PRINTF(5, 6);
static int refuse(struct refusal *why, Pwc__Code code, const char *prefix, const char *name, const char *fmt,
                  ...)
{
    char clean[PWC_NAME_MAX];
    va_list ap;
    snprintf(why->field, sizeof why->field, "%s.%s", prefix, printable(name, clean, sizeof clean));
    va_start(ap, fmt);
    vsnprintf(why->reason, sizeof why->reason, fmt, ap);
    va_end(ap);
    why->code = code;
    return -EINVAL;
}

static const char *thing(const char *prefix)
{
    return strcmp(prefix, "params") == 0 ? "parameter" : "option";
}

static const Pwc__ParamInfo *find_info(const Pwc__OpInfo *op, const char *name)
{
    for (size_t i = 0; i < op->n_params; i++)
        if (strcmp(op->params[i]->name, name) == 0)
            return op->params[i];
    return NULL;
}

static void list_params(const Pwc__OpInfo *op, char *out, size_t size)
{
    size_t n = 0;
    *out = '\0';
    for (size_t i = 0; i < op->n_params; i++) {
        int m = snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", op->params[i]->name);
        if (m < 0 || (size_t)m >= size - n)
            return;
        n += (size_t)m;
    }
}

static int unknown(const Pwc__OpInfo *op, const char *prefix, const char *name, struct refusal *why)
{
    char shown[2 * PWC_NAME_MAX], all[400];
    struct nearest near = nearest_to(name);
    for (size_t i = 0; i < op->n_params; i++)
        nearest_try(&near, op->params[i]->name);
    shown_name(prefix, name, shown, sizeof shown);
    list_params(op, all, sizeof all);
    if (near.best != NULL)
        return refuse(why, PWC__CODE__CODE_NO_SUCH_PARAM, prefix, name,
                      "%s: %s has no such %s; did you mean %s?", shown, op->name, thing(prefix), near.best);
    if (op->n_params == 0)
        return refuse(why, PWC__CODE__CODE_NO_SUCH_PARAM, prefix, name, "%s: %s takes no %ss", shown,
                      op->name, thing(prefix));
    return refuse(why, PWC__CODE__CODE_NO_SUCH_PARAM, prefix, name, "%s: %s has no such %s; it has %s", shown,
                  op->name, thing(prefix), all);
}

/* One block: jobs come by the thousand, and each walks through all of theirs several times. */
struct own {
    Pwc__Param param;
    Pwc__Value value;
    char name[];
};

/* Most jobs have no options. */
static struct params nothing;

static void add(struct params *p, const Pwc__ParamInfo *info, const Pwc__Value *value)
{
    size_t len = strlen(info->name) + 1;
    struct own *o = xcalloc(1, sizeof *o + len);
    pwc__param__init(&o->param);
    o->param.name = memcpy(o->name, info->name, len);
    o->value = *value;
    o->param.value = &o->value;
    p->v[p->n++] = &o->param;
}

static int check_one(const Pwc__OpInfo *op, const Pwc__Param *given, const char *prefix, struct params *p,
                     struct refusal *why)
{
    const Pwc__ParamInfo *info = find_info(op, given->name);
    char shown[2 * PWC_NAME_MAX];
    struct value_error error;
    Pwc__Value value;
    if (info == NULL)
        return unknown(op, prefix, given->name, why);
    bool twice = params_get(p, given->name) != NULL;
    if (!twice && value_check(info, given->value, &value, &error) == 0) {
        add(p, info, &value);
        return 0;
    }
    shown_name(prefix, given->name, shown, sizeof shown);
    if (twice)
        return refuse(why, PWC__CODE__CODE_BAD_PARAM, prefix, given->name, "%s: is given twice", shown);
    return refuse(why, error.code, prefix, given->name, "%s: %s", shown, error.text);
}

static int check_required(const Pwc__OpInfo *op, const char *prefix, const struct params *p,
                          struct refusal *why)
{
    char shown[2 * PWC_NAME_MAX];
    for (size_t i = 0; i < op->n_params; i++) {
        const Pwc__ParamInfo *info = op->params[i];
        if (!info->required || params_get(p, info->name) != NULL)
            continue;
        shown_name(prefix, info->name, shown, sizeof shown);
        return refuse(why, PWC__CODE__CODE_BAD_PARAM, prefix, info->name, "%s: is missing; %s needs %s",
                      shown, op->name, param_type_name(info->type));
    }
    return 0;
}

static int check_size(const char *prefix, const struct params *p, struct refusal *why)
{
    size_t sum = 0, largest = 0, max = strcmp(prefix, "params") == 0 ? PARAMS_PACKED_MAX : OPTIONS_PACKED_MAX;
    char shown[2 * PWC_NAME_MAX];
    const char *name = "";
    for (size_t i = 0; i < p->n; i++) {
        size_t bytes =
            pwc__param__get_packed_size(p->v[i]) + 4; /* its key and length in the message around it */
        sum += bytes;
        if (bytes > largest) {
            largest = bytes;
            name = p->v[i]->name;
        }
    }
    if (sum <= max)
        return 0;
    shown_name(prefix, name, shown, sizeof shown);
    return refuse(why, PWC__CODE__CODE_BAD_PARAM, prefix, name,
                  "%s: takes %zu bytes, all %ss together %zu; at most %zu fit a job", shown, largest,
                  thing(prefix), sum, max);
}

static int too_many(const char *prefix, const char *name, size_t n, struct refusal *why)
{
    char shown[2 * PWC_NAME_MAX];
    shown_name(prefix, name, shown, sizeof shown);
    return refuse(why, PWC__CODE__CODE_BAD_PARAM, prefix, name,
                  "%s: is one too many; %zu %ss are given, at most %u are taken", shown, n, thing(prefix),
                  PWC_PARAMS_MAX);
}

int params_check(const Pwc__OpInfo *op, Pwc__Param **given, size_t n, const char *prefix, struct params **ret,
                 struct refusal *ret_why)
{
    if (n > PWC_PARAMS_MAX)
        return too_many(prefix, given[PWC_PARAMS_MAX]->name, n, ret_why);
    struct params *p = n > 0 ? xcalloc(1, sizeof *p + n * sizeof p->v[0]) : &nothing;
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = check_one(op, given[i], prefix, p, ret_why);
    if (r == 0)
        r = check_required(op, prefix, p, ret_why);
    if (r == 0)
        r = check_size(prefix, p, ret_why);
    if (r < 0) {
        params_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void params_free(struct params *p)
{
    if (p == NULL || p == &nothing)
        return;
    for (size_t i = 0; i < p->n; i++) {
        value_clear(p->v[i]->value);
        free(p->v[i]); /* the first of struct own */
    }
    free(p);
}

const Pwc__Value *params_get(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i]->name, name) == 0)
            return p->v[i]->value;
    return NULL;
}
