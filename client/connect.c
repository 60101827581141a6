/* connect.c - finding the daemon, the handshake, the end. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/internal.h"

#define SYSTEM_SOCKET "/run/pwcd/pwcd.sock"

/* ---- reaching a socket ---- */

static int connect_errno(int err, const char *path)
{
    if (err == EACCES || err == EPERM)
        return fail(
            PWC_E_ACCESS,
            "%s: permission denied: connecting needs write permission on the socket (are you in its group?)",
            path);
    if (err == EAGAIN)
        return fail(PWC_E_UNREACHABLE, "%s: the daemon takes no connections in time", path);
    if (err == EPROTOTYPE)
        return fail(PWC_E_PROTOCOL, "%s: not a stream socket, so not pwcd's", path);
    return fail_errno(PWC_E_UNREACHABLE, err, "%s", path);
}

/* Blocking, for a non-blocking connect to a full backlog cannot be waited for; the send time-out bounds it.
 */
static int connect_to(const char *path, int timeout_ms, int *ret_fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path)
        return fail(PWC_E_ARGUMENT, "%s: a socket's path may have %zu bytes", path, sizeof sa.sun_path - 1);
    memcpy(sa.sun_path, path, strlen(path));
    AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(PWC_E_SYSTEM, errno, "socket");
    if (timeout_ms >= 0) {
        struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000 + (timeout_ms == 0)};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    }
    int r;
    do
        r = connect(fd, (struct sockaddr *)&sa, sizeof sa);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return connect_errno(errno, path);
    *ret_fd = TAKE_FD(fd);
    return PWC_OK;
}

/* Who cannot ask the user's own daemon, if that is one, asks the system's. */
static bool is_passed_over(int code)
{
    return code == PWC_E_UNREACHABLE || code == PWC_E_ACCESS || code == PWC_E_ARGUMENT; /* too long a path */
}

static int connect_default(int timeout_ms, const char **ret_path, char *own, size_t size, int *ret_fd)
{
    const char *run = getenv("XDG_RUNTIME_DIR"), *env = getenv("PWC_SOCKET");
    *ret_path = env;
    if (env != NULL && env[0] != '\0')
        return connect_to(env, timeout_ms, ret_fd);
    *ret_path = SYSTEM_SOCKET;
    if (run == NULL || run[0] == '\0')
        return connect_to(SYSTEM_SOCKET, timeout_ms, ret_fd);
    snprintf(own, size, "%s/pwcd.sock", run);
    int r = connect_to(own, timeout_ms, ret_fd), next;
    if (r == PWC_OK)
        *ret_path = own;
    if (!is_passed_over(r))
        return r;
    char first[PWC_TEXT_MAX];
    snprintf(first, sizeof first, "%s", pwc_error());
    next = connect_to(SYSTEM_SOCKET, timeout_ms, ret_fd);
    if (next == PWC_OK)
        return PWC_OK;
    int code = next == PWC_E_UNREACHABLE && r == PWC_E_ACCESS ? r : next;
    return fail(code, "%s; %s", first, pwc_error());
}

/* ---- the handshake ---- */

static int send_hello(struct pwc *c)
{
    Pwc__Hello hello = PWC__HELLO__INIT;
    char client[64];
    snprintf(client, sizeof client, "libpwc %s", PACKAGE_VERSION);
    hello.version_min = PWC_VERSION_MIN;
    hello.version_max = PWC_VERSION_MAX;
    hello.client = client;
    chan_send(c->chan, PWC_MSG_HELLO, ++c->next_tag, &hello.base);
    int r = chan_flush(c->chan);
    return r < 0 && r != -EPIPE ? fail_errno(PWC_E_SYSTEM, -r, "cannot send to pwcd") : PWC_OK;
}

static int stranger(const struct pwc *c, const char *what)
{
    return fail(PWC_E_PROTOCOL, "%s%swhat answers there is not pwcd: it %s", c->path, c->path[0] ? ": " : "",
                what);
}

/* A stranger's way, or that of a pwcd which ends just now: then nobody listens there any more. */
static int closed_early(const struct pwc *c)
{
    int fd, r = c->path[0] != '\0' ? connect_to(c->path, 0, &fd) : PWC_E_PROTOCOL;
    if (r == PWC_E_UNREACHABLE)
        return fail(r, "%s: pwcd has just ended", c->path);
    if (r == PWC_OK)
        close(fd);
    return stranger(c, "closed the connection");
}

