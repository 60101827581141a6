/* spec.c - building a Submit. The message lives in the spec, ready to be packed as often as it is submitted.
 */
#include <stdio.h>
#include <string.h>

#include "client/internal.h"

struct pwc_spec *pwc_spec_new(const char *op)
{
    struct pwc_spec *spec = xcalloc(1, sizeof *spec);
    pwc__submit__init(&spec->pb);
    pwc__policy__init(&spec->policy);
    spec->pb.op = xstrdup(text_of(op));
    return spec;
}

static void mistake(struct pwc_spec *spec, char *text)
{
    if (spec->mistake == NULL)
        spec->mistake = text;
    else
        free(text);
}

/* ---- strings: protobuf-c's empty default must not be freed ---- */

static void free_text(char *s)
{
    if (s != protobuf_c_empty_string)
        free(s);
}

static void set_text(char **at, const char *text)
{
    free_text(*at);
    *at = xstrdup(text_of(text));
}

/* ---- values ---- */

static void value_clear(Pwc__Value *v)
{
    switch (v->kind_case) {
    case PWC__VALUE__KIND_STR:
        free_text(v->str);
        break;
    case PWC__VALUE__KIND_BLOB:
        free(v->blob.data);
        break;
    case PWC__VALUE__KIND_I128:
        free(v->i128.data);
        break;
    case PWC__VALUE__KIND_F64S:
        free(v->f64s->v);
        free(v->f64s);
        break;
    case PWC__VALUE__KIND_I64S:
        free(v->i64s->v);
        free(v->i64s);
        break;
    default:
        break;
    }
    pwc__value__init(v);
}

static void *copy_of(const void *data, size_t bytes)
{
    void *p = xcalloc(1, bytes);
    if (bytes > 0)
        memcpy(p, data, bytes);
    return p;
}

static void set_list(Pwc__Value *pb, const struct pwc_value *v)
{
    if (v->type == PWC_F64S) {
        pb->kind_case = PWC__VALUE__KIND_F64S;
        pb->f64s = xcalloc(1, sizeof *pb->f64s);
        pwc__f64_list__init(pb->f64s);
        pb->f64s->n_v = v->u.f64s.n;
        pb->f64s->v = copy_of(v->u.f64s.v, v->u.f64s.n * sizeof(double));
    } else {
        pb->kind_case = PWC__VALUE__KIND_I64S;
        pb->i64s = xcalloc(1, sizeof *pb->i64s);
        pwc__i64_list__init(pb->i64s);
        pb->i64s->n_v = v->u.i64s.n;
        pb->i64s->v = copy_of(v->u.i64s.v, v->u.i64s.n * sizeof(int64_t));
    }
}

static void put64le(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void set_i128(Pwc__Value *pb, const struct pwc_value *v)
{
    pb->kind_case = PWC__VALUE__KIND_I128;
    pb->i128.len = 16;
    pb->i128.data = xcalloc(1, 16);
    put64le(pb->i128.data, v->u.i128.lo);
    put64le(pb->i128.data + 8, (uint64_t)v->u.i128.hi);
}

static bool set_value(Pwc__Value *pb, const struct pwc_value *v)
{
    switch (v->type) {
    case PWC_I64:
        pb->kind_case = PWC__VALUE__KIND_I64;
        pb->i64 = v->u.i64;
        return true;
    case PWC_U64:
        pb->kind_case = PWC__VALUE__KIND_U64;
        pb->u64 = v->u.u64;
        return true;
    case PWC_F64:
        pb->kind_case = PWC__VALUE__KIND_F64;
        pb->f64 = v->u.f64;
        return true;
    case PWC_FLAG:
        pb->kind_case = PWC__VALUE__KIND_FLAG;
        pb->flag = v->u.flag != 0;
        return true;
    case PWC_STR:
        pb->kind_case = PWC__VALUE__KIND_STR;
        pb->str = xstrdup(text_of(v->u.str));
        return true;
    case PWC_BLOB:
        pb->kind_case = PWC__VALUE__KIND_BLOB;
        pb->blob.len = v->u.blob.len;
        pb->blob.data = copy_of(v->u.blob.data, v->u.blob.len);
        return true;
    case PWC_I128:
        set_i128(pb, v);
        return true;
    case PWC_F64S:
    case PWC_I64S:
        set_list(pb, v);
        return true;
    }
    return false;
}

static Pwc__Param *param_of(struct param_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i]->name, name) == 0)
            return list->v[i];
    Pwc__Param *p = xcalloc(1, sizeof *p);
    pwc__param__init(p);
    p->name = xstrdup(name);
    p->value = xcalloc(1, sizeof *p->value);
    pwc__value__init(p->value);
    list->v = xrealloc(list->v, list->n + 1, sizeof *list->v);
    list->v[list->n++] = p;
    return p;
}

static void link_params(struct pwc_spec *spec)
{
    spec->pb.params = spec->params[PWC_PARAM].v;
    spec->pb.n_params = spec->params[PWC_PARAM].n;
    spec->pb.save = spec->params[PWC_SAVE].v;
    spec->pb.n_save = spec->params[PWC_SAVE].n;
    spec->pb.load = spec->params[PWC_LOAD].v;
    spec->pb.n_load = spec->params[PWC_LOAD].n;
}

