/*
 * sandbox.h - what a stage may still do once it may see a client's bytes: use its memory, its descriptors and
 * threads. It opens, executes, signals and connects to nothing.
 *
 * Prepared once, in the nursery, while libraries may still read files: the seccomp program is compiled there
 * and each stage only loads it.
 */
#ifndef PWC_WORKER_SANDBOX_H
#define PWC_WORKER_SANDBOX_H

#include "ipc/base.h"
#include "proto/layers.h"

#define SANDBOX_LAYERS_TEXT 128

/* Compiles the filter and the table of system call names. 0 or -errno. */
int sandbox_prepare(void);
/* From root to the user "pwcd", else nobody; nothing for others. Then the process cannot be dumped. */
int sandbox_drop_root(void);

struct sandbox_result {
    unsigned bits;                     /* layers that are in force */
    char layers[SANDBOX_LAYERS_TEXT];  /* "no_new_privs nocaps nofile nocore landlock-6 seccomp nocode" */
    char missing[SANDBOX_LAYERS_TEXT]; /* "landlock: Function not implemented"; "" nothing */
    int dying;                         /* as of filter_load(); the caller's */
};
/* memory: RLIMIT_DATA in bytes, 0 none. code: memory may be executable. Enters as many layers as the kernel
 * gives and says which. */
void sandbox_enter(uint64_t memory, bool code, struct sandbox_result *ret);

/* Async-signal-safe; "?" for a number that was unknown at start. */
const char *sandbox_syscall_name(int nr);

/* filter.c: the seccomp program. */
struct sock_filter;
int filter_build(bool code, struct sock_filter **ret_program, size_t *ret_len);
/*
 * Loads it with this process's pid in the places where only its own is allowed. ret_dying: a descriptor that
 * hangs up when the last thread under the filter has begun to end, which Linux from 6.11 on does before it
 * takes the memory apart (a listener of seccomp_unotify(2), for which the filter has no use otherwise); -1:
 * none can be had. 0 or -errno.
 */
int filter_load(const struct sock_filter *program, size_t len, int *ret_dying);

#endif
