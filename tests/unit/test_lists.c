/*
 * test_lists.c - lists of deaths and of the quarantine, read slowly while records go and come: each that was
 * there when the list began and stays is in it once, and the work is as much as there are records. The
 * supervisor is the fuzzers' (inproc.c).
 */
#include <event2/event.h>
#include <string.h>

#include "daemon/deaths.h"
#include "daemon/quarantine.h"
#include "daemon/session.h"
#include "ipc/fds.h"
#include "tests/fuzz/inproc.h"
#include "tests/fuzz/jobs.h"
#include "tests/unit/runner.h"

#define RECORDS      2000u /* several times what fits the queue and the socket */
#define LATER        (RECORDS / 3)
#define STEPS_A_TURN 200u /* far fewer than records, and however many there are */

static struct chan *chan; /* the client's end */
static struct job *job, *other;
static unsigned seen[RECORDS + LATER];

static const struct kind {
    uint16_t ask;
    uid_t uid; /* root reads the records of all, others their own */
} kinds[] = {{PWC_MSG_LIST_DEATHS, 0},
             {PWC_MSG_LIST_DEATHS, 1000},
             {PWC_MSG_LIST_QUARANTINE, 0},
             {PWC_MSG_LIST_QUARANTINE, 1000}};
static const struct kind *kind;

static void begin(const struct kind *k)
{
    kind = k;
    world_begin();
    world.cfg.deaths_kept = world.cfg.quarantine_kept = RECORDS;
    caller_connect(0, kind->uid);
    chan = chan_new(fd_dup(callers[0].fd), MSG_FROM_DAEMON, NULL);
    say_hello(0);
    say_submit(0, 2); /* it waits for its file, and so does the next */
    say_submit(0, 2);
    world_turn();
    job = job_find(&world, 1);
    other = job_find(&world, 2);
    ck_assert(job != NULL && other != NULL);
}

static void end(void)
{
    chan_free(chan);
    world_end();
}

static struct session *session(void)
{
    return TAILQ_FIRST(&world.sessions);
}

static void record(uint64_t chunk)
{
    static char words[900];
    memset(words, 'w', sizeof words - 1);
    struct stage s = {.d = &world, .id = 1, .uid = kind->uid, .job = job};
    const struct op_error why = {PWC__CODE__CODE_OP, words, 0, 0, 0};
    if (kind->ask == PWC_MSG_LIST_DEATHS)
        deaths_error(&s, chunk, &why);
    else
        quarantine_add(job, chunk, PWC__CODE__CODE_OP, 1, "", words);
}

static void ask(const struct job *of)
{
    Pwc__ListDeaths d = PWC__LIST_DEATHS__INIT;
    Pwc__ListQuarantine q = PWC__LIST_QUARANTINE__INIT;
    d.job = q.job = of != NULL ? of->id : 0;
    ck_assert_int_eq(chan_send(chan, kind->ask, 1, kind->ask == PWC_MSG_LIST_DEATHS ? &d.base : &q.base), 0);
}

/* Takes note of what has come. The list's end: true, and how many it had by its own account. */
static bool hear(uint64_t *ret_count)
{
    bool ended = false;
    struct frame f;
    for (int r = 0; (r = chan_next(chan, &f)) > 0 || (r == 0 && chan_fill(chan) > 0);) {
        if (r == 0)
            continue;
        ProtobufCMessage *m = msg_unpack(f.desc, f.body, f.body_len);
        ck_assert_ptr_nonnull(m);
        if (f.type == PWC_MSG_DEATH)
            seen[((Pwc__Death *)m)->chunk]++;
        if (f.type == PWC_MSG_QUARANTINED)
            seen[((Pwc__Quarantined *)m)->chunk]++;
        ended |= f.type == PWC_MSG_END;
        if (f.type == PWC_MSG_END)
            *ret_count = ((Pwc__End *)m)->count;
        msg_free(m);
    }
    return ended;
}

/* In the middle, before where the list is and behind it; of deaths the oldest go when others come. */
static bool goes(uint64_t chunk)
{
    return kind->ask == PWC_MSG_LIST_DEATHS ? chunk < LATER : chunk % 3 == 0 && chunk < RECORDS;
}

START_TEST(what_stays_comes_once_whatever_goes)
{
    uint64_t count = 0, told = 0;
    begin(&kinds[_i]);
    for (uint64_t i = 0; i < RECORDS; i++)
        record(i);
    ask(NULL);
    world_turn();
    ck_assert_msg(session()->list.step != NULL, "the list is over before anybody has read it");
    for (uint64_t i = 0; i < RECORDS && kind->ask == PWC_MSG_LIST_QUARANTINE; i++)
        if (goes(i))
            ck_assert_uint_eq(quarantine_drop(job, i), 1);
    for (uint64_t i = RECORDS; i < RECORDS + LATER; i++)
        record(i);
    while (!hear(&count))
        world_turn();
    for (uint64_t i = 0; i < RECORDS + LATER; i++) {
        ck_assert_msg(seen[i] <= 1, "record %lu comes %u times", (unsigned long)i, seen[i]);
        ck_assert_msg(seen[i] == 1 || goes(i) || i >= RECORDS, "record %lu is left out", (unsigned long)i);
        ck_assert_msg(seen[i] == 0 || i < RECORDS, "record %lu came later", (unsigned long)i);
        told += seen[i];
    }
    ck_assert_uint_eq(count, told);
    end();
}
END_TEST

/* All of them are looked at once, be they told or left out; and in a turn of the loop only some. */
START_TEST(the_work_is_as_much_as_the_records)
{
    uint64_t count = 0, before = 0;
    begin(&kinds[_i]);
    for (uint64_t i = 0; i < RECORDS; i++)
        record(i);
    for (int round = 0; round < 2; round++) {
        const struct place_reader *r = &session()->list.reader;
        ask(round == 0 ? NULL : other);
        while (!hear(&count)) {
            before = r->passed;
            ck_assert_int_ge(event_base_loop(world.base, EVLOOP_NONBLOCK | EVLOOP_ONCE), 0);
            ck_assert_uint_le(r->passed - (r->passed < before ? 0 : before), STEPS_A_TURN);
        }
        ck_assert_uint_eq(count, round == 0 ? RECORDS : 0);
        ck_assert_uint_eq(r->passed, RECORDS + 1); /* and the end */
    }
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lists");
    TCase *t = tcase_create("lists");
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, what_stays_comes_once_whatever_goes, 0, (int)ARRAY_LEN(kinds));
    tcase_add_loop_test(t, the_work_is_as_much_as_the_records, 0, (int)ARRAY_LEN(kinds));
    return run_suite(s);
}
