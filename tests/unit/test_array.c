/* test_array.c - array.* against straightforward references, however the chunks are grouped into leases. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "proto/limits.h"
#include "tests/unit/array_case.h"
#include "tests/unit/runner.h"
#include "worker/ops/array.h"

static const struct {
    const char *name;
    size_t size;
    enum array_kind kind;
} types[] = {
    {"int8", 1, ARRAY_INT},      {"int16", 2, ARRAY_INT},   {"int32", 4, ARRAY_INT},
    {"int64", 8, ARRAY_INT},     {"uint8", 1, ARRAY_UINT},  {"uint16", 2, ARRAY_UINT},
    {"uint32", 4, ARRAY_UINT},   {"uint64", 8, ARRAY_UINT}, {"float32", 4, ARRAY_FLOAT},
    {"float64", 8, ARRAY_FLOAT},
};

static __int128 load_integer(const uint8_t *at, size_t size, bool is_signed)
{
    uint64_t v = 0;
    for (size_t i = size; i-- > 0;)
        v = v << 8 | at[i];
    if (is_signed && size < 8 && v >> (8 * size - 1) != 0)
        v |= UINT64_MAX << (8 * size);
    return is_signed ? (__int128)(int64_t)v : (__int128)v;
}

static double load_float(const uint8_t *at, size_t size)
{
    float f;
    double d;
    memcpy(size == sizeof f ? (void *)&f : (void *)&d, at, size);
    return size == sizeof f ? (double)f : d;
}

/* ---- random arrays of all types, lengths around every boundary ---- */

/* Small integers for floats, so that sums are exact in any order; wild bytes for the rest. */
static void fill(uint8_t *to, size_t n, size_t t, uint64_t *random)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = driver_random(random);
        float f = (float)(int64_t)(v % 20001) - 10000.0f;
        double d = (double)(int64_t)(v % 2000001) - 1000000.0;
        const void *from = types[t].kind != ARRAY_FLOAT ? (const void *)&v
                           : types[t].size == 4         ? (const void *)&f
                                                        : (const void *)&d;
        memcpy(to + i * types[t].size, from, types[t].size);
    }
}

static double load(const uint8_t *at, size_t t)
{
    return types[t].kind == ARRAY_FLOAT ? load_float(at, types[t].size)
                                        : (double)load_integer(at, types[t].size, types[t].kind == ARRAY_INT);
}

static void check_sum(int fd, size_t offset, const uint8_t *x, size_t n, size_t t, unsigned seed)
{
    struct driver d;
    driver_init(&d, "array.sum", types[t].name, fd);
    driver_set(&d, "offset", (double)offset);
    __int128 sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += types[t].kind == ARRAY_FLOAT
                   ? (__int128)load_float(x + i * types[t].size, types[t].size)
                   : load_integer(x + i * types[t].size, types[t].size, types[t].kind == ARRAY_INT);
    ck_assert_msg(driver_run(&d, seed) == 0, "%s", d.text);
    if (types[t].kind == ARRAY_FLOAT)
        ck_assert_double_eq(want(&d, "sum")->f, (double)sum);
    else
        same_i128(want(&d, "sum")->i, sum, types[t].name);
    ck_assert_uint_eq((uint64_t)want(&d, "count")->i, n);
    driver_free(&d);
}

