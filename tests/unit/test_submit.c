/*
 * test_submit.c - whole Submits: op, roles, items, format, options, counts, the other fields, what is
 * reserved, and broken ones by the hundred thousand.
 */
#include <string.h>

#include "ipc/messages.h"
#include "tests/unit/small_catalogue.h"

struct request {
    Pwc__Submit m;
    Pwc__RoleDecl role[PWC_ROLES_MAX + 1], *roles[PWC_ROLES_MAX + 1];
    Pwc__Param param[4], *params[4], *save[1], *load[2];
    Pwc__Value value[4];
    Pwc__Policy policy;
};

static void add_role(struct request *q, const char *name)
{
    Pwc__RoleDecl *r = &q->role[q->m.n_roles];
    pwc__role_decl__init(r);
    r->name = T(name);
    r->count = 1;
    q->roles[q->m.n_roles++] = r;
}

static Pwc__Param *param(struct request *q, size_t i, const char *name, const char *text)
{
    pwc__param__init(&q->param[i]);
    q->value[i] = str(text);
    q->param[i].name = T(name);
    q->param[i].value = &q->value[i];
    return &q->param[i];
}

/* A blur as it should be: sigma=8, in, out, jpeg. */
static void request_blur(struct request *q)
{
    *q = (struct request){.m = PWC__SUBMIT__INIT, .policy = PWC__POLICY__INIT};
    q->m.op = T("image.gaussblur");
    q->m.format = T("jpeg");
    q->m.items = 1;
    q->m.roles = q->roles;
    add_role(q, "in");
    add_role(q, "out");
    q->params[0] = param(q, 0, "sigma", "8");
    q->m.params = q->params;
    q->m.n_params = 1;
    q->m.save = q->save;
    q->m.load = q->load;
    q->m.policy = &q->policy;
    q->policy.set = true;
}

static void request_noop(struct request *q, const char *n)
{
    *q = (struct request){.m = PWC__SUBMIT__INIT};
    q->m.op = T("noop");
    q->params[0] = param(q, 0, "n", n);
    q->m.params = q->params;
    q->m.n_params = 1;
    q->m.roles = q->roles;
}

static void ok(const struct request *q, struct submission *ret)
{
    struct refusal why = {0};
    int r = submit_check(cat, &q->m, ret, &why);
    ck_assert_msg(r == 0, "%s", why.reason);
}

static void fine(const struct request *q)
{
    struct submission s;
    ok(q, &s);
    submission_free(&s);
}

static void wrong(const struct request *q, Pwc__Code code, const char *field, const char *reason)
{
    struct submission s;
    struct refusal why = {0};
    ck_assert_msg(submit_check(cat, &q->m, &s, &why) < 0, "accepted, instead of: %s", reason);
    ck_assert_str_eq(why.reason, reason);
    ck_assert_str_eq(why.field, field);
    ck_assert_int_eq(why.code, code);
}

START_TEST(a_good_one)
{
    struct request q;
    struct submission s;
    request_blur(&q);
    q.save[0] = param(&q, 1, "Q", "90");
    q.m.n_save = 1;
    q.load[0] = param(&q, 2, "page", "2");
    q.m.n_load = 1;
    ok(&q, &s);
    ck_assert_str_eq(s.op->info->name, "image.gaussblur");
    ck_assert_uint_eq(s.chunks, 0);
    ck_assert(!s.batch);
    ck_assert(params_get(s.params, "sigma")->f64 > 7.9);
    ck_assert_int_eq(params_get(s.save, "Q")->i64, 90);
    ck_assert_int_eq(params_get(s.load, "page")->i64, 2);
    ck_assert_uint_eq(s.params->n, 1);
    submission_free(&s);
    add_role(&q, "mask");
    fine(&q);
}
END_TEST

START_TEST(which_op)
{
    struct request q;
    request_blur(&q);
    q.m.op = T("image.gausblur");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op",
          "op: there is no \"image.gausblur\"; did you mean image.gaussblur?");
    q.m.op = T("qqqqqqq");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"qqqqqqq\"; pwcctl ops lists them");
    q.m.op = T("save.png");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: \"save.png\" only describes options; it cannot be run");
    q.m.op = T("");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_OP, "op", "op: there is no \"\"; pwcctl ops lists them");
}
END_TEST

START_TEST(roles)
{
    struct request q;
    request_blur(&q);
    q.roles[0]->name = T("input");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.input",
          "image.gaussblur has no role input; its roles: in, out, mask");
    request_blur(&q);
    q.m.n_roles = 0;
    q.m.items = 0;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.in", "image.gaussblur needs an input: role in");
    request_blur(&q);
    q.m.n_roles = 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.out", "image.gaussblur needs an output: role out");
    request_blur(&q);
    add_role(&q, "in");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.in", "role in is given twice");
    request_blur(&q);
    q.role[0].count = 2;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "roles.in", "role in: 2 descriptors; it takes one");
    request_blur(&q);
    q.m.n_roles = PWC_ROLES_MAX + 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles", "roles: 9 are given; at most 8 are taken");
    request_noop(&q, "5");
    add_role(&q, "in");
    q.m.items = 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_ROLE, "roles.in", "noop has no role in; its roles: none");
}
END_TEST

