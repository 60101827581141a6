/*
 * client.c - simulated clients: they submit, hand over descriptors when asked, read what they are told, and
 * check it.
 *
 * A client may cancel, hang up, half-close, stop reading for a while, or come back and attach, or submit
 * again under the same request key. It may say things twice: at once, later, or on a second connection while
 * the first one lives. What it was told must fit: events in order, each item and each chunk ended once, one
 * Finished a job.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/session.h"
#include "proto/trace.h"
#include "tests/sim/sim.h"

#define TRIES_MAX   2000u
#define RETRIES_MAX 3u
#define REPEATED    500 /* in a thousand: what a client who says things twice does */

static struct client *from(struct due *d, size_t offset)
{
    return (struct client *)(void *)((char *)d - offset);
}

static void send_fds(struct client *c, uint16_t type, uint64_t tag, const ProtobufCMessage *m,
                     struct file **files, unsigned n)
{
    sim_log("client %u says %s", c->index, msg_name(type));
    end_send(c->sock->end, type, tag, m, NULL, 0, files, n);
}

static void send_to(struct client *c, uint16_t type, uint64_t tag, const ProtobufCMessage *m)
{
    send_fds(c, type, tag, m, NULL, 0);
}

/* What may be said twice, and means no more then than once. */
static void send_again(struct client *c, uint16_t type, uint64_t tag, const ProtobufCMessage *m)
{
    send_to(c, type, tag, m);
    if (!W.repeats || !sim_chance(REPEATED))
        return;
    sim_tally->repeats++;
    send_to(c, type, tag, m);
}

/* ---- submitting ---- */

static Pwc__Policy policy_of(const struct spec *s, Pwc__Value *fill)
{
    static const char *const halts[] = {"now,fail=1",    "soon,fail=1", "now,success=2",   "soon,done=50%",
                                        "soon,fail=30%", "soon,done=2", "soon,success=30%"};
    Pwc__Policy p = PWC__POLICY__INIT;
    uint64_t r = sim_mix(s->salt, 99);
    p.set = (r & 3) != 0;
    p.retries_error = (int32_t)(r >> 8 & 3) - 1;
    p.retries_crash = (int32_t)(r >> 10 & 3) - 1;
    p.retries_oom = (int32_t)(r >> 12 & 3) - 1;
    p.retries_timeout = (int32_t)(r >> 14 & 3) - 1;
    p.on_failure = (r >> 16 & 3) != 0 ? PWC__ON_FAILURE__ON_FAILURE_SKIP : PWC__ON_FAILURE__ON_FAILURE_FAIL;
    if ((r >> 60 & 3) == 0 && (s->op == OP_SERIAL || s->op == OP_PLACED)) {
        p.on_failure = PWC__ON_FAILURE__ON_FAILURE_FILL;
        p.fill = fill;
    }
    p.max_failures = (r >> 20 & 7) == 0 ? 1 + (r >> 24 & 3) : 0;
    p.chunk_timeout_ns = (r >> 28 & 3) != 0 ? (uint64_t)s->chunk_ns * 100 + 300 * NS_PER_MS : 0;
    p.job_timeout_ns = (r >> 32 & 31) == 0 ? (1 + (r >> 40 & 7)) * NS_PER_S : 0;
    p.memory = (r >> 56 & (W.swarm ? 15 : 3)) == 0 ? 1 << 30 : 0;
    p.chunk_timeout_percent =
        (r >> 58 & 3) == 0 && !W.scarce ? 5000 : 0; /* chunks are long there, some in no time */
    p.halt =
        (r >> 48 & (W.halts ? 1 : 15)) == 0 ? (char *)(uintptr_t)halts[(r >> 52) % ARRAY_LEN(halts)] : p.halt;
    return p;
}

static bool has_key(const struct spec *s)
{
    uint64_t r = sim_mix(s->salt, 98) >> 20 & 3;
    return W.repeats ? r < 3 : r == 0;
}

/* The same request once more is the same job, whenever it comes. */
static bool is_remembered(const struct spec *s)
{
    return has_key(s) && W.d.cfg.history >= W.nspecs;
}

