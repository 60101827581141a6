/* picture.c - see picture.h. One strip, little-endian. */
#include <check.h>
#include <string.h>

#include "tests/hostile/fill.h"
#include "tests/hostile/peer.h"
#include "tests/hostile/picture.h"

#define TAGS  9u
#define START 256u /* of the pixels: behind header, tags and the three depths */

static void put(uint8_t *at, uint32_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

int picture(uint32_t width, uint32_t height, uint32_t bands)
{
    const uint32_t tags[TAGS][3] = {{256, 4, width},
                                    {257, 4, height},
                                    {258, 3, 8},
                                    {259, 3, 1},
                                    {262, 3, bands == 3 ? 2 : 1},
                                    {273, 4, START},
                                    {277, 3, bands},
                                    {278, 4, height},
                                    {279, 4, width * height * bands}};
    size_t len = START + (size_t)width * height * bands;
    uint8_t *file = xcalloc(1, len);
    memcpy(file, "II*\0\x08\0\0\0", 8);
    put(file + 8, TAGS, 2);
    for (unsigned i = 0; i < TAGS; i++) {
        uint8_t *entry = file + 10 + (size_t)i * 12;
        bool depths = tags[i][0] == 258 && bands == 3;
        put(entry, tags[i][0], 2);
        put(entry + 2, tags[i][1], 2);
        put(entry + 4, depths ? 3 : 1, 4);
        put(entry + 8, depths ? 200 : tags[i][2], 4);
    }
    for (unsigned i = 0; i < 3; i++)
        put(file + 200 + (size_t)i * 2, 8, 2);
    uint64_t state = width;
    for (size_t i = START; i < len; i += 8) {
        uint64_t x = seeded_next(&state);
        memcpy(file + i, &x, MIN(len - i, sizeof x));
    }
    int fd = memfd_of(file, len);
    free(file);
    return fd;
}
