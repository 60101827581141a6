/*
 * lease.c - a simulated worker at its lease: the loop of worker/lease.c in steps between which anything can
 * happen.
 *
 *   slot says the chunk -> look at limit and cancel -> compute -> result is there -> next ... -> fold or
 * finish -> slot idle -> report
 *
 * Each chunk has a value of its own. A worker that computes from rows which are not there (or no longer)
 * leaves the value's complement: should anybody use it, the job's result is wrong.
 */
#include <string.h>

#include "tests/sim/sim.h"

#define LATE_NS     (60 * NS_PER_S) /* more than any limit allows; it goes on, if only while it is looked at */
#define STATE_LEAST (2 * sizeof(uint64_t))

uint64_t spec_value(const struct spec *s, uint64_t chunk)
{
    return sim_mix(s->salt, chunk + 1);
}

void spec_put_state(const struct spec *s, const uint64_t v[2], uint8_t *bytes)
{
    memset(bytes, (int)(s->salt & 0xff), s->state_bytes);
    memcpy(bytes, v, STATE_LEAST);
}

void spec_get_state(const struct spec *s, const uint8_t *bytes, size_t len, uint64_t v[2])
{
    uint8_t whole[PWC_STATE_MAX];
    SIM_CHECK(len == s->state_bytes, "a fold state of %zu bytes instead of %u", len, s->state_bytes);
    memcpy(v, bytes, STATE_LEAST);
    spec_put_state(s, v, whole);
    SIM_CHECK(memcmp(whole, bytes, len) == 0, "a fold state is not what was sent");
}

static bool is_long(const struct spec *s, uint64_t chunk)
{
    return s->long_ns > 0 && chunk == s->long_chunk;
}

/* It may be killed for its time. */
static void long_begins(struct proc *p)
{
    const struct job *j = job_find(&W.d, p->job->job);
    if (j == NULL || j->chunk_timeout_ns > 0 || j->chunk_timeout_percent > 0)
        p->job->spec->trouble++;
}

/* Some jobs have a few chunks that take much longer: their leases are worth taking apart. */
static int64_t spec_time(const struct spec *s, uint64_t chunk)
{
    if (is_long(s, chunk))
        return s->long_ns;
    int64_t ns = s->chunk_ns / 2 + (int64_t)sim_rnd((uint64_t)s->chunk_ns);
    return s->uneven && (sim_mix(s->salt, ~chunk) & 7) == 0 ? 20 * ns : ns;
}

static bool folds(const struct spec *s)
{
    return s->op == OP_FOLD || s->op == OP_COUNT_FOLD;
}

static bool rows_there(const struct proc *p)
{
    const struct file *raster = p->job->raster;
    return raster == NULL || raster->mem.values[p->at] == spec_value(p->job->spec, p->at);
}

/* ---- beginning ---- */

/* Returns how many came. */
static unsigned take_states(struct proc *p, const uint8_t *tail, size_t len)
{
    uint64_t state[2];
    uint32_t n;
    unsigned states = 0;
    for (; len > 0; tail += 4 + n, len -= 4 + n, states++) {
        memcpy(&n, tail, sizeof n);
        SIM_CHECK(len >= 4 && n <= len - 4, "a fold state of %u bytes came with lease %lu", n, (ul)p->lease);
        spec_get_state(p->job->spec, tail + 4, n, state);
        p->sum += state[0];
        p->count += state[1];
        p->had_states = true;
    }
    return states;
}

