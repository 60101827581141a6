/*
 * starts.h - stages that did not get ready: whose fault is it, who waits for it, whose jobs end of it?
 *
 * Until it is sent into a domain a stage is the same for all, and so is what is learned of its death: one
 * account (pool->restart, restart.h), by which all wait. From Enter on it is one user's. What it is given
 * then depends on the rights that an op wants besides (`needs`), and may be what the machine refuses; so each
 * user has an account for each kind of rights. He waits by it, and if it gives up, jobs of his that want
 * these rights end; nobody else hears of it, but that the nursery may be changed once. A stage that has
 * entered speaks for both accounts.
 *
 * Accounts of users are made at the first such death, and go with the user.
 */
#ifndef PWC_STARTS_H
#define PWC_STARTS_H

#include <signal.h>
#include <sys/queue.h>

#include "daemon/restart.h"

struct daemon;
struct job;
struct pool;
struct stage;
struct user;

struct account {
    LIST_ENTRY(account) link;
    uint32_t needs;
    bool alike; /* one that no nursery has made has died so, too, and none has entered since */
    struct restart_state restart;
};
LIST_HEAD(account_list, account);
void accounts_free(struct account_list *list);

/* It died (info NULL: was never made) though nobody wanted it to. True: before it was ready. */
bool starts_lost(struct pool *p, const struct stage *s, const siginfo_t *info);
/* That one is gone: who still waits for such a one in vain fails. */
void starts_give_up(struct pool *p, const struct stage *s);
void starts_entered(struct pool *p, const struct stage *s);

/* May a spare be sent into the domain of this job now? By its user's account: after a death one is tried at a
 * time, each after its wait. If it must wait, the next tick asks again. */
bool starts_may_enter(struct pool *p, const struct job *j);
/* How long the job must still wait for a stage by either account, in ns; 0: not. */
int64_t starts_wait(const struct job *j);
/* Why no stage gets ready that needs no special rights; NULL: one does, or none was tried. */
const char *starts_trouble(const struct pool *p);

/* "exited with status 3" */
const char *starts_how(const siginfo_t *info, char *text, size_t size);

#endif
