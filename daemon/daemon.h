/*
 * daemon.h - what the parts of pwcd share: the loop, the configuration, the tables.
 *
 * pwcd is one thread (and the closer's). Callbacks of the loop end in daemon_turn(), which hands out work if
 * anything changed: nothing is dispatched from the middle of a handler.
 */
#ifndef PWC_DAEMON_H
#define PWC_DAEMON_H

#include <event2/event.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/catalogue.h"
#include "daemon/config.h"
#include "daemon/outbox.h"
#include "daemon/places.h"
#include "ipc/clock.h"
#include "proto/pwc.pb-c.h"

struct stage;
struct job;
struct user;
struct session;
struct death;
struct given_up;
struct pool;
struct trace;

TAILQ_HEAD(session_list, session);
TAILQ_HEAD(user_list, user);
TAILQ_HEAD(job_list, job);
TAILQ_HEAD(given_up_list, given_up);

/* How long jobs of one chunk of an op took: a moving average, forgotten when another op has the same place.
 */
#define OP_PACES 64u
struct op_pace {
    const Pwc__OpInfo *op;
    double ns;
};

struct daemon {
    struct event_base *base;
    struct config cfg;
    struct catalogue *catalogue; /* NULL until the first stage has described itself */
    struct pool *pool;
    struct mono started;
    struct mono now; /* daemon_now() */
    uint8_t instance[16];
    char scratch[256]; /* the directory and what file system it is on, as it was found at the start */

    int listen_fd;
    struct event *listen_ev;
    struct outbox_list outboxes; /* with something to send at the end of this turn */
    struct outbox_list later;    /* with what may wait some milliseconds for the next */
    struct session_list sessions;
    uint32_t nsessions;

    struct user_list users;          /* all that are known */
    struct user_list busy;           /* those with jobs; whose turn is next stands first, see dispatch.c */
    uint32_t nusers, users_sweep_at; /* so many are too many to keep those who have nothing here */
    uint64_t used_floor;             /* time in seats from which users are compared; only grows */
    struct job_list history;         /* ended jobs, newest last */
    uint32_t nhistory;
    uint64_t next_job;
    uint64_t next_domain;
    struct job **jobs; /* hash by id, chained through job.hash_next */
    size_t njobs, jobs_mask;
    struct places by_id;    /* all, as they came */
    void *keyed;            /* tree of those with a request key */
    struct job *spare_jobs; /* empty, chained through hash_next */
    uint32_t nspare_jobs;

    LIST_HEAD(, trace) traces; /* of jobs whose clients asked */
    uint64_t nursery_cpu;      /* while there are any: its CPU time when it was last looked at */

    struct places deaths; /* newest last */
    uint32_t ndeaths;
    struct places quarantine; /* quarantine.h */
    uint32_t nquarantine;

    uint32_t seats, seats_busy;
    uint32_t seats_lent; /* by stages that stand still; others may have them, and be counted in seats_busy */
    uint32_t seats_owed; /* on top of `seats`: those in use, and one for each user who has none */
    struct mono full_since; /* no seat has come free since; 0: one is, or has just been */
    uint32_t nflying;       /* small jobs that are leased, of all users */
    uint64_t nflown;        /* that ever were */
    const char *seats_from;
    uint64_t next_lease, next_arena;
    struct op_pace op_pace[OP_PACES];
    struct event *ahead_ev; /* small.c: armed while leases wait in stages, or words in `later` */

    bool some_solo;        /* solo.h: somebody may need the memory for himself */
    bool short_of_memory;  /* the tick's last look: no more than one lease at a time */
    uint64_t windows_most; /* bytes of arenas that one user's jobs may have; 0: any number */
    uint64_t oom_kills;    /* processes the kernel has killed for want of memory, and when that last grew; not
                              before the first look */
    bool oom_looked;
    struct mono oom_at;
    uint64_t turned_away; /* clients beyond the limits */
    struct mono turned_away_at;
    uint64_t accept_tries, accept_pauses, accept_pauses_told; /* accept(2) failed: see pause_accepting */
    bool trim_due; /* memory was given up: the heap may shrink when nothing is under way */

    struct {
        struct mono at; /* when it was last met */
        const char *what;
        int error;
    } lack;            /* lack.h */
    int scratch_error; /* -errno: why no scratch file could be made when one was last wanted; 0: it could */
    bool retry_due;    /* work could not be given out for that: again at the next tick */
    bool dirty;        /* something changed: dispatch at the end of this turn */
    bool stopping;     /* SIGTERM came: no new jobs */
    bool room_made;    /* somebody who had no room to be told of ends has some, or is gone */
    struct mono stop_by;
    struct event *tick_ev; /* armed while something runs: progress, deadlines */
    struct mono tick_at;
    struct event *stop_ev;

    struct {
        uint64_t done, failed, deaths, dropped, steals;
        uint64_t ahead, recalled; /* small leases that waited in a stage; and were taken back */
    } totals;
};

static inline void daemon_touch(struct daemon *d)
{
    d->dirty = true;
}
/* The time, read once a turn: for what is told in milliseconds. */
static inline struct mono daemon_now(struct daemon *d)
{
    if (d->now.ns == 0)
        d->now = clock_now();
    return d->now;
}
void daemon_turn(struct daemon *d);
void daemon_check_stop(struct daemon *d);
void daemon_tell_status(struct daemon *d); /* to the service manager, if anything changed */

#endif
