/*
 * mappings.h - what lies where: lets the SIGBUS handler say whose fault a fault is.
 *
 * A fixed table, changed by the stage's main thread only and read by a signal handler; a handler never sees
 * a half-written entry because `kind` is stored last.
 */
#ifndef PWC_WORKER_MAPPINGS_H
#define PWC_WORKER_MAPPINGS_H

#include "ipc/base.h"
#include "proto/pwc.pb-c.h"

enum mapping_kind { MAPPING_NONE, MAPPING_INPUT, MAPPING_OWN };

/* fd: the input, which must stay open while it is listed. base NULL: an input the op may map by itself. */
void mapping_add(enum mapping_kind kind, const void *base, uint64_t bytes, int fd);
void mapping_remove(const void *base);
void mapping_remove_fd(int fd);
/* Async-signal-safe: input-shrank, input-io, or no-memory for a fault at addr. */
Pwc__Code mapping_blame(uintptr_t addr);

#endif