void client_submit(struct client *c, struct spec *s)
{
    static const char *const names[OP_KINDS] = {"count", "countfold", "fold", "serial", "placed", "serial"};
    static char in[] = "in", out[] = "out", n[] = "n", spec[] = "spec", label[] = "label", none[] = "";
    Pwc__Submit m = PWC__SUBMIT__INIT;
    Pwc__Value fill = PWC__VALUE__INIT;
    fill.kind_case = PWC__VALUE__KIND_U64;
    fill.u64 = 7;
    Pwc__Policy policy = policy_of(s, &fill);
    Pwc__Value values[2] = {PWC__VALUE__INIT, PWC__VALUE__INIT};
    Pwc__Param params[2] = {PWC__PARAM__INIT, PWC__PARAM__INIT}, *list[2] = {&params[0], &params[1]};
    Pwc__RoleDecl roles[2] = {PWC__ROLE_DECL__INIT, PWC__ROLE_DECL__INIT},
                  *role_list[2] = {&roles[0], &roles[1]};
    uint64_t r = sim_mix(s->salt, 98);
    bool count = s->op == OP_COUNT || s->op == OP_COUNT_FOLD;
    for (int i = 0; i < 2; i++) {
        values[i].kind_case = PWC__VALUE__KIND_U64;
        values[i].u64 = i == 0 ? s->index : s->chunks;
        params[i].name = i == 0 ? spec : n;
        params[i].value = &values[i];
        roles[i].name = i == 0 ? in : out;
        roles[i].count = 1;
    }
    m.op = (char *)(uintptr_t)names[s->op];
    m.params = list;
    m.n_params = count ? 2 : 1;
    m.items = s->op == OP_BATCH ? s->chunks : count ? 0 : 1;
    m.roles = role_list;
    m.n_roles = count ? 0 : s->op == OP_FOLD ? 1 : 2;
    m.batch = s->op == OP_BATCH;
    m.policy = &policy;
    m.isolation = s->isolation;
    m.records = s->records;
    m.trace = (r >> 22 & 3) == 0 ? 1 + (r >> 24 & 127) : 0;
    m.priority = (int32_t)(r & 7) - 4;
    m.max_workers = (r >> 4 & 3) == 0 ? 1 + (r >> 6 & 1) : 0;
    if (has_key(s))
        m.request_key = (ProtobufCBinaryData){8, (uint8_t *)&s->salt};
    m.domain = (r >> 8 & 3) == 0 ? label : none;
    m.on_disconnect = (Pwc__OnDisconnect)((r >> 12) % 3);
    m.linger_ns = 2 * NS_PER_S;
    if (is_remembered(s))
        send_again(c, PWC_MSG_SUBMIT, s->index + 1, &m.base);
    else
        send_to(c, PWC_MSG_SUBMIT, s->index + 1, &m.base);
}

/* ---- items ---- */

#define ITEM_NAME 32

static void item_name(const struct spec *s, uint64_t index, char *ret)
{
    snprintf(ret, ITEM_NAME, "file %u.%lu", s->index, (ul)index);
}

static void send_item_files(struct client *c, const struct spec *s, Pwc__Item *m, unsigned n)
{
    struct file *files[3];
    for (unsigned i = 0; i < n; i++) {
        files[i] = file_memory(MEM_CLIENT, 4096);
        files[i]->mem.id = s->index << 16 | m->index;
    }
    send_fds(c, PWC_MSG_ITEM, 0, &m->base, files, n);
}

static void send_item(struct client *c, uint64_t job, uint64_t index)
{
    static char why[] = "simulated";
    char name[ITEM_NAME];
    struct spec *s = spec_of_job(job);
    unsigned n = s->op == OP_FOLD ? 1 : 2;
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = job;
    m.index = index;
    item_name(s, m.index, name);
    m.name = msg_bytes(name);
    if (sim_fault(W.p_client)) {
        s->trouble++;
        s->item_refused = true;
        if (sim_chance(800)) {
            m.code = PWC__CODE__CODE_DENIED;
            m.reason = why;
            n = 0;
        } else if (sim_chance(500)) {
            n++; /* one descriptor too many: the job fails */
        } else {
            m.index += 1 + sim_rnd(3);
        }
        sim_log("client %u: item %lu of job %lu is not as it should be", c->index, (ul)m.index, (ul)m.job);
    }
    send_item_files(c, s, &m, n);
    if (W.repeats && sim_chance(10)) { /* out of order: the job fails, unless it is over by then */
        s->trouble++;
        s->item_refused = true;
        sim_tally->repeats++;
        send_item_files(c, s, &m, n);
    }
}

