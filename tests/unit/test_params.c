/*
 * test_params.c - whole Submits against a small catalogue: every way a value can be written, every way it can
 * be wrong, and the very line the user gets to read.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/params.h"
#include "tests/unit/runner.h"

#define T(s) ((char *)(uintptr_t)(s))

/* ---- a catalogue ---- */

#define PARAM(nm, ty, ...)                                                                                   \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__param_info__descriptor), .name = T(nm),                        \
        .type = PWC__PARAM_TYPE__PARAM_##ty, .summary = T(""), .def = T(""), .unit = T(""), __VA_ARGS__      \
    }
#define CHOICE(nm)                                                                                           \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__choice__descriptor), .nick = T(nm), .summary = T("")           \
    }
#define ROLE(nm, d, opt)                                                                                     \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__role_info__descriptor), .name = T(nm),                         \
        .dir = PWC__ROLE_DIR__ROLE_##d, .optional = opt, .summary = T("")                                    \
    }

static Pwc__Choice horizontal = CHOICE("horizontal"), vertical = CHOICE("vertical");
static Pwc__Choice *directions[] = {&horizontal, &vertical};
static Pwc__ParamInfo all_types[] = {
    PARAM("sigma", FLOAT, .min = 0, .max = 1000, .required = true),
    PARAM("width", INT, .min = 1, .max = 10000000),
    PARAM("offset", INT),
    PARAM("seed", UINT),
    PARAM("linear", BOOL),
    PARAM("profile", STRING),
    PARAM("direction", ENUM, .choices = directions, .n_choices = 2),
    PARAM("keep", FLAGS, .choices = directions, .n_choices = 2),
    PARAM("background", FLOATS, .min = 0, .max = 255),
    PARAM("area", INTS),
    PARAM("ratio", FLOAT, .min = -0.5, .max = 1e20),
};
static Pwc__ParamInfo *blur_params[ARRAY_LEN(all_types)];
static Pwc__RoleInfo in = ROLE("in", IN, false), out = ROLE("out", OUT, false), mask = ROLE("mask", IN, true);
static Pwc__RoleInfo *blur_roles[] = {&in, &out, &mask}, *sum_roles[] = {&in};
static Pwc__ParamInfo noop_n = PARAM("n", UINT), save_q = PARAM("Q", INT, .min = 1, .max = 100),
                      load_page = PARAM("page", INT, .min = 0, .max = 100000), load_n = PARAM("n", INT, .min = -1, .max = 100),
                      load_shrink = PARAM("shrink", INT, .min = 1, .max = 16);
static Pwc__ParamInfo *noop_params[] = {&noop_n}, *jpeg_params[] = {&save_q}, *tiff_params[] = {&load_page, &load_n},
                      *load_jpeg_params[] = {&load_shrink};

#define OP(nm, ...)                                                                                          \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__op_info__descriptor), .name = T(nm), .version = T("8.14.1"),   \
        .summary = T(""), .count_param = T(""), .split = PWC__SPLIT__SPLIT_PLANNED, __VA_ARGS__              \
    }
static Pwc__OpInfo ops[] = {
    OP("image.gaussblur", .params = blur_params, .n_params = ARRAY_LEN(all_types), .roles = blur_roles,
       .n_roles = 3, .whole = true, .formats = true),
    OP("array.sum", .roles = sum_roles, .n_roles = 1),
    OP("noop", .params = noop_params, .n_params = 1),
    OP("save.png", .kind = PWC__OP_KIND__OP_SAVE),
    OP("save.jpeg", .kind = PWC__OP_KIND__OP_SAVE, .params = jpeg_params, .n_params = 1),
    OP("load.tiff", .kind = PWC__OP_KIND__OP_LOAD, .params = tiff_params, .n_params = 2),
    OP("load.jpeg", .kind = PWC__OP_KIND__OP_LOAD, .params = load_jpeg_params, .n_params = 1),
};
static Pwc__OpInfo *blur = &ops[0], *noop = &ops[2];
static struct catalogue *cat;

static void setup(void)
{
    uint8_t bytes[8192];
    size_t len = 0;
    char *error = NULL;
    noop->split = PWC__SPLIT__SPLIT_COUNT;
    noop->count_param = T("n");
    noop_n.def = T("1");
    for (size_t i = 0; i < ARRAY_LEN(all_types); i++)
        blur_params[i] = &all_types[i];
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        size_t n = pwc__op_info__pack(&ops[i], bytes + len + 4);
        for (unsigned k = 0; k < 4; k++)
            bytes[len + k] = (uint8_t)(n >> (8 * k));
        len += n + 4;
        ck_assert_uint_le(len, sizeof bytes);
    }
    cat = catalogue_parse(bytes, len, &error);
    ck_assert_msg(cat != NULL, "%s", error);
}

