/*
 * fault.h - what the ops of the family fault.* have in common. Test builds only.
 *
 * An op misbehaves at chunk `at` (with `every`, at those behind it, too) while the attempt is not past
 * `attempts`.
 */
#ifndef PWC_WORKER_OPS_FAULT_H
#define PWC_WORKER_OPS_FAULT_H

#include "worker/op.h"

bool fault_due(const struct op_job *job, uint64_t chunk);

/*
 * The ways that are the same in every role, by name; `who` is for the user of "fail". 0, or -1 as op_fail.
 *
 * Who holds stands still without any CPU time until its stage is asked for its stack (SIGUSR1), then goes on:
 * so a test keeps a stage in the middle of a step for as long as it likes. Whoever asks before it stands has
 * asked, too.
 */
#define FAULT_WAYS 6
extern const char *const fault_ways[FAULT_WAYS]; /* "die", "burn", "eat", "hold", "stick", "fail" */
int fault_do(struct op_job *job, const char *way, const char *who);

#endif
