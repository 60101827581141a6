/*
 * submit.c - the parts of a Submit that are not parameters: op, roles, format, policy, what is reserved. See
 * params.h. Fields that this version does not act on are refused, never ignored: a client that asks for
 * something must not believe it got it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/halt.h"
#include "daemon/nearest.h"
#include "daemon/params.h"
#include "daemon/values.h"

#define KEY_MAX     32u /* bytes of a request key */
#define RETRIES_MAX 100 /* more attempts than that are a loop */

static int refuse(struct refusal *why, Pwc__Code code, const char *field, const char *fmt, ...) PRINTF(4, 5);
static int refuse(struct refusal *why, Pwc__Code code, const char *field, const char *fmt, ...)
{
    va_list ap;
    snprintf(why->field, sizeof why->field, "%s", field);
    va_start(ap, fmt);
    vsnprintf(why->reason, sizeof why->reason, fmt, ap);
    va_end(ap);
    why->code = code;
    return -EINVAL;
}

/* ---- roles ---- */

static const Pwc__RoleInfo *find_role(const Pwc__OpInfo *op, const char *name)
{
    for (size_t i = 0; i < op->n_roles; i++)
        if (strcmp(op->roles[i]->name, name) == 0)
            return op->roles[i];
    return NULL;
}

static bool role_given(const Pwc__Submit *s, const char *name)
{
    for (size_t i = 0; i < s->n_roles; i++)
        if (strcmp(s->roles[i]->name, name) == 0)
            return true;
    return false;
}

