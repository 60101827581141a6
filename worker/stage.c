/*
 * stage.c - the life of a stage: SPARE, Enter, ENTERED, end of the channel.
 *
 * One loop takes one message at a time; a table says who handles it, in which state, and whether it runs an
 * op. The supervisor is trusted less than it could be: what breaks the protocol ends the stage with a line on
 * stderr, because to go on with a half-understood job would be worse than to be started again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "ipc/log.h"
#include "ipc/slice.h"
#include "worker/job.h"
#include "worker/sanitized.h"
#include "worker/mappings.h"
#include "worker/obituary.h"
#include "worker/sandbox.h"
#include "worker/usage.h"

/*
 * A client that waits for its small job often has the next one. To sleep until then costs two wake-ups of an
 * idle processor, several times what the job does; so a stage looks for it some times more, about 70 us, if
 * the message before came alone and that soon. Between two looks it yields: what it waits for may wait
 * itself for the processor that the stage looks from, and would have to until the stage slept. So looks are
 * counted, not timed: what passes meanwhile is not all the stage's.
 */
#define LOOKS 200
#define SOON  (150 * NS_PER_US)

/* Reports of quick leases wait so long for each other. */
#define REPORTS_HELD (500 * NS_PER_US)

/* ---- sending ---- */

static int flush(struct stage *s, int r)
{
    s->held_since.ns = 0;
    while (r == 0 && chan_queued(s->chan) > 0) {
        struct pollfd p = {.fd = chan_fd(s->chan), .events = POLLOUT};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return -errno;
        r = chan_flush(s->chan);
    }
    return r;
}

int stage_send(struct stage *s, uint16_t type, const ProtobufCMessage *msg, const void *tail, size_t tail_len,
               const int *fds, unsigned nfds)
{
    return flush(s, chan_send_full(s->chan, type, 0, msg, tail, tail_len, fds, nfds));
}

int stage_report_small(struct stage *s, uint16_t type, const ProtobufCMessage *report)
{
    if (!chan_has_frame(s->chan))
        return stage_send(s, type, report, NULL, 0, NULL, 0);
    struct mono now = clock_now();
    if (s->held_since.ns == 0)
        s->held_since = now;
    chan_hold(s->chan, true);
    int r = chan_send(s->chan, type, 0, report);
    chan_hold(s->chan, false);
    return r == 0 && mono_since(now, s->held_since) > REPORTS_HELD ? flush(s, chan_flush(s->chan)) : r;
}

int stage_say_held(struct stage *s)
{
    return s->held_since.ns != 0 ? flush(s, chan_flush(s->chan)) : 0;
}

int stage_failed(struct stage *s, struct op_job *job, const struct usage *begin)
{
    const struct failure *f = job_failure(job);
    Stage__Failed m = STAGE__FAILED__INIT;
    m.job = job->id;
    m.code = f->code;
    m.reason = (char *)(uintptr_t)f->text;
    struct usage used = usage_end(begin);
    m.cpu_ns = used.cpu_ns;
    m.rss_before = used.rss_before;
    m.rss_peak = used.rss_peak;
    return stage_send(s, PWC_MSG_FAILED, &m.base, NULL, 0, NULL, 0);
}

/* Lease before chunk, so that a chunk is never seen with the lease before. */
void stage_slot(struct stage *s, uint64_t lease, uint64_t chunk)
{
    struct segment_slot *slot = &s->segment->slots[0];
    atomic_store_explicit(&slot->lease, lease, memory_order_release);
    atomic_store_explicit(&slot->chunk, chunk, memory_order_release);
}

/* ---- handlers of a stage's own life ---- */

static int on_describe(struct stage *s, struct incoming *in)
{
    (void)in;
    AUTO_FREE uint8_t *bytes = NULL;
    AUTO_FD int fd = -1;
    size_t len;
    int r = catalogue_pack(s->ops, &bytes, &len);
    if (r == 0)
        r = memfd_sealed_copy("pwc-catalogue", bytes, len, &fd);
    if (r < 0)
        return r;
    Stage__Catalogue m = STAGE__CATALOGUE__INIT;
    m.bytes = len;
    m.ops = (uint32_t)s->ops->n;
    return stage_send(s, PWC_MSG_CATALOGUE, &m.base, NULL, 0, &fd, 1);
}

static bool large_enough(int fd, uint64_t bytes)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size >= bytes;
}