/* What was lost on its way is sent before the others. */
static bool wanted_again(struct client *c, const struct want *w, const Pwc__Want *m)
{
    const struct spec *s = spec_of_job(m->job);
    if (m->first >= w->end)
        return false;
    SIM_CHECK(s->item_lost && s->op == OP_BATCH && m->first + m->n <= w->at,
              "job %lu wants item %lu a second time", (ul)m->job, (ul)m->first);
    for (uint64_t i = m->first; i < m->first + m->n; i++)
        send_item(c, m->job, i);
    return true;
}

static void on_want(struct client *c, const Pwc__Want *m)
{
    const struct spec *s = spec_of_job(m->job);
    struct want *w = NULL;
    if (c->lingering)
        return; /* it has said that nothing more comes */
    for (unsigned i = 0; i < c->nwants; i++)
        if (c->wants[i].job == m->job)
            w = &c->wants[i];
    if (w == NULL) {
        w = &c->wants[c->nwants++];
        *w = (struct want){.job = m->job};
    }
    if (wanted_again(c, w, m))
        return;
    SIM_CHECK(m->first == w->end && m->n > 0, "job %lu wants items from %lu on, not from %lu", (ul)m->job,
              (ul)m->first, (ul)w->end);
    w->end = m->first + m->n;
    SIM_CHECK(w->end <= (s->op == OP_BATCH ? s->chunks : 1), "job %lu wants more items than there are",
              (ul)m->job);
    if (c->step.place == 0)
        due_in(&c->step, sim_delay());
}

/* ---- being told ---- */

static void say_it_later(struct client *c, struct spec *s)
{
    if (!W.repeats || c->again.place != 0 || !is_remembered(s) || !sim_chance(REPEATED))
        return;
    c->again_spec = s;
    due_in(&c->again, (int64_t)sim_rnd(sim_chance(500) ? 2 * NS_PER_MS : 2 * NS_PER_S));
}

static void on_accepted(struct client *c, uint64_t tag, const Pwc__Accepted *m)
{
    struct spec *s = &W.specs[tag - 1];
    SIM_CHECK(spec_of_job(m->job) == s, "job %lu is not what was submitted", (ul)m->job);
    SIM_CHECK(m->existing == (s->resubmitted || s->told > 0), "job %lu was %smade before", (ul)m->job,
              m->existing ? "" : "not ");
    s->accepted++;
    s->told++;
    say_it_later(c, s);
    if (s->records) {
        Pwc__ChunkCredit credit = PWC__CHUNK_CREDIT__INIT;
        credit.job = m->job;
        credit.n = sim_chance(500) ? 1000 : (uint32_t)sim_rnd(3); /* the rest comes with the end */
        send_again(c, PWC_MSG_CHUNK_CREDIT, 0, &credit.base);
    }
}

static void on_rejected(struct client *c, uint64_t tag, const Pwc__Rejected *m)
{
    struct spec *s = &W.specs[tag - 1];
    SIM_CHECK(m->code == PWC__CODE__CODE_START || m->code == PWC__CODE__CODE_BUSY, "rejected: %s: %s",
              m->field, m->reason);
    SIM_CHECK(++s->rejected < TRIES_MAX, "never accepted: %s", m->reason);
    c->todo |= 1u << s->index; /* again, a little later */
    due_in(&c->step, 500 * NS_PER_MS);
}

static void on_item_done(const Pwc__ItemDone *m)
{
    struct spec *s = spec_of_job(m->job);
    uint64_t bit = 1ull << (m->index & 63);
    SIM_CHECK(m->index < s->chunks && (s->item_done & bit) == 0, "item %lu of job %lu is done twice",
              (ul)m->index, (ul)m->job);
    s->item_done |= bit;
    if (m->code != PWC__CODE__CODE_OK)
        s->item_bad |= bit;
    SIM_CHECK(m->code != PWC__CODE__CODE_OK || (s->computed & bit) != 0,
              "item %lu of job %lu is done, but nobody did it", (ul)m->index, (ul)m->job);
}

