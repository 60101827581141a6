/*
 * fault_copy.c - fault.copy, in test builds only: copies its input the long way, through every role there is
 * (plan, producer, workers, consumer; whole for small inputs and batches; with `place` workers write the
 * output), so that tests can kill any of them and compare the output with the input. `die`, `burn`, `eat`,
 * `hold`, `stick` and `fail` name the role that does that at chunk `at`.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "worker/ops/fault.h"

#define CODE(name) PWC__CODE__CODE_##name

/* What the plan's blob holds. */
struct copy_plan {
    uint64_t bytes, chunk;
};

static void pause_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};
    while (ms > 0 && nanosleep(&t, &t) < 0 && errno == EINTR)
        ; /* a stage that is asked for its stack gets a signal, and shall stay as stuck as it was */
}

static bool is(const struct op_job *job, const char *param, const char *role)
{
    return strcmp(op_str(job, param, "none"), role) == 0;
}

static int misbehave(struct op_job *job, const char *role, uint64_t chunk)
{
    pause_ms(is(job, "slow", role) ? op_int(job, "ms", 0) : 0);
    if (!fault_due(job, chunk))
        return 0;
    for (size_t i = 0; i < FAULT_WAYS; i++)
        if (is(job, fault_ways[i], role) && fault_do(job, fault_ways[i], role) < 0)
            return -1;
    return 0;
}

static uint64_t chunk_len(const struct copy_plan *p, uint64_t chunk)
{
    return MIN(p->chunk, p->bytes - chunk * p->chunk);
}

