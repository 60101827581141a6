/*
 * bench.c - bench.mix, in test builds only: chunks of a known amount of arithmetic, whose folded sum shows
 * that each counted exactly once. `make bench` compares it with the same arithmetic under other schedulers.
 */
#include <string.h>

#include "proto/limits.h"
#include "worker/op.h"
#include "worker/ops/bench_mix.h"

struct mix_state {
    uint64_t chunks, sum;
};

struct mix {
    uint64_t steps;
};

static int mix_open(struct op_job *job)
{
    struct mix *m = xcalloc(1, sizeof *m);
    m->steps = (uint64_t)op_int(job, "steps", 0);
    job->state = m;
    return 0;
}

static int mix_process(struct op_job *job, uint64_t chunk, void *result)
{
    (void)result;
    const struct mix *m = job->state;
    struct mix_state *s = job->fold;
    s->sum += bench_mix(chunk, m->steps);
    s->chunks++;
    return 0;
}

static int mix_fold(struct op_job *job, const void *state, size_t len)
{
    struct mix_state *into = job->fold, from;
    if (len != sizeof from)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "a fold state of %zu bytes", len);
    memcpy(&from, state, sizeof from);
    into->sum += from.sum;
    into->chunks += from.chunks;
    return 0;
}

static int mix_finish(struct op_job *job)
{
    const struct mix_state *s = job->fold;
    op_result_u64(job, "chunks", s->chunks);
    op_result_u64(job, "sum", s->sum);
    return 0;
}

static void mix_close(struct op_job *job)
{
    free(job->state);
}

static const struct op_param params[] = {
    {.name = "n",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "Number of chunks",
     .required = true,
     .min = 1,
     .max = (double)PWC_CHUNKS_MAX},
    {.name = "steps",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "Steps of arithmetic a chunk",
     .max = 1e15,
     .def = "0"},
};

static const struct op bench_ops[] = {
    {.name = "bench.mix",
     .version = "1",
     .summary = "Chunks of arithmetic",
     .params = params,
     .nparams = ARRAY_LEN(params),
     .count_param = "n",
     .absorb = PWC__ABSORB__ABSORB_FOLDED,
     .fold_bytes = sizeof(struct mix_state),
     .open = mix_open,
     .process = mix_process,
     .fold = mix_fold,
     .finish = mix_finish,
     .close = mix_close},
};

void ops_bench(struct optable *t)
{
    for (size_t i = 0; i < ARRAY_LEN(bench_ops); i++)
        optable_add(t, &bench_ops[i]);
}
