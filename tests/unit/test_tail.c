/* test_tail.c - whose words a record of a death holds, and how much of a flood is read. */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/tail.h"
#include "tests/unit/runner.h"

/* A stage's end of the pipe, and its slot. */
static struct event_base *base;
static struct segment_slot slot;
static struct tail *tail;
static int out;

static void begin(void)
{
    base = event_base_new();
    tail = tail_new(base, &slot, &out);
    ck_assert_ptr_nonnull(tail);
    atomic_store(&slot.chunk, SLOT_IDLE);
}

static void end(void)
{
    tail_free(tail);
    event_base_free(base);
    close(out);
}

static void at(uint64_t lease, uint64_t chunk)
{
    atomic_store(&slot.lease, lease);
    atomic_store(&slot.chunk, chunk);
}

static void say(const char *words)
{
    ck_assert_int_eq(write(out, words, strlen(words)), (ssize_t)strlen(words));
}

/* The supervisor's loop has its turn. */
static void turn(void)
{
    ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
}

static void check_words(uint64_t lease, uint64_t chunk, const char *words)
{
    char text[TAIL_BYTES];
    tail_text(tail, lease, chunk, text, sizeof text);
    ck_assert_str_eq(text, words);
}

START_TEST(a_chunk_has_its_own_words)
{
    begin();
    at(1, 4);
    say("four\n");
    check_words(1, 4, "four\n");
    at(1, 5);
    check_words(1, 5, "");
    say("five\n");
    turn();
    say("and more\x1b\n");
    check_words(1, 5, "five\nand more?\n");
    check_words(1, SLOT_IDLE, "four\nfive\nand more?\n");
    check_words(1, 6, "");
    end();
}
END_TEST

/* The stage is done with it, and says so, before anybody asks; or before anybody has read anything of it. */
START_TEST(words_of_a_chunk_that_is_over_are_kept)
{
    begin();
    at(1, 4);
    say("four\n");
    turn();
    at(1, SLOT_IDLE);
    say("four, still\n");
    turn();
    check_words(1, 4, "four\nfour, still\n");
    end();
    begin();
    at(1, 3);
    say("three\n");
    turn();
    at(1, 4);
    say("four\n");
    at(1, SLOT_IDLE);
    check_words(1, 4, "four\n");
    check_words(1, 2, "three\nfour\n");
    end();
}
END_TEST

START_TEST(words_of_a_lease_that_is_over_count_no_more)
{
    begin();
    at(1, 4);
    say("read\n");
    turn();
    say("not read\n");
    at(1, SLOT_IDLE);
    tail_mark(tail);
    at(2, 4);
    check_words(2, 4, "");
    check_words(2, SLOT_IDLE, "");
    say("new\n");
    check_words(2, 4, "new\n");
    check_words(2, SLOT_IDLE, "new\n");
    end();
}
END_TEST

/* One small lease has failed, and the stage is at the next one already. */
START_TEST(of_the_one_before_all_is_told)
{
    begin();
    at(7, 0);
    say("seven\n");
    turn();
    at(8, 0);
    say("eight\n");
    turn();
    check_words(7, 0, "seven\neight\n");
    check_words(8, 0, "eight\n");
    end();
}
END_TEST

/* More than a tail holds comes in one piece, behind words of another chunk: the last of it is kept. */
START_TEST(the_last_words_are_kept)
{
    char much[3 * TAIL_BYTES];
    begin();
    at(1, 0);
    say("other\n");
    turn();
    at(1, 1);
    memset(much, 'x', sizeof much);
    memcpy(much + sizeof much - 5, "last", 5);
    say(much);
    char text[TAIL_BYTES];
    tail_text(tail, 1, 1, text, sizeof text);
    ck_assert_uint_eq(strlen(text), TAIL_BYTES - 1);
    ck_assert_str_eq(text + TAIL_BYTES - 1 - 7, "xxxlast");
    end();
}
END_TEST

static void never_wait(void)
{
    ck_assert_int_eq(fcntl(out, F_SETFL, O_NONBLOCK), 0);
}

/* As much as its pipe takes. */
static size_t flood(void)
{
    static const char much[4096];
    size_t n = 0;
    ssize_t some;
    while ((some = write(out, much, sizeof much)) > 0)
        n += (size_t)some;
    return n;
}

/* Whatever is written and however often the loop turns, as much is read a tick and no more. */
START_TEST(a_flood_waits_for_the_next_tick)
{
    begin();
    never_wait();
    size_t room = flood(), first = 0, second = 0;
    for (int i = 0; i < 1000; i++, first += flood())
        turn();
    tail_tick(tail);
    for (int i = 0; i < 1000; i++, second += flood())
        turn();
    ck_assert_uint_eq(first, second);
    ck_assert_uint_ge(first, room);
    ck_assert_uint_le(first, 1000 * 4096 / 4);
    end();
}
END_TEST

/* Nor is it heard between two ticks again and again who says little at a time. */
START_TEST(a_trickle_is_a_flood_too)
{
    begin();
    never_wait();
    for (int i = 0; i < 1000; i++) {
        say(".");
        turn();
    }
    int left = 0;
    ck_assert_int_eq(ioctl(out, FIONREAD, &left), 0);
    ck_assert_int_gt(left, 750);
    end();
}
END_TEST

START_TEST(the_last_words_of_a_flood_are_kept)
{
    begin();
    never_wait();
    at(1, 0);
    for (int i = 0; i < 1000; i++, flood())
        turn();
    tail_tick(tail);
    turn(); /* room for them */
    say("last words");
    char text[TAIL_BYTES];
    tail_text(tail, 1, 0, text, sizeof text);
    ck_assert_str_eq(text + strlen(text) - 10, "last words");
    end();
}
END_TEST

START_TEST(no_tail_has_no_words)
{
    char text[8] = "before";
    tail_tick(NULL);
    tail_mark(NULL);
    tail_text(NULL, 1, 1, text, sizeof text);
    ck_assert_str_eq(text, "");
    tail_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tail");
    TCase *t = tcase_create("tail");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_test(t, a_chunk_has_its_own_words);
    tcase_add_test(t, words_of_a_chunk_that_is_over_are_kept);
    tcase_add_test(t, words_of_a_lease_that_is_over_count_no_more);
    tcase_add_test(t, of_the_one_before_all_is_told);
    tcase_add_test(t, the_last_words_are_kept);
    tcase_add_test(t, a_flood_waits_for_the_next_tick);
    tcase_add_test(t, a_trickle_is_a_flood_too);
    tcase_add_test(t, the_last_words_of_a_flood_are_kept);
    tcase_add_test(t, no_tail_has_no_words);
    return run_suite(s);
}
