/*
 * values.c - see values.h. Comparisons with the catalogue's double bounds are made in long double, which
 * holds every 64-bit integer.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/nearest.h"
#include "daemon/numbers.h"
#include "daemon/params.h"
#include "daemon/values.h"

#define SHOWN_MAX 64u /* of a stranger's text in a message */

const char *param_type_name(Pwc__ParamType type)
{
    static const char *const names[] = {
        [PWC__PARAM_TYPE__PARAM_INT] = "a whole number",
        [PWC__PARAM_TYPE__PARAM_UINT] = "a whole number, not negative",
        [PWC__PARAM_TYPE__PARAM_FLOAT] = "a number",
        [PWC__PARAM_TYPE__PARAM_BOOL] = "true or false",
        [PWC__PARAM_TYPE__PARAM_STRING] = "a text",
        [PWC__PARAM_TYPE__PARAM_ENUM] = "one of its words",
        [PWC__PARAM_TYPE__PARAM_FLOATS] = "numbers like 1,2.5,3",
        [PWC__PARAM_TYPE__PARAM_INTS] = "whole numbers like 1,2,3",
        [PWC__PARAM_TYPE__PARAM_FLAGS] = "some of its words, like a,b",
    };
    return (unsigned)type < ARRAY_LEN(names) ? names[type] : "nothing this daemon knows";
}

/* ---- refusing ---- */

static int refuse(struct value_error *why, const char *fmt, ...) PRINTF(2, 3);
static int refuse(struct value_error *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, ap);
    va_end(ap);
    why->code = PWC__CODE__CODE_BAD_PARAM;
    return -EINVAL;
}

static const char *kind_name(const Pwc__Value *v)
{
    static const char *const names[] = {
        [PWC__VALUE__KIND_I64] = "a whole number",
        [PWC__VALUE__KIND_U64] = "a whole number",
        [PWC__VALUE__KIND_I128] = "an i128",
        [PWC__VALUE__KIND_F64] = "a fraction",
        [PWC__VALUE__KIND_BLOB] = "bytes",
        [PWC__VALUE__KIND_STR] = "a text",
        [PWC__VALUE__KIND_FLAG] = "true or false",
        [PWC__VALUE__KIND_F64S] = "a list of numbers",
        [PWC__VALUE__KIND_I64S] = "a list of whole numbers",
    };
    unsigned k = (unsigned)v->kind_case;
    return k < ARRAY_LEN(names) && names[k] != NULL ? names[k] : "no value";
}

static int wrong_type(const Pwc__ParamInfo *info, const Pwc__Value *given, struct value_error *why)
{
    return refuse(why, "is %s; it must be %s", kind_name(given), param_type_name(info->type));
}

static int wrong_text(const Pwc__ParamInfo *info, const char *text, struct value_error *why)
{
    char shown[SHOWN_MAX];
    return refuse(why, "\"%s\" is not %s", printable(text, shown, sizeof shown), param_type_name(info->type));
}

/* "1000", "0.5", "1e+300": whole numbers in full as far as 64 bits go. */
static void number_text(long double v, char out[40])
{
    if (v == floorl(v) && fabsl(v) < 18446744073709551616.0L)
        snprintf(out, 40, "%.0Lf", v);
    else
        snprintf(out, 40, "%.12Lg", v);
}

static bool in_range(const Pwc__ParamInfo *info, long double v)
{
    return (info->min == 0 && info->max == 0) || (v >= (long double)info->min && v <= (long double)info->max);
}

static int out_of_range(const Pwc__ParamInfo *info, const char *shown, struct value_error *why)
{
    char min[40], max[40];
    number_text((long double)info->min, min);
    number_text((long double)info->max, max);
    return refuse(why, "%s is out of range, %s to %s", shown, min, max);
}

/* ---- single numbers ---- */

static int too_large(const char *text, struct value_error *why)
{
    char shown[SHOWN_MAX];
    return refuse(why, "%s is out of range: it does not fit 64 bits", printable(text, shown, sizeof shown));
}

