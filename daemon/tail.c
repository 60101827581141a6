/* tail.c - see tail.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/tail.h"

/* So many times at most anybody's words are read between two ticks: a quarter of a megabyte, 0.1 ms. */
#define READS_A_TICK 64u

/* What was read from `from` on is of this chunk, or of one before it that had not been read by then. */
struct spot {
    uint64_t lease, chunk, from;
};

struct tail {
    int fd;
    unsigned reads; /* since the last tick; as many as there may be: its event waits for the next one */
    struct event *ev;
    const struct segment_slot *slot;
    uint64_t total, mark; /* bytes read in its life; what of them is of leases that are over */
    struct spot was, is;  /* the last two that the slot said behind reads */
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

static int later(const struct spot *a, uint64_t lease, uint64_t chunk)
{
    if (a->lease != lease)
        return a->lease > lease ? 1 : -1;
    return (a->chunk > chunk) - (a->chunk < chunk);
}

/* Looked at behind the read: nothing of what was read is of a later chunk than the slot says now. Chunk
 * before lease, as they are stored in the other order. SLOT_IDLE is later than all chunks of its lease. */
static void ascribe(struct tail *t)
{
    uint64_t chunk = atomic_load(&t->slot->chunk), lease = atomic_load(&t->slot->lease);
    if (later(&t->is, lease, chunk) == 0)
        return;
    t->was = t->is;
    t->is = (struct spot){lease, chunk, t->total};
}

static bool read_some(struct tail *t)
{
    char buf[4096];
    ssize_t n = read(t->fd, buf, sizeof buf);
    if (n > 0) {
        ascribe(t);
        keep(t, buf, (size_t)n);
        t->total += (uint64_t)n;
    } else if (n == 0) {
        event_del(t->ev); /* its last writer is gone */
    }
    return n == (ssize_t)sizeof buf;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct tail *t = arg;
    read_some(t);
    if (++t->reads == READS_A_TICK)
        event_del(t->ev);
}

struct tail *tail_new(struct event_base *base, const struct segment_slot *slot, int *ret_fd)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return NULL;
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    struct tail *t = xcalloc(1, sizeof *t);
    t->fd = p[0];
    t->slot = slot;
    t->ev = event_new(base, p[0], EV_READ | EV_PERSIST, on_readable, t);
    if (event_add(t->ev, NULL) < 0)
        t->reads = READS_A_TICK; /* at the next tick */
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

void tail_tick(struct tail *t)
{
    if (t == NULL)
        return;
    if (t->reads < READS_A_TICK || event_add(t->ev, NULL) == 0)
        t->reads = 0;
}

/* What waits in the pipe need not be read for that. */
void tail_mark(struct tail *t)
{
    int waiting = 0;
    if (t != NULL && ioctl(t->fd, FIONREAD, &waiting) == 0)
        t->mark = t->total + (uint64_t)waiting;
}

/* Of a chunk before those two it is not known where its words begin, only that they are behind the mark. */
static uint64_t begins(const struct tail *t, uint64_t lease, uint64_t chunk)
{
    if (chunk >= SLOT_FINISH)
        return t->mark;
    int is = later(&t->is, lease, chunk), was = later(&t->was, lease, chunk);
    if (is < 0)
        return t->total; /* it has said nothing */
    if (is > 0 && was > 0)
        return t->mark;
    return MAX(t->mark, is > 0 && was == 0 ? t->was.from : t->is.from);
}

void tail_text(struct tail *t, uint64_t lease, uint64_t chunk, char *text, size_t size)
{
    text[0] = '\0';
    if (t == NULL)
        return;
    for (int i = 0; i < 16 && read_some(t); i++)
        continue;
    uint64_t own = t->total - MIN(t->total, begins(t, lease, chunk));
    size_t n = MIN(MIN(t->len, size - 1), own);
    for (size_t i = 0; i < n; i++) {
        char c = t->bytes[t->len - n + i];
        text[i] = (c >= ' ' && c < 0x7f) || c == '\n' ? c : '?';
    }
    text[n] = '\0';
}
