/*
 * deaths.h - the record of each attempt that ended badly: a process that died, or an op that said no. Newest
 * last.
 *
 * Bounded: deaths_kept of them (pwcd.conf; the oldest of who has most go first), a stack of OBITUARY_TEXT, a
 * tail of stderr of TAIL_BYTES, a reason of PWC_TEXT_MAX and a name of PWC_ITEM_NAME_MAX bytes each at most;
 * a record takes only what its texts need.
 */
#ifndef PWC_DEATHS_H
#define PWC_DEATHS_H

#include <signal.h>

#include "daemon/job.h"
#include "daemon/tail.h"

struct death {
    struct place place;
    struct keep kept;
    uint64_t job, stage, chunk;
    uint32_t pid, uid;
    const char *role;
    bool in_chunk, beside; /* beside: a producer or consumer was at it, whose attempts are not the chunk's */
    bool finishes;         /* a worker that made the results of the states */
    bool went_on;          /* from the chunk that it was killed for */
    char covers[PWC_NAME_MAX * 2]; /* "rows 128 to 255", a file's name; may be "" */
    uint32_t attempt, attempts_max;
    Pwc__Code code;
    bool open;       /* written off before it was gone: the kernel's word on it is still to come */
    uint64_t memory; /* the limit that was in force; 0: none */
    int signal, exit_status;
    char *reason, *stack, *stderr_tail; /* owned, never NULL once recorded */
    char *input; /* owned: the name of the item it was at, "": it has none, or it was at no item of a batch */
    char syscall[32];
    const char *oom_by; /* CODE_OOM: who saw it; else "" */
    char layers[128];
    int64_t at_ns;
    uint64_t cpu_ns, elapsed_ns;
    uint64_t rss_before, rss_peak; /* of the process: when the lease began, in the end */
};

/* Why a stage is killed with CODE_OOM that was over no limit of its own. */
extern const char reason_machine[];

/* A stage that held a lease died: writes its record, which the job's last_death then points to. */
struct death *deaths_record(struct stage *s, const siginfo_t *info);
/* One that was written off is gone now: its record, if that is still kept, says how it ended. What it was
 * charged with stays. */
void deaths_amend(const struct stage *s, const siginfo_t *info);
/* What a stage says of an op's error, which it survives. Numbers are its own account. */
struct op_error {
    Pwc__Code code;
    const char *reason;
    uint64_t cpu_ns, rss_before, rss_peak;
};

struct death *deaths_error(struct stage *s, uint64_t chunk, const struct op_error *why);
/* The same in another role: planner, producer, consumer, whoever makes results of states (LEASE_FINISH).
 * whole: the planner did all of the job. */
struct death *deaths_refused(struct stage *s, enum lease_kind role, bool whole, const struct op_error *why);
void deaths_pack(const struct death *x, Pwc__Death *ret); /* borrows from x */
/* At every tick, so that a death can be told to have come with a kill by the kernel. True: there was one just
 * now. */
bool deaths_look_for_oom(struct daemon *d);
/* After a reload: no more than are kept from now on. */
void deaths_forget_some(struct daemon *d);
void deaths_free_all(struct daemon *d);
/* Is it this that the job, just ending, fails of? */
bool deaths_ended(const struct job *j, const struct death *x);
/* It wanted memory that others held: with no limit of its own it would have died the same death. */
bool deaths_crowded_out(const struct death *x);
/* Is this the code of a death that the budget for crashes, time-outs, ... counts? */
enum cause cause_of(Pwc__Code code);
const char *code_name(Pwc__Code code);

#endif