static void on_chunk_done(const Pwc__ChunkDone *m)
{
    struct spec *s = spec_of_job(m->job);
    SIM_CHECK(m->first + m->n <= s->chunks && m->n > 0, "job %lu: record of chunks %lu to %lu", (ul)m->job,
              (ul)m->first, (ul)(m->first + m->n));
    for (uint64_t c = m->first; c < m->first + m->n; c++) {
        uint64_t bit = 1ull << c;
        SIM_CHECK(s->op == OP_SERIAL || (s->recorded & ~s->again & bit) == 0,
                  "job %lu: two records of chunk %lu", (ul)m->job, (ul)c);
        s->recorded |= bit;
        SIM_CHECK(m->code != PWC__CODE__CODE_OK || (s->computed & bit) != 0,
                  "job %lu: chunk %lu is done, but nobody did it", (ul)m->job, (ul)c);
    }
}

/* Everything must have been told, but for what was dropped, begun again, or left undone by a halt, be it one
 * that came with the last chunk. */
static void check_trace(const struct spec *s, const Pwc__Finished *m)
{
    if (!s->trace.over || s->trace.dropped > 0 || s->trace.restarted || m->reason[0] != '\0' ||
        m->state != PWC__JOB_STATE__JOB_DONE || m->counts->failed > 0)
        return;
    uint64_t all = chunk_bits(0, m->counts->total);
    SIM_CHECK(s->trace.kept == all, "job %lu: by its trace chunks %lx of %lx were computed", (ul)m->job,
              (ul)s->trace.kept, (ul)all);
    SIM_CHECK(s->trace.absorbed == all, "job %lu: by its trace chunks %lx of %lx were absorbed", (ul)m->job,
              (ul)s->trace.absorbed, (ul)all);
    sim_tally->traces++;
}

static void on_trace_record(struct spec *s, uint64_t job, const struct trace_wire *r)
{
    bool chunks = r->kind >= TRACE_LEASE && r->kind <= TRACE_ANNOUNCED;
    uint64_t most = MAX(s->chunks, (uint64_t)1);
    SIM_CHECK(r->kind >= TRACE_JOB && r->kind <= TRACE_AGAIN, "job %lu: kind %u in its trace", (ul)job,
              r->kind);
    SIM_CHECK(!chunks || (r->first <= most && r->n <= most - r->first),
              "job %lu: kind %u, chunks %lu, %lu in its trace", (ul)job, r->kind, (ul)r->first, (ul)r->n);
    SIM_CHECK((r->kind != TRACE_CHUNKS && r->kind != TRACE_ENDED && r->kind != TRACE_WAIT) || r->end >= r->at,
              "job %lu: time runs backwards in its trace", (ul)job);
    uint64_t bits = chunks ? chunk_bits(r->first, r->first + r->n) : 0;
    if (r->kind == TRACE_ENDED) {
        SIM_CHECK((s->trace.kept & bits) == 0, "job %lu: chunks %lx count twice in its trace", (ul)job,
                  (ul)bits);
        s->trace.kept |= bits;
    } else if (r->kind == TRACE_ABSORBED) {
        SIM_CHECK((s->trace.absorbed & bits) == 0, "job %lu: absorbed chunks %lx twice", (ul)job, (ul)bits);
        s->trace.absorbed |= bits;
    } else if (r->kind == TRACE_RESTART) {
        s->trace.kept = s->trace.absorbed = 0;
        s->trace.restarted = true;
    } else if (r->kind == TRACE_JOB && r->code >= PWC__JOB_STATE__JOB_DONE) {
        s->trace.over = true;
    }
}

static void on_trace(const Pwc__Trace *m)
{
    struct spec *s = spec_of_job(m->job);
    SIM_CHECK(s->finished == 0, "job %lu: a trace behind its end", (ul)m->job);
    s->trace.dropped = m->dropped;
    for (size_t at = 0; at + sizeof(struct trace_wire) <= m->records.len; at += sizeof(struct trace_wire)) {
        struct trace_wire r;
        memcpy(&r, m->records.data + at, sizeof r);
        on_trace_record(s, m->job, &r);
    }
}

