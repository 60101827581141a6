/*
 * pool.h - all stages, and the nursery that makes them.
 *
 * The pool keeps a few spares in stock, starts no more than `stages_max` in all (and one for each seat that
 * is lent), and reconciles from the truth: what is wanted minus what is alive, at every turn. What SIGKILL
 * does not end is counted as alive.
 * Deaths before a stage is ready slow it down (starts.h); they never end the daemon.
 */
#ifndef PWC_POOL_H
#define PWC_POOL_H

#include <signal.h>

#include "daemon/restart.h"
#include "daemon/stage.h"

TAILQ_HEAD(stage_list, stage);

struct pool {
    struct daemon *d;
    struct stage_list stages; /* least recently used first */
    uint32_t n, dying;        /* in all; of them in this state */
    uint64_t next_id;
    struct restart_state restart; /* of stages without a domain: starts.h */
    struct restart_state entries; /* of all others' without special rights, for whoever asks how things are */
    bool held_back;               /* somebody waits for a stage to be tried; cleared at each tick */
    struct event *retry_ev;       /* start again after a delay */
    struct event *rest_ev;        /* pending: a worker has just died, see pool_rests() */
    char last_words[160];         /* why the last stage did not get ready; "": it did */

    /* the nursery */
    struct chan *nursery;
    struct event *nursery_ev, *nursery_write_ev, *nursery_exit_ev;
    pid_t nursery_pid;
    int nursery_pidfd;
    struct mono nursery_born;
    bool nursery_ready;
    struct mono nursery_killed;  /* by us, when; it has not ended yet */
    struct mono nursery_stopped; /* since when; 0: it runs */
    struct restart_state nursery_restart;
    struct event *nursery_retry_ev;
    uint64_t nurseries;        /* started so far: the number of the present one */
    unsigned brood;            /* so many that one nursery has made did not get ready, in a row */
    uint64_t brood_of;         /* the one whose stages were heard of last */
    bool nursery_made;         /* it has made a stage: it can do its work */
    bool nursery_sick;         /* but they die before they are ready: it is being ended for that */
    bool untried;              /* since then none executed directly has died before it had a domain */
    bool nursery_waits;        /* for what pwcd lacks to start it */
    bool described;            /* a stage was asked for the catalogue */
    struct mono lacked;        /* when pwcd could not make what a stage needs: lack.h */
    uint64_t spawned, unready; /* processes made; those that died before they were ready */
};

struct pool *pool_new(struct daemon *d);
/* SIGKILL to everything and a bounded wait for it. */
void pool_shutdown(struct pool *p);
void pool_free(struct pool *p);
/* Jobs of all fail of it that stages die before they are given to anybody. */
bool pool_gives_up(const struct pool *p);
/* Waits until a child has ended and takes its status; false: it has not by then. */
bool pool_await_end(int pidfd, struct mono until);

/* Whoever takes over from a worker that has just died needs the processors more than the stock does: what can
 * wait is made some milliseconds later. The pool wakes itself up then. */
bool pool_rests(const struct pool *p);
void pool_rest(struct pool *p);
/* How long until a stage may be tried again, in ns; 0: now. If not now, the pool wakes itself up then. */
int64_t pool_wait(struct pool *p);
void pool_balance(struct pool *p); /* starts what is missing, ends what has idled too long */
void pool_stage_gone(struct pool *p, struct stage *s, const siginfo_t *info);
struct stage *pool_find(struct pool *p, uint64_t id);
/* An idle stage of this domain for this job; NULL: none. fresh: one that never held a lease. fits: NULL, or
 * what it must pass. Those that hold more memory than the job may are retired. */
typedef bool (*pool_filter)(const struct job *j, const struct stage *s);
struct stage *pool_idle(struct pool *p, uint64_t domain, bool fresh, const struct job *prefer,
                        pool_filter fits);
/* Sends a spare into the domain of this job, making room if the pool is full. False: none is there yet. */
bool pool_enter_spare(struct pool *p, const struct job *j);
/* The least recently used idle stage that is of no use to this domain. False: there is none. */
bool pool_retire_one(struct pool *p, uint64_t keep_domain);
/* A moment ago pwcd could not make what a stage needs, be it a new one or a spare. */
bool pool_lacks(const struct pool *p);
/* Its process could not be made. */
void pool_not_made(struct pool *p, struct stage *s, int r);
/* pwcd could not give it something, or take something of it, for want of `what`: it is retired. */
void pool_lacks_for(struct stage *s, const char *what, int r);
/* So many processes of this user cannot be killed that he gets no more of them until some are gone. */
bool pool_denies(const struct pool *p, uint32_t uid);
/* Until the first parked stage has idled too long, in ns; 0: none is parked. */
int64_t pool_idle_left(const struct pool *p);
uint32_t pool_count(const struct pool *p, enum stage_state state, uint64_t domain); /* domain 0: any */
bool pool_has_domain(const struct pool *p, uint64_t domain);
void pool_used(struct pool *p, struct stage *s); /* most recently used from now on */

/* nursery.c */
void nursery_start(struct pool *p); /* if it cannot be started, later */
/* It was killed: waits for it, so long at most. */
void nursery_stop(struct pool *p, struct mono until);
void nursery_kill(struct pool *p);  /* another one is started */
void nursery_watch(struct pool *p); /* at each tick while one that was killed has not ended */
/* A stage has got ready, or a death before that has counted. Too many in a row of one nursery are its fault:
 * then true, and the next need not wait, because somebody else makes it. */
void nursery_acquitted(struct pool *p, const struct stage *s);
bool nursery_blamed(struct pool *p, const struct stage *s);
/* Asks for a process for this stage, from the nursery or by exec. 0 or -errno. */
int nursery_spawn(struct pool *p, struct stage *s, int child_fd);

#endif
