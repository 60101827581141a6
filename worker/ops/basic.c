/* basic.c - noop and sleep: chunks that do nothing, for measuring and for watching. */
#include <time.h>

#include "proto/limits.h"
#include "ipc/clock.h"
#include "worker/op.h"

#define LOOK_MS 20 /* how long a cancelled sleep may go on */

static int noop_process(struct op_job *job, uint64_t chunk, void *result)
{
    (void)job;
    (void)chunk;
    (void)result;
    return 0;
}

static int sleep_process(struct op_job *job, uint64_t chunk, void *result)
{
    (void)chunk;
    (void)result;
    int64_t left = op_int(job, "ms", 0);
    while (left > 0) {
        if (op_cancelled(job))
            return op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
        int64_t ms = MIN(left, LOOK_MS);
        struct timespec t = {.tv_nsec = (long)(ms * NS_PER_MS)};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        left -= ms;
    }
    return 0;
}

#define COUNT                                                                                                \
    {                                                                                                        \
        .name = "n", .type = PWC__PARAM_TYPE__PARAM_UINT, .summary = "number of chunks", .required = true,   \
        .min = 1, .max = (double)PWC_CHUNKS_MAX                                                              \
    }

static const struct op_param noop_params[] = {COUNT};
static const struct op_param sleep_params[] = {
    COUNT,
    {.name = "ms",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "how long each chunk takes",
     .max = 86400e3,
     .def = "0",
     .unit = "ms"},
};

static const struct op basic[] = {
    {.name = "noop",
     .version = "1",
     .summary = "chunks that do nothing",
     .params = noop_params,
     .nparams = ARRAY_LEN(noop_params),
     .count_param = "n",
     .process = noop_process},
    {.name = "sleep",
     .version = "1",
     .summary = "chunks that wait",
     .params = sleep_params,
     .nparams = ARRAY_LEN(sleep_params),
     .count_param = "n",
     .process = sleep_process},
};

void ops_basic(struct optable *t)
{
    for (size_t i = 0; i < ARRAY_LEN(basic); i++)
        optable_add(t, &basic[i]);
}