static int negative_count(const char *shown, struct value_error *why)
{
    return refuse(why, "%s is negative; it must be 0 or more", shown);
}

/* A client whose language knows only floating point may send whole numbers as such. */
static bool whole_double(double d, int64_t *ret)
{
    if (!(d >= -9007199254740992.0 && d <= 9007199254740992.0) || d != floor(d))
        return false;
    *ret = (int64_t)d;
    return true;
}

static int check_int(const Pwc__ParamInfo *info, const Pwc__Value *given, int64_t *ret,
                     struct value_error *why)
{
    int r = 0;
    int64_t v = 0;
    switch (given->kind_case) {
    case PWC__VALUE__KIND_I64:
        v = given->i64;
        break;
    case PWC__VALUE__KIND_U64:
        if (given->u64 > INT64_MAX)
            return refuse(why, "%ju is out of range: it does not fit 64 bits", (uintmax_t)given->u64);
        v = (int64_t)given->u64;
        break;
    case PWC__VALUE__KIND_F64:
        if (!whole_double(given->f64, &v))
            return wrong_type(info, given, why);
        break;
    case PWC__VALUE__KIND_STR:
        r = number_int(given->str, &v);
        if (r < 0)
            return r == -ERANGE ? too_large(given->str, why) : wrong_text(info, given->str, why);
        break;
    default:
        return wrong_type(info, given, why);
    }
    if (!in_range(info, (long double)v)) {
        char shown[40];
        snprintf(shown, sizeof shown, "%jd", (intmax_t)v);
        return out_of_range(info, shown, why);
    }
    *ret = v;
    return 0;
}

static int check_uint(const Pwc__ParamInfo *info, const Pwc__Value *given, uint64_t *ret,
                      struct value_error *why)
{
    char shown[40];
    uint64_t v = 0;
    int64_t i = 0;
    if (given->kind_case == PWC__VALUE__KIND_U64) {
        v = given->u64;
    } else if (given->kind_case == PWC__VALUE__KIND_STR) {
        int r = number_uint(given->str, &v);
        if (r == -ERANGE)
            return given->str[0] == '-' ? negative_count(printable(given->str, shown, sizeof shown), why)
                                        : too_large(given->str, why);
        if (r < 0)
            return wrong_text(info, given->str, why);
    } else if (given->kind_case == PWC__VALUE__KIND_I64 ||
               (given->kind_case == PWC__VALUE__KIND_F64 && whole_double(given->f64, &i))) {
        i = given->kind_case == PWC__VALUE__KIND_I64 ? given->i64 : i;
        if (i < 0) {
            snprintf(shown, sizeof shown, "%jd", (intmax_t)i);
            return negative_count(shown, why);
        }
        v = (uint64_t)i;
    } else {
        return wrong_type(info, given, why);
    }
    if (!in_range(info, (long double)v)) {
        snprintf(shown, sizeof shown, "%ju", (uintmax_t)v);
        return out_of_range(info, shown, why);
    }
    *ret = v;
    return 0;
}

static int check_float(const Pwc__ParamInfo *info, const Pwc__Value *given, double *ret,
                       struct value_error *why)
{
    char shown[40];
    double v = 0;
    int r = 0;
    switch (given->kind_case) {
    case PWC__VALUE__KIND_F64:
        v = given->f64;
        break;
    case PWC__VALUE__KIND_I64:
        v = (double)given->i64;
        break;
    case PWC__VALUE__KIND_U64:
        v = (double)given->u64;
        break;
    case PWC__VALUE__KIND_STR:
        r = number_float(given->str, &v);
        if (r < 0)
            return r == -ERANGE ? refuse(why, "%s is too large for a number",
                                         printable(given->str, shown, sizeof shown))
                                : wrong_text(info, given->str, why);
        break;
    default:
        return wrong_type(info, given, why);
    }
    if (!isfinite(v))
        return refuse(why, "%s is not allowed; it must be a finite number",
                      isnan(v) ? "not-a-number" : "infinity");
    if (!in_range(info, (long double)v)) {
        number_text((long double)v, shown);
        return out_of_range(info, shown, why);
    }
    *ret = v;
    return 0;
}

