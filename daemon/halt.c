/* halt.c - see halt.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "daemon/halt.h"

static bool skip(const char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0)
        return false;
    *at += n;
    return true;
}

static bool parse_limit(const char *at, struct halt *h)
{
    char *end;
    if (*at < '0' || *at > '9' || at[strspn(at, "0123456789.%")] != '\0')
        return false;
    h->limit = strtod(at, &end);
    h->percent = *end == '%';
    end += h->percent;
    return *end == '\0' && h->limit > 0 &&
           (h->percent ? h->limit <= 100 : h->limit < 1e18 && h->limit == floor(h->limit));
}

/* GNU parallel's forms from before it had words, which people still type. A percentage fits the buffer, or is
 * none. */
static const char *in_words(const char *text, char buf[32])
{
    static const char *const forms[][2] = {{"0", "never"},
                                           {"1", "soon,fail=1"},
                                           {"2", "now,fail=1"},
                                           {"-1", "soon,success=1"},
                                           {"-2", "now,success=1"}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(forms[i][0], text) == 0)
            return forms[i][1];
    if (*text < '0' || *text > '9')
        return text;
    int n = snprintf(buf, 32, "soon,fail=%s", text);
    return n < 32 && buf[n - 1] == '%' ? buf : text;
}

int halt_parse(const char *text, struct halt *ret)
{
    struct halt h = {0};
    char words[32];
    text = in_words(text, words);
    if (text[0] == '\0' || strcmp(text, "never") == 0) {
        *ret = h;
        return 0;
    }
    if (!skip(&text, "now,") && !skip(&text, "soon,"))
        return -EINVAL;
    h.when = text[-4] == 'n' && text[-3] == 'o' && text[-2] == 'w' ? HALT_NOW : HALT_SOON;
    if (skip(&text, "fail="))
        h.what = HALT_FAIL;
    else if (skip(&text, "success="))
        h.what = HALT_SUCCESS;
    else if (skip(&text, "done="))
        h.what = HALT_DONE;
    else
        return -EINVAL;
    if (!parse_limit(text, &h))
        return -EINVAL;
    *ret = h;
    return 0;
}

enum halt_when halt_check(const struct halt *h, uint64_t total, uint64_t ok, uint64_t failed)
{
    if (h->when == HALT_NEVER)
        return HALT_NEVER;
    uint64_t have = h->what == HALT_FAIL ? failed : h->what == HALT_SUCCESS ? ok : ok + failed;
    double need = h->percent ? ceil((double)total * h->limit / 100) : h->limit;
    return have > 0 && (double)have >= need ? h->when : HALT_NEVER;
}
