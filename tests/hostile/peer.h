/*
 * peer.h - a client that need not keep the rules: raw frames with any descriptors, and the answers to them.
 * Beside it ordinary_client, who keeps them all.
 */
#ifndef PWC_TESTS_PEER_H
#define PWC_TESTS_PEER_H

#include "ipc/channel.h"
#include "tests/hostile/victim.h"

struct peer {
    int fd; /* the channel's */
    struct chan *chan;
};

struct bytes {
    size_t len;
    uint8_t at[PWC_FRAME_MAX + 64];
};

/* ---- connections ---- */
int peer_socket(const struct victim *v); /* -errno when nobody takes it */
struct peer peer_new(const struct victim *v);
struct peer peer_open(const struct victim *v); /* and greeted */
struct peer peer_open_as(const struct victim *v, uid_t uid);
void peer_free(struct peer *p);

/* ---- saying ---- */
/* All of it in one go, with the descriptors at its first byte. False: the other side is gone. */
bool peer_send(const struct peer *p, const void *bytes, size_t len, const int *fds, unsigned nfds);
void peer_say(const struct peer *p, uint16_t type, uint64_t tag, const void *msg);
void peer_say_with(const struct peer *p, uint16_t type, uint64_t tag, const void *msg, const int *fds,
                   unsigned nfds);
size_t frame_of(uint8_t *to, uint16_t type, uint64_t tag, const void *msg, unsigned nfds);

/* ---- hearing ---- */
/* The next frame: 1; 0: the daemon closed the connection; -ETIMEDOUT. Its descriptors are closed, its texts
 * are UTF-8. */
int peer_hear(struct peer *p, struct frame *ret, int timeout_ms);
/* The next frame of this type, whatever comes before it; the message is the caller's (msg_free). Fails the
 * test when the connection ends or nothing comes. */
void *peer_await(struct peer *p, uint16_t type);
/* Reads until the daemon closes the connection. False: it does not. */
bool peer_is_closed(struct peer *p, int timeout_ms);
/* The code of the Error, Rejected or Finished that comes next, whatever comes before. */
Pwc__Code peer_code(struct peer *p);

/* ---- jobs ---- */
struct job_spec {
    const char *op, *format, *label, *roles[4];
    uint64_t items;
    bool batch;
    Pwc__OnDisconnect on_disconnect;
    const char *key;
    const char *params[8]; /* NAME, VALUE pairs of text */
    uint64_t job_timeout_ms, chunk_timeout_ms;
    uint64_t linger_ms;
    uint64_t trace, max_failures; /* max_failures: so many chunks are skipped, by one worker */
    bool records;
};
void peer_submit(const struct peer *p, uint64_t tag, const struct job_spec *spec);
/* Its number; 0: refused. */
uint64_t peer_accepted(struct peer *p);
void peer_item(const struct peer *p, uint64_t job, uint64_t index, const int *fds, unsigned nfds);
void peer_item_named(const struct peer *p, uint64_t job, uint64_t index, const char *name, const int *fds,
                     unsigned nfds);
void peer_ask(const struct peer *p, uint16_t type, uint64_t job); /* CANCEL, ATTACH, DETACH, LIST_JOBS, ... */

/* An ordinary job from Hello to Finished; fails the test when it does not go well. */
void ordinary_client(const struct victim *v);

int memfd_of(const void *data, size_t len);
/* As another user: the kernel tells the daemon who connects. */
void become(uid_t uid);

#endif
