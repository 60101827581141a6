/*
 * image_save.c - the output: one of libvips' savers, or bare pixels.
 *
 * The saver converts colours and formats as it does for the `vips` command, and pulls rows from the top: an
 * image whose rows come from other processes works as well as one in memory.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/ops/image.h"

static const struct {
    const char *format, *nick;
} savers[] = {
    {"png", "pngsave_target"},
    {"jpeg", "jpegsave_target"},
    {"tiff", "tiffsave_target"},
    {"webp", "webpsave_target"},
};

bool img_is_raw(const struct op_job *job)
{
    return strcmp(job->format, "raw") == 0;
}

static const char *saver_of(const char *format)
{
    for (size_t i = 0; i < ARRAY_LEN(savers); i++)
        if (strcmp(savers[i].format, format) == 0)
            return savers[i].nick;
    return NULL;
}

int img_check_format(struct op_job *job)
{
    const char *f = job->format ? job->format : "";
    if (saver_of(f) || img_is_raw(job))
        return 0;
    return op_fail(job, PWC__CODE__CODE_BAD_FORMAT,
                   "format: \"%s\" cannot be written; png, jpeg, tiff, webp and raw can", f);
}

static int fail_errno(struct op_job *job, int error)
{
    return op_fail(job, PWC__CODE__CODE_OUTPUT, "out: %s", strerror(error));
}

int img_pwrite(struct op_job *job, const void *data, size_t len, uint64_t offset)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = pwrite(op_fd(job, "out"), p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(job, errno);
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

struct raw_sink {
    struct op_job *job;
    bool failed; /* vips_sink_disc waits for the last area, but does not ask how it ended */
};

/* vips_sink_disc hands over full-width areas from the top. */
static int raw_area(VipsRegion *region, VipsRect *area, void *a)
{
    struct raw_sink *sink = a;
    size_t line = img_line(region->im);
    for (int y = area->top; y < area->top + area->height && !sink->failed; y++)
        sink->failed = img_pwrite(sink->job, img_addr(region, 0, y), line, (uint64_t)y * line) < 0;
    return sink->failed ? -1 : 0;
}

static int save_raw(struct op_job *job, VipsImage *im, VipsSource *blame)
{
    if (job->nsave > 0)
        return op_fail(job, PWC__CODE__CODE_NO_SUCH_PARAM, "save.%s: raw pixels have no options",
                       job->save[0]->name);
    struct raw_sink sink = {.job = job};
    if (vips_sink_disc(im, raw_area, &sink) != 0 || sink.failed)
        return img_fail(job, PWC__CODE__CODE_OP, blame);
    op_wrote(job, img_bytes(im));
    return 0;
}

/* As a number of the saver's; `def` where it was not given, or is none. */
static double save_option(const struct op_job *job, const char *name, double def)
{
    for (size_t i = 0; i < job->nsave; i++) {
        const Pwc__Value *v = job->save[i]->value;
        if (strcmp(job->save[i]->name, name) != 0 || !v)
            continue;
        return v->kind_case == PWC__VALUE__KIND_I64   ? (double)v->i64
               : v->kind_case == PWC__VALUE__KIND_U64 ? (double)v->u64
               : v->kind_case == PWC__VALUE__KIND_F64 ? v->f64
                                                      : def;
    }
    return def;
}

/* What the PNG saver has 8 bits of when it begins to write. It makes light of CMYK, in more. */
static bool stays_8bit(const VipsImage *im)
{
    return vips_band_format_is8bit(im->BandFmt) && im->Coding != VIPS_CODING_RAD &&
           (im->Type != VIPS_INTERPRETATION_CMYK || im->Bands < 4);
}

/*
 * libvips 8.14 takes an 8-bit image for 16-bit pixels in its PNG saver, and writes what lies behind them, if
 * it is tagged so (a cast to uchar does that) or if bitdepth says so. Not our memory in anybody's picture.
 * With bitdepth the pixels become 16-bit ones, as in later versions.
 */
static VipsImage *deep_right(const struct op_job *job, VipsImage *im)
{
    VipsImage *tagged = NULL, *out = NULL;
    bool deep = im->Type == VIPS_INTERPRETATION_RGB16 || im->Type == VIPS_INTERPRETATION_GREY16;
    bool wanted = save_option(job, "bitdepth", 0) > 8;
    if (strcmp(job->format, "png") != 0 || !stays_8bit(im) || !(deep || wanted))
        return g_object_ref(im);
    bool grey = im->Bands < 3;
    VipsInterpretation type = !deep && vips_colourspace_issupported(im) ? im->Type
                              : grey                                    ? VIPS_INTERPRETATION_B_W
                                                                        : VIPS_INTERPRETATION_sRGB;
    if (vips_copy(im, &tagged, "interpretation", type, NULL) != 0 || !wanted)
        return tagged;
    int r =
        vips_colourspace(tagged, &out, grey ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16, NULL);
    g_object_unref(tagged);
    return r == 0 ? out : NULL;
}

/* Its words tell neither what it was to write nor as what: "flatten: image must be non-complex". */
static int not_written(struct op_job *job, const VipsImage *im, VipsSource *blame)
{
    char text[400];
    if (img_source_failure(blame) != PWC__CODE__CODE_OK)
        return img_fail(job, PWC__CODE__CODE_OP, blame);
    Pwc__Code code = img_message(text, sizeof text, PWC__CODE__CODE_OP);
    if (code != PWC__CODE__CODE_OP)
        return op_fail(job, code, "%s", text);
    return op_fail(job, code, "out: cannot be written as %s: %s (%d x %d pixels, %d %s of %s)%s", job->format,
                   *text ? text : "libvips failed and gave no reason", im->Xsize, im->Ysize, im->Bands,
                   im->Bands == 1 ? "band" : "bands", vips_enum_nick(VIPS_TYPE_BAND_FORMAT, im->BandFmt),
                   vips_band_format_iscomplex(im->BandFmt) ? "; raw holds complex numbers" : "");
}

static int run_saver(struct op_job *job, VipsObject *o, VipsTarget *target, const VipsImage *im,
                     VipsSource *blame)
{
    if (img_set_args(job, o, job->save, job->nsave, "save") < 0)
        return -1;
    if (vips_object_build(o) != 0) {
        if (img_target_errno(target) == 0)
            return not_written(job, im, blame);
        vips_error_clear();
        return fail_errno(job, img_target_errno(target));
    }
    op_wrote(job, img_target_bytes(target));
    return 0;
}

int img_save(struct op_job *job, VipsImage *im, VipsSource *blame)
{
    int fd = op_fd(job, "out");
    if (fd < 0)
        return op_fail(job, PWC__CODE__CODE_BAD_DESCRIPTOR, "out: no file was given");
    /* A consumer before us may have died halfway. */
    int r = fd_resize(fd, 0);
    if (r < 0 && r != -EINVAL)
        return fail_errno(job, -r);
    if (img_is_raw(job))
        return save_raw(job, im, blame);
    VipsTarget *target = img_target_new(fd);
    VipsOperation *o = target ? vips_operation_new(saver_of(job->format)) : NULL;
    VipsImage *right = o ? deep_right(job, im) : NULL;
    if (!right) {
        g_clear_object(&o);
        g_clear_object(&target);
        return img_fail(job, PWC__CODE__CODE_BAD_FORMAT, NULL);
    }
    g_object_set(o, "in", right, "target", target, NULL);
    g_object_unref(right);
    r = run_saver(job, VIPS_OBJECT(o), target, im, blame);
    vips_object_unref_outputs(VIPS_OBJECT(o));
    g_object_unref(o);
    g_object_unref(target);
    return r;
}
