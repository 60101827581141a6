/* utf8.c - see utf8.h. */
#include "ipc/utf8.h"

static size_t len_by_first(uint8_t c)
{
    return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

size_t utf8_len(const void *bytes, size_t n)
{
    const uint8_t *s = bytes;
    size_t len = n > 0 ? len_by_first(s[0]) : 0;
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = len > 1 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90));
    bool beyond = len > 1 && ((s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90));
    return overlong || beyond ? 0 : len;
}

void utf8_mend(void *bytes, size_t n)
{
    uint8_t *s = bytes;
    for (size_t i = 0; i < n;) {
        if (s[i] < 0x80) { /* as nearly all are */
            i++;
            continue;
        }
        size_t len = utf8_len(s + i, n - i);
        if (len == 0)
            s[i] = '?';
        i += MAX(len, (size_t)1);
    }
}
