/*
 * inproc.h - the supervisor inside the fuzzer: pwcd's own objects but main(), nursery, closer and clock, over
 * real channels, whose other ends are here. A stage is a channel and a pidfd that is really an eventfd:
 * killing it writes there, and then it is reaped.
 *
 * One world a run: world_begin, anything, world_end, which takes all apart and finds what was forgotten.
 */
#ifndef PWC_TESTS_INPROC_H
#define PWC_TESTS_INPROC_H

#include "daemon/daemon.h"
#include "ipc/channel.h"
#include "ipc/segment.h"

#define WORLD_STAGES  24u
#define WORLD_CLIENTS 4u
#define STAGE_JOBS    8u

/* What an honest stage knows of a job. */
struct staged_job {
    uint64_t job, chunks, consumed;
    Pwc__Absorb absorb;
    bool batch;
};

/* The other end of a stage. */
struct fake {
    bool used, killed;
    int pidfd; /* eventfd */
    struct chan *chan;
    struct segment *segment;
    uint64_t stage, lease; /* the last it heard of */
    uint64_t lent,
        on_top; /* the last lease of which others had the seat; whose seat is one more than there are */
    int64_t on_top_since;
    struct staged_job jobs[STAGE_JOBS];
};

struct caller {
    int fd; /* -1: none */
    uid_t uid;
};

extern struct daemon world;
extern struct fake fakes[WORLD_STAGES];
extern struct caller callers[WORLD_CLIENTS];

void world_begin(void);
void world_end(void);
/* Callbacks until nothing is ready, and what must be true between them. */
void world_turn(void);
void world_tick(int64_t ns); /* the clock goes on, the tick comes */

void caller_connect(unsigned i, uid_t uid);
void caller_close(unsigned i);
void caller_send(unsigned i, const uint8_t *bytes, size_t len,
                 unsigned nfds); /* with /dev/null's, non-blocking */
void caller_drain(unsigned i);

void fake_die(struct fake *f);
/* Reads one frame and answers as an honest stage would. False: there is none. */
bool fake_honest(struct fake *f);
/* Takes one frame off the channel and remembers what it says. False: there is none. */
bool fake_read(struct fake *f, struct frame *ret);
void fake_send(struct fake *f, const uint8_t *bytes, size_t len, unsigned nfds);
void fake_answer(struct fake *f, const struct frame *fr);

#endif
