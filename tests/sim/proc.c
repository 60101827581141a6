/*
 * proc.c - simulated processes: the nursery, and stages as far as they are only processes: birth, sandbox,
 * jobs opened and closed, parking, death. Leases are in lease.c, the other roles in roles.c.
 *
 * A stage is one thread: while it is at a lease or a plan it reads nothing; producer and consumer look at
 * their channel between two chunks. It follows doc/ARCHITECTURE.md to the letter, and what the supervisor
 * sends it is held against that: a real stage would end itself, this one fails the seed.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/layers.h"
#include "tests/sim/sim.h"

#define FIRST_PID 5000000 /* above any real one: /proc knows nothing of it */

struct proc *procs;
static pid_t next_pid = FIRST_PID;

/* ---- process ---- */

static struct proc *from(struct due *d, size_t offset)
{
    return (struct proc *)(void *)((char *)d - offset);
}

struct proc *proc_of_pid(pid_t pid)
{
    for (struct proc *p = procs; p != NULL; p = p->next)
        if (p->pid == pid)
            return p;
    return NULL;
}

struct proc *proc_any_zombie(void)
{
    for (struct proc *p = procs; p != NULL; p = p->next)
        if (p->state == PROC_ZOMBIE)
            return p;
    return NULL;
}

static void forget(struct proc *p)
{
    due_drop(&p->step);
    due_drop(&p->die);
    due_drop(&p->reader);
    if (p->sock != NULL && p->sock->end != NULL)
        p->sock->end->reader = NULL;
    due_drop(&p->resume);
    consume_forget(p);
    for (unsigned i = 0; i < ARRAY_LEN(p->open); i++)
        file_drop(&p->open[i].raster);
    file_drop(&p->control);
    file_drop(&p->segment);
    file_drop(&p->arena);
    file_drop(&p->sock);
}

/* Whom may the supervisor hold responsible for this death? The chunk in its slot; of a liar, who wrote what
 * it liked there, any. */
static void blame(struct proc *p)
{
    if (p->liar)
        for (unsigned i = 0; i < W.nspecs; i++)
            for (unsigned c = 0; c < SIM_CHUNKS_MAX; c++)
                W.specs[i].blame[c]++;
    if (p->phase != PHASE_LEASE || p->segment == NULL || lease_left(p))
        return;
    uint64_t chunk = atomic_load(&proc_slot(p)->chunk);
    if (chunk < SIM_CHUNKS_MAX && !p->liar && chunk != p->blamed) {
        p->job->spec->blame[chunk]++;
        p->blamed = chunk;
    }
}

/* Memory and descriptors go with the process; what it has sent stays in the socket. */
static void end(struct proc *p, int code, int status)
{
    if (p->state != PROC_RUNS)
        return;
    sim_log("%s %d: dies, %s %d, in phase %d, chunk %lu", p->nursery ? "nursery" : "stage", p->pid,
            code == CLD_EXITED ? "status" : "signal", status, (int)p->phase, (ul)p->at);
    p->state = PROC_ZOMBIE;
    p->info = (siginfo_t){.si_code = code, .si_status = status};
    p->info.si_pid = p->pid;
    blame(p);
    forget(p);
    if (p->dying != NULL)
        file_wake(p->dying, sim_delay());
    /* To be taken apart may take long, above all where much memory is. */
    bool late = p->dying != NULL && sim_fault(p->starved ? 300 : 30);
    if (p->pidfd != NULL)
        file_wake(p->pidfd, late ? (int64_t)sim_rnd(10 * NS_PER_S) : sim_delay());
    due_in(&W.child_news, sim_delay());
}

void proc_die(struct proc *p, bool exited, int status)
{
    end(p, exited ? CLD_EXITED : CLD_KILLED, status);
}

void proc_starve(struct proc *p)
{
    W.oom_kills++;
    p->starved = true;
    proc_die(p, false, SIGKILL);
}

void proc_end_now(struct proc *p)
{
    if (p->state == PROC_RUNS)
        end(p, CLD_KILLED, SIGKILL);
}

