/* nearest.c - see nearest.h. */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon/nearest.h"

#define LONGEST 64u /* what is longer is nobody's typing error */

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    return MIN(MIN(a, b), c);
}

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* The restricted Damerau-Levenshtein distance, three rows at a time. */
unsigned name_distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST)
        return UINT_MAX;
    unsigned rows[3][LONGEST + 1];
    for (unsigned j = 0; j <= nb; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= na; i++) {
        unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *upup = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned change = same(a[i - 1], b[j - 1]) ? 0 : 1;
            row[j] = least(row[j - 1] + 1, up[j] + 1, up[j - 1] + change);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                row[j] = MIN(row[j], upup[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

/* Near: at most a third of it wrong. "image.gaussblur" for "gaussblur" is near too: the end is the same. */
void nearest_try(struct nearest *n, const char *candidate)
{
    size_t len = strlen(n->wanted), clen = strlen(candidate);
    unsigned d = name_distance(n->wanted, candidate);
    const char *tail = strrchr(candidate, '.');
    if (tail != NULL && strchr(n->wanted, '.') == NULL) {
        unsigned part = name_distance(n->wanted, tail + 1);
        d = MIN(d, part < UINT_MAX ? part + 1 : part);
        clen = strlen(tail + 1);
    }
    if (d > MAX(len, clen) / 3 + 1 || d >= MAX(len, clen))
        return;
    if (n->best == NULL || d < n->distance) {
        n->best = candidate;
        n->distance = d;
    }
}

const char *printable(const char *in, char *out, size_t size)
{
    size_t n = 0;
    for (; in[n] != '\0' && n + 1 < size; n++)
        out[n] = in[n] >= 0x20 && in[n] < 0x7f ? in[n] : '?';
    out[n] = '\0';
    if (in[n] != '\0' && size > 4)
        memcpy(out + size - 4, "...", 4);
    return out;
}

size_t control_len(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
        return 2;
    return (c[0] != '\0' && c[0] < 0x20) || c[0] == 0x7f ? 1 : 0;
}

char *one_line(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        memset(c, '?', control_len(c));
    return text;
}
