/*
 * fuzz_frame.c - any bytes as a stream of frames, and any bytes as the body of any message. What is accepted
 * must survive: header and body, written again, read the same.
 */
#include <string.h>

#include "ipc/frame.h"
#include "ipc/messages.h"
#include "tests/fuzz/fuzz.h"

/* Below this, neither side of the comparison can meet the limit of memory. */
#define SMALL 4096u

static uint8_t *pack(const ProtobufCMessage *m, size_t *ret_len)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = xcalloc(1, len);
    FUZZ_CHECK(protobuf_c_message_pack(m, bytes) == len);
    *ret_len = len;
    return bytes;
}

static void body(const struct msg_desc *d, const uint8_t *data, size_t len)
{
    ProtobufCMessage *m = msg_unpack(d, data, len);
    if (m == NULL)
        return;
    FUZZ_CHECK(m->descriptor == d->proto);
    size_t n, n2;
    uint8_t *bytes = pack(m, &n);
    ProtobufCMessage *again = msg_unpack(d, bytes, n);
    FUZZ_CHECK(again != NULL || len > SMALL || n > SMALL);
    if (again != NULL) {
        uint8_t *bytes2 = pack(again, &n2);
        FUZZ_CHECK(n == n2 && memcmp(bytes, bytes2, n) == 0);
        free(bytes2);
    }
    free(bytes);
    msg_free(again);
    msg_free(m);
}

static void stream(const uint8_t *data, size_t size)
{
    struct frame_head h;
    while (size >= PWC_HEADER_BYTES && frame_get(data, &h) == 0) {
        uint8_t again[PWC_HEADER_BYTES];
        frame_put(again, &h);
        FUZZ_CHECK(memcmp(again, data, sizeof again) == 0);
        FUZZ_CHECK(frame_bytes(&h) <= PWC_FRAME_MAX && frame_tail(&h) <= PWC_TAIL_MAX &&
                   h.body <= PWC_BODY_MAX);
        FUZZ_CHECK(PWC_HEADER_BYTES + h.body + frame_tail(&h) == frame_bytes(&h));
        const struct msg_desc *d = msg_find(h.type);
        if (size < frame_bytes(&h))
            return;
        if (d != NULL && h.body <= d->body_max)
            body(d, data + PWC_HEADER_BYTES, h.body);
        data += frame_bytes(&h);
        size -= frame_bytes(&h);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    stream(data, size);
    if (size > 0 && size <= PWC_BODY_MAX)
        body(&msg_table[data[0] % msg_table_len], data + 1, size - 1);
    return 0;
}
