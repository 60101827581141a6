/*
 * test_names.c - what a client calls its files, and what there is not: any bytes, of any length. Whoever is
 * told of them is told text, and the name itself stays what it is. That each text is UTF-8, peer_hear checks.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/hostile/crowd.h"
#include "tests/unit/runner.h"

/* ---- names of items ---- */

static uint64_t finished_item(struct peer *p, const struct job_spec *spec, const char *name)
{
    int empty = memfd_of("", 0);
    peer_submit(p, 1, spec);
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = peer_accepted(p);
    m.name = msg_bytes(name);
    msg_free(peer_await(p, PWC_MSG_WANT));
    peer_say_with(p, PWC_MSG_ITEM, 0, &m, &empty, 1);
    msg_free(peer_await(p, PWC_MSG_FINISHED));
    close(empty);
    return m.job;
}

/* They are kept no longer than is promised, and told in no command once they are cut. */
START_TEST(names_that_are_too_long)
{
    static const struct job_spec batch = {.op = "fault.bus", .items = 1, .batch = true, .roles = {"in"}};
    static const struct job_spec single = {
        .op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}};
    char name[1900];
    memset(name, '\'', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct peer p = peer_open(&v);
    peer_ask(&p, PWC_MSG_LIST_JOBS, finished_item(&p, &single, name));
    Pwc__JobInfo *job = peer_await(&p, PWC_MSG_JOB_INFO);
    ck_assert_uint_eq(job->input.len, PWC_ITEM_NAME_MAX);
    msg_free(&job->base);
    for (size_t i = 0; i < 2; i++) {
        uint64_t id = finished_item(&p, &batch, name + (i == 0 ? 0 : sizeof name - PWC_ITEM_NAME_MAX));
        peer_ask(&p, PWC_MSG_LIST_DEATHS, id);
        Pwc__Death *death = peer_await(&p, PWC_MSG_DEATH);
        ck_assert_uint_eq(death->input.len, PWC_ITEM_NAME_MAX - i);
        ck_assert_uint_lt(strlen(death->reason), PWC_TEXT_MAX);
        msg_free(&death->base);
        peer_ask(&p, PWC_MSG_LIST_QUARANTINE, id);
        Pwc__Quarantined *q = peer_await(&p, PWC_MSG_QUARANTINED);
        ck_assert_uint_eq(q->input.len, PWC_ITEM_NAME_MAX - i);
        ck_assert_ptr_nonnull(strstr(q->why_not, " fault.bus INPUT")); /* nor if quoting makes it too long */
        msg_free(&q->base);
    }
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

/* ---- texts that are none ---- */

#define LATIN1   "caf\xe9.jpg"
#define E_ACUTES "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"

/* Names of what there is not are told back, cut somewhere. peer_hear looks at what comes. */
static void say_odd_names(struct peer *p)
{
    static char cut[] = "x" E_ACUTES E_ACUTES E_ACUTES E_ACUTES, latin1[] = LATIN1,
                lines[] = "two\nlines\033[2J\302\233";
    char *const names[] = {cut, latin1, lines};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        Pwc__ListOps list = PWC__LIST_OPS__INIT;
        list.name = names[i];
        peer_say(p, PWC_MSG_LIST_OPS, 1, &list);
        ck_assert_int_eq(peer_code(p), PWC__CODE__CODE_NO_SUCH_OP);
        const struct job_spec no_op = {.op = list.name},
                              no_param = {.op = "noop", .params = {list.name, list.name}},
                              no_value = {.op = "noop", .params = {"n", list.name}},
                              no_role = {.op = "array.sum",
                                         .params = {"type", "uint8"},
                                         .items = 1,
                                         .roles = {list.name}};
        const struct job_spec *const specs[] = {&no_op, &no_param, &no_value, &no_role};
        for (size_t k = 0; k < ARRAY_LEN(specs); k++) {
            peer_submit(p, 2, specs[k]);
            ck_assert_uint_eq(peer_accepted(p), 0);
        }
    }
}

/* An item that its client could not open; *why: of that, in its own words. */
static uint64_t item_not_opened(struct peer *p, const struct job_spec *spec, const char *name, char *why)
{
    peer_submit(p, 3, spec);
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = peer_accepted(p);
    m.name = msg_bytes(name);
    m.code = PWC__CODE__CODE_BAD_INPUT;
    m.reason = why;
    msg_free(peer_await(p, PWC_MSG_WANT));
    peer_say(p, PWC_MSG_ITEM, 0, &m);
    msg_free(peer_await(p, PWC_MSG_FINISHED));
    return m.job;
}

static void expect_bytes(const ProtobufCBinaryData *b, const char *wanted)
{
    ck_assert_uint_eq(b->len, strlen(wanted));
    ck_assert_mem_eq(b->data, wanted, b->len);
}

