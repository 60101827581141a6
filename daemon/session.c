/* session.c - see session.h. What requests mean is in requests.c. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "daemon/closer.h"
#include "daemon/events.h"
#include "daemon/nearest.h"
#include "daemon/session.h"
#include "daemon/small.h"
#include "daemon/trace.h"
#include "daemon/watch.h"
#include "ipc/log.h"

#define HANDSHAKE_S   10
#define FRAMES_A_TURN 32
#define CLOSES_MAX    64u /* while more descriptors of its user wait to be closed, nothing is read from it */
#define PAUSE_MS      10
#define LIST_QUEUE    (64u * 1024u) /* a list goes on while less than this waits to be read */
#define LIST_STEPS    64            /* of a list at a time: then others have their turn */
#define PATIENCE_S    600           /* with who takes nothing of its list */

void session_doom(struct session *s, const char *why)
{
    if (s->doomed)
        return;
    s->doomed = true;
    s->why = why;
    event_active(s->read_ev, EV_READ, 0);
}

/* Who is not watched would wait for ever. */
static void watch(struct session *s, struct event *ev, const struct timeval *tv)
{
    if (event_add(ev, tv) < 0)
        session_doom(s, "cannot be watched");
}

bool session_has_room(const struct session *s)
{
    return chan_queued(s->chan) < PWC_SEND_QUEUE_MAX / 2;
}

/* What waits is sent, and a list, or records, go on when more can be; so do ends that waited for room, in the
 * turn of the next callback. A half-closed peer is done when it has all. */
static void flush_out(void *arg)
{
    struct session *s = arg;
    bool full = !session_has_room(s);
    if (s->doomed)
        return;
    if (chan_flush(s->chan) < 0) {
        session_doom(s, "hung up");
        return;
    }
    full &= session_has_room(s);
    s->d->room_made |= full;
    if (chan_queued(s->chan) > 0 || s->list.step != NULL || s->records_wait || full) {
        watch(s, s->write_ev, NULL);
    } else {
        event_del(s->write_ev);
        session_check_done(s);
    }
}

static bool gather(struct session *s, uint16_t type, uint64_t tag, const ProtobufCMessage *m)
{
    if (s->doomed)
        return false;
    int r = chan_send(s->chan, type, tag, m);
    if (r == -ENOBUFS)
        session_doom(s, "reads too slowly");
    else if (r < 0)
        session_doom(s, "hung up");
    return r == 0;
}

void session_send(struct session *s, uint16_t type, uint64_t tag, const ProtobufCMessage *m)
{
    if (gather(s, type, tag, m))
        outbox_add(&s->d->outboxes, &s->out, false);
}

void session_send_later(struct session *s, uint16_t type, uint64_t tag, const ProtobufCMessage *m)
{
    if (!gather(s, type, tag, m))
        return;
    outbox_later(&s->d->later, &s->out);
    small_arm(s->d);
}

void session_error(struct session *s, uint64_t tag, uint16_t type, Pwc__Code code, const char *text)
{
    Pwc__Error m = PWC__ERROR__INIT;
    AUTO_FREE char *line = one_line(xstrdup(text)); /* some repeat what the client said */
    m.code = code;
    m.text = line;
    m.type = type;
    session_send(s, PWC_MSG_ERROR, tag, &m.base);
}

void session_add_job(struct session *s, struct job *j)
{
    j->session = s;
    TAILQ_INSERT_TAIL(&s->jobs, j, by_session);
}

static bool has_no_jobs(const struct session *s)
{
    return TAILQ_EMPTY(&s->jobs) && TAILQ_EMPTY(&s->watches);
}

void session_check_done(struct session *s)
{
    if (s->half_closed && has_no_jobs(s) && s->list.step == NULL && chan_queued(s->chan) == 0)
        session_doom(s, "done");
}

void session_job_ended(struct session *s, struct job *j)
{
    TAILQ_REMOVE(&s->jobs, j, by_session);
    session_check_done(s);
}

bool session_may_see(const struct session *s, const struct job *j)
{
    return s->uid == 0 || j->user->uid == s->uid;
}

/* ---- lists ---- */

static void list_end(struct session *s)
{
    s->list.step = NULL;
    event_remove_timer(s->write_ev);
    Pwc__End m = PWC__END__INIT;
    m.count = s->list.count;
    session_send(s, PWC_MSG_END, s->list.tag, &m.base);
}

/* An item that is left out puts nothing into the queue, and a quick reader empties it as it is filled: steps
 * are counted, too. */
