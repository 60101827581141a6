/* channel.c - see channel.h. The receive buffer exists only while something is in it, so that thousands of
 * idle connections cost little. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "ipc/clock.h"
#include "ipc/fds.h"

#define READ_SIZE  16384u
#define READ_LEAST 4096u /* behind the beginning of a frame: a read is worth it, a larger buffer is not */
#define HELD_BLOCK 8192u
#define FIFO_MAX   (2 * PWC_FDS_MAX) /* a frame's own and those of the next one */

struct out {
    struct out *next;
    size_t len, sent, size;
    unsigned nfds;
    int fds[PWC_FDS_MAX];
    uint8_t bytes[];
};

struct chan {
    int fd;
    unsigned accept;
    fd_closer closer;
    uint8_t *in;
    size_t in_start, in_end, in_size;
    int fifo[FIFO_MAX];
    unsigned nfifo;
    bool tells_lost,
        lost; /* descriptors are lost: behind the first lost_at, of frames begun before lost_end */
    unsigned lost_at;
    uint64_t received, lost_end; /* bytes since the beginning */
    struct out *out_head, **out_tail;
    size_t queued, queue_max;
    bool held;
    const char *error;
};

/*
 * Buffers and blocks that nobody uses just now, for all channels of the process: at most turns of a loop one
 * channel after the other fills and empties its own, but in several something may wait. Too large for the
 * heap to hand out cheaply.
 */
#define SPARES 4u
static _Atomic(void *) spare_in[SPARES], spare_out[SPARES];
#ifdef __SANITIZE_ADDRESS__ /* which is to notice when one is used behind its end */
static const bool keep_spares = false;
#else
static const bool keep_spares = true;
#endif

static void *spare_take(_Atomic(void *) spares[SPARES], size_t bytes)
{
    void *p = NULL;
    for (unsigned i = 0; i < SPARES && p == NULL; i++)
        p = atomic_exchange_explicit(&spares[i], NULL, memory_order_acquire);
    return p != NULL ? p : xrealloc(NULL, 1, bytes);
}

static void spare_give(_Atomic(void *) spares[SPARES], void *p)
{
    for (unsigned i = 0; i < SPARES && keep_spares; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&spares[i], &none, p, memory_order_release,
                                                    memory_order_relaxed))
            return;
    }
    free(p);
}

static void close_plain(int fd)
{
    close(fd);
}

struct chan *chan_new(int fd, unsigned accept, fd_closer closer)
{
    struct chan *c = xcalloc(1, sizeof *c);
    c->fd = fd;
    c->accept = accept;
    c->closer = closer != NULL ? closer : close_plain;
    c->out_tail = &c->out_head;
    c->queue_max = SIZE_MAX;
    return c;
}

static void out_free(struct chan *c, struct out *o)
{
    for (unsigned i = 0; i < o->nfds; i++)
        c->closer(o->fds[i]);
    if (o->size == HELD_BLOCK)
        spare_give(spare_out, o);
    else
        free(o);
}

static void in_release(struct chan *c)
{
    if (c->in_size == READ_SIZE)
        spare_give(spare_in, c->in);
    else
        free(c->in);
    c->in = NULL;
    c->in_start = c->in_end = c->in_size = 0;
}

void chan_free(struct chan *c)
{
    if (c == NULL)
        return;
    for (struct out *o = c->out_head, *next; o != NULL; o = next) {
        next = o->next;
        out_free(c, o);
    }
    for (unsigned i = 0; i < c->nfifo; i++)
        c->closer(c->fifo[i]);
    in_release(c);
    close(c->fd);
    free(c);
}

int chan_fd(const struct chan *c)
{
    return c->fd;
}

const char *chan_error(const struct chan *c)
{
    return c->error != NULL ? c->error : "connection closed";
}

size_t chan_queued(const struct chan *c)
{
    return c->queued;
}

void chan_set_queue_limit(struct chan *c, size_t bytes)
{
    c->queue_max = bytes;
}

void chan_hold(struct chan *c, bool on)
{
    c->held = on;
}

void chan_tell_lost(struct chan *c)
{
    c->tells_lost = true;
}

