/*
 * messages.h - messages.def as a table: names, limits, who may send; packing and bounded unpacking.
 */
#ifndef PWC_MESSAGES_H
#define PWC_MESSAGES_H

#include <protobuf-c/protobuf-c.h>

#include "ipc/base.h"
#include "proto/pwc.pb-c.h"
#include "proto/stage.pb-c.h"

enum pwc_msg_type {
#define PWC_PUBLIC(type, NAME, name, sender, states, body, tail, fds) PWC_MSG_##NAME = type,
#define PWC_STAGE(type, NAME, name, sender, states, body, tail, fds)  PWC_MSG_##NAME = type,
#include "proto/messages.def"
};

enum msg_sender {
    MSG_FROM_CLIENT = 1,
    MSG_FROM_DAEMON = 2,
    MSG_FROM_SUPER = 4,
    MSG_FROM_STAGE = 8,
    MSG_FROM_NURSERY = 16,
};
enum msg_state { MSG_IN_NEW = 1, MSG_IN_OPEN = 2, MSG_IN_ANY = 3 };

struct msg_desc {
    uint16_t type;
    const char *name; /* "submit" */
    const ProtobufCMessageDescriptor *proto;
    enum msg_sender sender;
    enum msg_state states;
    uint32_t body_max, tail_max;
    uint16_t fds_max;
};

extern const struct msg_desc msg_table[];
extern const size_t msg_table_len;

/* NULL for a type that is not in the list. */
const struct msg_desc *msg_find(uint16_t type);
const char *msg_name(uint16_t type); /* never NULL */

#define MSG_TOO_LARGE SIZE_MAX
/*
 * Packs a body (msg NULL: an empty one). Its bytes, or MSG_TOO_LARGE: there is no room for all. In what the
 * daemon says to clients each `string` is UTF-8 then, whatever files, stages and other clients put into it
 * and wherever it was cut: strict readers refuse the whole message for one byte that is none.
 */
size_t msg_pack(const struct msg_desc *desc, const ProtobufCMessage *msg, uint8_t *body, size_t room);

/*
 * Unpacks a body into memory of its own, at most PWC_UNPACK_MAX bytes; NULL when it does not parse, takes
 * more. Behind `bytes` lies a NUL. The caller frees with msg_free and must not free with protobuf-c.
 */
ProtobufCMessage *msg_unpack(const struct msg_desc *desc, const void *body, size_t len);
void msg_free(ProtobufCMessage *msg);

/* Names of files are `bytes`, for they may be any; as text they end at the first NUL, if they hold one. */
static inline const char *msg_name_of(const ProtobufCBinaryData *b)
{
    return b->data != NULL ? (const char *)b->data : "";
}
ProtobufCBinaryData msg_bytes(const char *name); /* borrows it */

#endif
