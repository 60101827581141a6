/*
 * obituary.h - what a dying stage writes about its death, from a signal handler, into its segment.
 *
 * The numbers come first, then `ready`, then the stack line by line (text_len grows with it): a handler that
 * crashes or hangs on a broken stack still leaves what it had. The supervisor reads it after the death.
 * SIGUSR1 asks a living stage for its stack, before it is killed for a chunk past its deadline; one that was
 * stopped, and is continued for it, is told to stay there (OBITUARY_STAY). Whom a signal
 * finds that was sent need not be who computes: then all threads (threads.h) show theirs.
 */
#ifndef PWC_WORKER_OBITUARY_H
#define PWC_WORKER_OBITUARY_H

#include "ipc/segment.h"

/* While files can still be opened and all libraries are loaded: loads the unwinder and the names of
 * functions. */
void obituary_prepare(void);
/* Installs the handlers; o NULL: they only pass the signal on. */
void obituary_arm(struct obituary *o);
/* memory: RLIMIT_DATA, 0 none; statm: descriptor of /proc/self/statm or -1. Tells out-of-memory from a bug.
 */
void obituary_memory(uint64_t memory, int statm);

#endif