static int check_bool(const Pwc__ParamInfo *info, const Pwc__Value *given, protobuf_c_boolean *ret,
                      struct value_error *why)
{
    static const char *const words[] = {"false", "true", "no", "yes", "0", "1", "off", "on"};
    switch (given->kind_case) {
    case PWC__VALUE__KIND_FLAG:
        *ret = given->flag != 0;
        return 0;
    case PWC__VALUE__KIND_I64:
    case PWC__VALUE__KIND_U64:
        /* A u64 above INT64_MAX reads as negative here, and is refused like any other. */
        if (given->i64 != 0 && given->i64 != 1)
            return wrong_type(info, given, why);
        *ret = given->i64 == 1;
        return 0;
    case PWC__VALUE__KIND_STR:
        for (unsigned i = 0; i < ARRAY_LEN(words); i++)
            if (strcasecmp(given->str, words[i]) == 0) {
                *ret = i % 2;
                return 0;
            }
        return wrong_text(info, given->str, why);
    default:
        return wrong_type(info, given, why);
    }
}

/* ---- text ---- */

static int take_text(const Pwc__ParamInfo *info, const Pwc__Value *given, char **ret, struct value_error *why)
{
    const char *text;
    size_t len;
    if (given->kind_case == PWC__VALUE__KIND_STR) {
        text = given->str;
        len = strlen(text);
    } else if (given->kind_case == PWC__VALUE__KIND_BLOB) {
        text = (const char *)given->blob.data;
        len = given->blob.len;
    } else {
        return wrong_type(info, given, why);
    }
    if (len > PARAM_STRING_MAX)
        return refuse(why, "has %zu bytes; at most %u are taken", len, PARAM_STRING_MAX);
    if (len > 0 && memchr(text, '\0', len) != NULL)
        return refuse(why, "holds a NUL byte; a text cannot");
    char *copy = xcalloc(len + 1, 1);
    if (len > 0)
        memcpy(copy, text, len);
    *ret = copy;
    return 0;
}

/* All words, cut where the message ends: "horizontal, vertical". */
static void list_choices(const Pwc__ParamInfo *info, char *out, size_t size)
{
    size_t n = 0;
    *out = '\0';
    for (size_t i = 0; i < info->n_choices; i++) {
        int m = snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", info->choices[i]->nick);
        if (m < 0 || (size_t)m >= size - n) {
            snprintf(out + n, size - n, i > 0 ? " ..." : "");
            return;
        }
        n += (size_t)m;
    }
}

static const char *find_choice(const Pwc__ParamInfo *info, const char *word, struct value_error *why)
{
    char shown[SHOWN_MAX], all[300];
    struct nearest near = nearest_to(word);
    for (size_t i = 0; i < info->n_choices; i++) {
        if (strcmp(info->choices[i]->nick, word) == 0)
            return info->choices[i]->nick;
        nearest_try(&near, info->choices[i]->nick);
    }
    printable(word, shown, sizeof shown);
    list_choices(info, all, sizeof all);
    if (near.best != NULL)
        refuse(why, "\"%s\" is unknown; did you mean %s? (%s)", shown, near.best, all);
    else
        refuse(why, "\"%s\" is unknown; it must be one of %s", shown, all);
    return NULL;
}

/* Cuts the next word off a list divided by commas, blanks or both; NULL at the end. */
static char *next_word(char **rest)
{
    char *p = *rest + strspn(*rest, ", \t");
    if (*p == '\0')
        return NULL;
    char *end = p + strcspn(p, ", \t");
    *rest = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return p;
}

