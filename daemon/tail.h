/*
 * tail.h - the last kilobytes a stage wrote on its stderr, for the record of its death.
 *
 * Each stage that has a domain gets a pipe of its own: what libraries say about one client's bytes stays with
 * that client's job. Reads are bounded a turn; a stage that floods its pipe only waits for itself.
 */
#ifndef PWC_TAIL_H
#define PWC_TAIL_H

#include <event2/event.h>

#include "ipc/base.h"

#define TAIL_BYTES 2048u

struct tail;

/* NULL when no pipe can be had. The caller closes *ret_fd once it has been sent. */
struct tail *tail_new(struct event_base *base, int *ret_fd);
void tail_free(struct tail *t);
/* Copies what came last, printable; "" for NULL. Reads what is still in the pipe first. */
void tail_text(struct tail *t, char *text, size_t size);

#endif