static void on_die(struct due *d)
{
    proc_end_now(from(d, offsetof(struct proc, die)));
}

static void continued(struct proc *p);

/* On another CPU it goes on for a moment, and much longer where it waits in the kernel. */
void proc_signal(struct proc *p, int sig)
{
    if (sig == SIGUSR1 && p->state == PROC_RUNS)
        lease_asked(p);
    if (p->state != PROC_RUNS || p->struck || sig == SIGUSR1)
        return;
    if (sig == SIGCONT) {
        continued(p);
        return;
    }
    SIM_CHECK(sig == SIGKILL, "signal %d", sig);
    p->struck = true;
    p->late = lease_is_late(p);
    due_drop(&p->resume); /* who is killed while stopped never goes on */
    blame(p);             /* it may be written off before it is dead */
    due_in(&p->die, sim_fault(p->hung ? 200 : 30) ? (int64_t)sim_rnd(10 * NS_PER_S) : sim_delay());
}

bool proc_may_write(const struct spec *s)
{
    for (struct proc *p = procs; p != NULL; p = p->next) {
        if (p->state != PROC_RUNS || !p->struck || p->liar || p->phase != PHASE_LEASE || p->blank)
            continue;
        uint64_t chunk = atomic_load(&proc_slot(p)->chunk);
        if (p->job->spec == s && (s->blanked & chunk_bits(chunk, chunk + 1)) != 0)
            return true;
    }
    return false;
}

void proc_reaped(struct proc *p)
{
    SIM_CHECK(p->state == PROC_ZOMBIE, "process %d reaped twice", p->pid);
    p->state = PROC_REAPED;
}

void procs_reset(void)
{
    for (struct proc *p = procs, *next; p != NULL; p = next) {
        next = p->next;
        if (p->state == PROC_RUNS && p->sock->end->eof && p->pidfd == NULL)
            proc_end_now(p); /* a stranger, which pool_shutdown finds by what the kernel knows */
        else
            SIM_CHECK(p->state == PROC_REAPED || W.ended_early ||
                          (p->state == PROC_ZOMBIE && p->pidfd == NULL),
                      "process %d (%s) %s", p->pid, p->nursery ? "nursery" : "stage",
                      p->state == PROC_RUNS ? "outlived the supervisor" : "was not waited for");
        free(p);
    }
    procs = NULL;
    next_pid = FIRST_PID;
}

/* ---- sending ---- */

void proc_send(struct proc *p, uint16_t type, const ProtobufCMessage *m, const void *tail, size_t len,
               struct file *f)
{
    sim_log("stage %lu (%d) says %s", (ul)p->number, p->pid, msg_name(type));
    end_send(p->sock->end, type, 0, m, tail, len, &f, f != NULL ? 1 : 0);
}

struct segment_slot *proc_slot(struct proc *p)
{
    return &((struct segment *)p->segment->mem.pages)->slots[0];
}

void proc_slot_set(struct proc *p, uint64_t lease, uint64_t chunk)
{
    struct segment_slot *s = proc_slot(p);
    atomic_store(&s->lease, lease);
    atomic_store(&s->chunk, chunk);
    if (p->struck)
        blame(p);
}

/* ---- harm ---- */

static void trouble(struct proc *p, enum where where)
{
    for (unsigned i = 0; i < W.nspecs; i++)
        if (p->job == NULL || p->job->spec == &W.specs[i])
            W.specs[i].trouble++; /* parked: a lease may be on the way to it */
    if (p->nursery || where <= AT_ENTER)
        W.start_troubles++;
}

/* ---- stopped, stuck ---- */

static void freeze(struct proc *p)
{
    p->hung = true;
    p->had_step = p->step.place != 0;
    due_drop(&p->step);
    due_drop(&p->reader);
}

static void tell_stop(struct proc *p, int news)
{
    p->stop_news = news;
    if (W.child_news.place == 0)
        due_in(&W.child_news, sim_delay());
}

