/* trace.c - asking for a trace, and its records as they come from the wire. */
#include <endian.h>
#include <string.h>

#include "client/internal.h"
#include "proto/trace.h"

#define A_TIME 64u /* records handed over at a time */

void pwc_spec_trace(struct pwc_spec *spec, uint64_t most,
                    void (*each)(struct pwc_job *, const struct pwc_trace_record *, size_t, uint64_t, void *),
                    void *user)
{
    spec->pb.trace = each != NULL ? most : 0;
    spec->trace = (struct job_trace){each, user};
}

static struct pwc_trace_record record_of(const struct trace_wire *w)
{
    return (struct pwc_trace_record){
        .kind = le16toh(w->kind),
        .code = le16toh(w->code),
        .at_ns = le64toh(w->at),
        .end_ns = le64toh(w->end),
        .first = le64toh(w->first),
        .n = le64toh(w->n),
        .lease = le64toh(w->lease),
        .stage = le64toh(w->stage),
        .value = le64toh(w->value),
        .waiting = le64toh(w->waiting),
        .pid = le32toh(w->pid),
        .seat = le32toh(w->seat),
        .in_flight = le32toh(w->in_flight),
    };
}

void trace_tell(struct pwc_job *job, const Pwc__Trace *pb)
{
    struct pwc_trace_record records[A_TIME];
    const uint8_t *at = pb->records.data;
    size_t left = pb->records.len / sizeof(struct trace_wire);
    while (left > 0) {
        size_t n = MIN(left, (size_t)A_TIME);
        for (size_t i = 0; i < n; i++, at += sizeof(struct trace_wire)) {
            struct trace_wire w;
            memcpy(&w, at, sizeof w);
            records[i] = record_of(&w);
        }
        left -= n;
        job->trace.each(job, records, n, pb->dropped, job->trace.user);
    }
}
