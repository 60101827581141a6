/*
 * quarantine.h - chunks that were given up: what is told of them, and trying them again.
 *
 * That a chunk is given up is its state in the job's ledger (`bad`). A record here says why, for people, and
 * outlives the ledger: it goes with the job's place in the history, when it is dropped, or when the chunk is
 * tried again. Bounded: quarantine_kept records (pwcd.conf), the oldest of who has most go first, each with a
 * reason of at most PWC_TEXT_MAX bytes and a name of PWC_ITEM_NAME_MAX.
 *
 * A chunk can be tried again while its job runs: where nothing was written in its place yet and, in a batch,
 * the client that has the file is still there; it is asked for it once more.
 */
#ifndef PWC_QUARANTINE_H
#define PWC_QUARANTINE_H

#include "daemon/job.h"

#define ALL_CHUNKS UINT64_MAX

struct given_up {
    struct place place;           /* of all: newest last */
    TAILQ_ENTRY(given_up) of_job; /* of its job, likewise */
    struct keep kept;
    struct job *job;
    uint64_t chunk;
    Pwc__Code code;
    uint32_t attempts;
    int64_t at_ns;
    char *covers, *reason; /* covers: of a batch's the item's name, which its descriptors took along */
};

void quarantine_add(struct job *j, uint64_t chunk, Pwc__Code code, uint32_t attempts, const char *covers,
                    const char *reason);
/* The name of the item that the chunk is, or is part of; "": none was told. */
const char *quarantine_input(const struct given_up *g);
/* The newest of this job; NULL: none is remembered. */
const struct given_up *quarantine_last(const struct job *j);
/* Forgets the records of a job, or of one of its chunks; how many there were. */
uint64_t quarantine_drop(struct job *j, uint64_t chunk);
/* Results are placed, all is computed, and this chunk is the next that is to be filled in the output. */
bool quarantine_blank(const struct job *j, uint64_t *ret_chunk);
/* Fills why with the reason for which this chunk cannot be tried again, and what to do instead; "": it can.
 */
void quarantine_why_not(const struct given_up *g, char *why, size_t size);
/* Tries all of a job's again, or one chunk. Returns how many; when none, why holds the reason. */
uint64_t quarantine_retry(struct job *j, uint64_t chunk, char *why, size_t size);
/* After a reload: no more than are kept from now on. */
void quarantine_forget_some(struct daemon *d);
void quarantine_free_all(struct daemon *d);

#endif
