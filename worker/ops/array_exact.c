/* array_exact.c - see array_exact.h. Everything here is integer arithmetic on the bits of doubles. */
#include <math.h>
#include <string.h>

#include "worker/ops/array_exact.h"

#define DIGIT_BITS    32
#define DIGIT_MASK    0xffffffffll
#define MANTISSA_BITS 52
#define EXPONENT_MASK 0x7ffu
#define UNIT_EXPONENT (-1074) /* of bit 0 of digit 0 */

void exact_add(struct exact *a, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    unsigned exponent = (unsigned)(bits >> MANTISSA_BITS) & EXPONENT_MASK;
    uint64_t mantissa = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
    bool minus = bits >> 63;
    if (exponent == EXPONENT_MASK) {
        uint64_t *count = mantissa != 0 ? &a->nan : minus ? &a->minus_inf : &a->plus_inf;
        (*count)++;
        return;
    }
    if (exponent > 0) {
        mantissa |= (uint64_t)1 << MANTISSA_BITS;
        exponent--;
    }
    unsigned __int128 wide = (unsigned __int128)mantissa << (exponent % DIGIT_BITS);
    int64_t *digit = &a->digit[exponent / DIGIT_BITS];
    for (int i = 0; i < 3; i++, wide >>= DIGIT_BITS) {
        int64_t part = (int64_t)(wide & DIGIT_MASK);
        digit[i] += minus ? -part : part;
    }
}

void exact_carry(struct exact *a)
{
    int64_t carry = 0;
    for (size_t i = 0; i < EXACT_DIGITS - 1; i++) {
        int64_t v = a->digit[i] + carry;
        a->digit[i] = v & DIGIT_MASK;
        carry = v >> DIGIT_BITS;
    }
    a->digit[EXACT_DIGITS - 1] += carry;
}

void exact_merge(struct exact *into, const struct exact *from)
{
    into->plus_inf += from->plus_inf;
    into->minus_inf += from->minus_inf;
    into->nan += from->nan;
    for (size_t i = 0; i < EXACT_DIGITS; i++)
        into->digit[i] += from->digit[i];
    exact_carry(into);
}

bool exact_valid(const struct exact *a)
{
    for (size_t i = 0; i < EXACT_DIGITS - 1; i++)
        if (a->digit[i] < 0 || a->digit[i] > DIGIT_MASK)
            return false;
    int64_t sign = a->digit[EXACT_DIGITS - 1];
    return sign == 0 || sign == -1;
}

/* The absolute value in digits; true if the sum was negative. */
static bool magnitude(const struct exact *a, int64_t ret_digit[EXACT_DIGITS])
{
    bool minus = a->digit[EXACT_DIGITS - 1] < 0;
    struct exact m = {0};
    for (size_t i = 0; i < EXACT_DIGITS; i++)
        m.digit[i] = minus ? -a->digit[i] : a->digit[i];
    exact_carry(&m);
    memcpy(ret_digit, m.digit, sizeof m.digit);
    return minus;
}

static bool bit_at(const int64_t *digit, int bit)
{
    return (digit[bit / DIGIT_BITS] >> (bit % DIGIT_BITS)) & 1;
}

static bool any_below(const int64_t *digit, int bit)
{
    int whole = bit / DIGIT_BITS;
    for (int i = 0; i < whole; i++)
        if (digit[i] != 0)
            return true;
    return (digit[whole] & ((1ll << (bit % DIGIT_BITS)) - 1)) != 0;
}

static int highest_bit(const int64_t *digit)
{
    for (int i = EXACT_DIGITS - 1; i >= 0; i--)
        if (digit[i] != 0)
            return i * DIGIT_BITS + 63 - __builtin_clzll((unsigned long long)digit[i]);
    return -1;
}

static double round_magnitude(const int64_t *digit)
{
    int high = highest_bit(digit);
    int low = MAX(high - MANTISSA_BITS, 0); /* the last bit that a double keeps */
    uint64_t mantissa = 0;
    for (int bit = high; bit >= low; bit--)
        mantissa = mantissa << 1 | bit_at(digit, bit);
    if (low > 0 && bit_at(digit, low - 1) && ((mantissa & 1) != 0 || any_below(digit, low - 1)))
        mantissa++;
    return ldexp((double)mantissa, low + UNIT_EXPONENT);
}

double exact_round(const struct exact *a)
{
    if (a->nan > 0 || (a->plus_inf > 0 && a->minus_inf > 0))
        return NAN;
    if (a->plus_inf > 0 || a->minus_inf > 0)
        return a->plus_inf > 0 ? INFINITY : -INFINITY;
    int64_t digit[EXACT_DIGITS];
    bool minus = magnitude(a, digit);
    double v = round_magnitude(digit);
    return minus ? -v : v;
}