bool chan_at_frame_start(const struct chan *c)
{
    return c->in_start == c->in_end;
}

static int broken(struct chan *c, const char *why)
{
    c->error = why;
    return -EPROTO;
}

/* ---- receiving ---- */

static void in_reserve(struct chan *c, size_t room)
{
    if (c->in_start > 0 && c->in_size - c->in_end < room) {
        memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
        c->in_end -= c->in_start;
        c->in_start = 0;
    }
    if (c->in == NULL && room == READ_SIZE) {
        c->in = spare_take(spare_in, READ_SIZE);
        c->in_size = READ_SIZE;
    } else if (c->in_size - c->in_end < room) {
        c->in_size = c->in_end + room;
        c->in = xrealloc(c->in, c->in_size, 1);
    }
}

/* Something for chan_next to hand out or to complain about. */
bool chan_has_frame(const struct chan *c)
{
    size_t have = c->in_end - c->in_start;
    struct frame_head h;
    return have >= PWC_HEADER_BYTES && (frame_get(c->in + c->in_start, &h) < 0 || have >= frame_bytes(&h));
}

/* Keeps what fits and closes the rest. */
static unsigned keep_fds(struct chan *c, struct msghdr *mh)
{
    unsigned came = 0;
    for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm != NULL; cm = CMSG_NXTHDR(mh, cm)) {
        if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++, came++) {
            int fd;
            memcpy(&fd, CMSG_DATA(cm) + i * sizeof fd, sizeof fd);
            if (c->nfifo < FIFO_MAX)
                c->fifo[c->nfifo++] = fd;
            else
                c->closer(fd);
        }
    }
    return came;
}

static void close_from(struct chan *c, unsigned first)
{
    while (c->nfifo > first)
        c->closer(c->fifo[--c->nfifo]);
}

/* The kernel dropped those for which this process had no room, be it all. Whose they were the headers will
 * tell. */
static void lose(struct chan *c)
{
    if (c->lost)
        close_from(c, c->lost_at);
    c->lost = true;
    c->lost_at = c->nfifo;
    c->lost_end = c->received;
}

static int take_fds(struct chan *c, struct msghdr *mh)
{
    unsigned had = c->nfifo, came = keep_fds(c, mh);
    bool cut = (mh->msg_flags & MSG_CTRUNC) != 0,
         too_many = had + came > FIFO_MAX || (cut && came == FIFO_MAX);
    if (too_many || (cut && !c->tells_lost))
        return broken(c, "too many descriptors, or no room for them");
    if (cut)
        lose(c);
    return 0;
}

static int fill(struct chan *c, int flags)
{
    if (chan_has_frame(c))
        return (int)(c->in_end - c->in_start);
    in_reserve(c, c->in != NULL ? READ_LEAST : READ_SIZE);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FIFO_MAX)];
    } control;
    struct iovec iov = {c->in + c->in_end, c->in_size - c->in_end};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | flags);
    if (n < 0) {
        int r = errno == EINTR ? -EAGAIN : -errno;
        if (c->in_start == c->in_end)
            in_release(c);
        return r;
    }
    c->in_end += (size_t)n;
    c->received += (size_t)n;
    int r = take_fds(c, &mh);
    return r < 0 ? r : (int)n;
}

int chan_fill(struct chan *c)
{
    return fill(c, MSG_DONTWAIT);
}

int chan_fill_wait(struct chan *c)
{
    return fill(c, 0);
}

/* The next frame's; later ones are not affected. */
static bool lost_some(struct chan *c, const struct frame_head *h)
{
    if (c->lost && c->received - (c->in_end - c->in_start) >= c->lost_end)
        c->lost = false;
    return c->lost && h->nfds > c->lost_at;
}

static int check_head(struct chan *c, const struct frame_head *h, const struct msg_desc *desc)
{
    if (desc != NULL) {
        if ((desc->sender & c->accept) == 0)
            return broken(c, "message from the wrong side");
        if (h->body > desc->body_max || frame_tail(h) > desc->tail_max || h->nfds > desc->fds_max)
            return broken(c, "message too large for its type");
    }
    if (!lost_some(c, h) && c->nfifo < h->nfds)
        return broken(c, "descriptors missing");
    return 0;
}