static void list_roles(const Pwc__OpInfo *op, char *out, size_t size)
{
    size_t n = 0;
    snprintf(out, size, "none");
    for (size_t i = 0; i < op->n_roles && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", op->roles[i]->name);
}

static int check_role(const Pwc__OpInfo *op, const Pwc__Submit *s, size_t i, struct refusal *why)
{
    const Pwc__RoleDecl *given = s->roles[i];
    char shown[PWC_NAME_MAX], field[PWC_NAME_MAX + 8], all[PWC_ROLES_MAX * (PWC_NAME_MAX + 2)];
    printable(given->name, shown, sizeof shown);
    snprintf(field, sizeof field, "roles.%s", shown);
    if (find_role(op, given->name) == NULL) {
        list_roles(op, all, sizeof all);
        return refuse(why, PWC__CODE__CODE_NO_SUCH_ROLE, field, "%s has no role %s; its roles: %s", op->name,
                      shown, all);
    }
    for (size_t j = 0; j < i; j++)
        if (strcmp(s->roles[j]->name, given->name) == 0)
            return refuse(why, PWC__CODE__CODE_NO_SUCH_ROLE, field, "role %s is given twice", shown);
    if (given->count != 1)
        return refuse(why, PWC__CODE__CODE_BAD_DESCRIPTOR, field, "role %s: %u descriptors; it takes one",
                      shown, given->count);
    return 0;
}

static const char *needs(const Pwc__RoleInfo *r)
{
    return r->dir == PWC__ROLE_DIR__ROLE_OUT ? "an output" : "an input";
}

static int check_required_roles(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *why)
{
    for (size_t i = 0; i < op->n_roles; i++) {
        const Pwc__RoleInfo *r = op->roles[i];
        char field[PWC_NAME_MAX + 8];
        if (r->optional || role_given(s, r->name))
            continue;
        snprintf(field, sizeof field, "roles.%s", r->name);
        return refuse(why, PWC__CODE__CODE_NO_SUCH_ROLE, field, "%s needs %s: role %s", op->name, needs(r),
                      r->name);
    }
    return 0;
}

static bool is_batch(const Pwc__Submit *s)
{
    return s->batch || s->items > 1;
}

static int check_items(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *why)
{
    if (s->items > PWC_ITEMS_MAX)
        return refuse(why, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: %ju are out of range, 0 to %u",
                      (uintmax_t)s->items, PWC_ITEMS_MAX);
    if (s->items > 0 && s->n_roles == 0)
        return refuse(why, PWC__CODE__CODE_BAD_DESCRIPTOR, "items",
                      "items: %ju, but no roles say what they are", (uintmax_t)s->items);
    if (s->items == 0 && s->n_roles > 0)
        return refuse(why, PWC__CODE__CODE_BAD_DESCRIPTOR, "items",
                      "items: 0, but there are roles; 1 is a single job");
    if (s->batch && s->items == 0)
        return refuse(why, PWC__CODE__CODE_BAD_DESCRIPTOR, "batch", "batch: there are no items");
    if (is_batch(s) && !op->whole)
        return refuse(why, PWC__CODE__CODE_BAD_DESCRIPTOR, "items",
                      "items: %s takes one input at a time, not a batch of %ju", op->name,
                      (uintmax_t)s->items);
    return 0;
}

static bool has_output(const Pwc__OpInfo *op, const Pwc__Submit *s)
{
    for (size_t i = 0; i < op->n_roles; i++)
        if (op->roles[i]->dir == PWC__ROLE_DIR__ROLE_OUT && role_given(s, op->roles[i]->name))
            return true;
    return false;
}

int roles_check(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *ret_why)
{
    if (s->n_roles > PWC_ROLES_MAX)
        return refuse(ret_why, PWC__CODE__CODE_NO_SUCH_ROLE, "roles",
                      "roles: %zu are given; at most %u are taken", s->n_roles, PWC_ROLES_MAX);
    for (size_t i = 0; i < s->n_roles; i++)
        if (check_role(op, s, i, ret_why) < 0)
            return -EINVAL;
    if (check_required_roles(op, s, ret_why) < 0 || check_items(op, s, ret_why) < 0)
        return -EINVAL;
    if (op->formats && has_output(op, s) && s->format[0] == '\0')
        return refuse(ret_why, PWC__CODE__CODE_BAD_FORMAT, "format",
                      "format: is missing; the output's descriptor does not say it");
    if (s->format[0] != '\0' && !(op->formats && has_output(op, s)))
        return refuse(ret_why, PWC__CODE__CODE_BAD_FORMAT, "format",
                      "format: %s writes nothing that has a format", op->name);
    return 0;
}

/* ---- all other fields ---- */

static int unsupported(struct refusal *why, const char *field, const char *advice)
{
    return refuse(why, PWC__CODE__CODE_UNSUPPORTED, field, "%s: not supported by this version; %s", field,
                  advice);
}

static int bad_field(struct refusal *why, const char *field, const char *right)
{
    return refuse(why, PWC__CODE__CODE_BAD_PARAM, field, "%s: out of range; it must be %s", field, right);
}

static int check_policy(const Pwc__Policy *p, struct refusal *why)
{
    const struct {
        const char *field;
        int32_t n;
    } retries[] = {{"policy.retries_error", p->retries_error},
                   {"policy.retries_crash", p->retries_crash},
                   {"policy.retries_oom", p->retries_oom},
                   {"policy.retries_timeout", p->retries_timeout}};
    for (size_t i = 0; i < ARRAY_LEN(retries); i++)
        if (retries[i].n > RETRIES_MAX)
            return bad_field(why, retries[i].field, "at most 100, or negative for the default");
    if (p->chunk_timeout_ns > INT64_MAX)
        return bad_field(why, "policy.chunk_timeout_ns", "below 2^63 ns");
    if (p->job_timeout_ns > INT64_MAX)
        return bad_field(why, "policy.job_timeout_ns", "below 2^63 ns");
    if ((unsigned)p->on_failure > PWC__ON_FAILURE__ON_FAILURE_FILL)
        return bad_field(why, "policy.on_failure", "0 (fail), 1 (skip) or 2 (fill)");
    bool byte = p->fill != NULL && p->fill->kind_case == PWC__VALUE__KIND_U64 && p->fill->u64 <= 255;
    if ((p->on_failure == PWC__ON_FAILURE__ON_FAILURE_FILL) != (p->fill != NULL) ||
        (p->fill != NULL && !byte))
        return bad_field(why, "policy.fill", "a byte, 0 to 255, and goes with on_failure fill");
    struct halt halt;
    char shown[PWC_NAME_MAX];
    if (halt_parse(p->halt, &halt) < 0)
        return refuse(why, PWC__CODE__CODE_BAD_PARAM, "policy.halt",
                      "halt '%s': must be never or (now|soon),(fail|success|done)=(N|N%%), as in soon,fail=3",
                      printable(p->halt, shown, sizeof shown));
    return 0;
}

/* Where there is nothing to fill it would be a promise that nobody keeps. */
static int check_fill(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *why)
{
    if (s->policy->on_failure != PWC__ON_FAILURE__ON_FAILURE_FILL)
        return 0;
    if (is_batch(s))
        return refuse(why, PWC__CODE__CODE_UNSUPPORTED, "policy.on_failure",
                      "on failure: a file of a batch is not filled but left out; that is skip");
    if (op->absorb == PWC__ABSORB__ABSORB_FOLDED || !has_output(op, s))
        return refuse(why, PWC__CODE__CODE_UNSUPPORTED, "policy.on_failure",
                      "on failure: %s has no output that could be filled; it can fail or skip", op->name);
    return 0;
}

static int check_domain(const Pwc__Submit *s, struct refusal *why)
{
    if (strlen(s->domain) >= PWC_LABEL_MAX)
        return refuse(why, PWC__CODE__CODE_BAD_PARAM, "domain", "domain: has %zu bytes; at most %u are taken",
                      strlen(s->domain), PWC_LABEL_MAX - 1);
    for (const char *p = s->domain; *p != '\0'; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return refuse(why, PWC__CODE__CODE_BAD_PARAM, "domain",
                          "domain: holds a blank or a byte that is not ASCII");
    return 0;
}

static int check_reserved(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *why)
{
    char shown[PWC_NAME_MAX];
    if (s->n_after > 0)
        return unsupported(why, "after", "submit when the other job has ended");
    if (s->n_labels > 0)
        return unsupported(why, "labels", "leave them out");
    if (s->op_version[0] != '\0' && strcmp(s->op_version, op->version) != 0)
        return refuse(why, PWC__CODE__CODE_UNSUPPORTED, "op_version", "op_version: %s is %s here, not %s",
                      op->name, op->version, printable(s->op_version, shown, sizeof shown));
    return 0;
}

int fields_check(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *ret_why)
{
    if (s->request_key.len > KEY_MAX)
        return bad_field(ret_why, "request_key", "at most 32 bytes");
    if (s->priority < -20 || s->priority > 19)
        return bad_field(ret_why, "priority", "-20 (first) to 19");
    if ((unsigned)s->on_disconnect > PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH)
        return bad_field(ret_why, "on_disconnect", "0 (cancel), 1 (linger) or 2 (detach)");
    if (s->linger_ns > INT64_MAX)
        return bad_field(ret_why, "linger_ns", "below 2^63 ns");
    if ((unsigned)s->isolation > PWC__ISOLATION__ISOLATION_CHUNK)
        return bad_field(ret_why, "isolation", "0 (user), 1 (job) or 2 (chunk)");
    if (check_domain(s, ret_why) < 0 || check_reserved(op, s, ret_why) < 0)
        return -EINVAL;
    if (s->policy == NULL || !s->policy->set)
        return 0;
    return check_policy(s->policy, ret_why) < 0 || check_fill(op, s, ret_why) < 0 ? -EINVAL : 0;
}

/* ---- how many chunks ---- */

static int count_of(const Pwc__OpInfo *op, const Pwc__ParamInfo *info, const struct params *p, uint64_t *ret,
                    struct refusal *why)
{
    const Pwc__Value *v = params_get(p, info->name);
    Pwc__Value def = PWC__VALUE__INIT, text = PWC__VALUE__INIT;
    struct value_error error;
    if (v == NULL) {
        text.kind_case = PWC__VALUE__KIND_STR;
        text.str = info->def;
        if (info->def[0] == '\0' || value_check(info, &text, &def, &error) < 0)
            return refuse(why, PWC__CODE__CODE_BAD_PARAM, info->name, "%s: is missing; %s needs it",
                          info->name, op->name);
        v = &def;
    }
    bool negative = v->kind_case == PWC__VALUE__KIND_I64 && v->i64 < 0;
    uint64_t n = v->kind_case == PWC__VALUE__KIND_I64 ? (uint64_t)v->i64 : v->u64;
    value_clear(&def);
    if (negative || n > PWC_CHUNKS_MAX) {
        char field[PWC_NAME_MAX + 8];
        snprintf(field, sizeof field, "params.%s", info->name);
        return refuse(why, PWC__CODE__CODE_BAD_PARAM, field, "%s: %s%ju is out of range, 0 to %llu",
                      info->name, negative ? "-" : "", (uintmax_t)(negative ? 0 - n : n), PWC_CHUNKS_MAX);
    }
    *ret = n;
    return 0;
}

int count_check(const Pwc__OpInfo *op, const struct params *p, uint64_t *ret_chunks, struct refusal *ret_why)
{
    for (size_t i = 0; i < op->n_params; i++)
        if (strcmp(op->params[i]->name, op->count_param) == 0)
            return count_of(op, op->params[i], p, ret_chunks, ret_why);
    return refuse(ret_why, PWC__CODE__CODE_INTERNAL, "op", "%s does not say how many chunks it has",
                  op->name);
}

/* ---- formats and their options ---- */

static void list_formats(const struct catalogue *cat, char *out, size_t size)
{
    size_t n = 0;
    snprintf(out, size, "none");
    for (size_t i = 0; i < catalogue_len(cat); i++) {
        const Pwc__OpInfo *op = catalogue_at(cat, i)->info;
        if (op->kind != PWC__OP_KIND__OP_SAVE || strncmp(op->name, "save.", 5) != 0 ||
            n + PWC_NAME_MAX > size)
            continue;
        n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", op->name + 5);
    }
}

static int check_save(const struct catalogue *cat, const Pwc__Submit *s, struct params **ret,
                      struct refusal *why)
{
    static const Pwc__OpInfo none = PWC__OP_INFO__INIT;
    const Pwc__OpInfo *op = &none;
    if (s->format[0] != '\0') {
        const struct catalogue_op *found = catalogue_find_in(cat, "save", s->format);
        char shown[PWC_NAME_MAX], all[400];
        if (found == NULL || found->info->kind != PWC__OP_KIND__OP_SAVE) {
            list_formats(cat, all, sizeof all);
            return refuse(why, PWC__CODE__CODE_BAD_FORMAT, "format",
                          "format: \"%s\" cannot be written; it must be one of %s",
                          printable(s->format, shown, sizeof shown), all);
        }
        op = found->info;
    } else if (s->n_save > 0) {
        return refuse(why, PWC__CODE__CODE_BAD_FORMAT, "save",
                      "save: there are options, but no format they belong to");
    }
    return params_check(op, s->save, s->n_save, "save", ret, why);
}

static bool has_option(const Pwc__OpInfo *op, const char *name)
{
    for (size_t i = 0; i < op->n_params; i++)
        if (strcmp(op->params[i]->name, name) == 0)
            return true;
    return false;
}

/* Has this loader every option that is given? */
static bool loader_knows(const Pwc__OpInfo *op, const Pwc__Submit *s)
{
    size_t known = 0;
    for (size_t i = 0; i < s->n_load; i++)
        known += has_option(op, s->load[i]->name);
    return known == s->n_load;
}

static bool some_loader_has(const struct catalogue *cat, const char *name)
{
    for (size_t i = 0; i < catalogue_len(cat); i++) {
        const Pwc__OpInfo *op = catalogue_at(cat, i)->info;
        if (op->kind == PWC__OP_KIND__OP_LOAD && has_option(op, name))
            return true;
    }
    return false;
}

static int unknown_option(const struct catalogue *cat, const char *name, struct refusal *why)
{
    char shown[PWC_NAME_MAX], field[PWC_NAME_MAX + 8];
    struct nearest near = nearest_to(name);
    for (size_t i = 0; i < catalogue_len(cat); i++) {
        const Pwc__OpInfo *op = catalogue_at(cat, i)->info;
        for (size_t k = 0; op->kind == PWC__OP_KIND__OP_LOAD && k < op->n_params; k++)
            nearest_try(&near, op->params[k]->name);
    }
    snprintf(field, sizeof field, "load.%s", printable(name, shown, sizeof shown));
    return refuse(why, PWC__CODE__CODE_NO_SUCH_PARAM, field, "%s: no loader has such an option%s%s%s", field,
                  near.best != NULL ? "; did you mean " : "", near.best != NULL ? near.best : "",
                  near.best != NULL ? "?" : "");
}

/*
 * The input's format is not known before a stage has looked at it: options are right when some loader takes
 * them all, and the loader that is then found refuses what it lacks. The complaint is that of the loader
 * which at least knows the names, or names the option that none knows.
 */
static int check_load(const struct catalogue *cat, const Pwc__OpInfo *op, const Pwc__Submit *s,
                      struct params **ret, struct refusal *why)
{
    static const Pwc__OpInfo none = PWC__OP_INFO__INIT;
    bool complained = false;
    if (s->n_load == 0)
        return params_check(&none, NULL, 0, "load", ret, why);
    for (size_t i = 0; i < catalogue_len(cat) && op->formats; i++) {
        const Pwc__OpInfo *loader = catalogue_at(cat, i)->info;
        struct refusal fault;
        if (loader->kind != PWC__OP_KIND__OP_LOAD)
            continue;
        if (params_check(loader, s->load, s->n_load, "load", ret, &fault) == 0)
            return 0;
        if (!complained && loader_knows(loader, s)) {
            *why = fault;
            complained = true;
        }
    }
    if (complained)
        return -EINVAL;
    for (size_t i = 0; i < s->n_load && op->formats; i++)
        if (!some_loader_has(cat, s->load[i]->name))
            return unknown_option(cat, s->load[i]->name, why);
    char shown[PWC_NAME_MAX];
    return refuse(why, PWC__CODE__CODE_NO_SUCH_PARAM, "load", "load.%s: no loader of %s has these options",
                  printable(s->load[0]->name, shown, sizeof shown), op->name);
}

/* ---- all ---- */

static int find_op(const struct catalogue *cat, const Pwc__Submit *s, const struct catalogue_op **ret,
                   struct refusal *why)
{
    char shown[PWC_NAME_MAX];
    const struct catalogue_op *op = catalogue_find(cat, s->op);
    if (op != NULL && op->info->kind == PWC__OP_KIND__OP_JOB) {
        *ret = op;
        return 0;
    }
    printable(s->op, shown, sizeof shown);
    if (op != NULL)
        return refuse(why, PWC__CODE__CODE_NO_SUCH_OP, "op",
                      "op: \"%s\" only describes options; it cannot be run", shown);
    const char *near = catalogue_nearest(cat, s->op);
    if (near != NULL)
        return refuse(why, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"%s\"; did you mean %s?",
                      shown, near);
    return refuse(why, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"%s\"; pwcctl ops lists them",
                  shown);
}

static int check_values(const struct catalogue *cat, const Pwc__Submit *s, struct submission *sub,
                        struct refusal *why)
{
    const Pwc__OpInfo *op = sub->op->info;
    int r = params_check(op, s->params, s->n_params, "params", &sub->params, why);
    if (r == 0)
        r = check_save(cat, s, &sub->save, why);
    if (r == 0)
        r = check_load(cat, op, s, &sub->load, why);
    if (r == 0 && !sub->batch && op->split == PWC__SPLIT__SPLIT_COUNT)
        r = count_check(op, sub->params, &sub->chunks, why);
    return r;
}

int submit_check(const struct catalogue *cat, const Pwc__Submit *s, struct submission *ret,
                 struct refusal *ret_why)
{
    struct submission sub = {.batch = is_batch(s), .chunks = is_batch(s) ? s->items : 0};
    if (find_op(cat, s, &sub.op, ret_why) < 0 || fields_check(sub.op->info, s, ret_why) < 0 ||
        roles_check(sub.op->info, s, ret_why) < 0)
        return -EINVAL;
    if (check_values(cat, s, &sub, ret_why) < 0) {
        submission_free(&sub);
        return -EINVAL;
    }
    *ret = sub;
    return 0;
}

void submission_free(struct submission *s)
{
    params_free(TAKE_PTR(s->params));
    params_free(TAKE_PTR(s->save));
    params_free(TAKE_PTR(s->load));
}