static void check_lease(const struct proc *p, const Stage__Lease *m, const struct packet *in)
{
    const struct opened *o = p->job;
    SIM_CHECK(m->first + m->n <= o->chunks && m->first + m->n >= m->first,
              "lease %lu: chunks %lu to %lu of %lu", (ul)m->lease, (ul)m->first, (ul)(m->first + m->n),
              (ul)o->chunks);
    SIM_CHECK(o->result_bytes == 0 ||
                  (p->arena != NULL && m->offset + m->n * o->result_bytes <= p->arena->mem.bytes),
              "lease %lu does not fit the arena", (ul)m->lease);
    SIM_CHECK(in->nfiles == (o->spec->op == OP_BATCH ? 2 * m->n : 0), "lease %lu came with %u descriptors",
              (ul)m->lease, in->nfiles);
    for (unsigned i = 0; i < in->nfiles; i++)
        SIM_CHECK(in->files[i]->mem.kind == MEM_CLIENT &&
                      in->files[i]->mem.id == (o->spec->index << 16 | (m->first + i / 2)),
                  "lease %lu: descriptor %u belongs to another item", (ul)m->lease, i);
}

void lease_start(struct proc *p, const Stage__Lease *m, const struct packet *in)
{
    check_lease(p, m, in);
    p->phase = PHASE_LEASE;
    p->lease = m->lease;
    p->first = p->at = m->first;
    p->n = m->n;
    p->offset = m->offset;
    p->final = m->final;
    p->blank = m->blank;
    p->in_chunk = p->slot_set = p->had_states = false;
    p->sum = p->count = 0;
    p->code = PWC__CODE__CODE_OK;
    p->began = (uint64_t)sim_now();
    unsigned states = take_states(p, in->bytes + in->body_len, in->tail_len);
    SIM_CHECK(m->n > 0 || m->final || states > 1, "lease %lu is of nothing", (ul)m->lease);
    sim_log("stage %lu: lease %lu of job %lu: chunks %lu to %lu%s", (ul)p->number, (ul)p->lease,
            (ul)p->job->job, (ul)p->first, (ul)(p->first + p->n), p->final ? ", final" : "");
    if (p->arena != NULL)
        p->arena->mem.place_bytes = p->job->result_bytes;
    proc_slot_set(p, p->lease, SLOT_IDLE);
    p->broken = p->n > 0 && sim_fault(W.p_broken);
    if (p->lease < atomic_load(&((const struct control_page *)p->control->mem.pages)->revoke)) {
        sim_log("stage %lu: lease %lu was taken back", (ul)p->number, (ul)p->lease);
        p->n = 0;
        p->broken = false;
    }
    due_in(&p->step, sim_delay());
}

/* ---- one chunk ---- */

/* True: it ended badly, or the process did. */
static bool poisoned(struct proc *p)
{
    struct spec *s = p->job->spec;
    struct obituary *o = &((struct segment *)p->segment->mem.pages)->obituary;
    if (p->was_late) {
        p->was_late = false;
        return false;
    }
    for (unsigned i = 0; i < s->npoison; i++) {
        struct poison *x = &s->poison[i];
        if (x->chunk != p->at || x->done >= x->times)
            continue;
        x->done++;
        s->trouble++;
        sim_log("stage %lu: chunk %lu is poison %d", (ul)p->number, (ul)p->at, (int)x->kind);
        if (x->kind == POISON_ERROR) {
            p->code = sim_chance(300) ? PWC__CODE__CODE_NO_MEMORY : PWC__CODE__CODE_OP;
            s->blame[p->at]++;
        } else if (x->kind == POISON_HANG) {
            p->hung = true;
        } else if (x->kind == POISON_LATE) {
            p->was_late = p->in_chunk = true;
            due_in(&p->step, LATE_NS);
        } else if (x->kind == POISON_EXIT) {
            proc_die(p, true, 3);
        } else if (x->kind == POISON_STARVE) {
            proc_starve(p);
        } else {
            o->why = x->kind == POISON_OOM      ? PWC__CODE__CODE_NO_MEMORY
                     : x->kind == POISON_SHRANK ? PWC__CODE__CODE_INPUT_SHRANK
                                                : 0;
            atomic_store(&o->ready, o->why != 0);
            proc_die(p, false, SIGSEGV);
        }
        return true;
    }
    return false;
}

/* Of whom the job has said that it may still write. */
static bool is_written_off(const struct proc *p)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &W.d.pool->stages, link)
    {
        if (s->pid == p->pid)
            return s->written_off;
    }
    return false;
}

