/* peer.c - see peer.h. */
#include <check.h>
#include <errno.h>
#include <iconv.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/hostile/peer.h"

/* ---- connections ---- */

int peer_socket(const struct victim *v)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", v->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
        return fd;
    int r = -errno;
    close(fd);
    return r;
}

struct peer peer_new(const struct victim *v)
{
    struct peer p = {.fd = peer_socket(v)};
    ck_assert_msg(p.fd >= 0, "cannot connect: %s", strerror(-p.fd));
    p.chan = chan_new(p.fd, MSG_FROM_DAEMON, NULL);
    return p;
}

struct peer peer_open(const struct victim *v)
{
    struct peer p = peer_new(v);
    Pwc__Hello m = PWC__HELLO__INIT;
    m.version_min = m.version_max = 1;
    peer_say(&p, PWC_MSG_HELLO, 0, &m);
    msg_free(peer_await(&p, PWC_MSG_WELCOME));
    return p;
}

void become(uid_t uid)
{
    ck_assert_int_eq(seteuid(uid), 0);
}

struct peer peer_open_as(const struct victim *v, uid_t uid)
{
    become(uid);
    struct peer p = peer_open(v);
    become(0);
    return p;
}

void peer_free(struct peer *p)
{
    chan_free(p->chan);
    *p = (struct peer){.fd = -1};
}

/* ---- saying ---- */

static size_t put_fds(char *room, const int *fds, unsigned nfds)
{
    struct cmsghdr head = {CMSG_LEN(sizeof(int) * nfds), SOL_SOCKET, SCM_RIGHTS};
    memcpy(room, &head, sizeof head);
    memcpy(room + CMSG_LEN(0), fds, sizeof(int) * nfds);
    return CMSG_SPACE(sizeof(int) * nfds);
}

bool peer_send(const struct peer *p, const void *bytes, size_t len, const int *fds, unsigned nfds)
{
    alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int) * 253)] = {0};
    for (const char *at = bytes; len > 0;) {
        struct iovec iov = {(void *)(uintptr_t)at, len};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        if (nfds > 0) {
            mh.msg_control = room;
            mh.msg_controllen = put_fds(room, fds, nfds);
        }
        ssize_t n = sendmsg(p->fd, &mh, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
        nfds = 0;
    }
    return true;
}

size_t frame_of(uint8_t *to, uint16_t type, uint64_t tag, const void *msg, unsigned nfds)
{
    size_t body = msg != NULL ? protobuf_c_message_get_packed_size(msg) : 0;
    ck_assert_uint_le(body, PWC_BODY_MAX);
    const struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + body), type, (uint16_t)nfds, tag,
                                 (uint32_t)body};
    frame_put(to, &h);
    if (msg != NULL)
        protobuf_c_message_pack(msg, to + PWC_HEADER_BYTES);
    return PWC_HEADER_BYTES + body;
}

void peer_say_with(const struct peer *p, uint16_t type, uint64_t tag, const void *msg, const int *fds,
                   unsigned nfds)
{
    static uint8_t bytes[PWC_FRAME_MAX];
    size_t len = frame_of(bytes, type, tag, msg, nfds);
    (void)peer_send(p, bytes, len, fds, nfds);
}

void peer_say(const struct peer *p, uint16_t type, uint64_t tag, const void *msg)
{
    peer_say_with(p, type, tag, msg, NULL, 0);
}

/* ---- hearing ---- */

/* In the words of the C library, not ours. */
static bool is_utf8(const char *text)
{
    static wchar_t wide[PWC_BODY_MAX];
    char *in = (char *)(uintptr_t)text, *out = (char *)wide;
    size_t in_left = strlen(text), out_left = sizeof wide;
    iconv_t cd = iconv_open("WCHAR_T", "UTF-8");
    ck_assert(cd != (iconv_t)-1);
    bool ok = iconv(cd, &in, &in_left, &out, &out_left) == 0;
    iconv_close(cd);
    return ok;
}

static void check_texts(const ProtobufCMessage *m);