static void fifo_drop(struct chan *c, unsigned n)
{
    c->nfifo -= n;
    memmove(c->fifo, c->fifo + n, c->nfifo * sizeof(int));
    c->lost_at -= MIN(n, c->lost_at);
}

/* Of a frame that has lost some none is of use. */
static void fifo_close(struct chan *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        c->closer(c->fifo[i]);
    fifo_drop(c, n);
}

static void frame_fill(struct chan *c, const struct frame_head *h, const struct msg_desc *desc,
                       struct frame *ret)
{
    bool lost = lost_some(c, h);
    if (lost)
        fifo_close(c, c->lost_at);
    const uint8_t *at = c->in + c->in_start + PWC_HEADER_BYTES;
    *ret = (struct frame){
        .type = h->type,
        .nfds = lost ? 0 : h->nfds,
        .lost = lost,
        .tag = h->tag,
        .desc = desc,
        .body = at,
        .body_len = h->body,
        .tail = at + h->body,
        .tail_len = frame_tail(h),
    };
    for (unsigned i = 0; i < PWC_FDS_MAX; i++)
        ret->fds[i] = i < ret->nfds ? c->fifo[i] : -1;
    fifo_drop(c, ret->nfds);
    c->in_start += frame_bytes(h);
}

int chan_next(struct chan *c, struct frame *ret)
{
    size_t have = c->in_end - c->in_start;
    if (have == 0) {
        if (c->nfifo > 0)
            return broken(c, "descriptors without a message");
        in_release(c);
        return 0;
    }
    if (have < PWC_HEADER_BYTES)
        return c->nfifo > PWC_FDS_MAX ? broken(c, "surplus descriptors") : 0;
    struct frame_head h;
    if (frame_get(c->in + c->in_start, &h) < 0)
        return broken(c, "malformed frame header");
    const struct msg_desc *desc = msg_find(h.type);
    int r = check_head(c, &h, desc);
    if (r < 0)
        return r;
    if (have < frame_bytes(&h)) {
        if (c->nfifo > h.nfds)
            return broken(c, "surplus descriptors");
        in_reserve(c, frame_bytes(&h) - have);
        return 0;
    }
    frame_fill(c, &h, desc, ret);
    return 1;
}

int frame_take_fd(struct frame *f, unsigned i)
{
    return TAKE_FD(f->fds[i]);
}

void frame_close(const struct chan *c, struct frame *f)
{
    for (unsigned i = 0; i < f->nfds; i++)
        if (f->fds[i] >= 0)
            c->closer(TAKE_FD(f->fds[i]));
}

/* ---- sending ---- */

static ssize_t send_some(struct chan *c, const uint8_t *bytes, size_t len, const int *fds, unsigned nfds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * PWC_FDS_MAX)];
    } control;
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > 0) {
        memset(&control, 0, sizeof control);
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
        cm->cmsg_level = SOL_SOCKET;
        cm->cmsg_type = SCM_RIGHTS;
        cm->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(cm), fds, sizeof(int) * nfds);
    }
    ssize_t n = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

int chan_flush(struct chan *c)
{
    while (c->out_head != NULL) {
        struct out *o = c->out_head;
        ssize_t n = send_some(c, o->bytes + o->sent, o->len - o->sent, o->fds, o->sent == 0 ? o->nfds : 0);
        if (n == -EAGAIN || n == -EINTR)
            return 0;
        if (n < 0)
            return (int)n;
        o->sent += (size_t)n;
        c->queued -= (size_t)n;
        if (o->sent < o->len)
            continue;
        c->out_head = o->next;
        if (c->out_head == NULL)
            c->out_tail = &c->out_head;
        out_free(c, o);
    }
    return 0;
}

/* Small frames share a block and so a system call; the last block is known by where out_tail points. */
static bool append(struct chan *c, const uint8_t *bytes, size_t len)
{
    if (c->out_head == NULL)
        return false;
    struct out *o = (struct out *)(void *)((char *)c->out_tail - offsetof(struct out, next));
    if (o->size - o->len < len)
        return false;
    memcpy(o->bytes + o->len, bytes, len);
    o->len += len;
    c->queued += len;
    return true;
}

