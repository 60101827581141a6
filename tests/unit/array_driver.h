/*
 * array_driver.h - runs array.* ops in this process: a stage's job without stages. Descriptors and parameters
 * come from the test; chunks are computed in random leases by random "workers" whose states are folded in a
 * random order, as a supervisor might.
 */
#ifndef PWC_TESTS_ARRAY_DRIVER_H
#define PWC_TESTS_ARRAY_DRIVER_H

#include "worker/op.h"

#define DRIVER_PARAMS  8
#define DRIVER_RESULTS 8

struct driver_param {
    const char *name, *text; /* text: strings, enums */
    double number;
};

struct driver_result {
    char name[16];
    __int128 i;
    double f;
    int64_t list[1024];
    size_t listed;
};

struct driver {
    struct driver_param params[DRIVER_PARAMS];
    size_t nparams;
    int in;
    const void *map; /* of it, when an op asked */
    size_t mapped;
    /* what came out */
    Pwc__Code code;
    char text[512];
    struct driver_result results[DRIVER_RESULTS];
    size_t nresults;
    struct op_plan plan;
    struct op_job job; /* first worker's */
};

void driver_init(struct driver *d, const char *op, const char *type, int in);
void driver_free(struct driver *d);
void driver_set(struct driver *d, const char *name, double number);

int driver_plan(struct driver *d);               /* as op->plan; then job.plan is there */
int driver_open(struct driver *d);               /* job.fold becomes neutral */
int driver_run(struct driver *d, unsigned seed); /* everything; leases and order depend on the seed */

/* NULL: no such result. */
const struct driver_result *driver_result(const struct driver *d, const char *name);
const struct op *driver_op(const char *name);

/* A small generator: the same numbers everywhere. */
uint64_t driver_random(uint64_t *state);

#endif
