/* test_messages.c - the list of messages against its rules, texts in them, and unpacking within its memory.
 */
#include <malloc.h>
#include <string.h>

#include "ipc/frame.h"
#include "ipc/messages.h"
#include "ipc/utf8.h"
#include "tests/unit/runner.h"

static bool is_internal(const struct msg_desc *d)
{
    return d->type >= 256 && d->type < 300;
}

START_TEST(types_ascend)
{
    for (size_t i = 1; i < msg_table_len; i++)
        ck_assert_msg(msg_table[i - 1].type < msg_table[i].type, "%s comes after %s", msg_table[i].name,
                      msg_table[i - 1].name);
}
END_TEST

START_TEST(every_type_is_found)
{
    for (size_t i = 0; i < msg_table_len; i++) {
        ck_assert_ptr_eq(msg_find(msg_table[i].type), &msg_table[i]);
        ck_assert_str_eq(msg_name(msg_table[i].type), msg_table[i].name);
    }
    size_t found = 0;
    for (uint32_t type = 0; type <= UINT16_MAX; type++)
        found += msg_find((uint16_t)type) != NULL;
    ck_assert_uint_eq(found, msg_table_len);
    ck_assert_ptr_null(msg_find(0));
    ck_assert_ptr_null(msg_find(UINT16_MAX));
    ck_assert_str_eq(msg_name(0), "unknown");
}
END_TEST

START_TEST(names_are_unique_within_a_protocol)
{
    for (size_t i = 0; i < msg_table_len; i++)
        for (size_t j = i + 1; j < msg_table_len; j++)
            if (is_internal(&msg_table[i]) == is_internal(&msg_table[j]))
                ck_assert_str_ne(msg_table[i].name, msg_table[j].name);
}
END_TEST

/* "job_open" is stage.JobOpen. */
static void same_name(const char *name, const char *proto)
{
    for (bool upper = true; *name != '\0'; name++) {
        if (*name == '_') {
            upper = true;
            continue;
        }
        ck_assert_int_eq(*proto++, upper ? *name - 'a' + 'A' : *name);
        upper = false;
    }
    ck_assert_int_eq(*proto, '\0');
}

START_TEST(rows_agree_with_the_protocol_files)
{
    for (size_t i = 0; i < msg_table_len; i++) {
        const struct msg_desc *d = &msg_table[i];
        const bool internal = is_internal(d);
        same_name(d->name, d->proto->short_name);
        ck_assert_str_eq(d->proto->package_name, internal ? "stage" : "pwc");
        ck_assert_int_eq((d->sender & (MSG_FROM_CLIENT | MSG_FROM_DAEMON)) == 0, internal);
        ck_assert_uint_le(d->body_max, PWC_BODY_MAX);
        ck_assert_uint_le(d->tail_max, PWC_TAIL_MAX);
        ck_assert_uint_le(d->fds_max, PWC_FDS_MAX);
    }
}
END_TEST

/* protobuf-c has no recursion limit: no message may contain itself. */
static void no_cycle(const ProtobufCMessageDescriptor *d, unsigned depth)
{
    ck_assert_msg(depth < 8, "%s contains itself", d->name);
    for (unsigned i = 0; i < d->n_fields; i++)
        if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            no_cycle(d->fields[i].descriptor, depth + 1);
}

START_TEST(no_message_contains_itself)
{
    for (size_t i = 0; i < msg_table_len; i++)
        no_cycle(msg_table[i].proto, 0);
}
END_TEST

/* ---- texts ---- */