START_TEST(items_and_batches)
{
    struct request q;
    struct submission s;
    request_blur(&q);
    q.m.items = 0;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: 0, but there are roles; 1 is a single job");
    q.m.items = 20000;
    ok(&q, &s);
    ck_assert(s.batch);
    ck_assert_uint_eq(s.chunks, 20000);
    submission_free(&s);
    q.m.items = 1;
    q.m.batch = true;
    ok(&q, &s);
    ck_assert(s.batch);
    ck_assert_uint_eq(s.chunks, 1);
    submission_free(&s);
    q.m.items = PWC_ITEMS_MAX + 1;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: 10000001 are out of range, 0 to 10000000");
    request_noop(&q, "5");
    q.m.items = 2;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items", "items: 2, but no roles say what they are");
    q.m.items = 0;
    q.m.batch = true;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "batch", "batch: there are no items");
    q = (struct request){.m = PWC__SUBMIT__INIT};
    q.m.op = T("array.sum");
    q.m.roles = q.roles;
    add_role(&q, "in");
    q.m.items = 1;
    fine(&q);
    q.m.items = 3;
    wrong(&q, PWC__CODE__CODE_BAD_DESCRIPTOR, "items",
          "items: array.sum takes one input at a time, not a batch of 3");
}
END_TEST

START_TEST(formats)
{
    struct request q;
    request_blur(&q);
    q.m.format = T("");
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "format",
          "format: is missing; the output's descriptor does not say it");
    q.m.format = T("bmp");
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "format",
          "format: \"bmp\" cannot be written; it must be one of jpeg, png");
    request_noop(&q, "5");
    q.m.format = T("png");
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "format", "format: noop writes nothing that has a format");
    request_noop(&q, "5");
    q.save[0] = param(&q, 1, "Q", "90");
    q.m.save = q.save;
    q.m.n_save = 1;
    wrong(&q, PWC__CODE__CODE_BAD_FORMAT, "save", "save: there are options, but no format they belong to");
}
END_TEST

START_TEST(options)
{
    struct request q;
    request_blur(&q);
    q.save[0] = param(&q, 1, "Q", "101");
    q.m.n_save = 1;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "save.Q", "save.Q: 101 is out of range, 1 to 100");
    q.m.format = T("png");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "save.Q", "save.Q: save.png takes no options");
    request_blur(&q);
    q.load[0] = param(&q, 1, "page", "-1");
    q.load[1] = param(&q, 2, "n", "1");
    q.m.n_load = 2;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "load.page", "load.page: -1 is out of range, 0 to 100000");
    q.load[0] = param(&q, 1, "shrink", "2");
    q.m.n_load = 1;
    fine(&q);
    q.m.n_load = 2; /* one of JPEG's, one of TIFF's: no file is both */
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "load",
          "load.shrink: no loader of image.gaussblur has these options");
    q.load[1] = param(&q, 2, "pages", "1"); /* the one that is wrong, wherever it stands */
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "load.pages",
          "load.pages: no loader has such an option; did you mean page?");
    q.load[1] = param(&q, 2, "colour\n", "1");
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "load.colour?", "load.colour?: no loader has such an option");
    request_noop(&q, "5");
    q.load[0] = param(&q, 1, "page", "1");
    q.m.load = q.load;
    q.m.n_load = 1;
    wrong(&q, PWC__CODE__CODE_NO_SUCH_PARAM, "load", "load.page: no loader of noop has these options");
}
END_TEST

START_TEST(chunk_counts)
{
    struct request q;
    struct submission s;
    request_noop(&q, "1000000000");
    ok(&q, &s);
    ck_assert_uint_eq(s.chunks, 1000000000);
    submission_free(&s);
    q.m.n_params = 0;
    ok(&q, &s);
    ck_assert_uint_eq(s.chunks, 1); /* the default */
    submission_free(&s);
    request_noop(&q, "0");
    ok(&q, &s);
    ck_assert_uint_eq(s.chunks, 0);
    submission_free(&s);
    request_noop(&q, "4611686018427387904");
    fine(&q);
    request_noop(&q, "4611686018427387905");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "params.n",
          "n: 4611686018427387905 is out of range, 0 to 4611686018427387904");
    request_noop(&q, "-5");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "params.n", "n: -5 is negative; it must be 0 or more");
}
END_TEST

