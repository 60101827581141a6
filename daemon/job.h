/*
 * job.h - a job and its owner, in the supervisor's tables.
 *
 *   QUEUED    accepted; waits for its turn, descriptors, then a stage   -> PLANNING, RUNNING, ENDING
 *   PLANNING  a stage reads the input's header and decides              -> RUNNING, ENDING
 *   RUNNING   chunks are leased, computed, absorbed                     -> ENDING
 *   ENDING    outcome known; stages are being called back               -> terminal
 *   DONE, FAILED, CANCELLED, PARTIAL  terminal: kept in the history without its descriptors and tables
 *
 * A user has jobs that wait (queues by priority) and a few that are active: only those hold descriptors and
 * get seats, in turn.
 *
 * Owns its descriptors (closed by the closer, they came from a client), its parameters, ledger, assembly and
 * fold states. Borrows its sessions (watch.h), which tell it when they go, and stages, which tell it when
 * they die.
 */
#ifndef PWC_JOB_H
#define PWC_JOB_H

#include "daemon/assembly.h"
#include "daemon/backlog.h"
#include "daemon/daemon.h"
#include "daemon/halt.h"
#include "daemon/lease_size.h"
#include "daemon/ledger.h"
#include "daemon/params.h"
#include "daemon/stage.h"
#include "daemon/starts.h"

#define PRIORITIES 40 /* -20 to 19 */

/* Jobs that will have a consumer or a producer wait by themselves: of these no more begin at a time than
 * there are turns, and whoever needs none does not wait behind them. */
enum queue { QUEUE_PLAIN, QUEUE_ROLES, QUEUES };

#define WORKERS_KNOWN 64u

struct watch;

/* What is remembered of the past is limited in all; the oldest goes of whoever has most of it. */
enum kept { KEPT_JOBS, KEPT_DEATHS, KEPT_GIVEN_UP, KEPTS };
struct keep {
    struct place place; /* the user's, newest last */
    struct user *user;
};

struct user {
    TAILQ_ENTRY(user) link, busy_link;
    uint64_t used_ns;          /* time in seats: who used less comes first */
    uint32_t nactive, running; /* jobs with a turn; seats in use, or lent while a stage of his stands still */
    uid_t uid;
    bool busy;                     /* in that list */
    uint32_t jobs, known, clients; /* known: jobs and those of the history */
    struct job_list waiting[QUEUES][PRIORITIES];
    struct job_list active; /* the head has waited longest for a lease */
    struct job_list flying; /* small ones that are leased: active, but there is nothing to give out */
    struct places by_id;    /* jobs, all that are known */
    uint32_t nflying, nparked;
    uint64_t windows; /* bytes of his jobs' arenas, as of the last turn, and of those made since */
    struct places kept[KEPTS];
    uint32_t nkept[KEPTS];
    struct account_list accounts; /* of stages that did not get ready for him */
    LIST_HEAD(, domain) domains;
    uint32_t ndomains, sweep_at; /* so many are too many to keep those that nobody uses */
};

/* (uid, label, rights) -> number. Forgotten when no job has the label and no stage is in the domain: labels
 * are clients'. */
struct domain {
    LIST_ENTRY(domain) link;
    uint64_t id;
    uint32_t needs; /* rights its stages have, of ops that say so */
    uint32_t jobs;  /* not yet ended */
    char label[PWC_LABEL_MAX + 1];
};

/* One item of a batch whose descriptors are here. */
struct item {
    TAILQ_ENTRY(item) link;
    uint64_t index;
    unsigned nfds;
    int fds[PWC_ROLES_MAX];
    char name[]; /* at most PWC_ITEM_NAME_MAX bytes */
};
TAILQ_HEAD(item_list, item);

/* What a client called its request; len 0: nothing. */
struct request_key {
    const struct user *user;
    uint32_t len;
    uint8_t bytes[32];
};

struct job_role {
    char name[PWC_NAME_MAX + 1];
    bool out;
};

struct job {
    TAILQ_ENTRY(job) link; /* of its user's queue or active list, later of the history */
    struct keep kept;      /* of the history */
    struct job *hash_next;
    struct place of_all, of_user;
    TAILQ_ENTRY(job) by_session;
    struct daemon *d;
    uint64_t id;
    struct user *user;
    struct session *session; /* its owner; NULL: none */
    bool adopted;            /* the owner did not submit it: it has none of the items */
    uint64_t tag;            /* of the owner's Submit or Attach */
    TAILQ_HEAD(, watch) watches;
    uint32_t nwatches;

