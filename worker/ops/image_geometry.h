/*
 * image_geometry.h - how an image is cut into strips. Pure: numbers in, numbers out.
 *
 * The probe evaluates single rows of the output and records which input rows each asks for. From these
 * samples follows a line above all demands (need = slope * row + shift), which tells how far the raster must
 * be filled before a strip can be computed; a demand that does not follow a line means: the whole raster
 * first.
 */
#ifndef PWC_OPS_IMAGE_GEOMETRY_H
#define PWC_OPS_IMAGE_GEOMETRY_H

#include "ipc/base.h"

struct demand {
    uint32_t row;         /* of the output */
    uint32_t top, bottom; /* input rows asked for: [top, bottom); bottom 0: none */
};

struct geometry {
    uint32_t in_rows, out_width, out_rows;
    uint32_t rows; /* of the output in a chunk */
    uint64_t chunks;
    uint32_t tile; /* strips are computed in squares of this size; 0: in one piece */
    bool all;      /* every chunk needs every input row */
    double slope, shift;
    double low; /* ... and the line below all demands: rows under it are not asked for by this chunk or later
                   ones */
};

/* Sizes the strips of an output of out_rows rows of `line` bytes; `bytes` is what one should hold. */
void geometry_cut(struct geometry *g, uint64_t line, uint32_t margin, uint64_t bytes);
/* So many rows of `line` bytes are read at a time; `bytes` is what they should make. */
uint32_t geometry_at_once(uint64_t line, uint64_t bytes);
/* Fits the line; in_rows and out_rows are set. Returns the rows asked for beyond a strip's own, both sides
 * together. */
uint32_t geometry_fit(struct geometry *g, const struct demand *d, size_t n);
/* The whole input before anything of the output, and until the end. */
void geometry_need_all(struct geometry *g);
/* So many rows more on both sides. */
void geometry_widen(struct geometry *g, uint32_t rows);
/* Which rows of the output to sample: fewer than `max` if there are fewer. Ascending, first and last
 * included. */
size_t geometry_samples(uint32_t out_rows, uint32_t *rows, size_t max);
/* Input rows [0, result) that must be there before a chunk can be computed. */
uint32_t geometry_need(const struct geometry *g, uint64_t chunk);
/* Input rows [0, result) that this chunk and all later ones can do without. */
uint32_t geometry_unneeded(const struct geometry *g, uint64_t chunk);
/* Chunks that can be computed once `rows` input rows are there. */
uint64_t geometry_ready(const struct geometry *g, uint32_t rows);
/* How a worker walks through the raster that it has mapped. All but `left` are addresses and sizes that stay.
 */
struct trail {
    uintptr_t map;    /* where the map begins */
    uintptr_t pixels; /* ... and the raster in it */
    uint64_t line;    /* bytes a row */
    uint64_t step;    /* rows are left so many bytes at a time */
    uint64_t keep;    /* ... and only when they are so many bytes behind */
    uintptr_t left;   /* nothing is mapped below; UINTPTR_MAX: nothing at all */
};
/* The chunk has been computed: so many bytes from *ret_from on need not stay mapped, because chunks behind it
 * do not ask for them; 0: none yet. */
uint64_t geometry_leave(const struct geometry *g, struct trail *t, uint64_t chunk, uintptr_t *ret_from);
uint32_t geometry_rows_of(const struct geometry *g, uint64_t chunk); /* rows of that chunk */
/* A plan comes from a process that read hostile data. */
bool geometry_valid(const struct geometry *g);

#endif
