/* test_frame.c - the frame's header: what goes in comes out, and every limit at its edge. */
#include <errno.h>
#include <string.h>

#include "ipc/frame.h"
#include "tests/unit/runner.h"

#define BASE (PWC_HEADER_BYTES - 4) /* length of a frame without body and tail */

static int get(uint32_t length, uint16_t nfds, uint32_t body, struct frame_head *ret)
{
    uint8_t bytes[PWC_HEADER_BYTES];
    const struct frame_head h = {.length = length, .type = 7, .nfds = nfds, .tag = 1, .body = body};
    frame_put(bytes, &h);
    return frame_get(bytes, ret);
}

/* The layout that PROTOCOL.md promises, byte by byte. */
START_TEST(bytes_are_little_endian_and_in_place)
{
    const struct frame_head h = {.length = 0x00010203,
                                 .type = 0x0405,
                                 .nfds = 0x0006,
                                 .tag = 0x0708090a0b0c0d0eull,
                                 .body = 0x00000f10};
    const uint8_t wanted[PWC_HEADER_BYTES] = {0x03, 0x02, 0x01, 0x00, 0x05, 0x04, 0x06, 0x00, 0x0e, 0x0d,
                                              0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x07, 0x10, 0x0f, 0x00, 0x00};
    uint8_t bytes[PWC_HEADER_BYTES];
    frame_put(bytes, &h);
    ck_assert_mem_eq(bytes, wanted, sizeof wanted);
}
END_TEST

START_TEST(what_goes_in_comes_out)
{
    const struct frame_head h = {
        .length = BASE + 100, .type = 65535, .nfds = 16, .tag = UINT64_MAX, .body = 60};
    struct frame_head got;
    uint8_t bytes[PWC_HEADER_BYTES];
    frame_put(bytes, &h);
    ck_assert_int_eq(frame_get(bytes, &got), 0);
    ck_assert_uint_eq(got.length, h.length);
    ck_assert_uint_eq(got.type, h.type);
    ck_assert_uint_eq(got.nfds, h.nfds);
    ck_assert_uint_eq(got.tag, h.tag);
    ck_assert_uint_eq(got.body, h.body);
    ck_assert_uint_eq(frame_bytes(&got), PWC_HEADER_BYTES + 100);
    ck_assert_uint_eq(frame_tail(&got), 40);
}
END_TEST

START_TEST(limits_hold_at_their_edges)
{
    const struct {
        uint32_t length;
        uint16_t nfds;
        uint32_t body;
        int result;
    } cases[] = {
        {BASE, 0, 0, 0},
        {BASE - 1, 0, 0, -EBADMSG},
        {0, 0, 0, -EBADMSG},
        {BASE, 0, 1, -EBADMSG},
        {BASE + 1, 0, 1, 0},
        {BASE + 1, 0, 2, -EBADMSG},
        {BASE + 1, 0, UINT32_MAX, -EBADMSG},
        {BASE + PWC_BODY_MAX, 0, PWC_BODY_MAX, 0},
        {BASE + PWC_BODY_MAX + 1, 0, PWC_BODY_MAX + 1, -EBADMSG},
        {BASE + PWC_TAIL_MAX, 0, 0, 0},
        {BASE + PWC_TAIL_MAX + 1, 0, 0, -EBADMSG},
        {BASE + PWC_TAIL_MAX + 1, 0, 1, 0},
        {PWC_FRAME_MAX - 4, 0, PWC_BODY_MAX, 0},
        {PWC_FRAME_MAX - 3, 0, PWC_BODY_MAX, -EBADMSG},
        {UINT32_MAX, 0, PWC_BODY_MAX, -EBADMSG},
        {UINT32_MAX, 0, UINT32_MAX, -EBADMSG},
        {BASE, PWC_FDS_MAX, 0, 0},
        {BASE, PWC_FDS_MAX + 1, 0, -EBADMSG},
        {BASE, UINT16_MAX, 0, -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct frame_head h;
        int r = get(cases[i].length, cases[i].nfds, cases[i].body, &h);
        ck_assert_msg(r == cases[i].result, "case %zu: %d instead of %d", i, r, cases[i].result);
    }
}
END_TEST

START_TEST(output_is_untouched_on_failure)
{
    struct frame_head h, before;
    memset(&h, 0x5a, sizeof h);
    memcpy(&before, &h, sizeof h);
    ck_assert_int_eq(get(3, 0, 0, &h), -EBADMSG);
    ck_assert_mem_eq(&h, &before, sizeof h);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("frame");
    TCase *t = tcase_create("header");
    tcase_add_test(t, bytes_are_little_endian_and_in_place);
    tcase_add_test(t, what_goes_in_comes_out);
    tcase_add_test(t, limits_hold_at_their_edges);
    tcase_add_test(t, output_is_untouched_on_failure);
    suite_add_tcase(s, t);
    return run_suite(s);
}
