/*
 * chaos.h - the parts of the chaos test.
 *
 * Clients run jobs of several kinds at once, again and again, while a killer ends, stops and crashes the
 * processes under them. Whatever it does, each job must end well and each output be that of the run before it
 * began.
 *
 *   jobs.c    the kinds of jobs; what the undisturbed run gave; comparing
 *   killer.c  which process, which signal, when; all from one seed
 *   level.c   what the daemon holds: descriptors, mappings, memory, children
 *   chaos.c   clients, the order of things, the verdict
 */
#ifndef PWC_CHAOS_H
#define PWC_CHAOS_H

#include <pthread.h>

#include "client/pwc.h"
#include "ipc/base.h"
#include "ipc/clock.h"

#define JOB_LIMIT_MS 600000 /* a job that takes longer hangs */

struct options {
    const char *socket, *inputs;
    int pid; /* of pwcd */
    unsigned jobs, clients, rate_min, rate_max;
    uint64_t seed;
};

_Noreturn void give_up(const char *fmt, ...) PRINTF(1, 2);

/* ---- jobs.c ---- */
enum {
    KIND_COUNT,
    KIND_SUM,
    KIND_BLUR,
    KIND_BLUR_SMALL,
    KIND_PLACED,
    KIND_BATCH,
    KIND_COPY_IN,
    KIND_COPY_OUT,
    KINDS
};
/* From whom a job has its processes for itself. */
struct apart {
    enum pwc_isolation isolation;
    const char *domain; /* NULL: no label */
};
struct tally {
    unsigned jobs[KINDS];
    uint64_t deaths, retried, redone;
};
const char *kind_name(int kind);
/* Opens the inputs; a kind whose input is not there is left out. */
void jobs_prepare(const char *inputs);
bool kind_usable(int kind);
/* Runs one of each and keeps what it gave. */
void jobs_reference(struct pwc *c);
/* Runs one and compares; gives up the whole program if it failed or differs. Thread-safe. */
void jobs_run(struct pwc *c, int kind, const struct apart *apart, struct tally *tally);

/* ---- killer.c ---- */
struct killer;
struct killer *killer_start(const struct options *o);
/* Ends it and prints what it did. Returns how many signals a second have hit. */
double killer_stop(struct killer *k);
uint64_t random_next(uint64_t *state);

/* ---- level.c ---- */
struct level {
    unsigned fds, mappings, children;
    uint64_t rss;
};
/* Waits until nothing but spares is left, all awake, and says what the daemon holds then. */
struct level level_at_rest(struct pwc *c, int pid);
void level_print(const char *when, const struct level *l);

#endif
