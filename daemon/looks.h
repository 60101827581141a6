/*
 * looks.h - whether the supervisor looks for what is next before it sleeps. Pure: no clock, no files.
 *
 * A small job is back sooner than it takes to sleep and to be woken on a processor that idles, and so is the
 * next one of a client that has them done one after the other. When one has just been leased, and no more
 * are out than there are seats, so that those who wait are clients and not work, it looks some times, 50 us
 * in all. When it is back it goes on, if those before were followed by another one soon. Otherwise it sleeps
 * at once, as it does on an idle machine.
 */
#ifndef PWC_DAEMON_LOOKS_H
#define PWC_DAEMON_LOOKS_H

#include "ipc/base.h"
#include "ipc/clock.h"

#define LOOKS_MOST 60 /* before it sleeps, with a yield each: 50 us */
#define LOOKS_SOON (150 * NS_PER_US)
#define LOOKS_HOLD 64u

struct looks {
    int left;
    uint64_t flown;   /* how many had been leased at the last turn */
    struct mono back; /* since when none is out; 0: some are */
    unsigned hold; /* so many must come soon after that before it goes on for the next; a late one then: all
                      of them again */
};

static inline struct looks looks_begin(void)
{
    return (struct looks){.hold = LOOKS_HOLD};
}

/* After each turn: flown small jobs have been leased so far, flying of them are out. True: look once more;
 * false: sleep. */
bool looks_on(struct looks *l, uint64_t flown, uint32_t flying, uint32_t seats, struct mono now);

#endif
