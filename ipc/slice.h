/*
 * slice.h - how long a process asks to run at a time. From Linux 6.12 on, who asks for less than the process
 * that runs gets the processor at once when it is woken, instead of when the other's slice is over (1.4 ms on
 * two processors, and looked at every 4 ms only). It takes nothing from anybody's share. Older kernels take
 * no notice. Method: sched(7), sched_setattr(2), EEVDF's latency by slices.
 *
 * So ask the supervisor, whose turns are short, and a stage until it has had one lease: it may take over a
 * chunk of one that died.
 */
#ifndef PWC_IPC_SLICE_H
#define PWC_IPC_SLICE_H

#include <stdint.h>
#include <sys/types.h>

#define SLICE_SHORT   100000u /* ns; the least that the kernel gives */
#define SLICE_DEFAULT 0u      /* as everybody has */

/* pid 0: this process, not those that it starts, nor its new threads. What fails is as before. */
void slice_ask(pid_t pid, uint64_t ns);
/* What it has; 0: unknown. */
uint64_t slice_of(pid_t pid);

#endif
