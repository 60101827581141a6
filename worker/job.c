/*
 * job.c - opening and closing jobs in a stage: JobOpen's message and descriptors become an op_job.
 *
 * JobOpen has no answer. So a job that cannot run (a descriptor of the wrong kind, an op that refuses) is
 * kept as `broken` with its failure, which the first Plan, Lease, Produce or Consume reports.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "ipc/log.h"
#include "worker/job.h"
#include "worker/mappings.h"

struct op_job *job_find(const struct stage *s, uint64_t id)
{
    for (unsigned i = 0; i < STAGE_JOBS; i++)
        if (s->jobs[i] != NULL && s->jobs[i]->id == id)
            return s->jobs[i];
    return NULL;
}

static int map_plan(struct op_job *job, int fd)
{
    struct stat st;
    if (!memfd_is_sealed(fd, true) || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > OP_PLAN_MAX)
        return op_fail(job, CODE(PROTOCOL), "the plan is not sealed or of impossible size");
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return op_fail(job, CODE(NO_MEMORY), "the plan cannot be mapped: %s", strerror(errno));
    job->priv->plan_map = map;
    job->plan = map;
    job->plan_len = (size_t)st.st_size;
    mapping_add(MAPPING_OWN, map, job->plan_len, -1);
    return 0;
}

/* A planner's scratch file is still empty: plan() says how large it becomes. */
static int take_raster(struct op_job *job, int fd, Stage__Role role)
{
    struct stat st;
    job->raster_fd = fd;
    if (role == STAGE__ROLE__ROLE_PLANNER)
        return 0;
    if (fstat(fd, &st) < 0 || st.st_size <= 0)
        return op_fail(job, CODE(PROTOCOL), "the raster is missing or empty");
    int prot = role == STAGE__ROLE__ROLE_PRODUCER ? PROT_READ | PROT_WRITE : PROT_READ;
    void *map = mmap(NULL, (size_t)st.st_size, prot, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return op_fail(job, CODE(NO_MEMORY), "%llu bytes of raster cannot be mapped: %s",
                       (unsigned long long)st.st_size, strerror(errno));
    job->raster = map;
    job->raster_bytes = (uint64_t)st.st_size;
    mapping_add(MAPPING_OWN, map, job->raster_bytes, -1);
    return 0;
}

static int name_roles(struct op_job *job)
{
    struct op_job_private *p = job->priv;
    if (p->open->n_roles > PWC_ROLES_MAX)
        return op_fail(job, CODE(PROTOCOL), "too many roles");
    for (size_t i = 0; i < p->open->n_roles; i++) {
        const struct op_role *found = NULL;
        for (size_t k = 0; k < job->op->nroles && found == NULL; k++)
            if (strcmp(job->op->roles[k].name, p->open->roles[i]) == 0)
                found = &job->op->roles[k];
        if (found == NULL)
            return op_fail(job, CODE(NO_SUCH_ROLE), "%s has no role %s", job->op->name, p->open->roles[i]);
        p->roles[p->nroles++] = (struct role_fd){.name = found->name, .dir = found->dir, .fd = -1};
    }
    return 0;
}

/* Takes the descriptors in the order the protocol gives them. */
static int take_descriptors(struct op_job *job, struct frame *f)
{
    struct op_job_private *p = job->priv;
    const Stage__JobOpen *m = p->open;
    unsigned at = 0;
    int r = 0;
    if (m->has_plan && m->role == STAGE__ROLE__ROLE_PLANNER) {
        p->plan_fd = frame_take_fd(f, at++);
    } else if (m->has_plan) {
        AUTO_FD int plan = frame_take_fd(f, at++);
        r = map_plan(job, plan);
    }
    if (m->has_raster) {
        int fd = frame_take_fd(f, at++);
        if (take_raster(job, fd, m->role) < 0)
            r = -1;
    }
    for (unsigned i = 0; i < p->nroles && !m->batch; i++)
        p->roles[i].fd = frame_take_fd(f, at++);
    return r < 0 || m->batch ? r : descriptors_check(job);
}

static void job_fill(struct op_job *job, const struct stage *s)
{
    static const _Atomic uint32_t never = 0;
    const Stage__JobOpen *m = job->priv->open;
    job->id = m->job;
    job->params = m->params;
    job->nparams = m->n_params;
    job->save = m->save;
    job->nsave = m->n_save;
    job->load = m->load;
    job->nload = m->n_load;
    job->format = m->format;
    if (m->budget != NULL)
        job->budget = (struct op_budget){m->budget->pixels, m->budget->bytes, m->budget->frames};
    job->raster_fd = -1;
    job->chunks = m->chunks;
    job->result_bytes = m->result_bytes;
    job->absorb = m->absorb;
    job->batch = m->batch;
    job->attempt = 1;
    job->cancel = s->control != NULL ? &s->control->cancel : &never;
}

/* Workers prepare now, not with their first lease: an attached spare can start at once. */
static int worker_open(struct op_job *job)
{
    const struct op *op = job->op;
    if (job->batch)
        return op->whole != NULL ? 0 : op_fail(job, CODE(PROTOCOL), "%s takes no batches", op->name);
    if (op->process == NULL)
        return op_fail(job, CODE(PROTOCOL), "%s has no chunks", op->name);
    if (job->absorb == PWC__ABSORB__ABSORB_FOLDED) {
        if (op->fold == NULL || op->finish == NULL || op->fold_bytes == 0)
            return op_fail(job, CODE(PROTOCOL), "%s does not fold", op->name);
        job->fold = xcalloc(1, op->fold_bytes);
    } else if (op->fold_bytes > 0) { /* a planner that was taken over may say anything */
        return op_fail(job, CODE(PROTOCOL), "%s folds", op->name);
    }
    return op->open != NULL ? op->open(job) : 0;
}

static unsigned expected_fds(const Stage__JobOpen *m)
{
    return (unsigned)m->has_plan + (unsigned)m->has_raster + (m->batch ? 0 : (unsigned)MIN(m->n_roles, 99u));
}

static struct op_job *build(struct stage *s, Stage__JobOpen *m, struct frame *f)
{
    const struct op *op = optable_find(s->ops, m->op);
    if (op == NULL) {
        log_warn("job %llu: there is no op %s", (unsigned long long)m->job, m->op);
        return NULL;
    }
    if (expected_fds(m) != f->nfds) {
        log_warn("job %llu: %u descriptors instead of %u", (unsigned long long)m->job, f->nfds,
                 expected_fds(m));
        return NULL;
    }
    struct op_job *job = xcalloc(1, sizeof *job);
    job->op = op;
    job->priv = xcalloc(1, sizeof *job->priv);
    job->priv->stage = s;
    job->priv->open = m;
    job->priv->plan_fd = -1;
    job_reset(job);
    job_fill(job, s);
    int r = name_roles(job);
    if (r == 0)
        r = take_descriptors(job, f);
    if (r == 0 && m->role == STAGE__ROLE__ROLE_WORKER) {
        s->busy = true;
        r = worker_open(job);
        s->busy = false;
    }
    if (r < 0) {
        job->priv->cause = *job_failure(job);
        job->priv->broken = true;
    }
    return job;
}

struct op_job *job_new(struct stage *s, struct incoming *in)
{
    struct op_job *job = build(s, (Stage__JobOpen *)in->msg, in->frame);
    if (job != NULL)
        in->msg = NULL;
    return job;
}

struct op_job *job_once(struct stage *s, Stage__JobOpen *open, struct frame *f)
{
    struct op_job *job = build(s, open, f);
    if (job != NULL)
        job->priv->once = true;
    return job;
}

static void unmap_own(void *map, size_t bytes)
{
    if (map != NULL) {
        mapping_remove(map);
        munmap(map, bytes);
    }
}

void job_unmap_raster(struct op_job *job)
{
    unmap_own(job->raster, job->raster_bytes);
    job->raster = NULL;
    job->raster_bytes = 0;
}

void job_free(struct op_job *job)
{
    if (job == NULL)
        return;
    struct op_job_private *p = job->priv;
    if (job->op->close != NULL && job->state != NULL)
        job->op->close(job);
    job_reset(job);
    descriptors_close(job);
    unmap_own(p->plan_map, job->plan_len);
    job_unmap_raster(job);
    if (job->raster_fd >= 0)
        close(job->raster_fd);
    consumer_free(&p->consumer);
    fd_close_(&p->plan_fd);
    free(p->plan_own);
    free(job->fold);
    if (!p->once)
        msg_free((ProtobufCMessage *)p->open);
    free(p);
    free(job);
}

int on_job_open(struct stage *s, struct incoming *in)
{
    const Stage__JobOpen *m = (const Stage__JobOpen *)in->msg;
    struct op_job **place = NULL;
    for (unsigned i = 0; i < STAGE_JOBS && place == NULL; i++)
        if (s->jobs[i] == NULL)
            place = &s->jobs[i];
    if (place == NULL || job_find(s, m->job) != NULL) {
        log_warn("job %llu: opened twice, or more than %u jobs", (unsigned long long)m->job, STAGE_JOBS);
        return -EPROTO;
    }
    *place = job_new(s, in);
    return *place != NULL ? 0 : -EPROTO;
}

int on_job_close(struct stage *s, struct incoming *in)
{
    const Stage__JobClose *m = (const Stage__JobClose *)in->msg;
    struct op_job *job = job_find(s, m->job);
    if (job != NULL)
        job->priv->closing = true;
    if (!s->busy) /* else the op below us on the stack may still use it */
        job_sweep(s);
    return 0;
}

void job_sweep(struct stage *s)
{
    for (unsigned i = 0; i < STAGE_JOBS; i++)
        if (s->jobs[i] != NULL && s->jobs[i]->priv->closing)
            job_free(TAKE_PTR(s->jobs[i]));
}
