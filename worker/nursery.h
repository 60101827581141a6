/*
 * nursery.h - the process that makes stages: libraries are started once in it, no op ever runs in it.
 */
#ifndef PWC_WORKER_NURSERY_H
#define PWC_WORKER_NURSERY_H

#include "worker/optable.h"

/* Signals, environment, allocator, libraries, sandbox program, rights: common to nursery and direct stages.
 * Aborts with a line when something essential cannot be had. */
void process_prepare(struct optable *ops);
/* Dies with its parent; false: the parent is gone already. To be said again after a change of user, with
 * which the kernel forgets. */
bool process_bind(void);
/* Into the cgroup whose cgroup.procs this is; -1: none. 0 or errno. May wait for the whole machine: a spare
 * does it, not the supervisor. */
int process_join(int procs);

_Noreturn void nursery_main(int fd, const struct optable *ops);

#endif
