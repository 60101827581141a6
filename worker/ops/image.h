/*
 * image.h - what the files of the image.* family share. None of it is seen outside worker/ops/image*.c.
 *
 *   image.c           start-up of libvips, registration, messages
 *   image_table.c     libvips' classes -> rows of struct op (operations, savers, loaders)
 *   image_args.c      a job's typed parameters -> arguments of a libvips object
 *   image_io.c        descriptors -> VipsSource, VipsTarget (own offsets, never the shared one)
 *   image_load.c      input: which loader, header, budget; the mask
 *   image_save.c      output: the saver, or bare pixels
 *   image_view.c      images that are not files: the raster, a header without pixels, a recorder of demand
 *   image_geometry.c  pure: demand samples -> grid of strips and which input rows each needs
 *   image_blob.c      the plan as bytes and back
 *   image_place.c     pixels that need no decoding: which inputs are rasters already
 *   image_plan.c image_produce.c image_process.c image_merge.c image_whole.c   the functions of the op
 * contract
 *
 * A job's state (struct img) belongs to job->state from the first function called in a role until close.
 */
#ifndef PWC_OPS_IMAGE_H
#define PWC_OPS_IMAGE_H

#include "ipc/base.h" /* before GLib, which replaces MIN and MAX without a warning */

/* libvips' and GLib's headers are not held to our warnings. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include <vips/vips.h>
#pragma GCC diagnostic pop

#include "worker/op.h"
#include "worker/ops/image_geometry.h"

/* libvips' own macros multiply ints. */
static inline size_t img_pel(const VipsImage *im)
{
    return vips_format_sizeof(im->BandFmt) * (size_t)im->Bands;
}
static inline uint64_t img_line(const VipsImage *im)
{
    return (uint64_t)im->Xsize * img_pel(im);
}
static inline uint64_t img_bytes(const VipsImage *im)
{
    return (uint64_t)im->Ysize * img_line(im);
}

/* The arguments' names are libvips' own: its C interface is string-typed. */
struct img_family {
    GType type;
    const char *in, *out;
    const char *second; /* second input image, read from the role of that name; NULL: none */
    bool profile;       /* takes an ICC profile from the optional role of that name */
    bool source;        /* opens its input itself (thumbnail) */
    bool caches;        /* keeps pixels between requests, so that demand cannot be probed: never cut */
    bool counted;       /* counts positions up along rows: where it began shows in the last bits */
    bool running;       /* adds up along rows: of floats, where it began shows */
    bool makes_code;    /* OP_NEEDS_CODE */
    bool from_top;      /* reads from the first row on, wherever it begins: the raster has to stay */
    bool matrix;        /* its input may be a matrix, as text */
};

/* Largest mask file, and the most pixels it may hold: it travels in the plan. */
#define IMG_MASK_MAX    (1u << 20)
#define IMG_MASK_PIXELS (1u << 20)
/* The largest ICC profiles in use, of printing presses, have 2 to 3 MB. */
#define IMG_PROFILE_MAX (8u << 20)

/* ---- image_io.c ---- */
struct img_source;
struct img_target;
/* Opens nothing: pread from fd, `size` bytes from the start. */
VipsSource *img_source_new(int fd, int64_t size, const _Atomic uint32_t *cancel);
/* After so many bytes more it seems to end; INT64_MAX: no limit. */
void img_source_limit(VipsSource *s, int64_t bytes);
Pwc__Code img_source_failure(VipsSource *s); /* what went wrong below libvips; CODE_OK: nothing */
VipsTarget *img_target_new(int fd);
int img_target_errno(VipsTarget *t);
uint64_t img_target_bytes(VipsTarget *t);

/* ---- image_load.c ---- */
struct img_input {
    VipsSource *source;
    VipsImage *image; /* sequential: to be read once, from the top */
    int64_t size;
};
int img_source_open(struct op_job *job, const char *role, int64_t max, VipsSource **ret_source,
                    int64_t *ret_size);
int img_input_open(struct op_job *job, struct img_input *ret);
void img_input_close(struct img_input *in);
/* The loader's class name for this source, or op_fail. */
int img_find_loader(struct op_job *job, VipsSource *s, const char **ret_class);
int img_budget(struct op_job *job, const char *role, const VipsImage *im);
/* op_fail with what libvips said, or with what happened below it, in the input's descriptor. */
int img_fail(struct op_job *job, Pwc__Code code, VipsSource *source);
/* What it begins with, unless it goes on with what was begun: libvips has said nothing yet. */
void img_begin(void);
/* What all that was computed with libvips ends with: 0, or -1 when it lacked memory or a thread and kept it
 * to itself. */
int img_starved(struct op_job *job);
/* op_fail with why the operation did not take what it was given. */
int img_refused(struct op_job *job, const VipsImage *in);
int img_small_read(struct op_job *job, const char *role, int64_t most, void **ret_data, size_t *ret_len);
int img_mask_parse(struct op_job *job, const char *role, const void *data, size_t len, VipsImage **ret);

/* ---- image_save.c ---- */
bool img_is_raw(const struct op_job *job);
int img_check_format(struct op_job *job);
/* Encodes `im` into the output role, from its start. */
int img_save(struct op_job *job, VipsImage *im, VipsSource *blame);
int img_pwrite(struct op_job *job, const void *data, size_t len, uint64_t offset);

