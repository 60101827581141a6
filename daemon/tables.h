/*
 * tables.h - the supervisor's tables as a whole: made, turned, emptied.
 *
 * One place for what every world around them needs, be it pwcd's main(), the simulation or a fuzz target: a
 * part that is added to the supervisor begins and ends here, and so exists in all of them.
 *
 *   tables_init    the loop is there, the pool not yet
 *   tables_turn    after every callback, by daemon_turn()
 *   tables_end_jobs, then the stages end, then tables_free
 */
#ifndef PWC_TABLES_H
#define PWC_TABLES_H

#include "daemon/daemon.h"

void tables_init(struct daemon *d);
/* Gives out work while anything changes, says what was gathered, sets the tick. */
void tables_turn(struct daemon *d);
/* The daemon shuts down. waiting_only: those that run may still end by themselves, and of those that wait
 * only as many end as all who follow them can be told of at once; again when d->room_made. */
void tables_end_jobs(struct daemon *d, bool waiting_only);
/* Has every client taken what it was told? */
bool tables_told(const struct daemon *d);
/* No stage is left: clients hear the last, and everything but the loop and the configuration is freed. */
void tables_free(struct daemon *d);

#endif
