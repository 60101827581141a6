/* picture.h - an uncompressed TIFF of noise, as small or as large as a test wants. */
#ifndef PWC_TESTS_PICTURE_H
#define PWC_TESTS_PICTURE_H

#include "ipc/base.h"

/* A memory file with `bands` bytes a pixel, 1 or 3. */
int picture(uint32_t width, uint32_t height, uint32_t bands);

#endif
