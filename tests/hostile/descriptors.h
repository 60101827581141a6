/*
 * descriptors.h - what the tests of wrong descriptors begin with: a pwcd that tries nothing again, and a job
 * with the descriptors that it is given.
 */
#ifndef PWC_TESTS_DESCRIPTORS_H
#define PWC_TESTS_DESCRIPTORS_H

#include "tests/hostile/peer.h"

#define GROWS_KIB 4096u

extern struct victim v;
extern const struct job_spec sum, invert; /* array.sum of one item; image.invert of one picture to PNG */

void descriptors_start(void);
void descriptors_stop(void);

const char *path_of(const char *name);       /* in the victim's folder; until the next call */
int file_with(const char *bytes, int flags); /* without a name, opened with these flags */
/* The job with these descriptors; they are closed here. */
Pwc__Finished *finish_job(const struct job_spec *spec, int *fds, unsigned nfds);

struct batch_item {
    const char *name;
    int fds[2];     /* one a role, the caller's */
    Pwc__Code code; /* what became of it */
    char reason[1024];
    bool done;
};
/* All its items, and what became of each; the items that failed are left out. */
void finish_batch(const struct job_spec *spec, struct batch_item *items);

#endif