static void on_finished(const Pwc__Finished *m)
{
    struct spec *s = spec_of_job(m->job);
    s->finished++;
    SIM_CHECK(m->state >= PWC__JOB_STATE__JOB_DONE, "job %lu finished in state %d", (ul)m->job,
              (int)m->state);
    SIM_CHECK(s->end_state == 0 || s->end_state == m->state, "job %lu finished twice, differently",
              (ul)m->job);
    s->end_state = m->state;
    check_trace(s, m);
    if (s->op == OP_BATCH && m->state == PWC__JOB_STATE__JOB_DONE && m->reason[0] == '\0')
        SIM_CHECK(s->client_gone || s->item_done == UINT64_MAX >> (64 - s->chunks),
                  "job %lu is done, its items are not", (ul)m->job);
}

/* Somebody looks at what was given up, some time later, and wants it tried again; no batch's files. */
static void retry_later(struct client *c, struct spec *s, uint64_t job)
{
    if (s->op == OP_BATCH || s->asked_again == RETRIES_MAX || c->retry.place != 0 || !sim_chance(500))
        return;
    s->asked_again++;
    c->retry_job = job;
    due_in(&c->retry, (int64_t)sim_rnd(sim_chance(500) ? 2 * NS_PER_MS : 50 * NS_PER_MS));
}

/* Whoever died at an item, or a part of one, is told with its name. */
static void check_input(const struct spec *s, const Pwc__Death *x)
{
    char name[ITEM_NAME] = "";
    if (s->op == OP_BATCH && x->in_chunk)
        item_name(s, x->chunk, name);
    else if (s->op != OP_BATCH && s->op != OP_COUNT && s->op != OP_COUNT_FOLD)
        item_name(s, 0, name);
    SIM_CHECK(strcmp(msg_name_of(&x->input), name) == 0, "job %lu: a death at '%s' is told as one at '%s'",
              (ul)x->job, name, msg_name_of(&x->input));
}

static void on_event(struct client *c, const Pwc__Event *m)
{
    struct spec *s = spec_of_job(m->job);
    SIM_CHECK(m->seq > s->last_seq, "job %lu: event %lu after %lu", (ul)m->job, (ul)m->seq, (ul)s->last_seq);
    s->last_seq = m->seq;
    if (m->death != NULL)
        check_input(s, m->death);
    if (m->kind == PWC__EVENT_KIND__EVENT_QUARANTINE)
        retry_later(c, s, m->job);
}

static void handle(struct client *c, const struct packet *in, const ProtobufCMessage *msg)
{
    switch (in->type) {
    case PWC_MSG_ACCEPTED:
        on_accepted(c, in->tag, (const Pwc__Accepted *)msg);
        break;
    case PWC_MSG_REJECTED:
        on_rejected(c, in->tag, (const Pwc__Rejected *)msg);
        break;
    case PWC_MSG_WANT:
        on_want(c, (const Pwc__Want *)msg);
        break;
    case PWC_MSG_ITEM_DONE:
        on_item_done((const Pwc__ItemDone *)msg);
        break;
    case PWC_MSG_CHUNK_DONE:
        on_chunk_done((const Pwc__ChunkDone *)msg);
        break;
    case PWC_MSG_TRACE:
        on_trace((const Pwc__Trace *)msg);
        break;
    case PWC_MSG_EVENT:
        on_event(c, (const Pwc__Event *)msg);
        break;
    case PWC_MSG_FINISHED:
        on_finished((const Pwc__Finished *)msg);
        break;
    default:
        break;
    }
}

static bool all_finished(const struct client *c)
{
    for (unsigned i = 0; i < W.nspecs; i++)
        if (W.specs[i].client == c && W.specs[i].finished == 0)
            return false;
    return true;
}

/* ---- leaving and coming back ---- */

void client_hello(struct client *c)
{
    static char name[] = "sim";
    struct file *ends[2];
    end_pair(ends);
    c->sock = ends[1];
    c->sock->end->reader = &c->reader;
    sim_log("client %u (uid %u) connects", c->index, (unsigned)c->uid);
    session_accept(&W.d, fd_install(ends[0]), c->uid, (pid_t)c->index + 1);
    Pwc__Hello m = PWC__HELLO__INIT;
    m.version_min = m.version_max = 1;
    m.client = name;
    send_to(c, PWC_MSG_HELLO, 0, &m.base);
}