static void check_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const char *at = (const char *)m + f->offset, *quantifier = (const char *)m + f->quantifier_offset;
    size_t n = 1;
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && *(const uint32_t *)(const void *)quantifier != f->id)
        return;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        n = *(const size_t *)(const void *)quantifier;
        at = *(const char *const *)(const void *)at;
    }
    for (size_t i = 0; i < n; i++) {
        const void *one = ((const void *const *)(const void *)at)[i];
        if (f->type == PROTOBUF_C_TYPE_MESSAGE && one != NULL)
            check_texts(one);
        else if (f->type == PROTOBUF_C_TYPE_STRING && one != NULL)
            ck_assert_msg(is_utf8(one), "%s.%s is no UTF-8: '%s'", m->descriptor->name, f->name,
                          (const char *)one);
    }
}

static void check_texts(const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        ProtobufCType type = m->descriptor->fields[i].type;
        if (type == PROTOBUF_C_TYPE_MESSAGE || type == PROTOBUF_C_TYPE_STRING)
            check_field(m, &m->descriptor->fields[i]);
    }
}

/* As strict a reader as those of other languages, which drop the whole message for one bad byte in a text. */
static void check_frame(const struct frame *f)
{
    ProtobufCMessage *m = f->desc != NULL ? msg_unpack(f->desc, f->body, f->body_len) : NULL;
    ck_assert_msg(m != NULL, "the daemon said something of type %u that does not parse", f->type);
    check_texts(m);
    msg_free(m);
}

int peer_hear(struct peer *p, struct frame *ret, int timeout_ms)
{
    for (int64_t until = now_ms() + timeout_ms;;) {
        int r = chan_next(p->chan, ret);
        ck_assert_msg(r >= 0, "the daemon broke the protocol: %s", chan_error(p->chan));
        if (r > 0) {
            frame_close(p->chan, ret);
            check_frame(ret);
            return 1;
        }
        int64_t left = until - now_ms();
        if (left <= 0 || (r = chan_wait(p->chan, (int)left)) == 0)
            return -ETIMEDOUT;
        r = chan_fill(p->chan);
        if (r == 0 || r == -ECONNRESET || r == -EPIPE)
            return 0;
        ck_assert_msg(r > 0 || r == -EAGAIN, "%s", strerror(-r));
    }
}

void *peer_await(struct peer *p, uint16_t type)
{
    struct frame f;
    for (;;) {
        int r = peer_hear(p, &f, PATIENCE_MS);
        ck_assert_msg(r == 1, "%s instead of %s", r == 0 ? "the end" : "nothing", msg_name(type));
        if (f.type == type)
            break;
    }
    void *m = msg_unpack(f.desc, f.body, f.body_len);
    ck_assert_ptr_nonnull(m);
    return m;
}

bool peer_is_closed(struct peer *p, int timeout_ms)
{
    char bytes[4096];
    int64_t until = now_ms() + timeout_ms;
    for (;;) {
        ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return true;
        if (n < 0 && !poll_again(until))
            return false;
    }
}

/* What went wrong is one line, for any terminal. */
static void expect_a_line(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        ck_assert_msg((unsigned char)*c >= 0x20 && *c != 0x7f,
                      "a control character at %td in an error's text", c - text);
}

Pwc__Code peer_code(struct peer *p)
{
    struct frame f;
    for (;;) {
        int r = peer_hear(p, &f, PATIENCE_MS);
        ck_assert_msg(r == 1, "%s instead of an answer", r == 0 ? "the end" : "nothing");
        if (f.type != PWC_MSG_ERROR && f.type != PWC_MSG_REJECTED && f.type != PWC_MSG_FINISHED)
            continue;
        ProtobufCMessage *m = msg_unpack(f.desc, f.body, f.body_len);
        ck_assert_ptr_nonnull(m);
        Pwc__Code code = f.type == PWC_MSG_ERROR      ? ((Pwc__Error *)m)->code
                         : f.type == PWC_MSG_REJECTED ? ((Pwc__Rejected *)m)->code
                                                      : ((Pwc__Finished *)m)->code;
        if (f.type == PWC_MSG_ERROR)
            expect_a_line(((Pwc__Error *)m)->text);
        msg_free(m);
        return code;
    }
}

/* ---- jobs ---- */

#define TEXT(s) ((char *)(uintptr_t)((s) != NULL ? (s) : ""))

