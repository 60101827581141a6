/* peek.c - see peek.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daemon/peek.h"

static int reserve = -1;

int peek_open(int dir, const char *path, int flags)
{
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 && errno == EMFILE && reserve >= 0) {
        close(TAKE_FD(reserve));
        fd = openat(dir, path, O_RDONLY | O_CLOEXEC | flags);
    }
    return fd < 0 ? -errno : fd;
}

void peek_done(void)
{
    if (reserve < 0)
        reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* The kernel hands such files out a page at a time. */
static int read_text(int fd, char *text, size_t size)
{
    size_t n = 0;
    ssize_t r = 1;
    while (n < size - 1 && (r = read(fd, text + n, size - 1 - n)) > 0)
        n += (size_t)r;
    text[r < 0 ? 0 : n] = '\0';
    return r < 0 ? -errno : 0;
}

int peek(int dir, const char *path, char *text, size_t size)
{
    text[0] = '\0';
    int fd = peek_open(dir, path, 0);
    int r = fd < 0 ? fd : read_text(fd, text, size);
    if (fd >= 0)
        close(fd);
    peek_done();
    return r;
}

bool peek_is_gone(int r)
{
    return r == -ENOENT || r == -ESRCH;
}