static void list_pump(struct session *s)
{
    static const struct timeval patience = {PATIENCE_S, 0};
    for (int i = 0; s->list.step != NULL && !s->doomed; i++) {
        if (i == LIST_STEPS || chan_queued(s->chan) >= LIST_QUEUE) {
            watch(s, s->write_ev, &patience);
            return;
        }
        enum list_found found = s->list.step(s, &s->list.position);
        s->list.count += found == LIST_ITEM;
        if (found == LIST_END)
            list_end(s);
    }
}

void session_list(struct session *s, uint64_t tag, list_step step, uint64_t filter, uint64_t chunk)
{
    s->list.step = step;
    s->list.position = s->list.count = 0;
    s->list.tag = tag;
    s->list.filter = filter;
    s->list.chunk = chunk;
    list_pump(s);
    if (s->list.step != NULL)
        event_del(s->read_ev); /* until the list is through */
}

/* ---- receiving ---- */

static void one_frame(struct session *s, struct frame *f)
{
    const struct msg_desc *desc = f->desc;
    if (desc == NULL && s->open) {
        session_error(s, f->tag, f->type, PWC__CODE__CODE_UNKNOWN_MESSAGE, "unknown message type");
        return;
    }
    if (desc == NULL || (desc->states & (s->open ? MSG_IN_OPEN : MSG_IN_NEW)) == 0) {
        session_error(s, f->tag, f->type, PWC__CODE__CODE_STATE,
                      s->open ? "Hello comes first and once" : "Hello is the first message");
        session_doom(s, "spoke out of turn");
        return;
    }
    request_handle(s, f);
}

static void frames_in(struct session *s)
{
    for (int i = 0; i < FRAMES_A_TURN && !s->doomed && s->list.step == NULL; i++) {
        struct frame f;
        int r = chan_next(s->chan, &f);
        if (r < 0) {
            session_error(s, 0, 0, PWC__CODE__CODE_MALFORMED, chan_error(s->chan));
            session_doom(s, chan_error(s->chan));
        }
        if (r <= 0)
            return;
        one_frame(s, &f);
        frame_close(s->chan, &f);
    }
    /* Frames may be left in the buffer, for which the socket will not become readable again. */
    if (!s->doomed && s->list.step == NULL)
        event_active(s->read_ev, EV_READ, 0);
}

/* The peer asks no more. It may still read: then it gets what it asked for, and goes. */
static void hung_up(struct session *s)
{
    struct job *j, *next;
    event_del(s->read_ev);
    s->half_closed = true;
    for (j = TAILQ_FIRST(&s->jobs); j != NULL; j = next) {
        next = TAILQ_NEXT(j, by_session);
        job_no_items_again(j);
        if (j->items_in < j->items)
            job_end(j, PWC__JOB_STATE__JOB_CANCELLED, PWC__CODE__CODE_CLIENT_GONE,
                    "its client sends no more items");
    }
    if (has_no_jobs(s) && chan_queued(s->chan) == 0 && s->list.step == NULL)
        session_doom(s, "hung up");
    else
        session_check_peer(s);
}

void session_check_peer(struct session *s)
{
    struct pollfd p = {.fd = chan_fd(s->chan)};
    if (s->half_closed && poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0)
        session_doom(s, "hung up");
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct session *s = arg;
    struct timeval tv = {HANDSHAKE_S, 0};
    watch(s, s->read_ev, s->open ? NULL : &tv);
    event_active(s->read_ev, EV_READ, 0);
}

/* A user whose closes hang could fill our table of descriptors with them. */
static bool held_up(struct session *s)
{
    if (s->doomed || s->list.step != NULL || closer_pending_of(s->uid) <= CLOSES_MAX)
        return false;
    struct timeval tv = {0, PAUSE_MS * 1000};
    event_del(s->read_ev);
    evtimer_add(s->resume_ev, &tv);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct session *s = arg;
    struct daemon *d = s->d;
    uid_t before = closer_as(s->uid);
    if (!s->open && ((what & EV_TIMEOUT) != 0 || mono_since(clock_now(), s->since) >= HANDSHAKE_S * NS_PER_S))
        session_doom(s, "said no Hello");
    if (held_up(s)) {
        closer_as(before);
        return;
    }
    int r = s->doomed || s->list.step != NULL ? -EAGAIN : chan_fill(s->chan);
    if (r == -EPROTO)
        session_error(s, 0, 0, PWC__CODE__CODE_MALFORMED, chan_error(s->chan));
    if (r < 0 && r != -EAGAIN) {
        session_doom(s, chan_error(s->chan));
    } else if (!s->doomed) {
        frames_in(s);
        if (r == 0 && !s->doomed)
            hung_up(s);
    }
    if (s->doomed)
        session_free(s);
    closer_as(before);
    daemon_turn(d);
}

/* Behind its request it may have sent us its own end of the connection: then that is not closed before we
 * read it, which we do behind the list, and the connection would outlive all its processes. */