static void teardown(void)
{
    catalogue_free(cat);
}

/* ---- one value ---- */

static Pwc__Value str(const char *s)
{
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_STR;
    v.str = T(s);
    return v;
}
static Pwc__Value f64(double d)
{
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_F64;
    v.f64 = d;
    return v;
}
static Pwc__Value i64(int64_t i)
{
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_I64;
    v.i64 = i;
    return v;
}
static Pwc__Value u64(uint64_t u)
{
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_U64;
    v.u64 = u;
    return v;
}
static Pwc__Value blob(const char *data, size_t len)
{
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_BLOB;
    v.blob.data = (uint8_t *)T(data);
    v.blob.len = len;
    return v;
}

/* name = value beside the required sigma; the refusal in `why` when it fails. */
static struct params *check(const char *name, Pwc__Value value, struct refusal *why)
{
    Pwc__Value one = f64(1);
    Pwc__Param sigma = PWC__PARAM__INIT, given = PWC__PARAM__INIT, *list[] = {&given, &sigma};
    struct params *p = NULL;
    sigma.name = T("sigma");
    sigma.value = &one;
    given.name = T(name);
    given.value = &value;
    int r = params_check(blur, list, strcmp(name, "sigma") == 0 ? 1 : 2, "params", &p, why);
    ck_assert((r == 0) == (p != NULL));
    return p;
}

static void refused_value(const char *name, Pwc__Value value, const char *want)
{
    struct refusal why = {0};
    struct params *p = check(name, value, &why);
    ck_assert_msg(p == NULL, "accepted, instead of: %s", want);
    AUTO_FREE char *reason = xasprintf("%s: %s", name, want), *fld = xasprintf("params.%s", name);
    ck_assert_str_eq(why.reason, reason);
    ck_assert_str_eq(why.field, fld);
    ck_assert_int_eq(why.code, PWC__CODE__CODE_BAD_PARAM);
}

static void refused(const char *name, const char *text, const char *want)
{
    refused_value(name, str(text), want);
}

static struct params *accepted(const char *name, Pwc__Value value, Pwc__Value__KindCase kind, const Pwc__Value **ret)
{
    struct refusal why = {0};
    struct params *p = check(name, value, &why);
    ck_assert_msg(p != NULL, "%s", why.reason);
    *ret = params_get(p, name);
    ck_assert_ptr_nonnull(*ret);
    ck_assert_int_eq((*ret)->kind_case, kind);
    return p;
}

static void is_int(const char *name, Pwc__Value value, int64_t want)
{
    const Pwc__Value *v;
    struct params *p = accepted(name, value, PWC__VALUE__KIND_I64, &v);
    ck_assert_int_eq(v->i64, want);
    params_free(p);
}
static void is_uint(const char *name, Pwc__Value value, uint64_t want)
{
    const Pwc__Value *v;
    struct params *p = accepted(name, value, PWC__VALUE__KIND_U64, &v);
    ck_assert_uint_eq(v->u64, want);
    params_free(p);
}
static void is_float(const char *name, Pwc__Value value, double want)
{
    const Pwc__Value *v;
    struct params *p = accepted(name, value, PWC__VALUE__KIND_F64, &v);
    ck_assert(v->f64 >= want && v->f64 <= want);
    params_free(p);
}
static void is_bool(Pwc__Value value, bool want)
{
    const Pwc__Value *v;
    struct params *p = accepted("linear", value, PWC__VALUE__KIND_FLAG, &v);
    ck_assert_int_eq(v->flag, want);
    params_free(p);
}
static void is_text(const char *name, Pwc__Value value, const char *want)
{
    const Pwc__Value *v;
    struct params *p = accepted(name, value, PWC__VALUE__KIND_STR, &v);
    ck_assert_str_eq(v->str, want);
    params_free(p);
}