static int input_size(struct op_job *job, uint64_t *ret)
{
    struct stat st;
    if (fstat(op_fd(job, "in"), &st) < 0)
        return op_fail(job, CODE(BAD_INPUT), "in: %s", strerror(errno));
    if (st.st_size == 0)
        return op_fail(job, CODE(BAD_INPUT), "in: is empty");
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int copy_plan(struct op_job *job, struct op_plan *plan)
{
    struct copy_plan p = {.chunk = (uint64_t)op_int(job, "chunk", 65536)};
    if (job->state != NULL)
        return op_fail(job, CODE(INTERNAL), "the attempt before has left its state");
    job->state = xcalloc(1, sizeof p);
    if (input_size(job, &p.bytes) < 0)
        return -1;
    if (misbehave(job, "plan", (uint64_t)op_int(job, "at", 0)) < 0)
        return -1;
    plan->whole = p.bytes <= p.chunk;
    plan->chunks = (p.bytes + p.chunk - 1) / p.chunk;
    plan->absorb = op_bool(job, "place", false) ? PWC__ABSORB__ABSORB_PLACED : PWC__ABSORB__ABSORB_SERIAL;
    plan->result_bytes = plan->absorb == PWC__ABSORB__ABSORB_PLACED ? 0 : p.chunk;
    plan->raster_bytes = p.bytes;
    plan->producer = true;
    plan->unit = "bytes";
    plan->unit_size = p.chunk;
    plan->units = p.bytes;
    plan->blob = xcalloc(1, sizeof p);
    plan->blob_len = sizeof p;
    memcpy(plan->blob, &p, sizeof p);
    return 0;
}

static int copy_produce(struct op_job *job)
{
    const struct copy_plan *p = job->plan;
    for (uint64_t i = 0; i < job->chunks; i++) {
        uint64_t at = i * p->chunk;
        if (misbehave(job, "produce", i) < 0)
            return -1;
        int r = pread_all(op_fd(job, "in"), (char *)job->raster + at, chunk_len(p, i), at);
        if (r < 0)
            return op_fail(job, CODE(BAD_INPUT), "in: %s", strerror(-r));
        if (op_announce(job, i + 1) < 0)
            return -1;
    }
    return 0;
}

static int put(struct op_job *job, const void *from, uint64_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pwrite(op_fd(job, "out"), from, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return op_fail(job, CODE(OUTPUT), "out: %s", strerror(errno));
        from = (const char *)from + n;
        len -= (uint64_t)n;
        at += (uint64_t)n;
    }
    op_wrote(job, at);
    return 0;
}

static int copy_process(struct op_job *job, uint64_t chunk, void *result)
{
    const struct copy_plan *p = job->plan;
    const char *from = (const char *)job->raster + chunk * p->chunk;
    if (misbehave(job, "process", chunk) < 0)
        return -1;
    if (job->absorb == PWC__ABSORB__ABSORB_PLACED)
        return put(job, from, chunk_len(p, chunk), chunk * p->chunk);
    memcpy(result, from, chunk_len(p, chunk));
    return 0;
}

static int copy_blank(struct op_job *job, uint64_t chunk, uint8_t byte)
{
    const struct copy_plan *p = job->plan;
    const uint64_t len = chunk_len(p, chunk);
    AUTO_FREE char *some = xcalloc(1, len);
    if (misbehave(job, "fill", chunk) < 0)
        return -1;
    memset(some, byte, len);
    return put(job, some, len, chunk * p->chunk);
}

static int copy_merge(struct op_job *job)
{
    const struct copy_plan *p = job->plan;
    uint64_t chunk;
    for (uint64_t i = 0; i < job->chunks; i++) {
        if (misbehave(job, "merge", i) < 0)
            return -1;
        const void *from = op_next(job, &chunk);
        if (from == NULL || put(job, from, chunk_len(p, chunk), chunk * p->chunk) < 0 ||
            op_absorbed(job, chunk + 1) < 0)
            return -1;
    }
    return 0;
}

static int copy_whole(struct op_job *job)
{
    AUTO_FREE char *buffer = xcalloc(1, 65536);
    uint64_t bytes;
    if (input_size(job, &bytes) < 0 || misbehave(job, "whole", job->item) < 0)
        return -1;
    for (uint64_t at = 0, n; at < bytes; at += n) {
        n = MIN(bytes - at, 65536u);
        int r = pread_all(op_fd(job, "in"), buffer, n, at);
        if (r < 0)
            return op_fail(job, CODE(BAD_INPUT), "in: %s", strerror(-r));
        if (put(job, buffer, n, at) < 0)
            return -1;
    }
    return 0;
}

static void copy_close(struct op_job *job)
{
    free(TAKE_PTR(job->state));
}

#define NUMBER(n, text, from, d)                                                                             \
    {                                                                                                        \
        .name = n, .type = PWC__PARAM_TYPE__PARAM_UINT, .summary = text, .min = from, .max = 1e9, .def = d   \
    }
static const struct op_choice who[] = {
    {"none", "nobody"},          {"plan", "the planner"},
    {"produce", "the producer"}, {"process", "a worker"},
    {"merge", "the consumer"},   {"fill", "who fills what was given up, with `place`"},
    {"whole", "all in one"},     {NULL, NULL}};
static const struct op_param params[] = {
    NUMBER("chunk", "Bytes a chunk", 1, "65536"),
    {.name = "die",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who is killed",
     .def = "none",
     .choices = who},
    {.name = "burn",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who computes for ever",
     .def = "none",
     .choices = who},
    {.name = "eat",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who takes 200 MiB and keeps them",
     .def = "none",
     .choices = who},
    {.name = "hold",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who waits until it is asked for its stack",
     .def = "none",
     .choices = who},
    {.name = "stick",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who stands still",
     .def = "none",
     .choices = who},
    {.name = "fail",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who returns an error",
     .def = "none",
     .choices = who},
    NUMBER("at", "At which chunk", 0, "0"),
    {.name = "every", .type = PWC__PARAM_TYPE__PARAM_BOOL, .summary = "And at all behind it", .def = "false"},
    {.name = "place",
     .type = PWC__PARAM_TYPE__PARAM_BOOL,
     .summary = "Workers write the output",
     .def = "false"},
    NUMBER("attempts", "How many attempts at it", 0, "1"),
    {.name = "slow",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "Who is slow",
     .def = "none",
     .choices = who},
    NUMBER("ms", "How slow, a chunk", 0, "0"),
};
static const struct op_role roles[] = {{"in", PWC__ROLE_DIR__ROLE_IN, false, "What is copied"},
                                       {"out", PWC__ROLE_DIR__ROLE_OUT, false, "The copy"}};

const struct op fault_copy = {
    .name = "fault.copy",
    .version = "1",
    .summary = "Copies a file through every role",
    .params = params,
    .nparams = ARRAY_LEN(params),
    .roles = roles,
    .nroles = ARRAY_LEN(roles),
    .absorb = PWC__ABSORB__ABSORB_SERIAL,
    .scratch = true,
    .plan = copy_plan,
    .produce = copy_produce,
    .process = copy_process,
    .blank = copy_blank,
    .merge = copy_merge,
    .whole = copy_whole,
    .close = copy_close,
};
