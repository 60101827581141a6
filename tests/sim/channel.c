/*
 * channel.c - ipc/channel.h over queues: what one side sends is at once in the other's queue, as with
 * AF_UNIX; late is only when the other side looks. Order within a channel is kept, between channels it is
 * anybody's.
 *
 * What the supervisor sends is held against the table of messages: sizes, descriptors, and that it may send
 * it.
 */
#include <errno.h>
#include <string.h>

#include "ipc/fds.h"
#include "tests/sim/sim.h"

#define SOCKET_ROOM 4096u /* of a client that does not read; what is beyond it waits in the supervisor */

struct chan {
    struct file *file; /* borrowed: the descriptor's */
    int fd;
    unsigned accept;
    fd_closer closer;
    bool tells_lost;
    size_t queue_max;
    struct packet *in, **in_tail, *current;
};

/* ---- both sides ---- */

void end_pair(struct file *ret[2])
{
    struct end *e[2];
    for (int i = 0; i < 2; i++) {
        e[i] = xcalloc(1, sizeof *e[i]);
        e[i]->tail = &e[i]->head;
        ret[i] = file_new(FILE_SOCKET);
        ret[i]->end = e[i];
        e[i]->file = ret[i];
    }
    e[0]->other = e[1];
    e[1]->other = e[0];
}

static void tell(struct end *e)
{
    if (e->reader != NULL) {
        if (e->reader->place == 0)
            due_in(e->reader, sim_delay());
    } else {
        file_wake(e->file, sim_delay());
    }
}

void packet_free(struct packet *p)
{
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->nfiles; i++)
        file_drop(&p->files[i]);
    free(p);
}

struct packet *end_take(struct end *e)
{
    struct packet *p = e->head;
    if (p == NULL)
        return NULL;
    e->head = p->next;
    if (e->head == NULL)
        e->tail = &e->head;
    e->bytes -= p->body_len + p->tail_len + PWC_HEADER_BYTES;
    p->next = NULL;
    return p;
}

static void drop_held(struct end *e)
{
    for (struct packet *p; (p = e->held) != NULL; packet_free(p))
        e->held = p->next;
}

void end_close(struct end *e)
{
    if (e == NULL)
        return;
    struct end *other = e->other;
    if (other != NULL) {
        other->other = NULL;
        other->eof = true;
        tell(other);
    }
    struct packet *p;
    while ((p = end_take(e)) != NULL)
        packet_free(p);
    drop_held(e);
    free(e);
}

static void push(struct end *to, struct packet *p)
{
    *to->tail = p;
    to->tail = &p->next;
    to->bytes += p->body_len + p->tail_len + PWC_HEADER_BYTES;
    tell(to);
}

static struct packet *packet_new(uint16_t type, uint64_t tag, const ProtobufCMessage *m, const void *tail,
                                 size_t tail_len)
{
    size_t body = m != NULL ? protobuf_c_message_get_packed_size(m) : 0;
    struct packet *p = xcalloc(1, sizeof *p + body + tail_len);
    p->type = type;
    p->tag = tag;
    p->body_len = (uint32_t)body;
    p->tail_len = (uint32_t)tail_len;
    if (m != NULL)
        (void)msg_pack(msg_find(type), m, p->bytes, body);
    if (tail_len > 0)
        memcpy(p->bytes + body, tail, tail_len);
    return p;
}

/* ---- the peers' side ---- */

static void give(struct end *e, struct packet *p)
{
    struct packet **last = &e->held;
    while (*last != NULL)
        last = &(*last)->next;
    *last = p;
    if (e->other == NULL)
        drop_held(e);
    while (!e->holds && (p = e->held) != NULL) {
        e->held = TAKE_PTR(p->next);
        push(e->other, p);
    }
}

void end_send(struct end *e, uint16_t type, uint64_t tag, const ProtobufCMessage *m, const void *tail,
              size_t tail_len, struct file **files, unsigned nfiles)
{
    struct packet *p = packet_new(type, tag, m, tail, tail_len);
    for (unsigned i = 0; i < nfiles; i++)
        p->files[p->nfiles++] = files[i];
    give(e, p);
}

void end_send_garbage(struct end *e)
{
    struct packet *p = packet_new(0, 0, NULL, NULL, 0);
    p->garbage = true;
    give(e, p);
}

ProtobufCMessage *packet_message(const struct packet *p)
{
    ProtobufCMessage *m = msg_unpack(msg_find(p->type), p->bytes, p->body_len);
    SIM_CHECK(m != NULL, "the supervisor's %s does not parse", msg_name(p->type));
    return m;
}

/* ---- the supervisor's side ---- */

static void close_plain(int fd)
{
    fd_close_(&fd);
}

struct chan *chan_new(int fd, unsigned accept, fd_closer closer)
{
    struct chan *c = xcalloc(1, sizeof *c);
    *c = (struct chan){
        .file = fd_file(fd), .fd = fd, .accept = accept, .closer = closer != NULL ? closer : close_plain};
    c->in_tail = &c->in;
    c->queue_max = SIZE_MAX;
    return c;
}