START_TEST(whole_numbers)
{
    is_int("width", str("256"), 256);
    is_int("width", str("0x100"), 256);
    is_int("width", str("+7"), 7);
    is_int("offset", str("-12"), -12);
    is_int("offset", str("-9223372036854775808"), INT64_MIN);
    is_int("offset", str("9223372036854775807"), INT64_MAX);
    is_int("offset", str("010"), 10);
    is_int("width", i64(5), 5);
    is_int("width", u64(5), 5);
    is_int("width", f64(5), 5);
    refused("width", "2.5", "\"2.5\" is not a whole number");
    refused("width", "", "\"\" is not a whole number");
    refused("width", " 5", "\" 5\" is not a whole number");
    refused("width", "5 ", "\"5 \" is not a whole number");
    refused("width", "5K", "\"5K\" is not a whole number");
    refused("width", "0x", "\"0x\" is not a whole number");
    refused("width", "-", "\"-\" is not a whole number");
    refused("width", "--5", "\"--5\" is not a whole number");
    refused("width", "0", "0 is out of range, 1 to 10000000");
    refused("width", "10000001", "10000001 is out of range, 1 to 10000000");
    refused("offset", "9223372036854775808", "9223372036854775808 is out of range: it does not fit 64 bits");
    refused("offset", "-9223372036854775809", "-9223372036854775809 is out of range: it does not fit 64 bits");
    refused("offset", "99999999999999999999", "99999999999999999999 is out of range: it does not fit 64 bits");
    refused_value("offset", u64(UINT64_MAX), "18446744073709551615 is out of range: it does not fit 64 bits");
    refused_value("width", f64(2.5), "is a fraction; it must be a whole number");
    refused_value("width", f64((double)NAN), "is a fraction; it must be a whole number");
    refused_value("width", f64(1e30), "is a fraction; it must be a whole number");
    refused("width", "\033[31m", "\"?[31m\" is not a whole number");
}
END_TEST

START_TEST(counts)
{
    is_uint("seed", str("18446744073709551615"), UINT64_MAX);
    is_uint("seed", str("0xffffffffffffffff"), UINT64_MAX);
    is_uint("seed", str("-0"), 0);
    is_uint("seed", i64(7), 7);
    is_uint("seed", f64(7), 7);
    is_uint("seed", u64(UINT64_MAX), UINT64_MAX);
    refused("seed", "-1", "-1 is negative; it must be 0 or more");
    refused_value("seed", i64(-1), "-1 is negative; it must be 0 or more");
    refused_value("seed", f64(-3), "-3 is negative; it must be 0 or more");
    refused("seed", "18446744073709551616", "18446744073709551616 is out of range: it does not fit 64 bits");
    refused("seed", "x", "\"x\" is not a whole number, not negative");
}
END_TEST

START_TEST(fractions)
{
    Pwc__Value flag = PWC__VALUE__INIT;
    flag.kind_case = PWC__VALUE__KIND_FLAG;
    is_float("sigma", str("8"), 8);
    is_float("sigma", str("0.5"), 0.5);
    is_float("sigma", str(".5"), 0.5);
    is_float("sigma", str("1e2"), 100);
    is_float("sigma", str("1E+2"), 100);
    is_float("ratio", str("-.25"), -0.25);
    is_float("sigma", str("1000"), 1000);
    is_float("sigma", str("0"), 0);
    is_float("sigma", i64(3), 3);
    is_float("sigma", u64(3), 3);
    refused("sigma", "2000", "2000 is out of range, 0 to 1000");
    refused("sigma", "-1", "-1 is out of range, 0 to 1000");
    refused("sigma", "1000.0000001", "1000.0000001 is out of range, 0 to 1000");
    refused("ratio", "-1", "-1 is out of range, -0.5 to 1e+20");
    refused("sigma", "abc", "\"abc\" is not a number");
    refused("sigma", "nan", "\"nan\" is not a number");
    refused("sigma", "inf", "\"inf\" is not a number");
    refused("sigma", "0x10", "\"0x10\" is not a number");
    refused("sigma", "1e999", "1e999 is too large for a number");
    refused("sigma", "1,5", "\"1,5\" is not a number");
    refused("sigma", ".", "\".\" is not a number");
    refused_value("sigma", f64((double)NAN), "not-a-number is not allowed; it must be a finite number");
    refused_value("sigma", f64((double)INFINITY), "infinity is not allowed; it must be a finite number");
    refused_value("sigma", flag, "is true or false; it must be a number");
    refused_value("sigma", (Pwc__Value)PWC__VALUE__INIT, "has no value; give a number");
}
END_TEST

