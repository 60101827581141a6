/* fake_conn.h - inside the fake daemon: a connection, and how requests are answered on it. */
#ifndef PWC_TESTS_FAKE_CONN_H
#define PWC_TESTS_FAKE_CONN_H

#include "ipc/channel.h"
#include "tests/unit/test_client_fake.h"

#define TEXT(s) ((char *)(uintptr_t)(s)) /* protobuf-c's fields are not const */

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

/* fake_lists.c: status and lists. They free msg. */
void fake_status(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_jobs(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_stages(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_deaths(struct conn *c, const struct frame *f, ProtobufCMessage *msg);
void fake_list_ops(struct conn *c, const struct frame *f, ProtobufCMessage *msg);

#endif
