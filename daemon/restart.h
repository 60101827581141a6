/*
 * restart.h - when may the next stage be started after one died? Pure: the caller brings events and time.
 *
 * One state for each account of starts that can fail: the nursery's, the stages' (starts.h has several).
 * READY is the moment from which a death is the work's fault and not the program's: the first stage a nursery
 * has made, a stage's Entered.
 *
 *   state        DIED_BEFORE_READY           READY           HEALTHY              DIED_LATER
 *   well         failing, wait 100 ms        well            well                 well
 *   failing      failing, wait twice as      probation       failing (nothing     failing, the wait goes on
 *                long, at most 30 s;                         is up: ignored)
 *                during a wait: the same
 *   probation    failing, wait twice as      the memory is   well, if it lasted   the same as HEALTHY
 *                long as the last time       halved; well    60 s; else nothing
 *                                            below 100 ms
 *
 * KILLED is a death before ready that somebody else wanted: SIGKILL that we did not send, a stop. It says
 * nothing about whether the program can start, and changes nothing; but RESTART_KILLS_MAX of them without a
 * READY in between are as many as a program that is always killed at its start would have, and from then on
 * each is a DIED_BEFORE_READY.
 *
 * So a death in work costs no delay (chunks have budgets of their own), a program that cannot start is tried
 * ever more slowly, and one short success does not make it forget; many do, so that rare deaths among many
 * starts (somebody's kill -9, the kernel's want of memory) never add up to a pool that stands still. `in_row`
 * counts deaths before ready without a success between them: at RESTART_GIVE_UP the caller fails the jobs
 * that wait (restart_gives_up), and goes on trying.
 *
 * A nursery may live and all that it makes die: it was given something that its children cannot live with. So
 * of those that one nursery has made the deaths that counted are added up besides, whichever account they
 * were charged to, and at RESTART_SICK without a READY between them another nursery is started, after a wait
 * as if this one had died before it was ready. The next stage is made without it, at once.
 */
#ifndef PWC_DAEMON_RESTART_H
#define PWC_DAEMON_RESTART_H

#include "ipc/base.h"
#include "ipc/clock.h"

#define RESTART_FIRST_NS   (100 * NS_PER_MS) /* first delay; doubled at each further failure */
#define RESTART_LONGEST_NS (30 * NS_PER_S)
#define RESTART_HEALTHY_NS (60 * NS_PER_S)
#define RESTART_GIVE_UP    6u /* failures in a row after which waiting jobs fail */
#define RESTART_KILLS_MAX  20u
#define RESTART_SICK       3u /* of those that one nursery has made: before GIVE_UP */

enum restart_event {
    RESTART_DIED_BEFORE_READY,
    RESTART_READY,
    RESTART_HEALTHY,
    RESTART_DIED_LATER,
    RESTART_KILLED,
    RESTART_EVENTS
};
enum restart_phase { RESTART_WELL, RESTART_FAILING, RESTART_PROBATION, RESTART_PHASES };

/* Zero is a good beginning. */
struct restart_state {
    enum restart_phase phase;
    unsigned in_row;        /* deaths before ready since the last READY */
    unsigned killed;        /* by somebody else, before ready, since the last READY */
    int64_t delay_ns;       /* the last one; doubles; 0 when well */
    struct mono ready_at;   /* probation: since when */
    struct mono not_before; /* no start before this */
};

/* Takes one event. The delay in ns from now until the next start may be tried. */
int64_t restart_next(struct restart_state *s, enum restart_event event, struct mono now);

/* The same. True: it was one more in the row, and not during a wait, for the reason of one before. */
bool restart_counts(struct restart_state *s, enum restart_event event, struct mono now);

/* How long a start must still wait, 0: go. */
int64_t restart_wait(const struct restart_state *s, struct mono now);

/* Of the stages: so many in a row that jobs fail. untried: a nursery was sick, and since then none that was
 * made without one has died. Then twice as many: the next nursery's may be as sick. */
bool restart_gives_up(const struct restart_state *s, bool untried);
/* The next is made by somebody else, and need not wait. That it fails as well counts with those before. */
void restart_otherwise(struct restart_state *s, struct mono now);

const char *restart_phase_name(enum restart_phase phase);

#endif