static void check_extreme(int fd, size_t offset, const uint8_t *x, size_t n, size_t t, bool max,
                          unsigned seed)
{
    struct driver d;
    const size_t size = types[t].size;
    driver_init(&d, max ? "array.max" : "array.min", types[t].name, fd);
    driver_set(&d, "offset", (double)offset);
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        bool less, more;
        if (types[t].kind == ARRAY_FLOAT) {
            double v = load_float(x + i * size, size), b = load_float(x + best * size, size);
            less = v<b, more = v> b;
        } else {
            __int128 v = load_integer(x + i * size, size, types[t].kind == ARRAY_INT);
            __int128 b = load_integer(x + best * size, size, types[t].kind == ARRAY_INT);
            less = v<b, more = v> b;
        }
        if (max ? more : less)
            best = i;
    }
    ck_assert_msg(driver_run(&d, seed) == 0, "%s", d.text);
    const struct driver_result *r = want(&d, max ? "max" : "min");
    if (types[t].kind == ARRAY_FLOAT)
        ck_assert_double_eq(r->f, load_float(x + best * size, size));
    else
        same_i128(r->i, load_integer(x + best * size, size, types[t].kind == ARRAY_INT), types[t].name);
    ck_assert_uint_eq((uint64_t)want(&d, "index")->i, best);
    ck_assert_uint_eq((uint64_t)want(&d, "count")->i, n);
    driver_free(&d);
}

static void check_histogram(int fd, size_t offset, const uint8_t *x, size_t n, size_t t, unsigned seed)
{
    struct driver d;
    struct array_edges edges;
    uint64_t random = seed, under = 0, over = 0;
    const double largest = types[t].kind == ARRAY_FLOAT ? 9000.0 : ldexp(1.0, (int)(8 * types[t].size) - 1);
    const size_t bins = 1 + driver_random(&random) % 300;
    const double min = types[t].kind == ARRAY_UINT ? largest / 5 : -largest / 3, max = largest * 0.75;
    int64_t *counts = xcalloc(bins, sizeof *counts);
    ck_assert_ptr_null(array_edges_set(&edges, bins, min, max));
    for (size_t i = 0; i < n; i++) {
        double v = load(x + i * types[t].size, t);
        size_t bin = 0;
        while (bin < bins && v >= edges.edge[bin])
            bin++;
        under += v < min;
        over += v > max;
        if (v >= min && v <= max)
            counts[bin - 1]++;
    }
    driver_init(&d, "array.histogram", types[t].name, fd);
    driver_set(&d, "offset", (double)offset);
    driver_set(&d, "bins", (double)bins);
    driver_set(&d, "min", min);
    driver_set(&d, "max", max);
    ck_assert_msg(driver_run(&d, seed) == 0, "%s", d.text);
    ck_assert_uint_eq(want(&d, "counts")->listed, bins);
    ck_assert_mem_eq(want(&d, "counts")->list, counts, bins * sizeof *counts);
    ck_assert_uint_eq((uint64_t)want(&d, "under")->i, under);
    ck_assert_uint_eq((uint64_t)want(&d, "over")->i, over);
    ck_assert_uint_eq((uint64_t)want(&d, "count")->i, n);
    driver_free(&d);
    free(counts);
}

/* _i: the type. Odd offsets make every element unaligned in the file. */
START_TEST(all_ops_all_lengths)
{
    const size_t t = (size_t)_i, per = ARRAY_CHUNK / types[t].size, part = ARRAY_PART / types[t].size;
    const size_t lengths[] = {1,        2,        3,       15,  17,      1023,       1025,
                              part - 1, part + 1, per - 1, per, per + 1, per * 5 / 2};
    uint64_t random = 7 + t;
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
        const size_t n = lengths[l], offset = l % 2 == 0 ? 0 : 1 + l, bytes = offset + n * types[t].size;
        uint8_t *data = xcalloc(1, bytes);
        fill(data + offset, n, t, &random);
        AUTO_FD int fd = memory_file(data, bytes);
        check_sum(fd, offset, data + offset, n, t, (unsigned)l);
        check_extreme(fd, offset, data + offset, n, t, false, (unsigned)l);
        check_extreme(fd, offset, data + offset, n, t, true, (unsigned)l);
        check_histogram(fd, offset, data + offset, n, t, (unsigned)l);
        free(data);
    }
}
END_TEST

