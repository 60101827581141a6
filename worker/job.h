/*
 * job.h - a job inside a stage: the op's view (op_job) and what the runtime keeps beside it.
 */
#ifndef PWC_WORKER_JOB_H
#define PWC_WORKER_JOB_H

#include "proto/limits.h"
#include "worker/stage.h"

/* A descriptor of the client, by role. */
struct role_fd {
    const char *name; /* the op's table */
    Pwc__RoleDir dir;
    int fd;        /* -1: not given */
    uint64_t size; /* when it was checked */
    uint64_t dev, ino;
    const void *map; /* op_map_input's */
};

struct failure {
    Pwc__Code code; /* OK: none */
    char text[PWC_TEXT_MAX];
};

struct result; /* opapi.c */

/* Results that wait for a consumer, in the order they came. */
struct absorb {
    uint64_t first, n;
    const uint8_t *at;
};
struct consumer_arena {
    uint64_t id, bytes;
    uint8_t *base;
};
struct consumer {
    struct absorb *queue;
    size_t head, len, room;
    struct consumer_arena *arenas;
    size_t narenas;
    uint8_t *blank; /* a filled chunk, for what was given up; made when one is needed */
    uint64_t next;  /* chunks below it were queued */
    uint64_t taken; /* of queue[head] handed to the op */
};

struct op_job_private {
    struct stage *stage;
    Stage__JobOpen *open;
    struct role_fd roles[PWC_ROLES_MAX];
    unsigned nroles;
    bool broken;            /* it cannot run: `cause` tells why, to whatever is asked */
    bool closing;           /* JobClose came while an op runs */
    bool once;              /* `open` is part of another message */
    struct failure failure; /* of what was asked last */
    struct failure cause;
    struct result *results, **results_tail;
    size_t nresults;
    void *plan_map; /* mapped; a planner's own plan is malloc'ed instead */
    void *plan_own;
    int plan_fd; /* a planner's, blank: where its plan goes; -1: none */
    struct consumer consumer;
    uint64_t wrote;
    uint64_t released; /* producer: chunks below it are absorbed */
};

/* Builds a job from JobOpen, whose message and descriptors it takes. Never fails: what is wrong with
 * descriptors, plan or op is kept and reported. NULL: the message itself breaks the protocol. */
struct op_job *job_new(struct stage *s, struct incoming *in);
/* For one lease: `open` stays the caller's and must outlive the job. */
struct op_job *job_once(struct stage *s, Stage__JobOpen *open, struct frame *f);
void job_free(struct op_job *job);
/* Unmaps the scratch file, if it is mapped. */
void job_unmap_raster(struct op_job *job);
/* After an op has run: frees jobs that were closed meanwhile. */
void job_sweep(struct stage *s);
struct op_job *job_find(const struct stage *s, uint64_t id);

/* Before the op is called again: forgets what it said. */
void job_reset(struct op_job *job);
/* The failure of a call that returned r < 0; makes one up for an op that gave no reason. */
const struct failure *job_failure(struct op_job *job);
/* The results as the array protobuf-c wants; valid until the job is reset or freed. free() the array. */
Pwc__Param **job_results(struct op_job *job);

/* ---- descriptors (descriptors.c) ---- */
/* Checks kind and mode by role. 0, or op_fail's. */
int descriptors_check(struct op_job *job);
void descriptors_close(struct op_job *job);
/* A retried attempt starts from an empty output. */
int descriptors_truncate(struct op_job *job);
uint64_t descriptors_bytes_in(const struct op_job *job);

void consumer_free(struct consumer *c);

#endif
