/*
 * solo.h - who needs the memory for himself. An attempt that ended for want of memory which it shared (the
 * kernel's kill for the machine or the whole service, or ours when the machine had hardly any left) would end
 * so again beside those that ate it, until its retries are spent. So the next one begins when nothing else of
 * its domain computes, and nothing of its domain is begun beside it.
 *
 * Of the domain, not the user: a service that works for strangers under one uid tells them apart by labels or
 * by `isolation`, and none of them is to stop the others by an input that eats memory. Nobody waits for ever:
 * who is held back is so only while something of the domain computes (who stands still does not).
 */
#ifndef PWC_SOLO_H
#define PWC_SOLO_H

#include "daemon/job.h"

/* This is what its last attempt at the chunk, or in the role, ended of. */
void solo_chunk(struct job *j, uint64_t chunk, const struct death *x);
void solo_role(struct job *j, enum lease_kind role, const struct death *x);

/* Is what the stage is at such an attempt? */
bool solo_runs(const struct stage *s);
/* Is what the job would begin next, or may be? */
bool solo_is_next(const struct job *j);
/* The job may begin nothing now: one runs, or waits for others to end. */
bool solo_holds_back(const struct job *j);
/* At each turn: as long as nobody needs it, all of this costs one look. */
void solo_look(struct daemon *d);

#endif