START_TEST(booleans)
{
    static const char *const yes[] = {"true", "yes", "1", "on", "TRUE"}, *const no[] = {"false", "no", "0", "off"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        is_bool(str(yes[i]), true);
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        is_bool(str(no[i]), false);
    is_bool(i64(1), true);
    is_bool(u64(0), false);
    refused("linear", "maybe", "\"maybe\" is not true or false");
    refused_value("linear", i64(2), "is a whole number; it must be true or false");
    refused_value("linear", f64(1), "is a fraction; it must be true or false");
}
END_TEST

START_TEST(texts)
{
    char longest[PARAM_STRING_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[PARAM_STRING_MAX] = '\0';
    is_text("profile", str("srgb"), "srgb");
    is_text("profile", str(""), "");
    is_text("profile", str("caf\xc3\xa9"), "caf\xc3\xa9");
    is_text("profile", str(longest), longest);
    is_text("profile", blob("ab", 2), "ab");
    is_text("profile", blob(NULL, 0), "");
    longest[PARAM_STRING_MAX] = 'x';
    longest[PARAM_STRING_MAX + 1] = '\0';
    refused("profile", longest, "has 4097 bytes; at most 4096 are taken");
    refused_value("profile", blob("a\0b", 3), "holds a NUL byte; a text cannot");
    refused_value("profile", i64(1), "is a whole number; it must be a text");
}
END_TEST

START_TEST(choices)
{
    is_text("direction", str("vertical"), "vertical");
    is_text("keep", str("vertical, horizontal"), "vertical,horizontal");
    is_text("keep", str("horizontal vertical"), "horizontal,vertical");
    is_text("keep", str(""), "");
    refused("direction", "vertcal", "\"vertcal\" is unknown; did you mean vertical? (horizontal, vertical)");
    refused("direction", "Vertical", "\"Vertical\" is unknown; did you mean vertical? (horizontal, vertical)");
    refused("direction", "zzz", "\"zzz\" is unknown; it must be one of horizontal, vertical");
    refused("direction", "", "\"\" is unknown; it must be one of horizontal, vertical");
    refused("keep", "horizontal,x", "\"x\" is unknown; it must be one of horizontal, vertical");
    refused_value("direction", i64(0), "is a whole number; it must be one of its words");
    refused_value("keep", i64(0), "is a whole number; it must be some of its words, like a,b");
}
END_TEST

static void is_floats(Pwc__Value value, const double *want, size_t n)
{
    const Pwc__Value *v;
    struct params *p = accepted("background", value, PWC__VALUE__KIND_F64S, &v);
    ck_assert_uint_eq(v->f64s->n_v, n);
    ck_assert_mem_eq(v->f64s->v, want, n * sizeof *want);
    params_free(p);
}

START_TEST(lists)
{
    static const double rgb[] = {1, 2.5, 255};
    static const int64_t box[] = {-1, 2, INT64_MAX};
    Pwc__F64List fl = PWC__F64_LIST__INIT;
    Pwc__I64List il = PWC__I64_LIST__INIT;
    Pwc__Value floats = PWC__VALUE__INIT, ints = PWC__VALUE__INIT;
    const Pwc__Value *v;
    floats.kind_case = PWC__VALUE__KIND_F64S;
    floats.f64s = &fl;
    fl.v = (double *)(uintptr_t)rgb;
    fl.n_v = 3;
    ints.kind_case = PWC__VALUE__KIND_I64S;
    ints.i64s = &il;
    il.v = (int64_t *)(uintptr_t)box;
    il.n_v = 3;
    is_floats(str("1,2.5,255"), rgb, 3);
    is_floats(str("1 2.5  255"), rgb, 3);
    is_floats(str(" 1, 2.5, 255 "), rgb, 3);
    is_floats(floats, rgb, 3);
    is_floats(f64(1), rgb, 1);
    is_floats(i64(1), rgb, 1);
    struct params *p = accepted("area", ints, PWC__VALUE__KIND_I64S, &v);
    ck_assert_mem_eq(v->i64s->v, box, sizeof box);
    params_free(p);
    refused("background", "1,256", "256 is out of range, 0 to 255");
    refused("background", "", "is empty; give numbers like 1,2.5,3");
    refused("background", " , ", "is empty; give numbers like 1,2.5,3");
    refused("background", "1,x", "\"x\" is not a number");
    refused("area", "1,2.5", "\"2.5\" is not a whole number");
    refused_value("background", ints, "-1 is out of range, 0 to 255");
    refused_value("area", floats, "is a fraction; it must be a whole number");
    fl.n_v = 0;
    fl.v = NULL;
    refused_value("background", floats, "is empty; give numbers like 1,2.5,3");
    char many[2 * 1001 + 1];
    for (size_t i = 0; i < 1001; i++)
        memcpy(many + 2 * i, "1,", 3);
    refused("background", many, "has more than 1000 numbers");
}
END_TEST

/* ---- the list of parameters ---- */

static void list_refused(const Pwc__OpInfo *op, Pwc__Param **given, size_t n, Pwc__Code code, const char *field,
                         const char *reason)
{
    struct refusal why = {0};
    struct params *p;
    ck_assert_int_eq(params_check(op, given, n, "params", &p, &why), -EINVAL);
    ck_assert_str_eq(why.reason, reason);
    ck_assert_str_eq(why.field, field);
    ck_assert_int_eq(why.code, code);
}

START_TEST(which_parameters)
{
    Pwc__Value v = str("1");
    Pwc__Param a = PWC__PARAM__INIT, b = PWC__PARAM__INIT, *list[PWC_PARAMS_MAX + 1] = {&a, &b};
    a.name = T("sigma");
    a.value = b.value = &v;
    b.name = T("sigmma");
    list_refused(blur, list, 2, PWC__CODE__CODE_NO_SUCH_PARAM, "params.sigmma",
                 "sigmma: image.gaussblur has no such parameter; did you mean sigma?");
    b.name = T("quux");
    list_refused(blur, list, 2, PWC__CODE__CODE_NO_SUCH_PARAM, "params.quux",
                 "quux: image.gaussblur has no such parameter; it has sigma, width, offset, seed, linear, profile, "
                 "direction, keep, background, area, ratio");
    list_refused(&ops[1], list, 1, PWC__CODE__CODE_NO_SUCH_PARAM, "params.sigma",
                 "sigma: array.sum takes no parameters");
    b.name = T("sigma");
    list_refused(blur, list, 2, PWC__CODE__CODE_BAD_PARAM, "params.sigma", "sigma: is given twice");
    list_refused(blur, list, 0, PWC__CODE__CODE_BAD_PARAM, "params.sigma",
                 "sigma: is missing; image.gaussblur needs a number");
    b.name = T("a\nb\x80");
    list_refused(noop, list + 1, 1, PWC__CODE__CODE_NO_SUCH_PARAM, "params.a?b?",
                 "a?b?: noop has no such parameter; it has n");
    b.name = T("");
    list_refused(noop, list + 1, 1, PWC__CODE__CODE_NO_SUCH_PARAM, "params.", ": noop has no such parameter; it has n");
    for (size_t i = 0; i <= PWC_PARAMS_MAX; i++)
        list[i] = &a;
    list_refused(blur, list, PWC_PARAMS_MAX + 1, PWC__CODE__CODE_BAD_PARAM, "params.sigma",
                 "params: 65 are given; at most 64 are taken");
}
END_TEST

/* Typed lists can be larger than the text: what would not fit a JobOpen is refused here. */
START_TEST(typed_values_must_fit)
{
    char many[2 * 1000 + 1];
    for (size_t i = 0; i < 1000; i++)
        memcpy(many + 2 * i, "1,", 3);
    Pwc__ParamInfo two[] = {PARAM("a", FLOATS, .min = 0), PARAM("b", FLOATS, .min = 0)}, *infos[] = {&two[0], &two[1]};
    Pwc__OpInfo op = OP("x", .params = infos, .n_params = 2);
    Pwc__Value v = str(many);
    Pwc__Param a = PWC__PARAM__INIT, b = PWC__PARAM__INIT, *list[] = {&a, &b};
    struct params *p;
    struct refusal why;
    a.name = T("a");
    b.name = T("b");
    a.value = b.value = &v;
    ck_assert_int_eq(params_check(&op, list, 1, "params", &p, &why), 0);
    params_free(p);
    ck_assert_int_eq(params_check(&op, list, 2, "params", &p, &why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why.reason, "at most 12288 fit a job"));
}
END_TEST

/* ---- whole submits ---- */

struct request {
    Pwc__Submit m;
    Pwc__RoleDecl role[PWC_ROLES_MAX + 1], *roles[PWC_ROLES_MAX + 1];
    Pwc__Param param[4], *params[4], *save[1], *load[2];
    Pwc__Value value[4];
    Pwc__Policy policy;
};

static void add_role(struct request *q, const char *name)
{
    Pwc__RoleDecl *r = &q->role[q->m.n_roles];
    pwc__role_decl__init(r);
    r->name = T(name);
    r->count = 1;
    q->roles[q->m.n_roles++] = r;
}

static Pwc__Param *param(struct request *q, size_t i, const char *name, const char *text)
{
    pwc__param__init(&q->param[i]);
    q->value[i] = str(text);
    q->param[i].name = T(name);
    q->param[i].value = &q->value[i];
    return &q->param[i];
}

/* A blur as it should be: sigma=8, in, out, jpeg. */
static void request_blur(struct request *q)
{
    *q = (struct request){.m = PWC__SUBMIT__INIT, .policy = PWC__POLICY__INIT};
    q->m.op = T("image.gaussblur");
    q->m.format = T("jpeg");
    q->m.items = 1;
    q->m.roles = q->roles;
    add_role(q, "in");
    add_role(q, "out");
    q->params[0] = param(q, 0, "sigma", "8");
    q->m.params = q->params;
    q->m.n_params = 1;
    q->m.save = q->save;
    q->m.load = q->load;
    q->m.policy = &q->policy;
    q->policy.set = true;
}

static void request_noop(struct request *q, const char *n)
{
    *q = (struct request){.m = PWC__SUBMIT__INIT};
    q->m.op = T("noop");
    q->params[0] = param(q, 0, "n", n);
    q->m.params = q->params;
    q->m.n_params = 1;
    q->m.roles = q->roles;
}

static void ok(const struct request *q, struct submission *ret)
{
    struct refusal why = {0};
    int r = submit_check(cat, &q->m, ret, &why);
    ck_assert_msg(r == 0, "%s", why.reason);
}

static void fine(const struct request *q)
{
    struct submission s;
    ok(q, &s);
    submission_free(&s);
}

static void wrong(const struct request *q, Pwc__Code code, const char *field, const char *reason)
{
    struct submission s;
    struct refusal why = {0};
    ck_assert_msg(submit_check(cat, &q->m, &s, &why) < 0, "accepted, instead of: %s", reason);
    ck_assert_str_eq(why.reason, reason);
    ck_assert_str_eq(why.field, field);
    ck_assert_int_eq(why.code, code);
}

START_TEST(a_good_one)
{
    struct request q;
    struct submission s;
    request_blur(&q);
    q.save[0] = param(&q, 1, "Q", "90");
    q.m.n_save = 1;
    q.load[0] = param(&q, 2, "page", "2");
    q.m.n_load = 1;
    ok(&q, &s);
    ck_assert_str_eq(s.op->info->name, "image.gaussblur");
    ck_assert_uint_eq(s.chunks, 0);
    ck_assert(!s.batch);
    ck_assert(params_get(s.params, "sigma")->f64 > 7.9);
    ck_assert_int_eq(params_get(s.save, "Q")->i64, 90);
    ck_assert_int_eq(params_get(s.load, "page")->i64, 2);
    ck_assert_uint_eq(s.params->n, 1);
    submission_free(&s);
    add_role(&q, "mask");
    fine(&q);
}
END_TEST

START_TEST(which_op)
{
    struct request q;
    request_blur(&q);
    q.m.op = T("image.gausblur");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"image.gausblur\"; did you mean image.gaussblur?");
    q.m.op = T("qqqqqqq");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"qqqqqqq\"; pwcctl ops lists them");
    q.m.op = T("save.png");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: \"save.png\" only describes options; it cannot be run");
    q.m.op = T("");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"\"; pwcctl ops lists them");
}
END_TEST

