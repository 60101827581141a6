/* honest.c - what an honest stage answers, in as few chunks as show everything: part of inproc.h. */
#include <string.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inproc.h"

#define CHUNKS 6u

static struct staged_job *job_of(struct fake *f, uint64_t job)
{
    for (unsigned i = 0; i < STAGE_JOBS; i++)
        if (f->jobs[i].job == job)
            return &f->jobs[i];
    return NULL;
}

static void say(struct fake *f, uint16_t type, const void *msg, const void *tail, size_t tail_len, int fd)
{
    (void)chan_send_full(f->chan, type, 0, msg, tail, tail_len, &fd, fd >= 0);
}

/* ---- one kind of message each ---- */

static void on_enter(struct fake *f, struct frame *fr)
{
    Stage__Entered m = STAGE__ENTERED__INIT;
    segment_unmap(f->segment, SEGMENT_BYTES);
    f->segment = fr->nfds > 1 ? segment_map(fr->fds[1], SEGMENT_BYTES, true) : NULL;
    say(f, PWC_MSG_ENTERED, &m, NULL, 0, -1);
}

static void on_job_open(struct fake *f, const Stage__JobOpen *m)
{
    memmove(&f->jobs[1], &f->jobs[0], sizeof f->jobs[0] * (STAGE_JOBS - 1));
    f->jobs[0] = (struct staged_job){m->job, m->chunks, 0, m->absorb, m->batch};
}

static void on_plan(struct fake *f, const Stage__Plan *p)
{
    const struct staged_job *j = job_of(f, p->job);
    int fd = -1;
    if (j != NULL && p->lease % 4 == 0) { /* small: done at once */
        Stage__Report r = STAGE__REPORT__INIT;
        r.lease = p->lease;
        r.job = p->job;
        r.whole = true;
        say(f, PWC_MSG_REPORT, &r, NULL, 0, -1);
        return;
    }
    Stage__Planned m = STAGE__PLANNED__INIT;
    m.job = p->job;
    m.chunks = CHUNKS;
    m.absorb = j != NULL ? j->absorb : PWC__ABSORB__ABSORB_NONE;
    m.producer = m.absorb == PWC__ABSORB__ABSORB_SERIAL;
    m.windowed = m.producer && p->lease % 2 == 1;
    m.raster = m.producer && p->lease % 8 < 6;
    m.result_bytes = m.producer ? 4096 : 0;
    m.has_plan = memfd_sealed_copy("plan", "plan", 4, &fd) == 0;
    say(f, PWC_MSG_PLANNED, &m, NULL, 0, fd);
    fd_close_(&fd);
}

static void on_lease(struct fake *f, const Stage__Lease *l)
{
    const struct staged_job *j = job_of(f, l->job);
    bool folded = j != NULL && j->absorb == PWC__ABSORB__ABSORB_FOLDED && !l->final;
    static const uint8_t state[] = {8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    Stage__Report r = STAGE__REPORT__INIT;
    f->lease = l->lease;
    if (f->segment != NULL) {
        atomic_store(&f->segment->slots[0].lease, l->lease);
        atomic_store(&f->segment->slots[0].chunk, l->first);
    }
    r.lease = l->lease;
    r.job = l->job;
    r.done = l->n;
    r.ns = 1000;
    say(f, PWC_MSG_REPORT, &r, state, folded ? sizeof state : 0, -1);
    if (f->segment != NULL)
        atomic_store(&f->segment->slots[0].chunk, SLOT_IDLE);
}

/* Each fourth has more to tell than that it is done. */
static void on_small(struct fake *f, const Stage__Small *m)
{
    Stage__SmallDone d = STAGE__SMALL_DONE__INIT;
    Stage__Lease l = STAGE__LEASE__INIT;
    l.lease = d.lease = m->lease;
    l.job = d.job = m->job;
    l.n = 1;
    d.ns = 1000;
    if (m->lease % 4 == 0)
        on_lease(f, &l);
    else
        say(f, PWC_MSG_SMALL_DONE, &d, NULL, 0, -1);
}

static void on_produce(struct fake *f, const Stage__Produce *p)
{
    Stage__Announce a = STAGE__ANNOUNCE__INIT;
    Stage__Produced m = STAGE__PRODUCED__INIT;
    a.job = m.job = p->job;
    a.upto = CHUNKS / 2;
    say(f, PWC_MSG_ANNOUNCE, &a, NULL, 0, -1);
    say(f, PWC_MSG_PRODUCED, &m, NULL, 0, -1);
}

static void on_absorb(struct fake *f, const Stage__Absorb *a)
{
    struct staged_job *j = job_of(f, a->job);
    Stage__Absorbed m = STAGE__ABSORBED__INIT;
    m.job = a->job;
    m.upto = a->first + a->n;
    say(f, PWC_MSG_ABSORBED, &m, NULL, 0, -1);
    if (j == NULL || (j->consumed += a->n) < j->chunks)
        return;
    Stage__Consumed c = STAGE__CONSUMED__INIT;
    c.job = a->job;
    say(f, PWC_MSG_CONSUMED, &c, NULL, 0, -1);
}

/* ---- all ---- */

bool fake_read(struct fake *f, struct frame *ret)
{
    if (!f->used || f->killed)
        return false;
    int r = chan_next(f->chan, ret);
    if (r == 0 && chan_fill(f->chan) > 0)
        r = chan_next(f->chan, ret);
    FUZZ_CHECK(r >= 0); /* the supervisor keeps the rules */
    return r > 0;
}

void fake_answer(struct fake *f, const struct frame *fr)
{
    ProtobufCMessage *m = msg_unpack(fr->desc, fr->body, fr->body_len);
    FUZZ_CHECK(m != NULL);
    switch (fr->type) {
    case PWC_MSG_ENTER:
        on_enter(f, (struct frame *)(uintptr_t)fr);
        break;
    case PWC_MSG_JOB_OPEN:
        on_job_open(f, (Stage__JobOpen *)m);
        break;
    case PWC_MSG_PLAN:
        on_plan(f, (Stage__Plan *)m);
        break;
    case PWC_MSG_LEASE:
        on_lease(f, (Stage__Lease *)m);
        break;
    case PWC_MSG_SMALL:
        on_small(f, (Stage__Small *)m);
        break;
    case PWC_MSG_PRODUCE:
        on_produce(f, (Stage__Produce *)m);
        break;
    case PWC_MSG_ABSORB:
        on_absorb(f, (Stage__Absorb *)m);
        break;
    default:
        break;
    }
    msg_free(m);
}

bool fake_honest(struct fake *f)
{
    struct frame fr;
    if (!fake_read(f, &fr))
        return false;
    fake_answer(f, &fr);
    if (!f->killed)
        frame_close(f->chan, &fr);
    return true;
}