static size_t encode(uint32_t c, uint8_t to[4])
{
    if (c < 0x80) {
        to[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        to[i] = (uint8_t)(0x80 | (c & 0x3f));
    to[0] = (uint8_t)((0xf00u >> n) | c);
    return n;
}

/* Every character is one, whole; and of all there could be there are no more. */
START_TEST(characters)
{
    size_t taken = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t bytes[5] = {0};
        size_t n = encode(c, bytes);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        ck_assert_msg(utf8_len(bytes, sizeof bytes) == (surrogate ? 0 : n), "U+%04x", c);
        ck_assert_msg(utf8_len(bytes, n - 1) == 0, "U+%04x without its end", c);
    }
    for (uint32_t b = 0; b < 1u << 24; b++) {
        const uint8_t bytes[] = {(uint8_t)(b >> 16), (uint8_t)(b >> 8), (uint8_t)b, 0x80};
        size_t n = utf8_len(bytes, sizeof bytes);
        taken +=
            n == 3 || (n == 4 && bytes[2] == 0x80) || (n == 2 && b << 24 == 0) || (n == 1 && b << 16 == 0);
    }
    ck_assert_uint_eq(taken, 0x80 + 0x780 + (0xf800 - 0x800) + 0x100000 / 64 / 64);
}
END_TEST

/* Numbers of all sizes, fixed ones, nested and repeated messages, long texts: what is right stays as it is.
 */
START_TEST(right_texts_stay)
{
    char text[300];
    Pwc__ParamInfo info = PWC__PARAM_INFO__INIT, *infos[] = {&info, &info, &info};
    Pwc__OpInfo op = PWC__OP_INFO__INIT;
    uint8_t body[8192], said[8192];
    char *suffixes[] = {text, text};
    for (size_t n = 0; n + 2 < sizeof text; n++) {
        memset(text, 'x', sizeof text);
        memcpy(text + n, "\xc3\xa9", 3);
        op.name = op.summary = info.name = info.summary = info.def = text;
        info.min = -1e300;
        info.max = (double)n;
        op.params = infos;
        op.n_params = ARRAY_LEN(infos);
        op.split = PWC__SPLIT__SPLIT_PLANNED;
        op.suffixes = suffixes;
        op.n_suffixes = ARRAY_LEN(suffixes);
        size_t len = protobuf_c_message_pack(&op.base, body);
        ck_assert_uint_eq(msg_pack(msg_find(PWC_MSG_OP_INFO), &op.base, said, len), len);
        ck_assert_mem_eq(said, body, len);
    }
}
END_TEST

/* In what the daemon says, at any depth; in what is said to it, and in bytes, nothing is touched. */
START_TEST(texts_are_mended)
{
    static char bad[] = "caf\xe9 \xc3\xa9t\xc3", good[] = "caf\xc3\xa9";
    Pwc__Value value = PWC__VALUE__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *params[] = {&param, &param};
    Pwc__Death death = PWC__DEATH__INIT;
    Pwc__Finished m = PWC__FINISHED__INIT, *got;
    uint8_t body[256], said[256];
    value.kind_case = PWC__VALUE__KIND_STR;
    value.str = bad;
    param.name = good;
    param.value = &value;
    m.results = params;
    m.n_results = ARRAY_LEN(params);
    m.seq = UINT64_MAX;
    m.death = &death;
    death.stack = bad;
    death.input = msg_bytes(bad);
    size_t len = protobuf_c_message_get_packed_size(&m.base);
    ck_assert_uint_eq(msg_pack(msg_find(PWC_MSG_FINISHED), &m.base, body, len), len);
    got = (Pwc__Finished *)msg_unpack(msg_find(PWC_MSG_FINISHED), body, len);
    ck_assert_ptr_nonnull(got);
    ck_assert_uint_eq(got->n_results, 2);
    ck_assert_str_eq(got->results[1]->name, good);
    ck_assert_str_eq(got->results[1]->value->str, "caf? \xc3\xa9t?");
    ck_assert_str_eq(got->death->stack, "caf? \xc3\xa9t?");
    ck_assert_str_eq(msg_name_of(&got->death->input), bad);
    ck_assert_uint_eq(got->seq, UINT64_MAX);
    msg_free(&got->base);
    ck_assert_str_eq(bad, "caf\xe9 \xc3\xa9t\xc3");
    Pwc__Submit submit = PWC__SUBMIT__INIT;
    submit.params = params;
    submit.n_params = ARRAY_LEN(params);
    len = protobuf_c_message_pack(&submit.base, body);
    ck_assert_uint_eq(msg_pack(msg_find(PWC_MSG_SUBMIT), &submit.base, said, len), len);
    ck_assert_mem_eq(said, body, len);
}
END_TEST

/* ---- unpacking ---- */

START_TEST(fields_survive)
{
    Pwc__Value value = PWC__VALUE__INIT;
    Pwc__Param param = PWC__PARAM__INIT, *params[] = {&param, &param, &param};
    Pwc__Submit submit = PWC__SUBMIT__INIT;
    value.kind_case = PWC__VALUE__KIND_STR;
    value.str = (char *)(uintptr_t) "8";
    param.name = (char *)(uintptr_t) "sigma";
    param.value = &value;
    submit.op = (char *)(uintptr_t) "image.gaussblur";
    submit.params = params;
    submit.n_params = ARRAY_LEN(params);
    submit.items = UINT64_MAX;
    uint8_t body[256];
    size_t len = protobuf_c_message_pack(&submit.base, body);
    Pwc__Submit *got = (Pwc__Submit *)msg_unpack(msg_find(PWC_MSG_SUBMIT), body, len);
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got->op, "image.gaussblur");
    ck_assert_uint_eq(got->n_params, 3);
    ck_assert_str_eq(got->params[2]->value->str, "8");
    ck_assert_uint_eq(got->items, UINT64_MAX);
    uint8_t again[256];
    ck_assert_uint_eq(protobuf_c_message_pack(&got->base, again), len);
    ck_assert_mem_eq(again, body, len);
    msg_free(&got->base);
}
END_TEST