START_TEST(roles)
{
    struct request q;
    request_blur(&q);
    q.roles[0]->name = T("input");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.input",
          "image.gaussblur has no role input; its roles: in, out, mask");
    request_blur(&q);
    q.m.n_roles = 0;
    q.m.items = 0;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.in", "image.gaussblur needs an input: role in");
    request_blur(&q);
    q.m.n_roles = 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.out", "image.gaussblur needs an output: role out");
    request_blur(&q);
    add_role(&q, "in");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.in", "role in is given twice");
    request_blur(&q);
    q.role[0].count = 2;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "roles.in", "role in: 2 descriptors; it takes one");
    request_blur(&q);
    q.m.n_roles = PWC_ROLES_MAX + 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles", "roles: 9 are given; at most 8 are taken");
    request_noop(&q, "5");
    add_role(&q, "in");
    q.m.items = 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.in", "noop has no role in; its roles: none");
}
END_TEST

START_TEST(items_and_batches)
{
    struct request q;
    struct submission s;
    request_blur(&q);
    q.m.items = 0;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: 0, but there are roles; 1 is a single job");
    q.m.items = 20000;
    ok(&q, &s);
    ck_assert(s.batch);
    ck_assert_uint_eq(s.chunks, 20000);
    submission_free(&s);
    q.m.items = 1;
    q.m.batch = true;
    ok(&q, &s);
    ck_assert(s.batch);
    ck_assert_uint_eq(s.chunks, 1);
    submission_free(&s);
    q.m.items = PWC_ITEMS_MAX + 1;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: 10000001 are out of range, 0 to 10000000");
    request_noop(&q, "5");
    q.m.items = 2;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: 2, but no roles say what they are");
    q.m.items = 0;
    q.m.batch = true;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "batch", "batch: there are no items");
    q = (struct request){.m = PWC__SUBMIT__INIT};
    q.m.op = T("array.sum");
    q.m.roles = q.roles;
    add_role(&q, "in");
    q.m.items = 1;
    fine(&q);
    q.m.items = 3;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: array.sum takes one input at a time, not a batch of 3");
}
END_TEST