/* Appends bytes[sent..] to the queue with duplicates of the descriptors, if they did not go yet. */
static int enqueue(struct chan *c, const uint8_t *bytes, size_t len, size_t sent, const int *fds,
                   unsigned nfds)
{
    if (nfds == 0 && sent == 0 && append(c, bytes, len))
        return 0;
    /* What comes behind something that waits is likely to wait too: small frames then share a block. */
    size_t size = c->held || c->out_head != NULL ? MAX(len, HELD_BLOCK) : len;
    struct out *o =
        size == HELD_BLOCK ? spare_take(spare_out, sizeof *o + size) : xrealloc(NULL, 1, sizeof *o + size);
    *o = (struct out){0};
    memcpy(o->bytes, bytes, len);
    o->len = len;
    o->sent = sent;
    o->size = size;
    for (unsigned i = 0; sent == 0 && i < nfds; i++) {
        int fd = fd_dup(fds[i]);
        if (fd < 0) {
            out_free(c, o);
            return fd;
        }
        o->fds[o->nfds++] = fd;
    }
    *c->out_tail = o;
    c->out_tail = &o->next;
    c->queued += len - sent;
    return 0;
}

int chan_send_full(struct chan *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg, const void *tail,
                   size_t tail_len, const int *fds, unsigned nfds)
{
    const struct msg_desc *desc = msg_find(type);
    uint8_t small[2048];
    AUTO_FREE uint8_t *large = NULL;
    const size_t room = sizeof small - PWC_HEADER_BYTES, most = desc != NULL ? desc->body_max : PWC_BODY_MAX;
    if (nfds > (desc != NULL ? desc->fds_max : PWC_FDS_MAX) ||
        tail_len > (desc != NULL ? desc->tail_max : PWC_TAIL_MAX))
        return -EMSGSIZE;
    size_t body = msg_pack(desc, msg, small + PWC_HEADER_BYTES, MIN(room, most));
    if (body == MSG_TOO_LARGE || body + tail_len > room) {
        large = xrealloc(NULL, 1, PWC_HEADER_BYTES + most + tail_len);
        body = msg_pack(desc, msg, large + PWC_HEADER_BYTES, most);
    }
    if (body == MSG_TOO_LARGE)
        return -EMSGSIZE;
    size_t len = PWC_HEADER_BYTES + body + tail_len;
    if (c->queued > 0 && len > c->queue_max - MIN(c->queued, c->queue_max))
        return -ENOBUFS;
    uint8_t *bytes = large != NULL ? large : small;
    struct frame_head h = {(uint32_t)len - 4, type, (uint16_t)nfds, tag, (uint32_t)body};
    frame_put(bytes, &h);
    if (tail_len > 0)
        memcpy(bytes + PWC_HEADER_BYTES + body, tail, tail_len);

    size_t sent = 0;
    if (c->out_head == NULL && !c->held) {
        ssize_t n = send_some(c, bytes, len, fds, nfds);
        if (n < 0 && n != -EAGAIN && n != -EINTR)
            return (int)n;
        sent = n > 0 ? (size_t)n : 0;
    }
    return sent == len ? 0 : enqueue(c, bytes, len, sent, fds, nfds);
}

int chan_send(struct chan *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg)
{
    return chan_send_full(c, type, tag, msg, NULL, 0, NULL, 0);
}

int chan_wait(struct chan *c, int timeout_ms)
{
    const struct mono deadline = mono_add(clock_now(), timeout_ms * NS_PER_MS);
    for (;;) {
        struct pollfd p = {.fd = c->fd, .events = (short)(POLLIN | (c->out_head != NULL ? POLLOUT : 0))};
        int64_t left = timeout_ms < 0 ? -1 : MAX(mono_since(deadline, clock_now()), 0);
        int r = poll(&p, 1, left < 0 ? -1 : (int)((left + NS_PER_MS - 1) / NS_PER_MS));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return 0;
        if ((p.revents & POLLOUT) != 0 && (r = chan_flush(c)) < 0)
            return r;
        if ((p.revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0)
            return 1;
    }
}
