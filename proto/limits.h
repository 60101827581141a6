/*
 * limits.h - every limit of the wire, in one place, each with its reason.
 *
 * Shared by daemon, stages and clients. A peer that goes past one of them has
 * its connection closed (frames) or gets a refusal (everything else).
 */
#ifndef PWC_LIMITS_H
#define PWC_LIMITS_H

#define PWC_VERSION_MIN 1u
#define PWC_VERSION_MAX 1u

/* u32 length, u16 type, u16 nfds, u64 tag, u32 body length; all little-endian. */
#define PWC_HEADER_BYTES 20u

/* protobuf-c amplifies hostile input about 50-fold: 16 KiB of body stay below 1 MiB. */
#define PWC_BODY_MAX (16u * 1024u)

/* Raw bytes after the body, which protobuf never sees: fold states, inline results. */
#define PWC_TAIL_MAX (64u * 1024u)

#define PWC_FRAME_MAX (PWC_HEADER_BYTES + PWC_BODY_MAX + PWC_TAIL_MAX)

/* Far below the kernel's 253, so that a refused frame is cheap to clean up. */
#define PWC_FDS_MAX 16u

/* A client that reads too slowly loses events (Gap) at half of this, and its connection at all of it. */
#define PWC_SEND_QUEUE_MAX (256u * 1024u)

/* Memory one unpacked message may take: body maximum times the amplification measured, rounded up. */
#define PWC_UNPACK_MAX (1024u * 1024u)

/* A fold state must fit a tail twice, so that two of them can always be merged. */
#define PWC_STATE_MAX (30u * 1024u)

/* A chunk's result in an arena, which holds three of them. */
#define PWC_RESULT_MAX (64ull * 1024u * 1024u)

/* What a planner writes down for all stages of its job: header, metadata, grid. */
#define PWC_PLAN_MAX (64u * 1024u * 1024u)

#define PWC_NAME_MAX   64u       /* op, parameter, role, option and format names */
#define PWC_TEXT_MAX   1024u     /* reasons and error texts, cut at this length */
#define PWC_LABEL_MAX  64u       /* a domain label */
#define PWC_PARAMS_MAX 64u       /* parameters or options of one job */
#define PWC_ROLES_MAX  8u        /* descriptor roles of one op */
#define PWC_ITEMS_MAX  10000000u /* files in one batch: numbers only, nothing is held per item */
#define PWC_CHUNKS_MAX (1ull << 62)

/* Bytes of what an item is called, which is for messages only: longer names are cut. */
#define PWC_ITEM_NAME_MAX 512u

/* Chunks one job may give up where a consumer is told of each; elsewhere any number, in so many runs of
 * neighbours: that is what is remembered of them until the job ends. And as many runs of failures as the
 * first says wait until their client wants to hear of them. */
#define PWC_FAILURES_MAX     100000u
#define PWC_FAILURE_RUNS_MAX 500000u

/* Connections that may follow one job: each of its events is packed and queued once for each of them. */
#define PWC_WATCHERS_MAX 16u

/* Items whose descriptors one job may hold in the daemon at a time. */
#define PWC_WANT_WINDOW 32u

#endif
