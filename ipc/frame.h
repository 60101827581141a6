/*
 * frame.h - the frame: 20 bytes of header, a protobuf body, a raw tail. Pure: bytes in, numbers out.
 *
 *   u32 length   of everything after this field: 16 + body + tail
 *   u16 type     messages.def
 *   u16 nfds     descriptors that travel with the first byte
 *   u64 tag      the request's, echoed by every answer to it
 *   u32 body     bytes of protobuf; the rest is the tail
 */
#ifndef PWC_FRAME_H
#define PWC_FRAME_H

#include "ipc/base.h"
#include "proto/limits.h"

struct frame_head {
    uint32_t length;
    uint16_t type;
    uint16_t nfds;
    uint64_t tag;
    uint32_t body;
};

void frame_put(uint8_t out[PWC_HEADER_BYTES], const struct frame_head *head);

/* Decodes and checks lengths against each other and the overall limits. 0 or -EBADMSG. */
int frame_get(const uint8_t in[PWC_HEADER_BYTES], struct frame_head *ret_head);

static inline size_t frame_bytes(const struct frame_head *h)
{
    return (size_t)h->length + 4;
}
static inline size_t frame_tail(const struct frame_head *h)
{
    return frame_bytes(h) - PWC_HEADER_BYTES - h->body;
}

#endif
