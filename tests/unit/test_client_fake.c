/* test_client_fake.c - see test_client_fake.h. One thread a connection; blocking, but for the stop pipe. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/fake_conn.h"

/* ---- sending ---- */

void fake_send_msg(struct conn *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg)
{
    if (chan_send(c->chan, type, tag, msg) < 0)
        c->end = true;
}

void fake_send_error(struct conn *c, uint64_t tag, Pwc__Code code, const char *text)
{
    Pwc__Error e = PWC__ERROR__INIT;
    e.code = code;
    e.text = TEXT(text);
    fake_send_msg(c, PWC_MSG_ERROR, tag, &e.base);
}

void fake_send_end(struct conn *c, uint64_t tag, uint64_t n)
{
    Pwc__End end = PWC__END__INIT;
    end.count = n;
    fake_send_msg(c, PWC_MSG_END, tag, &end.base);
}

/* ---- requests ---- */

static void on_ping(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    Pwc__Pong pong = PWC__PONG__INIT;
    msg_free(msg);
    fake_send_msg(c, PWC_MSG_PONG, f->tag, &pong.base);
}

static void on_hello(struct conn *c, const struct frame *f, ProtobufCMessage *msg)
{
    msg_free(msg);
    c->open = true;
    if (c->f->greeting == FAKE_VERSION || c->f->greeting == FAKE_BUSY) {
        bool busy = c->f->greeting == FAKE_BUSY;
        fake_send_error(c, f->tag, busy ? PWC__CODE__CODE_BUSY : PWC__CODE__CODE_VERSION,
                        busy ? "too many clients" : "this daemon speaks versions 7 to 9");
        c->end = true;
        return;
    }
    Pwc__Welcome w = PWC__WELCOME__INIT;
    uint8_t instance[16] = "";
    snprintf((char *)instance, sizeof instance, "fake %d", (int)getpid());
    w.version = c->f->greeting == FAKE_NEWER ? 99 : 1;
    w.instance.data = instance;
    w.instance.len = sizeof instance;
    w.server = TEXT("pwcd fake");
    w.workers = 2;
    w.uid = 1000;
    fake_send_msg(c, PWC_MSG_WELCOME, f->tag, &w.base);
}

static const struct {
    uint16_t type;
    void (*handler)(struct conn *, const struct frame *, ProtobufCMessage *);
} handlers[] = {
    {PWC_MSG_HELLO, on_hello},
    {PWC_MSG_PING, on_ping},
    {PWC_MSG_SUBMIT, fake_submit},
    {PWC_MSG_ITEM, fake_item},
    {PWC_MSG_CANCEL, fake_cancel},
    {PWC_MSG_ATTACH, fake_attach},
    {PWC_MSG_DETACH, fake_detach},
    {PWC_MSG_CHUNK_CREDIT, fake_credit},
    {PWC_MSG_GET_STATUS, fake_status},
    {PWC_MSG_LIST_JOBS, fake_list_jobs},
    {PWC_MSG_LIST_STAGES, fake_list_stages},
    {PWC_MSG_LIST_DEATHS, fake_list_deaths},
    {PWC_MSG_LIST_OPS, fake_list_ops},
    {PWC_MSG_LIST_QUARANTINE, fake_list_quarantine},
};

/* ---- connections ---- */

static void handle(struct conn *c, struct frame *f)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
        if (handlers[i].type == f->type) {
            ProtobufCMessage *msg = msg_unpack(f->desc, f->body, f->body_len);
            MUST(msg != NULL);
            handlers[i].handler(c, f, msg);
            frame_close(c->chan, f);
            return;
        }
    fprintf(stderr, "fake: a client sent %s\n", msg_name(f->type));
    abort();
}

static bool wait_readable(const struct conn *c)
{
    struct pollfd p[2] = {
        {.fd = chan_fd(c->chan), .events = (short)(POLLIN | (chan_queued(c->chan) > 0 ? POLLOUT : 0))},
        {.fd = c->f->stop[0], .events = POLLIN},
    };
    MUST(poll(p, 2, -1) >= 0 || errno == EINTR);
    return p[1].revents == 0;
}

static void serve(struct conn *c)
{
    struct frame f;
    while (!c->end && wait_readable(c)) {
        if (chan_flush(c->chan) < 0)
            return;
        int r = chan_fill(c->chan);
        if (r == -EAGAIN)
            continue;
        if (r <= 0)
            return;
        while (!c->end && (r = chan_next(c->chan, &f)) > 0)
            handle(c, &f);
        MUST(r >= 0);
    }
}

static void *connection(void *arg)
{
    struct conn *c = arg;
    struct fake *f = c->f;
    if (f->greeting == FAKE_SILENT)
        (void)wait_readable(c), (void)poll(&(struct pollfd){.fd = f->stop[0], .events = POLLIN}, 1, -1);
    else if (f->greeting == FAKE_HTTP)
        MUST(write(chan_fd(c->chan), "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28);
    else if (f->greeting != FAKE_CLOSES && f->greeting != FAKE_ENDS)
        serve(c);
    fake_jobs_drop(c);
    chan_free(c->chan);
    free(c);
    pthread_mutex_lock(&f->lock);
    f->connections--;
    pthread_cond_signal(&f->idle);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void *listening(void *arg)
{
    struct fake *f = arg;
    for (;;) {
        struct pollfd p[2] = {{.fd = f->listener, .events = POLLIN}, {.fd = f->stop[0], .events = POLLIN}};
        MUST(poll(p, 2, -1) >= 0 || errno == EINTR);
        if (p[1].revents != 0)
            return NULL;
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        if (f->greeting == FAKE_ENDS)
            close(TAKE_FD(f->listener));
        struct conn *c = xcalloc(1, sizeof *c);
        c->f = f;
        c->chan = chan_new(fd, MSG_FROM_CLIENT, NULL);
        pthread_mutex_lock(&f->lock);
        f->connections++;
        pthread_mutex_unlock(&f->lock);
        pthread_t t;
        MUST(pthread_create(&t, NULL, connection, c) == 0);
        pthread_detach(t);
    }
}

struct fake *fake_start(const char *path, enum fake_greeting greeting)
{
    struct fake *f = xcalloc(1, sizeof *f);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(f->path, sizeof f->path, "%s", path);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    f->greeting = greeting;
    f->next_job = 1;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->idle, NULL);
    MUST(pipe2(f->stop, O_CLOEXEC) == 0);
    MUST((f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) >= 0);
    MUST(bind(f->listener, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(f->listener, 16) == 0);
    MUST(pthread_create(&f->thread, NULL, listening, f) == 0);
    return f;
}

void fake_wait_connections(struct fake *f, unsigned n)
{
    pthread_mutex_lock(&f->lock);
    while (f->connections > n)
        pthread_cond_wait(&f->idle, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

void fake_stop(struct fake *f)
{
    MUST(write(f->stop[1], "x", 1) == 1);
    pthread_join(f->thread, NULL);
    fake_wait_connections(f, 0);
    close(f->listener);
    close(f->stop[0]);
    close(f->stop[1]);
    unlink(f->path);
    free(f);
}

void fake_item_name(struct fake *f, char *ret_name, size_t size)
{
    pthread_mutex_lock(&f->lock);
    snprintf(ret_name, size, "%s", f->item_name);
    pthread_mutex_unlock(&f->lock);
}

unsigned fake_cancels(const struct fake *f)
{
    return atomic_load(&f->cancels);
}

unsigned fake_most_items(const struct fake *f)
{
    return atomic_load(&f->most_items);
}
