/* jobs.h - the ordinary half of a client's conversation, for the fuzz targets that need jobs to lie about. */
#ifndef PWC_TESTS_FUZZ_JOBS_H
#define PWC_TESTS_FUZZ_JOBS_H

#include <stdint.h>

void say_hello(unsigned who);
/* One of a few kinds: counts, a small job, a fold, files with one role and with two, a batch. */
void say_submit(unsigned who, unsigned kind);
void say_item(unsigned who, uint64_t job, uint64_t index, unsigned nfds);

#endif
