/*
 * trace.h - one record of a trace, as it travels in Trace.records: where the time of a job goes.
 *
 * A record is 80 bytes, little-endian, without padding. Numbers are never reused; a reader skips kinds it
 * does not know. What the fields mean for each kind is in doc/PROTOCOL.md. Times are nanoseconds of
 * CLOCK_MONOTONIC.
 */
#ifndef PWC_TRACE_H
#define PWC_TRACE_H

#include <stdint.h>

struct trace_wire {
    uint64_t at, end; /* end: 0 for what has no length */
    uint64_t first, n;
    uint64_t lease, stage;
    uint64_t value;
    uint64_t waiting; /* chunks that could be leased just then */
    uint16_t kind, code;
    uint32_t pid;
    uint32_t seat;      /* counts from 1 within the job; 0 none */
    uint32_t in_flight; /* leases with a seat that the job has just then */
};
_Static_assert(sizeof(struct trace_wire) == 80, "no padding");

enum trace_kind {
    TRACE_JOB = 1, /* code: JobState; n: chunks; first: seats it may use; value: CPU time of the supervisor */
    TRACE_BORN = 2,   /* a process was made; value: CPU time that took in the nursery */
    TRACE_READY = 3,  /* code 0: it is a spare, 1: it has entered its sandbox; value: its CPU time so far */
    TRACE_DIED = 4,   /* at: seen, end: killed by us (else 0), code: why, first: chunk (n 1: it was in it) */
    TRACE_KILL = 5,   /* SIGKILL is sent; code: why */
    TRACE_LEASE = 6,  /* given: chunks, code: what for, value: CPU time of the process before its first one */
    TRACE_ENDED = 7,  /* at: given, value: begun, end: over; first, n: what counts of it; code: why not all */
    TRACE_CHUNKS = 8, /* at to end: these were computed; code: not OK: they were not finished */
    TRACE_ABSORBED = 9,
    TRACE_ANNOUNCED = 10,  /* these can be leased from now on */
    TRACE_WAIT = 11,       /* at to end: what kept the job from getting more; code: trace_wait */
    TRACE_RETRY = 12,      /* first: chunk, code: why, value: attempts so far */
    TRACE_GAVE_UP = 13,    /* the same */
    TRACE_TAKEN_BACK = 14, /* from the tail of this lease */
    TRACE_RESTART = 15,    /* the consumer starts from nothing; n: what it had absorbed */
    TRACE_AGAIN = 16,      /* a chunk that was given up is tried again: somebody asked for it */
};

enum trace_lease {
    TRACE_FOR_PLAN = 1,
    TRACE_FOR_CHUNKS,
    TRACE_FOR_FINISH,
    TRACE_FOR_PRODUCE,
    TRACE_FOR_CONSUME
};

enum trace_wait {
    TRACE_WAIT_NOTHING = 0, /* no chunk waits */
    TRACE_WAIT_TURN = 1,    /* other jobs are before it */
    TRACE_WAIT_DESCRIPTORS = 2,
    TRACE_WAIT_PLAN = 3,     /* a stage reads the input's header and decides */
    TRACE_WAIT_INPUT = 4,    /* the next chunk's input has not been read yet */
    TRACE_WAIT_SEAT = 5,     /* all are busy, as they should be */
    TRACE_WAIT_ARENA = 6,    /* results fill the arenas, and the one that comes next is not among them */
    TRACE_WAIT_CONSUMER = 7, /* results wait for the consumer, which is slower than the workers */
    TRACE_WAIT_MEMORY = 8,   /* the machine is short of it */
    TRACE_WAIT_BACKOFF = 9,  /* processes die before they are ready: the next one is made later */
    TRACE_WAIT_STAGE = 10,   /* a process is being made ready */
    TRACE_WAIT_LIMIT = 11,   /* the job's own limit of workers */
    TRACE_WAIT_LAST = 12,    /* the last chunks are being computed */
    TRACE_WAIT_OUTPUT = 13,  /* the output is being completed */
};
#define TRACE_WAITS 14

#endif
