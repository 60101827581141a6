/*
 * internal.h - what the files of libpwc share.
 *
 * One mutex a connection guards everything in struct pwc and the jobs of that connection. One thread at a
 * time is the *reader*: it polls without the lock, reads frames and changes jobs with it, and runs callbacks
 * without it. All others that wait sleep on `changed`, which the reader broadcasts. What a frame means for a
 * job happens at once (receive.c); what the user wants to hear of it is queued as a struct call and run by
 * the reader when it is in a function that may run callbacks (loop.c).
 *
 * References of a job: the user's handle, each table it is in, each queued call. Of a connection: the user's,
 * each job.
 */
#ifndef PWC_CLIENT_INTERNAL_H
#define PWC_CLIENT_INTERNAL_H

#include <pthread.h>

#include "client/pwc.h"
#include "client/table.h"
#include "ipc/base.h"
#include "ipc/channel.h"
#include "ipc/clock.h"

#define SEND_GATHERED (16u * 1024u)   /* requests leave at the latest when so many bytes have gathered */
#define SEND_MAX      (1024u * 1024u) /* pwc_submit waits beyond it */
#define ITEMS_QUEUED                                                                                         \
    (64u * 1024u) /* no further item is opened while so much is unsent: it would hold descriptors */

enum call_kind {
    CALL_PROGRESS,
    CALL_DEATH,
    CALL_RECORD,
    CALL_TRACE,
    CALL_FINISHED,
    CALL_WANT,
    CALL_ITEM_DONE
};

/* Something to tell the user, in order. */
struct call {
    struct call *next;
    enum call_kind kind;
    struct pwc_job *job;   /* a reference */
    ProtobufCMessage *msg; /* owned; NULL for FINISHED, WANT */
    uint64_t first, n;     /* WANT: items still to be opened */
};

struct call_list {
    struct call *first, **end; /* end: where the next one goes, at first &first */
};

struct pwc {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    struct chan *chan;             /* NULL after pwc_close */
    int wake;                      /* eventfd: another thread gathered something while the reader polls */
    bool reading;                  /* somebody is the reader ... */
    pthread_t reader;              /* ... this thread */
    bool polling;                  /* and it is in poll */
    bool more;                     /* the last read filled its buffer: look again before polling */
    bool mute;                     /* sending failed; reading goes on until the end */
    int send_error;                /* why, if the peer cannot tell */
    unsigned unheard;              /* requests sent since we last read */
    char last_words[PWC_TEXT_MAX]; /* of an Error that answers nothing: said before the daemon closes */
    int broken;                    /* enum pwc_code: the connection has ended; why, as text: */
    char why[PWC_TEXT_MAX];
    uint64_t next_tag;
    struct table by_tag;   /* jobs not answered yet, and requests */
    struct table by_id;    /* jobs under way */
    struct table requests; /* by tag */
    struct call_list calls;
    struct pwc_daemon daemon;
    char *server, *path;
};

/* The batch's part of a job: pwc_batch without the spec's strings. */
struct job_items {
    uint64_t items;
    int (*open_item)(struct pwc_job *, uint64_t, struct pwc_item *, void *);
    void (*item_done)(struct pwc_job *, uint64_t, int, const char *, uint32_t, void *);
    void *user;
    size_t nroles;
};

/* Who gets the trace. */
struct job_trace {
    void (*each)(struct pwc_job *, const struct pwc_trace_record *, size_t, uint64_t, void *);
    void *user;
};

struct pwc_job {
    struct node tag_node, id_node;
    struct pwc *c;
    unsigned refs;
    unsigned queued;        /* calls for it that have not returned: pwc_wait waits for them, too */
    struct call_list *held; /* pwc_attach's, where they wait until it returns; else NULL */
    bool released;          /* the user let go: no more callbacks */
    bool cancel;            /* asked for, perhaps before the job had an id */
    bool existing;          /* an earlier Submit with its request key made the job */
    bool attached;
    enum pwc_on_disconnect on_disconnect;
    uint64_t tag, id;
    enum pwc_job_state state;
    int code;
    ProtobufCMessage *end;      /* Finished, Rejected or Error: what the accessors point into */
    const char *reason, *field; /* into end or c->why */
    struct pwc_counts counts;
    struct pwc_callbacks cb;
    void *user;
    uint32_t window; /* of records; 0: none asked for */
    bool takes;      /* gets the job's records */
    uint32_t credit; /* given for such as have not been consumed */
    struct job_trace trace;
    int *fds; /* one item's, owned; NULL when sent */
    unsigned nfds;
    char *name;             /* of that item, owned; NULL: none */
    struct job_items batch; /* items 0: none */
};

/* A question to the daemon; lives on the asker's stack. */
struct request {
    struct node node;
    bool done;
    int code;
    char text[PWC_TEXT_MAX];
    uint16_t answer;        /* message type of the answers: OP_INFO, PONG, ... */
    bool list;              /* ended by End; else by the first answer */
    ProtobufCMessage **got; /* owned by the asker */
    size_t n, room;
};

