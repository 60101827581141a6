/*
 * consumer.c - the consumer's part: references to results come in (Absorb), the op's merge pulls them with
 * op_next in chunk order and gives their memory back with op_absorbed.
 *
 * Arenas are mapped when they are first named and stay mapped until the supervisor says that nothing lies
 * there any more (ArenaGone), or the job is closed: for as long they take memory. What is mapped was sealed
 * against shrinking, so reading it cannot fault. merge blocks in op_next on the channel: a cancel word alone
 * does not wake it, JobClose does.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ipc/fds.h"
#include "ipc/log.h"
#include "worker/job.h"
#include "worker/usage.h"
#include "worker/mappings.h"

/* One a worker, and a few that outlived theirs: far above any machine's count, far below max_map_count. */
#define ARENAS_MAX 4096u

static void arena_unmap(const struct consumer_arena *arena)
{
    mapping_remove(arena->base);
    munmap(arena->base, arena->bytes);
}

void consumer_free(struct consumer *c)
{
    for (size_t i = 0; i < c->narenas; i++)
        arena_unmap(&c->arenas[i]);
    free(c->arenas);
    free(c->queue);
    free(c->blank);
    *c = (struct consumer){0};
}

static struct consumer_arena *arena_find(struct consumer *c, uint64_t id)
{
    for (size_t i = 0; i < c->narenas; i++)
        if (c->arenas[i].id == id)
            return &c->arenas[i];
    return NULL;
}

static int arena_map(struct consumer *c, uint64_t id, uint64_t bytes, int fd)
{
    struct stat st;
    if (c->narenas == ARENAS_MAX || bytes == 0 || !memfd_is_sealed(fd, false) || fstat(fd, &st) < 0 ||
        (uint64_t)st.st_size < bytes)
        return -EPROTO;
    void *base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    c->arenas = xrealloc(c->arenas, c->narenas + 1, sizeof *c->arenas);
    c->arenas[c->narenas++] = (struct consumer_arena){id, bytes, base};
    mapping_add(MAPPING_OWN, base, bytes, -1);
    return 0;
}

static void queue_push(struct consumer *c, struct absorb a)
{
    if (c->head > 0 && c->head + c->len == c->room) {
        memmove(c->queue, c->queue + c->head, c->len * sizeof *c->queue);
        c->head = 0;
    }
    if (c->len == c->room) {
        c->room = c->room > 0 ? c->room * 2 : 16;
        c->queue = xrealloc(c->queue, c->room, sizeof *c->queue);
    }
    c->queue[c->head + c->len++] = a;
}

/* Nothing comes twice and nothing out of order. */
static bool absorb_fits(const struct op_job *job, const Stage__Absorb *m, const struct consumer_arena *arena)
{
    uint64_t bytes, end, last;
    return m->n > 0 && m->first >= job->priv->consumer.next && add_u64(m->first, m->n, &last) &&
           last <= job->chunks && mul_u64(m->n, job->result_bytes, &bytes) &&
           add_u64(m->offset, bytes, &end) && end <= arena->bytes;
}

/* What was given up is taken like a result: one blank chunk serves for all of them. */
static int absorb_hole(struct op_job *job, const Stage__Absorb *m)
{
    struct consumer *c = &job->priv->consumer;
    if (m->n != 1 || m->first < c->next || m->first >= job->chunks)
        return -EPROTO;
    if (c->blank == NULL) {
        c->blank = xcalloc(1, job->result_bytes);
        memset(c->blank, (int)(job->priv->open->fill & 0xff), job->result_bytes);
    }
    queue_push(c, (struct absorb){m->first, 1, c->blank});
    c->next = m->first + 1;
    return 0;
}

int on_absorb(struct stage *s, struct incoming *in)
{
    const Stage__Absorb *m = (const Stage__Absorb *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job == NULL || job->priv->open->role != STAGE__ROLE__ROLE_CONSUMER)
        return 0; /* it has failed or was closed: what was on its way is dropped */
    struct consumer *c = &job->priv->consumer;
    if (m->hole)
        return absorb_hole(job, m);
    struct consumer_arena *arena = arena_find(c, m->arena);
    if (arena == NULL && in->frame->nfds == 1) {
        int r = arena_map(c, m->arena, m->arena_bytes, in->frame->fds[0]);
        if (r < 0) {
            log_warn("arena %llu: %s", (unsigned long long)m->arena, strerror(-r));
            return r;
        }
        arena = arena_find(c, m->arena);
    }
    if (arena == NULL || !absorb_fits(job, m, arena)) {
        log_warn("absorb of chunk %llu: unknown arena, out of order or out of bounds",
                 (unsigned long long)m->first);
        return -EPROTO;
    }
    queue_push(c, (struct absorb){m->first, m->n, arena->base + m->offset});
    c->next = m->first + m->n;
    return 0;
}