static int check_enum(const Pwc__ParamInfo *info, const Pwc__Value *given, char **ret,
                      struct value_error *why)
{
    if (given->kind_case != PWC__VALUE__KIND_STR)
        return wrong_type(info, given, why);
    const char *nick = find_choice(info, given->str, why);
    if (nick == NULL)
        return -EINVAL;
    *ret = xstrdup(nick);
    return 0;
}

static int check_flags(const Pwc__ParamInfo *info, const Pwc__Value *given, char **ret,
                       struct value_error *why)
{
    if (given->kind_case != PWC__VALUE__KIND_STR)
        return wrong_type(info, given, why);
    AUTO_FREE char *words = xstrdup(given->str);
    AUTO_FREE char *out = xcalloc(strlen(words) + 1, 1);
    char *rest = words;
    size_t n = 0;
    for (const char *w; (w = next_word(&rest)) != NULL;) {
        const char *nick = find_choice(info, w, why);
        if (nick == NULL)
            return -EINVAL;
        if (n > 0)
            out[n++] = ',';
        memcpy(out + n, nick, strlen(nick));
        n += strlen(nick);
    }
    *ret = TAKE_PTR(out);
    return 0;
}

/* ---- lists ---- */

/* An item goes through the check of its own type, so that ranges and texts are the same. */
static void item_of(const Pwc__Value *given, size_t i, char *word, Pwc__Value *ret)
{
    *ret = (Pwc__Value)PWC__VALUE__INIT;
    if (word != NULL) {
        ret->kind_case = PWC__VALUE__KIND_STR;
        ret->str = word;
    } else if (given->kind_case == PWC__VALUE__KIND_F64S) {
        ret->kind_case = PWC__VALUE__KIND_F64;
        ret->f64 = given->f64s->v[i];
    } else if (given->kind_case == PWC__VALUE__KIND_I64S) {
        ret->kind_case = PWC__VALUE__KIND_I64;
        ret->i64 = given->i64s->v[i];
    } else {
        *ret = *given;
    }
}

static size_t list_length(const Pwc__Value *given)
{
    switch (given->kind_case) {
    case PWC__VALUE__KIND_F64S:
        return given->f64s->n_v;
    case PWC__VALUE__KIND_I64S:
        return given->i64s->n_v;
    case PWC__VALUE__KIND_STR:
        return strlen(given->str) / 2 + 1;
    default:
        return 1;
    }
}

/* Where the checked items go: one of the two. */
struct list {
    double *f;
    int64_t *i;
    size_t n;
};

static int append(const Pwc__ParamInfo *info, const Pwc__Value *item, struct list *list,
                  struct value_error *why)
{
    Pwc__ParamInfo single = *info;
    single.type = list->f != NULL ? PWC__PARAM_TYPE__PARAM_FLOAT : PWC__PARAM_TYPE__PARAM_INT;
    if (list->n >= VALUE_LIST_MAX)
        return refuse(why, "has more than %u numbers", VALUE_LIST_MAX);
    int r = list->f != NULL ? check_float(&single, item, &list->f[list->n], why)
                            : check_int(&single, item, &list->i[list->n], why);
    if (r == 0)
        list->n++;
    return r;
}

static int read_list(const Pwc__ParamInfo *info, const Pwc__Value *given, struct list *list,
                     struct value_error *why)
{
    Pwc__Value item;
    int r = 0;
    if (given->kind_case == PWC__VALUE__KIND_STR) {
        AUTO_FREE char *words = xstrdup(given->str);
        char *rest = words;
        for (char *w; r == 0 && (w = next_word(&rest)) != NULL;) {
            item_of(given, 0, w, &item);
            r = append(info, &item, list, why);
        }
        return r;
    }
    size_t n = list_length(given);
    for (size_t i = 0; r == 0 && i < n; i++) {
        item_of(given, i, NULL, &item);
        r = append(info, &item, list, why);
    }
    return r;
}

