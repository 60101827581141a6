/* places.c - see places.h. */
#include <stddef.h>

#include "daemon/places.h"

void places_add(struct places *list, struct place *p, void *what)
{
    p->what = what;
    TAILQ_INSERT_TAIL(list, p, link);
}

static void *first_from(const struct place *p)
{
    while (p != NULL && p->what == NULL)
        p = TAILQ_NEXT(p, link);
    return p != NULL ? p->what : NULL;
}

void *places_first(const struct places *list)
{
    return first_from(TAILQ_FIRST(list));
}

void *places_after(const struct place *p)
{
    return first_from(TAILQ_NEXT(p, link));
}

void places_read(struct place_reader *r, struct places *list)
{
    places_read_end(r);
    *r = (struct place_reader){.list = list};
    TAILQ_INSERT_HEAD(list, &r->at, link);
    TAILQ_INSERT_TAIL(list, &r->end, link);
}

void *places_read_next(struct place_reader *r)
{
    struct place *p = &r->at;
    if (r->list == NULL)
        return NULL;
    do {
        p = TAILQ_NEXT(p, link);
        r->passed++;
    } while (p != &r->end && p->what == NULL); /* another reader's */
    if (p == &r->end) {
        places_read_end(r);
        return NULL;
    }
    TAILQ_REMOVE(r->list, &r->at, link);
    TAILQ_INSERT_AFTER(r->list, p, &r->at, link);
    return p->what;
}

void places_read_end(struct place_reader *r)
{
    if (r->list == NULL)
        return;
    TAILQ_REMOVE(r->list, &r->at, link);
    TAILQ_REMOVE(r->list, &r->end, link);
    r->list = NULL;
}