static void compute(struct proc *p)
{
    struct spec *s = p->job->spec;
    SIM_CHECK((s->blanked >> p->at & 1) == 0 || is_written_off(p),
              "job %lu: chunk %lu is computed over what was filled", (ul)p->job->job, (ul)p->at);
    uint64_t value = rows_there(p) ? spec_value(s, p->at) : ~spec_value(s, p->at);
    s->computed |= 1ull << p->at;
    s->moved = sim_now();
    if (folds(s)) {
        p->sum += value;
        p->count++;
    }
    if (p->job->result_bytes > 0)
        p->arena->mem.values[p->offset / p->job->result_bytes + (p->at - p->first)] = value;
    atomic_store(&proc_slot(p)->done, ++p->done_ever);
}

/* False: the lease is over, or the process is. */
static bool chunk_done(struct proc *p)
{
    if (proc_fault(p, AT_CHUNK))
        return false;
    p->in_chunk = false;
    if (poisoned(p))
        return p->state == PROC_RUNS && !p->hung && !p->in_chunk;
    compute(p);
    p->at++;
    p->slot_set = false;
    return !proc_fault(p, AT_BETWEEN); /* the slot still says the one that is done */
}

/* ---- the report ---- */

static const char *lie(struct proc *p, Stage__Report *m)
{
    if (!p->liar || !sim_fault(W.p_lie * 5))
        return NULL;
    p->job->spec->trouble++;
    switch (sim_rnd(6)) {
    case 0:
        m->done += 1 + sim_rnd(5);
        return "more than it held";
    case 1:
        m->lease += 1 + sim_rnd(3);
        return "another lease";
    case 2:
        m->job += 1;
        return "another job";
    case 3:
        m->code = PWC__CODE__CODE_OP;
        m->failed = m->done + p->first + 1;
        return "a failure of a chunk it was not at";
    case 4:
        m->done = UINT64_MAX;
        return "everything";
    default:
        m->failed = UINT64_MAX;
        m->code = PWC__CODE__CODE_CRASH;
        m->done = UINT64_MAX - p->first;
        return "an overflow";
    }
}

static size_t fold_tail(struct proc *p, Stage__Report *m, uint8_t *tail)
{
    bool wanted = folds(p->job->spec) && !p->broken && (m->done > 0 || p->had_states || p->final);
    if (p->final && m->code == PWC__CODE__CODE_OK && m->done >= p->n && !p->broken) {
        if (!p->job->spec->bad_finish)
            return 0;
        m->code = PWC__CODE__CODE_OP;
        m->failed = p->first + p->n;
        p->job->spec->trouble++;
    }
    if (!wanted)
        return 0;
    uint32_t n = p->job->spec->state_bytes;
    memcpy(tail, &n, 4);
    spec_put_state(p->job->spec, (uint64_t[2]){p->sum, p->count}, tail + 4);
    if (!p->liar || !sim_fault(W.p_lie * 5))
        return n + 4;
    p->job->spec->trouble++;
    sim_log("stage %lu: a malformed fold state", (ul)p->number);
    return sim_rnd(n + 4);
}

/* Of a small job that went well no more is told than that, be it a lie. */
static void say_report(struct proc *p, const Stage__Report *m, const uint8_t *tail, size_t len)
{
    if (!p->job->once || m->code != PWC__CODE__CODE_OK || m->done != 1 || len > 0) {
        proc_send(p, PWC_MSG_REPORT, &m->base, tail, len, NULL);
        return;
    }
    Stage__SmallDone d = STAGE__SMALL_DONE__INIT;
    d.lease = m->lease;
    d.job = m->job;
    d.ns = m->ns;
    proc_send(p, PWC_MSG_SMALL_DONE, &d.base, NULL, 0, NULL);
}

static void see_pace(struct pace *p, int64_t ns)
{
    p->lease_least = p->lease_least > 0 ? MIN(p->lease_least, ns) : ns;
    p->lease_most = MAX(p->lease_most, ns);
}