void client_end(struct client *c)
{
    due_drop(&c->step);
    due_drop(&c->reader);
    due_drop(&c->leave);
    due_drop(&c->cancel);
    due_drop(&c->retry);
    due_drop(&c->again);
    c->gone = true;
    if (c->sock != NULL && c->sock->end != NULL)
        c->sock->end->reader = NULL;
    file_drop(&c->sock);
}

/* Hangs up, or says that it has no more requests, or comes back for what it left. */
static void on_leave(struct due *d)
{
    struct client *c = from(d, offsetof(struct client, leave));
    if (c->gone) { /* back again */
        c->gone = false;
        c->back = true;
        c->nwants = 0;
        client_hello(c);
        due_in(&c->step, sim_delay());
        return;
    }
    for (unsigned i = 0; i < W.nspecs; i++)
        if (W.specs[i].client == c && W.specs[i].finished == 0) {
            W.specs[i].client_gone = true;
            W.specs[i].last_seq = 0;
            W.specs[i].lost = (c->todo >> i & 1) == 0;
            W.specs[i].resubmitted = false;
        }
    sim_log("client %u leaves", c->index);
    if (c->sock != NULL && sim_chance(300)) { /* half-close: it goes on reading */
        struct end *other = c->sock->end->other;
        if (other != NULL) {
            other->eof = true;
            file_wake(other->file, sim_delay());
        }
        c->lingering = true;
        c->todo = 0;
        c->nwants = 0;
        return;
    }
    for (unsigned i = 0; i < W.nspecs; i++)
        if (W.specs[i].client == c)
            W.specs[i].told = 0;
    client_end(c);
    if (sim_chance(500))
        due_in(&c->leave, (int64_t)sim_rnd(2 * NS_PER_S));
}

static void on_cancel(struct due *d)
{
    struct client *c = from(d, offsetof(struct client, cancel));
    struct spec *s = &W.specs[sim_rnd(W.nspecs)];
    if (c->gone || c->lingering || s->client != c || s->id == 0)
        return;
    s->cancelled = true;
    Pwc__Cancel m = PWC__CANCEL__INIT;
    m.job = s->id;
    send_again(c, PWC_MSG_CANCEL, 0, &m.base);
}

static void on_retry(struct due *d)
{
    struct client *c = from(d, offsetof(struct client, retry));
    if (c->gone || c->lingering)
        return;
    Pwc__RetryChunks m = PWC__RETRY_CHUNKS__INIT;
    m.job = c->retry_job;
    send_again(c, PWC_MSG_RETRY_CHUNKS, 1000, &m.base);
}

static void attach(struct client *c, const struct spec *s)
{
    Pwc__Attach m = PWC__ATTACH__INIT;
    m.job = s->id;
    m.since = s->last_seq;
    send_again(c, PWC_MSG_ATTACH, 0, &m.base);
}

static void on_again(struct due *d)
{
    struct client *c = from(d, offsetof(struct client, again));
    struct spec *s = c->again_spec;
    if (c->gone || c->lingering || W.ending || s->told == 0 || s->client_gone)
        return;
    sim_tally->repeats++;
    if (!sim_chance(500) || !twin_begin(c, s))
        client_submit(c, s);
    due_in(&c->step, sim_delay());
}

/* Is its job one that cannot end because this client was gone, so that the same request will find it? */
static bool is_kept(const struct spec *s)
{
    const struct job *j = job_find(&W.d, s->id);
    if (!is_remembered(s) || j == NULL)
        return false;
    return job_is_terminal(j)
               ? j->code != PWC__CODE__CODE_CLIENT_GONE
               : j->session == NULL && j->on_disconnect == PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH &&
                     j->state != PWC__JOB_STATE__JOB_ENDING;
}

/* For what it left, and was not told the end of. */
static void ask_again(struct client *c)
{
    for (unsigned i = 0; i < W.nspecs; i++) {
        struct spec *s = &W.specs[i];
        if (s->client != c || s->id == 0 || s->finished > 0)
            continue;
        s->resubmitted = is_kept(s);
        s->detached = false;
        if (s->resubmitted)
            client_submit(c, s);
        else
            attach(c, s);
    }
}

