/*
 * flow.h - how a job flows through its stages: what stages say, and what their deaths mean.
 *
 * dispatch.c and roles.c give work out; flow.c, reports.c and loss.c take what comes back. Whatever names a
 * lease that its sender does not hold is late or a lie: counted and dropped.
 */
#ifndef PWC_FLOW_H
#define PWC_FLOW_H

#include "daemon/job.h"

/* One frame of a stage, by the table of messages. */
void flow_frame(struct stage *s, struct frame *f);
/* A lease is over, says its holder (reports.c). */
void flow_report(struct stage *s, struct frame *f, const ProtobufCMessage *msg);
void flow_small_done(struct stage *s, struct frame *f, const ProtobufCMessage *msg);
/* Asks a spare for the catalogue, if there is none and nobody was asked. */
void flow_describe(struct daemon *d);
/* A stage with a process that has said Ready becomes a spare, whichever came last. */
void flow_maybe_spare(struct stage *s);
/* The process has begun to end, of what nobody knows yet: its chunks go to others where that does not matter.
 */
void flow_stage_ends(struct stage *s);
/* Its death is about to be recorded. */
void flow_stage_dies(struct stage *s);
/* The process is gone: its lease is taken apart. deaths_record() was called before if it held one. */
void flow_stage_gone(struct stage *s);
/* The process is there still, and taken for dead. */
void flow_write_off(struct stage *s);
/* A chunk is about to be charged. If an attempt before has ended of nobody knows yet what, that is settled
 * now, by what the kernel has counted: else the chunk could be tried more often than its budgets allow. */
void flow_settle_before(struct job *j, uint64_t chunk);
/* Stages die before they are ready, again and again: jobs that wait for one fail with the reason; all (whose:
 * NULL), or those of one user whose ops want these rights besides. */
void flow_cannot_start(struct daemon *d, const struct user *whose, uint32_t needs, const char *why);
void flow_for_stages_of(struct job *j, void (*f)(struct job *, struct stage *));
/* JobClose to every stage that has it open; arenas are given up. */
void flow_close_job(struct job *j);
/* Hands results that are next in order to the consumer. */
void flow_feed(struct job *j);
/* A held chunk's attempt ended badly, as x says: another attempt, or it is given up. */
void flow_charge(struct job *j, uint64_t chunk, const struct death *x);
/* The same for an attempt at another role, as planner, producer, ...: each has budgets of its own, and the
 * job fails once one is spent. */
void flow_charge_role(struct job *j, enum lease_kind role, const struct death *x);
/* Producer or consumer is gone, or said no: charged, and made ready to start again. */
void flow_role_lost(struct job *j, enum lease_kind role, const struct death *x);
/* After every lease that ended: feeds the consumer, looks whether the job is over. */
void flow_after(struct job *j);
/* What the client gets with the end. */
void flow_keep_results(struct job *j, Pwc__Param **results, size_t n);
/* One process a chunk: who has computed one is of no more use. */
void flow_retire_if_used(struct stage *s, const struct job *j);
/* It had no memory left. What it has kept of earlier leases may be to blame: the next attempt is another
 * process'. One that has had no other lease is as small as they come. */
void flow_retire_if_full(struct stage *s, Pwc__Code why);
/* Tells the producer of a windowed raster what has been absorbed. */
void flow_release(struct job *j);
/* JobClose to this stage, if it has the job open. */
void flow_forget_open(struct stage *s, uint64_t job);
void flow_release_arena(struct stage *s);

#endif
