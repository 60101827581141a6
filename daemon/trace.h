/*
 * trace.h - where the time of a job goes, for the client that asked (Submit.trace): records of proto/trace.h.
 *
 * A trace lives from the job's turn to its end, or until its client goes. Records gather in a buffer of fixed
 * size and leave in frames while the client reads; what there is no room for is counted, records of chunks
 * first. Without a trace nothing of this costs anything: each call looks at one pointer.
 *
 * The job owns its trace; the daemon has a list of all, for what concerns more than one: processes that come,
 * and what each job waits for.
 */
#ifndef PWC_DAEMON_TRACE_H
#define PWC_DAEMON_TRACE_H

#include "daemon/job.h"
#include "proto/trace.h"

void trace_start(struct job *j);
/* Everything that still fits leaves; no more records. */
void trace_finish(struct job *j);
void trace_stop(struct job *j); /* the client is gone */

void trace_job(struct job *j); /* its state has changed */
void trace_stage_born(struct stage *s);
void trace_stage_ready(struct stage *s, bool entered);
void trace_stage_killed(struct stage *s, Pwc__Code code);
/* Before its lease, if it has one, is taken apart. */
void trace_stage_died(struct stage *s, Pwc__Code code);

void trace_lease(struct job *j, struct stage *s);
/* Of its chunks [first, first + kept) count. The stage holds the lease still, but no seat. */
void trace_ended(struct job *j, struct stage *s);
void trace_announced(struct job *j, uint64_t upto);
void trace_absorbed(struct job *j, const struct stage *consumer, uint64_t from, uint64_t upto);
void trace_restart(struct job *j);
void trace_chunk(struct job *j, enum trace_kind kind, uint64_t chunk, Pwc__Code code, uint32_t attempts);
void trace_taken_back(struct job *j, const struct stage *s, uint64_t from, uint64_t end);

/* At the end of a turn: what each job waits for now. */
void trace_waits(struct daemon *d);
/* A client reads again, or a tick is due. */
void trace_flush(struct daemon *d);

#endif
