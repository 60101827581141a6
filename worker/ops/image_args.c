/*
 * image_args.c - a job's typed parameters become arguments of a libvips object.
 *
 * The supervisor has checked them against the catalogue; here they are checked again against the class
 * itself, because libvips answers a wrong type with an abort and a number out of range with a warning.
 */
#include <math.h>
#include <string.h>

#include "worker/ops/image.h"

bool img_is_profile(const char *arg)
{
    return strstr(arg, "profile") != NULL;
}

bool img_arg_offered(GParamSpec *ps, const VipsArgumentClass *ac)
{
    /* How the file is opened is ours to decide; paths into files are not taken at all. */
    static const char *const ours[] = {"access", "memory", "filename", "option-string", "unlimited", "fd"};
    GType type = G_PARAM_SPEC_VALUE_TYPE(ps);
    if (!(ac->flags & VIPS_ARGUMENT_INPUT) || (ac->flags & VIPS_ARGUMENT_DEPRECATED))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(g_param_spec_get_name(ps), ours[i]) == 0)
            return false;
    return type == G_TYPE_INT || type == G_TYPE_UINT64 || type == G_TYPE_DOUBLE || type == G_TYPE_BOOLEAN ||
           type == G_TYPE_STRING || g_type_is_a(type, G_TYPE_ENUM) || g_type_is_a(type, G_TYPE_FLAGS) ||
           type == VIPS_TYPE_ARRAY_DOUBLE || type == VIPS_TYPE_ARRAY_INT || type == VIPS_TYPE_INTERPOLATE;
}

/* One argument on its way: where a complaint goes and what it is about. */
struct arg {
    struct op_job *job;
    const char *what; /* "params", "save", "load" */
    const Pwc__Param *param;
    GParamSpec *ps;
};

static int bad(const struct arg *a, const char *would)
{
    return op_fail(a->job, PWC__CODE__CODE_BAD_PARAM, "%s.%s: %s", a->what, a->param->name, would);
}

static int number_of(const struct arg *a, double *ret)
{
    const Pwc__Value *v = a->param->value;
    switch (v ? v->kind_case : PWC__VALUE__KIND__NOT_SET) {
    case PWC__VALUE__KIND_I64:
        *ret = (double)v->i64;
        return 0;
    case PWC__VALUE__KIND_U64:
        *ret = (double)v->u64;
        return 0;
    case PWC__VALUE__KIND_F64:
        *ret = v->f64;
        return 0;
    case PWC__VALUE__KIND_FLAG:
        *ret = v->flag ? 1 : 0;
        return 0;
    default:
        return bad(a, "a number is wanted");
    }
}

static int in_range(const struct arg *a, double v, double min, double max)
{
    if (v >= min && v <= max)
        return 0;
    return op_fail(a->job, PWC__CODE__CODE_BAD_PARAM, "%s.%s: %g is out of range: %g to %g", a->what,
                   a->param->name, v, min, max);
}

static int set_int(const struct arg *a, GValue *out)
{
    const GParamSpecInt *ps = (const GParamSpecInt *)a->ps;
    double v = 0;
    if (number_of(a, &v) < 0 || in_range(a, v, ps->minimum, ps->maximum) < 0)
        return -1;
    if (v != floor(v))
        return bad(a, "a whole number is wanted");
    g_value_set_int(out, (int)v);
    return 0;
}

static int set_u64(const struct arg *a, GValue *out)
{
    double v = 0;
    if (number_of(a, &v) < 0 || in_range(a, v, 0, 9007199254740992.0) < 0) /* 2^53 */
        return -1;
    g_value_set_uint64(out, (uint64_t)v);
    return 0;
}

static int set_double(const struct arg *a, GValue *out)
{
    const GParamSpecDouble *ps = (const GParamSpecDouble *)a->ps;
    double v = 0;
    if (number_of(a, &v) < 0 || in_range(a, v, ps->minimum, ps->maximum) < 0)
        return -1;
    g_value_set_double(out, v);
    return 0;
}

static int set_bool(const struct arg *a, GValue *out)
{
    double v = 0;
    if (number_of(a, &v) < 0)
        return -1;
    g_value_set_boolean(out, v != 0);
    return 0;
}

static const char *text_of(const struct arg *a)
{
    const Pwc__Value *v = a->param->value;
    if (v && v->kind_case == PWC__VALUE__KIND_STR && v->str)
        return v->str;
    bad(a, "a word is wanted");
    return NULL;
}

