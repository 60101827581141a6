/*
 * test_exact.c - the exact sum against an independent one: a big number of single bits, added one double at a
 * time, from which the rounded result is taken away again; what is left must be at most half a unit in the
 * last place.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/unit/runner.h"
#include "worker/ops/array_exact.h"

#define BITS     2304    /* two's complement, in units of 2^-1074 */
#define LAST_GAP 0x1p971 /* between DBL_MAX and what would follow it */

struct slow {
    uint8_t bit[BITS];
};

static uint64_t random_state = 1;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static double from_bits(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Any finite double, all exponents alike. */
static double any_double(void)
{
    double v;
    do
        v = from_bits(next_random());
    while (!isfinite(v));
    return v;
}

static void slow_add_bit(struct slow *s, int at)
{
    while (at < BITS && s->bit[at] == 1)
        s->bit[at++] = 0;
    if (at < BITS)
        s->bit[at] = 1;
}

static void slow_negate(struct slow *s)
{
    for (int i = 0; i < BITS; i++)
        s->bit[i] = !s->bit[i];
    slow_add_bit(s, 0);
}

static void slow_add(struct slow *s, double v)
{
    int exponent;
    double mantissa = frexp(fabs(v), &exponent);
    if (v < 0)
        slow_negate(s);
    for (int bit = exponent - 1; mantissa != 0; bit--) {
        mantissa *= 2;
        if (mantissa >= 1) {
            slow_add_bit(s, bit + 1074);
            mantissa -= 1;
        }
    }
    if (v < 0)
        slow_negate(s);
}

/* The sign of the number. */
static int slow_sign(const struct slow *s)
{
    if (s->bit[BITS - 1] == 1)
        return -1;
    for (int i = 0; i < BITS; i++)
        if (s->bit[i] == 1)
            return 1;
    return 0;
}

/* |s - r| * 2 against the gap beside r: negative less, 0 a tie. Takes s apart. */
static int against_half_gap(struct slow *s, double r)
{
    slow_add(s, -r);
    if (slow_sign(s) == 0)
        return -1;
    bool above = slow_sign(s) > 0;
    double gap = fabs(nextafter(r, above ? (double)INFINITY : -(double)INFINITY) - r);
    if (isinf(gap))
        gap = LAST_GAP;
    if (!above)
        slow_negate(s);
    slow_add(s, -gap);
    struct slow half = *s;
    slow_add(&half, gap);
    /* 2 * rest - gap = (rest - gap) + rest */
    for (int i = 0, carry = 0; i < BITS; i++) {
        int sum = s->bit[i] + half.bit[i] + carry;
        s->bit[i] = sum & 1;
        carry = sum >> 1;
    }
    return slow_sign(s);
}

static void check(const double *v, size_t n)
{
    struct exact a = {0};
    static struct slow s;
    memset(&s, 0, sizeof s);
    for (size_t i = 0; i < n; i++) {
        exact_add(&a, v[i]);
        slow_add(&s, v[i]);
    }
    exact_carry(&a);
    ck_assert(exact_valid(&a));
    double r = exact_round(&a);
    if (isinf(r)) {
        if (r < 0)
            slow_negate(&s);
        slow_add(&s, -DBL_MAX);
        slow_add(&s, -LAST_GAP / 2);
        ck_assert_int_ge(slow_sign(&s), 0);
        return;
    }
    int order = against_half_gap(&s, r);
    uint64_t bits;
    memcpy(&bits, &r, sizeof bits);
    ck_assert_msg(order < 0 || (order == 0 && bits % 2 == 0), "%a is not the nearest", r);
}

START_TEST(single_doubles_come_back)
{
    const double some[] = {
        0, 1, -1, DBL_MAX, -DBL_MAX, DBL_MIN, from_bits(1), -from_bits(1), DBL_MIN - from_bits(1)};
    for (size_t i = 0; i < 20000 + ARRAY_LEN(some); i++) {
        double v = i < ARRAY_LEN(some) ? some[i] : any_double();
        struct exact a = {0};
        exact_add(&a, v);
        exact_carry(&a);
        ck_assert(exact_valid(&a));
        double r = exact_round(&a);
        ck_assert_mem_eq(&r, &v, sizeof r);
    }
}
END_TEST

START_TEST(pairs_are_rounded_as_the_processor_does)
{
    for (size_t i = 0; i < 200000; i++) {
        double x = any_double(),
               y = ldexp(x, (int)(next_random() % 130) - 65) * (next_random() % 2 == 0 ? 1 : -1);
        if (!isfinite(y))
            continue;
        struct exact a = {0};
        exact_add(&a, x);
        exact_add(&a, y);
        exact_carry(&a);
        double r = exact_round(&a), wanted = x + y;
        ck_assert_msg(r == wanted, "%a + %a = %a, not %a", x, y, wanted, r);
    }
}
END_TEST

/* Ties, to even and to odd, with and without something below; sums that end in a subnormal. */
START_TEST(ties_go_to_even)
{
    const double tiny = from_bits(1);
    const double cases[][4] = {
        {1, 0x1p-53, 0, 0},           {1, 0x1p-53, tiny, 0},        {1, 0x1p-53, -tiny, 0},
        {1 + 0x1p-52, 0x1p-53, 0, 0}, {-1, -0x1p-53, -tiny, 0},     {DBL_MAX, 0x1p969, 0, 0},
        {DBL_MAX, 0x1p970, 0, 0},     {DBL_MAX, 0x1p970, -tiny, 0}, {DBL_MIN, -tiny, 0, 0},
        {DBL_MIN, tiny, tiny, 0},     {tiny, tiny, tiny, 0},        {1, -1, tiny, 0},
        {0x1p1023, 0x1p1023, -1, 0},  {1, -0x1p-54, -tiny, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(cases[i], ARRAY_LEN(cases[i]));
}
END_TEST

START_TEST(random_sums_are_nearest)
{
    double v[40];
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + (size_t)(next_random() % ARRAY_LEN(v));
        for (size_t i = 0; i < n; i++)
            v[i] = i % 3 == 2 ? -v[i - 1] : any_double();
        check(v, n);
    }
}
END_TEST

START_TEST(any_order_and_grouping_gives_the_same_digits)
{
    double v[300];
    struct exact all = {0};
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        v[i] = any_double();
        exact_add(&all, v[i]);
    }
    exact_carry(&all);
    for (int round = 0; round < 100; round++) {
        struct exact part[5] = {0}, sum = {0};
        for (size_t i = ARRAY_LEN(v); i-- > 0;)
            exact_add(&part[next_random() % ARRAY_LEN(part)], v[i]);
        for (size_t i = 0; i < ARRAY_LEN(part); i++) {
            exact_carry(&part[i]);
            ck_assert(exact_valid(&part[i]));
            exact_merge(&sum, &part[i]);
        }
        ck_assert_mem_eq(&sum, &all, sizeof sum);
    }
}
END_TEST

/* The most that goes in between two carries, at the largest exponent. */
START_TEST(digits_hold_many_additions)
{
    struct exact a = {0};
    for (int i = 0; i < 1 << 20; i++)
        exact_add(&a, -DBL_MAX);
    exact_carry(&a);
    for (int i = 0; i < 1 << 20; i++)
        exact_add(&a, DBL_MAX);
    exact_carry(&a);
    const struct exact nothing = {0};
    ck_assert_mem_eq(&a, &nothing, sizeof a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exact");
    TCase *t = tcase_create("sums");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, single_doubles_come_back);
    tcase_add_test(t, pairs_are_rounded_as_the_processor_does);
    tcase_add_test(t, ties_go_to_even);
    tcase_add_test(t, random_sums_are_nearest);
    tcase_add_test(t, any_order_and_grouping_gives_the_same_digits);
    tcase_add_test(t, digits_hold_many_additions);
    suite_add_tcase(s, t);
    return run_suite(s);
}