static void on_resume(struct due *d)
{
    struct proc *p = from(d, offsetof(struct proc, resume));
    sim_log("stage %lu (%d): continues", (ul)p->number, p->pid);
    p->hung = p->stopped = false;
    tell_stop(p, CLD_CONTINUED);
    due_in(p->nursery || p->had_step ? &p->step : &p->reader, 0);
}

/* It says where it stands and stays there, even if it went on by itself just before; but for one whose other
 * threads are quicker. And somebody may stop it again. */
static void continued(struct proc *p)
{
    bool was = p->stopped;
    due_drop(&p->resume);
    p->stopped = false;
    if (was && sim_chance(300)) {
        on_resume(&p->resume);
        return;
    }
    if (!p->hung)
        freeze(p);
    if (was)
        tell_stop(p, sim_chance(200) ? CLD_STOPPED : CLD_CONTINUED);
}

/* The step it was in is done again when it goes on. */
static void stop(struct proc *p)
{
    sim_log("stage %lu (%d): is stopped", (ul)p->number, p->pid);
    freeze(p);
    p->stopped = true;
    p->had_step = p->phase != PHASE_LOOP;
    p->stop_news = CLD_STOPPED;
    due_in(&W.child_news, sim_delay());
    if (sim_chance(500))
        due_in(&p->resume, (int64_t)sim_rnd(3 * NS_PER_S));
}

void proc_stop_news(siginfo_t *ret)
{
    *ret = (siginfo_t){0};
    for (struct proc *p = procs; p != NULL; p = p->next)
        if (p->stop_news != 0) {
            ret->si_code = p->stop_news;
            ret->si_pid = p->state == PROC_RUNS ? p->pid : 0;
            p->stop_news = 0;
            if (ret->si_pid != 0)
                return;
        }
}

/* For ever, but only where somebody watches. */
static bool watched(const struct proc *p, enum where where)
{
    return where == AT_BOOT || where == AT_READY || where == AT_ENTER || where == AT_CHUNK ||
           where == AT_PLAN || where == AT_SLOT || where == AT_BETWEEN || where == AT_FINISH ||
           where == AT_NURSERY || p->nursery;
}

/* While a job comes to a halt much is decided in a moment that seldom meets with harm by itself. */
static unsigned chance_of_harm(const struct proc *p, enum where where)
{
    const struct job *j = W.halts && p->job != NULL ? job_find(&W.d, p->job->job) : NULL;
    return j != NULL && j->halting ? MAX(W.p_at[where], 200u) : W.p_at[where];
}

bool proc_fault(struct proc *p, enum where where)
{
    if (!sim_fault(chance_of_harm(p, where)))
        return false;
    trouble(p, where);
    uint64_t kind = sim_rnd(20);
    if (kind == 0 && watched(p, where)) {
        sim_log("stage %lu (%d): hangs", (ul)p->number, p->pid);
        freeze(p);
        return true;
    }
    if (kind == 1 && !p->struck) {
        stop(p);
        return true;
    }
    if (kind < 4 && where != AT_NURSERY)
        proc_die(p, true, (int)sim_rnd(3));
    else if (kind == 6)
        proc_starve(p);
    else
        proc_die(p, false, kind < 5 ? SIGSYS : kind < 12 ? SIGKILL : SIGSEGV);
    return true;
}

/* Who has a step before him computes. */
bool __wrap_procstat_cpu(pid_t pid, uint64_t *ret_ticks, bool *ret_waits);
bool __wrap_procstat_cpu(pid_t pid, uint64_t *ret_ticks, bool *ret_waits)
{
    const struct proc *p = proc_of_pid(pid);
    bool runs = p != NULL && p->state == PROC_RUNS && !p->hung && p->step.place != 0;
    *ret_waits = !runs;
    *ret_ticks = runs ? (uint64_t)(sim_now() / (10 * NS_PER_MS)) : 0;
    return true;
}

/* ---- jobs open in a stage ---- */

struct opened *proc_open_job(struct proc *p, uint64_t job)
{
    for (unsigned i = 0; i < ARRAY_LEN(p->open); i++)
        if (p->open[i].job == job)
            return &p->open[i];
    return NULL;
}