/* The segment's words before its magic: whoever sees the magic sees idle slots. */
static void segment_begin(struct segment *g)
{
    for (unsigned i = 0; i < SEGMENT_SLOTS; i++)
        atomic_store_explicit(&g->slots[i].chunk, SLOT_IDLE, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    g->magic = SEGMENT_MAGIC;
}

static int map_pages(struct stage *s, int control, int segment)
{
    if (!large_enough(control, CONTROL_BYTES) || !large_enough(segment, SEGMENT_BYTES) ||
        !memfd_is_sealed(control, false) || !memfd_is_sealed(segment, false))
        return -EPROTO;
    s->control = segment_map(control, CONTROL_BYTES, false);
    s->segment = segment_map(segment, SEGMENT_BYTES, true);
    if (s->control == NULL || s->segment == NULL)
        return -errno;
    mapping_add(MAPPING_OWN, s->control, CONTROL_BYTES, -1);
    mapping_add(MAPPING_OWN, s->segment, SEGMENT_BYTES, -1);
    madvise(s->segment, SEGMENT_BYTES,
            MADV_POPULATE_WRITE); /* the first lease should not pay for the pages */
    segment_begin(s->segment);
    return 0;
}

static int on_enter(struct stage *s, struct incoming *in)
{
    const Stage__Enter *m = (const Stage__Enter *)in->msg;
    int r = in->frame->nfds >= 2 ? map_pages(s, in->frame->fds[0], in->frame->fds[1]) : -EPROTO;
    if (r == 0 && in->frame->nfds == 3)
        dup2(in->frame->fds[2], STDERR_FILENO);
    if (r < 0)
        return r;
    s->number = m->stage;
    s->domain = m->domain;
    s->state = STAGE_ENTERED;
    obituary_memory(m->memory, open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
    obituary_arm(&s->segment->obituary);
    sanitized_prepare();
    struct sandbox_result box;
    bool code = (m->needs & OP_NEEDS_CODE) != 0;
#ifdef HAVE_VIPS
    ops_image_code(code);
#endif
    sandbox_enter(m->memory, code, &box);
    Stage__Entered answer = STAGE__ENTERED__INIT;
    answer.layers = box.layers;
    answer.layer_bits = box.bits;
    answer.missing = box.missing;
    r = stage_send(s, PWC_MSG_ENTERED, &answer.base, NULL, 0, &box.dying, box.dying >= 0 ? 1 : 0);
    fd_close_(&box.dying);
    if (r == 0 && (box.bits & m->require) != m->require) {
        log_fatal("a required sandbox layer is missing: %s", box.missing);
        _exit(STAGE_EXIT_SANDBOX);
    }
    return r;
}

/* The pages are reserved and mapped now: a full memory is an error of the next lease, not a SIGBUS in it. */
static int arena_map(struct arena *a, int fd, uint64_t bytes)
{
    int r = fd_reserve(fd, bytes);
    if (r < 0)
        return r;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    madvise(base, bytes, MADV_POPULATE_WRITE);
    mapping_add(MAPPING_OWN, base, bytes, -1);
    a->base = base;
    return 0;
}

static int on_arena(struct stage *s, struct incoming *in)
{
    const Stage__Arena *m = (const Stage__Arena *)in->msg;
    if (in->frame->nfds != 1 || m->bytes == 0 || !large_enough(in->frame->fds[0], m->bytes) ||
        !memfd_is_sealed(in->frame->fds[0], false))
        return -EPROTO;
    if (s->arena.base != NULL) {
        mapping_remove(s->arena.base);
        munmap(s->arena.base, s->arena.bytes);
    }
    s->arena = (struct arena){.id = m->arena, .bytes = m->bytes};
    s->arena.error = arena_map(&s->arena, in->frame->fds[0], m->bytes);
    return 0;
}

/* ---- dispatch ---- */

static const struct handler {
    uint16_t type;
    unsigned states;
    bool runs_op; /* refused while an op runs */
    int (*run)(struct stage *s, struct incoming *in);
} handlers[] = {
    {PWC_MSG_DESCRIBE, STAGE_SPARE, false, on_describe},
    {PWC_MSG_ENTER, STAGE_SPARE, true, on_enter},
    {PWC_MSG_ARENA, STAGE_ENTERED, false, on_arena},
    {PWC_MSG_JOB_OPEN, STAGE_ENTERED, true, on_job_open},
    {PWC_MSG_JOB_CLOSE, STAGE_ENTERED, false, on_job_close},
    {PWC_MSG_PLAN, STAGE_ENTERED, true, on_plan},
    {PWC_MSG_LEASE, STAGE_ENTERED, true, on_lease},
    {PWC_MSG_SMALL, STAGE_ENTERED, true, on_small},
    {PWC_MSG_PRODUCE, STAGE_ENTERED, true, on_produce},
    {PWC_MSG_CONSUME, STAGE_ENTERED, true, on_consume},
    {PWC_MSG_ABSORB, STAGE_ENTERED, false, on_absorb},
    {PWC_MSG_ARENA_GONE, STAGE_ENTERED, false, on_arena_gone},
    {PWC_MSG_RELEASE, STAGE_ENTERED, false, on_release},
};

static const struct handler *handler_find(uint16_t type)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (handlers[i].type == type)
            return &handlers[i];
    return NULL;
}

static int dispatch(struct stage *s, struct frame *f)
{
    const struct handler *h = handler_find(f->type);
    struct incoming in = {.frame = f};
    int r = -EPROTO;
    if (h != NULL && (h->states & s->state) != 0 && !(h->runs_op && s->busy))
        in.msg = msg_unpack(f->desc, f->body, f->body_len);
    if (in.msg != NULL)
        r = h->run(s, &in);
    if (r < 0)
        log_warn("stage %llu: %s: %s, ending", (unsigned long long)s->number, msg_name(f->type),
                 strerror(-r));
    msg_free(in.msg);
    frame_close(s->chan, f);
    if (h != NULL && h->type == PWC_MSG_JOB_CLOSE)
        sanitized_look_for_leaks();
    return r;
}

static int await_bytes(struct stage *s)
{
    bool alone = !s->busy && s->like != 0 && s->frames == 1;
    s->frames = 0;
    s->brisk &= alone;
    if (!alone)
        return chan_fill_wait(s->chan);
    struct mono start = clock_now();
    int r = -EAGAIN;
    for (int i = 0; s->brisk && i < LOOKS && (r = chan_fill(s->chan)) == -EAGAIN; i++)
        sched_yield();
    if (r == -EAGAIN)
        r = chan_fill_wait(s->chan);
    s->brisk = mono_since(clock_now(), start) < SOON;
    return r;
}

int stage_turn(struct stage *s)
{
    struct frame f;
    for (;;) {
        int r = chan_next(s->chan, &f);
        if (r < 0) {
            log_warn("stage %llu: %s, ending", (unsigned long long)s->number, chan_error(s->chan));
            return r;
        }
        if (r > 0) {
            s->frames++;
            /* What is no small job (of those, lease.c knows more) may take long. */
            r = f.type != PWC_MSG_SMALL ? stage_say_held(s) : 0;
            return r < 0 ? r : dispatch(s, &f);
        }
        if ((r = stage_say_held(s)) < 0)
            return r;
        r = await_bytes(s);
        if (r == 0)
            return -EPIPE;
        if (r < 0 && r != -EAGAIN)
            return r;
    }
}

int stage_drain(struct stage *s)
{
    int r;
    while ((r = chan_wait(s->chan, 0)) > 0)
        if ((r = stage_turn(s)) < 0)
            return r;
    return r;
}

/* Exits without atexit handlers: libraries would tidy up what the kernel tidies faster. */
static _Noreturn void stage_end(int r)
{
    _exit(r == -EPIPE || r == -ECONNRESET ? EXIT_SUCCESS : STAGE_EXIT_PROTOCOL);
}

_Noreturn void stage_main(int fd, const struct optable *ops, int cgroup_error)
{
    static struct stage stage;
    struct stage *s = &stage;
    slice_ask(0, SLICE_SHORT);
    s->state = STAGE_SPARE;
    s->ops = ops;
    s->chan = chan_new(fd, MSG_FROM_SUPER, NULL);
    obituary_arm(NULL);
    Stage__Ready ready = STAGE__READY__INIT;
    ready.pid = (uint32_t)getpid();
    ready.cgroup_error = cgroup_error;
    int r = stage_send(s, PWC_MSG_READY, &ready.base, NULL, 0, NULL, 0);
    while (r >= 0)
        r = stage_turn(s);
    stage_end(r);
}
