/*
 * replay.c - plays the examples of doc/PROTOCOL.md against a live daemon.
 *
 *   replay --list DOCUMENT               names of the examples, one a line
 *   replay [-v] SOCKET DOCUMENT NAME     0: every answer was as written
 *
 * An example is a fenced block whose info string is "example NAME". Its lines:
 *
 *   > HEX  # name ...     a frame the client sends; the comment starts with the message's name
 *   @ HEX                 a memory file of these bytes goes with the next frame
 *   @ fd N                descriptor N, which replay was started with, goes with the next frame (tests only)
 *   < HEX  # name ...     the next frame of the daemon; ".." is any byte, "*" any bytes up to its end
 *   < end                 the daemon closes the connection
 *   (leading blank)       goes on with the bytes of the line above
 *
 * Events that no line asks for are skipped: how many there are depends on timing.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "ipc/fds.h"

#define WAIT_MS   20000 /* an answer that takes longer will not come */
#define BYTES_MAX 8192u
#define LINE_SIZE 1024u

enum { ANY = 256, REST = 257 };

/* One line of an example: bytes, wildcards, and the message's name from the comment. */
struct step {
    char kind; /* '>', '<', '@', 'e' for end, 'f' for an inherited descriptor: pattern[0] */
    unsigned line;
    uint16_t pattern[BYTES_MAX];
    size_t len;
    char name[64];
};

struct player {
    struct chan *chan;
    int fd; /* borrowed from chan */
    int fds[PWC_FDS_MAX];
    unsigned nfds;
    bool verbose;
};

static int complain(const struct step *s, const char *what)
{
    fprintf(stderr, "replay: line %u (%s): %s\n", s->line, s->name, what);
    return -1;
}

/* ---- reading the document ---- */

static bool add_word(struct step *s, const char *word)
{
    if (strcmp(word, "*") == 0) {
        s->pattern[s->len++] = REST;
        return true;
    }
    size_t n = strlen(word);
    if (n % 2 != 0 || s->len + n / 2 > BYTES_MAX)
        return false;
    for (size_t i = 0; i < n; i += 2) {
        char pair[3] = {word[i], word[i + 1], '\0'}, *end = NULL;
        unsigned long v = strcmp(pair, "..") == 0 ? ANY : strtoul(pair, &end, 16);
        if (v != ANY && (end == NULL || *end != '\0'))
            return false;
        s->pattern[s->len++] = (uint16_t)v;
    }
    return true;
}

static int add_line(struct step *s, char *text)
{
    char *comment = strchr(text, '#');
    if (comment != NULL) {
        *comment = '\0';
        if (s->name[0] == '\0')
            (void)!sscanf(comment + 1, " %63[a-z_]", s->name);
    }
    char *save = NULL;
    for (char *w = strtok_r(text, " \t\n", &save); w != NULL; w = strtok_r(NULL, " \t\n", &save)) {
        if (s->kind == '<' && strcmp(w, "end") == 0)
            s->kind = 'e';
        else if (s->kind == '@' && strcmp(w, "fd") == 0)
            s->kind = 'f';
        else if (s->kind == 'f')
            s->pattern[s->len++] = (uint16_t)atoi(w);
        else if (!add_word(s, w))
            return complain(s, "neither two hexadecimal digits, \"..\" nor \"*\"");
    }
    return 0;
}

/* Next line inside a fenced example block called `name`, or NULL. Skips to the block at first. */
static bool next_example_line(FILE *doc, const char *name, bool *inside, char line[LINE_SIZE],
                              unsigned *number)
{
    char head[128];
    snprintf(head, sizeof head, "```example %s\n", name);
    while (fgets(line, (int)LINE_SIZE, doc) != NULL) {
        (*number)++;
        if (*inside)
            return strncmp(line, "```", 3) != 0;
        *inside = strcmp(line, head) == 0;
    }
    return false;
}

static int list(const char *path)
{
    char line[LINE_SIZE], name[64];
    FILE *doc = fopen(path, "re");
    if (doc == NULL)
        return perror(path), 1;
    while (fgets(line, sizeof line, doc) != NULL)
        if (sscanf(line, "```example %63s", name) == 1)
            puts(name);
    fclose(doc);
    return 0;
}

/* ---- talking ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path)
        return -ENAMETOOLONG;
    strcpy(sa.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        close(fd);
        return -errno;
    }
    return fd < 0 ? -errno : fd;
}

static void show(char mark, const uint8_t *bytes, size_t len)
{
    printf("%c", mark);
    for (size_t i = 0; i < len; i++)
        printf("%s%02x", i == 0 || i == 4 || i == 6 || i == 8 || i == 16 || i == 20 ? " " : "", bytes[i]);
    putchar('\n');
}

/* Sent as written, right or wrong: an example may show what breaks the rules. */
static int play_send(struct player *p, const struct step *s)
{
    uint8_t bytes[BYTES_MAX];
    for (size_t i = 0; i < s->len; i++) {
        if (s->pattern[i] > 255)
            return complain(s, "a wildcard cannot be sent");
        bytes[i] = (uint8_t)s->pattern[i];
    }
    struct frame_head h;
    if (s->len >= PWC_HEADER_BYTES && frame_get(bytes, &h) == 0 && msg_find(h.type) != NULL &&
        strcmp(msg_name(h.type), s->name) != 0)
        return complain(s, "the comment does not name the message that the bytes are");
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof p->fds)];
    } control = {0};
    struct iovec iov = {bytes, s->len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    if (p->nfds > 0) {
        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * p->nfds);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
        *cm = (struct cmsghdr){CMSG_LEN(sizeof(int) * p->nfds), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(cm), p->fds, sizeof(int) * p->nfds);
    }
    if (sendmsg(p->fd, &mh, MSG_NOSIGNAL) != (ssize_t)s->len)
        return complain(s, strerror(errno));
    while (p->nfds > 0)
        close(p->fds[--p->nfds]);
    return 0;
}

