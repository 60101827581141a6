/* units.c - see units.h. Fractions are read exactly, digit by digit: no floating point, no locale. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/units.h"
#include "ipc/clock.h"

struct unit {
    const char *name;
    uint64_t scale;
};

/* Largest first, so that formatting finds the shortest. */
static const struct unit times[] = {
    {"d", 86400ull * NS_PER_S},
    {"h", 3600ull * NS_PER_S},
    {"m", 60ull * NS_PER_S},
    {"s", NS_PER_S},
    {"ms", NS_PER_MS},
    {"us", NS_PER_US},
    {"ns", 1},
};
static const struct unit sizes[] = {
    {"T", 1ull << 40},    {"t", 1000000000000ull}, {"G", 1ull << 30},
    {"g", 1000000000ull}, {"M", 1ull << 20},       {"m", 1000000ull},
    {"K", 1ull << 10},    {"k", 1000ull},          {"", 1},
};

int count_parse(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    if (*text == '\0')
        return -EINVAL;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9')
            return -EINVAL;
        if (!mul_u64(v, 10, &v) || !add_u64(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    }
    *ret = v;
    return 0;
}

/* The fraction's digits times the scale; what is below one is dropped. */
static uint64_t fraction(const char *digits, size_t n, uint64_t scale)
{
    __extension__ unsigned __int128 sum = 0;
    uint64_t unit = 1;
    for (size_t i = 0; i < n && i < 18; i++) {
        unit *= 10;
        sum = sum * 10 + (unsigned)(digits[i] - '0');
    }
    return (uint64_t)(sum * scale / unit);
}

static int scaled_parse(const char *text, const struct unit *units, size_t n, bool bare, uint64_t *ret)
{
    size_t whole = strspn(text, "0123456789");
    const char *point = text + whole;
    size_t frac = *point == '.' ? strspn(point + 1, "0123456789") : 0;
    if (whole == 0 || whole > 20 || (*point == '.' && frac == 0))
        return -EINVAL;
    const char *suffix = point + (*point == '.' ? frac + 1 : 0);
    char digits[24] = {0};
    memcpy(digits, text, whole);
    uint64_t v;
    int r = count_parse(digits, &v);
    if (r < 0)
        return r;
    if (*suffix == '\0' && !bare && v + frac > 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(suffix, units[i].name) != 0 && !(*suffix == '\0' && units[i].scale == 1))
            continue;
        if (frac > 0 && units[i].scale == 1)
            return -EINVAL;
        if (!mul_u64(v, units[i].scale, &v) || !add_u64(v, fraction(point + 1, frac, units[i].scale), &v))
            return -ERANGE;
        *ret = v;
        return 0;
    }
    return -EINVAL;
}

int time_parse(const char *text, int64_t *ret_ns)
{
    uint64_t v = 0;
    int r = strcmp(text, "none") == 0 ? 0 : scaled_parse(text, times, ARRAY_LEN(times), false, &v);
    if (r < 0)
        return r;
    if (v > INT64_MAX)
        return -ERANGE;
    *ret_ns = (int64_t)v;
    return 0;
}

int size_parse(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    int r = strcmp(text, "none") == 0 ? 0 : scaled_parse(text, sizes, ARRAY_LEN(sizes), true, &v);
    if (r == 0)
        *ret = v;
    return r;
}

static void scaled_format(uint64_t v, const struct unit *units, size_t n, char out[UNITS_TEXT])
{
    for (size_t i = 0; i < n; i++) {
        if (v == 0 || v % units[i].scale != 0)
            continue;
        snprintf(out, UNITS_TEXT, "%llu%s", (unsigned long long)(v / units[i].scale), units[i].name);
        return;
    }
    snprintf(out, UNITS_TEXT, "none");
}

void time_format(int64_t ns, char out[UNITS_TEXT])
{
    scaled_format((uint64_t)ns, times, ARRAY_LEN(times), out);
}

void size_format(uint64_t bytes, char out[UNITS_TEXT])
{
    scaled_format(bytes, sizes, ARRAY_LEN(sizes), out);
}

void signal_format(int sig, char out[UNITS_TEXT])
{
    const char *name = sigabbrev_np(sig);
    if (name != NULL)
        snprintf(out, UNITS_TEXT, "SIG%s", name);
    else
        snprintf(out, UNITS_TEXT, "signal %d", sig);
}