static void send_report(struct proc *p)
{
    static char none[1] = "", sum[] = "sum", count[] = "count", why[] = "simulated";
    Stage__Report m = STAGE__REPORT__INIT;
    Pwc__Value values[2] = {PWC__VALUE__INIT, PWC__VALUE__INIT};
    Pwc__Param params[2] = {PWC__PARAM__INIT, PWC__PARAM__INIT}, *list[2] = {&params[0], &params[1]};
    uint8_t tail[PWC_STATE_MAX + 4];
    m.lease = p->lease;
    m.job = p->job->job;
    m.done = p->at - p->first;
    m.code = p->code;
    m.failed = m.code != PWC__CODE__CODE_OK ? p->at : 0;
    m.ns = (uint64_t)sim_now() - p->began;
    size_t len = fold_tail(p, &m, tail);
    m.reason = m.code != PWC__CODE__CODE_OK ? why : none;
    if (p->final && m.code == PWC__CODE__CODE_OK && m.done >= p->n && folds(p->job->spec)) {
        for (int i = 0; i < 2; i++) {
            values[i].kind_case = PWC__VALUE__KIND_U64;
            values[i].u64 = i == 0 ? p->sum : p->count;
            params[i].name = i == 0 ? sum : count;
            params[i].value = &values[i];
        }
        m.results = list;
        m.n_results = 2;
    }
    const char *what = lie(p, &m);
    sim_log("stage %lu: reports lease %lu: %lu done, code %d%s%s", (ul)p->number, (ul)m.lease, (ul)m.done,
            (int)m.code, what != NULL ? "; a lie: " : "", what != NULL ? what : "");
    if (p->at > p->first)
        see_pace(&p->job->spec->pace, (int64_t)(m.ns / (p->at - p->first)));
    say_report(p, &m, tail, len);
    if (what != NULL && m.lease != p->lease) { /* and then the truth */
        m.lease = p->lease;
        say_report(p, &m, tail, len);
    } else if (what != NULL && m.job != p->job->job) {
        m.job = p->job->job;
        say_report(p, &m, tail, len);
    }
}

static void finish(struct proc *p)
{
    if (proc_fault(p, AT_FINISH))
        return;
    if (p->final && p->code == PWC__CODE__CODE_OK && p->at == p->first + p->n && !p->broken) {
        proc_slot_set(p, p->lease, SLOT_FINISH);
        if (proc_fault(p, AT_FINISH))
            return;
    }
    proc_slot_set(p, p->lease, SLOT_IDLE);
    if (proc_fault(p, AT_REPORT))
        return;
    struct opened *o = p->job;
    struct end *e = p->sock->end;
    e->holds = o->once && e->head != NULL && e->head->type == PWC_MSG_SMALL && sim_chance(600);
    send_report(p);
    e->holds = false;
    proc_loop(p);
    if (o->once)
        *o = (struct opened){0};
    (void)proc_fault(p, AT_REPORTED);
}

static void blank(struct proc *p)
{
    struct spec *s = p->job->spec;
    for (; p->at < p->first + p->n; p->at++) {
        SIM_CHECK(s->op == OP_PLACED && (s->bad >> p->at & 1) != 0,
                  "job %lu: chunk %lu is filled, but not bad", (ul)p->job->job, (ul)p->at);
        s->blanked |= 1ull << p->at;
    }
}

/* An item's output is written by one at a time: another one would cut it off at its beginning. */
static void check_alone(const struct proc *p)
{
    for (const struct proc *q = procs; q != NULL && p->job->spec->op == OP_BATCH; q = q->next)
        SIM_CHECK(q == p || q->state != PROC_RUNS || q->struck || q->phase != PHASE_LEASE || !q->in_chunk ||
                      q->job->spec != p->job->spec || q->at != p->at,
                  "job %lu: stages %lu and %lu are at item %lu at a time", (ul)p->job->job, (ul)q->number,
                  (ul)p->number, (ul)p->at);
}

