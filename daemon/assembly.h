/*
 * assembly.h - where the results of a job lie and in which order the consumer gets them. Pure bookkeeping.
 *
 * An arena is divided into up to 64 places of result_bytes each. A place is taken when a lease is given out
 * and freed when the consumer has absorbed what lies in it, or when the lease ends without it. One place of
 * each arena is kept for the lowest chunk not yet absorbed, so that a retried first chunk always finds room,
 * whatever later results hold. An arena whose stage is gone lives on until its last result was absorbed, and
 * the consumer is told then: what it has mapped takes memory for as long as it does.
 */
#ifndef PWC_ASSEMBLY_H
#define PWC_ASSEMBLY_H

#include <sys/queue.h>

#include "daemon/ledger.h"

#define ARENA_PLACES   64u
#define ORPHANS_A_SEAT 2u /* arenas of stages that are gone, before those that follow have to wait */

struct arena {
    LIST_ENTRY(arena) link; /* of its job */
    uint64_t id;
    int fd; /* owned */
    uint64_t bytes;
    uint32_t places;
    uint64_t taken; /* bit i: place i */
    bool orphan;    /* its stage is gone or uses another one */
    bool known;     /* the present consumer has its descriptor */
};

/* A computed range whose results lie side by side; arena NULL: a chunk that was given up, a hole. */
struct result {
    LIST_ENTRY(result) link; /* sorted by first */
    uint64_t first, n;
    struct arena *arena;
    uint32_t place;
};

struct assembly {
    uint64_t result_bytes;
    uint64_t bytes;    /* of all arenas there are */
    uint64_t sent;     /* chunks below it were handed to the consumer */
    uint64_t absorbed; /* chunks below it were taken by it */
    LIST_HEAD(, result) results;
    LIST_HEAD(arenas, arena) arenas;
    LIST_HEAD(, arena) gone; /* the present consumer has them mapped still; without their descriptors */
};

void assembly_init(struct assembly *a, uint64_t result_bytes);
void assembly_free(struct assembly *a);

struct arena *arena_new(struct assembly *a, uint64_t id, int fd, uint64_t bytes);
/* The stage no longer writes there: freed now or with its last result. */
void arena_release(struct assembly *a, struct arena *arena);
/* Nothing lies in it any more: it goes, and its descriptor is the caller's. */
int arena_take_fd(struct assembly *a, struct arena *arena);

/* Is there a place for a chunk `first`? The last one is kept for the lowest chunk not yet absorbed. */
bool arena_has_room(const struct assembly *a, const struct arena *arena, uint64_t first);
/* Room for `most` neighbouring places for chunks from `first` on; returns how many there are and where. */
uint32_t arena_take(const struct assembly *a, struct arena *arena, uint64_t first, uint32_t most,
                    uint32_t *ret_place);
void arena_free_places(struct arena *arena, uint32_t place, uint32_t n);

/* Chunks [first, first + n) are done and lie from `place` on. */
void assembly_add(struct assembly *a, struct arena *arena, uint64_t first, uint64_t n, uint32_t place);
/* A chunk that was given up: the consumer gets a filled one in its place. */
void assembly_add_hole(struct assembly *a, uint64_t chunk);
/* It is tried again: the hole must not have been handed to the consumer. */
void assembly_remove_hole(struct assembly *a, uint64_t chunk);
/* The next results to hand to the consumer, in order; NULL when the next chunk is not there. Moves `sent`. */
const struct result *assembly_next(struct assembly *a, uint64_t *ret_first, uint64_t *ret_n);
/* False: the consumer claims more than it was given. */
bool assembly_absorbed(struct assembly *a, uint64_t upto);
/* A new consumer starts from nothing: what still lies in arenas is to be sent again, what was absorbed and
 * does not to be computed again, and what was given up is a hole again. */
void assembly_restart(struct assembly *a, struct ledger *l);
/* The producer starts from nothing, too: everything is to be computed again. */
void assembly_rewind(struct assembly *a, struct ledger *l);
/* Stages that are gone have left so many results that others would only leave more. */
bool assembly_full(const struct assembly *a, uint32_t seats);
uint32_t assembly_arenas(const struct assembly *a);
/* An arena that the present consumer knows and nobody needs any more; each is told once. */
bool assembly_gone(struct assembly *a, uint64_t *ret_arena);
bool assembly_holds(const struct assembly *a, uint64_t chunk);

#endif
