/*
 * lack.h - what pwcd itself cannot get: a descriptor, or memory for what it makes for a job. Either comes
 * back when somebody closes or frees something, and nobody tells us: it is tried again at each tick, and
 * what every job needs (a spare's segment) not before. No stage is to blame, and no job. Those that need it
 * wait; whoever has waited for nothing else for some seconds ends with the reason.
 */
#ifndef PWC_LACK_H
#define PWC_LACK_H

#include "daemon/daemon.h"

#define LACK_TEXT 128u
#define LACK_LOSSES_MAX                                                                                      \
    20u /* leases that end so without anything done meanwhile: what is begun is for nothing */
#define LACK_RESTARTS_MAX 5u /* of a consumer: all that it had absorbed is done again */

/* Is this error (-errno) one that passes? */
bool lack_passes(int r);
/* This could not be made: said once, and told by status for as long as it is so. */
void lack_of(struct daemon *d, const char *what, int r);
/* A job waits for it, too. */
void lack_holds(struct job *j);
/* Either, for an error that passes; of any other (a file may not be so large) the job ends with the reason.
 */
void lack_or_end(struct job *j, const char *what, int r);
/* It has got something after all. */
void lack_over(struct job *j);
bool lack_holds_now(const struct job *j);
bool lack_of_memory(const struct daemon *d); /* else of descriptors */
/* True: there is a lack, and the text says of what. */
bool lack_now(const struct daemon *d, char text[LACK_TEXT]);
/* At each tick: who has nothing gets what idle stages hold, and who has waited too long ends. */
void lack_tick(struct daemon *d);

#endif
