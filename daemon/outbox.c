/* outbox.c - see outbox.h. */
#include "daemon/outbox.h"

void outbox_init(struct outbox *o, struct chan *chan, void (*flush)(void *), void *owner)
{
    *o = (struct outbox){.chan = chan, .flush = flush, .owner = owner};
    chan_hold(chan, true);
}

void outbox_add(struct outbox_list *list, struct outbox *o, bool urgent)
{
    if (!o->listed && urgent)
        TAILQ_INSERT_HEAD(list, o, link);
    else if (!o->listed)
        TAILQ_INSERT_TAIL(list, o, link);
    o->listed = true;
    if (chan_queued(o->chan) < OUTBOX_MOST)
        return;
    outbox_drop(list, o);
    o->flush(o->owner);
}

void outbox_drop(struct outbox_list *list, struct outbox *o)
{
    if (o->listed)
        TAILQ_REMOVE(list, o, link);
    o->listed = false;
}

void outbox_flush(struct outbox_list *list)
{
    struct outbox *o;
    while ((o = TAILQ_FIRST(list)) != NULL) {
        outbox_drop(list, o);
        o->flush(o->owner);
    }
}