static struct spec *spec_named(const Stage__JobOpen *m)
{
    for (size_t i = 0; i < m->n_params; i++)
        if (strcmp(m->params[i]->name, "spec") == 0)
            return &W.specs[m->params[i]->value->u64];
    sim_fail("job %lu opened without its parameters", (ul)m->job);
}

/* Whose bytes a stage has seen decides whose it may see. */
static void check_domain(struct proc *p, struct spec *s)
{
    const struct spec *had = p->domain_spec;
    if (had == NULL) {
        p->domain_spec = s;
        return;
    }
    SIM_CHECK(had->client->uid == s->client->uid, "stage %lu serves uid %u and then uid %u", (ul)p->number,
              (unsigned)had->client->uid, (unsigned)s->client->uid);
    bool alone =
        had->isolation != PWC__ISOLATION__ISOLATION_USER || s->isolation != PWC__ISOLATION__ISOLATION_USER;
    SIM_CHECK(!alone || had == s, "stage %lu serves two jobs, of which one asked for its own", (ul)p->number);
}

static void job_open(struct proc *p, const Stage__JobOpen *m, struct packet *in)
{
    struct opened *o = proc_open_job(p, 0);
    unsigned expected =
        (unsigned)m->has_plan + (unsigned)m->has_raster + (m->batch ? 0 : (unsigned)m->n_roles);
    SIM_CHECK(proc_open_job(p, m->job) == NULL, "job %lu is opened twice in stage %lu", (ul)m->job,
              (ul)p->number);
    SIM_CHECK(!p->bare, "job %lu is opened in stage %lu, whose sandbox lacks a layer", (ul)m->job,
              (ul)p->number);
    SIM_CHECK(o != NULL, "more than 8 jobs open in stage %lu", (ul)p->number);
    SIM_CHECK(in->nfiles == expected, "job %lu opened with %u descriptors instead of %u", (ul)m->job,
              in->nfiles, expected);
    struct spec *s = spec_named(m);
    check_domain(p, s);
    *o = (struct opened){
        .job = m->job, .spec = s, .role = m->role, .result_bytes = m->result_bytes, .chunks = m->chunks};
    if (m->has_raster)
        o->raster = TAKE_PTR(in->files[m->has_plan ? 1 : 0]);
    SIM_CHECK(o->raster == NULL || o->raster->mem.kind == MEM_SCRATCH, "the raster is something else");
    bool works = m->role == STAGE__ROLE__ROLE_WORKER || m->role == STAGE__ROLE__ROLE_PRODUCER;
    SIM_CHECK(!works || m->has_raster == s->raster, "job %lu: raster for role %d: %d, it has one: %d",
              (ul)m->job, (int)m->role, (int)m->has_raster, (int)s->raster);
}

static void job_close(struct proc *p, uint64_t job)
{
    struct opened *o = proc_open_job(p, job);
    if (o == NULL)
        return;
    if (p->job == o && (p->phase == PHASE_CONSUME || p->phase == PHASE_PRODUCE)) {
        due_drop(&p->step);
        p->job = NULL;
        consume_forget(p);
        p->phase = PHASE_LOOP;
        proc_slot_set(p, p->lease, SLOT_IDLE);
    }
    SIM_CHECK(p->job != o, "job %lu closed in the middle of a lease", (ul)job);
    file_drop(&o->raster);
    *o = (struct opened){0};
}

/* ---- a stage's messages ---- */

static void describe(struct proc *p)
{
    if (proc_fault(p, AT_DESCRIBE) && !p->stopped)
        return;
    Stage__Catalogue m = STAGE__CATALOGUE__INIT;
    proc_send(p, PWC_MSG_CATALOGUE, &m.base, NULL, 0, file_memory(MEM_CATALOGUE, sim_fault(W.p_lie) ? 0 : 1));
}

