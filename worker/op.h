/*
 * op.h - the contract between an op and the stage that runs it. Ops never see sockets, leases or processes.
 *
 * An op is a name, typed parameters, descriptor roles and up to eight functions. One table row declares it;
 * checking, catalogue, help and the chunk machinery follow from that. All functions return 0 or the negative
 * value of op_fail(), which records the code and one line for the user.
 *
 *   plan     reads the input's header, checks the budget, decides: whole, or so many chunks      (planner)
 *   produce  fills the raster, if there is one, and announces chunks as their rows become ready  (producer)
 *   open     prepares to compute chunks of a planned job; state goes into job->state             (worker)
 *   process  computes one chunk: a function of (job, chunk number) alone                         (worker)
 *   blank    writes `byte` all over a chunk that was given up, into an output that results are placed in;
 *            uses job->plan and descriptors only: open may have failed                           (worker)
 *   fold     adds another lease's state to this one; any order, any grouping, the same result    (worker)
 *   finish   turns the last fold state into typed results                                        (worker)
 *   merge    takes results in chunk order and writes the output                                  (consumer)
 *   whole    splits, processes and merges in one go: small inputs, a batch's items, ops that cannot be cut
 *   close    frees job->state, whatever role it was made in; before plan is tried again, too
 *
 * Chunks are pure: a chunk may be computed twice, by different processes, and the results must be equal.
 * A stage is single-threaded when it calls an op; an op may start threads, no processes; it opens no files.
 */
#ifndef PWC_OP_H
#define PWC_OP_H

#include <stdatomic.h>

#include "ipc/base.h"
#include "proto/limits.h"
#include "proto/pwc.pb-c.h"

struct op_job;

struct op_choice {
    const char *nick, *summary;
};

struct op_param {
    const char *name;
    Pwc__ParamType type;
    const char *summary;
    bool required;
    double min, max;                 /* both 0: unbounded */
    const char *def;                 /* default as text; NULL none */
    const struct op_choice *choices; /* ENUM, FLAGS: ends with a NULL nick */
    const char *unit;
};

struct op_role {
    const char *name;
    Pwc__RoleDir dir;
    bool optional;
    const char *summary;
};

/* Chunks of 30 KiB ICC and EXIF, a table of strips: megabytes at most. */
#define OP_PLAN_MAX PWC_PLAN_MAX

/* What plan() decides. Zeroed before the call. */
struct op_plan {
    bool whole;            /* run op->whole here and now; the rest is ignored */
    uint64_t chunks;       /* at least 1 */
    uint64_t result_bytes; /* room per chunk in the arena, at most PWC_RESULT_MAX; 0: no results there */
    bool windowed;         /* produce() gives rows back with op_released(); consumers are SERIAL */
    uint64_t raster_bytes; /* scratch space to share with the workers; 0: none, workers get the descriptors */
    bool producer;         /* produce() must run; chunks wait for op_announce */
    Pwc__Absorb absorb;
    void *blob;       /* malloc'ed; sealed and shared with all stages of the job as job->plan; may be NULL */
    size_t blob_len;  /* at most OP_PLAN_MAX */
    const char *unit; /* static: "rows", "bytes" */
    uint64_t unit_size; /* units a chunk */
    uint64_t units;     /* units in all */
    uint64_t unit_from; /* the first of them */
};

/* Rights that not every stage has. An op whose row does not say so runs where they are missing. */
enum op_needs {
    OP_NEEDS_CODE = 1, /* memory with code that is made at run time */
};

struct op {
    const char *name;    /* "image.gaussblur" */
    const char *version; /* of its results: changes when they do */
    const char *summary;
    const struct op_param *params;
    size_t nparams;
    const struct op_role *roles;
    size_t nroles;
    Pwc__OpKind kind;        /* OP_SAVE and OP_LOAD rows only describe a format's options */
    const char *count_param; /* as many chunks as this parameter says: no planner, no descriptors */
    Pwc__Absorb absorb;
    bool formats;                /* its output wants a format */
    bool scratch;                /* plan may ask for raster_bytes */
    size_t fold_bytes;           /* FOLDED: largest state, at most PWC_STATE_MAX */
    bool results_optional;       /* FOLDED: what counts is what chunks do: a halted job ends well without */
    const char *const *suffixes; /* OP_SAVE: NULL-terminated */
    unsigned needs;              /* bits of enum op_needs */
    const void *family;          /* for the op's own use */

    int (*plan)(struct op_job *job, struct op_plan *plan);
    int (*produce)(struct op_job *job);
    int (*open)(struct op_job *job);
    int (*process)(struct op_job *job, uint64_t chunk, void *result);
    int (*blank)(struct op_job *job, uint64_t chunk, uint8_t byte); /* where a plan may say PLACED */
    void (*fold_init)(
        struct op_job *job); /* makes job->fold (fold_bytes, zeroed) the neutral state; NULL: zeros are */
    int (*fold)(struct op_job *job, const void *state, size_t len);
    int (*finish)(struct op_job *job); /* job->fold holds everything */
    int (*merge)(struct op_job *job);
    int (*whole)(struct op_job *job);
    void (*close)(struct op_job *job);
};