/* Anything but the profiles built into libvips would be opened as a file. */
static bool profile_known(const char *name)
{
    static const char *const known[] = {"none", "srgb", "cmyk", "p3"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (g_ascii_strcasecmp(name, known[i]) == 0)
            return true;
    return false;
}

static int set_string(const struct arg *a, GValue *out)
{
    const char *text = text_of(a);
    if (!text)
        return -1;
    if (img_is_profile(g_param_spec_get_name(a->ps)) && !profile_known(text))
        return bad(a, "only the built-in profiles srgb, cmyk, p3 and none are accepted, no files");
    g_value_set_string(out, text);
    return 0;
}

static int set_enum(const struct arg *a, GValue *out)
{
    const char *text = text_of(a);
    if (!text)
        return -1;
    const GEnumValue *v = g_enum_get_value_by_nick(((const GParamSpecEnum *)a->ps)->enum_class, text);
    if (!v || v->value < 0 || strcmp(v->value_nick, "last") == 0)
        return bad(a, "no such choice");
    g_value_set_enum(out, v->value);
    return 0;
}

static int set_flags(const struct arg *a, GValue *out)
{
    GFlagsClass *c = ((const GParamSpecFlags *)a->ps)->flags_class;
    const char *text = text_of(a);
    if (!text)
        return -1;
    AUTO_FREE char *copy = xstrdup(text);
    guint flags = 0;
    char *save = NULL;
    for (const char *word = strtok_r(copy, ":,|+ ", &save); word; word = strtok_r(NULL, ":,|+ ", &save)) {
        const GFlagsValue *v = g_flags_get_value_by_nick(c, word);
        if (!v)
            return bad(a, "no such choice");
        flags |= v->value;
    }
    g_value_set_flags(out, flags);
    return 0;
}

/* Numbers of a list, or one number as a list of one. At most the wire's worth of them. */
static int list_of(const struct arg *a, double **ret, int *ret_n)
{
    const Pwc__Value *v = a->param->value;
    size_t n = 1;
    if (v && v->kind_case == PWC__VALUE__KIND_F64S && v->f64s)
        n = v->f64s->n_v;
    else if (v && v->kind_case == PWC__VALUE__KIND_I64S && v->i64s)
        n = v->i64s->n_v;
    if (n == 0 || n > 4096)
        return bad(a, "a list of 1 to 4096 numbers is wanted");
    AUTO_FREE double *list = xcalloc(n, sizeof *list);
    if (n == 1 && v && v->kind_case != PWC__VALUE__KIND_F64S && v->kind_case != PWC__VALUE__KIND_I64S) {
        if (number_of(a, list) < 0)
            return -1;
    } else if (!v) {
        return bad(a, "a list of numbers is wanted");
    } else {
        for (size_t i = 0; i < n; i++)
            list[i] = v->kind_case == PWC__VALUE__KIND_F64S ? v->f64s->v[i] : (double)v->i64s->v[i];
    }
    *ret = TAKE_PTR(list);
    *ret_n = (int)n;
    return 0;
}

static int set_doubles(const struct arg *a, GValue *out)
{
    AUTO_FREE double *list = NULL;
    int n = 0;
    if (list_of(a, &list, &n) < 0)
        return -1;
    vips_value_set_array_double(out, list, n);
    return 0;
}

static int set_ints(const struct arg *a, GValue *out)
{
    AUTO_FREE double *list = NULL;
    int n = 0;
    if (list_of(a, &list, &n) < 0)
        return -1;
    AUTO_FREE int *ints = xcalloc((size_t)n, sizeof *ints);
    for (int i = 0; i < n; i++) {
        if (in_range(a, list[i], INT32_MIN, INT32_MAX) < 0)
            return -1;
        ints[i] = (int)list[i];
    }
    vips_value_set_array_int(out, ints, n);
    return 0;
}

static int set_interpolate(const struct arg *a, GValue *out)
{
    const char *text = text_of(a);
    if (!text)
        return -1;
    VipsInterpolate *i = vips_interpolate_new(text);
    vips_error_clear();
    if (!i)
        return bad(a, "no such interpolator");
    g_value_take_object(out, i);
    return 0;
}

static int value_of(const struct arg *a, GValue *out)
{
    GType type = G_PARAM_SPEC_VALUE_TYPE(a->ps);
    if (type == G_TYPE_INT)
        return set_int(a, out);
    if (type == G_TYPE_UINT64)
        return set_u64(a, out);
    if (type == G_TYPE_DOUBLE)
        return set_double(a, out);
    if (type == G_TYPE_BOOLEAN)
        return set_bool(a, out);
    if (type == G_TYPE_STRING)
        return set_string(a, out);
    if (type == VIPS_TYPE_ARRAY_DOUBLE)
        return set_doubles(a, out);
    if (type == VIPS_TYPE_ARRAY_INT)
        return set_ints(a, out);
    if (type == VIPS_TYPE_INTERPOLATE)
        return set_interpolate(a, out);
    return g_type_is_a(type, G_TYPE_FLAGS) ? set_flags(a, out) : set_enum(a, out);
}

/* The arguments that may be given to it. */
static void list_offered(VipsObject *o, char *out, size_t size)
{
    size_t n = 0;
    *out = '\0';
    for (GSList *p = VIPS_OBJECT_GET_CLASS(o)->argument_table_traverse; p && n < size; p = p->next) {
        const VipsArgumentClass *ac = p->data;
        GParamSpec *ps = ((const VipsArgument *)p->data)->pspec;
        if (img_arg_offered(ps, ac))
            n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", g_param_spec_get_name(ps));
    }
    g_strdelimit(out, "-", '_');
}

static int set_arg(struct arg *a, VipsObject *o)
{
    VipsArgumentClass *ac = NULL;
    VipsArgumentInstance *ai = NULL;
    const char *name = a->param->name ? a->param->name : "";
    if (vips_object_get_argument(o, name, &a->ps, &ac, &ai) != 0 || !img_arg_offered(a->ps, ac)) {
        char offered[320];
        vips_error_clear();
        list_offered(o, offered, sizeof offered);
        return op_fail(a->job, PWC__CODE__CODE_NO_SUCH_PARAM, "%s.%s: %s has no such argument; it has %s",
                       a->what, name, VIPS_OBJECT_GET_CLASS(o)->nickname, offered);
    }
    GValue v = G_VALUE_INIT;
    g_value_init(&v, G_PARAM_SPEC_VALUE_TYPE(a->ps));
    int r = value_of(a, &v);
    if (r == 0)
        g_object_set_property(G_OBJECT(o), name, &v);
    g_value_unset(&v);
    return r;
}

int img_set_args(struct op_job *job, VipsObject *o, Pwc__Param *const *params, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        struct arg a = {.job = job, .what = what, .param = params[i]};
        if (set_arg(&a, o) < 0)
            return -1;
    }
    return 0;
}

