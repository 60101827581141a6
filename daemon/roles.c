/* roles.c - see roles.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/flow.h"
#include "daemon/lack.h"
#include "daemon/roles.h"
#include "daemon/trace.h"
#include "ipc/fds.h"
#include "ipc/log.h"

/* ---- opening a job in a stage ---- */

static void remember_open(struct stage *s, uint64_t job, Stage__Role role)
{
    if (s->open[STAGE_OPEN_JOBS - 1].job != 0) {
        Stage__JobClose m = STAGE__JOB_CLOSE__INIT;
        m.job = s->open[STAGE_OPEN_JOBS - 1].job;
        stage_send(s, PWC_MSG_JOB_CLOSE, &m.base);
    }
    memmove(&s->open[1], &s->open[0], sizeof s->open[0] * (STAGE_OPEN_JOBS - 1));
    s->open[0].job = job;
    s->open[0].role = role;
}

/* Which of the client's descriptors this role gets: a planner all, a consumer outputs; a worker inputs when
 * there is no raster, and the output where results are placed. */
static bool gets_role(const struct job *j, Stage__Role role, bool out)
{
    if (j->batch || !j->have_fds)
        return false;
    switch (role) {
    case STAGE__ROLE__ROLE_PLANNER:
        return true;
    case STAGE__ROLE__ROLE_PRODUCER:
        return !out;
    case STAGE__ROLE__ROLE_CONSUMER:
        return out;
    default:
        return out ? j->absorb == PWC__ABSORB__ABSORB_PLACED : j->raster_fd < 0;
    }
}

/* The file of decoded rows, as the role may use it; -1: none. A planner gets one in case that it wants one.
 */
static int raster_of(const struct job *j, Stage__Role role)
{
    switch (role) {
    case STAGE__ROLE__ROLE_PLANNER:
        return j->scratch_fd;
    case STAGE__ROLE__ROLE_PRODUCER:
        return j->raster_fd < 0 ? -1 : j->scratch_fd;
    case STAGE__ROLE__ROLE_CONSUMER:
        return -1;
    default:
        return j->raster_fd;
    }
}

static unsigned add_roles(const struct job *j, Stage__JobOpen *m, int *fds)
{
    unsigned nfds = 0;
    for (unsigned i = 0; i < j->nroles; i++)
        if (j->batch || gets_role(j, m->role, j->roles[i].out)) {
            m->roles[m->n_roles++] = j->roles[i].name;
            if (!j->batch)
                fds[nfds++] = j->fds[i];
        }
    return nfds;
}

/* Where a planner's plan goes: in the sandbox nobody can make memory that is not his own. */
static bool blank_plan(struct job *j, Stage__Role role, int *ret_fd)
{
    int r = role == STAGE__ROLE__ROLE_PLANNER ? memfd_blank("pwc-plan", PWC_PLAN_MAX, ret_fd) : 0;
    if (r == 0)
        return true;
    lack_or_end(j, "the plan of a job", r);
    return false;
}

bool roles_open(struct job *j, struct stage *s, Stage__Role role)
{
    AUTO_FD int blank = -1;
    if (stage_has_open(s, j->id, role))
        return true;
    if (!blank_plan(j, role, &blank))
        return false;
    flow_forget_open(s, j->id); /* one role at a time */
    remember_open(s, j->id, role);
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    Stage__Budget budget = STAGE__BUDGET__INIT;
    const struct config *cfg = &j->d->cfg;
    int fds[PWC_FDS_MAX];
    char *roles[PWC_ROLES_MAX];
    unsigned nfds = 0;
    log_debug("job %lu: opened in stage %lu, role %d", (unsigned long)j->id, (unsigned long)s->id, (int)role);
    int raster = raster_of(j, role);

    m.job = j->id;
    m.op = j->op->name;
    m.n_params = j->params->n, m.params = j->params->v;
    m.format = j->format;
    m.n_save = j->save->n, m.save = j->save->v;
    m.n_load = j->load->n, m.load = j->load->v;
    budget.pixels = cfg->max_pixels, budget.bytes = cfg->max_bytes, budget.frames = cfg->max_frames;
    m.budget = &budget;
    m.role = role;
    m.chunks = j->ledger.total;
    m.result_bytes = j->assembly.result_bytes;
    m.absorb = j->absorb;
    m.batch = j->batch;
    m.fill = j->fill;
    int plan = role == STAGE__ROLE__ROLE_PLANNER ? blank : j->plan_fd;
    if ((m.has_plan = plan >= 0))
        fds[nfds++] = plan;
    if ((m.has_raster = raster >= 0))
        fds[nfds++] = raster;
    m.roles = roles;
    nfds += add_roles(j, &m, fds + nfds);
    stage_send_full(s, PWC_MSG_JOB_OPEN, &m.base, NULL, 0, fds, nfds);
    return s->state == STAGE_IDLE;
}

/* ---- is there room? ---- */

uint32_t roles_needed(const struct job *j)
{
    bool serial = j->absorb == PWC__ABSORB__ABSORB_SERIAL;
    if (!j->planned)
        return (serial ? 1u : 0u) + (j->op->scratch ? 1u : 0u);
    return (serial && !j->consumed ? 1u : 0u) +
           (j->producer_needed && (j->windowed || !j->produced) ? 1u : 0u);
}

static bool has_begun(const struct job *j)
{
    return j->state == PWC__JOB_STATE__JOB_PLANNING || j->state == PWC__JOB_STATE__JOB_RUNNING;
}

