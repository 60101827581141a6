/*
 * image_table.c - libvips' classes become rows of the op table.
 *
 * An operation is offered if it takes one image, makes one image and its other required arguments are
 * numbers, words, choices or lists of numbers; or if it takes a second, small image (a mask, a template, a
 * table), which gets a role of its own. The rows live as long as the process.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/ops/image.h"

/* They open files that are named inside the image or in an argument, or run programs. */
static const char *const excluded[] = {"system", "globalbalance"};
/* They keep pixels between requests: what they ask for depends on what they were asked before. */
static const char *const caching[] = {"tilecache", "linecache", "cache", "sequential"};
/* They have libvips' sequential inside, which reads and drops all rows above the first that it is asked for.
 */
static const char *const from_top[] = {"thumbnail_image"};
/* They count positions in the input up along a square's rows, however little they turn. */
static const char *const counted[] = {"affine", "rotate", "similarity"};
/* Approximate convolution by name; others come to it with precision=approximate. */
static const char *const running[] = {"conva", "convasep"};
/* libvips (8.14) computes 8-bit pixels of these with code that liborc makes while they run. Without it the
 * pixels differ, and abs and spectrum, which is built from it, make theirs whatever libvips was told. */
static const char *const making_code[] = {
    "abs",        "canny",          "compass",          "conv",      "convi",  "convsep",
    "countlines", "gaussblur",      "hist_ismonotonic", "morph",     "reduce", "reducev",
    "resize",     "sharpen",        "shrink",           "smartcrop", "sobel",  "spectrum",
    "thumbnail",  "thumbnail_image"};
/* They would open a profile by its path: it comes as a descriptor. */
static const char *const profiled[] = {"icc_import", "icc_export", "icc_transform"};
/* Second images that are small by nature. Two equal partners (add, join) are another matter. */
static const char *const small_inputs[] = {"mask", "ref", "lut", "m", "coeff"};

/* What they take is a table of numbers in the first place. */
static const char *const matrices[] = {"buildlut", "invertlut", "matrixinvert"};

static bool listed(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}
#define LISTED(name, list) listed(name, list, ARRAY_LEN(list))

/* ---- parameters ---- */

static char *dup_name(const char *name)
{
    char *s = xstrdup(name);
    g_strdelimit(s, "-", '_');
    return s;
}

static struct op_choice *choices_of_enum(GEnumClass *c)
{
    struct op_choice *out = xcalloc(c->n_values + 1, sizeof *out);
    size_t n = 0;
    for (guint i = 0; i < c->n_values; i++)
        if (c->values[i].value >= 0 && strcmp(c->values[i].value_nick, "last") != 0)
            out[n++] = (struct op_choice){c->values[i].value_nick, ""};
    return out;
}

static struct op_choice *choices_of_flags(GFlagsClass *c)
{
    struct op_choice *out = xcalloc(c->n_values + 1, sizeof *out);
    for (guint i = 0; i < c->n_values; i++)
        out[i] = (struct op_choice){c->values[i].value_nick, ""};
    return out;
}

static void *add_interpolator(GType type, void *a)
{
    struct op_choice **next = a;
    const VipsObjectClass *c = G_TYPE_IS_ABSTRACT(type) ? NULL : g_type_class_ref(type);
    if (c)
        *(*next)++ = (struct op_choice){c->nickname, c->description};
    return NULL;
}

static struct op_choice *choices_of_interpolate(void)
{
    struct op_choice *out = xcalloc(32, sizeof *out), *next = out;
    vips_type_map_all(VIPS_TYPE_INTERPOLATE, add_interpolator, &next);
    return out;
}

static void fill_number(struct op_param *p, GParamSpec *ps, GType type)
{
    if (type == G_TYPE_INT) {
        const GParamSpecInt *s = (const GParamSpecInt *)ps;
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_INT,
                               .min = s->minimum,
                               .max = s->maximum,
                               .def = xasprintf("%d", s->default_value)};
    } else if (type == G_TYPE_UINT64) {
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_UINT, .max = 9007199254740992.0};
    } else {
        const GParamSpecDouble *s = (const GParamSpecDouble *)ps;
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_FLOAT,
                               .min = fmax(s->minimum, -DBL_MAX),
                               .max = fmin(s->maximum, DBL_MAX),
                               .def = xasprintf("%g", s->default_value)};
    }
}

