/*
 * ledger.h - the chunks of one job: which are waiting, held, done, given up. Pure: no clock, loop or I/O.
 *
 *   waiting --take--> held --report--> done --forget--> waiting   (a consumer that starts again)
 *      ^               |  \--charge--> waiting (alone) or bad (quarantined) --recall--> held
 *      +---give_back---+
 *
 * Every chunk is in exactly one of waiting, held, done, bad. Who holds a range is the caller's business: the
 * ledger only checks that what comes back was out. Chunks at or past `ready` exist but cannot be taken, even
 * those that once could: a producer that starts again has to come by first.
 */
#ifndef PWC_LEDGER_H
#define PWC_LEDGER_H

#include "daemon/iset.h"

enum cause { CAUSE_ERROR, CAUSE_CRASH, CAUSE_OOM, CAUSE_TIMEOUT, CAUSES };

/* Further attempts after the first, by cause. */
struct budget {
    uint32_t retries[CAUSES];
};

/* So many chunks of a job that were charged are remembered at a time: a further one is not tried again. */
#define LEDGER_CHARGES_MAX 100000u

struct charge {
    uint64_t chunk;
    uint32_t by[CAUSES];
    uint32_t before; /* attempts that were made before it was recalled */
    bool solo;       /* the next one needs to be the only one */
};

struct ledger {
    uint64_t total, ready;
    uint64_t fresh;    /* chunks at or past it were never taken */
    struct iset back;  /* taken and given back, waiting */
    struct iset alone; /* waiting, each to be taken alone: they were charged before */
    struct iset held, done, bad;
    struct iset suspect;    /* waiting or held: one of them killed a lease and nobody knows which */
    uint64_t suspect_most;  /* how many of them one lease may hold: halved by each such death */
    struct charge *charges; /* sorted by chunk; of none that is done or bad */
    size_t ncharges, room;
    size_t solos; /* charges of these that say so */
    uint64_t retried, redone;
};

void ledger_init(struct ledger *l, uint64_t total, uint64_t ready);
void ledger_free(struct ledger *l);
void ledger_set_ready(struct ledger *l, uint64_t ready); /* only grows */
/* Everything done is to be done again, and nothing is ready: consumer and producer start from nothing. */
void ledger_rewind(struct ledger *l);

/* How many chunks could be taken now. */
uint64_t ledger_waiting(const struct ledger *l);
/* The lowest chunk that could be taken, or UINT64_MAX. */
uint64_t ledger_lowest(const struct ledger *l);
/* The lowest charged chunk that could be taken, or UINT64_MAX. */
uint64_t ledger_charged(const struct ledger *l);
/* Takes up to `most` chunks from the lowest waiting one on; a charged one comes alone. Returns how many. */
uint64_t ledger_take(struct ledger *l, uint64_t most, uint64_t *ret_first);
/* The same from the lowest, or the lowest charged one. */
uint64_t ledger_take_from(struct ledger *l, uint64_t first, uint64_t most);
void ledger_give_back(struct ledger *l, uint64_t from, uint64_t to);
/*
 * A lease of these died and its slot did not say where. They wait, to be leased in halves: after a few more
 * deaths the guilty one stands alone, and can be charged.
 */
void ledger_suspect(struct ledger *l, uint64_t from, uint64_t to);
/* held -> done, and its charges are forgotten. Returns false, changing nothing, unless all of the range is
 * held. */
bool ledger_report(struct ledger *l, uint64_t from, uint64_t to);
/* done -> waiting: their results are gone. Their budgets are whole again. */
void ledger_forget(struct ledger *l, uint64_t from, uint64_t to);

/* A held chunk's attempt ended badly. True: it waits for another attempt; false: it is bad now, and its
 * attempts are forgotten. */
bool ledger_charge(struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget);
/* How many more attempts a charge for this would leave it, if all of them ended like that. */
uint32_t ledger_left(const struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget);
/* It was charged, and waits or is held, done or given up meanwhile; now it is known for what. */
void ledger_recharge(struct ledger *l, uint64_t chunk, enum cause from, enum cause to);
/* One that was charged is to be computed when nothing else is, or not so any more; of others this is
 * forgotten. */
void ledger_set_solo(struct ledger *l, uint64_t chunk, bool solo);
bool ledger_is_solo(const struct ledger *l, uint64_t chunk);
/* Attempts at a chunk so far, for messages: 1 + charges while it is held. Of one that is done or bad nothing
 * is known. */
uint32_t ledger_attempt(const struct ledger *l, uint64_t chunk);

/* bad -> held, after so many attempts, with its budget whole again unless too many others have charges:
 * somebody will give it back, alone or not, or reject it. */
void ledger_recall(struct ledger *l, uint64_t chunk, uint32_t attempts);
/* held -> waiting, to be taken alone. */
void ledger_give_alone(struct ledger *l, uint64_t chunk);
/* held -> bad, whatever its budget. */
void ledger_reject(struct ledger *l, uint64_t chunk);

/* The chunk that would become ready next is bad before anybody took it: an item that cannot be had. */
void ledger_reject_next(struct ledger *l);
/* The same place, but it is held until it is given alone, or rejected. */
void ledger_hold_next(struct ledger *l);

/* More was given up than can be remembered (limits.h): chunks where somebody is told of each of them, else
 * runs of neighbours. */
bool ledger_overflows(const struct ledger *l, bool each);
bool ledger_complete(const struct ledger *l); /* all chunks done or bad */

#endif
