/* numbers.c - see numbers.h. The daemon never leaves the C locale, so a point is a point. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "daemon/numbers.h"

/* Decimal or 0x, a sign before it. -EINVAL, or -ERANGE when 64 bits do not hold it. */
static int read_sign(const char *text, bool *ret_negative, uint64_t *ret)
{
    bool negative = *text == '-';
    const char *p = text + (*text == '-' || *text == '+');
    bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
    if (!isdigit((unsigned char)*p) || (hex && !isxdigit((unsigned char)p[2])))
        return -EINVAL;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(p, &end, hex ? 16 : 10);
    if (*end != '\0')
        return -EINVAL;
    if (errno != 0)
        return -ERANGE;
    *ret_negative = negative;
    *ret = v;
    return 0;
}

int number_int(const char *text, int64_t *ret)
{
    bool negative;
    uint64_t v;
    int r = read_sign(text, &negative, &v);
    if (r < 0)
        return r;
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return -ERANGE;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

int number_uint(const char *text, uint64_t *ret)
{
    bool negative;
    uint64_t v;
    int r = read_sign(text, &negative, &v);
    if (r < 0)
        return r;
    if (negative && v != 0)
        return -ERANGE;
    *ret = v;
    return 0;
}

/* No "inf", "nan", hexadecimal floats or blanks, all of which strtod takes. */
int number_float(const char *text, double *ret)
{
    const char *p = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*p) && *p != '.')
        return -EINVAL;
    if (strspn(p, "0123456789.eE+-") != strlen(p))
        return -EINVAL;
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0')
        return -EINVAL;
    if (!isfinite(v))
        return -ERANGE;
    *ret = v;
    return 0;
}
