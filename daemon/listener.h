/*
 * listener.h - the listening socket: taken from the service manager or made here, and accepting on it.
 *
 * Plain functions without an event loop. The listener owns its descriptors and, if it made it, the socket's
 * file. It keeps one descriptor in reserve: when none is left, it is given up for a moment to accept the
 * newest peer and shut the door on it, because a connection left in the backlog would wake the loop for ever.
 */
#ifndef PWC_DAEMON_LISTENER_H
#define PWC_DAEMON_LISTENER_H

#include <sys/types.h>

#include "ipc/base.h"

#define LISTENER_MAX 4u

struct listener {
    int fds[LISTENER_MAX]; /* listening, non-blocking */
    unsigned nfds;
    int reserve; /* /dev/null; -1 while it is lent or could not be had */
    char *path;  /* of the file we made; NULL: the service manager's socket */
    dev_t dev;   /* identity of that file: another pwcd may have replaced it */
    ino_t ino;
    uint64_t shed;             /* peers turned away because descriptors had run out */
    void (*turn_away)(int fd); /* says so to one of them, and closes; NULL: it is only closed */
};

/* Who is at the other end, by the kernel's word at connect time. */
struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

#define LISTENER_NONE ((struct listener){.reserve = -1})

/* Sockets passed by the service manager: how many (0: none, bind one), or -EINVAL and *ret_error. */
int listener_from_service(struct listener *l, char **ret_error);

/*
 * Binds `path`. A file left by a dead pwcd is replaced, a living one's is not (-EADDRINUSE). mode as for
 * chmod; group: name or number, "" to leave it. On failure one line in *ret_error.
 */
int listener_bind(struct listener *l, const char *path, mode_t mode, const char *group, char **ret_error);

/*
 * One connection, close-on-exec and non-blocking: its descriptor, or -EAGAIN: nobody waits;
 * -EMFILE: descriptors ran out and a peer was shed (log it, go on);
 * -ENFILE: the same, and not even that could be done: pause listening for a while;
 * -ECONNABORTED: that one is gone, try the next; else an error of the socket itself.
 */
int listener_accept(struct listener *l, int fd, struct peer *ret_peer);

/* Closes; removes the file if it is still ours. */
void listener_close(struct listener *l);

#endif
