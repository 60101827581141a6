/*
 * service.h - words to the service manager. Without one ($NOTIFY_SOCKET unset) they cost nothing and do
 * nothing.
 *
 * sd_notify(3) sends one datagram to PID 1, which always drains its socket: the one blocking call that the
 * supervisor allows itself.
 */
#ifndef PWC_DAEMON_SERVICE_H
#define PWC_DAEMON_SERVICE_H

#include <sys/types.h>

#include "ipc/base.h"

int service_ready(const char *status);                  /* 0, also without a manager, or -errno */
void service_status(const char *fmt, ...) PRINTF(1, 2); /* sent only when the text has changed */
int service_reloading(void);                            /* the same; close it with service_ready() */
void service_stopping(const char *status);

/* How often the manager wants to hear of us: half of what it allows, in ns; 0: never. */
int64_t service_watchdog_interval(void);
/* A descriptor that is readable that often, or -errno. The kernel's timer wakes an idle loop once each time.
 * By the loop's own, whose clock lags by up to 4 ms, it would wake too early and look again each millisecond.
 */
int service_watchdog_timer(int64_t interval);
void service_watchdog(int timer); /* says it when the timer is over, or there is none (-1) */

/* Is stderr the journal? Then lines carry syslog priorities. */
bool service_stderr_is_journal(void);
/* The pure part: does $JOURNAL_STREAM's "device:inode" name this file? */
bool service_journal_matches(const char *journal_stream, dev_t dev, ino_t ino);

#endif
