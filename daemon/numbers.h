/* numbers.h - numbers as people write them in parameters, and nothing else around them. Pure. */
#ifndef PWC_DAEMON_NUMBERS_H
#define PWC_DAEMON_NUMBERS_H

#include "ipc/base.h"

/* Decimal or 0x, with a sign. 0, -EINVAL (no whole number), -ERANGE (does not fit 64 bits). */
int number_int(const char *text, int64_t *ret);
int number_uint(const char *text, uint64_t *ret); /* -ERANGE for negative ones too */
/* Decimal, finite. -ERANGE: too large. */
int number_float(const char *text, double *ret);

#endif
