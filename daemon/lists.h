/*
 * lists.h - requests that are answered by a list: jobs, stages, ops, deaths, quarantine.
 *
 * The handlers of requests.c for them: they borrow the unpacked message and the frame. What a client may not
 * see (session_may_see) is left out.
 */
#ifndef PWC_LISTS_H
#define PWC_LISTS_H

#include "daemon/session.h"

void lists_jobs(struct session *s, struct frame *f, const ProtobufCMessage *msg);
void lists_stages(struct session *s, struct frame *f, const ProtobufCMessage *msg);
void lists_ops(struct session *s, struct frame *f, const ProtobufCMessage *msg);
void lists_deaths(struct session *s, struct frame *f, const ProtobufCMessage *msg);
void lists_quarantine(struct session *s, struct frame *f, const ProtobufCMessage *msg);
/* Why there is no catalogue yet; in text, of so many bytes. */
const char *lists_why_no_ops(const struct daemon *d, char *text, size_t size);

#endif
