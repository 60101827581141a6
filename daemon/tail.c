/* tail.c - see tail.h. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/tail.h"

struct tail {
    int fd;
    struct event *ev;
    size_t len;
    char bytes[TAIL_BYTES];
};

static void keep(struct tail *t, const char *p, size_t n)
{
    if (n > TAIL_BYTES) {
        p += n - TAIL_BYTES;
        n = TAIL_BYTES;
    }
    size_t old = MIN(t->len, TAIL_BYTES - n);
    memmove(t->bytes, t->bytes + t->len - old, old);
    memcpy(t->bytes + old, p, n);
    t->len = old + n;
}

static bool read_some(struct tail *t)
{
    char buf[4096];
    ssize_t n = read(t->fd, buf, sizeof buf);
    if (n > 0)
        keep(t, buf, (size_t)n);
    else if (n == 0)
        event_del(t->ev); /* its last writer is gone */
    return n == (ssize_t)sizeof buf;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    read_some(arg);
}

struct tail *tail_new(struct event_base *base, int *ret_fd)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return NULL;
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    struct tail *t = xcalloc(1, sizeof *t);
    t->fd = p[0];
    t->ev = event_new(base, p[0], EV_READ | EV_PERSIST, on_readable, t);
    event_add(t->ev, NULL);
    *ret_fd = p[1];
    return t;
}

void tail_free(struct tail *t)
{
    if (t == NULL)
        return;
    event_free(t->ev);
    close(t->fd);
    free(t);
}

void tail_text(struct tail *t, char *text, size_t size)
{
    text[0] = '\0';
    if (t == NULL)
        return;
    for (int i = 0; i < 16 && read_some(t); i++)
        continue;
    size_t n = MIN(t->len, size - 1);
    for (size_t i = 0; i < n; i++) {
        char c = t->bytes[t->len - n + i];
        text[i] = (c >= ' ' && c < 0x7f) || c == '\n' ? c : '?';
    }
    text[n] = '\0';
}