static int check_list(const Pwc__ParamInfo *info, const Pwc__Value *given, Pwc__Value *out,
                      struct value_error *why)
{
    bool floats = info->type == PWC__PARAM_TYPE__PARAM_FLOATS;
    size_t room = MIN(list_length(given), (size_t)VALUE_LIST_MAX);
    struct list list = {0};
    if (floats)
        list.f = xcalloc(room, sizeof *list.f);
    else
        list.i = xcalloc(room, sizeof *list.i);
    int r = read_list(info, given, &list, why);
    if (r == 0 && list.n == 0)
        r = refuse(why, "is empty; give %s", param_type_name(info->type));
    if (r < 0) {
        free(list.f);
        free(list.i);
        return r;
    }
    if (floats) {
        out->kind_case = PWC__VALUE__KIND_F64S;
        out->f64s = xcalloc(1, sizeof *out->f64s);
        pwc__f64_list__init(out->f64s);
        out->f64s->v = list.f;
        out->f64s->n_v = list.n;
    } else {
        out->kind_case = PWC__VALUE__KIND_I64S;
        out->i64s = xcalloc(1, sizeof *out->i64s);
        pwc__i64_list__init(out->i64s);
        out->i64s->v = list.i;
        out->i64s->n_v = list.n;
    }
    return 0;
}

/* ---- any ---- */

static int check_into(const Pwc__ParamInfo *info, const Pwc__Value *given, Pwc__Value *out,
                      struct value_error *why)
{
    switch (info->type) {
    case PWC__PARAM_TYPE__PARAM_INT:
        out->kind_case = PWC__VALUE__KIND_I64;
        return check_int(info, given, &out->i64, why);
    case PWC__PARAM_TYPE__PARAM_UINT:
        out->kind_case = PWC__VALUE__KIND_U64;
        return check_uint(info, given, &out->u64, why);
    case PWC__PARAM_TYPE__PARAM_FLOAT:
        out->kind_case = PWC__VALUE__KIND_F64;
        return check_float(info, given, &out->f64, why);
    case PWC__PARAM_TYPE__PARAM_BOOL:
        out->kind_case = PWC__VALUE__KIND_FLAG;
        return check_bool(info, given, &out->flag, why);
    case PWC__PARAM_TYPE__PARAM_STRING:
        out->kind_case = PWC__VALUE__KIND_STR;
        return take_text(info, given, &out->str, why);
    case PWC__PARAM_TYPE__PARAM_ENUM:
        out->kind_case = PWC__VALUE__KIND_STR;
        return check_enum(info, given, &out->str, why);
    case PWC__PARAM_TYPE__PARAM_FLAGS:
        out->kind_case = PWC__VALUE__KIND_STR;
        return check_flags(info, given, &out->str, why);
    case PWC__PARAM_TYPE__PARAM_FLOATS:
    case PWC__PARAM_TYPE__PARAM_INTS:
        return check_list(info, given, out, why);
    default:
        return refuse(why, "has a type this daemon does not know");
    }
}

int value_check(const Pwc__ParamInfo *info, const Pwc__Value *given, Pwc__Value *ret,
                struct value_error *ret_why)
{
    if (given == NULL || given->kind_case == PWC__VALUE__KIND__NOT_SET)
        return refuse(ret_why, "has no value; give %s", param_type_name(info->type));
    Pwc__Value out = PWC__VALUE__INIT;
    int r = check_into(info, given, &out, ret_why);
    if (r == 0) /* a failed check leaves nothing in it */
        *ret = out;
    return r;
}

void value_clear(const Pwc__Value *v)
{
    if (v->kind_case == PWC__VALUE__KIND_STR)
        free(v->str);
    if (v->kind_case == PWC__VALUE__KIND_F64S) {
        free(v->f64s->v);
        free(v->f64s);
    }
    if (v->kind_case == PWC__VALUE__KIND_I64S) {
        free(v->i64s->v);
        free(v->i64s);
    }
}
