/* outbox.c - see outbox.h. */
#include "daemon/outbox.h"

void outbox_init(struct outbox *o, struct chan *chan, void (*flush)(void *), void *owner)
{
    *o = (struct outbox){.chan = chan, .flush = flush, .owner = owner};
    chan_hold(chan, true);
}

void outbox_add(struct outbox_list *list, struct outbox *o, bool urgent)
{
    if (o->listed != list) {
        outbox_drop(o);
        if (urgent)
            TAILQ_INSERT_HEAD(list, o, link);
        else
            TAILQ_INSERT_TAIL(list, o, link);
        o->listed = list;
    }
    if (chan_queued(o->chan) < OUTBOX_MOST)
        return;
    outbox_drop(o);
    o->flush(o->owner);
}

void outbox_later(struct outbox_list *later, struct outbox *o)
{
    if (o->listed != NULL)
        return;
    TAILQ_INSERT_TAIL(later, o, link);
    o->listed = later;
}

void outbox_drop(struct outbox *o)
{
    if (o->listed != NULL)
        TAILQ_REMOVE(o->listed, o, link);
    o->listed = NULL;
}

void outbox_flush(struct outbox_list *list)
{
    struct outbox *o;
    while ((o = TAILQ_FIRST(list)) != NULL) {
        outbox_drop(o);
        o->flush(o->owner);
    }
}
