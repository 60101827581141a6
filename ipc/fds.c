/* fds.c - see fds.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/fds.h"

int fd_set_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_dup(int fd)
{
    int n = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return n < 0 ? -errno : n;
}

int memfd_sized(const char *name, uint64_t bytes, int *ret_fd)
{
    AUTO_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = fd_resize(fd, bytes);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int memfd_blank(const char *name, uint64_t most, int *ret_fd)
{
    AUTO_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = fd_resize(fd, most);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int memfd_fill(int fd, const void *data, size_t len)
{
    int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : write_all(fd, data, len);
    if (r == 0)
        r = fd_resize(fd, len);
    if (r < 0)
        return r;
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ? -errno : 0;
}

int memfd_sealed_copy(const char *name, const void *data, size_t len, int *ret_fd)
{
    AUTO_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r = fd < 0 ? -errno : memfd_fill(fd, data, len);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

bool memfd_is_sealed(int fd, bool write)
{
    int want = F_SEAL_SHRINK | (write ? F_SEAL_WRITE : 0);
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & want) == want;
}

int fd_reopen_ro(int fd, int *ret_fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int n = open(path, O_RDONLY | O_CLOEXEC);
    if (n < 0)
        return -errno;
    *ret_fd = n;
    return 0;
}

int fd_resize(int fd, uint64_t bytes)
{
    int r;
    do
        r = ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r;
}

int fd_reserve(int fd, uint64_t bytes)
{
    int r;
    do
        r = fallocate(fd, 0, 0, (off_t)bytes) < 0 ? -errno : 0;
    while (r == -EINTR);
    return r == -EOPNOTSUPP ? fd_resize(fd, bytes) : r;
}

int write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int pread_all(int fd, void *data, size_t len, uint64_t offset)
{
    char *p = data;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}
