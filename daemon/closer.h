/*
 * closer.h - closes descriptors that came from clients, away from the supervisor's loop.
 *
 * close(2) of a FUSE file waits for its owner's server, as long as that likes. So clients' descriptors are
 * closed by threads that share nothing but the queue, run with all signals blocked and never fork. This is
 * the only file of pwcd with threads.
 *
 * A user has at most one close in progress; the others of that user wait behind it. One thread is started;
 * a further one (up to CLOSER_THREADS) only when somebody's close would otherwise wait for another user's.
 * So a user whose closes hang holds up himself and nobody else, until there are CLOSER_THREADS such users.
 *
 * No call here blocks, except closer_stop, which waits for as long as it is told.
 */
#ifndef PWC_DAEMON_CLOSER_H
#define PWC_DAEMON_CLOSER_H

#include <sys/types.h>

#include "ipc/base.h"

#define CLOSER_THREADS 8u
#define CLOSER_NOBODY  ((uid_t)-1)

/* A close that takes longer than this counts as stuck. One of a large file that nobody has a name for takes
 * seconds where the disk is busy, and so does one that writes to another machine: that is waited for. Tests
 * shorten it. */
extern int64_t closer_stuck_ns;

int closer_start(void); /* 0 or -errno */

/* Takes fd, to be closed soon. -1 is ignored. */
void closer_close_for(int fd, uid_t uid);

/* The same on account of the user named by closer_as: fits fd_closer (ipc/channel.h). */
void closer_close(int fd);
/* Who pays for closer_close from now on; CLOSER_NOBODY at first. Returns the one before. */
uid_t closer_as(uid_t uid);

size_t closer_pending(void); /* closes waiting or in progress */

size_t closer_pending_of(uid_t uid);

/* Closes of this user that have been waiting longer than closer_stuck_ns behind one of his own. */
size_t closer_stuck(uid_t uid);

/* Waits until everything is closed, at most so long. True: all done; false: some hang, left to exit(2). */
bool closer_stop(int timeout_ms);

#endif
