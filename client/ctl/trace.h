/*
 * trace.h - a trace inside pwcctl: records that come while a job runs or are read back from a file, what they
 * say of leases and processes, and the two things made of them: a file for Perfetto, and an account of the
 * time.
 *
 * trace.c gathers, tracewrite.c writes, traceread.c reads, account.c counts. The account is always made of
 * records, so that a file gives the same as the run that wrote it, but for records that were lost; where
 * nobody asks for one, none are kept.
 */
#ifndef PWC_CTL_TRACE_H
#define PWC_CTL_TRACE_H

#include "client/ctl/ctl.h"

#define TRACE_MOST 1000000u /* records of chunks: viewers open files of some 100 MB, not of gigabytes */

struct trace_lease {
    uint64_t lease, stage;
    uint64_t given, begun, over;
    uint64_t first, n, kept, recorded; /* chunks: held at first, counting, in records of their own */
    int kind, why;
    uint32_t seat;
    bool ended;
};

struct trace_writer;

struct trace {
    struct pwc_trace_record *v;
    size_t n, room;
    uint64_t dropped, job;
    char op[65];
    struct trace_lease *leases; /* trace_index: sorted by number */
    size_t nleases;
    /* gathering */
    bool keep; /* records, for an account */
    struct output out;
    struct trace_writer *writer;
};

/* ---- trace.c ---- */
void trace_add(struct trace *t, const struct pwc_trace_record *r);
void trace_index(struct trace *t);
void trace_free(struct trace *t);
struct trace_lease *trace_lease_of(struct trace *t, uint64_t lease); /* NULL: none */

/* ---- tracewrite.c: what it writes to `fd` is whole after the end, which is 0 or -1 with errno ---- */
struct trace_writer *trace_writer_new(int fd);
void trace_writer_add(struct trace_writer *w, const struct pwc_trace_record *r);
int trace_writer_end(struct trace_writer *w, const struct trace *t); /* of it: op, job, dropped */
void trace_writer_free(struct trace_writer *w);

/* ---- traceread.c: 0 or -1, `why` is a line for people ---- */
int trace_read(struct trace *t, int fd, char *why, size_t size);
extern const char *const trace_words[]; /* "cat" of the events, by kind */
#define TRACE_KINDS 17

/* ---- account.c ---- */
struct account {
    enum pwc_job_state state;
    uint64_t seats, wall_ns, busy_ns; /* from the first lease with a seat until the job was ending */
    uint64_t chunks, absorbed, given_up, recorded, leases;
    uint64_t idle_ns[32]; /* of seats, by pwc_trace_wait */
    uint64_t deaths, redone_ns, idle_dead_ns, respawn_ns, respawned, restarts;
    uint64_t supervisor_ns;
    uint64_t *again; /* ns from each death until the same chunk was begun elsewhere, sorted */
    size_t nagain, unmeasured;
};
void account_make(struct trace *t, struct account *ret);
void account_free(struct account *a);
void account_print(const struct trace *t, const struct account *a, void (*line)(const char *fmt, ...));
void account_json(struct json *j, const char *key, const struct trace *t, const struct account *a);
const char *trace_wait_name(int wait);

#endif
