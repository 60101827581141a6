/*
 * seeds.c - writes what the corpora begin with: every message with every field set, frames with descriptors,
 * fold states, a catalogue and submissions to it. Run it with the directory after a change of the protocol:
 * `make fuzz-seeds`.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/frame.h"
#include "ipc/messages.h"
#include "tests/fuzz/catalogue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/array_driver.h"

static const char *out;

static void save(const char *corpus, const char *name, const void *data, size_t len)
{
    AUTO_FREE char *dir = xasprintf("%s/%s", out, corpus);
    AUTO_FREE char *path = xasprintf("%s/%s", dir, name);
    FUZZ_CHECK(mkdir(dir, 0777) == 0 || errno == EEXIST);
    FILE *f = fopen(path, "we");
    FUZZ_CHECK(f != NULL && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

/* ---- messages, by what protobuf-c knows of them ---- */

static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d);

static size_t element_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(int32_t);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(int64_t); /* numbers and pointers */
    }
}

/* A value that is not the default; the number of the field makes it recognizable. */
static void set_element(const ProtobufCFieldDescriptor *f, void *at)
{
    ProtobufCBinaryData bytes = {.len = 3, .data = (uint8_t *)xstrdup("\1\2\3")};
    double number = 0.5 + f->id;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(char **)at = xasprintf("text%u", f->id);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)at = bytes;
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)at = filled(f->descriptor);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(at, &number, sizeof number);
        break;
    default:
        *(uint8_t *)at = f->type == PROTOBUF_C_TYPE_BOOL ? 1 : (uint8_t)f->id;
    }
}

static void set_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    char *base = (char *)m;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        char *list = xcalloc(2, element_size(f));
        set_element(f, list);
        set_element(f,
                    list + (f->type == PROTOBUF_C_TYPE_BOOL ? sizeof(protobuf_c_boolean) : element_size(f)));
        *(size_t *)(void *)(base + f->quantifier_offset) = 2;
        *(void **)(void *)(base + f->offset) = list;
        return;
    }
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        *(uint32_t *)(void *)(base + f->quantifier_offset) = f->id;
    set_element(f, base + f->offset);
}

/* The last member of a oneof wins: the largest kinds come last. */
static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = xcalloc(1, d->sizeof_message);
    protobuf_c_message_init(d, m);
    for (unsigned i = 0; i < d->n_fields; i++)
        set_field(m, &d->fields[i]);
    return m;
}

static size_t frame_of(const struct msg_desc *d, uint8_t *to, bool with_tail)
{
    ProtobufCMessage *m = filled(d->proto);
    size_t len = protobuf_c_message_pack(m, to + PWC_HEADER_BYTES),
           tail = with_tail ? MIN(d->tail_max, 20u) : 0;
    FUZZ_CHECK(len <= d->body_max);
    memset(to + PWC_HEADER_BYTES + len, 7, tail);
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + len + tail), d->type, d->fds_max, 5,
                                 (uint32_t)len};
    frame_put(to, &h);
    return PWC_HEADER_BYTES + len + tail;
}

/* ---- what a peer sends ---- */

#define READ_ALL 0x08
#define READ_ONE 0x18
#define HANG_UP  0x20

struct script {
    uint8_t bytes[4096];
    size_t len;
};

static void add(struct script *s, unsigned command, const uint8_t *bytes, size_t len)
{
    FUZZ_CHECK(len < 256 && s->len + 2 + len <= sizeof s->bytes);
    s->bytes[s->len++] = (uint8_t)command;
    s->bytes[s->len++] = (uint8_t)len;
    memcpy(s->bytes + s->len, bytes, len);
    s->len += len;
}

static size_t small_frame(uint8_t *to, uint16_t type, uint16_t nfds)
{
    const struct frame_head h = {PWC_HEADER_BYTES - 4 + 4, type, nfds, 9, 4};
    frame_put(to, &h);
    memcpy(to + PWC_HEADER_BYTES, "\x08\x01\x10\x02", 4);
    return PWC_HEADER_BYTES + 4;
}

static void channel_seeds(void)
{
    uint8_t item[64], ping[64];
    size_t item_len = small_frame(item, PWC_MSG_ITEM, 2), ping_len = small_frame(ping, PWC_MSG_CANCEL, 0);
    struct script whole = {.len = 0}, pieces = {.len = 0}, together = {.len = 0}, surplus = {.len = 0};
    add(&whole, READ_ALL, ping, ping_len);
    add(&whole, READ_ALL | 2, item, item_len);
    add(&whole, READ_ALL | HANG_UP, ping, ping_len);
    save("channel", "whole", whole.bytes, whole.len);
    for (size_t i = 0; i < item_len; i++)
        add(&pieces, READ_ALL | (i == 0 ? 2 : 0), item + i, 1);
    save("channel", "pieces", pieces.bytes, pieces.len);
    for (int i = 0; i < 4; i++) {
        add(&together, 0, ping, ping_len);
        add(&together, i % 2 == 0 ? 2 : READ_ONE | 2, item, item_len);
    }
    save("channel", "together", together.bytes, together.len);
    add(&surplus, READ_ALL | 3, item, item_len);
    save("channel", "surplus", surplus.bytes, surplus.len);
    surplus.len = 0;
    add(&surplus, READ_ALL | 7, item, item_len);
    save("channel", "many", surplus.bytes, surplus.len);
    surplus.len = 0;
    add(&surplus, READ_ALL | 1, item, item_len);
    save("channel", "missing", surplus.bytes, surplus.len);
    surplus.len = 0;
    for (size_t i = 0; i < 4; i++)
        add(&surplus, READ_ALL | (i < 2 ? 6 : i == 2 ? 4 : 7), item + i, 1);
    save("channel", "no-room", surplus.bytes, surplus.len);
}

