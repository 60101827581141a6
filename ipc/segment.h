/*
 * segment.h - the shared memory of a stage.
 *
 * Two memory objects, both created by the supervisor. The *control page* is written by the supervisor and
 * mapped read-only by the stage; the *segment* is written by the stage and mapped read-only by the
 * supervisor, which loads each word it needs once, atomically, and checks it: what a stage writes is gossip.
 * Results lie in *arenas*, memfds of their own, which the supervisor creates and never maps; one outlives
 * its stage until the consumer has absorbed what lies in it.
 */
#ifndef PWC_SEGMENT_H
#define PWC_SEGMENT_H

#include <stdalign.h>
#include <stdatomic.h>

#include "ipc/base.h"

#define CONTROL_BYTES 4096u

struct control_page {
    _Atomic uint64_t limit;  /* chunks at or past it are not started: a lease's tail was taken back */
    _Atomic uint32_t cancel; /* not 0: stop at the next chance; ops may look at it inside a chunk */
    _Atomic uint32_t trace;  /* not 0: leave records in the ring, none of a group of chunks shorter than so
                                many  ns; looked at once a lease */
    _Atomic uint64_t revoke; /* leases numbered below it are not begun: they were taken back */
};

#define SEGMENT_MAGIC 0x3167657363777050ull
#define SEGMENT_SLOTS 32u
#define SLOT_IDLE     UINT64_MAX /* between chunks */
#define SLOT_PLAN     (UINT64_MAX - 1)
#define SLOT_PRODUCE  (UINT64_MAX - 2)
#define SLOT_CONSUME  (UINT64_MAX - 3)
#define SLOT_WHOLE    (UINT64_MAX - 4) /* a planner that does all of the job */
#define SLOT_FINISH   (UINT64_MAX - 5) /* its chunks are done: fold states become results */

/* One thread of execution: which lease and which chunk it is at. Written with plain stores. */
struct segment_slot {
    _Atomic uint64_t lease;
    _Atomic uint64_t chunk;
    _Atomic uint64_t done;  /* chunks since the stage began: progress */
    _Atomic uint64_t fresh; /* CLOCK_MONOTONIC ns of the lease's start */
    _Atomic uint64_t cpu;   /* CPU time of the process then, ns */
    _Atomic uint64_t rss;   /* its peak of resident memory then, bytes */
    uint64_t pad[2];        /* a cache line each */
};

#define OBITUARY_TEXT   4096u
#define OBITUARY_FRAMES 48u

/* The value that SIGUSR1 may come with: who has said where it stands stays there. */
#define OBITUARY_STAY 1

/* Written by the dying stage's signal handler, `ready` last. */
struct obituary {
    _Atomic uint32_t ready; /* 1: the rest is there */
    int32_t signal;
    int32_t code;     /* si_code */
    int32_t syscall;  /* SIGSYS: its number */
    uint64_t address; /* si_addr */
    uint64_t cpu_ns;
    uint32_t why; /* Pwc__Code the stage itself concluded, e.g. INPUT_SHRANK; 0: none */
    uint32_t text_len;
    /* Stack, one frame a line: "#3 0x1234 vips_region_prepare+0x40 (libvips.so.42)". Of several threads each
     * has a line before, "thread strips computes:", and who is most likely to blame comes first. */
    char text[OBITUARY_TEXT];
};

#define TRACE_RECORDS 1024u
struct trace_record {
    _Atomic uint64_t lease, first, n, start_ns, end_ns; /* chunks first to first + n - 1 */
};

struct segment {
    uint64_t magic;
    alignas(64) struct segment_slot slots[SEGMENT_SLOTS];
    struct obituary obituary;
    _Atomic uint64_t trace_next; /* records written so far; the ring holds the last TRACE_RECORDS */
    struct trace_record trace[TRACE_RECORDS];
};

#define SEGMENT_BYTES ((sizeof(struct segment) + 4095u) & ~(size_t)4095u)

/* Maps the whole object; NULL with errno on failure. */
void *segment_map(int fd, size_t bytes, bool writable);
void segment_unmap(void *p, size_t bytes);

#endif
