/*
 * array.c - array.sum, array.min, array.max, array.histogram: raw arrays of one element type, in a file or a
 * memory file of any size, in this machine's byte order.
 *
 * plan() looks at the size and writes where the elements lie into the plan, so that all workers see the same
 * array whatever happens to the file meanwhile. Each chunk makes a state of its own from nothing and is
 * merged into the lease's only when it is complete: a chunk that fails halfway leaves no trace.
 *
 * NaNs: a sum is NaN if an element is; min and max ignore them (NaN if there is nothing else); a histogram
 * counts them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"
#include "worker/ops/array.h"

#define LARGEST 4611686018427387904.0 /* 2^62: beyond any file, and exact as a double */

/* The plan's blob. */
struct array_plan {
    uint64_t at, elements;
};

static const struct array_family *family(const struct op_job *job)
{
    return job->op->family;
}

static const struct array_type *type_of(struct op_job *job)
{
    const char *name = op_str(job, "type", "");
    const struct array_type *type = array_type_find(name);
    if (type == NULL)
        op_fail(job, PWC__CODE__CODE_BAD_PARAM,
                "type: \"%s\" is not an element type: int8 to int64, uint8 to uint64, float32, float64",
                name);
    return type;
}

/* ---- planning ---- */

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
    case S_IFBLK:
        return "a device";
    default:
        return "something without contents";
    }
}

static int input_size(struct op_job *job, uint64_t *ret_bytes)
{
    int fd = op_fd(job, "in");
    struct stat st;
    if (fd < 0)
        return op_fail(job, PWC__CODE__CODE_BAD_DESCRIPTOR, "in: missing");
    if (fstat(fd, &st) < 0)
        return op_fail(job, PWC__CODE__CODE_INPUT_IO, "in: its size cannot be read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT,
                       "in: %s is not an array: a regular file or a memfd is needed", kind_of(st.st_mode));
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

/* `count` elements from byte `at`, all of them inside the input. */
static int check_count(struct op_job *job, const struct array_type *type, uint64_t bytes, uint64_t at,
                       uint64_t count)
{
    uint64_t wanted, end;
    if (!mul_u64(count, type->size, &wanted) || !add_u64(at, wanted, &end) || end > bytes)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT,
                       "in: %" PRIu64 " bytes do not hold %" PRIu64
                       " of %s (%zu bytes each) from byte %" PRIu64,
                       bytes, count, type->name, type->size, at);
    return 0;
}

static int find_elements(struct op_job *job, const struct array_type *type, struct array_plan *ret)
{
    uint64_t bytes = 0;
    if (input_size(job, &bytes) < 0)
        return -1;
    uint64_t at = (uint64_t)op_int(job, "offset", 0), count = (uint64_t)op_int(job, "count", 0);
    if (at > bytes)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT,
                       "in: offset %" PRIu64 " lies behind the end (%" PRIu64 " bytes)", at, bytes);
    uint64_t rest = bytes - at;
    if (count > 0 && check_count(job, type, bytes, at, count) < 0)
        return -1;
    if (count == 0 && rest % type->size != 0)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT,
                       "in: %" PRIu64 " bytes%s are not a whole number of %s (%zu bytes)", rest,
                       at > 0 ? " from the offset on" : "", type->name, type->size);
    uint64_t elements = count > 0 ? count : rest / type->size;
    if (elements == 0 && family(job)->some)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT, "in: no elements: %s of nothing is not defined",
                       job->op->name);
    *ret = (struct array_plan){at, elements};
    return 0;
}

static int get_edges(struct op_job *job, struct array_edges *edges)
{
    int64_t bins = op_int(job, "bins", 0);
    if (bins < 1 || bins > ARRAY_BINS_MAX)
        return op_fail(job, PWC__CODE__CODE_BAD_PARAM, "bins: %" PRId64 " is not between 1 and %d", bins,
                       ARRAY_BINS_MAX);
    double min = op_float(job, "min", (double)NAN), max = op_float(job, "max", (double)NAN);
    const char *wrong = array_edges_set(edges, (size_t)bins, min, max);
    if (wrong != NULL)
        return op_fail(job, PWC__CODE__CODE_BAD_PARAM, "min, max: %s (%g, %g)", wrong, min, max);
    return 0;
}

static int array_plan(struct op_job *job, struct op_plan *plan)
{
    const struct array_type *type = type_of(job);
    struct array_plan found = {0};
    struct array_edges edges;
    if (type == NULL || find_elements(job, type, &found) < 0)
        return -1;
    if (family(job) == &array_family_histogram && get_edges(job, &edges) < 0)
        return -1;
    struct array_plan *blob = xcalloc(1, sizeof *blob);
    *blob = found;
    plan->blob = blob;
    plan->blob_len = sizeof *blob;
    plan->absorb = PWC__ABSORB__ABSORB_FOLDED;
    plan->unit = "bytes";
    plan->unit_from = found.at;
    plan->unit_size = ARRAY_CHUNK;
    plan->units = found.elements * type->size;
    plan->chunks = MAX(plan->units / ARRAY_CHUNK + (plan->units % ARRAY_CHUNK != 0), (uint64_t)1);
    return 0;
}

/* ---- computing ---- */

static void array_free(struct array *a)
{
    array_read_close(a);
    free(a->edges);
    free(a);
}

static void array_close(struct op_job *job)
{
    struct array *a = TAKE_PTR(job->state);
    if (a != NULL)
        array_free(a);
}

