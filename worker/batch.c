/*
 * batch.c - a lease of a batch: each chunk is an item with descriptors of its own, which one call of the op's
 * `whole` turns into its output. An item's descriptors are closed as soon as it has ended.
 */
#include "worker/job.h"

/* Binds `n` descriptors from the frame, beginning at `at`, to the first n roles. */
static int bind_item(struct op_job *job, struct frame *f, unsigned at, uint32_t n)
{
    struct op_job_private *p = job->priv;
    if (n > p->nroles || at + n > f->nfds)
        return op_fail(job, CODE(PROTOCOL), "an item with %u descriptors where %u can be", n, p->nroles);
    for (unsigned i = 0; i < n; i++)
        p->roles[i].fd = frame_take_fd(f, at + i);
    return descriptors_check(job);
}

static int run_item(struct op_job *job, struct frame *f, unsigned at, uint32_t n)
{
    int r = bind_item(job, f, at, n);
    if (r == 0)
        r = descriptors_truncate(job);
    if (r == 0)
        r = job->op->whole(job);
    descriptors_close(job);
    return r;
}

/* Behind the slot, not only in the order of the text: the supervisor, which lowers the limit and then looks
 * at the slot, and this stage see one another. An item that two write at a time would be the file of neither.
 */
static bool must_stop(const struct stage *s, uint64_t chunk)
{
    atomic_thread_fence(memory_order_seq_cst);
    return chunk >= atomic_load_explicit(&s->control->limit, memory_order_relaxed);
}

void batch_lease(struct stage *s, struct op_job *job, const Stage__Lease *lease, struct frame *frame,
                 Stage__Report *report)
{
    unsigned at = 0;
    const bool traced = stage_traced(s) != 0;
    struct mono from = clock_now();
    s->busy = true;
    for (uint64_t i = 0; i < lease->n && report->code == CODE(OK); i++) {
        uint64_t chunk = lease->first + i;
        uint32_t n = i < lease->n_item_fds ? lease->item_fds[i] : 0;
        stage_slot(s, lease->lease, chunk);
        if (must_stop(s, chunk))
            break;
        job_reset(job); /* only the last item's results go with the report */
        job->item = chunk;
        int r = op_cancelled(job) ? op_fail(job, CODE(CANCELLED), "cancelled") : run_item(job, frame, at, n);
        if (r < 0) {
            report->code = job_failure(job)->code;
            report->failed = chunk;
            break;
        }
        if (traced) {
            struct mono now = clock_now();
            stage_trace(s, lease->lease, chunk, 1, from, now);
            from = now;
        }
        at += n;
        job->attempt = 1;
        report->done++;
        s->done++;
        atomic_store_explicit(&s->segment->slots[0].done, s->done, memory_order_relaxed);
    }
    s->busy = false;
}