static int take_welcome(struct pwc *c, const struct frame *f)
{
    Pwc__Welcome *w = (void *)msg_unpack(f->desc, f->body, f->body_len);
    if (w == NULL || w->instance.len != sizeof c->daemon.instance) {
        msg_free((void *)w);
        return stranger(c, "sent a malformed welcome");
    }
    c->daemon.version = w->version;
    memcpy(c->daemon.instance, w->instance.data, sizeof c->daemon.instance);
    c->daemon.workers = w->workers;
    c->daemon.uid = w->uid;
    c->daemon.server = c->server = xstrdup(text_of(w->server));
    msg_free(&w->base);
    if (c->daemon.version < PWC_VERSION_MIN || c->daemon.version > PWC_VERSION_MAX)
        return fail(PWC_VERSION, "%s speaks protocol version %u, this library %u to %u", c->server,
                    c->daemon.version, PWC_VERSION_MIN, PWC_VERSION_MAX);
    return PWC_OK;
}

static int take_answer(struct pwc *c, const struct frame *f)
{
    if (f->type == PWC_MSG_WELCOME)
        return take_welcome(c, f);
    if (f->type != PWC_MSG_ERROR)
        return stranger(c, "did not answer our greeting with a welcome");
    Pwc__Error *e = (void *)msg_unpack(f->desc, f->body, f->body_len);
    if (e == NULL)
        return stranger(c, "sent a malformed error");
    int code = e->code == PWC__CODE__CODE_OK ? PWC_E_PROTOCOL : (int)e->code;
    fail(code, "pwcd refused the connection: %s",
         text_of(e->text)[0] != '\0' ? e->text : pwc_code_name((int)e->code));
    msg_free(&e->base);
    return code;
}

static int handshake(struct pwc *c, struct mono deadline, int timeout_ms)
{
    struct frame f;
    int r = send_hello(c), n;
    while (r == PWC_OK) {
        if ((n = chan_next(c->chan, &f)) < 0) {
            char how[128];
            snprintf(how, sizeof how, "broke the protocol: %s", chan_error(c->chan));
            return stranger(c, how);
        }
        if (n > 0) {
            r = take_answer(c, &f);
            frame_close(c->chan, &f);
            return r;
        }
        int64_t left = timeout_ms < 0 ? -1 : MAX(mono_since(deadline, clock_now()) / NS_PER_MS, 0);
        if ((n = chan_wait(c->chan, (int)left)) == 0)
            return fail(PWC_E_PROTOCOL,
                        "%s%sno welcome within %d ms: what listens there hangs, or is not pwcd", c->path,
                        c->path[0] ? ": " : "", timeout_ms);
        if (n > 0 || n == -EPIPE) /* it no longer reads, but may have said why */
            n = chan_fill(c->chan);
        if (n == 0 || n == -ECONNRESET)
            return closed_early(c);
        if (n < 0 && n != -EAGAIN)
            return stranger(c, "cannot be read from");
    }
    return r;
}

/* ---- life ---- */

static struct pwc *conn_new(int fd, const char *path)
{
    struct pwc *c = xcalloc(1, sizeof *c);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&c->lock, NULL);
    c->refs = 1;
    c->chan = chan_new(fd, MSG_FROM_DAEMON, NULL);
    chan_hold(c->chan, true);
    c->wake = -1;
    c->calls.end = &c->calls.first;
    c->daemon.path = c->path = xstrdup(path);
    c->daemon.server = "";
    return c;
}

static int conn_start(int fd, const char *path, struct mono deadline, int timeout_ms, struct pwc **ret_c)
{
    struct pwc *c = conn_new(fd, path);
    int r = handshake(c, deadline, timeout_ms);
    if (r == PWC_OK && (c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        r = fail_errno(PWC_E_SYSTEM, errno, "eventfd");
    if (r != PWC_OK) {
        pwc_close(c);
        return r;
    }
    *ret_c = c;
    return PWC_OK;
}

int pwc_connect(const char *path, int timeout_ms, struct pwc **ret_c)
{
    struct mono deadline = mono_add(clock_now(), timeout_ms * NS_PER_MS);
    char own[256];
    const char *used = path;
    int fd = -1;
    int r = path != NULL ? connect_to(path, timeout_ms, &fd)
                         : connect_default(timeout_ms, &used, own, sizeof own, &fd);
    return r == PWC_OK ? conn_start(fd, used, deadline, timeout_ms, ret_c) : r;
}

int pwc_connect_fd(int fd, int timeout_ms, struct pwc **ret_c)
{
    return conn_start(fd, "", mono_add(clock_now(), timeout_ms * NS_PER_MS), timeout_ms, ret_c);
}

const struct pwc_daemon *pwc_daemon(const struct pwc *c)
{
    return &c->daemon;
}

void pwc_close(struct pwc *c)
{
    if (c == NULL)
        return;
    conn_lock(c);
    if (c->broken == 0 && !c->mute)
        chan_flush(c->chan);
    conn_break(c, PWC_E_GONE, "the connection was closed");
    calls_drop(&c->calls);
    chan_free(TAKE_PTR(c->chan));
    fd_close_(&c->wake);
    conn_unlock(c);
    conn_unref(c);
}
