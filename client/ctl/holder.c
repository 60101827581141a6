/*
 * holder.c - who listens under a name. A connection tells whose the other end is; while the backlog is full
 * there is none, and only the kernel's list of sockets tells (sock_diag(7)). What it says is taken apart with
 * care all the same: lengths are its own.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

struct name {
    const char *bytes;
    size_t len;
};

static int ask(void)
{
    struct {
        struct nlmsghdr head;
        struct unix_diag_req req;
    } m = {
        .head = {.nlmsg_len = sizeof m,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .req = {.sdiag_family = AF_UNIX,
                .udiag_states = 1u << TCP_LISTEN,
                .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_UID},
    };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd >= 0 && send(fd, &m, sizeof m, 0) != (ssize_t)sizeof m) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* One socket: is it that of this name, and does the kernel say whose? */
static bool is_it(const char *p, size_t len, const struct name *name, uid_t *ret_uid)
{
    bool named = false, owned = false;
    struct nlattr a;
    struct unix_diag_msg m;
    if (len < sizeof m)
        return false;
    memcpy(&m, p, sizeof m);
    if (m.udiag_type != SOCK_STREAM) /* each type has names of its own */
        return false;
    for (size_t at = NLMSG_ALIGN(sizeof(struct unix_diag_msg)); at + sizeof a <= len;
         at += NLMSG_ALIGN(a.nla_len)) {
        memcpy(&a, p + at, sizeof a);
        if (a.nla_len < sizeof a || a.nla_len > len - at)
            return false;
        const char *value = p + at + sizeof a;
        size_t n = a.nla_len - sizeof a;
        if (a.nla_type == UNIX_DIAG_NAME)
            named = n == name->len && memcmp(value, name->bytes, n) == 0;
        if (a.nla_type == UNIX_DIAG_UID && n == sizeof *ret_uid) {
            memcpy(ret_uid, value, n);
            owned = true;
        }
    }
    return named && owned;
}

/* A buffer of them: 1 it was there, 0 there will be more, -ENOENT that was the last. */
static int look(const char *p, size_t len, const struct name *name, uid_t *ret_uid)
{
    struct nlmsghdr h;
    for (size_t at = 0; at + sizeof h <= len; at += NLMSG_ALIGN(h.nlmsg_len)) {
        memcpy(&h, p + at, sizeof h);
        if (h.nlmsg_len < sizeof h || h.nlmsg_len > len - at || h.nlmsg_type != SOCK_DIAG_BY_FAMILY)
            return -ENOENT;
        if (is_it(p + at + NLMSG_HDRLEN, h.nlmsg_len - (size_t)NLMSG_HDRLEN, name, ret_uid))
            return 1;
    }
    return 0;
}

bool holder_of(const struct sockaddr_un *sa, socklen_t len, uid_t *ret_uid)
{
    const struct name name = {sa->sun_path, len - offsetof(struct sockaddr_un, sun_path)};
    char buf[32768]; /* the kernel sends no more at a time */
    int fd = ask(), r = fd < 0 ? -ENOENT : 0;
    while (r == 0) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EINTR)
            continue;
        r = n <= 0 ? -ENOENT : look(buf, (size_t)n, &name, ret_uid);
    }
    if (fd >= 0)
        close(fd);
    return r == 1;
}