/* The smallest and the largest values that fill 128 bits fastest. */
START_TEST(sums_of_extremes)
{
    const size_t n = ARRAY_CHUNK / 8 * 3 + 5;
    const uint64_t patterns[] = {(uint64_t)1 << 63, INT64_MAX, UINT64_MAX, 0x8000000080000000ull,
                                 0x8080808080808080ull};
    uint64_t *data = xcalloc(n, sizeof *data);
    for (size_t p = 0; p < ARRAY_LEN(patterns); p++) {
        for (size_t i = 0; i < n; i++)
            data[i] = patterns[p];
        AUTO_FD int fd = memory_file(data, n * sizeof *data);
        for (size_t t = 0; t < ARRAY_LEN(types); t++)
            if (types[t].kind != ARRAY_FLOAT)
                check_sum(fd, 0, (const uint8_t *)data, n * 8 / types[t].size, t, 3);
    }
    free(data);
}
END_TEST

/* ---- floats ---- */

static double sum_of(const char *type, const void *data, size_t bytes, unsigned seed)
{
    struct driver d;
    AUTO_FD int fd = memory_file(data, bytes);
    driver_init(&d, "array.sum", type, fd);
    ck_assert_msg(driver_run(&d, seed) == 0, "%s", d.text);
    double sum = want(&d, "sum")->f;
    driver_free(&d);
    return sum;
}

START_TEST(float_sums_are_the_same_in_any_grouping)
{
    const size_t n = ARRAY_CHUNK / 4 * 5 + 77;
    uint64_t random = 11;
    double *wide = xcalloc(n, sizeof *wide);
    float *narrow = xcalloc(n, sizeof *narrow);
    for (size_t i = 0; i < n; i++) {
        uint64_t v = driver_random(&random);
        wide[i] = ldexp((double)(int64_t)v, (int)(driver_random(&random) % 1800) - 1000);
        narrow[i] = (float)ldexp((double)(int64_t)v, (int)(driver_random(&random) % 200) - 180);
    }
    double wide_sum = sum_of("float64", wide, n * sizeof *wide, 0);
    double narrow_sum = sum_of("float32", narrow, n * sizeof *narrow, 0);
    for (unsigned seed = 1; seed < 12; seed++) {
        double w = sum_of("float64", wide, n * sizeof *wide, seed);
        double f = sum_of("float32", narrow, n * sizeof *narrow, seed);
        ck_assert_mem_eq(&w, &wide_sum, sizeof w);
        ck_assert_mem_eq(&f, &narrow_sum, sizeof f);
    }
    free(wide);
    free(narrow);
}
END_TEST

START_TEST(float_sums_survive_cancellation_and_overflow)
{
    const double cancel[] = {1e16, 1, -1e16, 1e-9, 1, -1e-9};
    ck_assert_double_eq(sum_of("float64", cancel, sizeof cancel, 1), 2.0);
    const double overflow[] = {DBL_MAX, DBL_MAX, -DBL_MAX, -DBL_MAX, 3};
    ck_assert_double_eq(sum_of("float64", overflow, sizeof overflow, 1), 3.0);
    /* All in one lane, where doubles alone would overflow on the way. */
    double lane[65] = {0};
    lane[0] = lane[16] = lane[32] = DBL_MAX;
    lane[48] = -DBL_MAX;
    lane[64] = -DBL_MAX;
    ck_assert_double_eq(sum_of("float64", lane, sizeof lane, 1), DBL_MAX);
    lane[48] = 1;
    ck_assert_double_eq(sum_of("float64", lane, sizeof lane, 1), (double)INFINITY);
    const double tiny[] = {4.9406564584124654e-324, 4.9406564584124654e-324, 2.2250738585072014e-308};
    ck_assert_double_eq(sum_of("float64", tiny, sizeof tiny, 1), 2.2250738585072024e-308);
    const float floats[] = {FLT_MAX, FLT_MAX, -FLT_MAX, 1.0f};
    ck_assert_double_eq(sum_of("float32", floats, sizeof floats, 1), (double)FLT_MAX + 1.0);
    const double zeros[] = {-0.0, -0.0};
    double zero = sum_of("float64", zeros, sizeof zeros, 1);
    ck_assert(zero == 0.0 && !signbit(zero));
}
END_TEST