static void enter(struct proc *p, const Stage__Enter *m, struct packet *in)
{
    SIM_CHECK(p->domain == 0 && m->domain != 0, "stage %lu enters domain %lu after %lu", (ul)m->stage,
              (ul)m->domain, (ul)p->domain);
    SIM_CHECK(m->require == (W.d.cfg.require_sandbox ? LAYERS_ALL(0) : 0), "Enter requires layers %x",
              m->require);
    SIM_CHECK(in->nfiles == 2 && in->files[0]->mem.kind == MEM_CONTROL &&
                  in->files[1]->mem.kind == MEM_SEGMENT,
              "Enter without control page and segment");
    p->number = m->stage;
    p->domain = m->domain;
    p->control = TAKE_PTR(in->files[0]);
    p->segment = TAKE_PTR(in->files[1]);
    struct segment *g = p->segment->mem.pages;
    for (unsigned i = 0; i < SEGMENT_SLOTS; i++)
        atomic_store(&g->slots[i].chunk, SLOT_IDLE);
    p->phase = PHASE_ENTER;
    p->liar = sim_chance(W.p_lie * 10);
    due_in(&p->step, (int64_t)sim_rnd(300 * NS_PER_US));
}

static void take_arena(struct proc *p, const Stage__Arena *m, struct packet *in)
{
    SIM_CHECK(in->nfiles == 1 && in->files[0]->mem.kind == MEM_ARENA && m->bytes == in->files[0]->mem.bytes,
              "an arena without its memory");
    file_drop(&p->arena);
    p->arena = TAKE_PTR(in->files[0]);
    p->arena_id = m->arena;
}

static bool runs_op(uint16_t type)
{
    return type == PWC_MSG_ENTER || type == PWC_MSG_JOB_OPEN || type == PWC_MSG_PLAN ||
           type == PWC_MSG_LEASE || type == PWC_MSG_SMALL || type == PWC_MSG_PRODUCE ||
           type == PWC_MSG_CONSUME;
}

static void begin_work(struct proc *p, const char *what, uint64_t job, Stage__Role role, bool again)
{
    p->job = proc_open_job(p, job);
    SIM_CHECK(p->job != NULL && p->job->role == role, "%s of job %lu, which is not open for it in stage %lu",
              what, (ul)job, (ul)p->number);
    SIM_CHECK(again || p->job->spec->isolation != PWC__ISOLATION__ISOLATION_CHUNK || p->leases_seen == 0,
              "stage %lu gets a second lease, though its job wants one process a chunk", (ul)p->number);
    p->leases_seen++;
}

static void handle_role(struct proc *p, struct packet *in, ProtobufCMessage *msg)
{
    switch (in->type) {
    case PWC_MSG_PRODUCE: {
        struct opened *o = proc_open_job(p, ((Stage__Produce *)msg)->job);
        bool planner = o != NULL && o->role == STAGE__ROLE__ROLE_PLANNER;
        begin_work(p, "Produce", ((Stage__Produce *)msg)->job, planner ? o->role : STAGE__ROLE__ROLE_PRODUCER,
                   planner);
        produce_start(p, (Stage__Produce *)msg);
        break;
    }
    case PWC_MSG_CONSUME:
        begin_work(p, "Consume", ((Stage__Consume *)msg)->job, STAGE__ROLE__ROLE_CONSUMER, false);
        consume_start(p, (Stage__Consume *)msg);
        break;
    case PWC_MSG_ABSORB:
        consume_take(p, (Stage__Absorb *)msg, in);
        break;
    case PWC_MSG_ARENA_GONE:
        consume_gone(p, (Stage__ArenaGone *)msg);
        break;
    case PWC_MSG_RELEASE:
        if (p->job != NULL && p->job->job == ((Stage__Release *)msg)->job)
            produce_released(p, (Stage__Release *)msg);
        if (p->phase == PHASE_PRODUCE && p->step.place == 0)
            due_in(&p->step, sim_delay());
        break;
    default:
        sim_fail("stage %lu was sent %s", (ul)p->number, msg_name(in->type));
    }
}

