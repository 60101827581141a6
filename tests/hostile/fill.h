/*
 * fill.h - any message of the protocols with any values, from the descriptors that protobuf-c keeps: no field
 * can be forgotten, and new ones come by themselves. Values come from a source of bytes: a seeded generator,
 * or a fuzzer.
 */
#ifndef PWC_TESTS_FILL_H
#define PWC_TESTS_FILL_H

#include "ipc/messages.h"

struct source {
    uint64_t (*next)(void *state); /* 64 bits, or as many as are left */
    void *state;
    uint64_t like[8]; /* numbers that mean something now: jobs, leases, chunks; chosen often */
};

/* A seeded generator (splitmix64). */
uint64_t seeded_next(void *state);
uint64_t source_number(struct source *s); /* small, a boundary, one of `like` or next to it, or anything */
uint32_t source_below(struct source *s, uint32_t n);

/* The body of such a message, at most `room` bytes, with values from the source. Returns its length. */
size_t fill_body(const ProtobufCMessageDescriptor *desc, struct source *s, uint8_t *to, size_t room);
/* Bytes that are nearly such a body. */
size_t spoil_body(struct source *s, uint8_t *bytes, size_t len, size_t room);

#endif
