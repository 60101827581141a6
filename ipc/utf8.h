/* utf8.h - which bytes are text. Pure. */
#ifndef PWC_UTF8_H
#define PWC_UTF8_H

#include "ipc/base.h"

#define UTF8_MAX 4u /* bytes of a character */

/* Bytes of the character that n bytes begin with; 0: they begin with none (RFC 3629: no surrogates, no
 * overlong forms), or it ends behind them. */
size_t utf8_len(const void *bytes, size_t n);
/* Puts "?" for each byte that belongs to no character; the length stays. */
void utf8_mend(void *bytes, size_t n);

#endif