static void small_start(struct proc *p, const Stage__Small *m, struct packet *in)
{
    Stage__JobOpen open = STAGE__JOB_OPEN__INIT;
    Stage__Lease lease = STAGE__LEASE__INIT;
    open.job = lease.job = m->job;
    open.op = m->op;
    open.params = m->params;
    open.n_params = m->n_params;
    open.chunks = lease.n = 1;
    lease.lease = m->lease;
    lease.attempt = m->attempt;
    job_open(p, &open, in);
    proc_open_job(p, m->job)->once = true;
    begin_work(p, "Small", m->job, STAGE__ROLE__ROLE_WORKER, false);
    lease_start(p, &lease, in);
}

static void handle(struct proc *p, struct packet *in, ProtobufCMessage *msg)
{
    switch (in->type) {
    case PWC_MSG_DESCRIBE:
        describe(p);
        break;
    case PWC_MSG_ENTER:
        enter(p, (Stage__Enter *)msg, in);
        break;
    case PWC_MSG_ARENA:
        take_arena(p, (Stage__Arena *)msg, in);
        break;
    case PWC_MSG_JOB_OPEN:
        job_open(p, (Stage__JobOpen *)msg, in);
        break;
    case PWC_MSG_JOB_CLOSE:
        job_close(p, ((Stage__JobClose *)msg)->job);
        break;
    case PWC_MSG_PLAN:
        begin_work(p, "Plan", ((Stage__Plan *)msg)->job, STAGE__ROLE__ROLE_PLANNER, false);
        plan_start(p, (Stage__Plan *)msg);
        break;
    case PWC_MSG_LEASE:
        begin_work(p, "Lease", ((Stage__Lease *)msg)->job, STAGE__ROLE__ROLE_WORKER, false);
        lease_start(p, (Stage__Lease *)msg, in);
        break;
    case PWC_MSG_SMALL:
        small_start(p, (Stage__Small *)msg, in);
        break;
    default:
        handle_role(p, in, msg);
    }
}

static bool busy(const struct proc *p)
{
    return p->phase == PHASE_LEASE || p->phase == PHASE_PLAN || p->phase == PHASE_ENTER;
}

/* One message, if it is at leisure to read. */
static void stage_read(struct proc *p)
{
    if (p->state != PROC_RUNS || p->hung || p->phase == PHASE_BOOT || busy(p))
        return;
    const struct packet *next = p->sock->end->head;
    if (next == NULL) {
        if (p->sock->end->eof)
            proc_die(p, true, 0);
        return;
    }
    if (proc_fault(p, next->type == PWC_MSG_JOB_OPEN                               ? AT_OPEN
                      : next->type == PWC_MSG_LEASE || next->type == PWC_MSG_SMALL ? AT_LEASE
                                                                                   : AT_PARKED))
        return;
    struct packet *in = end_take(p->sock->end);
    sim_log("stage %lu (%d) is told %s", (ul)p->number, p->pid, msg_name(in->type));
    bool early = p->phase != PHASE_LOOP && runs_op(in->type);
    SIM_CHECK(!early || p->liar, "stage %lu was sent %s while it works", (ul)p->number, msg_name(in->type));
    if (early) { /* it lied about having ended */
        packet_free(in);
        proc_die(p, true, 71);
        return;
    }
    SIM_CHECK(p->domain != 0 || in->type == PWC_MSG_ENTER || in->type == PWC_MSG_DESCRIBE,
              "a spare was sent %s before it is in its sandbox", msg_name(in->type));
    ProtobufCMessage *msg = packet_message(in);
    handle(p, in, msg);
    msg_free(msg);
    packet_free(in);
    if (p->state == PROC_RUNS && !p->hung && p->sock->end->head != NULL)
        due_in(&p->reader, sim_delay());
}

void proc_loop(struct proc *p)
{
    if (p->state != PROC_RUNS || p->hung)
        return;
    p->phase = PHASE_LOOP;
    p->job = NULL;
    if (p->sock->end->head != NULL || p->sock->end->eof)
        due_in(&p->reader, sim_delay());
}

/* ---- steps ---- */

/* Of what its nursery has given it. */
static bool dies_of(struct proc *p, enum sickness sick)
{
    if (p->sick != sick)
        return false;
    proc_die(p, sim_chance(500), SIGABRT);
    return true;
}

