/*
 * session.h - one client's connection.
 *
 *   NEW   Hello is due within HANDSHAKE_S              -> OPEN
 *   OPEN  requests in, answers and events out
 *   doomed: broke the rules, reads too slowly, or hung up; freed at the next turn of the loop
 *
 * Owns its channel. Its jobs point to it and are told when it goes; whom else they are told of is in watch.h.
 * While a list is being sent, requests wait in the socket: lists are long, and the queue of what a client has
 * not read yet is bounded.
 */
#ifndef PWC_SESSION_H
#define PWC_SESSION_H

#include "daemon/job.h"
#include "ipc/channel.h"

struct session;

/* What a step of a list came to: its end, an item that was sent, one that this list leaves out. */
enum list_found { LIST_END, LIST_ITEM, LIST_OTHER };
/* Looks at one item and moves on; the position only grows. */
typedef enum list_found (*list_step)(struct session *s, uint64_t *position);

struct session {
    TAILQ_ENTRY(session) link;
    struct daemon *d;
    struct user *user;
    uid_t uid;
    pid_t pid;
    struct mono since; /* connected: bytes of a Hello that come one by one do not buy time */
    struct chan *chan;
    struct outbox out;
    struct event *read_ev, *write_ev, *resume_ev;
    bool open, doomed, half_closed;
    bool records_wait;           /* until it has read what was sent before */
    const char *why;             /* doomed: for the log */
    TAILQ_HEAD(, job) jobs;      /* that it owns: they are told when it goes */
    TAILQ_HEAD(, watch) watches; /* of these and others */
    struct {
        list_step step;
        uint64_t position, count, tag, filter;
        uint64_t chunk; /* UINT64_MAX: any */
        char name[PWC_NAME_MAX + 1];
        struct place_reader reader;
    } list;
};

void session_accept(struct daemon *d, int fd, uid_t uid, pid_t pid);
void session_turn_away(int fd); /* there is no descriptor for it; closes */
void session_free(struct session *s);
void session_doom(struct session *s, const char *why);

void session_send(struct session *s, uint16_t type, uint64_t tag, const ProtobufCMessage *m);
/* At the latest in a few milliseconds: with what is said next. */
void session_send_later(struct session *s, uint16_t type, uint64_t tag, const ProtobufCMessage *m);
void session_error(struct session *s, uint64_t tag, uint16_t type, Pwc__Code code, const char *text);
void session_add_job(struct session *s, struct job *j);
void session_job_ended(struct session *s, struct job *j);
/* To be told of the end of one more job that ends for our sake: the rest of the queue is for what cannot
 * wait. */
bool session_has_room(const struct session *s);
/* A half-closed peer asks no more: it is done when its last job is. */
void session_check_done(struct session *s);
/* A half-closed peer that is gone altogether shows only when looked at. */
void session_check_peer(struct session *s);
bool session_may_see(const struct session *s, const struct job *j);
void session_list(struct session *s, uint64_t tag, list_step step, uint64_t filter, uint64_t chunk);

/* requests.c: one frame of an open session. */
void request_handle(struct session *s, struct frame *f);
/* The job that is asked about. NULL: there is none that this client may see, and it has been told. */
struct job *request_job(struct session *s, struct frame *f, uint64_t id);

#endif