uint32_t roles_taken(const struct daemon *d)
{
    uint32_t n = 0;
    const struct user *u;
    const struct job *j;
    TAILQ_FOREACH(u, &d->busy, busy_link)
    {
        TAILQ_FOREACH(j, &u->active, link)
        {
            n += has_begun(j) ? roles_needed(j) : 0;
        }
    }
    return n;
}

/* What is left are the workers': one a seat, or half of all stages where there are so few. */
static uint32_t roles_most(const struct daemon *d)
{
    uint32_t most = config_stages_max(&d->cfg, d->seats);
    return most - MIN(d->seats, most / 2);
}

/* Consumers and producers stay for as long as their job lasts. If they held every stage, no worker could be
 * started and none of them would ever end: a job begins when there is room for its own beside those that have
 * begun, and for the workers. Nor may one user's hold them all, when nobody takes his results. */
static bool roles_fit(const struct job *j)
{
    if (j->state != PWC__JOB_STATE__JOB_QUEUED || roles_needed(j) == 0)
        return true;
    uint32_t mine = 0, taken = roles_taken(j->d);
    const struct job *other;
    TAILQ_FOREACH(other, &j->user->active, link)
    {
        mine += has_begun(other) && roles_needed(other) > 0;
    }
    return taken == 0 || (mine < jobs_turns(j->d) && taken + roles_needed(j) <= roles_most(j->d));
}

/* ---- who fills them ---- */

/* Both descriptors: once a planner says that there is a raster in it, nothing can be lacking any more. */
static int open_scratch(struct job *j)
{
    if (!j->op->scratch || j->scratch_ro_fd >= 0)
        return 0;
    if (j->scratch_fd < 0)
        j->scratch_fd = open(j->d->cfg.scratch, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int r = j->scratch_fd < 0 ? -errno : fd_reopen_ro(j->scratch_fd, &j->scratch_ro_fd);
    if (lack_passes(r)) {
        lack_of(j->d, "a scratch file", r);
        lack_holds(j);
        return r;
    }
    j->d->scratch_error = r;
    if (r < 0) {
        job_end(j, PWC__JOB_STATE__JOB_FAILED, PWC__CODE__CODE_NO_MEMORY, "no scratch file in %s: %s",
                j->d->cfg.scratch, strerror(-r));
    }
    return r;
}

uint32_t roles_attempt(const struct job *j, enum lease_kind role)
{
    uint32_t n = 1;
    for (int i = 0; i < CAUSES; i++)
        n += j->role_charges[role][i];
    return n;
}

uint32_t roles_left(const struct job *j, enum lease_kind role, enum cause cause)
{
    uint32_t by = j->role_charges[role][cause], most = j->budget.retries[cause];
    return by < most ? most - by : 0;
}

bool roles_plan(struct job *j)
{
    if (j->plan_lost) {
        lack_holds(j);
        return false;
    }
    job_park(j, !roles_fit(j));
    struct stage *s = j->parked ? NULL : dispatch_find_stage(j, j->d->seats);
    if (s == NULL || open_scratch(j) < 0 || !roles_open(j, s, STAGE__ROLE__ROLE_PLANNER))
        return false;
    dispatch_begin(j, s, LEASE_PLAN, true);
    trace_lease(j, s);
    j->planner = s;
    if (j->state == PWC__JOB_STATE__JOB_QUEUED) {
        j->state = PWC__JOB_STATE__JOB_PLANNING;
        events_state(j);
    }
    Stage__Plan m = STAGE__PLAN__INIT;
    m.job = j->id;
    m.lease = s->lease.id;
    m.attempt = roles_attempt(j, LEASE_PLAN);
    stage_send(s, PWC_MSG_PLAN, &m.base);
    return true;
}

void roles_produce(struct job *j, struct stage *s)
{
    dispatch_begin(j, s, LEASE_PRODUCE, false);
    trace_lease(j, s);
    j->producer = s;
    j->announced = 0;
    Stage__Produce m = STAGE__PRODUCE__INIT;
    m.job = j->id;
    m.lease = s->lease.id;
    m.attempt = roles_attempt(j, LEASE_PRODUCE);
    stage_send(s, PWC_MSG_PRODUCE, &m.base);
    if (j->assembly.absorbed > 0)
        flow_release(j);
}

static void start_consumer(struct job *j, struct stage *s)
{
    if (!roles_open(j, s, STAGE__ROLE__ROLE_CONSUMER))
        return;
    dispatch_begin(j, s, LEASE_CONSUME, false);
    trace_lease(j, s);
    j->consumer = s;
    backlog_begins(&j->backlog, (uint64_t)clock_now().ns);
    Stage__Consume m = STAGE__CONSUME__INIT;
    m.job = j->id;
    m.lease = s->lease.id;
    m.attempt = roles_attempt(j, LEASE_CONSUME);
    stage_send(s, PWC_MSG_CONSUME, &m.base);
    flow_feed(j);
}

void roles_fill(struct job *j)
{
    if (j->state != PWC__JOB_STATE__JOB_RUNNING)
        return;
    struct stage *s;
    if (j->absorb == PWC__ABSORB__ABSORB_SERIAL && j->consumer == NULL && !j->consumed &&
        (s = dispatch_find_stage(j, j->d->seats + 1)) != NULL)
        start_consumer(j, s);
    if (j->producer_needed && !j->produced && j->producer == NULL &&
        (s = dispatch_find_stage(j, 1)) != NULL && roles_open(j, s, STAGE__ROLE__ROLE_PRODUCER))
        roles_produce(j, s);
}
