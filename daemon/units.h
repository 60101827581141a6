/* units.h - times, sizes and counts as people write them, both ways; names of signals. Pure. */
#ifndef PWC_DAEMON_UNITS_H
#define PWC_DAEMON_UNITS_H

#include "ipc/base.h"

#define UNITS_TEXT 32u

/* All return 0, -EINVAL (not understood) or -ERANGE (too large). */
int count_parse(const char *text, uint64_t *ret); /* "10000" */
int time_parse(const char *text,
               int64_t *ret_ns);                 /* "10s", "1.5s", "200ms", "5m"; us ns h d; "0", "none": 0 */
int size_parse(const char *text, uint64_t *ret); /* "16G"; K M G T: 1024s, k m g t: 1000s; "none": 0 */

/* The shortest exact way to write it; read back it is the same. */
void time_format(int64_t ns, char out[UNITS_TEXT]);
void size_format(uint64_t bytes, char out[UNITS_TEXT]);

/* "SIGSEGV"; of one that has no name, as the real-time signals: "signal 40". */
void signal_format(int sig, char out[UNITS_TEXT]);

#endif
