/*
 * victim.h - a real pwcd in a folder of its own, to be attacked, and what must be true of it afterwards.
 *
 * The daemon is a child of the test program (or of the program that started the suite, when check forks for
 * each test); whatever it leaves behind is inherited by us as a subreaper and found.
 */
#ifndef PWC_TESTS_VICTIM_H
#define PWC_TESTS_VICTIM_H

#include <sys/types.h>

#include "ipc/base.h"

#ifdef PWC_SANITIZED
#define SLOWER 8
#else
#define SLOWER 1
#endif
#define PATIENCE_MS (20000 * SLOWER) /* what has not happened by then does not happen */
#define PROMPT_MS   (1500 * SLOWER)  /* an ordinary client is served within that, whatever others do */

struct victim {
    pid_t pid;
    int pidfd;
    char dir[64], socket[96], log[96], scratch[96];
    size_t fds, rss_kib; /* of a daemon that has served a client or two */
};

/* Starts pwcd with 2 workers, these arguments after its own (up to NULL), and waits until it has served
 * somebody. */
void victim_start(struct victim *v, const char *const *args);
/* The same with another program for the stages. */
void victim_start_with(struct victim *v, const char *stage_program, const char *const *args);
/* SIGTERM; it must end with status 0, leave no process and no file, and have logged no fault of its own. */
void victim_stop(struct victim *v);

/* An ordinary client is served promptly. */
void victim_serves(const struct victim *v);
/* Is it well? An ordinary client is served promptly, its descriptors come back to what they were, its memory
 * stays within `more_kib` of what it was. */
void victim_is_well(const struct victim *v, size_t more_kib);

size_t victim_fds(const struct victim *v);
size_t victim_rss_kib(const struct victim *v);
size_t victim_most_kib(const struct victim *v); /* it ever was */
/* Lines of the log with this text. */
size_t victim_logged(const struct victim *v, const char *text);

int64_t now_ms(void);
/* Waits a moment for a condition that is polled; false when `until` (of now_ms) is over. */
bool poll_again(int64_t until);
const char *built(const char *name); /* path of a program in the build tree */

#endif