START_TEST(other_fields)
{
    struct request q;
    static uint8_t key[33];
    request_blur(&q);
    q.m.op_version = T("8.14.1");
    fine(&q);
    q.m.op_version = T("9");
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "op_version", "op_version: image.gaussblur is 8.14.1 here, not 9");
    request_blur(&q);
    q.m.priority = 19;
    fine(&q);
    q.m.priority = 20;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "priority", "priority: out of range; it must be -20 (first) to 19");
    request_blur(&q);
    q.m.request_key = (ProtobufCBinaryData){32, key};
    fine(&q);
    q.m.request_key.len = 33;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "request_key",
          "request_key: out of range; it must be at most 32 bytes");
    request_blur(&q);
    q.m.domain = T("tenant-7");
    fine(&q);
    q.m.domain = T("a b");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "domain", "domain: holds a blank or a byte that is not ASCII");
    char longest[PWC_LABEL_MAX + 1];
    memset(longest, 'x', sizeof longest);
    longest[PWC_LABEL_MAX] = '\0';
    q.m.domain = longest;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "domain", "domain: has 64 bytes; at most 63 are taken");
    request_blur(&q);
    q.m.isolation = 3;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "isolation",
          "isolation: out of range; it must be 0 (user), 1 (job) or 2 (chunk)");
    request_blur(&q);
    q.m.on_disconnect = 3;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "on_disconnect",
          "on_disconnect: out of range; it must be 0 (cancel), 1 (linger) or 2 (detach)");
}
END_TEST

START_TEST(what_is_reserved)
{
    struct request q;
    uint64_t after = 5;
    Pwc__Label label = PWC__LABEL__INIT, *labels[] = {&label};
    request_blur(&q);
    q.m.after = &after;
    q.m.n_after = 1;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "after",
          "after: not supported by this version; submit when the other job has ended");
    request_blur(&q);
    q.m.labels = labels;
    q.m.n_labels = 1;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "labels", "labels: not supported by this version; leave them out");
    request_blur(&q);
    q.policy.halt = T("at once");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.halt",
          "halt 'at once': must be never or (now|soon),(fail|success|done)=(N|N%), as in soon,fail=3");
    q.policy.halt = T("now,\n\377");
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.halt",
          "halt 'now,?\?': must be never or (now|soon),(fail|success|done)=(N|N%), as in soon,fail=3");
    q.policy.set = false;
    fine(&q);
    request_blur(&q);
    q.policy.retries_crash = 101;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.retries_crash",
          "policy.retries_crash: out of range; it must be at most 100, or negative for the default");
    q.policy.retries_crash = -1;
    q.policy.retries_timeout = INT32_MAX;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.retries_timeout",
          "policy.retries_timeout: out of range; it must be at most 100, or negative for the default");
    q.policy.retries_timeout = 0;
    q.policy.job_timeout_ns = 1ull << 63;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.job_timeout_ns",
          "policy.job_timeout_ns: out of range; it must be below 2^63 ns");
    q.policy.job_timeout_ns = 0;
    q.policy.chunk_timeout_ns = UINT64_MAX;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.chunk_timeout_ns",
          "policy.chunk_timeout_ns: out of range; it must be below 2^63 ns");
    q.policy.chunk_timeout_ns = 0;
    q.policy.max_failures = UINT64_MAX;
    fine(&q);
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_SKIP;
    fine(&q);
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_FILL;
    wrong(&q, PWC__CODE__CODE_BAD_PARAM, "policy.fill",
          "policy.fill: out of range; it must be a byte, 0 to 255, and goes with on_failure fill");
}
END_TEST

START_TEST(only_an_output_is_filled)
{
    struct request q;
    Pwc__Value byte = PWC__VALUE__INIT;
    byte.kind_case = PWC__VALUE__KIND_U64;
    request_blur(&q);
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_FILL;
    q.policy.fill = &byte;
    fine(&q);
    q.m.batch = true;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "policy.on_failure",
          "on failure: a file of a batch is not filled but left out; that is skip");
    request_noop(&q, "4");
    q.policy = (Pwc__Policy)PWC__POLICY__INIT;
    q.m.policy = &q.policy;
    q.policy.set = true;
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_FILL;
    q.policy.fill = &byte;
    wrong(&q, PWC__CODE__CODE_UNSUPPORTED, "policy.on_failure",
          "on failure: noop has no output that could be filled; it can fail or skip");
    q.policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_SKIP;
    q.policy.fill = NULL;
    fine(&q);
}
END_TEST

/* Submits packed, broken and unpacked again: whatever parses gets an answer, and no reason is more than one
 * line. */
