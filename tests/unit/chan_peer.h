/*
 * chan_peer.h - a channel and, at the other end of a socket pair, a raw peer that says exactly what the test
 * wants, well-behaved or not. The fixture also counts the process's descriptors: none may be left over.
 */
#ifndef PWC_TESTS_CHAN_PEER_H
#define PWC_TESTS_CHAN_PEER_H

#include "ipc/channel.h"

extern struct chan *chan; /* takes messages of clients and of the supervisor */
extern int peer;

void chan_peer_setup(void);
void chan_peer_teardown(void);
int chan_peer_new_fds(void); /* open now, beyond those from before the fixture */

/* A frame with recognizable bytes; returns its length. */
size_t make(uint8_t *to, uint16_t type, uint16_t nfds, uint64_t tag, size_t body, size_t tail);
void say(const void *bytes, size_t len, const int *fds, size_t nfds);
/* Sends n descriptors, each of a file of its own size, from `first` on, so that they can be told apart. */
void say_with_files(const void *bytes, size_t len, size_t n, size_t first);
void expect_file(const struct frame *f, unsigned i, size_t number);
/* Reads all there is at the raw end; returns bytes and how many descriptors came (and were closed). */
size_t hear(uint8_t *to, size_t room, size_t *ret_fds);

#endif