    const Pwc__OpInfo *op; /* of the catalogue */
    struct params *params, *save, *load;
    char format[PWC_NAME_MAX + 1];
    unsigned nroles;
    struct job_role *roles; /* nroles of them, owned */
    uint64_t items;
    bool small; /* small.h */
    bool batch, active, records, want_sent;
    bool flying;            /* in that list */
    bool parked;            /* job_park() */
    bool alone;             /* a stage that held it besides others died of one of them: it is leased alone */
    int fds[PWC_ROLES_MAX]; /* of a job that is no batch */
    bool have_fds;
    bool plan_lost; /* pwcd had no room for it: not planned again before the next tick */
    char *input;    /* what its client calls that item, owned; NULL: nothing, or it is not here yet */
    struct item_list item_list; /* batch: in hand, by index */
    uint64_t items_asked, items_in, items_out;
    struct iset asked_again; /* given up, or lost, and wanted once more */
    struct iset recalled;    /* given up, and to be wanted once more when there is room in the window */
    struct iset lost; /* came without its descriptors, and has not come again; asked for at each tick */
    struct given_up_list given_up; /* what is remembered of it: quarantine.h */
    char *recipe;                  /* once something was given up: the command that does the job again */

    struct budget budget;
    struct halt halt;
    uint8_t fill; /* stands in for each byte of a chunk that was given up */
    bool halting; /* nothing more is started */
    uint32_t chunk_timeout_percent;
    Pwc__OnFailure on_failure;
    Pwc__OnDisconnect on_disconnect;
    Pwc__Isolation isolation;
    uint64_t linger_ns, chunk_timeout_ns, job_timeout_ns, max_failures, memory;
    uint32_t max_workers;
    int priority;
    uint64_t domain;
    struct domain *home; /* NULL: a domain of its own, or ended */
    char label[PWC_LABEL_MAX + 1];
    struct request_key key;

    Pwc__JobState state, outcome; /* outcome: what ENDING leads to */
    Pwc__Code code;
    char *reason; /* owned; NULL: none. job_reason() */
    struct mono born, began, ended, kill_at;
    struct event *linger_ev, *time_ev; /* time_ev: the end of its time, whether it waits or runs */

    /* planned */
    bool planned, producer_needed, produced, windowed, has_plan, got_results, consumed;
    uint16_t role_charges[LEASE_KINDS][CAUSES]; /* attempts at a role that ended badly: of LEASE_PLAN, ... */
    bool role_solo[LEASE_KINDS];                /* solo.h: the next one at it */
    Pwc__Absorb absorb;
    int plan_fd, scratch_fd, raster_fd;
    int scratch_ro_fd;               /* until it is planned: becomes raster_fd, if there is a raster */
    struct mono lack_since, lack_at; /* lack.h: it waited for what pwcd cannot make; last when */
    char unit[16];
    uint64_t unit_size, units, unit_from;

    struct ledger ledger;
    struct lease_pace pace;
    struct assembly assembly;
    struct backlog backlog;
    struct fold_list states;
    struct stage *planner, *producer, *consumer;
    uint64_t announced; /* chunks, by the producer that there is */
    uint32_t stages_on; /* stages that hold a lease of it */
    uint32_t workers_on;
    uint64_t filled;        /* PLACED: below it what was given up has been filled in the output */
    uint64_t recalls;       /* chunks that were given up and are tried again */
    uint32_t lack_losses;   /* leases that pwcd itself ended in a row, for want of something */
    uint32_t lack_restarts; /* and consumers, in all */
    uint32_t idle_losses;   /* leases lost with nobody to blame, in a row */

    uint8_t *results; /* packed Finished with nothing but results */
    size_t results_len;

    /* told to clients */
    uint64_t seq; /* of the last event */
    bool progress_due, state_due;
    uint64_t leases, deaths, failed_items, bytes_in, bytes_out;
    uint64_t
        *worker_ids; /* ring of the last WORKERS_KNOWN distinct ones, owned; NULL: none, or it is small */
    uint32_t distinct_workers;
    struct death *last_death;
    const struct death *ended_by; /* what it failed of; NULL: of none, or its record was dropped */
    uint64_t trace_most;          /* records of chunks the client asked for; 0: no trace */
    struct trace *trace;          /* NULL: none */
    struct iset unsent;           /* records: done chunks it was not told of yet */
    TAILQ_HEAD(record_list, record) records_bad;
    size_t records_wait, reasons_wait; /* how many; bytes of their texts */
    Pwc__Counts last_counts;           /* terminal: what the tables said before they went */
};

/* ---- tables ---- */
/* jobs.c: all that are not forgotten. */
void jobs_add(struct daemon *d, struct job *j);
void jobs_remove(struct daemon *d, struct job *j);
struct job *job_find(struct daemon *d, uint64_t id);
void request_key(struct request_key *ret, const struct user *u, const void *bytes, size_t len);
/* The one that this request has made already; NULL: none, or the request has no key. */
struct job *jobs_by_key(struct daemon *d, const struct request_key *key);
/* The same request makes a new one from now on. */
void jobs_forget_key(struct daemon *d, struct job *j);

