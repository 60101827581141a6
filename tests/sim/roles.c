/*
 * roles.c - simulated planner, producer and consumer, and what a stage says that lies.
 *
 * A raster holds, chunk by chunk, the rows from which it is computed; a windowed one loses those below what
 * was released. A consumer takes results strictly in order and checks each one's value when it gets to it,
 * not when it is told of it: a place that is used again too early shows.
 */
#include <string.h>

#include "tests/sim/sim.h"

/* ---- planner ---- */

void plan_start(struct proc *p, const Stage__Plan *m)
{
    p->phase = PHASE_PLAN;
    p->lease = m->lease;
    p->first = p->n = p->at = 0;
    proc_slot_set(p, p->lease, SLOT_PLAN);
    due_in(&p->step, (int64_t)sim_rnd(2 * NS_PER_MS));
}

static void report_plan(struct proc *p, Pwc__Code code)
{
    static char none[1] = "", why[] = "simulated", name[] = "hash";
    struct spec *s = p->job->spec;
    Stage__Report m = STAGE__REPORT__INIT;
    Pwc__Value value = PWC__VALUE__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *list = &param;
    m.lease = p->lease;
    m.job = p->job->job;
    m.code = code;
    m.reason = code != PWC__CODE__CODE_OK ? why : none;
    if (code == PWC__CODE__CODE_OK) {
        m.whole = true;
        m.done = 1;
        s->computed |= 1;
        value.kind_case = PWC__VALUE__KIND_U64;
        value.u64 = spec_value(s, 0);
        param.name = name;
        param.value = &value;
        m.results = &list;
        m.n_results = 1;
    }
    proc_send(p, PWC_MSG_REPORT, &m.base, NULL, 0, NULL);
}

/* What no real planner says. */
static void lie_of_plan(struct proc *p, Stage__Planned *m)
{
    if (!p->liar || !sim_fault(W.p_lie * 5))
        return;
    p->job->spec->trouble++;
    switch (sim_rnd(6)) {
    case 0:
        m->chunks = 0;
        break;
    case 1:
        m->chunks = UINT64_MAX;
        break;
    case 2:
        m->result_bytes = UINT64_MAX;
        break;
    case 3:
        m->absorb = 77;
        break;
    case 4:
        m->job += 1;
        break;
    default:
        m->has_plan = !m->has_plan;
    }
    sim_log("stage %lu: plans nonsense", (ul)p->number);
}

static void send_planned(struct proc *p)
{
    static char rows[] = "rows";
    const struct spec *s = p->job->spec;
    Stage__Planned m = STAGE__PLANNED__INIT;
    m.job = p->job->job;
    m.chunks = s->chunks;
    m.result_bytes = s->result_bytes;
    m.producer = s->producer;
    m.raster = s->raster;
    m.windowed = s->windowed;
    m.absorb = s->op == OP_FOLD     ? PWC__ABSORB__ABSORB_FOLDED
               : s->op == OP_SERIAL ? PWC__ABSORB__ABSORB_SERIAL
                                    : PWC__ABSORB__ABSORB_PLACED;
    m.has_plan = true;
    m.unit = rows;
    m.unit_size = 128;
    m.units = 128 * s->chunks;
    lie_of_plan(p, &m);
    p->job->chunks = s->chunks;
    proc_send(p, PWC_MSG_PLANNED, &m.base, NULL, 0, file_memory(MEM_PLAN, 100));
}

void plan_step(struct proc *p)
{
    struct spec *s = p->job->spec;
    const struct control_page *control = p->control->mem.pages;
    if (proc_fault(p, AT_PLAN))
        return;
    s->moved = sim_now();
    proc_slot_set(p, p->lease, SLOT_IDLE);
    if (proc_fault(p, AT_REPORT))
        return;
    if (atomic_load(&control->cancel) != 0) {
        report_plan(p, PWC__CODE__CODE_CANCELLED);
    } else if (s->plan_errors > 0) {
        s->plan_errors--;
        s->trouble++;
        report_plan(p, PWC__CODE__CODE_BAD_INPUT);
    } else if (s->whole) {
        report_plan(p, PWC__CODE__CODE_OK);
    } else {
        send_planned(p);
    }
    proc_loop(p);
    (void)proc_fault(p, AT_REPORTED);
}

/* ---- failing ---- */

static bool op_fails(struct proc *p, enum where where)
{
    if (!sim_fault(W.p_at[where] / 4))
        return false;
    static char why[] = "simulated";
    p->job->spec->trouble++;
    Stage__Failed m = STAGE__FAILED__INIT;
    m.job = p->job->job;
    m.code = sim_chance(500) ? PWC__CODE__CODE_OP : PWC__CODE__CODE_OK;
    m.reason = why;
    proc_send(p, PWC_MSG_FAILED, &m.base, NULL, 0, NULL);
    proc_slot_set(p, p->lease, SLOT_IDLE);
    consume_forget(p);
    proc_loop(p);
    return true;
}

