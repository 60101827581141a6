/*
 * array.h - what the files of the array family share: element types, fold states, the input as parts.
 *
 *   array.c          the four rows of the op table, planning; knows op.h
 *   array_read.c     the input, where the inner loops can read it
 *   array_states.c   fold states: neutral, merge, check, results
 *   array_kernels.c  the inner loops, one set an element type; array_type.h is their template
 *   array_exact.c    a sum of doubles without rounding
 *
 * A chunk is ARRAY_CHUNK bytes of the input, added up in parts of ARRAY_PART bytes, which stay in the core's
 * cache where they are copied. Where a chunk is cut into parts depends on its number alone, so float sums are
 * the same in every run.
 */
#ifndef PWC_OPS_ARRAY_H
#define PWC_OPS_ARRAY_H

#include "worker/op.h"
#include "worker/ops/array_exact.h"

#define ARRAY_CHUNK ((size_t)1 << 20)
#define ARRAY_PART  ((size_t)1 << 18)
/* As packed integers of up to ten bytes, counts of this many bins fit one message body. */
#define ARRAY_BINS_MAX 1024

enum array_kind { ARRAY_INT, ARRAY_UINT, ARRAY_FLOAT };

/* ---- fold states: plain memory, copied between processes of one machine ---- */

struct array_sum {
    uint64_t count;
    uint64_t low; /* integers: 128 bits in two's complement */
    uint64_t high;
    struct exact exact; /* floats */
};

/* The smallest or largest element that is a number, the first of equals. */
struct array_extreme {
    uint64_t count; /* elements that are numbers; 0: the rest means nothing */
    uint64_t nan;
    uint64_t index;
    union {
        int64_t i;
        uint64_t u;
        double f;
    } value;
};

struct array_histogram {
    uint64_t under, over, nan;
    uint64_t bins[ARRAY_BINS_MAX];
};

/* Bin i holds edge[i] <= x < edge[i + 1], the last one also x == edge[n]. */
struct array_edges {
    size_t n;
    double scale; /* bins a unit */
    double edge[ARRAY_BINS_MAX + 1];
};

/* ---- element types ---- */

struct array_type {
    const char *name;
    size_t size;
    enum array_kind kind;
    void (*sum)(struct array_sum *s, const void *elements, size_t n);
    /* `first`: index of elements[0] in the array */
    void (*min)(struct array_extreme *e, const void *elements, size_t n, uint64_t first);
    void (*max)(struct array_extreme *e, const void *elements, size_t n, uint64_t first);
    void (*histogram)(struct array_histogram *h, const struct array_edges *edges, const void *elements,
                      size_t n);
};

/* NULL: no such type. */
const struct array_type *array_type_find(const char *name);
extern const struct op_choice array_type_choices[];

/* ---- what an op of the family does with the elements ---- */

/* The op's state in a worker (job->state). */
struct array {
    const struct array_type *type;
    int fd;      /* borrowed */
    uint64_t at; /* first byte in the file */
    uint64_t elements;
    void *part;                /* ARRAY_PART bytes, page-aligned */
    const char *map;           /* the input; NULL: is always copied. Borrowed */
    uint64_t mapped;           /* bytes */
    bool seen;                 /* the chunk in hand is read in the map */
    uint64_t low, high, shown; /* what of the map was read since the last of it was given back; bytes */
    uint64_t tabled;           /* bytes that were given back and have their page tables still */
    struct array_edges *edges; /* histogram */
};

union array_state {
    struct array_sum sum;
    struct array_extreme extreme;
    struct array_histogram histogram;
};

struct array_family {
    bool some; /* makes no sense without elements */
    void (*add)(const struct array *a, union array_state *s, const void *elements, size_t n, uint64_t first);
    void (*merge)(const struct array *a, union array_state *into, const union array_state *from);
    /* Could this op have made that state of that array? */
    bool (*valid)(const struct array *a, const union array_state *s);
    void (*results)(struct op_job *job, const struct array *a, const union array_state *s);
};

extern const struct array_family array_family_sum, array_family_min, array_family_max, array_family_histogram;

/* ---- the elements ---- */

/* Needs type, fd, at and elements. Negative: op_fail was called. close() takes what a failed open() left. */
int array_read_open(struct op_job *job, struct array *a);
void array_read_close(struct array *a);
/* Elements first to end - 1 are read next, and at the end were: negative: op_fail was called, it has shrunk.
 */
void array_read_chunk(struct array *a, uint64_t first, uint64_t end);
int array_read_passed(struct op_job *job, struct array *a, uint64_t first, uint64_t end);
/* `n` of them, ARRAY_PART bytes at most, valid until the next call; NULL: op_fail was called. */
const void *array_read_part(struct op_job *job, const struct array *a, uint64_t first, size_t n);

/* Fills `edges` from [min, max] in n bins; a text says what is wrong, NULL: nothing. */
const char *array_edges_set(struct array_edges *edges, size_t n, double min, double max);

#endif