/* ---- image_args.c ---- */
int img_set_args(struct op_job *job, VipsObject *o, Pwc__Param *const *params, size_t n, const char *what);
/* 0; -1: op_fail was called (a parameter); 1: libvips failed, its message is pending. The caller drops both.
 */
int img_build(struct op_job *job, VipsImage *in, VipsImage *second, VipsImage **ret_out, VipsObject **ret_op);
void img_results(struct op_job *job, VipsObject *op);
/* True for arguments we offer; type and unit follow from it. */
bool img_arg_offered(GParamSpec *ps, const VipsArgumentClass *ac);
bool img_is_profile(const char *arg);

/* ---- image_blob.c ---- */
struct img_header {
    int32_t width, height, bands, format, coding, type, xoffset, yoffset;
    double xres, yres;
};
struct img_plan {
    struct img_header head;
    struct geometry geo;
    uint64_t line, out_line; /* bytes a row */
    uint64_t in_place; /* so many bytes into the input its pixels lie as in a raster; 0: there is a raster */
    const void *mask;  /* the mask file's bytes; NULL: none */
    size_t mask_len;
    const uint8_t *meta, *meta_end; /* packed metadata */
};
/* Is the raster a window, whose passed rows are given back? */
bool img_windowed(const struct img_plan *plan, Pwc__Absorb absorb);
void img_header_of(const VipsImage *im, struct img_header *ret);
/* -E2BIG: with its metadata it is more than a plan may have. */
int img_plan_pack(const struct img_plan *plan, VipsImage *in, void **ret_blob, size_t *ret_len);
int img_plan_parse(const void *blob, size_t len, struct img_plan *ret);
/* Sets header and metadata of a new image. */
int img_plan_dress(const struct img_plan *plan, VipsImage *im);

/* ---- image_place.c ---- */
/* So many bytes into the input its pixels begin, row after row as in a raster; 0: they have to be decoded. */
uint64_t img_pixels_lie_at(const struct op_job *job, const struct img_input *in);

/* ---- image_view.c ---- */
/* The raster as an image; rows at or past `limit` are refused, because they may not be there yet. */
struct img_view {
    VipsImage *pixels;
    uint32_t first, limit; /* first: rows below it may be gone */
    bool beyond;           /* a request was refused */
    const _Atomic uint32_t *cancel;
};
/* Data NULL: a header without pixels, every read of which fails. */
VipsImage *img_view_new(const struct img_plan *plan, struct img_view *view, const void *data, uint64_t bytes);
/* Records which rows are asked for. */
struct img_probe {
    bool open; /* false: a read fails and sets `read` */
    bool read;
    uint32_t top, bottom; /* rows asked for; bottom 0: none */
};
VipsImage *img_probe_new(const struct img_plan *plan, struct img_probe *probe);
VipsPel *img_addr(const VipsRegion *r, int x, int y);

/* An image like `in` whose pixels lie in memory; the view must outlive it. */
VipsImage *img_view_of(VipsImage *in, struct img_view *view, const void *data, uint64_t bytes);

/* ---- the contract ---- */
struct img {
    struct img_input in;
    struct img_plan plan;
    struct img_view view;
    struct trail trail; /* worker */
    VipsImage *second, *out;
    struct img_eval *eval;
    void *mask;  /* planner: the mask file's bytes */
    void *strip; /* raw: a strip on its way to the output */
};
extern uint64_t img_whole_bytes;  /* rasters up to this size are not cut; tests lower it */
extern uint64_t img_strip_bytes;  /* aim of a strip's size; tests lower it */
extern uint64_t img_read_bytes;   /* decoded at a time; tests lower it */
extern uint64_t img_window_bytes; /* rasters beyond it are windows; tests lower it */
/* Rows that were passed are given up so many bytes at a time, so that it costs nothing. A power of two. */
#define IMG_DROP_STEP MIN((uint64_t)4 << 20, img_window_bytes / 8)
void img_eval_free(struct img_eval *e);
struct img *img_state(struct op_job *job);
int img_plan(struct op_job *job, struct op_plan *plan);
int img_produce(struct op_job *job);
int img_open(struct op_job *job);
int img_process(struct op_job *job, uint64_t chunk, void *result);
int img_blank(struct op_job *job, uint64_t chunk, uint8_t byte);
int img_merge(struct op_job *job);
int img_whole(struct op_job *job);
void img_close(struct op_job *job);
/* Reads a sequential image from its first row to its last, strip by strip. */
typedef int (*img_rows_fn)(struct op_job *job, uint32_t first, uint32_t n, const void *data, void *arg);
int img_read_rows(struct op_job *job, struct img_input *in, img_rows_fn take, void *arg);
/* Plan parsed, mask parsed, ready to build. */
int img_load_plan(struct op_job *job, struct img *s);

/* libvips' error buffer as one line; empties it. Returns the code, or NO_MEMORY where it says that this was
 * missing. */
Pwc__Code img_message(char *out, size_t size, Pwc__Code code);
static inline const struct img_family *img_family(const struct op_job *job)
{
    return job->op->family;
}

/* ---- image_table.c ---- */
void img_table(struct optable *t);

#endif