START_TEST(an_empty_body_is_a_message_of_defaults)
{
    for (size_t i = 0; i < msg_table_len; i++) {
        ProtobufCMessage *m = msg_unpack(&msg_table[i], "", 0);
        ck_assert_msg(m != NULL, "%s", msg_table[i].name);
        ck_assert_ptr_eq(m->descriptor, msg_table[i].proto);
        ck_assert_uint_eq(protobuf_c_message_get_packed_size(m), 0);
        msg_free(m);
    }
    msg_free(NULL);
}
END_TEST

/* A `bytes` is followed by a NUL that is not its own, in nested messages too. */
START_TEST(bytes_can_be_read_as_text)
{
    Pwc__Death death = PWC__DEATH__INIT;
    Pwc__Event event = PWC__EVENT__INIT;
    event.death = &death;
    char name[70];
    for (size_t len = 0; len < sizeof name; len++) {
        memset(name, 0xe9, len);
        name[len] = '\0';
        death.input = msg_bytes(name);
        uint8_t body[128];
        size_t n = protobuf_c_message_pack(&event.base, body);
        Pwc__Event *got = (Pwc__Event *)msg_unpack(msg_find(PWC_MSG_EVENT), body, n);
        ck_assert_ptr_nonnull(got);
        ck_assert_uint_eq(got->death->input.len, len);
        ck_assert_str_eq(msg_name_of(&got->death->input), name);
        msg_free(&got->base);
    }
}
END_TEST

/* Fields of a later version are dropped: they neither break the message nor travel on. */
START_TEST(unknown_fields_are_dropped)
{
    const uint8_t body[] = {0x08, 5, 0xf8, 0x07, 1,  0xfa,
                            0x07, 3, 'a',  'b',  'c'}; /* 1: 5, 127: 1, 127: "abc" */
    Pwc__Cancel *m = (Pwc__Cancel *)msg_unpack(msg_find(PWC_MSG_CANCEL), body, sizeof body);
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(m->job, 5);
    ck_assert_uint_eq(protobuf_c_message_get_packed_size(&m->base), 2);
    msg_free(&m->base);
}
END_TEST

/* In nested messages too, where protobuf-c takes a field number 0 that it would refuse after packing it
 * again. */
START_TEST(unknown_fields_are_dropped_at_any_depth)
{
    const uint8_t param[] = {0x12, 6, 0x0a, 1, 'x', 0x80, 0x00, 0x10}; /* params: {name: "x", 0: 16} */
    const uint8_t value[] = {0x12, 8,   0x12, 6,    0x32,
                             1,    'y', 0xf8, 0x07, 1}; /* params: {value: {str: "y", 127: 1}} */
    const uint8_t wanted[] = {0x12, 3, 0x0a, 1, 'x', 0x12, 5, 0x12, 3, 0x32, 1, 'y'};
    uint8_t body[sizeof param + sizeof value], again[64];
    memcpy(body, param, sizeof param);
    memcpy(body + sizeof param, value, sizeof value);
    Pwc__Submit *m = (Pwc__Submit *)msg_unpack(msg_find(PWC_MSG_SUBMIT), body, sizeof body);
    ck_assert_ptr_nonnull(m);
    ck_assert_uint_eq(protobuf_c_message_pack(&m->base, again), sizeof wanted);
    ck_assert_mem_eq(again, wanted, sizeof wanted);
    msg_free(&m->base);
}
END_TEST

