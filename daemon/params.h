/*
 * params.h - is this Submit right? Pure: everything is checked against the catalogue, before any stage hears
 * of the job. The first fault found ends it with a code, the field and one line for the user.
 *
 * Values arrive typed or as text ("a `str` given where a number is declared is parsed by the daemon") and
 * leave typed, as the op table declared them:
 *
 *   INT i64    UINT u64    FLOAT f64    BOOL flag    STRING str    ENUM str (the nick)
 *   FLOATS f64s    INTS i64s    FLAGS str (nicks joined by ",")
 *
 * Only what the client gave is there: defaults stay the op's business.
 */
#ifndef PWC_DAEMON_PARAMS_H
#define PWC_DAEMON_PARAMS_H

#include "daemon/catalogue.h"
#include "ipc/base.h"
#include "proto/limits.h"
#include "proto/pwc.pb-c.h"

#define PARAM_STRING_MAX 4096u /* bytes of one text value */
/* Typed values can be larger than the text they came from; a JobOpen must hold all of them in 16 KiB. */
#define PARAMS_PACKED_MAX  (12u * 1024u)
#define OPTIONS_PACKED_MAX 1400u /* save options; the load options have as much */

struct refusal {
    Pwc__Code code;
    char field[2 * PWC_NAME_MAX]; /* "op", "params.sigma", "save.Q", "roles.in" */
    char reason[PWC_TEXT_MAX];    /* one line, printable ASCII */
};

/* Checked and typed. Owns everything; outlives Submit and catalogue. */
struct params {
    size_t n;
    Pwc__Param *v[]; /* as protobuf-c wants them */
};

/*
 * Checks n given values against the parameters of `op`. prefix: "params", "save" or "load".
 * 0 and *ret (params_free), or -EINVAL and *ret_why.
 */
int params_check(const Pwc__OpInfo *op, Pwc__Param **given, size_t n, const char *prefix, struct params **ret,
                 struct refusal *ret_why);
void params_free(struct params *p);
const Pwc__Value *params_get(const struct params *p, const char *name); /* NULL: not given */

/* Descriptor roles, number of items, batch, whether a format is wanted. */
int roles_check(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *ret_why);

/* Everything else: version, policy, labels, sizes of byte fields, what is reserved. */
int fields_check(const Pwc__OpInfo *op, const Pwc__Submit *s, struct refusal *ret_why);

/* SPLIT_COUNT: how many chunks the parameters ask for. */
int count_check(const Pwc__OpInfo *op, const struct params *p, uint64_t *ret_chunks, struct refusal *ret_why);

/* All of the above in one go. */
struct submission {
    const struct catalogue_op *op; /* borrowed from the catalogue */
    struct params *params, *save, *load;
    bool batch;      /* each item is a chunk */
    uint64_t chunks; /* known now for SPLIT_COUNT and batches; else 0 */
};
int submit_check(const struct catalogue *cat, const Pwc__Submit *s, struct submission *ret,
                 struct refusal *ret_why);
void submission_free(struct submission *s);

#endif
