/*
 * crowd.h - what the tests of many and greedy clients begin with: a pwcd with limits that can be reached, and
 * other users than the ordinary client, where we can be them.
 */
#ifndef PWC_TESTS_CROWD_H
#define PWC_TESTS_CROWD_H

#include "tests/hostile/peer.h"

#define STRANGER    65534u
#define NEIGHBOUR   65533u
#define JOBS_A_USER 2000u

extern struct victim v;
extern bool root;

/* A job that waits for its item. */
extern const struct job_spec waits;

void crowd_start(void);
void crowd_stop(void);

/* Another user than the ordinary client, where we can be one. */
struct peer stranger(void);

#endif
