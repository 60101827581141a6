/* nearest.h - "did you mean": the known name that is the fewest typing errors away. Pure. */
#ifndef PWC_DAEMON_NEAREST_H
#define PWC_DAEMON_NEAREST_H

#include "ipc/base.h"

/* Insertions, deletions, substitutions and swaps of neighbours between the two; case counts for nothing. */
unsigned name_distance(const char *a, const char *b);

struct nearest {
    const char *wanted;
    const char *best; /* borrowed; NULL: nothing is near enough */
    unsigned distance;
};

static inline struct nearest nearest_to(const char *wanted)
{
    return (struct nearest){.wanted = wanted};
}
void nearest_try(struct nearest *n, const char *candidate);

/* Text of strangers for a message: printable ASCII, "?" for the rest, cut with "..."; returns out. */
const char *printable(const char *in, char *out, size_t size);

/* Bytes of the control character that text begins with (of UTF-8's second set, two); 0: it is none. */
size_t control_len(const char *text);
/* What names of files and a stage's words may hold and a line for people may not: whatever ends it or steers
 * a terminal becomes "?", letters of any script stay; returns text. */
char *one_line(char *text);

#endif
