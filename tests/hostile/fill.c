/* fill.c - see fill.h. Bodies are written field by field in wire format: no message in memory is needed. */
#include <string.h>

#include "tests/hostile/fill.h"

#define DEPTH_MAX 3u

uint64_t seeded_next(void *state)
{
    uint64_t *x = state, z = (*x += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint32_t source_below(struct source *s, uint32_t n)
{
    return (uint32_t)(s->next(s->state) % n);
}

uint64_t source_number(struct source *s)
{
    uint64_t x = s->next(s->state);
    switch (x & 7) {
    case 0:
    case 1:
        return x >> 3 & 15;
    case 2:
        return (1ull << (x >> 3 & 63)) - (x >> 9 & 1);
    case 3:
        return UINT64_MAX - (x >> 3 & 7);
    case 4:
        return x >> 3 & 0xffff;
    case 5:
    case 6:
        return s->like[x >> 3 & 7] + (x >> 6 & 3) - 1;
    default:
        return s->next(s->state);
    }
}

/* ---- wire format ---- */

struct out {
    uint8_t *at;
    size_t len, room;
};

static void put_byte(struct out *o, uint8_t b)
{
    if (o->len < o->room)
        o->at[o->len++] = b;
}

static void put_varint(struct out *o, uint64_t v)
{
    for (; v > 127; v >>= 7)
        put_byte(o, (uint8_t)(v | 128));
    put_byte(o, (uint8_t)v);
}

static void put_fixed(struct out *o, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        put_byte(o, (uint8_t)(v >> (8 * i)));
}

static void put_block(struct out *o, const void *data, size_t len)
{
    size_t n = len < 128 ? 1 : 2;
    if (o->room - o->len < len + n)
        len = o->room - o->len > n ? o->room - o->len - n : 0;
    put_varint(o, len);
    for (size_t i = 0; i < len; i++)
        put_byte(o, ((const uint8_t *)data)[i]);
}

/* ---- values ---- */

static const char *const words[] = {"",
                                    "n",
                                    "in",
                                    "out",
                                    "noop",
                                    "array.sum",
                                    "type",
                                    "int32",
                                    "uint8",
                                    "image.gaussblur",
                                    "image.invert",
                                    "sigma",
                                    "raw",
                                    "png",
                                    "tiff",
                                    "rows",
                                    "fault.none",
                                    "fault.error",
                                    "at",
                                    "\x1b[2Jx\n",
                                    "\xff\xfe",
                                    "%s%n"};

static void put_text(struct out *o, struct source *s)
{
    uint8_t bytes[300];
    uint32_t kind = source_below(s, 16);
    if (kind < 12) {
        const char *w = words[source_below(s, ARRAY_LEN(words))];
        put_block(o, w, strlen(w));
        return;
    }
    size_t len = kind == 12 ? 16 : source_below(s, sizeof bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = kind == 13 ? 'x' : (uint8_t)s->next(s->state);
    put_block(o, bytes, len);
}

static void put_message(struct out *o, const ProtobufCMessageDescriptor *desc, struct source *s,
                        unsigned depth);

static void put_value(struct out *o, const ProtobufCFieldDescriptor *f, struct source *s, unsigned depth)
{
    uint8_t nested[2048];
    struct out inner = {nested, 0, MIN(sizeof nested, o->room - o->len)};
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        if (depth < DEPTH_MAX)
            put_message(&inner, f->descriptor, s, depth + 1);
        put_block(o, nested, inner.len);
        break;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        put_text(o, s);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_fixed(o, source_number(s), 8);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        put_fixed(o, source_number(s), 4);
        break;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *e = f->descriptor;
        uint32_t pick = source_below(s, e->n_values + 1);
        put_varint(o, pick < e->n_values ? (uint64_t)e->values[pick].value : source_number(s));
        break;
    }
    case PROTOBUF_C_TYPE_BOOL:
        put_varint(o, source_below(s, 2));
        break;
    default:
        put_varint(o, source_number(s));
    }
}

static unsigned wire_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_MESSAGE:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        return 2;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return 1;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return 5;
    default:
        return 0;
    }
}

static void put_message(struct out *o, const ProtobufCMessageDescriptor *desc, struct source *s,
                        unsigned depth)
{
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &desc->fields[i];
        uint32_t roll = source_below(s, 16), n = roll < 3 ? 0 : 1;
        if (f->label == PROTOBUF_C_LABEL_REPEATED && roll > 7)
            n = roll == 15 ? 80 : roll - 6;
        for (; n > 0 && o->room - o->len > 8; n--) {
            put_varint(o, (uint64_t)f->id << 3 | wire_type(f->type));
            put_value(o, f, s, depth);
        }
    }
}

size_t fill_body(const ProtobufCMessageDescriptor *desc, struct source *s, uint8_t *to, size_t room)
{
    struct out o = {to, 0, room};
    put_message(&o, desc, s, 0);
    return o.len;
}

size_t spoil_body(struct source *s, uint8_t *bytes, size_t len, size_t room)
{
    for (uint32_t n = 1 + source_below(s, 4); n > 0; n--) {
        uint32_t how = source_below(s, 4);
        size_t at = len > 0 ? source_below(s, (uint32_t)len) : 0;
        if (how == 0 && len > 0)
            bytes[at] = (uint8_t)s->next(s->state);
        else if (how == 1 && len > 0)
            len = at;
        else if (how == 2 && len > 0)
            bytes[at] ^= (uint8_t)(1u << source_below(s, 8));
        else if (len < room)
            bytes[len++] = (uint8_t)s->next(s->state);
    }
    return len;
}
