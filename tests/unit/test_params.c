/*
 * test_params.c - single values and lists of parameters: every way a value can be written, every way it can
 * be wrong, and the very line the user gets to read.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "tests/unit/small_catalogue.h"

/* ---- one value ---- */

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
    int r = params_check(BLUR, list, strcmp(name, "sigma") == 0 ? 1 : 2, "params", &p, why);
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

static struct params *accepted(const char *name, Pwc__Value value, Pwc__Value__KindCase kind,
                               const Pwc__Value **ret)
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
    refused("offset", "-9223372036854775809",
            "-9223372036854775809 is out of range: it does not fit 64 bits");
    refused("offset", "99999999999999999999",
            "99999999999999999999 is out of range: it does not fit 64 bits");
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
    static const char *const yes[] = {"true", "yes", "1", "on", "TRUE"}, *const no[] = {"false", "no", "0",
                                                                                        "off"};
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
    refused("direction", "Vertical",
            "\"Vertical\" is unknown; did you mean vertical? (horizontal, vertical)");
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

static void list_refused(const Pwc__OpInfo *op, Pwc__Param **given, size_t n, Pwc__Code code,
                         const char *field, const char *reason)
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
    list_refused(BLUR, list, 2, PWC__CODE__CODE_NO_SUCH_PARAM, "params.sigmma",
                 "sigmma: image.gaussblur has no such parameter; did you mean sigma?");
    b.name = T("quux");
    list_refused(
        BLUR, list, 2, PWC__CODE__CODE_NO_SUCH_PARAM, "params.quux",
        "quux: image.gaussblur has no such parameter; it has sigma, width, offset, seed, linear, profile, "
        "direction, keep, background, area, ratio");
    list_refused(&ops[1], list, 1, PWC__CODE__CODE_NO_SUCH_PARAM, "params.sigma",
                 "sigma: array.sum takes no parameters");
    b.name = T("sigma");
    list_refused(BLUR, list, 2, PWC__CODE__CODE_BAD_PARAM, "params.sigma", "sigma: is given twice");
    list_refused(BLUR, list, 0, PWC__CODE__CODE_BAD_PARAM, "params.sigma",
                 "sigma: is missing; image.gaussblur needs a number");
    b.name = T("a\nb\x80");
    list_refused(NOOP, list + 1, 1, PWC__CODE__CODE_NO_SUCH_PARAM, "params.a?b?",
                 "a?b?: noop has no such parameter; it has n");
    b.name = T("");
    list_refused(NOOP, list + 1, 1, PWC__CODE__CODE_NO_SUCH_PARAM, "params.",
                 ": noop has no such parameter; it has n");
    for (size_t i = 0; i <= PWC_PARAMS_MAX; i++)
        list[i] = &a;
    list_refused(BLUR, list, PWC_PARAMS_MAX + 1, PWC__CODE__CODE_BAD_PARAM, "params.sigma",
                 "sigma: is one too many; 65 parameters are given, at most 64 are taken");
}
END_TEST

/* Typed lists can be larger than the text: what would not fit a JobOpen is refused here. */
START_TEST(typed_values_must_fit)
{
    char many[2 * 1000 + 1];
    for (size_t i = 0; i < 1000; i++)
        memcpy(many + 2 * i, "1,", 3);
    Pwc__ParamInfo two[] = {PARAM("a", FLOATS, .min = 0), PARAM("b", FLOATS, .min = 0)},
                   *infos[] = {&two[0], &two[1]};
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
    ck_assert_str_eq(why.field, "params.a"); /* the first of equals */
    ck_assert_str_eq(why.reason,
                     "a: takes 8016 bytes, all parameters together 16032; at most 12288 fit a job");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("params");
    TCase *t = tcase_create("params");
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
    return run_suite(s);
}
