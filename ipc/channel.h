/*
 * channel.h - frames with descriptors over a connected AF_UNIX SOCK_STREAM socket.
 *
 * A channel owns its socket, what it has received and not yet handed out, and duplicates of the descriptors
 * it has queued. It never blocks unless chan_wait is called. After any negative return other than -EAGAIN
 * it is dead: the owner frees it.
 *
 * Descriptors of a frame travel with its first byte. The kernel may deliver them together with the bytes of
 * the frame before, so they wait in a FIFO and are matched by the header's count; a frame whose descriptors
 * are not there when its header is complete, or descriptors that no frame claims, break the channel.
 */
#ifndef PWC_CHANNEL_H
#define PWC_CHANNEL_H

#include "ipc/base.h"
#include "ipc/frame.h"
#include "ipc/messages.h"

struct chan;

/* What was received: pointers are valid until the next call on the channel. */
struct frame {
    uint16_t type;
    uint16_t nfds;
    bool lost; /* it came with descriptors, for which this process had no room: nfds is 0 */
    uint64_t tag;
    const struct msg_desc *desc; /* NULL: unknown type */
    const uint8_t *body, *tail;
    size_t body_len, tail_len;
    int fds[PWC_FDS_MAX]; /* owned by the frame: frame_take_fd, or frame_close; -1 behind the last */
};

typedef void (*fd_closer)(int fd);

/* `accept`: mask of msg_sender whose messages may come in. closer: how received or queued descriptors
 * are closed (close(2) of a foreign descriptor can block); NULL: close. */
struct chan *chan_new(int fd, unsigned accept, fd_closer closer);
void chan_free(struct chan *c);
int chan_fd(const struct chan *c);

/* Descriptors for which this process has no room are not the peer's fault: their frame is handed out as
 * `lost`. Without this call they break the channel. */
void chan_tell_lost(struct chan *c);

/* One recvmsg, unless a whole frame waits in the buffer already: who takes a few frames a turn neither
 * gathers a flood nor meets the end before the last frame. Bytes (read, or waiting), 0 at the peer's end of
 * file, -EAGAIN, or the channel's error. */
int chan_fill(struct chan *c);
/* The same, and waits until there is something. */
int chan_fill_wait(struct chan *c);
/* A whole frame (or a broken one) is in the buffer already. */
bool chan_has_frame(const struct chan *c);
/* 1: a frame; 0: more bytes are needed; -EBADMSG / -EPROTO: the peer broke the rules (chan_error says how).
 */
int chan_next(struct chan *c, struct frame *ret);
const char *chan_error(const struct chan *c);
bool chan_at_frame_start(const struct chan *c); /* nothing half-received */

int frame_take_fd(struct frame *f, unsigned i);
void frame_close(const struct chan *c, struct frame *f);

/*
 * Queues a frame and sends what the socket takes. Descriptors are borrowed. 0, -ENOBUFS when the queue would
 * pass its limit, -EMSGSIZE when it is larger than its type may be (nothing was queued), or the channel's
 * error.
 */
int chan_send(struct chan *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg);
int chan_send_full(struct chan *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg, const void *tail,
                   size_t tail_len, const int *fds, unsigned nfds);
int chan_flush(struct chan *c); /* 0 or error; look at chan_queued for what remains */
size_t chan_queued(const struct chan *c);
/* While on, frames are only gathered (small ones in blocks of 8 KiB) and leave with the next chan_flush. */
void chan_hold(struct chan *c, bool on);
void chan_set_queue_limit(struct chan *c, size_t bytes);

/* For programs without an event loop: waits until readable (and sends meanwhile). 1, 0 at the time-out, or
 * error. */
int chan_wait(struct chan *c, int timeout_ms);

#endif