/* What others hear of is text, whatever a client calls its files; the name itself stays what it is, and so it
 * does in the command that does the work again. */
START_TEST(names_that_are_no_text)
{
    static const struct job_spec batch = {.op = "fault.bus", .items = 1, .batch = true, .roles = {"in"}};
    static const struct job_spec single = {
        .op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}};
    char why[PWC_TEXT_MAX] = LATIN1 ": ", name[PWC_ITEM_NAME_MAX + 2] = "x";
    while (strlen(why) + sizeof E_ACUTES < sizeof why)
        strcat(why, E_ACUTES);
    memset(name + 1, 0xe9, sizeof name - 2);
    struct peer p = peer_open(&v);
    say_odd_names(&p);
    uint64_t id = item_not_opened(&p, &single, LATIN1, why);
    peer_ask(&p, PWC_MSG_LIST_JOBS, id);
    Pwc__JobInfo *job = peer_await(&p, PWC_MSG_JOB_INFO);
    expect_bytes(&job->input, LATIN1);
    ck_assert_ptr_eq(strstr(job->reason, "caf?.jpg: \u00e9\u00e9"), job->reason);
    msg_free(&job->base);
    peer_ask(&p, PWC_MSG_LIST_QUARANTINE, item_not_opened(&p, &batch, LATIN1, why));
    Pwc__Quarantined *q = peer_await(&p, PWC_MSG_QUARANTINED);
    expect_bytes(&q->input, LATIN1);
    ck_assert_str_eq(q->covers, "caf?.jpg");
    ck_assert_ptr_nonnull(strstr(q->why_not, " fault.bus $'caf\\351.jpg'"));
    msg_free(&q->base);
    id = finished_item(&p, &batch, name);
    peer_ask(&p, PWC_MSG_LIST_DEATHS, id);
    Pwc__Death *death = peer_await(&p, PWC_MSG_DEATH);
    ck_assert_uint_eq(death->input.len, PWC_ITEM_NAME_MAX);
    ck_assert_mem_eq(death->input.data, name, PWC_ITEM_NAME_MAX);
    msg_free(&death->base);
    peer_ask(&p, PWC_MSG_LIST_JOBS, 0);
    msg_free(peer_await(&p, PWC_MSG_END));
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

static void expect_line(const char *text, const char *begins)
{
    ck_assert_uint_lt(strlen(text), PWC_TEXT_MAX);
    ck_assert_msg(strncmp(text, begins, strlen(begins)) == 0, "%s", text);
}

/* What a client says of an item that it could not open is told again where records, items and the quarantine
 * are looked at: there it is a reason like any other, one line and no longer than one may be. */
START_TEST(reasons_that_are_no_line)
{
    static const struct job_spec batch = {
        .op = "fault.bus", .items = 1, .batch = true, .roles = {"in"}, .records = true};
    char why[PWC_TEXT_MAX + 500] = "two\nlines\033[2J\302\233";
    memset(why + strlen(why), 'x', sizeof why - 1 - strlen(why));
    struct peer p = peer_open(&v);
    peer_submit(&p, 1, &batch);
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = peer_accepted(&p);
    m.code = PWC__CODE__CODE_BAD_INPUT;
    m.reason = why;
    msg_free(peer_await(&p, PWC_MSG_WANT));
    peer_say(&p, PWC_MSG_ITEM, 0, &m);
    Pwc__ItemDone *item = peer_await(&p, PWC_MSG_ITEM_DONE);
    expect_line(item->reason, "two?lines?[2J??xxx");
    msg_free(&item->base);
    Pwc__ChunkDone *chunk = peer_await(&p, PWC_MSG_CHUNK_DONE);
    expect_line(chunk->reason, "two?lines?[2J??xxx");
    msg_free(&chunk->base);
    msg_free(peer_await(&p, PWC_MSG_FINISHED));
    peer_ask(&p, PWC_MSG_LIST_QUARANTINE, m.job);
    Pwc__Quarantined *q = peer_await(&p, PWC_MSG_QUARANTINED);
    expect_line(q->reason, "two?lines?[2J??xxx");
    msg_free(&q->base);
    peer_free(&p);
    victim_is_well(&v, 8192);
}
END_TEST

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile names");
    TCase *t = tcase_create("names");
    tcase_set_timeout(t, 0);
    tcase_add_checked_fixture(t, crowd_start, crowd_stop);
    tcase_add_test(t, names_that_are_too_long);
    tcase_add_test(t, names_that_are_no_text);
    tcase_add_test(t, reasons_that_are_no_line);
    suite_add_tcase(s, t);
    return run_suite(s);
}
