/*
 * optable.h - the ops of this program, by name, and their description for the supervisor.
 */
#ifndef PWC_WORKER_OPTABLE_H
#define PWC_WORKER_OPTABLE_H

#include <stdio.h>

#include "worker/op.h"

struct optable {
    const struct op **ops;
    size_t n, room;
};

/* families.c: every family this program was built with. */
void optable_load(struct optable *t);
/* Sorts; aborts on a name that comes twice or is too long: a programmer's mistake. */
void optable_finish(struct optable *t);
const struct op *optable_find(const struct optable *t, const char *name);

/* catalogue.c: each op as u32 length (little-endian) and a packed pwc.OpInfo. malloc'ed. */
int catalogue_pack(const struct optable *t, uint8_t **ret_bytes, size_t *ret_len);
void catalogue_print(const struct optable *t, FILE *out);

#endif