void pwc_spec_value(struct pwc_spec *spec, enum pwc_table table, const char *name,
                    const struct pwc_value *value)
{
    if (table > PWC_LOAD || name == NULL || name[0] == '\0') {
        mistake(spec, xstrdup("a parameter needs a name and a table"));
        return;
    }
    if (spec->params[table].n >= PWC_PARAMS_MAX) {
        mistake(spec,
                xasprintf("parameter '%s' is one too many; at most %u are taken", name, PWC_PARAMS_MAX));
        return;
    }
    Pwc__Param *p = param_of(&spec->params[table], name);
    value_clear(p->value);
    if (!set_value(p->value, value))
        mistake(spec, xasprintf("parameter '%s' has a type that does not exist: %d", name, (int)value->type));
    link_params(spec);
}

void pwc_spec_text(struct pwc_spec *spec, enum pwc_table table, const char *name, const char *text)
{
    pwc_spec_value(spec, table, name, &(struct pwc_value){.type = PWC_STR, .u.str = text});
}

void pwc_spec_param(struct pwc_spec *spec, const char *name, const char *text)
{
    pwc_spec_text(spec, PWC_PARAM, name, text);
}

void pwc_spec_i64(struct pwc_spec *spec, const char *name, int64_t v)
{
    pwc_spec_value(spec, PWC_PARAM, name, &(struct pwc_value){.type = PWC_I64, .u.i64 = v});
}

void pwc_spec_f64(struct pwc_spec *spec, const char *name, double v)
{
    pwc_spec_value(spec, PWC_PARAM, name, &(struct pwc_value){.type = PWC_F64, .u.f64 = v});
}

/* ---- the rest of a job ---- */

void pwc_spec_format(struct pwc_spec *spec, const char *format)
{
    set_text(&spec->pb.format, format);
}

void pwc_policy_default(struct pwc_policy *ret_policy)
{
    *ret_policy = (struct pwc_policy){
        .retries_error = -1,
        .retries_crash = -1,
        .retries_oom = -1,
        .retries_timeout = -1,
    };
}

void pwc_spec_policy(struct pwc_spec *spec, const struct pwc_policy *policy)
{
    Pwc__Policy *p = &spec->policy;
    p->retries_error = policy->retries_error;
    p->retries_crash = policy->retries_crash;
    p->retries_oom = policy->retries_oom;
    p->retries_timeout = policy->retries_timeout;
    p->chunk_timeout_ns = policy->chunk_timeout_ns;
    p->job_timeout_ns = policy->job_timeout_ns;
    p->on_failure = (Pwc__OnFailure)policy->on_failure;
    p->max_failures = policy->max_failures;
    p->memory = policy->memory;
    p->chunk_timeout_percent = policy->chunk_timeout_percent;
    const char *halt = policy->halt != NULL ? policy->halt : "";
    if (strlen(halt) >= sizeof spec->halt)
        mistake(spec, xasprintf("halt: '%.20s...' is longer than any that can be right", halt));
    snprintf(spec->halt, sizeof spec->halt, "%s", halt);
    p->halt = spec->halt;
    pwc__value__init(&spec->fill);
    spec->fill.kind_case = PWC__VALUE__KIND_U64;
    spec->fill.u64 = policy->fill;
    p->fill = policy->on_failure == PWC_ON_FAILURE_FILL ? &spec->fill : NULL;
    p->set = true;
    spec->pb.policy = p;
}

void pwc_spec_on_disconnect(struct pwc_spec *spec, enum pwc_on_disconnect what, uint64_t linger_ns)
{
    spec->pb.on_disconnect = (Pwc__OnDisconnect)what;
    spec->pb.linger_ns = linger_ns;
}

void pwc_spec_isolation(struct pwc_spec *spec, enum pwc_isolation isolation)
{
    spec->pb.isolation = (Pwc__Isolation)isolation;
}

void pwc_spec_domain(struct pwc_spec *spec, const char *label)
{
    set_text(&spec->pb.domain, label);
}

void pwc_spec_op_version(struct pwc_spec *spec, const char *version)
{
    set_text(&spec->pb.op_version, version);
}

void pwc_spec_label(struct pwc_spec *spec, const char *key, const char *value)
{
    Pwc__Label *l = xcalloc(1, sizeof *l);
    pwc__label__init(l);
    l->key = xstrdup(text_of(key));
    l->value = xstrdup(text_of(value));
    spec->pb.labels = xrealloc(spec->pb.labels, spec->pb.n_labels + 1, sizeof(Pwc__Label *));
    spec->pb.labels[spec->pb.n_labels++] = l;
}

void pwc_spec_priority(struct pwc_spec *spec, int priority)
{
    spec->pb.priority = priority;
}

void pwc_spec_max_workers(struct pwc_spec *spec, uint32_t n)
{
    spec->pb.max_workers = n;
}

