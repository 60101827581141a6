/*
 * pressure.h - is the machine short of memory, and how much of it, and how many threads, does one process
 * hold? Parsing is pure.
 *
 * No new lease is given out while less than a twentieth of the memory is available, or while everything stood
 * still for memory more than a tenth of the last ten seconds (PSI "full"); what runs goes on, and one lease
 * always may. When less than a fortieth is left, whoever holds most of it is ended: a stage that eats memory
 * must not take the machine, though nobody has given it a limit.
 */
#ifndef PWC_PRESSURE_H
#define PWC_PRESSURE_H

#include <sys/types.h>

#include "ipc/base.h"

#define PRESSURE_AVAILABLE_PERCENT 5.0
#define PRESSURE_FULL_PERCENT      10.0
#define PRESSURE_LAST_PERCENT      2.5
#define PRESSURE_WORTH_PERCENT     10.0 /* who holds less than that of all memory is not the one to end */

#define STAGE_THREADS_MAX 1024u

enum pressure { PRESSURE_NONE, PRESSURE_SHORT, PRESSURE_LAST };

/* "MemTotal: ..." and "full avg10=..."; texts may be empty (then they say nothing). */
enum pressure pressure_level(const char *meminfo, const char *psi);
/* The same of a cgroup, by the texts of memory.max, memory.current, memory.stat and memory.pressure. */
enum pressure pressure_group(const char *max, const char *current, const char *stat, const char *psi);
/* The worst of this machine and of the cgroups around this process that have a limit (the unit's MemoryMax=,
 * a container's), now. */
enum pressure pressure_now(void);
/* Bytes that are worth ending a process for; 0: the text does not say. */
uint64_t pressure_worth(const char *meminfo);
uint64_t pressure_worth_now(void);
/* Bytes there are, of the machine or of the tightest group around this process; 0: not known. */
uint64_t pressure_memory(void);

/* Bytes by the text of /proc/PID/status, of anonymous memory, page tables and, if wanted, of the memory files
 * that it maps; 0 when it does not say. Now, 0 of one that is gone; false: it cannot be looked at. */
uint64_t pressure_resident(const char *status, bool shared);
bool pressure_of(pid_t pid, bool shared, uint64_t *ret_bytes);
/* How many threads it has; 0: it is gone. */
uint64_t pressure_threads(pid_t pid);

/* Processes the kernel has killed for want of memory since it started, by the text of /proc/vmstat. False: it
 * cannot be read. */
uint64_t pressure_kills(const char *vmstat);
bool pressure_oom_kills(uint64_t *ret);

#endif
