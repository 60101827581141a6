/* fake_lists.c - what the fake daemon says of itself: status, jobs, stages, deaths and ops, all invented. */
#include <string.h>

#include "tests/unit/fake_conn.h"

void fake_status(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    Pwc__Status s = PWC__STATUS__INIT;
    msg_free(msg);
    s.server = TEXT("pwcd fake");
    s.pid = 123;
    s.workers = 2;
    s.workers_from = TEXT("affinity");
    s.health = TEXT("ok");
    s.layers = TEXT("no_new_privs seccomp");
    fake_send_msg(c, PWC_MSG_STATUS, f->tag, &s.base);
}

void fake_list_jobs(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    uint64_t only = ((const Pwc__ListJobs *)(const void *)msg)->job;
    msg_free(msg);
    if (only == 0 || only == 901) {
        Pwc__JobInfo j = PWC__JOB_INFO__INIT;
        Pwc__Counts n = PWC__COUNTS__INIT;
        j.job = 901;
        j.op = TEXT("array.sum");
        j.state = PWC__JOB_STATE__JOB_DONE;
        n.total = n.done = 10;
        j.counts = &n;
        j.input = msg_bytes(ODD_NAME);
        fake_send_msg(c, PWC_MSG_JOB_INFO, f->tag, &j.base);
    }
    fake_send_end(c, f->tag, 1);
}

void fake_list_stages(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    msg_free(msg);
    for (uint32_t i = 0; i < 3; i++) {
        Pwc__StageInfo s = PWC__STAGE_INFO__INIT;
        s.stage = i + 1;
        s.pid = 1000 + i;
        s.role = TEXT(i == 2 ? "spare" : "worker");
        s.state = TEXT("idle");
        fake_send_msg(c, PWC_MSG_STAGE_INFO, f->tag, &s.base);
    }
    fake_send_end(c, f->tag, 3);
}

void fake_list_deaths(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    msg_free(msg);
    Pwc__Death d = PWC__DEATH__INIT;
    d.job = 901;
    d.chunk = 17;
    d.in_chunk = true;
    d.covers = TEXT("rows 2176 to 2303");
    d.input = msg_bytes(ODD_NAME);
    d.role = TEXT("worker");
    d.signal = 11;
    d.code = PWC__CODE__CODE_CRASH;
    d.attempt = 1;
    d.attempts_max = 3;
    fake_send_msg(c, PWC_MSG_DEATH, f->tag, &d.base);
    fake_send_end(c, f->tag, 1);
}

/* A chunk of that job, and one of a batch, whose covers is its name. */
void fake_list_quarantine(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    msg_free(msg);
    for (uint64_t i = 0; i < 2; i++) {
        Pwc__Quarantined q = PWC__QUARANTINED__INIT;
        q.job = 901 + i;
        q.chunk = 17;
        q.op = TEXT("array.sum");
        q.covers = TEXT(i == 0 ? "rows 2176 to 2303" : ODD_NAME);
        q.input = msg_bytes(ODD_NAME);
        q.reason = TEXT("chunk 17 killed by SIGSEGV");
        fake_send_msg(c, PWC_MSG_QUARANTINED, f->tag, &q.base);
    }
    fake_send_end(c, f->tag, 2);
}

static void send_op(struct conn *c, uint64_t tag, const char *name, bool in, bool out)
{
    Pwc__OpInfo op = PWC__OP_INFO__INIT;
    Pwc__ParamInfo sigma = PWC__PARAM_INFO__INIT, *params[1] = {&sigma};
    Pwc__RoleInfo rin = PWC__ROLE_INFO__INIT, rout = PWC__ROLE_INFO__INIT, mask = PWC__ROLE_INFO__INIT,
                  *roles[3];
    op.name = TEXT(name);
    op.version = TEXT("1");
    op.summary = TEXT("a pretended op");
    sigma.name = TEXT("sigma");
    sigma.type = PWC__PARAM_TYPE__PARAM_FLOAT;
    sigma.summary = TEXT("how much");
    sigma.required = true;
    sigma.min = 0.01;
    sigma.max = 1000;
    sigma.unit = TEXT("pixels");
    op.params = params;
    op.n_params = 1;
    op.roles = roles;
    rin.name = TEXT("in");
    rout.name = TEXT("out");
    rout.dir = PWC__ROLE_DIR__ROLE_OUT;
    mask.name = TEXT("mask");
    mask.optional = true;
    if (in)
        roles[op.n_roles++] = &rin;
    if (out)
        roles[op.n_roles++] = &rout;
    if (in)
        roles[op.n_roles++] = &mask;
    op.formats = out;
    op.whole = in && out;
    fake_send_msg(c, PWC_MSG_OP_INFO, tag, &op.base);
}

static const struct {
    const char *name;
    bool in, out;
} ops[] = {
    {"batch", true, true},    {"busy", false, false},     {"crash", false, false},
    {"deaf", false, false},   {"stall", true, true},      {"echo", true, true},
    {"fail", false, false},   {"garbage", false, false},  {"hang", true, true},
    {"lose", false, false},   {"partial", false, false},  {"records", false, false},
    {"refuse", false, false}, {"shutdown", false, false}, {"size", true, false},
    {"slow", false, false},   {"tiny", false, false},     {"overtaken", true, true},
};

void fake_list_ops(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    const char *name = ((const Pwc__ListOps *)(const void *)msg)->name;
    uint64_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (name[0] == '\0' || strcmp(name, ops[i].name) == 0) {
            send_op(c, f->tag, ops[i].name, ops[i].in, ops[i].out);
            n++;
        }
    if (n == 0)
        fake_send_error(c, f->tag, PWC__CODE__CODE_NO_SUCH_OP, "there is no such op: did you mean 'echo'?");
    else
        fake_send_end(c, f->tag, n);
    msg_free(msg);
}