int img_build(struct op_job *job, VipsImage *in, VipsImage *second, VipsImage **ret_out, VipsObject **ret_op)
{
    const struct img_family *f = img_family(job);
    VipsObject *o = g_object_new(f->type, NULL);
    g_object_set(o, f->in, in, NULL);
    if (f->second)
        g_object_set(o, f->second, second, NULL);
    if (img_set_args(job, o, job->params, job->nparams, "params") < 0) {
        g_object_unref(o);
        return -1;
    }
    if (vips_object_build(o) != 0) {
        vips_object_unref_outputs(o);
        g_object_unref(o);
        return 1; /* the caller knows what the error means: a probe provokes it */
    }
    g_object_get(o, f->out, ret_out, NULL);
    *ret_op = o;
    return 0;
}

static void *result_of(VipsObject *o, GParamSpec *ps, VipsArgumentClass *ac, VipsArgumentInstance *ai,
                       void *a, void *b)
{
    (void)b;
    struct op_job *job = a;
    GType type = G_PARAM_SPEC_VALUE_TYPE(ps);
    if (!(ac->flags & VIPS_ARGUMENT_OUTPUT) || (ac->flags & VIPS_ARGUMENT_DEPRECATED) || !ai->assigned)
        return NULL;
    AUTO_FREE char *name = xstrdup(g_param_spec_get_name(ps));
    g_strdelimit(name, "-", '_');
    int i = 0;
    double d = 0;
    if (type == G_TYPE_INT || type == G_TYPE_BOOLEAN) {
        g_object_get(o, name, &i, NULL);
        op_result_i64(job, name, i);
    } else if (type == G_TYPE_DOUBLE) {
        g_object_get(o, name, &d, NULL);
        op_result_f64(job, name, d);
    } else if (g_type_is_a(type, G_TYPE_ENUM)) {
        g_object_get(o, name, &i, NULL);
        op_result_str(job, name, vips_enum_nick(type, i));
    }
    return NULL;
}

void img_results(struct op_job *job, VipsObject *op)
{
    vips_argument_map(op, result_of, job, NULL);
}