START_TEST(garbage_is_refused)
{
    const struct {
        uint8_t bytes[8];
        size_t len;
    } cases[] = {
        {{0x0a}, 1},                                           /* a length is missing */
        {{0x0a, 5, 'a'}, 3},                                   /* a string ends early */
        {{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, 6},             /* 4 GiB of string */
        {{0x00, 1}, 2},                                        /* field number 0 */
        {{0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8}, /* a number that does not end */
        {{0x12, 2, 0x0a, 9}, 4},                               /* a nested message longer than its parent */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(msg_unpack(msg_find(PWC_MSG_SUBMIT), cases[i].bytes, cases[i].len) == NULL, "case %zu",
                      i);
}
END_TEST

/* Fills a body with copies of one field. */
static size_t repeat(uint8_t body[PWC_BODY_MAX], const void *field, size_t len)
{
    size_t n = 0;
    for (; n + len <= PWC_BODY_MAX; n += len)
        memcpy(body + n, field, len);
    return n;
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* The bodies that make most memory of their bytes either fit the limit or are refused; all of it comes back.
 */
START_TEST(memory_is_bounded)
{
    static const struct {
        uint16_t type;
        const char *field;
        size_t len;
        bool fits;
    } cases[] = {
        {PWC_MSG_SUBMIT, "\x12\x00", 2, false},                /* an empty Param each */
        {PWC_MSG_SUBMIT, "\x12\x02\x12\x00", 4, true},         /* with an empty Value */
        {PWC_MSG_SUBMIT, "\x12\x04\x12\x02\x42\x00", 6, true}, /* with an empty list */
        {PWC_MSG_SUBMIT, "\x7a\x00", 2, false},                /* labels */
        {PWC_MSG_SUBMIT, "\x42\x00", 2, false},                /* the policy, again and again: one stays */
        {PWC_MSG_SUBMIT, "\x8a\x01\x01\x01", 4, true},         /* `after`, packed one by one */
        {PWC_MSG_SUBMIT, "\x0a\x02zz", 4, true},               /* op, again and again */
        {PWC_MSG_OP_INFO, "\x22\x00", 2, false},               /* ParamInfo: the largest element */
        {PWC_MSG_OP_INFO, "\x6a\x01z", 3, true},               /* suffixes */
    };
    static uint8_t body[PWC_BODY_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t before = in_use(), len = repeat(body, cases[i].field, cases[i].len);
        ProtobufCMessage *m = msg_unpack(msg_find(cases[i].type), body, len);
        size_t taken = in_use() - before;
        ck_assert_msg((m != NULL) == cases[i].fits, "case %zu: %zu bytes", i, taken);
        ck_assert_msg(taken <= (m != NULL ? PWC_UNPACK_MAX + 4096 : 4096), "case %zu took %zu bytes", i,
                      taken);
        msg_free(m);
        ck_assert_msg(in_use() - before < 4096, "case %zu leaks", i);
    }
}
END_TEST

static uint64_t random_state = 88172645463325252ull;
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Small field numbers, all wire types, short lengths: most of it parses deep into some message. */
static size_t noise(uint8_t *body, size_t most)
{
    size_t n = 0;
    while (n < most) {
        uint64_t v = next_random();
        body[n++] = (uint8_t)(v % 4 != 0 ? (v >> 8) % 20 << 3 | ((v >> 16) & 7) : v >> 24);
    }
    return n;
}

START_TEST(noise_never_breaks_it)
{
    uint8_t body[64], again[4096];
    size_t parsed = 0;
    for (int round = 0; round < 200000; round++) {
        const struct msg_desc *d = &msg_table[next_random() % msg_table_len];
        size_t len = noise(body, next_random() % sizeof body);
        ProtobufCMessage *m = msg_unpack(d, body, len);
        if (m == NULL)
            continue;
        parsed++;
        if (protobuf_c_message_get_packed_size(m) <= sizeof again)
            protobuf_c_message_pack(m, again);
        msg_free(m);
    }
    ck_assert_uint_gt(parsed, 1000);
}
END_TEST

/* ---- packing as protobuf-c does ---- */

/* What a message points to, until the next one is made. */
static uint8_t heap[1 << 20];
static size_t heap_used;

static void *some(size_t n)
{
    ck_assert_uint_le(heap_used + n, sizeof heap);
    void *p = memset(heap + heap_used, 0, n);
    heap_used += (n + 15) & ~(size_t)15;
    return p;
}

static void fill(ProtobufCMessage *m);

static void *text_of(size_t len)
{
    uint8_t *p = some(len + 1);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(' ' + next_random() % 90);
    return p;
}

static size_t fill_one(const ProtobufCFieldDescriptor *f, void *at)
{
    static const double fractions[] = {0.0, -0.0, 1.5, -1e300};
    uint64_t v = next_random() >> next_random() % 64;
    size_t len = next_random() % 4 == 0 ? 0 : next_random() % 300;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = text_of(len);
        return sizeof(char *);
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)at = (ProtobufCBinaryData){len, text_of(len)};
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessageDescriptor *d = f->descriptor;
        ProtobufCMessage *m = *(ProtobufCMessage **)at = some(d->sizeof_message);
        d->message_init(m);
        fill(m);
        return sizeof m;
    }
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)at = fractions[v % ARRAY_LEN(fractions)];
        return sizeof(double);
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = v % 2 != 0;
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_SINT64:
        *(uint64_t *)at = v;
        return sizeof v;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_ENUM:
        *(uint32_t *)at = (uint32_t)v;
        return sizeof(uint32_t);
    default:
        ck_abort_msg("%s has a type that msg_pack does not know", f->name);
    }
}