/* ---- error.c ---- */
int fail(int code, const char *fmt, ...) PRINTF(2, 3); /* sets pwc_error(), returns code */
int fail_errno(int code, int err, const char *fmt, ...) PRINTF(3, 4);

/* ---- loop.c: all with the lock held unless said otherwise ---- */
void conn_lock(struct pwc *c);
void conn_unlock(struct pwc *c);
/* Until done(arg), the deadline, or the end of the connection and of what was to be told. Runs callbacks. */
int conn_wait(struct pwc *c, bool (*done)(void *), void *arg, int timeout_ms);
/* Gathers a frame, and sends when much has gathered or nobody else would. 0 or the connection's error. */
int conn_send(struct pwc *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg, const int *fds,
              unsigned nfds);
/* After many conn_sends: waits while more than SEND_MAX is unsent; reads so that the daemon can answer. */
int conn_relieve(struct pwc *c);
void conn_break(struct pwc *c, int code, const char *fmt, ...) PRINTF(3, 4);
int conn_broken(struct pwc *c); /* sets pwc_error(); 0 if fine */
void conn_unref(struct pwc *c); /* without the lock */
/* This thread is: who calls us from it is in a callback. */
bool conn_is_reader(const struct pwc *c);
/* Takes msg. Returns it for what only its kind has. */
struct call *call_push(struct pwc *c, enum call_kind kind, struct pwc_job *job, ProtobufCMessage *msg);
void calls_append(struct pwc *c, const struct call_list *list); /* behind what is queued */
void calls_drop(struct call_list *list);                        /* untold */

/* ---- receive.c ---- */
void receive_frame(struct pwc *c, struct frame *f);

/* ---- records.c ---- */
void records_assign(struct pwc *c, uint64_t id);                      /* handles came or were let go */
void records_take(struct pwc *c, uint64_t id, ProtobufCMessage *msg); /* takes msg */
void records_eaten(struct pwc *c, uint64_t id);                       /* one has been consumed, or dropped */

/* ---- job.c ---- */
void job_unref(struct pwc_job *job);
/* Terminal: leaves the tables, tells waiters and callbacks. Takes `end`. */
void job_finish(struct pwc_job *job, enum pwc_job_state state, int code, const char *reason,
                ProtobufCMessage *end);
void job_set_id(struct pwc_job *job, uint64_t id);
struct pwc_job *job_attached(struct pwc *c, uint64_t id, const struct pwc_callbacks *cb, void *user);
void job_forget(struct pwc_job *job); /* an attached one whose Attach failed */
/* The handles of a job under way; NULL: no more. */
static inline struct pwc_job *job_first(struct pwc *c, uint64_t id)
{
    struct node *n = table_find(&c->by_id, id);
    return n != NULL ? NODE_OF(n, struct pwc_job, id_node) : NULL;
}
static inline struct pwc_job *job_next(const struct pwc_job *job)
{
    struct node *n = table_next(&job->id_node);
    return n != NULL ? NODE_OF(n, struct pwc_job, id_node) : NULL;
}
static inline bool job_terminal(const struct pwc_job *job)
{
    return job->state >= PWC_JOB_DONE;
}

/* ---- items.c ---- */
void items_want(struct pwc_job *job, uint64_t first, uint64_t n);
/* Opens and sends the next item of a WANT call; called and returns with the lock held, released meanwhile. */
void items_open_next(struct call *call);
void items_close(struct pwc_job *job);

/* ---- query.c ---- */
void request_answer(struct request *rq, const struct frame *f, ProtobufCMessage *msg); /* takes msg */
void request_end(struct request *rq, int code, const char *text);

/* ---- trace.c: without the lock ---- */
void trace_tell(struct pwc_job *job, const Pwc__Trace *pb);

/* ---- convert.c ---- */
void counts_from(struct pwc_counts *ret, const Pwc__Counts *pb);
void death_from(struct pwc_death *ret, const Pwc__Death *pb);
int value_from(struct pwc_value *ret, const Pwc__Value *pb);
const char *text_of(const char *s); /* NULL: "" */

/* ---- spec.c ---- */
struct pwc_spec {
    Pwc__Submit pb; /* its pointers into the fields below, owned */
    Pwc__Policy policy;
    Pwc__Value fill;
    char halt[64];
    struct param_list {
        Pwc__Param **v;
        size_t n;
    } params[3]; /* by enum pwc_table */
    int *fds;
    uint32_t nfds;
    char *name; /* of the item they are; NULL: none */
    struct pwc_callbacks cb;
    void *user;
    uint32_t window;
    struct job_trace trace;
    struct job_items batch;
    char *mistake; /* the first */
};

#endif