struct op_budget {
    uint64_t pixels, bytes;
    uint32_t frames;
};

/* A job as an op sees it. The stage owns everything but `state`. */
struct op_job {
    uint64_t id;
    const struct op *op;
    Pwc__Param **params, **save, **load; /* checked by the supervisor against the catalogue */
    size_t nparams, nsave, nload;
    const char *format; /* "png"; "" none */
    struct op_budget budget;
    const void *plan; /* the plan's blob, read-only; NULL none */
    size_t plan_len;
    int raster_fd;
    void *raster; /* mapped; read-only in workers; NULL none */
    uint64_t raster_bytes;
    uint64_t chunks, result_bytes;
    Pwc__Absorb absorb;
    bool batch;                     /* whole() runs on items of a batch */
    uint64_t item;                  /* batch: number of the item in hand */
    uint32_t attempt;               /* of the chunk in hand, from 1 (known for the first chunk of a lease) */
    void *fold;                     /* FOLDED: the lease's state; process() adds to it, unless it fails */
    void *state;                    /* the op's own */
    const _Atomic uint32_t *cancel; /* not 0: stop soon, return op_fail(job, CANCELLED) */
    struct op_job_private *priv;
};

/* ---- parameters, descriptors ---- */
bool op_has(const struct op_job *job, const char *name); /* given by the client */
int64_t op_int(const struct op_job *job, const char *name, int64_t def);
double op_float(const struct op_job *job, const char *name, double def);
bool op_bool(const struct op_job *job, const char *name, bool def);
const char *op_str(const struct op_job *job, const char *name, const char *def); /* strings, enums */
int op_fd(const struct op_job *job, const char *role);                           /* borrowed; -1: not given */
/*
 * The whole input, read-only, until the job is closed; a fault in it is reported as input-shrank or input-io.
 * NULL: op_fail was called (an empty input too: check the size in plan). Three things are the op's to see to:
 * what a cut leaves of a page reads as zeros without a fault, so look at the size afterwards; a hole of a
 * memory file that is read through a map is allocated, and its pages count as the stage's, so map files of
 * disks and read others with pread; what is read and done with stays mapped until it is given back
 * (MADV_DONTNEED).
 */
const void *op_map_input(struct op_job *job, const char *role, uint64_t *ret_len);
/* The same as a wish: NULL if it cannot be mapped, without a failure. */
const void *op_view_input(struct op_job *job, const char *role, uint64_t *ret_len);
/* whole(): the job's scratch file, made so long and mapped until whole() returns; a fault in it is reported
 * as no-memory. NULL: op_fail was called. A job that is cut finds the space it planned in job->raster. */
void *op_map_scratch(struct op_job *job, uint64_t bytes);

/* ---- what a function may say ---- */
int op_fail(struct op_job *job, Pwc__Code code, const char *fmt, ...) PRINTF(3, 4); /* returns -1 */
void op_result_i64(struct op_job *job, const char *name, int64_t v);
void op_result_u64(struct op_job *job, const char *name, uint64_t v);
void op_result_f64(struct op_job *job, const char *name, double v);
void op_result_i128(struct op_job *job, const char *name, __int128 v);
void op_result_i64s(struct op_job *job, const char *name, const int64_t *v, size_t n);
void op_result_str(struct op_job *job, const char *name, const char *v);
static inline bool op_cancelled(const struct op_job *job)
{
    return atomic_load_explicit(job->cancel, memory_order_relaxed) != 0;
}

/* producer: chunks below `upto` can be computed now. Fails when the supervisor is gone. */
int op_announce(struct op_job *job, uint64_t upto);
/* producer of a windowed raster: chunks below *ret_upto are absorbed, what only they needed may go. wait:
 * until that is more than the last call said. */
int op_released(struct op_job *job, bool wait, uint64_t *ret_upto);
/* consumer: the result of the next chunk in order, or NULL: stop (op_fail was called). Valid until absorbed.
 */
const void *op_next(struct op_job *job, uint64_t *ret_chunk);
/* consumer: everything below `upto` has been taken; its memory may be used again. */
int op_absorbed(struct op_job *job, uint64_t upto);
/* bytes written to the output so far, for the job's counts */
void op_wrote(struct op_job *job, uint64_t bytes);

/* ---- registration: worker/optable.c calls each family once ---- */
struct optable;
void optable_add(struct optable *t, const struct op *op); /* op must stay where it is */
void ops_basic(struct optable *t);                        /* noop, sleep */
void ops_array(struct optable *t);                        /* array.* */
void ops_image(struct optable *t);                        /* image.*, save.*, load.* (with libvips) */
void ops_fault(struct optable *t);                        /* fault.* (test builds) */
void ops_bench(struct optable *t);                        /* bench.* (test builds) */
void ops_image_start(void);     /* library start-up, in the nursery, single-threaded */
void ops_image_code(bool code); /* OP_NEEDS_CODE: does this stage have it? */

#endif
