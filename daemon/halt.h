/*
 * halt.h - when a job ends before all its chunks were tried. Pure. The grammar is that of GNU parallel's
 * --halt:
 *
 *   never | (now|soon),(fail|success|done)=(N|N%) | 0 | 1 | 2 | -1 | -2 | N%
 *
 * now calls back what runs; soon lets it finish and starts nothing more. Per cent are of all chunks, rounded
 * up.
 */
#ifndef PWC_HALT_H
#define PWC_HALT_H

#include "ipc/base.h"

enum halt_when { HALT_NEVER, HALT_SOON, HALT_NOW };
enum halt_what { HALT_FAIL, HALT_SUCCESS, HALT_DONE };

struct halt {
    enum halt_when when;
    enum halt_what what;
    double limit; /* chunks, or per cent */
    bool percent;
};

/* "" is never. 0 or -EINVAL. */
int halt_parse(const char *text, struct halt *ret);
/* Has it come to that? HALT_NEVER: not yet. */
enum halt_when halt_check(const struct halt *h, uint64_t total, uint64_t ok, uint64_t failed);

#endif