/* ---- producer ---- */

void produce_start(struct proc *p, const Stage__Produce *m)
{
    SIM_CHECK(p->job->raster != NULL || !p->job->spec->raster, "a producer without raster");
    p->phase = PHASE_PRODUCE;
    p->lease = m->lease;
    p->announced = p->released = p->first = p->n = p->at = 0;
    proc_slot_set(p, p->lease, SLOT_PRODUCE);
    due_in(&p->step, sim_delay());
}

void produce_step(struct proc *p)
{
    struct spec *s = p->job->spec;
    if (proc_fault(p, AT_PRODUCE) || op_fails(p, AT_PRODUCE))
        return;
    for (uint64_t c = 0; s->windowed && s->raster && c < MIN(p->released, p->announced); c++)
        p->job->raster->mem.values[c] = 0;
    if (s->windowed && p->announced >= p->released + s->window)
        return; /* Release wakes it */
    if (p->announced < s->chunks) {
        if (s->raster)
            p->job->raster->mem.values[p->announced] = spec_value(s, p->announced);
        p->announced++;
        s->moved = s->windowed ? s->moved : sim_now(); /* soon it waits for workers */
        atomic_store(&proc_slot(p)->done, ++p->done_ever);
        Stage__Announce m = STAGE__ANNOUNCE__INIT;
        m.job = p->job->job;
        m.upto = p->announced;
        bool full = s->windowed && p->announced >= p->released + s->window;
        if (full || p->announced == s->chunks || sim_chance(600))
            proc_send(p, PWC_MSG_ANNOUNCE, &m.base, NULL, 0, NULL);
        int64_t ns = s->strip_ns > 0 ? s->strip_ns : s->chunk_ns;
        due_in(&p->step, ns / 4 + (int64_t)sim_rnd((uint64_t)ns));
        return;
    }
    Stage__Produced m = STAGE__PRODUCED__INIT;
    m.job = p->job->job;
    proc_slot_set(p, p->lease, SLOT_IDLE);
    proc_send(p, PWC_MSG_PRODUCED, &m.base, NULL, 0, NULL);
    proc_loop(p);
    (void)proc_fault(p, AT_REPORTED);
}

void produce_released(struct proc *p, const Stage__Release *m)
{
    SIM_CHECK(p->phase != PHASE_PRODUCE || m->upto > p->released,
              "job %lu: chunks below %lu are released twice", (ul)m->job, (ul)m->upto);
    p->released = MAX(p->released, m->upto);
}

/* ---- consumer ---- */

void consume_forget(struct proc *p)
{
    free(TAKE_PTR(p->queue));
    p->nqueue = p->room = 0;
    while (p->narenas > 0)
        file_drop(&p->arenas[--p->narenas].file);
}

void consume_start(struct proc *p, const Stage__Consume *m)
{
    consume_forget(p);
    p->phase = PHASE_CONSUME;
    p->lease = m->lease;
    p->merged = p->told = p->hash = p->expected = p->first = p->n = p->at = 0;
    p->busy_until = 0;
    proc_slot_set(p, p->lease, SLOT_CONSUME);
}

static struct file *arena_known(const struct proc *p, uint64_t id)
{
    for (unsigned i = 0; i < p->narenas; i++)
        if (p->arenas[i].id == id)
            return p->arenas[i].file;
    return NULL;
}

/* Those of stages that live, those that the job's limit lets the dead leave behind, and those of the workers
 * that die when it is reached. */
static unsigned arenas_most(void)
{
    unsigned most = config_stages_max(&W.d.cfg, W.d.seats) * 2 + ORPHANS_A_SEAT * W.d.seats;
    return MIN(most, (unsigned)ARRAY_LEN(((struct proc *)NULL)->arenas));
}

void consume_take(struct proc *p, const Stage__Absorb *m, struct packet *in)
{
    if (p->phase != PHASE_CONSUME || p->job->job != m->job)
        return; /* it has failed: what was on its way is dropped */
    struct file *arena = arena_known(p, m->arena);
    SIM_CHECK(!m->hole || (m->n == 1 && (p->job->spec->bad >> m->first & 1) != 0),
              "chunk %lu is a hole, but was not given up", (ul)m->first);
    if (arena == NULL && in->nfiles == 1 && p->narenas < arenas_most()) {
        arena = p->arenas[p->narenas].file = TAKE_PTR(in->files[0]);
        p->arenas[p->narenas++].id = m->arena;
    }
    SIM_CHECK(arena != NULL || m->hole, "absorb of chunk %lu from an arena the consumer does not know",
              (ul)m->first);
    SIM_CHECK(m->n > 0 && m->first == p->expected && m->first + m->n <= p->job->chunks,
              "absorb of chunks %lu to %lu, though %lu is next", (ul)m->first, (ul)(m->first + m->n),
              (ul)p->expected);
    SIM_CHECK(m->hole || m->offset + m->n * p->job->result_bytes <= arena->mem.bytes,
              "absorb past the arena's end");
    p->expected = m->first + m->n;
    if (p->nqueue == p->room) {
        p->room = p->room * 2 + 4;
        p->queue = xrealloc(p->queue, p->room, sizeof *p->queue);
    }
    p->queue[p->nqueue++] = (struct absorb){m->first, m->n, m->arena, m->offset, m->hole};
    if (p->step.place == 0)
        due_in(&p->step, MAX(p->busy_until - sim_now(), sim_delay()));
}