void chan_free(struct chan *c)
{
    if (c == NULL)
        return;
    for (struct packet *p = c->in, *next; p != NULL; p = next) {
        next = p->next;
        packet_free(p);
    }
    packet_free(c->current);
    fd_close_(&c->fd);
    free(c);
}

int chan_fd(const struct chan *c)
{
    return c->fd;
}

const char *chan_error(const struct chan *c)
{
    (void)c;
    return "broken";
}

size_t chan_queued(const struct chan *c)
{
    const struct end *other = c->file->end->other;
    return other != NULL && other->stalled && other->bytes > SOCKET_ROOM ? other->bytes - SOCKET_ROOM : 0;
}

int chan_flush(struct chan *c)
{
    return c->file->end->other != NULL ? 0 : -EPIPE;
}

/* What the supervisor gathers and what it sends reach the peer alike: late is only when the peer looks. */
void chan_hold(struct chan *c, bool on)
{
    (void)c, (void)on;
}

void chan_tell_lost(struct chan *c)
{
    c->tells_lost = true;
}

void chan_set_queue_limit(struct chan *c, size_t bytes)
{
    c->queue_max = bytes;
}

/* Everything that was sent, or a part of it: a read ends where the buffer does. */
int chan_fill(struct chan *c)
{
    struct end *e = c->file->end;
    if (c->in != NULL)
        return 1;
    if (e->head == NULL)
        return e->eof ? 0 : -EAGAIN;
    do {
        struct packet *p = end_take(e);
        *c->in_tail = p;
        c->in_tail = &p->next;
    } while (e->head != NULL && !sim_chance(100));
    return 1;
}

static bool well_formed(const struct chan *c, const struct packet *p, const struct msg_desc *desc)
{
    if (p->garbage)
        return false;
    return desc == NULL ? p->nfiles == 0
                        : (desc->sender & c->accept) != 0 && p->body_len <= desc->body_max &&
                              p->tail_len <= desc->tail_max && p->nfiles <= desc->fds_max;
}

/* Who receives has no room for them. */
static bool lose_files(struct packet *p)
{
    if (p->nfiles == 0 || !kernel_no_room(p->nfiles))
        return false;
    while (p->nfiles > 0)
        file_drop(&p->files[--p->nfiles]);
    sim_tally->lost++;
    if (p->type != PWC_MSG_ITEM)
        return true;
    Pwc__Item *m = (Pwc__Item *)packet_message(p);
    struct spec *s = spec_of_job(m->job);
    if (s != NULL)
        s->item_lost = true;
    msg_free(&m->base);
    return true;
}

int chan_next(struct chan *c, struct frame *ret)
{
    packet_free(TAKE_PTR(c->current));
    struct packet *p = c->in;
    if (p == NULL)
        return 0;
    c->in = p->next;
    if (c->in == NULL)
        c->in_tail = &c->in;
    p->next = NULL;
    c->current = p;
    const struct msg_desc *desc = msg_find(p->type);
    if (!well_formed(c, p, desc))
        return -EPROTO;
    bool lost = lose_files(p);
    SIM_CHECK(!lost || c->tells_lost, "a lost descriptor breaks the channel on which %s came", desc->name);
    *ret = (struct frame){.type = p->type,
                          .lost = lost,
                          .nfds = (uint16_t)p->nfiles,
                          .tag = p->tag,
                          .desc = desc,
                          .body = p->bytes,
                          .body_len = p->body_len,
                          .tail = p->bytes + p->body_len,
                          .tail_len = p->tail_len};
    for (unsigned i = 0; i < PWC_FDS_MAX; i++)
        ret->fds[i] = i < p->nfiles ? fd_install(TAKE_PTR(p->files[i])) : -1;
    p->nfiles = 0;
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

int chan_send_full(struct chan *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg, const void *tail,
                   size_t tail_len, const int *fds, unsigned nfds)
{
    const struct msg_desc *desc = msg_find(type);
    struct end *other = c->file->end->other;
    SIM_CHECK(desc != NULL && (desc->sender & c->accept) == 0,
              "the supervisor sends %s to whom it is not for", msg_name(type));
    if (other == NULL)
        return -EPIPE;
    struct packet *p = packet_new(type, tag, msg, tail, tail_len);
    SIM_CHECK(p->body_len <= desc->body_max && p->tail_len <= desc->tail_max && nfds <= desc->fds_max,
              "the supervisor's %s is too large: body %u, tail %u, %u descriptors", desc->name, p->body_len,
              p->tail_len, nfds);
    if (nfds > 0 && kernel_fails()) {
        packet_free(p);
        return -ETOOMANYREFS;
    }
    if (chan_queued(c) > c->queue_max) {
        packet_free(p);
        return -ENOBUFS;
    }
    for (unsigned i = 0; i < nfds; i++)
        p->files[p->nfiles++] = file_ref(fd_file(fds[i]));
    push(other, p);
    return 0;
}

int chan_send(struct chan *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg)
{
    return chan_send_full(c, type, tag, msg, NULL, 0, NULL, 0);
}
