/*
 * planner.c - the planner's and the producer's part: plan() decides; a small job is done here and now, a
 * large one gets a raster in the scratch file and a sealed plan, and produce() fills the raster.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/job.h"
#include "worker/usage.h"
#include "worker/mappings.h"

/* Real pages or blocks: a full disk must be an error here, not a SIGBUS in a worker. */
static int reserve_raster(struct op_job *job, uint64_t bytes)
{
    if (job->raster_fd < 0)
        return op_fail(job, CODE(INTERNAL), "%s wants scratch space that its table row does not announce",
                       job->op->name);
    if (bytes > INT64_MAX)
        return op_fail(job, CODE(BUDGET), "scratch space of %llu bytes is more than a file can have",
                       (unsigned long long)bytes);
    int r = fd_reserve(job->raster_fd, bytes);
    if (r == 0)
        return 0;
    fd_resize(job->raster_fd, 0); /* gives back what was got */
    return op_fail(job, CODE(NO_MEMORY),
                   "scratch space of %llu MiB is needed: %s (pwcctl doctor shows where)",
                   (unsigned long long)((bytes + (1u << 20) - 1) >> 20), strerror(-r));
}

static int make_raster(struct op_job *job, uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    if (reserve_raster(job, bytes) < 0)
        return -1;
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, job->raster_fd, 0);
    if (map == MAP_FAILED)
        return op_fail(job, CODE(NO_MEMORY), "%llu bytes of scratch space cannot be mapped: %s",
                       (unsigned long long)bytes, strerror(errno));
    job->raster = map;
    job->raster_bytes = bytes;
    mapping_add(MAPPING_OWN, map, bytes, -1);
    return 0;
}

void *op_map_scratch(struct op_job *job, uint64_t bytes)
{
    return make_raster(job, bytes) < 0 ? NULL : job->raster;
}

static int check_plan(struct op_job *job, const struct op_plan *plan)
{
    if (plan->chunks == 0 || plan->chunks > PWC_CHUNKS_MAX)
        return op_fail(job, CODE(INTERNAL), "%s planned %llu chunks", job->op->name,
                       (unsigned long long)plan->chunks);
    if (plan->result_bytes > PWC_RESULT_MAX)
        return op_fail(job, CODE(INTERNAL), "%s planned results of %llu bytes a chunk", job->op->name,
                       (unsigned long long)plan->result_bytes);
    if (plan->blob_len > OP_PLAN_MAX)
        return op_fail(job, CODE(INTERNAL), "%s made a plan of %zu bytes", job->op->name, plan->blob_len);
    if (plan->producer && job->op->produce == NULL)
        return op_fail(job, CODE(INTERNAL), "%s has no producer", job->op->name);
    if (plan->absorb == PWC__ABSORB__ABSORB_PLACED && job->op->blank == NULL)
        return op_fail(job, CODE(INTERNAL), "%s cannot fill what is given up", job->op->name);
    return 0;
}

/* The planner goes on as producer: it keeps its own copy of the plan. */
static void keep_plan(struct op_job *job, const struct op_plan *plan)
{
    free(job->priv->plan_own);
    job->priv->plan_own = plan->blob;
    job->plan = plan->blob;
    job->plan_len = plan->blob_len;
    job->chunks = plan->chunks;
    job->result_bytes = plan->result_bytes;
    job->absorb = plan->absorb;
}

static int send_planned(struct stage *s, struct op_job *job, const struct op_plan *plan)
{
    static char chunks[] = "chunks";
    AUTO_FD int fd = -1;
    Stage__Planned m = STAGE__PLANNED__INIT;
    m.job = job->id;
    m.chunks = plan->chunks;
    m.result_bytes = plan->result_bytes;
    m.producer = plan->producer;
    m.raster = plan->raster_bytes > 0;
    m.absorb = plan->absorb;
    m.windowed = plan->windowed;
    m.has_plan = plan->blob != NULL && plan->blob_len > 0;
    m.unit = plan->unit != NULL ? (char *)(uintptr_t)plan->unit : chunks;
    m.unit_size = plan->unit_size;
    m.units = plan->units;
    m.unit_from = plan->unit_from;
    m.bytes_in = descriptors_bytes_in(job);
    if (m.has_plan) {
        int r = memfd_fill(job->priv->plan_fd, plan->blob, plan->blob_len);
        if (r < 0)
            return op_fail(job, CODE(NO_MEMORY), "the plan cannot be stored: %s", strerror(-r));
        fd = TAKE_FD(job->priv->plan_fd);
    }
    return stage_send(s, PWC_MSG_PLANNED, &m.base, NULL, 0, &fd, m.has_plan ? 1 : 0);
}

static int run_plan(struct stage *s, struct op_job *job, uint64_t lease, struct op_plan *plan)
{
    if (job->op->plan == NULL)
        return op_fail(job, CODE(PROTOCOL), "%s needs no planner", job->op->name);
    if (job->state != NULL && job->op->close != NULL) /* an attempt before has failed */
        job->op->close(job);
    if (job->op->plan(job, plan) < 0)
        return -1;
    if (!plan->whole) {
        keep_plan(job, plan);
        return check_plan(job, plan) < 0 ? -1 : make_raster(job, plan->raster_bytes);
    }
    free(plan->blob);
    if (job->op->whole == NULL)
        return op_fail(job, CODE(INTERNAL), "%s cannot run whole", job->op->name);
    stage_slot(s, lease, SLOT_WHOLE);
    return descriptors_truncate(job) < 0 ? -1 : job->op->whole(job);
}

