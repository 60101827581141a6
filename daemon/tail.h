/*
 * tail.h - the last kilobytes a stage wrote on its stderr, for the record of its death.
 *
 * Each stage that has a domain gets a pipe of its own: what libraries say about one client's bytes stays with
 * that client's job. Reads are bounded a turn and between two ticks; a stage that floods its pipe only waits
 * for itself, and what it wrote last is read when it has died.
 *
 * Whose words are they? What is in the pipe when a lease ends is that lease's or an earlier one's: the stage
 * is marked then (tail_mark). Within a lease the slot tells: what was read before the slot said a chunk is of
 * one before it. That costs nothing but when something is read, and so it goes for small leases, too, of
 * which a stage holds several. What a chunk writes in the last moment before the next one begins, and nobody
 * has read by then, counts for that next one of the same lease, or the next small job.
 */
#ifndef PWC_TAIL_H
#define PWC_TAIL_H

#include <event2/event.h>

#include "ipc/segment.h"

#define TAIL_BYTES 2048u

struct tail;

/* NULL when no pipe can be had. The caller closes *ret_fd once it has been sent. The slot says what the stage
 * is at. */
struct tail *tail_new(struct event_base *base, const struct segment_slot *slot, int *ret_fd);
void tail_free(struct tail *t);
/* Who has said much is heard again. NULL is fine, here and below. */
void tail_tick(struct tail *t);
/* All leases are over: what it has written so far is theirs. */
void tail_mark(struct tail *t);
/* Copies what came last since that chunk of that lease began, printable; of SLOT_IDLE since the mark. "" for
 * NULL. Reads what is still in the pipe first. */
void tail_text(struct tail *t, uint64_t lease, uint64_t chunk, char *text, size_t size);

#endif