START_TEST(formats)
{
    struct request q;
    request_blur(&q);
    q.m.format = T("");
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "format", "format: is missing; the output's descriptor does not say it");
    q.m.format = T("bmp");
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "format", "format: \"bmp\" cannot be written; it must be one of jpeg, png");
    request_noop(&q, "5");
    q.m.format = T("png");
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "format", "format: noop writes nothing that has a format");
    request_noop(&q, "5");
    q.save[0] = param(&q, 1, "Q", "90");
    q.m.save = q.save;
    q.m.n_save = 1;
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "save", "save: there are options, but no format they belong to");
}
END_TEST

START_TEST(options)
{
    struct request q;
    request_blur(&q);
    q.save[0] = param(&q, 1, "Q", "101");
    q.m.n_save = 1;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "save.Q", "save.Q: 101 is out of range, 1 to 100");
    q.m.format = T("png");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "save.Q", "save.Q: save.png takes no options");
    request_blur(&q);
    q.load[0] = param(&q, 1, "page", "-1");
    q.load[1] = param(&q, 2, "n", "1");
    q.m.n_load = 2;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "load.page", "load.page: -1 is out of range, 0 to 100000");
    q.load[0] = param(&q, 1, "shrink", "2");
    q.m.n_load = 1;
    fine(&q);
    q.m.n_load = 2; /* one of JPEG's, one of TIFF's: no file is both */
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "load", "load.shrink: no loader of image.gaussblur has these options");
    request_noop(&q, "5");
    q.load[0] = param(&q, 1, "page", "1");
    q.m.load = q.load;
    q.m.n_load = 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "load", "load.page: no loader of noop has these options");
}
END_TEST

