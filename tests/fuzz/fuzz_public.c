/*
 * fuzz_public.c - up to four clients that say anything, to the supervisor in this process, whose stages are
 * honest. Whatever they say: nothing reaches an assertion, the tables stay true (inproc.c), and when they
 * have gone everything is given back.
 *
 * Input: a byte chooses what is done and by whom, further bytes what is said (input.h, fill.h).
 */
#include <string.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/inproc.h"
#include "tests/fuzz/jobs.h"

#define STEPS_MAX 200

static void say_filled(struct source *s, unsigned who)
{
    static uint8_t bytes[PWC_FRAME_MAX], body[PWC_BODY_MAX];
    const struct msg_desc *d;
    uint32_t pick = source_below(s, (uint32_t)msg_table_len);
    for (d = &msg_table[pick]; d->sender != MSG_FROM_CLIENT; d = &msg_table[++pick % msg_table_len])
        ;
    size_t len = fill_body(d->proto, s, body, d->body_max);
    uint32_t roll = source_below(s, 32);
    if (roll == 0)
        len = spoil_body(s, body, len, d->body_max);
    unsigned nfds = d->fds_max > 0 && roll < 24 ? roll % 4 : 0;
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + len), d->type, (uint16_t)nfds, roll,
                                 (uint32_t)len};
    frame_put(bytes, &h);
    memcpy(bytes + PWC_HEADER_BYTES, body, len);
    caller_send(who, bytes, PWC_HEADER_BYTES + len, roll == 31 ? nfds + 1 : nfds);
}

static void say_bytes(struct input *in, unsigned who)
{
    size_t n = input_bytes(in, 1);
    n = MIN(n, in->left);
    caller_send(who, in->at, n, n % 3 == 0 ? 1 : 0);
    in->at += n;
    in->left -= n;
}

/* One after the other: compilers take arguments in any order, and an input is to say the same to all. */
static void say_some_item(struct input *in, unsigned who)
{
    uint64_t job = 1 + input_bytes(in, 1) % (world.next_job + 1);
    uint64_t index = input_bytes(in, 1) % 8;
    say_item(who, job, index, (unsigned)input_bytes(in, 1) % 3);
}

static void everybody_honest(void)
{
    for (unsigned i = 0; i < WORLD_STAGES; i++)
        for (int n = 0; n < 8 && fake_honest(&fakes[i]); n++)
            ;
}

static void be_there(unsigned who, bool polite)
{
    if (callers[who].fd >= 0)
        return;
    caller_connect(who, who < 2 ? 0 : 1000 + who);
    if (polite)
        say_hello(who);
}

static void step(struct input *in, struct source *s)
{
    uint8_t command = (uint8_t)input_bytes(in, 1);
    unsigned who = command % WORLD_CLIENTS;
    s->like[4] = world.next_job;
    s->like[5] = world.next_job + 1;
    be_there(who, command % 16 < 15);
    switch (command / WORLD_CLIENTS % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        say_filled(s, who);
        break;
    case 4:
    case 5:
    case 6:
        say_submit(who, (unsigned)input_bytes(in, 1));
        break;
    case 7:
    case 8:
        say_some_item(in, who);
        break;
    case 9:
        say_bytes(in, who);
        break;
    case 10:
        caller_close(who);
        break;
    case 11:
        shutdown(callers[who].fd, SHUT_WR);
        break;
    case 12:
        caller_drain(who);
        break;
    case 13:
        world_tick((int64_t)input_bytes(in, 1) * 100 * NS_PER_MS + 6 * NS_PER_MS);
        break;
    default:
        everybody_honest();
    }
    world_turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct source s = input_source(&in);
    world_begin();
    for (int i = 0; i < STEPS_MAX && in.left > 0; i++)
        step(&in, &s);
    world_end();
    return 0;
}
