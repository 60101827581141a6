/*
 * messages.c - the table made from messages.def, and unpacking with a bounded bump allocator: protobuf-c
 * amplifies hostile bodies about 50-fold, and one free is cheaper than one per field.
 */
#include <stdalign.h>
#include <string.h>

#include "ipc/messages.h"
#include "proto/limits.h"

#define FROM_CLIENT  MSG_FROM_CLIENT
#define FROM_DAEMON  MSG_FROM_DAEMON
#define FROM_SUPER   MSG_FROM_SUPER
#define FROM_STAGE   MSG_FROM_STAGE
#define FROM_NURSERY MSG_FROM_NURSERY

const struct msg_desc msg_table[] = {
#define PWC_PUBLIC(type, NAME, name, sender, states, body, tail, fds)                                        \
    {type, #name, &pwc__##name##__descriptor, FROM_##sender, MSG_IN_##states, body, tail, fds},
#define PWC_STAGE(type, NAME, name, sender, states, body, tail, fds)                                         \
    {type, #name, &stage__##name##__descriptor, FROM_##sender, MSG_IN_##states, body, tail, fds},
#include "proto/messages.def"
};
const size_t msg_table_len = ARRAY_LEN(msg_table);

const struct msg_desc *msg_find(uint16_t type)
{
    size_t lo = 0, hi = msg_table_len;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (msg_table[mid].type == type)
            return &msg_table[mid];
        if (msg_table[mid].type < type)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const char *msg_name(uint16_t type)
{
    const struct msg_desc *d = msg_find(type);
    return d != NULL ? d->name : "unknown";
}

ProtobufCBinaryData msg_bytes(const char *name)
{
    return (ProtobufCBinaryData){strlen(name), (uint8_t *)(uintptr_t)name};
}

/* ---- unpacking ---- */

/* The pool itself lies in its first block; the message points to it. */
struct pool_block {
    struct pool_block *next;
    size_t used, size;
    alignas(16) uint8_t bytes[];
};
struct pool {
    struct pool_block *head;
    size_t total;
};

static struct pool_block *pool_grow(struct pool *pool, size_t size)
{
    if (size > PWC_UNPACK_MAX - MIN(pool->total, PWC_UNPACK_MAX))
        return NULL;
    struct pool_block *b = malloc(sizeof *b + size);
    if (b == NULL)
        return NULL;
    *b = (struct pool_block){.next = pool->head, .size = size};
    pool->head = b;
    pool->total += size;
    return b;
}

static void *pool_alloc(void *data, size_t size)
{
    struct pool *pool = data;
    if (size > PWC_UNPACK_MAX)
        return NULL;
    size = (size + 1 + 15) & ~(size_t)15; /* one more for the NUL behind `bytes` */
    struct pool_block *b = pool->head;
    if (b == NULL || b->size - b->used < size) {
        size_t want = MAX(size, MIN(pool->total, (size_t)64 * 1024));
        if ((b = pool_grow(pool, want)) == NULL)
            return NULL;
    }
    void *p = b->bytes + b->used;
    b->used += size;
    return p;
}

static void pool_free_one(void *data, void *p)
{
    (void)data;
    (void)p;
}

static void pool_free(struct pool *pool)
{
    for (struct pool_block *b = pool->head, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
}

static void tidy(ProtobufCMessage *m);

static void tidy_one(void *at, ProtobufCType type)
{
    if (type == PROTOBUF_C_TYPE_MESSAGE) {
        tidy(*(ProtobufCMessage **)at);
        return;
    }
    ProtobufCBinaryData *b = at;
    if (b->data != NULL)
        b->data[b->len] = '\0'; /* pool_alloc left room */
}

/* Which of a oneof's members is there, only its case tells. */
static void tidy_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    char *at = (char *)m + f->offset;
    void *quantifier = (char *)m + f->quantifier_offset;
    size_t n = 1;
    size_t size =
        f->type == PROTOBUF_C_TYPE_MESSAGE ? sizeof(ProtobufCMessage *) : sizeof(ProtobufCBinaryData);
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && *(uint32_t *)quantifier != f->id)
        return;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        n = *(size_t *)quantifier;
        at = *(char **)at;
    }
    for (size_t i = 0; i < n; i++)
        tidy_one(at + i * size, f->type);
}

/* What we do not know must not travel on in something packed from this: protobuf-c takes unknown fields
 * (number 0 in two bytes) that it does not take again once it has written them. Depth is bounded: no message
 * contains itself. */
static void tidy(ProtobufCMessage *m)
{
    if (m == NULL)
        return;
    m->n_unknown_fields = 0;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type == PROTOBUF_C_TYPE_MESSAGE || f->type == PROTOBUF_C_TYPE_BYTES)
            tidy_field(m, f);
    }
}

ProtobufCMessage *msg_unpack(const struct msg_desc *desc, const void *body, size_t len)
{
    struct pool pool = {0};
    struct pool_block *first = pool_grow(&pool, 512 + len * 4);
    if (first == NULL)
        return NULL;
    struct pool *kept = pool_alloc(&pool, sizeof *kept);
    ProtobufCAllocator allocator = {pool_alloc, pool_free_one, &pool};
    ProtobufCMessage *msg = protobuf_c_message_unpack(desc->proto, &allocator, len, body);
    if (msg == NULL) {
        pool_free(&pool);
        return NULL;
    }
    *kept = pool;
    tidy(msg);
    /* Free for our own use now. */
    msg->unknown_fields = (void *)kept;
    return msg;
}

void msg_free(ProtobufCMessage *msg)
{
    if (msg == NULL)
        return;
    struct pool pool = *(struct pool *)(void *)msg->unknown_fields;
    pool_free(&pool);
}
