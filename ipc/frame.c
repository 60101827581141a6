/* frame.c - see frame.h. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "ipc/frame.h"

static void put32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof v);
}
static void put16(uint8_t *at, uint16_t v)
{
    v = htole16(v);
    memcpy(at, &v, sizeof v);
}
static uint32_t get32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}
static uint16_t get16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return le16toh(v);
}

void frame_put(uint8_t out[PWC_HEADER_BYTES], const struct frame_head *head)
{
    uint64_t tag = htole64(head->tag);
    put32(out, head->length);
    put16(out + 4, head->type);
    put16(out + 6, head->nfds);
    memcpy(out + 8, &tag, sizeof tag);
    put32(out + 16, head->body);
}

int frame_get(const uint8_t in[PWC_HEADER_BYTES], struct frame_head *ret_head)
{
    uint64_t tag;
    memcpy(&tag, in + 8, sizeof tag);
    struct frame_head h = {get32(in), get16(in + 4), get16(in + 6), le64toh(tag), get32(in + 16)};

    if (h.length < PWC_HEADER_BYTES - 4 || h.length > PWC_FRAME_MAX - 4)
        return -EBADMSG;
    uint32_t payload = h.length - (PWC_HEADER_BYTES - 4);
    if (h.body > payload || h.body > PWC_BODY_MAX || payload - h.body > PWC_TAIL_MAX || h.nfds > PWC_FDS_MAX)
        return -EBADMSG;
    *ret_head = h;
    return 0;
}
