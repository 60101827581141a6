/* chan_peer.c - see chan_peer.h. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/unit/chan_peer.h"

struct chan *chan;
int peer;
static int open_at_start;

static int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(d);
    int n = 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

void chan_peer_setup(void)
{
    int ends[2];
    open_at_start = count_fds();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    chan = chan_new(ends[0], MSG_FROM_CLIENT | MSG_FROM_SUPER, NULL);
    peer = ends[1];
}

void chan_peer_teardown(void)
{
    chan_free(TAKE_PTR(chan));
    if (peer >= 0)
        close(peer);
    ck_assert_int_eq(count_fds(), open_at_start);
}

int chan_peer_new_fds(void)
{
    return count_fds() - open_at_start;
}

size_t make(uint8_t *to, uint16_t type, uint16_t nfds, uint64_t tag, size_t body, size_t tail)
{
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + body + tail), type, nfds, tag,
                                 (uint32_t)body};
    frame_put(to, &h);
    for (size_t i = 0; i < body + tail; i++)
        to[PWC_HEADER_BYTES + i] = (uint8_t)(tag + i);
    return PWC_HEADER_BYTES + body + tail;
}

void say(const void *bytes, size_t len, const int *fds, size_t nfds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 64)];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > 0) {
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
        *cm = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int) * nfds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(cm), fds, sizeof(int) * nfds);
    }
    ck_assert_int_eq(sendmsg(peer, &mh, MSG_NOSIGNAL), (ssize_t)len);
}

void say_with_files(const void *bytes, size_t len, size_t n, size_t first)
{
    int fds[64] = {0};
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(memfd_sized("test", 1000 + first + i, &fds[i]), 0);
    say(bytes, len, fds, n);
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

void expect_file(const struct frame *f, unsigned i, size_t number)
{
    struct stat st;
    ck_assert_int_ge(f->fds[i], 0);
    ck_assert_int_eq(fstat(f->fds[i], &st), 0);
    ck_assert_int_eq(st.st_size, (off_t)(1000 + number));
    ck_assert_int_ne(fcntl(f->fds[i], F_GETFD) & FD_CLOEXEC, 0);
}

size_t hear(uint8_t *to, size_t room, size_t *ret_fds)
{
    size_t len = 0;
    *ret_fds = 0;
    for (;;) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int) * 64)];
        } control;
        struct iovec iov = {to + len, room - len};
        struct msghdr mh = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(peer, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n <= 0)
            return len;
        len += (size_t)n;
        for (struct cmsghdr *cm = CMSG_FIRSTHDR(&mh); cm != NULL; cm = CMSG_NXTHDR(&mh, cm)) {
            size_t fds = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t i = 0; i < fds; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(cm) + i * sizeof fd, sizeof fd);
                close(fd);
            }
            *ret_fds += fds;
        }
    }
}