/* Looks around; the answers come as lists, between whatever else it is told. */
static void look_around(struct client *c)
{
    Pwc__ListJobs jobs = PWC__LIST_JOBS__INIT;
    Pwc__ListStages stages = PWC__LIST_STAGES__INIT;
    Pwc__ListDeaths deaths = PWC__LIST_DEATHS__INIT;
    Pwc__GetStatus status = PWC__GET_STATUS__INIT;
    Pwc__ListOps ops = PWC__LIST_OPS__INIT;
    Pwc__Detach detach = PWC__DETACH__INIT;
    detach.job = 1 + sim_rnd(W.nspecs);
    const ProtobufCMessage *all[] = {&jobs.base,   &stages.base, &deaths.base,
                                     &status.base, &ops.base,    &detach.base};
    static const uint16_t types[] = {PWC_MSG_LIST_JOBS,  PWC_MSG_LIST_STAGES, PWC_MSG_LIST_DEATHS,
                                     PWC_MSG_GET_STATUS, PWC_MSG_LIST_OPS,    PWC_MSG_DETACH};
    uint64_t which = sim_rnd(ARRAY_LEN(types));
    const struct spec *s = spec_of_job(detach.job);
    if (types[which] == PWC_MSG_DETACH && (s == NULL || s->client != c))
        return;
    if (types[which] == PWC_MSG_DETACH)
        W.specs[s->index].client_gone = W.specs[s->index].detached = true;
    send_again(c, types[which], 1000, all[which]);
}

/* ---- one thing at a time ---- */

static void on_step(struct due *d)
{
    struct client *c = from(d, offsetof(struct client, step));
    if (c->gone || c->lingering)
        return;
    if (c->sock == NULL) {
        client_hello(c);
    } else if (c->back) {
        c->back = false;
        ask_again(c);
    } else if (W.nosy && sim_chance(100)) {
        look_around(c);
    } else if (c->todo != 0 && W.swarm) {
        for (; c->todo != 0; c->todo &= c->todo - 1) /* all at once */
            client_submit(c, &W.specs[__builtin_ctz(c->todo)]);
    } else if (c->todo != 0) {
        unsigned i = (unsigned)__builtin_ctz(c->todo);
        c->todo &= ~(1u << i);
        client_submit(c, &W.specs[i]);
    } else {
        for (unsigned i = 0; i < c->nwants; i++)
            if (c->wants[i].at < c->wants[i].end) {
                send_item(c, c->wants[i].job, c->wants[i].at++);
                due_in(&c->step, sim_delay());
                return;
            }
        return;
    }
    due_in(&c->step, sim_delay());
}

static void on_reader(struct due *d)
{
    struct client *c = from(d, offsetof(struct client, reader));
    if (c->gone)
        return;
    struct end *e = c->sock->end;
    if (e->stalled) { /* it has slept long enough */
        e->stalled = false;
        if (e->other != NULL)
            file_wake(e->other->file, sim_delay());
    } else if (sim_fault(W.p_slow / 2)) {
        sim_log("client %u stops reading", c->index);
        e->stalled = true;
        due_in(&c->reader, (int64_t)sim_rnd(20 * NS_PER_S));
        return;
    }
    struct packet *in = end_take(e);
    if (in == NULL) {
        if (e->eof)
            client_end(c);
        return;
    }
    sim_log("client %u is told %s", c->index, msg_name(in->type));
    ProtobufCMessage *msg = packet_message(in);
    handle(c, in, msg);
    msg_free(msg);
    packet_free(in);
    if (all_finished(c) && !c->lingering)
        client_end(c);
    else if (e->head != NULL || e->eof)
        due_in(&c->reader, sim_delay());
}

void client_begin(struct client *c)
{
    c->step.fire = on_step;
    c->reader.fire = on_reader;
    c->leave.fire = on_leave;
    c->cancel.fire = on_cancel;
    c->retry.fire = on_retry;
    c->again.fire = on_again;
    due_in(&c->step, (int64_t)sim_rnd(sim_chance(500) ? 100 * NS_PER_MS : 2 * NS_PER_S));
    if (sim_chance(150))
        due_in(&c->leave, (int64_t)sim_rnd(sim_chance(700) ? 200 * NS_PER_MS : 5 * NS_PER_S));
    if (sim_chance(150))
        due_in(&c->cancel, (int64_t)sim_rnd(sim_chance(700) ? 200 * NS_PER_MS : 5 * NS_PER_S));
}