START_TEST(chunk_counts)
{
    struct request q;
    struct submission s;
    request_noop(&q, "1000000000");
    ok(&q, &s);
    ck_assert_uint_eq(s.chunks, 1000000000);
    submission_free(&s);
    q.m.n_params = 0;
    ok(&q, &s);
    ck_assert_uint_eq(s.chunks, 1); /* the default */
    submission_free(&s);
    request_noop(&q, "0");
    ok(&q, &s);
    ck_assert_uint_eq(s.chunks, 0);
    submission_free(&s);
    request_noop(&q, "4611686018427387904");
    fine(&q);
    request_noop(&q, "4611686018427387905");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "params.n", "n: 4611686018427387905 is out of range, 0 to 4611686018427387904");
    request_noop(&q, "-5");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "params.n", "n: -5 is negative; it must be 0 or more");
}
END_TEST

START_TEST(other_fields)
{
    struct request q;
    static uint8_t key[33];
    request_blur(&q);
    q.m.op_version = T("8.14.1");
    fine(&q);
    q.m.op_version = T("9");
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "op_version", "op_version: image.gaussblur is 8.14.1 here, not 9");
    request_blur(&q);
    q.m.priority = 19;
    fine(&q);
    q.m.priority = 20;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "priority", "priority: out of range; it must be -20 (first) to 19");
    request_blur(&q);
    q.m.request_key = (ProtobufCBinaryData){32, key};
    fine(&q);
    q.m.request_key.len = 33;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "request_key", "request_key: out of range; it must be at most 32 bytes");
    request_blur(&q);
    q.m.domain = T("tenant-7");
    fine(&q);
    q.m.domain = T("a b");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "domain", "domain: holds a blank or a byte that is not ASCII");
    char longest[PWC_LABEL_MAX + 1];
    memset(longest, 'x', sizeof longest);
    longest[PWC_LABEL_MAX] = '\0';
    q.m.domain = longest;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "domain", "domain: has 64 bytes; at most 63 are taken");
    request_blur(&q);
    q.m.isolation = 3;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "isolation",
          "isolation: out of range; it must be 0 (user), 1 (job) or 2 (chunk)");
    request_blur(&q);
    q.m.on_disconnect = 3;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "on_disconnect",
          "on_disconnect: out of range; it must be 0 (cancel), 1 (linger) or 2 (detach)");
}
END_TEST

