/*
 * procstat.h - what /proc tells of a process' CPU time. Files there are read without waiting for anything.
 */
#ifndef PWC_PROCSTAT_H
#define PWC_PROCSTAT_H

#include <sys/types.h>

#include "ipc/base.h"

#define PROCSTAT_THREADS 32u /* so many of them are looked at: stages have a few */

/* What the text of a process' or a thread's stat tells: its state, and its CPU time in clock ticks. False: it
 * is no such text. */
bool procstat_parse(const char *text, char *ret_state, uint64_t *ret_ticks);

/* CPU time of all threads of a process so far, in clock ticks; 0 of one that is gone. ret_waits: not one of
 * them is even runnable; on a crowded machine one that is may get nothing for long. False: it cannot be
 * looked at, and whether it waits is not known. */
bool procstat_cpu(pid_t pid, uint64_t *ret_ticks, bool *ret_waits);

#endif