START_TEST(float_sums_know_infinities_and_nan)
{
    const double inf = (double)INFINITY, nan = (double)NAN;
    const double plus[] = {1, inf, -DBL_MAX, inf}, minus[] = {-inf, 5}, both[] = {inf, 1, -inf},
                 none[] = {1, nan, inf};
    ck_assert_double_eq(sum_of("float64", plus, sizeof plus, 1), inf);
    ck_assert_double_eq(sum_of("float64", minus, sizeof minus, 1), -inf);
    ck_assert_double_nan(sum_of("float64", both, sizeof both, 1));
    ck_assert_double_nan(sum_of("float64", none, sizeof none, 1));
    const float f[] = {(float)INFINITY, 1.0f}, g[] = {1.0f, (float)NAN};
    ck_assert_double_eq(sum_of("float32", f, sizeof f, 1), inf);
    ck_assert_double_nan(sum_of("float32", g, sizeof g, 1));
}
END_TEST

static void extreme_of(const char *op, const char *type, const void *data, size_t bytes, struct driver *ret)
{
    AUTO_FD int fd = memory_file(data, bytes);
    driver_init(ret, op, type, fd);
    ck_assert_msg(driver_run(ret, 5) == 0, "%s", ret->text);
}

START_TEST(extremes_ignore_nan_and_take_the_first)
{
    struct driver d;
    const double inf = (double)INFINITY, nan = (double)NAN;
    const double some[] = {nan, 3, 1, nan, 1, 9, 9}, none[] = {nan, nan, nan}, infs[] = {nan, inf, inf},
                 z[] = {0.0, -0.0};
    extreme_of("array.min", "float64", some, sizeof some, &d);
    ck_assert_double_eq(want(&d, "min")->f, 1);
    ck_assert_int_eq((int64_t)want(&d, "index")->i, 2);
    ck_assert_int_eq((int64_t)want(&d, "nan")->i, 2);
    ck_assert_int_eq((int64_t)want(&d, "count")->i, 7);
    driver_free(&d);
    extreme_of("array.max", "float64", some, sizeof some, &d);
    ck_assert_int_eq((int64_t)want(&d, "index")->i, 5);
    driver_free(&d);
    extreme_of("array.max", "float64", none, sizeof none, &d);
    ck_assert_double_nan(want(&d, "max")->f);
    ck_assert_ptr_null(driver_result(&d, "index"));
    driver_free(&d);
    extreme_of("array.min", "float64", infs, sizeof infs, &d);
    ck_assert_double_eq(want(&d, "min")->f, inf);
    ck_assert_int_eq((int64_t)want(&d, "index")->i, 1);
    driver_free(&d);
    extreme_of("array.min", "float64", z, sizeof z, &d);
    ck_assert_int_eq((int64_t)want(&d, "index")->i, 0);
    driver_free(&d);
}
END_TEST

/* Equal values in every chunk: the first index wins whoever reports first. */
START_TEST(extremes_of_constant_arrays_are_at_index_0)
{
    const size_t bytes = 3 * ARRAY_CHUNK + 8;
    uint8_t *data = xcalloc(1, bytes);
    AUTO_FD int fd = memory_file(data, bytes);
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (unsigned seed = 0; seed < 4; seed++)
            check_extreme(fd, 0, data, bytes / types[t].size, t, seed % 2 == 0, seed);
    free(data);
}
END_TEST

/* ---- histogram ---- */

