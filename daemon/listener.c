/*
 * listener.c - see listener.h.
 *
 * Binding races with other pwcds that start at the same time: each would find the same stale file, and the
 * slower one would remove the faster one's new socket. So the directory is locked from looking to listening,
 * unless strangers can write there too and could hold the lock for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/listener.h"
#include "ipc/fds.h"

#define BACKLOG                                                                                              \
    1024 /* the kernel cuts it to net.core.somaxconn; full, clients' connect(2) fails with EAGAIN */
#define OWN_DIRECTORY "/run/pwcd" /* made if missing; any other directory is the administrator's business */

/* ---- the service manager's sockets ---- */

int listener_from_service(struct listener *l, char **ret_error)
{
    int n = sd_listen_fds(1);
    if (n <= 0)
        return 0;
    if ((unsigned)n > LISTENER_MAX) {
        *ret_error =
            xasprintf("the service manager passed %d sockets; at most %u are understood", n, LISTENER_MAX);
        return -EINVAL;
    }
    *l = LISTENER_NONE;
    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0) {
            *ret_error =
                xasprintf("descriptor %d from the service manager is no listening AF_UNIX stream socket; "
                          "use ListenStream=/path with Accept=no",
                          fd);
            return -EINVAL;
        }
        int r = fd_set_nonblock(fd, true);
        if (r < 0)
            return r;
        l->fds[l->nfds++] = fd;
    }
    l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return n;
}

/* ---- a socket of our own ---- */

static int group_id(const char *group, gid_t *ret)
{
    char *end, buffer[4096];
    unsigned long v = strtoul(group, &end, 10);
    struct group g, *found = NULL;
    if (*group >= '0' && *group <= '9' && *end == '\0' && v < UINT32_MAX) {
        *ret = (gid_t)v;
        return 0;
    }
    if (getgrnam_r(group, &g, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return -ENOENT;
    *ret = g.gr_gid;
    return 0;
}

static int address(const char *path, struct sockaddr_un *ret, char **ret_error)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (*path != '/') {
        *ret_error = xasprintf("no socket to listen on: give --socket PATH");
        return -EINVAL;
    }
    if (strlen(path) >= sizeof ret->sun_path) {
        *ret_error = xasprintf("socket %s: the path has %zu bytes; the kernel takes at most %zu", path,
                               strlen(path), sizeof ret->sun_path - 1);
        return -ENAMETOOLONG;
    }
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return 0;
}

/* The directory of `path`, locked if that makes sense. */
static int lock_directory(const char *path, int *ret_fd, char **ret_error)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *dir = slash == path ? xstrdup("/") : strndup(path, (size_t)(slash - path));
    if (dir == NULL)
        return -ENOMEM;
    if (strcmp(dir, OWN_DIRECTORY) == 0)
        (void)mkdir(dir, 0755);
    AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int e = errno;
        *ret_error = xasprintf("socket %s: directory %s: %s", path, dir, strerror(e));
        return -e;
    }
    bool strangers = (st.st_mode & S_IWOTH) != 0 || (st.st_uid != geteuid() && st.st_uid != 0);
    if (!strangers && flock(fd, LOCK_EX) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Makes way for us, or says who is there. Non-blocking: a living pwcd with a full backlog answers EAGAIN. */
static int remove_stale(const struct sockaddr_un *sa, char **ret_error)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode)) {
        *ret_error = xasprintf("socket %s: there is a file that is no socket; remove it or name another",
                               sa->sun_path);
        return -EEXIST;
    }
    AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = connect(fd, (const struct sockaddr *)sa, sizeof *sa) < 0 ? -errno : 0;
    if (r == -ECONNREFUSED)
        return unlink(sa->sun_path) < 0 && errno != ENOENT ? -errno : 0;
    *ret_error =
        r == 0 || r == -EAGAIN
            ? xasprintf("socket %s: another pwcd listens there; end it or name another", sa->sun_path)
            : xasprintf("socket %s: cannot tell who listens there: %s", sa->sun_path, strerror(-r));
    return -EADDRINUSE;
}

