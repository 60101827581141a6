/*
 * jobs.c - where jobs are found, those of the history too: by number in a hash table that grows, one after
 * the other in a list of all and one of their user's, and those that came with a request key in a tree by
 * user and key. Keys are chosen by clients: a tree (tsearch(3) keeps it balanced) has no worst case that
 * could be chosen, too.
 */
#include <search.h>
#include <stddef.h>
#include <string.h>

#include "daemon/job.h"

/* ---- by request key ---- */

/* Where it is wanted: copied there as a whole it would wait for all stores before it, most of them to a new
 * job. */
void request_key(struct request_key *ret, const struct user *u, const void *bytes, size_t len)
{
    ret->user = u;
    ret->len = len <= sizeof ret->bytes ? (uint32_t)len : 0;
    if (ret->len > 0) /* one that is too long is no key: submit_check refuses it */
        memcpy(ret->bytes, bytes, ret->len);
}

static int by_key(const void *a, const void *b)
{
    const struct request_key *x = a, *y = b;
    if (x->user != y->user)
        return x->user->uid < y->user->uid ? -1 : 1;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->bytes, y->bytes, x->len);
}

struct job *jobs_by_key(struct daemon *d, const struct request_key *key)
{
    char *const *found = key->len > 0 ? tfind(key, &d->keyed, by_key) : NULL;
    return found != NULL ? (struct job *)(void *)(*found - offsetof(struct job, key)) : NULL;
}

void jobs_forget_key(struct daemon *d, struct job *j)
{
    if (j->key.len > 0)
        tdelete(&j->key, &d->keyed, by_key);
    j->key.len = 0;
}

/* ---- by number ---- */

static size_t bucket(const struct daemon *d, uint64_t id)
{
    return (id * 0x9e3779b97f4a7c15ull >> 20) & d->jobs_mask;
}

struct job *job_find(struct daemon *d, uint64_t id)
{
    if (d->jobs == NULL)
        return NULL;
    struct job *j = d->jobs[bucket(d, id)];
    while (j != NULL && j->id != id)
        j = j->hash_next;
    return j;
}

static void table_grow(struct daemon *d)
{
    size_t old = d->jobs != NULL ? d->jobs_mask + 1 : 0, room = old > 0 ? old * 4 : 256;
    struct job **from = d->jobs;
    d->jobs = xcalloc(room, sizeof *d->jobs);
    d->jobs_mask = room - 1;
    for (size_t i = 0; i < old; i++)
        for (struct job *j = from[i], *next; j != NULL; j = next) {
            next = j->hash_next;
            j->hash_next = d->jobs[bucket(d, j->id)];
            d->jobs[bucket(d, j->id)] = j;
        }
    free(from);
}

void jobs_add(struct daemon *d, struct job *j)
{
    if (d->jobs == NULL || d->njobs > d->jobs_mask)
        table_grow(d);
    j->hash_next = d->jobs[bucket(d, j->id)];
    d->jobs[bucket(d, j->id)] = j;
    places_add(&d->by_id, &j->of_all, j); /* numbers only grow: so it stands behind the lower ones */
    places_add(&j->user->by_id, &j->of_user, j);
    d->njobs++;
    j->user->known++;
    if (j->key.len > 0)
        must(tsearch(&j->key, &d->keyed, by_key));
}

void jobs_remove(struct daemon *d, struct job *j)
{
    struct job **at = &d->jobs[bucket(d, j->id)];
    while (*at != j)
        at = &(*at)->hash_next;
    *at = j->hash_next;
    TAILQ_REMOVE(&d->by_id, &j->of_all, link);
    TAILQ_REMOVE(&j->user->by_id, &j->of_user, link);
    d->njobs--;
    j->user->known--;
    jobs_forget_key(d, j);
}
