/* catalogue.h - a catalogue of a few ops for the fuzz targets: one of each kind of split, absorption and
 * type. */
#ifndef PWC_TESTS_FUZZ_CATALOGUE_H
#define PWC_TESTS_FUZZ_CATALOGUE_H

#include "daemon/catalogue.h"

/* As a stage would send it. Returns its length. */
size_t fuzz_catalogue_bytes(uint8_t *to, size_t room);
struct catalogue *fuzz_catalogue(void); /* the caller's: catalogue_free */

#endif
