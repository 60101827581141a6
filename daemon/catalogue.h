/*
 * catalogue.h - what ops there are, as a stage described them: the supervisor's only knowledge of ops.
 *
 * A stage wrote it into a sealed memfd: u32 length (little-endian) and a packed pwc.OpInfo, repeated. What a
 * stage writes is gossip: seals, lengths, names, counts and enums are checked before anything is believed,
 * and one bad entry refuses the whole.
 *
 * Ownership: a catalogue owns its entries; pointers into it are good until catalogue_free. fd stays the
 * caller's.
 */
#ifndef PWC_DAEMON_CATALOGUE_H
#define PWC_DAEMON_CATALOGUE_H

#include "ipc/base.h"
#include "proto/limits.h"
#include "proto/pwc.pb-c.h"

#define CATALOGUE_BYTES_MAX (8u * 1024u * 1024u) /* some 300 ops come to 300 KiB */
#define CATALOGUE_OPS_MAX   2000u

struct catalogue;

struct catalogue_op {
    const Pwc__OpInfo *info;
    const uint8_t *packed; /* info as it came, fit for an OP_INFO body */
    size_t packed_len;
};

/* NULL and one line in *ret_error when it is not to be believed. */
struct catalogue *catalogue_load(int fd, char **ret_error);
struct catalogue *catalogue_parse(const uint8_t *bytes, size_t len, char **ret_error);
void catalogue_free(struct catalogue *c);

size_t catalogue_len(const struct catalogue *c);
const struct catalogue_op *catalogue_at(const struct catalogue *c, size_t i); /* sorted by name */

const struct catalogue_op *catalogue_find(const struct catalogue *c, const char *name); /* NULL: none */
/* "save", "png": the entry save.png. */
const struct catalogue_op *catalogue_find_in(const struct catalogue *c, const char *family, const char *name);
/* The op (kind OP_JOB) whose name is nearest; NULL: nothing is near. Borrowed. */
const char *catalogue_nearest(const struct catalogue *c, const char *name);

#endif
