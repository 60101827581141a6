/* input.c - what the user names, as a descriptor that can seek: pipes, stdin and files that do not
 * tell their size are copied to anonymous files. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

#define WRITER_MS 5000

const char *temporary_dir(void)
{
    const char *dir = getenv("TMPDIR");
    return dir != NULL && dir[0] != '\0' ? dir : "/tmp";
}

int anonymous_file(void)
{
    int fd = open(temporary_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : memfd_create("pwcctl", MFD_CLOEXEC);
}

static ssize_t write_some(int fd, const char *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = write(fd, p + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return -1;
        done += (size_t)w;
    }
    return 0;
}

int copy_bytes(int from, int to)
{
    enum { BLOCK = 256 * 1024 };
    char *buf = must(malloc(BLOCK));
    ssize_t n;
    while ((n = read(from, buf, BLOCK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || write_some(to, buf, (size_t)n) < 0)
            break;
    }
    int saved = errno;
    free(buf);
    errno = saved;
    return n == 0 ? 0 : -1;
}

/* Takes fd, of which `n` bytes have been read already. */
static int spool(const char *name, const char *first, size_t n, int fd, int *ret_fd)
{
    int to = anonymous_file();
    int r = to < 0 || write_some(to, first, n) < 0 || copy_bytes(fd, to) < 0
                ? complain(EXIT_FAILED, "cannot copy '%s' to a temporary file in %s: %s", name,
                           temporary_dir(), strerror(errno))
                : 0;
    close(fd);
    if (r == 0)
        *ret_fd = to;
    else if (to >= 0)
        close(to);
    return r;
}

static const char *kind_refused(mode_t mode)
{
    if (S_ISDIR(mode))
        return "is a directory: name the files in it";
    if (S_ISCHR(mode) || S_ISBLK(mode))
        return "is a device: a file or a pipe is needed";
    if (S_ISSOCK(mode))
        return "is a socket: a file or a pipe is needed";
    return NULL;
}

/* Files of /proc say that they are empty, and are not: they are read to their end, as pipes are. */
static bool tells_size(int fd, const struct stat *st)
{
    char c;
    return st->st_size > 0 || pread(fd, &c, 1, 0) == 0;
}

static int open_stdin(int *ret_fd, struct stat *st)
{
    int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 || fstat(fd, st) < 0)
        return complain(EXIT_FAILED, "cannot read stdin: %s", strerror(errno));
    /* A socket is as good as a pipe here: servers hand them to what they start. */
    const char *refused = S_ISSOCK(st->st_mode) ? NULL : kind_refused(st->st_mode);
    if (refused != NULL) {
        close(fd);
        return complain(EXIT_FAILED, "cannot read stdin: it %s", refused);
    }
    int flags = fcntl(fd, F_GETFL);
    bool whole = S_ISREG(st->st_mode) && lseek(fd, 0, SEEK_CUR) == 0 && (flags & O_ACCMODE) != O_WRONLY &&
                 (flags & O_DIRECT) == 0 && tells_size(fd, st);
    if (!whole)
        return spool("-", NULL, 0, fd, ret_fd);
    *ret_fd = fd;
    return 0;
}

/* Opened without waiting; a writer has some seconds to come, as in `<(command)` it has already. */
static int open_fifo(const char *name, int *ret_fd)
{
    char first;
    ssize_t n = -1;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return complain(EXIT_FAILED, "cannot open '%s': %s", name, strerror(errno));
    int r = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, WRITER_MS);
    if (r == 0 && (n = read(fd, &first, 1)) == 0) { /* EAGAIN: with a writer, who is only slow */
        close(fd);
        return complain(EXIT_FAILED, "cannot read '%s': it is a FIFO that nobody writes to", name);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return spool(name, &first, n > 0 ? 1 : 0, fd, ret_fd);
}

int input_open(const char *name, int *ret_fd, struct stat *ret_st)
{
    if (strcmp(name, "-") == 0)
        return open_stdin(ret_fd, ret_st);
    const char *refused = NULL;
    ret_st->st_mode = 0;
    if (stat(name, ret_st) == 0 && (refused = kind_refused(ret_st->st_mode)) != NULL)
        return complain(EXIT_FAILED, "cannot read '%s': it %s", name, refused);
    if (S_ISFIFO(ret_st->st_mode))
        return open_fifo(name, ret_fd);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, ret_st) < 0)
        return complain(EXIT_FAILED, "cannot open '%s': %s", name, strerror(errno));
    if (!tells_size(fd, ret_st))
        return spool(name, NULL, 0, fd, ret_fd);
    *ret_fd = fd;
    return 0;
}