/* users.c. Forgotten when nothing of theirs is left here: no client, no job, be it of the history, and no
 * stage; and with them what they used. */
struct user *user_get(struct daemon *d, uid_t uid);
struct user *user_find(const struct daemon *d, uid_t uid); /* NULL: nobody has heard of him */
void user_keeps(struct user *u, enum kept kind, struct keep *k, void *what);
void user_keeps_no_more(enum kept kind, struct keep *k);
/* The oldest of who has most, so that nobody's records are gone because others have many. total: of all;
 * adds: who has just got one more, and goes last among equals, or anybody. */
void *user_kept_too_long(const struct daemon *d, enum kept kind, const struct user *adds, uint32_t total);
void user_is_busy(struct daemon *d, struct user *u); /* he has a job */
void user_rests(struct daemon *d, struct user *u);
struct domain *user_domain(struct daemon *d, struct user *u, const char *label, uint32_t needs);
uint64_t job_new_domain(struct daemon *d);

/* What it would need a stage for next has to come from its client first. */
bool job_awaits_client(const struct job *j);
bool job_is_terminal(const struct job *j);
const char *job_state_name(Pwc__JobState s);
/* In a trace what begins stands behind what ended in the same turn. */
static inline struct mono job_now(const struct job *j)
{
    return j->trace != NULL ? clock_now() : daemon_now(j->d);
}
static inline const char *job_reason(const struct job *j)
{
    return j->reason != NULL ? j->reason : "";
}

/* ---- life ---- */
/* Takes over what submit_check made. The job waits in its user's queue. */
struct job *job_new(struct daemon *d, struct user *user, struct submission *sub, const Pwc__Submit *m);
void job_activate(struct job *j);
/* The one of this priority that waits for the next turn; NULL: none, or it could not begin. */
struct job *job_next(const struct user *u, int priority);
/* A small job is leased, or is not any more. */
void job_fly(struct job *j);
void job_land(struct job *j);
/* It has its turn and can do nothing with it, however many seats are free: the next job gets one, too. */
void job_park(struct job *j, bool parked);
/* Gives users' waiting jobs their turn while there is room. Only here does a user with no jobs stop being
 * busy: elsewhere that list may be walked while jobs end. */
void jobs_advance(struct daemon *d);
/* Jobs a user may have at work at a time. */
static inline uint32_t jobs_turns(const struct daemon *d)
{
    return 2 * d->seats + 2;
}
/* Sets the outcome and calls back its stages; terminal as soon as none holds a lease of it. */
void job_end(struct job *j, Pwc__JobState outcome, Pwc__Code code, const char *fmt, ...) PRINTF(4, 5);
/* ENDING and nothing left: tells the client, moves it to the history. */
void job_settle(struct job *j);
/* One more was given up: are they more than its policy bears? */
void job_failures(struct job *j, Pwc__Code code, const char *last);
/* Everything computed: is it over? Called after every change of ledger, results or consumer. */
void job_check(struct job *j);
/* Nothing is known of it any more. */
void job_forget(struct job *j);
/* After a reload: no more of the history than is kept from now on. */
void jobs_forget_some(struct daemon *d);
void jobs_free_spare(struct daemon *d);
void job_session_gone(struct job *j);

/* ---- descriptors ---- */
void job_want(struct job *j);
void job_drop_fds(struct job *j);
/* Its chunk was recalled: job_want() asks for the item once more. */
void job_want_again(struct job *j, uint64_t index);
/* It came when pwcd had no room for its descriptors: asked for again at the next tick. 0, or CODE_STATE. */
Pwc__Code job_item_lost(struct job *j, uint64_t index, const char *name);
void job_want_lost(struct job *j);
/* The client sends no more of them: those that were asked for again are given up as they were. */
void job_no_items_again(struct job *j);
/* Takes the descriptors. 0, or a code that says why the item cannot be used. */
Pwc__Code job_item(struct job *j, uint64_t index, const char *name, int *fds, unsigned nfds);
/* The client could not open it, for this reason. 0, or CODE_STATE: it is not the one that is wanted. */
Pwc__Code job_item_failed(struct job *j, uint64_t index, Pwc__Code code, const char *name,
                          const char *reason);
void job_item_done(struct job *j, uint64_t index, Pwc__Code code, const char *reason, uint32_t attempts);
struct item *job_find_item(const struct job *j, uint64_t index);

/* ---- what a chunk is, for people ---- */
void job_covers(const struct job *j, uint64_t chunk, char *text, size_t size);
/* What the client calls the item that the chunk is, or is part of; "": it has told no name. Borrowed: of a
 * batch until the item is done. */
const char *job_input(const struct job *j, uint64_t chunk);
void job_counts(const struct job *j, Pwc__Counts *ret);
const char *job_waiting_for(const struct job *j);

#endif