static void fill_choice(struct op_param *p, GParamSpec *ps, GType type)
{
    if (type == VIPS_TYPE_INTERPOLATE) {
        *p = (struct op_param){
            .type = PWC__PARAM_TYPE__PARAM_ENUM, .def = "bilinear", .choices = choices_of_interpolate()};
    } else if (g_type_is_a(type, G_TYPE_FLAGS)) {
        const GParamSpecFlags *s = (const GParamSpecFlags *)ps;
        const GFlagsValue *v = g_flags_get_first_value(s->flags_class, s->default_value);
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_FLAGS,
                               .choices = choices_of_flags(s->flags_class),
                               .def = v ? v->value_nick : NULL};
    } else {
        const GParamSpecEnum *s = (const GParamSpecEnum *)ps;
        const GEnumValue *v = g_enum_get_value(s->enum_class, s->default_value);
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_ENUM,
                               .choices = choices_of_enum(s->enum_class),
                               .def = v && v->value >= 0 ? v->value_nick : NULL};
    }
}

static void fill_param(struct op_param *p, GParamSpec *ps, const VipsArgumentClass *ac)
{
    GType type = G_PARAM_SPEC_VALUE_TYPE(ps);
    if (type == G_TYPE_INT || type == G_TYPE_UINT64 || type == G_TYPE_DOUBLE)
        fill_number(p, ps, type);
    else if (type == G_TYPE_BOOLEAN)
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_BOOL,
                               .def = ((const GParamSpecBoolean *)ps)->default_value ? "true" : "false"};
    else if (type == G_TYPE_STRING)
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_STRING,
                               .def = ((const GParamSpecString *)ps)->default_value};
    else if (type == VIPS_TYPE_ARRAY_DOUBLE)
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_FLOATS};
    else if (type == VIPS_TYPE_ARRAY_INT)
        *p = (struct op_param){.type = PWC__PARAM_TYPE__PARAM_INTS};
    else
        fill_choice(p, ps, type);
    p->name = dup_name(g_param_spec_get_name(ps));
    p->summary = g_param_spec_get_blurb(ps);
    if (img_is_profile(g_param_spec_get_name(ps)) && type == G_TYPE_STRING)
        p->summary = xasprintf("%s: srgb, cmyk, p3 or none", p->summary);
    p->required = (ac->flags & VIPS_ARGUMENT_REQUIRED) != 0;
    if (strcmp(p->name, "fail_on") == 0)
        p->def = "truncated"; /* ours: image_load.c */
}

/* ---- what a class takes and makes ---- */

struct shape {
    const char *in[3], *out[3];
    size_t nin, nout; /* required images */
    size_t odd;       /* required arguments we cannot pass */
    struct op_param *params;
    size_t nparams;
};

static void shape_add(struct shape *s, GParamSpec *ps, const VipsArgumentClass *ac)
{
    bool input = ac->flags & VIPS_ARGUMENT_INPUT, required = ac->flags & VIPS_ARGUMENT_REQUIRED;
    if (!required || (ac->flags & VIPS_ARGUMENT_DEPRECATED) || img_arg_offered(ps, ac))
        return;
    if (!g_type_is_a(G_PARAM_SPEC_VALUE_TYPE(ps), VIPS_TYPE_IMAGE))
        s->odd++;
    else if (input && s->nin < ARRAY_LEN(s->in))
        s->in[s->nin++] = g_param_spec_get_name(ps);
    else if (!input && s->nout < ARRAY_LEN(s->out))
        s->out[s->nout++] = g_param_spec_get_name(ps);
}

/* Required ones first: that is the order in which help shows them. */
static int by_need(const void *a, const void *b)
{
    const struct op_param *x = a, *y = b;
    if (x->required != y->required)
        return x->required ? -1 : 1;
    return x->required ? 0 : strcmp(x->name, y->name);
}

static void sort_params(struct shape *s)
{
    /* qsort is not stable: required arguments keep libvips' order by an insertion sort. */
    for (size_t i = 1; i < s->nparams; i++) {
        struct op_param p = s->params[i];
        size_t j = i;
        for (; j > 0 && by_need(&s->params[j - 1], &p) > 0; j--)
            s->params[j] = s->params[j - 1];
        s->params[j] = p;
    }
}