void pwc_spec_request_key(struct pwc_spec *spec, const void *key, size_t len)
{
    if (len > 32) {
        mistake(spec, xasprintf("a request key of %zu bytes: 32 at most", len));
        return;
    }
    free(spec->pb.request_key.data);
    spec->pb.request_key.data = copy_of(key, len);
    spec->pb.request_key.len = len;
}

void pwc_spec_callbacks(struct pwc_spec *spec, const struct pwc_callbacks *callbacks, void *user)
{
    spec->cb = *callbacks;
    spec->user = user;
}

void pwc_spec_records(struct pwc_spec *spec, uint32_t window)
{
    if (window == 0 || window > 65536)
        mistake(spec, xasprintf("a window of %u records: 1 to 65536", window));
    spec->window = window;
    spec->pb.records = window > 0;
}

/* ---- descriptors ---- */

static Pwc__RoleDecl *add_role(struct pwc_spec *spec, const char *name)
{
    if (spec->pb.n_roles >= PWC_ROLES_MAX) {
        mistake(spec, xasprintf("more than %u descriptor roles", PWC_ROLES_MAX));
        return NULL;
    }
    Pwc__RoleDecl *r = xcalloc(1, sizeof *r);
    pwc__role_decl__init(r);
    r->name = xstrdup(name);
    spec->pb.roles = xrealloc(spec->pb.roles, spec->pb.n_roles + 1, sizeof(Pwc__RoleDecl *));
    spec->pb.roles[spec->pb.n_roles++] = r;
    return r;
}

static Pwc__RoleDecl *role_of(struct pwc_spec *spec, const char *name, uint32_t *ret_before)
{
    uint32_t before = 0;
    for (size_t i = 0; i < spec->pb.n_roles; i++) {
        Pwc__RoleDecl *r = spec->pb.roles[i];
        before += r->count;
        if (strcmp(r->name, name) == 0) {
            *ret_before = before;
            return r;
        }
    }
    *ret_before = before;
    return add_role(spec, name);
}

void pwc_spec_fd(struct pwc_spec *spec, const char *role, int fd)
{
    uint32_t at;
    if (spec->batch.items > 0 || role == NULL || fd < 0) {
        mistake(
            spec,
            xasprintf("descriptor %d for role '%s': a batch's come from open_item, others are not negative",
                      fd, text_of(role)));
        return;
    }
    if (spec->nfds >= 8) {
        mistake(spec, xstrdup("more than 8 descriptors for one item"));
        return;
    }
    Pwc__RoleDecl *r = role_of(spec, role, &at);
    if (r == NULL)
        return;
    r->count++;
    spec->fds = xrealloc(spec->fds, spec->nfds + 1, sizeof(int));
    memmove(spec->fds + at + 1, spec->fds + at, (spec->nfds - at) * sizeof(int));
    spec->fds[at] = fd;
    spec->nfds++;
    spec->pb.items = 1;
}

void pwc_spec_name(struct pwc_spec *spec, const char *name)
{
    free(spec->name);
    spec->name = xasprintf("%.*s", (int)PWC_ITEM_NAME_MAX, text_of(name));
}

static void free_roles(struct pwc_spec *spec)
{
    for (size_t i = 0; i < spec->pb.n_roles; i++) {
        free(spec->pb.roles[i]->name);
        free(spec->pb.roles[i]);
    }
    spec->pb.n_roles = 0;
}

void pwc_spec_batch(struct pwc_spec *spec, const struct pwc_batch *batch)
{
    if (batch->items == 0 || batch->items > PWC_ITEMS_MAX || batch->nroles == 0 ||
        batch->nroles > PWC_ROLES_MAX || batch->open_item == NULL || spec->nfds > 0) {
        mistake(spec,
                xasprintf("a batch has 1 to %u items, 1 to %u roles, an open_item and no other descriptors",
                          PWC_ITEMS_MAX, PWC_ROLES_MAX));
        return;
    }
    free_roles(spec);
    for (size_t i = 0; i < batch->nroles; i++)
        add_role(spec, batch->roles[i])->count = 1;
    spec->batch =
        (struct job_items){batch->items, batch->open_item, batch->item_done, batch->user, batch->nroles};
    spec->pb.items = batch->items;
    spec->pb.batch = true;
}

/* ---- the end ---- */

static void free_params(struct param_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        value_clear(list->v[i]->value);
        free(list->v[i]->value);
        free(list->v[i]->name);
        free(list->v[i]);
    }
    free(list->v);
}

void pwc_spec_free(struct pwc_spec *spec)
{
    if (spec == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(spec->params); i++)
        free_params(&spec->params[i]);
    for (size_t i = 0; i < spec->pb.n_labels; i++) {
        free(spec->pb.labels[i]->key);
        free(spec->pb.labels[i]->value);
        free(spec->pb.labels[i]);
    }
    free(spec->pb.labels);
    free_roles(spec);
    free(spec->pb.roles);
    free_text(spec->pb.op);
    free_text(spec->pb.format);
    free_text(spec->pb.domain);
    free_text(spec->pb.op_version);
    free(spec->pb.request_key.data);
    free(spec->fds);
    free(spec->name);
    free(spec->mistake);
    free(spec);
}