static int play_memfd(struct player *p, const struct step *s)
{
    uint8_t bytes[BYTES_MAX];
    for (size_t i = 0; i < s->len; i++)
        bytes[i] = (uint8_t)s->pattern[i];
    if (p->nfds == PWC_FDS_MAX || memfd_sealed_copy("example", bytes, s->len, &p->fds[p->nfds]) < 0)
        return complain(s, "no memory file");
    p->nfds++;
    return 0;
}

static int play_inherited(struct player *p, const struct step *s)
{
    int fd = s->len == 1 && p->nfds < PWC_FDS_MAX ? fd_dup(s->pattern[0]) : -EINVAL;
    if (fd < 0)
        return complain(s, strerror(-fd));
    p->fds[p->nfds++] = fd;
    return 0;
}

static int next_frame(struct player *p, struct frame *ret)
{
    for (;;) {
        int r = chan_next(p->chan, ret);
        if (r != 0)
            return r;
        if ((r = chan_wait(p->chan, WAIT_MS)) <= 0)
            return r == 0 ? -ETIMEDOUT : r;
        r = chan_fill(p->chan);
        if (r == 0 || r == -ECONNRESET)
            return 0;
        if (r < 0 && r != -EAGAIN)
            return r;
    }
}

static size_t frame_bytes_of(const struct frame *f, uint8_t out[BYTES_MAX])
{
    size_t body = MIN(f->body_len + f->tail_len, (size_t)BYTES_MAX - PWC_HEADER_BYTES);
    struct frame_head h = {(uint32_t)(PWC_HEADER_BYTES - 4 + f->body_len + f->tail_len), f->type, f->nfds,
                           f->tag, (uint32_t)f->body_len};
    frame_put(out, &h);
    memcpy(out + PWC_HEADER_BYTES, f->body, body); /* the tail follows the body in memory */
    return PWC_HEADER_BYTES + body;
}

static bool matches(const struct step *s, const uint8_t *bytes, size_t len)
{
    size_t i = 0;
    for (; i < s->len; i++) {
        if (s->pattern[i] == REST)
            return true;
        if (i >= len || (s->pattern[i] != ANY && s->pattern[i] != bytes[i]))
            return false;
    }
    return i == len;
}

static int play_expect(struct player *p, const struct step *s)
{
    uint8_t bytes[BYTES_MAX];
    for (;;) {
        struct frame f;
        int r = next_frame(p, &f);
        if (r <= 0)
            return s->kind == 'e' && r == 0
                       ? 0
                       : complain(s, r == 0 ? "the daemon closed the connection" : strerror(-r));
        size_t len = frame_bytes_of(&f, bytes);
        if (p->verbose)
            show('<', bytes, len);
        frame_close(p->chan, &f);
        if (f.type == PWC_MSG_EVENT && strcmp(s->name, "event") != 0)
            continue;
        if (s->kind == 'e')
            return complain(s, "the daemon answered instead of closing the connection");
        if (matches(s, bytes, len) && strcmp(msg_name(f.type), s->name) == 0)
            return 0;
        show('!', bytes, len);
        return complain(s, "the daemon answered with the frame above");
    }
}

static int play_step(struct player *p, const struct step *s)
{
    switch (s->kind) {
    case '>':
        return play_send(p, s);
    case '@':
        return play_memfd(p, s);
    case 'f':
        return play_inherited(p, s);
    case '<':
    case 'e':
        return play_expect(p, s);
    default:
        return complain(s, "a line must begin with '>', '<', '@' or a blank");
    }
}

static int play(struct player *p, FILE *doc, const char *name)
{
    static struct step s;
    char line[LINE_SIZE];
    unsigned number = 0, steps = 0;
    bool inside = false, more = true;
    memset(&s, 0, sizeof s);
    while (more) {
        more = next_example_line(doc, name, &inside, line, &number);
        if (more && line[0] == '\n')
            continue;
        if (s.kind != 0 && !(more && isblank(line[0]))) {
            if (play_step(p, &s) < 0)
                return 1;
            steps++;
            memset(&s, 0, sizeof s);
        }
        if (!more)
            break;
        if (!isblank(line[0])) {
            s.kind = line[0];
            s.line = number;
            line[0] = ' ';
        }
        if (add_line(&s, line) < 0)
            return 1;
    }
    if (steps == 0)
        return fprintf(stderr, "replay: no example called %s\n", name), 1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--list") == 0)
        return list(argv[2]);
    struct player p = {.verbose = argc == 5 && strcmp(argv[1], "-v") == 0};
    if (argc != (p.verbose ? 5 : 4))
        return fputs("usage: replay [-v] SOCKET DOCUMENT NAME | --list DOCUMENT\n", stderr), 64;
    argv += p.verbose;
    FILE *doc = fopen(argv[2], "re");
    p.fd = connect_to(argv[1]);
    if (doc == NULL || p.fd < 0)
        return fprintf(stderr, "replay: %s: %s\n", doc == NULL ? argv[2] : argv[1],
                       strerror(doc == NULL ? errno : -p.fd)),
               1;
    p.chan = chan_new(p.fd, MSG_FROM_DAEMON, NULL);
    int r = play(&p, doc, argv[3]);
    chan_free(p.chan);
    fclose(doc);
    return r;
}
