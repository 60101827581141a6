/*
 * op_driver.h - runs an op in this process: what the stage runtime does, without processes or protocol.
 *
 * Planner, worker and consumer are jobs of their own with states of their own, as they would be in their
 * stages. Chunks are computed as soon as they are announced, while the rest of the raster is still empty, in
 * random order by random workers; and once more after the producer has ended, when they must give the same
 * bytes.
 */
#ifndef PWC_TESTS_OP_DRIVER_H
#define PWC_TESTS_OP_DRIVER_H

#include "worker/op.h"

#define DRIVER_FDS     4
#define DRIVER_RESULTS 16
#define DRIVER_WORKERS 2

struct op_run {
    const struct op *op;
    Pwc__Param *params[32], *save[32], *load[32];
    size_t nparams, nsave, nload;
    struct {
        const char *role;
        int fd;
    } fds[DRIVER_FDS];
    size_t nfds;
    const char *format;
    struct op_budget budget;
    bool batch; /* whole() at once, without a plan or scratch space */
    _Atomic uint32_t cancel;
    unsigned seed;
    bool blank; /* PLACED: a chunk that was computed is given up all the same */
    uint64_t blank_chunk;
    uint8_t blank_byte;
    void (*on_plan)(struct op_run *run); /* called when there is a plan; may be NULL */
    /* called before each chunk is computed for the first time; may be NULL */
    void (*on_chunk)(struct op_run *run, uint64_t chunk);
    /* ---- what came out ---- */
    Pwc__Code code;
    char text[1024];
    bool keep_plan;
    struct op_plan plan;  /* its blob is freed with the run if keep_plan, else it is gone */
    uint64_t early;       /* chunks computed before the producer had ended */
    uint64_t raster_kept; /* bytes of the raster that were not given back */
    uint64_t wrote;
    struct {
        char name[32], value[64];
    } results[DRIVER_RESULTS];
    size_t nresults;
    struct op_run_private *priv;
};

const struct op *driver_op(const char *name); /* NULL: none */
size_t driver_ops(const struct op *const **ret);
void run_init(struct op_run *run, const char *op);
void run_free(struct op_run *run); /* closes the descriptors */
/* "sigma=8": typed by the op's table, as the supervisor does it. */
void run_param(struct op_run *run, const char *assignment);
void run_save(struct op_run *run, const char *assignment);
void run_load(struct op_run *run, const char *loader, const char *assignment);
void run_fd(struct op_run *run, const char *role, int fd);
int run_go(struct op_run *run); /* 0 or -1 */

#endif