/* What still waits there, or was handed to the op only in part. */
static bool lies_in(const struct consumer *c, const struct consumer_arena *arena)
{
    for (size_t i = 0; i < c->len; i++) {
        const struct absorb *a = &c->queue[c->head + i];
        bool all_taken = i == 0 && c->taken == a->n;
        if (!all_taken && a->at >= arena->base && a->at < arena->base + arena->bytes)
            return true;
    }
    return false;
}

int on_arena_gone(struct stage *s, struct incoming *in)
{
    const Stage__ArenaGone *m = (const Stage__ArenaGone *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job == NULL || job->priv->open->role != STAGE__ROLE__ROLE_CONSUMER)
        return 0;
    struct consumer *c = &job->priv->consumer;
    struct consumer_arena *arena = arena_find(c, m->arena);
    if (arena == NULL || lies_in(c, arena)) {
        log_warn("arena %llu is gone, but %s", (unsigned long long)m->arena,
                 arena == NULL ? "unknown" : "results wait there");
        return -EPROTO;
    }
    arena_unmap(arena);
    *arena = c->arenas[--c->narenas];
    return 0;
}

const void *op_next(struct op_job *job, uint64_t *ret_chunk)
{
    struct consumer *c = &job->priv->consumer;
    if (c->len > 0 && c->taken == c->queue[c->head].n) {
        c->head++;
        c->len--;
        c->taken = 0;
    }
    while (c->len == 0) {
        if (job->priv->closing || op_cancelled(job)) {
            op_fail(job, CODE(CANCELLED), "cancelled");
            return NULL;
        }
        struct stage *s = job->priv->stage;
        s->ended = stage_turn(s);
        if (s->ended < 0) {
            op_fail(job, CODE(SHUTDOWN), "the supervisor is gone");
            return NULL;
        }
    }
    const struct absorb *a = &c->queue[c->head];
    uint64_t i = c->taken++;
    *ret_chunk = a->first + i;
    return a->at + i * job->result_bytes;
}

int op_absorbed(struct op_job *job, uint64_t upto)
{
    struct stage *s = job->priv->stage;
    Stage__Absorbed m = STAGE__ABSORBED__INIT;
    m.job = job->id;
    m.upto = upto;
    s->done++;
    atomic_store_explicit(&s->segment->slots[0].done, s->done, memory_order_relaxed);
    if (stage_send(s, PWC_MSG_ABSORBED, &m.base, NULL, 0, NULL, 0) < 0)
        return op_fail(job, CODE(SHUTDOWN), "the supervisor is gone");
    return 0;
}

static int send_consumed(struct stage *s, struct op_job *job)
{
    AUTO_FREE Pwc__Param **results = job_results(job);
    Stage__Consumed m = STAGE__CONSUMED__INIT;
    m.job = job->id;
    m.results = results;
    m.n_results = job->priv->nresults;
    m.bytes_out = job->priv->wrote;
    return stage_send(s, PWC_MSG_CONSUMED, &m.base, NULL, 0, NULL, 0);
}

int on_consume(struct stage *s, struct incoming *in)
{
    const Stage__Consume *m = (const Stage__Consume *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job == NULL || job->priv->open->role != STAGE__ROLE__ROLE_CONSUMER || job->op->merge == NULL)
        return -EPROTO;
    int r = -1;
    struct usage used = usage_begin(&s->segment->slots[0]);
    if (!job->priv->broken) {
        job_reset(job);
        job->attempt = MAX(m->attempt, 1u);
        stage_slot(s, m->lease, SLOT_CONSUME);
        s->busy = true;
        r = descriptors_truncate(job); /* a new generation starts from nothing */
        if (r == 0)
            r = job->op->merge(job);
        s->busy = false;
        stage_slot(s, m->lease, SLOT_IDLE);
    }
    if (s->ended < 0)
        return s->ended;
    if (job->priv->closing) { /* nobody waits for the answer */
        job_sweep(s);
        return 0;
    }
    r = r < 0 ? stage_failed(s, job, &used) : send_consumed(s, job);
    job_sweep(s);
    return r;
}
