/* fake_conn.h - inside the fake daemon: its connections, and how requests are answered on it. */
#ifndef PWC_TESTS_FAKE_CONN_H
#define PWC_TESTS_FAKE_CONN_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/channel.h"
#include "tests/unit/test_client_fake.h"

#define TEXT(s) ((char *)(uintptr_t)(s)) /* protobuf-c's fields are not const */

#define MUST(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "fake: %s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno));            \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* The first job with a request key, and the only one that is remembered. */
struct keyed {
    uint8_t key[32];
    size_t len;
    uint64_t job;
    bool ended;
};

struct fake {
    int listener, stop[2];
    enum fake_greeting greeting;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned connections;
    atomic_uint most_items;
    atomic_ullong next_job;
    atomic_uint cancels;
    struct keyed keyed;                    /* with the lock */
    char item_name[PWC_ITEM_NAME_MAX + 1]; /* of the item that came last; with the lock */
    char path[108];
};

struct job;
struct conn {
    struct fake *f;
    struct chan *chan;
    struct job *jobs;
    bool open, end;
};

void fake_send_msg(struct conn *c, uint16_t type, uint64_t tag, const ProtobufCMessage *msg);
void fake_send_error(struct conn *c, uint64_t tag, Pwc__Code code, const char *text);
void fake_send_end(struct conn *c, uint64_t tag, uint64_t n);

/* fake_jobs.c: what is asked of jobs. They free msg. */
void fake_submit(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_item(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_cancel(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_attach(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_detach(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_credit(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
/* The connection is gone. */
void fake_jobs_drop(struct conn *c);

/* fake_lists.c: status and lists. They free msg. */
void fake_status(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_jobs(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_stages(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_deaths(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_ops(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_quarantine(struct conn *c, const struct frame *f, ProtobufCMessage *msg);

#endif