static bool list_is_left(const struct session *s, short what, size_t queued)
{
    return (what & EV_TIMEOUT) != 0 && chan_queued(s->chan) == queued && s->list.step != NULL &&
           has_no_jobs(s);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct session *s = arg;
    struct daemon *d = s->d;
    uid_t before = closer_as(s->uid);
    bool listing = s->list.step != NULL;
    size_t queued = chan_queued(s->chan);
    flush_out(
        s); /* a socket takes a little before it says that it takes something, and who was stopped is late */
    if (list_is_left(s, what, queued))
        session_doom(s, "does not read its list");
    list_pump(s);
    events_go_on(s);
    trace_flush(d);
    if (listing && s->list.step == NULL && !s->half_closed && !s->doomed) {
        watch(s, s->read_ev, NULL);
        event_active(s->read_ev, EV_READ, 0);
    }
    closer_as(before);
    daemon_turn(d);
}

/* ---- life ---- */

/* One line a second, however many come. */
static void turned_away(struct daemon *d, uid_t uid)
{
    struct mono now = clock_now();
    d->turned_away++;
    if (d->turned_away_at.ns != 0 && mono_since(now, d->turned_away_at) < NS_PER_S)
        return;
    d->turned_away_at = now;
    log_warn("client of uid %u turned away: too many connections (%lu so far)", (unsigned)uid,
             (unsigned long)d->turned_away);
}

/* An empty socket takes one frame without waiting. */
static void tell_busy(int fd, const char *text)
{
    struct chan *c = chan_new(fd, MSG_FROM_CLIENT, closer_close);
    Pwc__Error m = PWC__ERROR__INIT;
    m.code = PWC__CODE__CODE_BUSY;
    m.text = (char *)(uintptr_t)text;
    (void)chan_send(c, PWC_MSG_ERROR, 0, &m.base);
    chan_free(c);
}

void session_turn_away(int fd)
{
    tell_busy(fd, "pwcd has no descriptor left for one more connection: try again later");
}

void session_accept(struct daemon *d, int fd, uid_t uid, pid_t pid)
{
    struct user *u = user_get(d, uid);
    bool own = u->clients >= d->cfg.clients_per_user;
    if (own || d->nsessions >= d->cfg.clients_max) {
        turned_away(d, uid);
        tell_busy(fd, own ? "too many connections of yours (clients_per_user): try again later"
                          : "too many connections (clients_max): try again later");
        return;
    }
    struct session *s = xcalloc(1, sizeof *s);
    s->d = d;
    s->user = u;
    s->uid = uid;
    s->pid = pid;
    s->since = clock_now();
    TAILQ_INIT(&s->jobs);
    TAILQ_INIT(&s->watches);
    s->chan = chan_new(fd, MSG_FROM_CLIENT, closer_close);
    chan_tell_lost(s->chan);
    chan_set_queue_limit(s->chan, PWC_SEND_QUEUE_MAX);
    outbox_init(&s->out, s->chan, flush_out, s);
    s->read_ev = event_new(d->base, fd, EV_READ | EV_PERSIST, on_readable, s);
    s->write_ev = event_new(d->base, fd, EV_WRITE | EV_PERSIST, on_writable, s);
    s->resume_ev = evtimer_new(d->base, on_resume, s);
    struct timeval tv = {HANDSHAKE_S, 0};
    TAILQ_INSERT_TAIL(&d->sessions, s, link);
    d->nsessions++;
    u->clients++;
    if (event_add(s->read_ev, &tv) == 0)
        return;
    session_error(s, 0, 0, PWC__CODE__CODE_BUSY, "pwcd cannot watch one more connection: try again later");
    session_doom(s, "cannot be watched");
    session_free(s);
}

void session_free(struct session *s)
{
    log_debug("client pid %d (uid %u): %s", s->pid, (unsigned)s->uid, s->why != NULL ? s->why : "closed");
    struct job *j;
    while (!TAILQ_EMPTY(&s->watches))
        watch_end(TAILQ_FIRST(&s->watches));
    while ((j = TAILQ_FIRST(&s->jobs)) != NULL) {
        TAILQ_REMOVE(&s->jobs, j, by_session);
        job_session_gone(j);
    }
    places_read_end(&s->list.reader);
    s->d->trim_due = true;
    TAILQ_REMOVE(&s->d->sessions, s, link);
    s->d->nsessions--;
    s->user->clients--;
    outbox_drop(&s->out);
    (void)chan_flush(s->chan); /* the reason why it goes, if the peer still reads */
    event_free(s->read_ev);
    event_free(s->write_ev);
    event_free(s->resume_ev);
    chan_free(s->chan);
    free(s);
}
