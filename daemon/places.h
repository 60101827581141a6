/*
 * places.h - lists that are read bit by bit while what stands in them comes and goes. Pure.
 *
 * Whoever comes stands last. Who reads leaves two bookmarks in the list: where he is, and where it ended when
 * he began. So he sees what was there then and still is when he comes to it, each once and in order, however
 * much comes meanwhile; and the next one stands beside his bookmark, however long the list is.
 */
#ifndef PWC_PLACES_H
#define PWC_PLACES_H

#include <stdint.h>
#include <sys/queue.h>

struct place {
    TAILQ_ENTRY(place) link;
    void *what; /* NULL: a bookmark */
};
TAILQ_HEAD(places, place);

struct place_reader {
    struct places *list; /* NULL: nobody reads */
    struct place at, end;
    uint64_t passed; /* places that were gone by, bookmarks too: the work that reading was */
};

void places_add(struct places *list, struct place *p, void *what);
/* NULL: there is none. */
void *places_first(const struct places *list);
void *places_after(const struct place *p);

void places_read(struct place_reader *r, struct places *list);
void *places_read_next(struct place_reader *r); /* NULL: the end, also of the reading */
void places_read_end(struct place_reader *r);

#endif