static void fill(ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        char *at = (char *)m + f->offset;
        void *quantifier = (char *)m + f->quantifier_offset;
        if (next_random() % 3 == 0)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = *(size_t *)quantifier = next_random() % 3;
            char *one = *(char **)at = some(n * sizeof(ProtobufCBinaryData));
            for (size_t k = 0; k < n; k++)
                one += fill_one(f, one);
        } else if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
            fill_one(f, at);
        } else if (*(uint32_t *)quantifier == 0) {
            *(uint32_t *)quantifier = f->id;
            fill_one(f, at);
        }
    }
}

START_TEST(bytes_are_those_of_protobuf_c)
{
    static uint8_t wanted[1 << 20], got[1 << 20];
    for (size_t round = 0; round < 200 * msg_table_len; round++) {
        const struct msg_desc *d = &msg_table[round % msg_table_len];
        heap_used = 0;
        ProtobufCMessage *m = some(d->proto->sizeof_message);
        d->proto->message_init(m);
        fill(m);
        size_t len = protobuf_c_message_pack(m, wanted);
        ck_assert_uint_eq(msg_pack(d, m, got, len), len);
        ck_assert_msg(memcmp(wanted, got, len) == 0, "%s is packed in another way", d->name);
        if (len == 0)
            continue;
        size_t room = next_random() % len;
        got[room] = 0xa5;
        ck_assert_uint_eq(msg_pack(d, m, got, room), MSG_TOO_LARGE);
        ck_assert_uint_eq(got[room], 0xa5);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("messages");
    TCase *t = tcase_create("list");
    tcase_add_test(t, types_ascend);
    tcase_add_test(t, every_type_is_found);
    tcase_add_test(t, names_are_unique_within_a_protocol);
    tcase_add_test(t, rows_agree_with_the_protocol_files);
    tcase_add_test(t, no_message_contains_itself);
    suite_add_tcase(s, t);
    t = tcase_create("texts");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, characters);
    tcase_add_test(t, right_texts_stay);
    tcase_add_test(t, texts_are_mended);
    suite_add_tcase(s, t);
    t = tcase_create("unpack");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, fields_survive);
    tcase_add_test(t, bytes_can_be_read_as_text);
    tcase_add_test(t, an_empty_body_is_a_message_of_defaults);
    tcase_add_test(t, unknown_fields_are_dropped);
    tcase_add_test(t, unknown_fields_are_dropped_at_any_depth);
    tcase_add_test(t, garbage_is_refused);
    tcase_add_test(t, memory_is_bounded);
    tcase_add_test(t, noise_never_breaks_it);
    suite_add_tcase(s, t);
    t = tcase_create("pack");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, bytes_are_those_of_protobuf_c);
    suite_add_tcase(s, t);
    return run_suite(s);
}
