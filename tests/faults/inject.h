/*
 * inject.h - a tracer that lets one system call of one process go wrong.
 *
 * strace can do that, too, but counts calls for each process alone, so that every stage that is started again
 * dies again at the same call, and answers with an error by skipping the call, which a stage's own filter
 * takes for a forbidden one. Here a point is (role, call, index): the index-th such call of whoever plays
 * that role since the point was armed, once.
 *
 * Roles: "main" is the command itself with its threads. Of pwcd's children: "loader", a nursery, or a stage
 * that was executed, while its libraries are loaded; "nursery"; "spare", a stage before it has a segment;
 * then what its slot says: "idle", "planner", "producer", "consumer", "worker".
 *
 *   inject.c   tracing
 *   point.c    counting, arming, and the orders from outside
 *   regs.c     the calls themselves: answering with an error, shortening
 */
#ifndef PWC_INJECT_H
#define PWC_INJECT_H

#include <sys/types.h>

#include "ipc/base.h"

enum role {
    ROLE_MAIN,
    ROLE_LOADER,
    ROLE_NURSERY,
    ROLE_SPARE,
    ROLE_IDLE,
    ROLE_PLANNER,
    ROLE_PRODUCER,
    ROLE_CONSUMER,
    ROLE_WORKER,
    ROLES
};

enum { ACT_NONE = 0, ACT_KILL = -1, ACT_SHORT = -2 }; /* above 0: an errno */

/* ---- point.c ---- */
const char *role_name(enum role role);
/* "ROLE CALL INDEX ACTION", action an errno's name, KILL or SHORT. 0 or -EINVAL. */
int point_arm(const char *text);
/* Counts the call; what is to be done with it. */
int point_at(enum role role, long call, pid_t pid);
/* Lines "ROLE CALL COUNT". */
void point_show(int fd);
/* Whom it hit; 0: nobody yet. */
pid_t point_hit(void);
/*
 * A thread that takes orders, a line each, and answers each with a line at least:
 *   arm POINT     "ok", or what is wrong; counters start from 0
 *   count         "ok"; the same without a point
 *   show          the counters, then "."
 *   result        "hit PID" or "missed"; disarms
 *   pid           the command's
 */
void point_serve(const char *orders, const char *answers, pid_t command);

/* ---- regs.c ---- */
struct held {  /* a call between its entry and its exit */
    int error; /* to be answered with */
    bool held; /* args are to be restored: the kernel never changes them, and libc knows that */
    unsigned long args[3];
    unsigned long iov_at, iov_len; /* to be restored; 0: none */
};
bool regs_supported(void);
/* At the entry: makes it a harmless call, or a shorter one. False: this call cannot be shortened. */
bool regs_fail(pid_t tid, int error, struct held *h);
bool regs_shorten(pid_t tid, long call, struct held *h);
/* At the exit. */
void regs_settle(pid_t tid, struct held *h);

#endif
