/*
 * stage.h - what the files of the stage runtime share. Ops include op.h only.
 *
 * A stage is SPARE until Enter has put it into the sandbox, then ENTERED until its channel ends. While an op
 * runs (`busy`) only messages that start no op may come in: a consumer reads its references from inside
 * merge.
 *
 * Who owns what: the stage owns its jobs, its arena mapping and the two shared pages; a job owns the message
 * that opened it, its descriptors and mappings, and what the op said (failure, results). An op owns
 * job->state.
 */
#ifndef PWC_WORKER_STAGE_H
#define PWC_WORKER_STAGE_H

#include "ipc/channel.h"
#include "ipc/clock.h"
#include "ipc/segment.h"
#include "worker/op.h"
#include "worker/optable.h"

#define CODE(name) PWC__CODE__CODE_##name

#define STAGE_JOBS          8u /* jobs a stage may have open: the supervisor keeps count */
#define STAGE_CHANNEL       3  /* where a stage and the nursery find their channel */
#define STAGE_CGROUP        4  /* and, when executed with --cgroup, cgroup.procs of what it shall join */
#define STAGE_EXIT_PROTOCOL 76 /* EX_PROTOCOL: the supervisor sent what it must not */
#define STAGE_EXIT_SANDBOX  77 /* EX_NOPERM: a required layer is missing */

enum stage_state { STAGE_SPARE = 1, STAGE_ENTERED = 2 };

struct usage;

struct arena {
    uint64_t id, bytes;
    uint8_t *base; /* NULL: none */
    int error;     /* -errno: its pages could not be reserved; reported with the next lease */
};

struct stage {
    struct chan *chan;
    const struct optable *ops;
    enum stage_state state;
    bool busy;
    int ended; /* negative: the channel broke or ended while an op was reading it */
    uint64_t number, domain;
    const struct control_page *control;
    struct segment *segment;
    uint64_t done;          /* chunks since the stage began */
    struct mono held_since; /* the first report that waits to be sent; 0: none */
    uint64_t like;          /* what the small job before was like; 0: like nothing else */
    unsigned frames;        /* since it last waited for bytes */
    bool brisk;             /* then one message at a time came, and soon */
    struct arena arena;
    struct op_job *jobs[STAGE_JOBS];
};

/* A message that came in. Handlers borrow it; JobOpen takes msg. */
struct incoming {
    struct frame *frame;
    ProtobufCMessage *msg;
};

/* Never returns: serves the channel until it ends, then exits. */
/* cgroup_error: of joining its cgroup, 0 none. */
_Noreturn void stage_main(int fd, const struct optable *ops, int cgroup_error);
/* 0, or the channel's error: the caller gives up. Waits until the socket took everything. */
int stage_send(struct stage *s, uint16_t type, const ProtobufCMessage *msg, const void *tail, size_t tail_len,
               const int *fds, unsigned nfds);
/* The same for a small job's report, which may wait for those of others that are here already: they leave
 * together. */
int stage_report_small(struct stage *s, uint16_t type, const ProtobufCMessage *report);
int stage_say_held(struct stage *s); /* now */
/* Waits for one message and handles it. 0, or negative: the stage must end. */
int stage_turn(struct stage *s);
/* Handles what is already there. */
int stage_drain(struct stage *s);
/* A job-level error of a producer or consumer: tells the supervisor what the op said. begin: of
 * usage_begin(). */
int stage_failed(struct stage *s, struct op_job *job, const struct usage *begin);
/* What the slot says from now on. */
void stage_slot(struct stage *s, uint64_t lease, uint64_t chunk);

/* Does the supervisor want records? Not 0: of groups of chunks that take so many ns. */
uint32_t stage_traced(const struct stage *s);
/* Leaves a record of these chunks in the segment's ring. */
void stage_trace(struct stage *s, uint64_t lease, uint64_t first, uint64_t n, struct mono from,
                 struct mono to);

/* ---- handlers, by role (stage.c has the table) ---- */
int on_job_open(struct stage *s, struct incoming *in);
int on_job_close(struct stage *s, struct incoming *in);
int on_plan(struct stage *s, struct incoming *in);
int on_release(struct stage *s, struct incoming *in);
int on_produce(struct stage *s, struct incoming *in);
int on_lease(struct stage *s, struct incoming *in);
int on_small(struct stage *s, struct incoming *in);
int on_consume(struct stage *s, struct incoming *in);
int on_absorb(struct stage *s, struct incoming *in);
int on_arena_gone(struct stage *s, struct incoming *in);

/* A lease of a batch: each chunk an item with descriptors of its own. Sets report's done, code, failed. */
void batch_lease(struct stage *s, struct op_job *job, const Stage__Lease *lease, struct frame *frame,
                 Stage__Report *report);

#endif
