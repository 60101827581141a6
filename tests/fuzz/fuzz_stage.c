/*
 * fuzz_stage.c - stages that say anything, to the supervisor in this process, whose client is an ordinary
 * one. Nothing reaches an assertion, the tables stay true (inproc.c), and when all is over everything is
 * given back.
 *
 * Input: a byte chooses which stage does what, further bytes what it says. The numbers that mean something
 * (leases, jobs, chunks) are chosen often.
 */
#include <string.h>

#include "daemon/job.h"
#include "daemon/stage.h"
#include "daemon/pool.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/inproc.h"
#include "tests/fuzz/jobs.h"

#define STEPS_MAX 300
#define CLIENT    0u

static struct fake *some_fake(unsigned which)
{
    struct fake *alive[WORLD_STAGES];
    unsigned n = 0;
    for (unsigned i = 0; i < WORLD_STAGES; i++)
        if (fakes[i].used && !fakes[i].killed)
            alive[n++] = &fakes[i];
    return n > 0 ? alive[which % n] : NULL;
}

/* What the supervisor thinks this stage holds: a lie is best when it is near the truth. */
static void learn(struct source *s, const struct fake *f)
{
    const struct stage *x = pool_find(world.pool, f->stage);
    s->like[0] = f->lease;
    s->like[1] = world.next_lease;
    s->like[2] = world.next_job;
    if (x == NULL || x->job == NULL)
        return;
    s->like[0] = x->lease.id;
    s->like[2] = x->job->id;
    s->like[3] = x->lease.first;
    s->like[4] = x->lease.end;
    s->like[5] = x->lease.end - x->lease.first;
    s->like[6] = x->job->ledger.total;
    s->like[7] = x->job->assembly.sent;
}

static void lie(struct source *s, struct fake *f, unsigned how)
{
    static uint8_t bytes[PWC_FRAME_MAX], body[PWC_BODY_MAX];
    const struct msg_desc *d;
    uint32_t pick = source_below(s, (uint32_t)msg_table_len);
    for (d = &msg_table[pick]; d->sender != MSG_FROM_STAGE; d = &msg_table[++pick % msg_table_len])
        ;
    learn(s, f);
    size_t len = fill_body(d->proto, s, body, d->body_max), tail = 0;
    if (how == 0)
        len = spoil_body(s, body, len, d->body_max);
    unsigned nfds = d->fds_max > 0 && how % 2 == 0 ? 1 : 0;
    if (d->tail_max > 0 && how % 3 == 0)
        tail = 4 + source_below(s, 40);
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + len + tail), d->type, (uint16_t)nfds, how,
                                 (uint32_t)len};
    frame_put(bytes, &h);
    memcpy(bytes + PWC_HEADER_BYTES, body, len);
    memset(bytes + PWC_HEADER_BYTES + len, 0, tail);
    if (tail > 0)
        bytes[PWC_HEADER_BYTES + len] = (uint8_t)(how % 2 == 0 ? tail - 4 : source_below(s, 256));
    fake_send(f, bytes, PWC_HEADER_BYTES + len + tail, how == 31 ? nfds + 2 : nfds);
}

/* A report of the lease it holds with one number changed. */
static void nearly_honest(struct source *s, struct fake *f)
{
    const struct stage *x = pool_find(world.pool, f->stage);
    if (x == NULL || x->job == NULL)
        return;
    learn(s, f);
    Stage__Report r = STAGE__REPORT__INIT;
    r.lease = x->lease.id;
    r.job = x->job->id;
    r.done = source_number(s);
    r.failed = source_below(s, 2) == 0 ? x->lease.first + r.done : source_number(s);
    r.code = (Pwc__Code)(source_below(s, 3) == 0 ? source_below(s, 60) : 0);
    r.ns = source_number(s);
    r.whole = source_below(s, 2) == 0;
    (void)chan_send(f->chan, PWC_MSG_REPORT, 0, &r.base);
}

static void scribble(struct source *s, struct fake *f)
{
    learn(s, f);
    if (f->segment == NULL)
        return;
    atomic_store(&f->segment->slots[0].lease, source_number(s));
    atomic_store(&f->segment->slots[0].chunk, source_number(s));
    atomic_store(&f->segment->slots[0].done, source_number(s));
    atomic_store(&f->segment->obituary.ready, source_below(s, 3));
    f->segment->obituary.text_len = (uint32_t)source_number(s);
    memset(f->segment->obituary.text, (int)source_below(s, 256), 64);
}

static void raw(struct input *in, struct fake *f)
{
    size_t n = input_bytes(in, 1);
    n = MIN(n, in->left);
    fake_send(f, in->at, n, n % 3 == 0 ? 1 : 0);
    in->at += n;
    in->left -= n;
}

static void everybody_honest(void)
{
    for (unsigned i = 0; i < WORLD_STAGES; i++)
        for (int n = 0; n < 8 && fake_honest(&fakes[i]); n++)
            ;
}

static void client_step(struct input *in)
{
    if (callers[CLIENT].fd < 0) {
        caller_connect(CLIENT, 0);
        say_hello(CLIENT);
    }
    say_submit(CLIENT, (unsigned)input_bytes(in, 1));
    world_turn();
    for (uint64_t i = 0; i < 3; i++)
        say_item(CLIENT, world.next_job, i, world.next_job % 5 == 0 ? 1 : 2);
    caller_drain(CLIENT);
}

static void step(struct input *in, struct source *s)
{
    uint8_t command = (uint8_t)input_bytes(in, 1);
    struct fake *f = some_fake(command % 16);
    unsigned what = command / 16;
    if (f == NULL || what < 2) {
        client_step(in);
    } else if (what < 6) {
        lie(s, f, (unsigned)input_bytes(in, 1) % 32);
    } else if (what < 8) {
        nearly_honest(s, f);
    } else if (what < 9) {
        scribble(s, f);
    } else if (what < 10) {
        raw(in, f);
    } else if (what < 11) {
        fake_die(f);
    } else if (what < 12) {
        world_tick((int64_t)input_bytes(in, 1) * 500 * NS_PER_MS + 6 * NS_PER_MS);
    } else if (what < 14) {
        (void)fake_honest(f);
    } else {
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