void consume_gone(struct proc *p, const Stage__ArenaGone *m)
{
    unsigned at = 0;
    if (p->phase != PHASE_CONSUME || p->job->job != m->job)
        return;
    for (size_t i = 0; i < p->nqueue; i++)
        SIM_CHECK(p->queue[i].hole || p->queue[i].arena != m->arena,
                  "an arena is gone, but chunk %lu waits there", (ul)p->queue[i].first);
    while (at < p->narenas && p->arenas[at].id != m->arena)
        at++;
    SIM_CHECK(at < p->narenas, "an arena is gone that the consumer does not know");
    file_drop(&p->arenas[at].file);
    p->arenas[at] = p->arenas[--p->narenas];
}

static void tell_absorbed(struct proc *p)
{
    if (p->told == p->merged)
        return;
    Stage__Absorbed m = STAGE__ABSORBED__INIT;
    p->told = p->merged;
    p->job->spec->moved = sim_now();
    m.job = p->job->job;
    m.upto = p->merged;
    if (p->liar && sim_fault(W.p_lie * 2)) {
        p->job->spec->trouble++;
        m.upto = sim_chance(500) ? UINT64_MAX : p->merged + 1000;
    }
    proc_send(p, PWC_MSG_ABSORBED, &m.base, NULL, 0, NULL);
    if (sim_chance(50)) /* which says nothing new */
        proc_send(p, PWC_MSG_ABSORBED, &m.base, NULL, 0, NULL);
}

static void merge_one(struct proc *p)
{
    const struct spec *s = p->job->spec;
    const struct absorb *a = &p->queue[0];
    uint64_t place = a->offset / p->job->result_bytes + (p->merged - a->first);
    uint64_t value = a->hole ? SIM_HOLE : arena_known(p, a->arena)->mem.values[place];
    SIM_CHECK(a->hole || value == spec_value(s, p->merged),
              "job %lu: the consumer finds something else where chunk %lu should lie", (ul)p->job->job,
              (ul)p->merged);
    p->hash = sim_mix(p->hash, value);
    p->merged++;
    atomic_store(&proc_slot(p)->done, ++p->done_ever);
    if (p->merged == a->first + a->n)
        memmove(p->queue, p->queue + 1, --p->nqueue * sizeof *p->queue);
}

static void consumed(struct proc *p)
{
    static char name[] = "hash";
    Stage__Consumed m = STAGE__CONSUMED__INIT;
    Pwc__Value value = PWC__VALUE__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *list = &param;
    value.kind_case = PWC__VALUE__KIND_U64;
    value.u64 = p->hash;
    param.name = name;
    param.value = &value;
    m.job = p->job->job;
    m.results = &list;
    m.n_results = 1;
    proc_slot_set(p, p->lease, SLOT_IDLE);
    consume_forget(p);
    proc_send(p, PWC_MSG_CONSUMED, &m.base, NULL, 0, NULL);
    proc_loop(p);
    (void)proc_fault(p, AT_REPORTED);
}

/* A lie may be read when its stage has another job already, one that such a stage can get. */
static void strike(const struct proc *p)
{
    W.start_troubles += p->job == NULL;
    for (unsigned i = 0; i < W.nspecs && p->job != NULL; i++)
        W.specs[i].trouble += W.specs[i].client->uid == p->job->spec->client->uid;
}

/* All was handed over to it: only what it has absorbed tells that it has not ended. */
static bool ends_early(struct proc *p)
{
    if (!p->liar || p->expected != p->job->chunks || p->merged == p->expected || !sim_fault(W.p_lie * 2))
        return false;
    sim_log("stage %lu (%d): lies, it has consumed %lu of %lu", (ul)p->number, p->pid, (ul)p->merged,
            (ul)p->expected);
    strike(p);
    consumed(p);
    return true;
}

static int64_t what_it_takes(const struct spec *s)
{
    if (sim_chance(W.p_slow))
        return (int64_t)sim_rnd(800 * NS_PER_MS);
    if (s->take_ns == 0)
        return s->chunk_ns / 4 + sim_delay();
    return s->take_ns / 2 + (int64_t)sim_rnd((uint64_t)s->take_ns);
}

