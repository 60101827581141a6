/* dump.h - the whole state in the log, for SIGUSR1. */
#ifndef PWC_DUMP_H
#define PWC_DUMP_H

#include "daemon/daemon.h"

void dump_state(const struct daemon *d);

#endif
