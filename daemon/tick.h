/*
 * tick.h - what happens by the clock: progress, deadlines, graces. Armed only while there is something to
 * watch: ten times a second while jobs are active, every five seconds while parked stages wait to be retired.
 */
#ifndef PWC_TICK_H
#define PWC_TICK_H

#include "daemon/daemon.h"

void tick_init(struct daemon *d);
void tick_arm(struct daemon *d);

#endif
