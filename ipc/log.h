/*
 * log.h - one line a message on stderr, for programs only: library code returns errors instead.
 *
 * Levels mean: BUG our own tables are inconsistent (the caller aborts), FATAL the administrator must act
 * and the program ends, WARN something was wrong and is being ignored or repaired, INFO, DEBUG.
 * Under systemd the lines carry syslog priorities ("<4>..."). Nobody waits for who reads them: what is not
 * taken at once is lost, and counted.
 */
#ifndef PWC_LOG_H
#define PWC_LOG_H

#include "ipc/base.h"

enum log_level { LOG_BUG, LOG_FATAL, LOG_WARN, LOG_INFO, LOG_DBG };

void log_open(const char *program, enum log_level most, bool journal_prefix);
/* From here on not even a terminal that takes a part of a line and stops keeps us, where that can be had. It
 * takes a descriptor, which no program that is executed gets. */
void log_never_wait(void);
void log_set_level(enum log_level most);
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

#define log_bug(...)   log_line(LOG_BUG, __VA_ARGS__)
#define log_fatal(...) log_line(LOG_FATAL, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                                       \
    do {                                                                                                     \
        if (log_enabled(LOG_DBG))                                                                            \
            log_line(LOG_DBG, __VA_ARGS__);                                                                  \
    } while (0)

/* An inconsistency in our own tables: reports the place and aborts, so that the service manager restarts us.
 */
#define BUG_ON(cond)                                                                                         \
    do {                                                                                                     \
        if (__builtin_expect(!!(cond), 0)) {                                                                 \
            log_bug("%s:%d: %s: %s", __FILE__, __LINE__, __func__, #cond);                                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