static int array_open(struct op_job *job)
{
    struct array_plan plan;
    const struct array_type *type = type_of(job);
    if (type == NULL)
        return -1;
    if (job->plan_len != sizeof plan)
        return op_fail(job, PWC__CODE__CODE_INTERNAL, "plan of %zu bytes instead of %zu", job->plan_len,
                       sizeof plan);
    memcpy(&plan, job->plan, sizeof plan);
    struct array *a = xcalloc(1, sizeof *a);
    *a = (struct array){.type = type, .fd = op_fd(job, "in"), .at = plan.at, .elements = plan.elements};
    job->state = a;
    if (array_read_open(job, a) < 0)
        return -1;
    if (family(job) != &array_family_histogram)
        return 0;
    a->edges = xcalloc(1, sizeof *a->edges);
    return get_edges(job, a->edges);
}

static int array_process(struct op_job *job, uint64_t chunk, void *result)
{
    (void)result;
    struct array *a = job->state;
    const uint64_t a_chunk = ARRAY_CHUNK / a->type->size, a_part = ARRAY_PART / a->type->size;
    union array_state s = {0};
    uint64_t first = chunk * a_chunk, end = MIN(first + a_chunk, a->elements);
    array_read_chunk(a, first, end);
    for (uint64_t at = first; at < end;) {
        size_t n = (size_t)MIN(a_part, end - at);
        if (op_cancelled(job))
            return op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
        const void *part = array_read_part(job, a, at, n);
        if (part == NULL)
            return -1;
        family(job)->add(a, &s, part, n, at);
        at += n;
    }
    if (array_read_passed(job, a, first, end) < 0)
        return -1;
    family(job)->merge(a, job->fold, &s);
    return 0;
}

static int array_fold(struct op_job *job, const void *state, size_t len)
{
    const struct array *a = job->state;
    union array_state s = {0};
    if (len != job->op->fold_bytes)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "fold state of %zu bytes instead of %zu", len,
                       job->op->fold_bytes);
    memcpy(&s, state, len);
    if (!family(job)->valid(a, &s))
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "fold state that %s cannot have made", job->op->name);
    family(job)->merge(a, job->fold, &s);
    return 0;
}

static int array_finish(struct op_job *job)
{
    family(job)->results(job, job->state, job->fold);
    return 0;
}

/* ---- the table ---- */

#define COMMON                                                                                               \
    {.name = "type",                                                                                         \
     .type = PWC__PARAM_TYPE__PARAM_ENUM,                                                                    \
     .summary = "element type",                                                                              \
     .required = true,                                                                                       \
     .choices = array_type_choices},                                                                         \
        {.name = "offset",                                                                                   \
         .type = PWC__PARAM_TYPE__PARAM_UINT,                                                                \
         .summary = "where the array begins in the input",                                                   \
         .max = LARGEST,                                                                                     \
         .def = "0",                                                                                         \
         .unit = "bytes"},                                                                                   \
    {                                                                                                        \
        .name = "count", .type = PWC__PARAM_TYPE__PARAM_UINT,                                                \
        .summary = "how many elements; 0: all the rest", .max = LARGEST, .def = "0", .unit = "elements"      \
    }

static const struct op_param params[] = {COMMON};
static const struct op_param histogram_params[] = {
    COMMON,
    {.name = "bins",
     .type = PWC__PARAM_TYPE__PARAM_INT,
     .summary = "number of bins of equal width",
     .required = true,
     .min = 1,
     .max = ARRAY_BINS_MAX},
    {.name = "min",
     .type = PWC__PARAM_TYPE__PARAM_FLOAT,
     .summary = "lower edge of the first bin",
     .required = true},
    {.name = "max",
     .type = PWC__PARAM_TYPE__PARAM_FLOAT,
     .summary = "upper edge of the last bin, which includes it",
     .required = true},
};
static const struct op_role roles[] = {
    {.name = "in", .dir = PWC__ROLE_DIR__ROLE_IN, .summary = "raw elements in this machine's byte order"}};

#define ROW(op_name, text, parameters, ops, state)                                                           \
    {                                                                                                        \
        .name = op_name, .version = "1", .summary = text, .params = parameters,                              \
        .nparams = ARRAY_LEN(parameters), .roles = roles, .nroles = ARRAY_LEN(roles),                        \
        .kind = PWC__OP_KIND__OP_JOB, .absorb = PWC__ABSORB__ABSORB_FOLDED, .fold_bytes = sizeof(state),     \
        .family = &(ops), .plan = array_plan, .open = array_open, .process = array_process,                  \
        .fold = array_fold, .finish = array_finish, .close = array_close                                     \
    }

static const struct op rows[] = {
    ROW("array.sum", "sum of all elements, exact for integers and the same in every run for floats", params,
        array_family_sum, struct array_sum),
    ROW("array.min", "smallest element and the index of the first such; NaNs are ignored", params,
        array_family_min, struct array_extreme),
    ROW("array.max", "largest element and the index of the first such; NaNs are ignored", params,
        array_family_max, struct array_extreme),
    ROW("array.histogram", "how many elements lie in each of a number of equal bins", histogram_params,
        array_family_histogram, struct array_histogram),
};

_Static_assert(sizeof(union array_state) <= PWC_STATE_MAX, "a state fits a tail twice");

void ops_array(struct optable *t)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        optable_add(t, &rows[i]);
}
