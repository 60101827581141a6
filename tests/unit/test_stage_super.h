/*
 * test_stage_super.h - a supervisor for one test: starts the real pwc-stage-test, speaks the stage protocol,
 * and waits for each answer with a deadline instead of sleeping.
 */
#ifndef PWC_TESTS_STAGE_SUPER_H
#define PWC_TESTS_STAGE_SUPER_H

#include <signal.h>
#include <stdarg.h>
#include <sys/types.h>

#include "ipc/channel.h"
#include "ipc/segment.h"

#define PATIENCE_MS 30000 /* an answer that takes longer is missing */

struct nursery {
    pid_t pid;
    struct chan *chan;
    uint64_t next;
};
struct kid {
    pid_t pid;
    uint32_t needs, require; /* OP_NEEDS_..., LAYER_..., of its Enter */
    int pidfd;
    struct chan *chan;
    struct control_page *control;
    struct segment *segment;
    Stage__Entered *entered;
};
struct answer {
    ProtobufCMessage *msg;
    uint8_t tail[PWC_TAIL_MAX];
    size_t tail_len;
    unsigned nfds;
    int fds[PWC_FDS_MAX];
};

const char *stage_program(void);
pid_t start_program(const char *flag, struct chan **ret_chan);
struct nursery nursery_start(void);
struct kid kid_spawn(struct nursery *n);
void kid_enter(struct kid *k, uint64_t memory);
struct kid kid_ready(struct nursery *n); /* spawned and entered */
struct kid kid_ready_with(struct nursery *n, uint32_t needs);
struct kid kid_executed(void); /* as where there is no nursery, and entered */

void say(struct chan *c, uint16_t type, const void *msg);
void say_full(struct chan *c, uint16_t type, const void *msg, const void *tail, size_t len, const int *fds,
              unsigned nfds);
/* The next message, which must be of this type; fails the test otherwise. The answer is the test's for good.
 */
struct answer *expect(struct chan *c, uint16_t type);
bool has_ended(struct chan *c); /* end of file within the deadline */

/* Parameters as NAME, VALUE pairs up to NULL; values of digits are numbers. */
void kid_open(struct kid *k, uint64_t job, const char *op, ...);
Stage__Lease lease_of(uint64_t lease, uint64_t job, uint64_t first, uint64_t n);
const Stage__Report *kid_lease(struct kid *k, const Stage__Lease *lease);
/* Waits for the death and reaps it. */
siginfo_t kid_death(struct kid *k);
siginfo_t death_of(pid_t pid, int pidfd);

Pwc__Param **params_of(size_t *ret_n, va_list ap);
int memfd_with(const void *data, size_t len);
bool text_has(const struct kid *k, const char *needle); /* the obituary's */

#endif