/* ---- fold states ---- */

static void fold_seeds(void)
{
    static const char *const ops[] = {"array.sum", "array.min", "array.max", "array.histogram"};
    const double x[] = {0.25, -3, 0.75, 1e300};
    int fd = memfd_create("seeds", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, x, sizeof x) == sizeof x);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct driver d;
        driver_init(&d, ops[i], "float64", fd);
        driver_set(&d, "bins", 5);
        driver_set(&d, "min", -1);
        driver_set(&d, "max", 1);
        FUZZ_CHECK(driver_plan(&d) == 0 && driver_open(&d) == 0 && d.job.op->process(&d.job, 0, NULL) == 0);
        size_t len = d.job.op->fold_bytes;
        uint8_t *bytes = xcalloc(1, 1 + 2 * len);
        bytes[0] = (uint8_t)(i + 8);
        memcpy(bytes + 1, d.job.fold, len);
        memcpy(bytes + 1 + len, d.job.fold, len);
        save("fold", ops[i] + 6, bytes, 1 + 2 * len);
        free(bytes);
        driver_free(&d);
    }
    close(fd);
}

/* ---- a catalogue, and what is submitted to it ---- */

static void params_seed(const char *name, Pwc__Submit *m)
{
    uint8_t bytes[PWC_BODY_MAX] = {0}; /* 0: as it is */
    save("params", name, bytes, 1 + pwc__submit__pack(m, bytes + 1));
}

static void params_seeds(void)
{
    static char op[] = "image.blur", png[] = "png", sigma[] = "sigma", area[] = "area", linear[] = "linear",
                in[] = "in", out_role[] = "out", text[] = "1,2,3";
    Pwc__Submit m = PWC__SUBMIT__INIT;
    Pwc__RoleDecl roles[2] = {PWC__ROLE_DECL__INIT, PWC__ROLE_DECL__INIT},
                  *role_list[] = {&roles[0], &roles[1]};
    Pwc__Value v[3] = {PWC__VALUE__INIT, PWC__VALUE__INIT, PWC__VALUE__INIT};
    Pwc__Param p[3] = {PWC__PARAM__INIT, PWC__PARAM__INIT, PWC__PARAM__INIT}, *list[] = {&p[0], &p[1], &p[2]};
    roles[0].name = in;
    roles[1].name = out_role;
    roles[0].count = roles[1].count = 1;
    v[0].kind_case = PWC__VALUE__KIND_F64;
    v[0].f64 = 2.5;
    v[1].kind_case = PWC__VALUE__KIND_STR;
    v[1].str = text;
    v[2].kind_case = PWC__VALUE__KIND_FLAG;
    v[2].flag = true;
    p[0].name = sigma, p[1].name = area, p[2].name = linear;
    for (int i = 0; i < 3; i++)
        p[i].value = &v[i];
    m.op = op;
    m.format = png;
    m.items = 1;
    m.roles = role_list;
    m.n_roles = 2;
    params_seed("plain", &m);
    m.params = list;
    m.n_params = 3;
    params_seed("values", &m);
    m.items = 20;
    m.batch = true;
    params_seed("batch", &m);
    uint8_t bytes[PWC_FRAME_MAX];
    size_t len = frame_of(msg_find(PWC_MSG_SUBMIT), bytes, false);
    bytes[PWC_HEADER_BYTES - 1] = 0;
    save("params", "filled", bytes + PWC_HEADER_BYTES - 1, len - PWC_HEADER_BYTES + 1);
    for (unsigned i = 0; i < 256; i++)
        bytes[i] = (uint8_t)(1 + i * 37);
    save("params", "described", bytes, 256);
}

static void catalogue_seeds(void)
{
    uint8_t bytes[8192];
    save("catalogue", "all", bytes, fuzz_catalogue_bytes(bytes, sizeof bytes));
}

int main(int argc, char **argv)
{
    static uint8_t bytes[PWC_FRAME_MAX];
    if (argc != 2) {
        fprintf(stderr, "usage: seeds DIRECTORY\n");
        return 2;
    }
    out = argv[1];
    for (size_t i = 0; i < msg_table_len; i++) {
        AUTO_FREE char *name = xasprintf("%03u-%s", msg_table[i].type, msg_table[i].name);
        save("frame", name, bytes, frame_of(&msg_table[i], bytes, true));
    }
    size_t len = frame_of(msg_find(PWC_MSG_SUBMIT), bytes, false);
    len += frame_of(msg_find(PWC_MSG_ITEM), bytes + len, false);
    save("frame", "two-frames", bytes, len);
    channel_seeds();
    fold_seeds();
    params_seeds();
    catalogue_seeds();
    return 0;
}