/* One that is slow takes what comes at once, and is busy with it then. */
void consume_step(struct proc *p)
{
    struct spec *s = p->job->spec;
    if (proc_fault(p, AT_CONSUME) || op_fails(p, AT_CONSUME) || ends_early(p))
        return;
    if (p->nqueue > 0)
        merge_one(p);
    if (p->nqueue == 0 || sim_chance(300))
        tell_absorbed(p);
    if (p->merged == p->job->chunks) {
        tell_absorbed(p);
        consumed(p);
        return;
    }
    if (p->nqueue == 0 && s->take_ns == 0)
        return;
    int64_t takes = what_it_takes(s);
    if (takes > 300 * NS_PER_MS) /* which its job may not allow a step */
        s->trouble++;
    if (p->nqueue == 0)
        p->busy_until = sim_now() + takes;
    else
        due_in(&p->step, takes);
}

/* ---- lies ---- */

static void scribble(struct proc *p)
{
    static const uint64_t words[] = {0, 1, SLOT_IDLE, SLOT_PLAN, SLOT_PRODUCE, UINT64_MAX / 2, 3, 7};
    struct segment_slot *slot = proc_slot(p);
    atomic_store(&slot->chunk, words[sim_rnd(ARRAY_LEN(words))]);
    if (sim_chance(500))
        atomic_store(&slot->lease, sim_rnd(20));
    atomic_store(&slot->done, sim_rnd(1000));
}

/* What is not even one of a stage's messages. */
static void say_nonsense(struct proc *p, uint64_t which)
{
    static const Stage__Ready ready = STAGE__READY__INIT;
    if (which == 0)
        end_send_garbage(p->sock->end);
    else if (which == 1)
        proc_send(p, PWC_MSG_CATALOGUE, &ready.base, NULL, 0, file_memory(MEM_CATALOGUE, 1));
    else if (which == 2)
        proc_send(p, PWC_MSG_REPORT, NULL, "x", 1, NULL); /* an empty body is a report of lease 0 */
    else if (which == 3)
        proc_send(p, PWC_MSG_NURSERY_READY, NULL, NULL, 0, NULL);
    else
        scribble(p);
    if (which > 3)
        proc_die(p, false, SIGSEGV);
}

bool proc_lies(struct proc *p)
{
    if (p->domain == 0 || !sim_fault(W.p_lie))
        return false;
    strike(p);
    Stage__Announce announce = STAGE__ANNOUNCE__INIT;
    Stage__Absorbed absorbed = STAGE__ABSORBED__INIT;
    Stage__Entered entered = STAGE__ENTERED__INIT;
    Stage__Report report = STAGE__REPORT__INIT;
    Stage__Ready ready = STAGE__READY__INIT;
    Stage__Planned planned = STAGE__PLANNED__INIT;
    Stage__Consumed over = STAGE__CONSUMED__INIT;
    Stage__Produced produced = STAGE__PRODUCED__INIT;
    Stage__Failed failed = STAGE__FAILED__INIT;
    const ProtobufCMessage *all[] = {&announce.base, &absorbed.base, &entered.base,
                                     &report.base,   &ready.base,    &planned.base,
                                     &over.base,     &produced.base, &failed.base};
    static const uint16_t types[] = {PWC_MSG_ANNOUNCE, PWC_MSG_ABSORBED, PWC_MSG_ENTERED,
                                     PWC_MSG_REPORT,   PWC_MSG_READY,    PWC_MSG_PLANNED,
                                     PWC_MSG_CONSUMED, PWC_MSG_PRODUCED, PWC_MSG_FAILED};
    uint64_t job = p->job != NULL && sim_chance(800) ? p->job->job : 1;
    announce.job = absorbed.job = planned.job = over.job = report.job = produced.job = failed.job = job;
    announce.upto = sim_chance(500) ? 1000 : 0;
    absorbed.upto = sim_rnd(100);
    report.lease = sim_rnd(10);
    uint64_t which = sim_rnd(ARRAY_LEN(types) + 6);
    /* What nobody can tell from the truth is left out: a producer is believed what is ready, a consumer what
     * it has absorbed. That it has ended is believed once it has absorbed everything. */
    if ((p->phase == PHASE_CONSUME && which == 1) || (p->phase == PHASE_PRODUCE && which == 7))
        which = 0;
    if (report.lease == p->lease)
        report.lease = 0;
    sim_log("stage %lu (%d): lies, %lu", (ul)p->number, p->pid, (ul)which);
    if (which < ARRAY_LEN(types))
        proc_send(p, types[which], all[which], NULL, 0, NULL);
    else
        say_nonsense(p, which - ARRAY_LEN(types));
    return true;
}