/* Whatever the supervisor reads of a slot, on another processor the stage runs on meanwhile. But by no whole
 * second. */
static void run_on(const struct stage *s, unsigned chance)
{
    struct proc *p = s->state == STAGE_BUSY && sim_chance(chance) ? proc_of_pid(s->pid) : NULL;
    for (uint64_t n = p != NULL && !p->liar ? sim_rnd(20) : 0; n > 0; n--) {
        if (p->state != PROC_RUNS || p->hung || p->phase != PHASE_LEASE || p->step.place == 0 ||
            p->job->spec->chunk_ns >= HOG_NS || (p->in_chunk && is_long(p->job->spec, p->at)))
            break;
        due_drop(&p->step);
        lease_step(p);
        if (p->in_chunk && sim_chance(300))
            break; /* not to its end each time */
    }
}

uint64_t __real_stage_slot_chunk(const struct stage *s);
uint64_t __wrap_stage_slot_chunk(const struct stage *s);
uint64_t __wrap_stage_slot_chunk(const struct stage *s)
{
    uint64_t chunk = __real_stage_slot_chunk(s);
    run_on(s, W.p_steal_race);
    return chunk;
}

/* Above all when it is about to be killed for what it was at. */
bool __real_stage_has_moved(const struct stage *s);
bool __wrap_stage_has_moved(const struct stage *s);
bool __wrap_stage_has_moved(const struct stage *s)
{
    bool moved = __real_stage_has_moved(s);
    run_on(s, s->doom_code != PWC__CODE__CODE_OK ? MAX(W.p_steal_race, 300u) : W.p_steal_race);
    return moved;
}

void lease_step(struct proc *p)
{
    const struct control_page *control = p->control->mem.pages;
    if (p->broken) { /* its job could not be opened, or there is no memory for the arena */
        p->code = PWC__CODE__CODE_NO_MEMORY;
        p->job->spec->blame[p->at]++;
        p->job->spec->trouble++;
        finish(p);
        return;
    }
    if (p->blank) {
        blank(p);
        finish(p);
        return;
    }
    if (p->in_chunk && !chunk_done(p))
        return;
    if (p->code != PWC__CODE__CODE_OK || p->at == p->first + p->n) {
        finish(p);
        return;
    }
    if (!p->slot_set) {
        proc_slot_set(p, p->lease, p->at);
        p->slot_set = true;
        if (proc_fault(p, AT_SLOT))
            return;
        if (sim_chance(W.p_steal_race)) {
            due_in(&p->step, sim_delay());
            return;
        }
    }
    if (p->at >= atomic_load(&control->limit)) {
        finish(p);
        return;
    }
    if (atomic_load(&control->cancel) != 0) {
        p->code = PWC__CODE__CODE_CANCELLED;
        finish(p);
        return;
    }
    p->in_chunk = true;
    check_alone(p);
    if (!rows_there(p))
        p->job->spec->trouble++;
    if (is_long(p->job->spec, p->at))
        long_begins(p);
    due_in(&p->step, spec_time(p->job->spec, p->at));
}

/* ---- late ---- */

void lease_asked(struct proc *p)
{
    p->asked_lease = atomic_load(&proc_slot(p)->lease);
    p->asked = atomic_load(&proc_slot(p)->chunk);
}

bool lease_is_late(struct proc *p)
{
    const struct stage *s;
    TAILQ_FOREACH(s, &W.d.pool->stages, link)
    {
        if (s->pid == p->pid)
            return s->kill_code != PWC__CODE__CODE_OK && s->kill_code == s->doom_code &&
                   s->kill_reason == s->doom_reason;
    }
    return false;
}

/* The one that it is at by now is not late. */
bool lease_left(struct proc *p)
{
    const struct segment_slot *slot = proc_slot(p);
    return p->late && (atomic_load(&slot->lease) != p->asked_lease || atomic_load(&slot->chunk) != p->asked);
}