static void shape_of(VipsObjectClass *c, struct shape *s)
{
    *s = (struct shape){0};
    for (GSList *p = c->argument_table_traverse; p; p = p->next) {
        VipsArgumentClass *ac = p->data;
        shape_add(s, ((VipsArgument *)ac)->pspec, ac);
    }
}

/* Only for classes that get a row: what is made here stays. */
static void describe_params(VipsObjectClass *c, struct shape *s)
{
    s->params = xcalloc(g_slist_length(c->argument_table_traverse) + 1, sizeof *s->params);
    for (GSList *p = c->argument_table_traverse; p; p = p->next) {
        VipsArgumentClass *ac = p->data;
        GParamSpec *ps = ((VipsArgument *)ac)->pspec;
        if (img_arg_offered(ps, ac))
            fill_param(&s->params[s->nparams++], ps, ac);
    }
    sort_params(s);
}

/* ---- rows ---- */

static const struct op_role two_roles[] = {
    {"in", PWC__ROLE_DIR__ROLE_IN, false, "image file: JPEG, PNG, TIFF, WebP, GIF or HEIF"},
    {"out", PWC__ROLE_DIR__ROLE_OUT, false, "image file, in the format asked for"},
};

static const struct op_role matrix_roles[] = {
    {"in", PWC__ROLE_DIR__ROLE_IN, false,
     "matrix (\"3 3\" and numbers), or image file: JPEG, PNG, TIFF, WebP, GIF or HEIF"},
    {"out", PWC__ROLE_DIR__ROLE_OUT, false, "image file, in the format asked for"},
};

static const struct op_role *roles_with(struct op_role extra)
{
    struct op_role *r = xcalloc(3, sizeof *r);
    r[0] = two_roles[0];
    r[1] = extra;
    r[2] = two_roles[1];
    return r;
}

static const struct op_role *roles_of(const struct img_family *f, size_t *ret_n)
{
    *ret_n = f->second || f->profile ? 3 : 2;
    if (f->profile)
        return roles_with((struct op_role){"profile", PWC__ROLE_DIR__ROLE_IN, true,
                                           "ICC profile, used instead of the image's own"});
    if (f->second)
        return roles_with(
            (struct op_role){f->second, PWC__ROLE_DIR__ROLE_IN, false,
                             "matrix (\"3 3\" and numbers, or comma-separated rows) or small image"});
    return f->matrix ? matrix_roles : two_roles;
}

static struct op *image_row(const char *name, const char *summary, const struct shape *s,
                            struct img_family *f)
{
    struct op *op = xcalloc(1, sizeof *op);
    size_t nroles;
    const struct op_role *roles = roles_of(f, &nroles);
    *op = (struct op){.name = name,
                      .version = vips_version_string(),
                      .summary = summary,
                      .params = s->params,
                      .nparams = s->nparams,
                      .roles = roles,
                      .nroles = nroles,
                      .kind = PWC__OP_KIND__OP_JOB,
                      .absorb = PWC__ABSORB__ABSORB_SERIAL,
                      .formats = true,
                      .scratch = true,
                      .needs = f->makes_code ? OP_NEEDS_CODE : 0,
                      .family = f,
                      .plan = img_plan,
                      .produce = img_produce,
                      .open = img_open,
                      .process = img_process,
                      .blank = img_blank,
                      .merge = img_merge,
                      .whole = img_whole,
                      .close = img_close};
    return op;
}

static bool wanted(const VipsOperationClass *oc, const char *nick)
{
    return !(oc->flags & (VIPS_OPERATION_DEPRECATED | VIPS_OPERATION_UNTRUSTED | VIPS_OPERATION_BLOCKED)) &&
           !LISTED(nick, excluded);
}

static bool fits(const struct shape *s)
{
    if (s->odd > 0 || s->nout != 1 || s->nin < 1)
        return false;
    return s->nin == 1 || (s->nin == 2 && strcmp(s->in[0], "in") == 0 && LISTED(s->in[1], small_inputs));
}