void peer_submit(const struct peer *p, uint64_t tag, const struct job_spec *spec)
{
    Pwc__Submit m = PWC__SUBMIT__INIT;
    Pwc__Param params[4], *param_list[4];
    Pwc__Value values[4];
    Pwc__RoleDecl roles[4], *role_list[4];
    Pwc__Policy policy = PWC__POLICY__INIT;
    m.op = TEXT(spec->op);
    m.format = TEXT(spec->format);
    m.domain = TEXT(spec->label);
    m.items = spec->items;
    m.batch = spec->batch;
    m.trace = spec->trace;
    m.on_disconnect = spec->on_disconnect;
    m.linger_ns = spec->linger_ms * 1000000;
    m.params = param_list;
    m.roles = role_list;
    m.policy = &policy;
    m.records = spec->records;
    m.max_workers = spec->max_failures != 0 ? 1 : 0;
    policy.set = spec->job_timeout_ms != 0 || spec->chunk_timeout_ms != 0 || spec->max_failures != 0;
    policy.max_failures = spec->max_failures;
    if (spec->max_failures != 0)
        policy.on_failure = PWC__ON_FAILURE__ON_FAILURE_SKIP;
    policy.retries_crash = policy.retries_error = policy.retries_oom = policy.retries_timeout = -1;
    policy.job_timeout_ns = spec->job_timeout_ms * 1000000;
    policy.chunk_timeout_ns = spec->chunk_timeout_ms * 1000000;
    if (spec->key != NULL)
        m.request_key = (ProtobufCBinaryData){strlen(spec->key), (uint8_t *)TEXT(spec->key)};
    for (size_t i = 0; i < 4 && spec->params[2 * i] != NULL; i++) {
        pwc__param__init(&params[i]);
        pwc__value__init(&values[i]);
        params[i].name = TEXT(spec->params[2 * i]);
        values[i].kind_case = PWC__VALUE__KIND_STR;
        values[i].str = TEXT(spec->params[2 * i + 1]);
        params[i].value = &values[i];
        param_list[m.n_params++] = &params[i];
    }
    for (size_t i = 0; i < 4 && spec->roles[i] != NULL; i++) {
        pwc__role_decl__init(&roles[i]);
        roles[i].name = TEXT(spec->roles[i]);
        roles[i].count = 1;
        role_list[m.n_roles++] = &roles[i];
    }
    peer_say(p, PWC_MSG_SUBMIT, tag, &m);
}

uint64_t peer_accepted(struct peer *p)
{
    struct frame f;
    for (;;) {
        int r = peer_hear(p, &f, PATIENCE_MS);
        ck_assert_msg(r == 1, "no answer to a Submit");
        if (f.type == PWC_MSG_REJECTED) {
            Pwc__Rejected *why = (void *)msg_unpack(f.desc, f.body, f.body_len);
            expect_a_line(why->reason);
            expect_a_line(why->field);
            msg_free(&why->base);
            return 0;
        }
        if (f.type == PWC_MSG_ACCEPTED)
            break;
    }
    Pwc__Accepted *m = (void *)msg_unpack(f.desc, f.body, f.body_len);
    uint64_t job = m->job;
    msg_free(&m->base);
    return job;
}

void peer_item_named(const struct peer *p, uint64_t job, uint64_t index, const char *name, const int *fds,
                     unsigned nfds)
{
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = job;
    m.index = index;
    m.name = msg_bytes(name);
    peer_say_with(p, PWC_MSG_ITEM, index, &m, fds, nfds);
}

void peer_item(const struct peer *p, uint64_t job, uint64_t index, const int *fds, unsigned nfds)
{
    peer_item_named(p, job, index, "", fds, nfds);
}

void peer_ask(const struct peer *p, uint16_t type, uint64_t job)
{
    Pwc__Cancel m = PWC__CANCEL__INIT; /* whoever has one field `job` looks like it on the wire */
    m.job = job;
    peer_say(p, type, job, &m);
}

void ordinary_client(const struct victim *v)
{
    static const struct job_spec noop = {.op = "noop", .params = {"n", "100"}, .label = "ordinary"};
    struct peer p = peer_open(v);
    peer_submit(&p, 1, &noop);
    ck_assert_msg(peer_accepted(&p) != 0, "an ordinary job is refused");
    Pwc__Finished *f = peer_await(&p, PWC_MSG_FINISHED);
    ck_assert_msg(f->state == PWC__JOB_STATE__JOB_DONE, "an ordinary job failed: %s", f->reason);
    msg_free(&f->base);
    peer_free(&p);
}

int memfd_of(const void *data, size_t len)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write_all(fd, data, len), 0);
    return fd;
}