START_TEST(histogram_edges)
{
    struct driver d;
    const double inf = (double)INFINITY;
    const double x[] = {-0.1, 0, 0.1, 0.3, 0.7, 0.999, 1.0, 1.0000001, inf, -inf, (double)NAN};
    AUTO_FD int fd = memory_file(x, sizeof x);
    driver_init(&d, "array.histogram", "float64", fd);
    driver_set(&d, "bins", 10);
    driver_set(&d, "min", 0);
    driver_set(&d, "max", 1);
    ck_assert_msg(driver_run(&d, 1) == 0, "%s", d.text);
    /* 0.3 lies below 3 * 0.1 and 0.7 below 7 * 0.1 in doubles: the edges as they are decide. */
    const int64_t counts[10] = {1, 1, 1, 0, 0, 0, 1, 0, 0, 2};
    ck_assert_mem_eq(want(&d, "counts")->list, counts, sizeof counts);
    ck_assert_int_eq((int64_t)want(&d, "under")->i, 2);
    ck_assert_int_eq((int64_t)want(&d, "over")->i, 2);
    ck_assert_int_eq((int64_t)want(&d, "nan")->i, 1);
    driver_free(&d);
}
END_TEST

START_TEST(histogram_refuses_bad_bins)
{
    const struct {
        double bins, min, max;
        const char *text;
    } cases[] = {
        {0, 0, 1, "bins: 0 is not between 1 and 1024"},
        {1025, 0, 1, "bins: 1025 is not between 1 and 1024"},
        {4, 1, 1, "min, max: min must be less than max (1, 1)"},
        {4, 2, 1, "min, max: min must be less than max (2, 1)"},
        {4, 0, (double)INFINITY, "min, max: must be finite, and so must their difference (0, inf)"},
        {4, -DBL_MAX, DBL_MAX,
         "min, max: must be finite, and so must their difference (-1.79769e+308, 1.79769e+308)"},
        {4, 0, 5e-324, "min, max: min and max are too close together (0, 4.94066e-324)"},
    };
    AUTO_FD int fd = memory_file("12345678", 8);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct driver d;
        driver_init(&d, "array.histogram", "float64", fd);
        driver_set(&d, "bins", cases[i].bins);
        driver_set(&d, "min", cases[i].min);
        driver_set(&d, "max", cases[i].max);
        ck_assert_int_lt(driver_plan(&d), 0);
        ck_assert_int_eq(d.code, PWC__CODE__CODE_BAD_PARAM);
        ck_assert_str_eq(d.text, cases[i].text);
        driver_free(&d);
    }
}
END_TEST

/* Finished carries the results in one body, whatever was counted. */
START_TEST(histogram_results_fit_a_body)
{
    int64_t counts[ARRAY_BINS_MAX];
    for (size_t i = 0; i < ARRAY_BINS_MAX; i++)
        counts[i] = INT64_MAX;
    Pwc__I64List list = PWC__I64_LIST__INIT;
    Pwc__Value value = PWC__VALUE__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *params[] = {&param};
    Pwc__Finished finished = PWC__FINISHED__INIT;
    list.v = counts;
    list.n_v = ARRAY_LEN(counts);
    value.kind_case = PWC__VALUE__KIND_I64S;
    value.i64s = &list;
    param.value = &value;
    finished.results = params;
    finished.n_results = 1;
    ck_assert_uint_lt(protobuf_c_message_get_packed_size(&finished.base), PWC_BODY_MAX - 4096);
    ck_assert_uint_le(driver_op("array.histogram")->fold_bytes, PWC_STATE_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("array");
    TCase *t = tcase_create("ops");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, all_ops_all_lengths, 0, (int)ARRAY_LEN(types));
    tcase_add_test(t, sums_of_extremes);
    tcase_add_test(t, float_sums_are_the_same_in_any_grouping);
    tcase_add_test(t, float_sums_survive_cancellation_and_overflow);
    tcase_add_test(t, float_sums_know_infinities_and_nan);
    tcase_add_test(t, extremes_ignore_nan_and_take_the_first);
    tcase_add_test(t, extremes_of_constant_arrays_are_at_index_0);
    tcase_add_test(t, histogram_edges);
    tcase_add_test(t, histogram_refuses_bad_bins);
    tcase_add_test(t, histogram_results_fit_a_body);
    suite_add_tcase(s, t);
    return run_suite(s);
}