START_TEST(what_is_reserved)
{
    struct request q;
    uint64_t after = 5;
    Pwc__Label label = PWC__LABEL__INIT, *labels[] = {&label};
    request_blur(&q);
    q.m.after = &after;
    q.m.n_after = 1;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "after",
          "after: not supported by this version; submit when the other job has ended");
    request_blur(&q);
    q.m.labels = labels;
    q.m.n_labels = 1;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "labels", "labels: not supported by this version; leave them out");
    request_blur(&q);
    q.policy.halt = T("now,fail=1");
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "policy.halt",
          "policy.halt: not supported by this version; max_failures is");
    q.policy.set = false;
    fine(&q);
    request_blur(&q);
    q.policy.retries_crash = 101;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.retries",
          "policy.retries: out of range; it must be at most 100, or negative for the default");
    q.policy.retries_crash = -1;
    fine(&q);
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_SKIP;
    fine(&q);
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_FILL;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "policy.fill", "policy.fill: not supported by this version; fail and skip are");
}
END_TEST

/* Submits packed, broken and unpacked again: whatever parses gets an answer, and no reason is more than one line. */
START_TEST(garbage)
{
    struct request q;
    uint8_t bytes[1024], broken[1024];
    unsigned seed = 11, parsed = 0;
    request_blur(&q);
    q.save[0] = param(&q, 1, "Q", "90");
    q.m.n_save = 1;
    q.load[0] = param(&q, 2, "page", "2");
    q.m.n_load = 1;
    size_t n = pwc__submit__pack(&q.m, bytes);
    for (int round = 0; round < 100000; round++) {
        memcpy(broken, bytes, n);
        for (int i = 0; i < 1 + round % 3; i++) {
            seed = seed * 1103515245u + 12345u;
            broken[(seed >> 8) % n] = (uint8_t)(seed >> 24);
        }
        Pwc__Submit *m = pwc__submit__unpack(NULL, n, broken);
        struct submission s;
        struct refusal why = {0};
        if (m == NULL)
            continue;
        parsed++;
        if (submit_check(cat, m, &s, &why) == 0) {
            submission_free(&s);
        } else {
            ck_assert_int_ne(why.code, PWC__CODE__CODE_OK);
            ck_assert_int_gt((int)strlen(why.reason), 0);
            for (const char *p = why.reason; *p != '\0'; p++)
                ck_assert(*p >= 0x20 && *p < 0x7f);
        }
        pwc__submit__free_unpacked(m, NULL);
    }
    ck_assert_uint_gt(parsed, 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("params");
    TCase *t = tcase_create("values");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, whole_numbers);
    tcase_add_test(t, counts);
    tcase_add_test(t, fractions);
    tcase_add_test(t, booleans);
    tcase_add_test(t, texts);
    tcase_add_test(t, choices);
    tcase_add_test(t, lists);
    tcase_add_test(t, which_parameters);
    tcase_add_test(t, typed_values_must_fit);
    suite_add_tcase(s, t);
    t = tcase_create("submit");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_good_one);
    tcase_add_test(t, which_op);
    tcase_add_test(t, roles);
    tcase_add_test(t, items_and_batches);
    tcase_add_test(t, formats);
    tcase_add_test(t, options);
    tcase_add_test(t, chunk_counts);
    tcase_add_test(t, other_fields);
    tcase_add_test(t, what_is_reserved);
    tcase_add_test(t, garbage);
    suite_add_tcase(s, t);
    return run_suite(s);
}