/* Nobody may connect before mode and group are right: the file is born without any permission. */
static int bind_closed(int fd, const struct sockaddr_un *sa)
{
    mode_t before = umask(0777);
    int r = bind(fd, (const struct sockaddr *)sa, sizeof *sa) < 0 ? -errno : 0;
    umask(before);
    return r;
}

static int open_up(int fd, const char *path, mode_t mode, const char *group, struct stat *ret_st,
                   char **ret_error)
{
    gid_t gid = (gid_t)-1;
    if (*group != '\0' && group_id(group, &gid) < 0) {
        *ret_error = xasprintf("socket_group: there is no group \"%s\"", group);
        return -EINVAL;
    }
    if (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) < 0) {
        int e = errno;
        *ret_error = xasprintf("socket %s: cannot be given to group %s: %s", path, group, strerror(e));
        return -e;
    }
    if (listen(fd, BACKLOG) < 0 || chmod(path, mode) < 0 || lstat(path, ret_st) < 0)
        return -errno;
    return 0;
}

static int make_socket(const struct sockaddr_un *sa, mode_t mode, const char *group, int *ret_fd,
                       struct stat *ret_st, char **ret_error)
{
    AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = bind_closed(fd, sa);
    if (r < 0)
        return r;
    r = open_up(fd, sa->sun_path, mode, group, ret_st, ret_error);
    if (r < 0) {
        unlink(sa->sun_path);
        return r;
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int listener_bind(struct listener *l, const char *path, mode_t mode, const char *group, char **ret_error)
{
    struct sockaddr_un sa;
    struct stat st;
    char *error = NULL;
    AUTO_FD int lock = -1;
    int fd = -1, r = address(path, &sa, &error);
    if (r == 0)
        r = lock_directory(path, &lock, &error);
    if (r == 0)
        r = remove_stale(&sa, &error);
    if (r == 0)
        r = make_socket(&sa, mode, group, &fd, &st, &error);
    if (r < 0) {
        *ret_error = error != NULL ? error : xasprintf("socket %s: %s", path, strerror(-r));
        return r;
    }
    *l = (struct listener){.fds = {fd},
                           .nfds = 1,
                           .reserve = open("/dev/null", O_RDONLY | O_CLOEXEC),
                           .path = xstrdup(path),
                           .dev = st.st_dev,
                           .ino = st.st_ino};
    return 0;
}

void listener_close(struct listener *l)
{
    struct stat st;
    if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    for (unsigned i = 0; i < l->nfds; i++)
        close(l->fds[i]);
    if (l->reserve >= 0)
        close(l->reserve);
    free(l->path);
    *l = LISTENER_NONE;
}

/* ---- accepting ---- */

/* Gives up the reserve to take the oldest peer off the queue and turn it away. */
static int shed_one(struct listener *l, int fd)
{
    if (l->reserve < 0)
        l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (l->reserve < 0)
        return -ENFILE;
    close(TAKE_FD(l->reserve));
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), e = errno;
    if (peer >= 0) {
        if (l->turn_away != NULL)
            l->turn_away(peer);
        else
            close(peer);
        l->shed++;
    }
    l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (peer >= 0)
        return -EMFILE;
    return e == EAGAIN ? -EAGAIN : -ENFILE; /* somebody else took it, or the limit is below what we hold */
}

static int peer_of(int fd, struct peer *ret)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof cred)
        return -ECONNABORTED;
    *ret = (struct peer){cred.uid, cred.gid, cred.pid};
    return 0;
}

int listener_accept(struct listener *l, int fd, struct peer *ret_peer)
{
    AUTO_FD int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0) {
        int e = errno;
        if (e == EMFILE || e == ENFILE)
            return shed_one(l, fd);
        return e == EINTR ? -ECONNABORTED : -e;
    }
    int r = peer_of(peer, ret_peer);
    return r < 0 ? r : TAKE_FD(peer);
}
