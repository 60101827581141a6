/*
 * fuzz_channel.c - a peer that sends any bytes in any pieces with any descriptors, to a channel whose owner
 * reads now and then. Whatever happens, frames keep their limits, their descriptors are open, and none is
 * left over.
 *
 * Input, again and again: a byte of commands, a length byte, that many bytes for the socket. Commands: bits 0
 * to 2 how many descriptors (7: more than a frame may have), bit 3 read afterwards, bit 4 take one frame
 * only, bit 5 hang up.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "tests/fuzz/fuzz.h"

static void say(int peer, const uint8_t *bytes, size_t len, unsigned nfds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 20)];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > 0) {
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
        *cm = (struct cmsghdr){CMSG_LEN(sizeof(int) * nfds), SOL_SOCKET, SCM_RIGHTS};
        for (unsigned i = 0; i < nfds; i++)
            memcpy(CMSG_DATA(cm) + i * sizeof peer, &peer, sizeof peer);
    }
    (void)!sendmsg(peer, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void check_frame(const struct frame *f)
{
    FUZZ_CHECK(f->nfds <= PWC_FDS_MAX && f->body_len <= PWC_BODY_MAX && f->tail_len <= PWC_TAIL_MAX);
    FUZZ_CHECK(f->desc == NULL || (f->body_len <= f->desc->body_max && f->tail_len <= f->desc->tail_max &&
                                   f->nfds <= f->desc->fds_max && f->desc->sender != MSG_FROM_DAEMON));
    for (unsigned i = 0; i < f->nfds; i++)
        FUZZ_CHECK(fcntl(f->fds[i], F_GETFD) == FD_CLOEXEC);
    uint32_t sum = 0;
    for (size_t i = 0; i < f->body_len; i++)
        sum += f->body[i];
    for (size_t i = 0; i < f->tail_len; i++)
        sum += f->tail[i];
    __asm__ volatile("" : : "r"(sum)); /* every byte of it can be read */
}

/* False: the channel broke. */
static bool take(struct chan *c, int most)
{
    struct frame f;
    int r = 0;
    for (int i = 0; i < most && (r = chan_next(c, &f)) > 0; i++) {
        check_frame(&f);
        frame_close(c, &f);
    }
    return r >= 0;
}

static void converse(struct chan *c, int peer, const uint8_t *data, size_t size)
{
    while (size >= 2) {
        unsigned command = data[0];
        size_t len = MIN((size_t)data[1], size - 2);
        if (len > 0)
            say(peer, data + 2, len, (command & 7) == 7 ? PWC_FDS_MAX + 2 : command & 7);
        data += 2 + len;
        size -= 2 + len;
        if ((command & 0x20) != 0)
            shutdown(peer, SHUT_WR);
        if ((command & 0x08) == 0)
            continue;
        if (chan_fill(c) == -EPROTO || !take(c, (command & 0x10) != 0 ? 1 : INT32_MAX))
            return;
    }
    while (chan_fill(c) > 0 && take(c, INT32_MAX))
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned before = fuzz_open_descriptors();
    int ends[2];
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    struct chan *c = chan_new(ends[0], MSG_FROM_CLIENT | MSG_FROM_SUPER, NULL);
    converse(c, ends[1], data, size);
    chan_free(c);
    close(ends[1]);
    FUZZ_CHECK(fuzz_open_descriptors() == before);
    return 0;
}