static void *add_operation(GType type, void *a)
{
    if (G_TYPE_IS_ABSTRACT(type) || g_type_is_a(type, VIPS_TYPE_FOREIGN))
        return NULL;
    VipsObjectClass *c = g_type_class_ref(type);
    /* crop is a second type with the class of extract_area: only its type's name tells. */
    const char *nick = g_str_has_prefix(g_type_name(type), "Vips") ? c->nickname : g_type_name(type);
    if (!wanted((VipsOperationClass *)c, nick))
        return NULL;
    struct shape s;
    shape_of(c, &s);
    if (!fits(&s))
        return NULL;
    describe_params(c, &s);
    struct img_family *f = xcalloc(1, sizeof *f);
    *f = (struct img_family){.type = type,
                             .in = s.in[0],
                             .out = s.out[0],
                             .second = s.nin == 2 ? s.in[1] : NULL,
                             .caches = LISTED(nick, caching),
                             .counted = LISTED(nick, counted),
                             .running = LISTED(nick, running),
                             .makes_code = LISTED(nick, making_code),
                             .from_top = LISTED(nick, from_top),
                             .matrix = LISTED(nick, matrices),
                             .profile = LISTED(nick, profiled)};
    optable_add(a, image_row(xasprintf("image.%s", nick), c->description, &s, f));
    return NULL;
}

/* Shrink-on-load: libvips opens the file itself, at the size it needs. */
static void add_thumbnail(struct optable *t)
{
    GType type = vips_type_find("VipsOperation", "thumbnail_source");
    if (type == 0)
        return;
    struct shape s = {0};
    describe_params(g_type_class_ref(type), &s);
    struct img_family *f = xcalloc(1, sizeof *f);
    *f = (struct img_family){.type = type, .out = "out", .source = true, .makes_code = true};
    optable_add(t, image_row("image.thumbnail", "thumbnail of a file, decoded at the size it needs", &s, f));
}

static void add_options(struct optable *t, Pwc__OpKind kind, const char *name, const char *nick,
                        const char *const *suffixes)
{
    GType type = nick ? vips_type_find("VipsForeign", nick) : 0;
    if (nick && type == 0)
        return; /* this libvips was built without the format */
    struct shape s = {0};
    VipsObjectClass *c = nick ? g_type_class_ref(type) : NULL;
    if (c)
        describe_params(c, &s);
    struct op *op = xcalloc(1, sizeof *op);
    *op =
        (struct op){.name = name,
                    .version = vips_version_string(),
                    .summary = c ? c->description : "bare pixels, row after row, in the machine's byte order",
                    .params = s.params,
                    .nparams = s.nparams,
                    .kind = kind,
                    .suffixes = suffixes};
    optable_add(t, op);
}

static const char *const png[] = {".png", NULL}, *const jpeg[] = {".jpg", ".jpeg", ".jpe", NULL},
                         *const tiff[] = {".tif", ".tiff", NULL}, *const webp[] = {".webp", NULL},
                         *const raw[] = {".raw", NULL}, *const gif[] = {".gif", NULL},
                         *const heif[] = {".heic", ".heif", ".avif", NULL};

static const struct {
    Pwc__OpKind kind;
    const char *name, *nick;
    const char *const *suffixes;
} formats[] = {
    {PWC__OP_KIND__OP_SAVE, "save.png", "pngsave_target", png},
    {PWC__OP_KIND__OP_SAVE, "save.jpeg", "jpegsave_target", jpeg},
    {PWC__OP_KIND__OP_SAVE, "save.tiff", "tiffsave_target", tiff},
    {PWC__OP_KIND__OP_SAVE, "save.webp", "webpsave_target", webp},
    {PWC__OP_KIND__OP_SAVE, "save.raw", NULL, raw},
    {PWC__OP_KIND__OP_LOAD, "load.png", "pngload_source", png},
    {PWC__OP_KIND__OP_LOAD, "load.jpeg", "jpegload_source", jpeg},
    {PWC__OP_KIND__OP_LOAD, "load.tiff", "tiffload_source", tiff},
    {PWC__OP_KIND__OP_LOAD, "load.webp", "webpload_source", webp},
    {PWC__OP_KIND__OP_LOAD, "load.gif", "gifload_source", gif},
    {PWC__OP_KIND__OP_LOAD, "load.heif", "heifload_source", heif},
};

void img_table(struct optable *t)
{
    vips_type_map_all(VIPS_TYPE_OPERATION, add_operation, t);
    add_thumbnail(t);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        add_options(t, formats[i].kind, formats[i].name, formats[i].nick, formats[i].suffixes);
}