static void boot_step(struct proc *p)
{
    if (dies_of(p, SICK_AT_BOOT) || proc_fault(p, AT_BOOT))
        return;
    Stage__Ready m = STAGE__READY__INIT;
    m.pid = (uint32_t)p->pid;
    proc_send(p, PWC_MSG_READY, &m.base, NULL, 0, NULL);
    proc_loop(p);
    (void)proc_fault(p, AT_READY);
}

/* It lacks a layer of its sandbox: says so, or hides it, and ends or serves on. */
static void enter_bare(struct proc *p)
{
    static char layers[] = "simulated", none[] = "", some[] = "nocaps: simulated";
    bool hides = sim_chance(500);
    Stage__Entered m = STAGE__ENTERED__INIT;
    trouble(p, AT_ENTER);
    p->bare = true;
    m.layers = layers;
    m.missing = hides ? none : some;
    m.layer_bits = LAYERS_ALL(0) & ~LAYER_NOCAPS;
    proc_send(p, PWC_MSG_ENTERED, &m.base, NULL, 0, NULL);
    if (hides)
        proc_loop(p);
    else
        proc_die(p, true, 77);
}

/* Stages of this user with these rights die while they enter: of whatever these domains have. */
static bool cursed(struct proc *p)
{
    const struct stage *s = W.cursed == 0 ? NULL : pool_find(W.d.pool, p->number);
    if (s == NULL || s->uid != W.cursed || s->needs != W.cursed_needs)
        return false;
    sim_tally->cursed++;
    proc_die(p, sim_chance(500), SIGABRT);
    return true;
}

static void enter_step(struct proc *p)
{
    if (dies_of(p, SICK_AT_ENTER) || cursed(p) || proc_fault(p, AT_ENTER))
        return;
    if (W.d.cfg.require_sandbox && sim_fault(60)) {
        enter_bare(p);
        return;
    }
    static char layers[] = "simulated", none[] = "";
    Stage__Entered m = STAGE__ENTERED__INIT;
    m.layers = layers;
    m.missing = none;
    m.layer_bits = LAYERS_ALL(0);
    if (sim_rnd(4) > 0) {
        p->dying = file_new(FILE_DYING);
        p->dying->proc = p;
    }
    proc_send(p, PWC_MSG_ENTERED, &m.base, NULL, 0, p->dying);
    proc_loop(p);
}

static void on_step(struct due *d)
{
    struct proc *p = from(d, offsetof(struct proc, step));
    if (p->state != PROC_RUNS || p->hung)
        return;
    static void (*const steps[])(struct proc *) = {
        [PHASE_BOOT] = boot_step, [PHASE_ENTER] = enter_step,     [PHASE_LEASE] = lease_step,
        [PHASE_PLAN] = plan_step, [PHASE_PRODUCE] = produce_step, [PHASE_CONSUME] = consume_step,
    };
    if (p->nursery)
        nursery_step(p);
    else if (steps[p->phase] != NULL && !(p->liar && proc_lies(p) && p->state != PROC_RUNS))
        steps[p->phase](p);
}

static void on_reader(struct due *d)
{
    struct proc *p = from(d, offsetof(struct proc, reader));
    if (!p->nursery)
        stage_read(p);
    else if (p->phase == PHASE_LOOP && p->step.place == 0 && !p->hung)
        due_in(&p->step, 0);
}

void proc_spawn(bool nursery, struct file *sock, pid_t *ret_pid)
{
    struct proc *p = xcalloc(1, sizeof *p);
    p->nursery = nursery;
    p->blamed = UINT64_MAX;
    p->pid = next_pid++;
    p->sock = sock;
    p->step.fire = on_step;
    p->die.fire = on_die;
    p->reader.fire = on_reader;
    p->resume.fire = on_resume;
    p->next = procs;
    procs = p;
    sock->end->reader = &p->reader;
    due_in(&p->step, nursery ? 40 * NS_PER_MS : (int64_t)(100 * NS_PER_US + (int64_t)sim_rnd(NS_PER_MS)));
    *ret_pid = p->pid;
}
