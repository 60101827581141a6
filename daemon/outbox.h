/*
 * outbox.h - what is sent leaves at the end of a turn of the loop, one system call a peer.
 *
 * A send costs a system call and usually wakes the peer up: with many small jobs that is most of what they
 * cost. So channels of clients and stages gather (chan_hold) what a turn has to say, and daemon_turn() sends
 * it. Stages come first: they compute while clients are told.
 *
 * Who owns an outbox (session, stage) takes it out with outbox_drop() before it frees its channel.
 */
#ifndef PWC_OUTBOX_H
#define PWC_OUTBOX_H

#include <sys/queue.h>

#include "ipc/channel.h"

TAILQ_HEAD(outbox_list, outbox);
struct outbox {
    TAILQ_ENTRY(outbox) link;
    struct outbox_list *listed; /* NULL: nothing to send */
    struct chan *chan;
    void (*flush)(void *owner); /* sends, and deals with what goes wrong */
    void *owner;
};

/* Gathered bytes that are sent without waiting for the end of the turn: below the send queue's limits. */
#define OUTBOX_MOST (16u * 1024u)

void outbox_init(struct outbox *o, struct chan *chan, void (*flush)(void *), void *owner);
/* Something was gathered. urgent: before the others. */
void outbox_add(struct outbox_list *list, struct outbox *o, bool urgent);
/* Something was gathered that may wait for what will be said to this peer in a moment. Whoever calls this
 * sees to it that the list of later ones is flushed, too. */
void outbox_later(struct outbox_list *later, struct outbox *o);
void outbox_drop(struct outbox *o);
void outbox_flush(struct outbox_list *list);

#endif