START_TEST(garbage)
{
    struct request q;
    uint8_t bytes[1024], broken[1024];
    unsigned seed = 11, parsed = 0;
    request_blur(&q);
    q.save[0] = param(&q, 1, "Q", "90");
    q.m.n_save = 1;
    q.load[0] = param(&q, 2, "page", "2");
    q.m.n_load = 1;
    size_t n = pwc__submit__pack(&q.m, bytes);
    for (int round = 0; round < 100000; round++) {
        memcpy(broken, bytes, n);
        for (int i = 0; i < 1 + round % 3; i++) {
            seed = seed * 1103515245u + 12345u;
            broken[(seed >> 8) % n] = (uint8_t)(seed >> 24);
        }
        Pwc__Submit *m = pwc__submit__unpack(NULL, n, broken);
        struct submission s;
        struct refusal why = {0};
        if (m == NULL)
            continue;
        parsed++;
        if (submit_check(cat, m, &s, &why) == 0) {
            submission_free(&s);
        } else {
            ck_assert_int_ne(why.code, PWC__CODE__CODE_OK);
            ck_assert_int_gt((int)strlen(why.reason), 0);
            for (const char *p = why.reason; *p != '\0'; p++)
                ck_assert(*p >= 0x20 && *p < 0x7f);
        }
        pwc__submit__free_unpacked(m, NULL);
    }
    ck_assert_uint_gt(parsed, 1000);
}
END_TEST

/* ---- what passes can be told to a stage ---- */

static Pwc__Param *filled(Pwc__Param *p, Pwc__Value *v, char *text, size_t packed)
{
    pwc__param__init(p);
    pwc__value__init(v);
    v->kind_case = PWC__VALUE__KIND_STR;
    v->str = text;
    p->name = T("x");
    p->value = v;
    memset(text, 'x', packed);
    for (size_t len = packed; pwc__param__get_packed_size(p) + 4 > packed;)
        text[--len] = '\0';
    return p;
}

/* Everything as large as the checks let it be. */
START_TEST(the_largest_job_fits_its_message)
{
    static char long_name[PWC_NAME_MAX], texts[3][PARAMS_PACKED_MAX + 1];
    memset(long_name, 'x', sizeof long_name - 1);
    Pwc__Param param[3], *list[3];
    Pwc__Value value[3];
    for (int i = 0; i < 3; i++)
        list[i] = filled(&param[i], &value[i], texts[i], i == 0 ? PARAMS_PACKED_MAX : OPTIONS_PACKED_MAX);
    char *names[PWC_ROLES_MAX];
    for (size_t i = 0; i < PWC_ROLES_MAX; i++)
        names[i] = long_name;
    Stage__Budget budget = {PROTOBUF_C_MESSAGE_INIT(&stage__budget__descriptor), UINT64_MAX, UINT64_MAX,
                            UINT32_MAX};
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    m.op = m.format = long_name;
    m.job = m.chunks = m.result_bytes = UINT64_MAX;
    m.budget = &budget;
    m.has_plan = m.has_raster = m.batch = true;
    m.role = STAGE__ROLE__ROLE_CONSUMER;
    m.absorb = PWC__ABSORB__ABSORB_PLACED;
    m.fill = UINT32_MAX;
    m.n_roles = PWC_ROLES_MAX, m.roles = names;
    m.n_params = m.n_save = m.n_load = 1;
    m.params = &list[0], m.save = &list[1], m.load = &list[2];
    ck_assert_uint_le(stage__job_open__get_packed_size(&m), msg_find(PWC_MSG_JOB_OPEN)->body_max);
}
END_TEST

/* A small job is opened with its lease (daemon/small.c): all that it can have goes along. */
START_TEST(the_largest_small_job_fits_its_lease)
{
    static char long_name[PWC_NAME_MAX], text[PARAMS_PACKED_MAX + 1];
    memset(long_name, 'x', sizeof long_name - 1);
    Pwc__Param param, *list = filled(&param, &(Pwc__Value){0}, text, PARAMS_PACKED_MAX);
    Stage__Small m = STAGE__SMALL__INIT;
    m.lease = m.job = UINT64_MAX;
    m.attempt = UINT32_MAX;
    m.op = long_name;
    m.n_params = 1, m.params = &list;
    ck_assert_uint_le(stage__small__get_packed_size(&m), msg_find(PWC_MSG_SMALL)->body_max);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("submit");
    TCase *t = tcase_create("submit");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_good_one);
    tcase_add_test(t, which_op);
    tcase_add_test(t, roles);
    tcase_add_test(t, items_and_batches);
    tcase_add_test(t, formats);
    tcase_add_test(t, options);
    tcase_add_test(t, chunk_counts);
    tcase_add_test(t, other_fields);
    tcase_add_test(t, what_is_reserved);
    tcase_add_test(t, only_an_output_is_filled);
    tcase_add_test(t, garbage);
    tcase_add_test(t, the_largest_job_fits_its_message);
    tcase_add_test(t, the_largest_small_job_fits_its_lease);
    suite_add_tcase(s, t);
    return run_suite(s);
}
