/*
 * children.h - what SIGCHLD tells that pidfds do not: a child was stopped or continued, a stranger died.
 *
 * Deaths of stages and of the nursery come through their pidfds, where the loop had room for these. A stop
 * does not: a stage with a lease that is stopped holds up its job, a spare that is stopped holds up the next
 * one, a stopped nursery everybody.
 */
#ifndef PWC_CHILDREN_H
#define PWC_CHILDREN_H

#include "daemon/daemon.h"

/* Takes all that is known of stops and reaps strangers: children born in the moment in which the nursery
 * died. */
void children_changed(struct daemon *d);

#endif