static int report_plan(struct stage *s, struct op_job *job, const Stage__Plan *m, bool whole, bool failed,
                       struct mono start, const struct usage *begin)
{
    static char none[1] = "";
    AUTO_FREE Pwc__Param **results = job_results(job);
    Stage__Report report = STAGE__REPORT__INIT;
    report.lease = m->lease;
    report.job = m->job;
    report.whole = whole;
    report.done = failed ? 0 : 1;
    report.code = failed ? job_failure(job)->code : CODE(OK);
    report.reason = failed ? job->priv->failure.text : none;
    if (!failed) {
        report.results = results;
        report.n_results = job->priv->nresults;
        report.bytes_out = job->priv->wrote;
    }
    report.ns = (uint64_t)mono_since(clock_now(), start);
    struct usage used = usage_end(begin);
    report.cpu_ns = used.cpu_ns;
    report.rss_before = failed ? used.rss_before : 0;
    report.rss_peak = failed ? used.rss_peak : 0;
    return stage_send(s, PWC_MSG_REPORT, &report.base, NULL, 0, NULL, 0);
}

int on_plan(struct stage *s, struct incoming *in)
{
    const Stage__Plan *m = (const Stage__Plan *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job == NULL || job->priv->open->role != STAGE__ROLE__ROLE_PLANNER || job->raster != NULL)
        return -EPROTO;
    struct usage used = usage_begin(&s->segment->slots[0]);
    struct mono start = clock_now();
    struct op_plan plan = {0};
    bool failed = job->priv->broken;
    if (!failed) {
        job_reset(job);
        job->attempt = MAX(m->attempt, 1u);
        stage_slot(s, m->lease, SLOT_PLAN);
        s->busy = true;
        failed = run_plan(s, job, m->lease, &plan) < 0;
        s->busy = false;
        stage_slot(s, m->lease, SLOT_IDLE);
    }
    if (!failed && !plan.whole) {
        int r = send_planned(s, job, &plan);
        if (r == 0 || job->priv->failure.code == CODE(OK))
            return r;
        failed = true;
    }
    job_unmap_raster(job); /* of what is tried again nothing is there yet */
    return report_plan(s, job, m, plan.whole, failed, start, &used);
}

/* ---- producer ---- */

int op_announce(struct op_job *job, uint64_t upto)
{
    Stage__Announce m = STAGE__ANNOUNCE__INIT;
    m.job = job->id;
    m.upto = upto;
    if (op_cancelled(job))
        return op_fail(job, CODE(CANCELLED), "cancelled");
    struct stage *s = job->priv->stage;
    s->done++; /* progress, for whoever watches for stalls */
    atomic_store_explicit(&s->segment->slots[0].done, s->done, memory_order_relaxed);
    if (stage_send(s, PWC_MSG_ANNOUNCE, &m.base, NULL, 0, NULL, 0) < 0)
        return op_fail(job, CODE(SHUTDOWN), "the supervisor is gone");
    return 0;
}

int on_release(struct stage *s, struct incoming *in)
{
    const Stage__Release *m = (const Stage__Release *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job != NULL)
        job->priv->released = MAX(job->priv->released, m->upto);
    return 0;
}

int op_released(struct op_job *job, bool wait, uint64_t *ret_upto)
{
    struct stage *s = job->priv->stage;
    uint64_t before = *ret_upto;
    s->ended = stage_drain(s);
    while (s->ended >= 0 && wait && job->priv->released <= before && !job->priv->closing &&
           !op_cancelled(job))
        s->ended = stage_turn(s);
    if (s->ended < 0)
        return op_fail(job, CODE(SHUTDOWN), "the supervisor is gone");
    if (job->priv->closing || op_cancelled(job))
        return op_fail(job, CODE(CANCELLED), "cancelled");
    *ret_upto = job->priv->released;
    return 0;
}

int on_produce(struct stage *s, struct incoming *in)
{
    const Stage__Produce *m = (const Stage__Produce *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job == NULL || job->op->produce == NULL)
        return -EPROTO;
    int r = -1;
    struct usage used = usage_begin(&s->segment->slots[0]);
    if (!job->priv->broken) {
        job_reset(job);
        job->attempt = MAX(m->attempt, 1u);
        job->priv->released = 0;
        stage_slot(s, m->lease, SLOT_PRODUCE);
        s->busy = true;
        r = job->op->produce(job);
        s->busy = false;
        stage_slot(s, m->lease, SLOT_IDLE);
    }
    if (r < 0)
        return stage_failed(s, job, &used);
    Stage__Produced done = STAGE__PRODUCED__INIT;
    done.job = m->job;
    return stage_send(s, PWC_MSG_PRODUCED, &done.base, NULL, 0, NULL, 0);
}
