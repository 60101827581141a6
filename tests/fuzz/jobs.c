/* jobs.c - see jobs.h. */
#include "tests/fuzz/inproc.h"
#include "tests/fuzz/jobs.h"

#define T(s) ((char *)(uintptr_t)(s))

static void say(unsigned who, uint16_t type, const void *msg, unsigned nfds)
{
    static uint8_t bytes[PWC_FRAME_MAX];
    size_t body = protobuf_c_message_get_packed_size(msg);
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + body), type, (uint16_t)nfds, 7,
                                 (uint32_t)body};
    frame_put(bytes, &h);
    protobuf_c_message_pack(msg, bytes + PWC_HEADER_BYTES);
    caller_send(who, bytes, PWC_HEADER_BYTES + body, nfds);
}

void say_hello(unsigned who)
{
    Pwc__Hello m = PWC__HELLO__INIT;
    m.version_min = m.version_max = 1;
    say(who, PWC_MSG_HELLO, &m, 0);
}

static const struct {
    const char *op, *format;
    uint64_t n, items;
    bool batch;
} kinds[] = {
    {"noop", NULL, 20, 0, false},          {"count", NULL, 20, 0, false},
    {"array.sum", NULL, 0, 1, false},      {"image.blur", "png", 0, 1, false},
    {"image.blur", "png", 0, 40, true},    {"noop", NULL, 1, 0, false},
    {"count", NULL, 1ull << 40, 0, false}, {"image.blur", "raw", 0, 1, true},
};

void say_submit(unsigned who, unsigned kind)
{
    Pwc__Submit m = PWC__SUBMIT__INIT;
    Pwc__Param n = PWC__PARAM__INIT, *params[] = {&n};
    Pwc__Value v = PWC__VALUE__INIT;
    Pwc__RoleDecl in = PWC__ROLE_DECL__INIT, out = PWC__ROLE_DECL__INIT, *roles[] = {&in, &out};
    Pwc__Policy policy = PWC__POLICY__INIT;
    unsigned k = kind % ARRAY_LEN(kinds);
    n.name = T("n");
    n.value = &v;
    v.kind_case = PWC__VALUE__KIND_U64;
    v.u64 = kinds[k].n;
    in.name = T("in");
    out.name = T("out");
    in.count = out.count = 1;
    m.op = T(kinds[k].op);
    m.format = T(kinds[k].format != NULL ? kinds[k].format : "");
    m.params = params;
    m.n_params = kinds[k].n > 0;
    m.roles = roles;
    m.n_roles = kinds[k].items == 0 ? 0 : kinds[k].format != NULL ? 2 : 1;
    m.items = kinds[k].items;
    m.batch = kinds[k].batch;
    m.records = (kind & 8) != 0;
    m.trace = (kind & 24) == 24 ? 100 : 0;
    m.domain = T((kind & 16) != 0 ? "other" : "");
    m.isolation = (kind & 32) != 0 ? PWC__ISOLATION__ISOLATION_CHUNK : PWC__ISOLATION__ISOLATION_USER;
    policy.set = (kind & 64) != 0;
    policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_SKIP;
    policy.max_failures = 3;
    policy.retries_error = policy.retries_crash = 1;
    m.policy = &policy;
    m.on_disconnect = (kind & 128) != 0 ? PWC__ON_DISCONNECT__ON_DISCONNECT_DETACH
                                        : PWC__ON_DISCONNECT__ON_DISCONNECT_CANCEL;
    say(who, PWC_MSG_SUBMIT, &m, 0);
}

void say_item(unsigned who, uint64_t job, uint64_t index, unsigned nfds)
{
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = job;
    m.index = index;
    m.name = msg_bytes("item");
    say(who, PWC_MSG_ITEM, &m, nfds);
}
