/*
 * image_inputs.h - pictures for the image tests, made with libvips in a child, so that the test process
 * itself has run no pipeline before it forks; and the comparison of two picture files.
 */
#ifndef PWC_TESTS_IMAGE_INPUTS_H
#define PWC_TESTS_IMAGE_INPUTS_H

#include "ipc/base.h"

/* Fills `dir`; true on success. */
bool inputs_make(const char *dir);

struct difference {
    double most;      /* largest difference of a value */
    double fraction;  /* of values that differ at all */
    char header[256]; /* first header or metadata field that differs; "" none */
};
/* False: one of them cannot be read. */
bool inputs_compare(const char *a, const char *b, struct difference *ret);

#endif
