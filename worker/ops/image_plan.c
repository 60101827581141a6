/*
 * image_plan.c - the planner: header, budget, demand, grid.
 *
 * Whether and how an operation can be cut is not looked up in a list: it is built over an image that records
 * what is asked of it. Reading while being built means that the result depends on all pixels; else single
 * rows of the output tell which input rows they need. Grid and probe depend on the job alone, never on
 * timing, so that a chunk is the same in every attempt.
 */
#include <string.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "proto/limits.h"
#include "worker/ops/image.h"

#define SAMPLES 8
/* Strips of a slanted picture whose rows are looked at. */
#define STRIPS_CHECKED 12
/* Squares in the middle of one; it may be a narrow one, in a corner of an output that is wide. */
#define SQUARES_CHECKED 16
/* libvips' squares are 128 wide: one look into each. */
#define COLUMN_STEP  128
#define COLUMN_WIDTH 16

/* Evaluates a part of the output; 0, or libvips' failure. What it asks for is added to what is there. */
static int evaluate(VipsImage *out, const VipsRect *rect)
{
    /* A region of its own: libvips answers from what an earlier one still holds. */
    VipsRegion *r = vips_region_new(out);
    int result = r ? vips_region_prepare(r, rect) : -1;
    g_clear_object(&r);
    return result;
}

static int evaluate_row(VipsImage *out, int left, int row, int width)
{
    return evaluate(out, &(VipsRect){left, row, width, 1});
}

static bool tiled(const VipsImage *out)
{
    return out->dhint == VIPS_DEMAND_STYLE_SMALLTILE;
}

/* Columns evenly spread over a row, the ends included. */
static int sample_columns(VipsImage *out, uint32_t row, int columns)
{
    int width = MIN(COLUMN_WIDTH, out->Xsize);
    for (int i = 0; i < columns; i++) {
        int64_t left = (int64_t)(out->Xsize - width) * i / (columns - 1);
        if (evaluate_row(out, (int)left, (int)row, width) != 0)
            return -1;
    }
    return 0;
}

/*
 * One row. Operations that libvips evaluates in squares are asked for columns, which costs a fraction, and
 * does not ask for all that lies between the ends of a slanted row. The others get what they are used to, a
 * whole row: bandunfold, for one, reads past its input when it gets less.
 */
static int sample(VipsImage *out, struct img_probe *probe, uint32_t row, bool slanted, struct demand *ret)
{
    probe->top = probe->bottom = 0;
    int columns = slanted ? 2 + out->Xsize / COLUMN_STEP : 3;
    int r = tiled(out) ? sample_columns(out, row, columns) : evaluate_row(out, 0, (int)row, out->Xsize);
    *ret = (struct demand){row, probe->top, probe->bottom};
    return r;
}

/* Do the two ends of a row ask for different rows, or neither for what the middle does? */
static int is_slanted(VipsImage *out, struct img_probe *probe, uint32_t row, bool *ret)
{
    int width = MIN(COLUMN_WIDTH, out->Xsize);
    struct demand d[3];
    *ret = false;
    for (int i = 0; i < 3 && tiled(out); i++) {
        probe->top = probe->bottom = 0;
        if (evaluate_row(out, (out->Xsize - width) / 2 * i, (int)row, width) != 0)
            return -1;
        d[i] = (struct demand){row, probe->top, probe->bottom};
        *ret = *ret || d[i].top != d[0].top || d[i].bottom != d[0].bottom;
    }
    return 0;
}

/* Some rows ask for something and others for nothing: the picture was moved, and its corners lie anywhere. Of
 * the outermost two a corner may be all there is. */
static bool is_moved(const struct demand *d, size_t n)
{
    size_t empty = 0;
    for (size_t i = 1; i + 1 < n; i++)
        empty += d[i].bottom == 0;
    return empty > 0;
}

/*
 * Resampling and turning: libvips computes them in squares, which need little of the input each, where a full
 * row may need half of it; and positions are counted up from a square's corner, so that the squares' places
 * show in the last bits. Convolutions are in squares too, but exact in any shape, and faster in long rows:
 * they follow the row one by one and ask for the same rows everywhere.
 */
static bool in_squares(const VipsImage *out, const struct geometry *g, bool slanted)
{
    return tiled(out) && (slanted || g->all || g->slope < 1 || g->slope > 1);
}

/*
 * Approximate convolution adds and subtracts along a square's rows as it goes: with floats the rounding tells
 * where the square began, and grows with its width.
 */
static bool has_running_sums(const struct op_job *job, const struct img_plan *plan)
{
    bool running = img_family(job)->running;
    for (size_t i = 0; i < job->nparams; i++) {
        const Pwc__Value *v = job->params[i]->value;
        running = running || (strcmp(job->params[i]->name, "precision") == 0 &&
                              v->kind_case == PWC__VALUE__KIND_STR && strcmp(v->str, "approximate") == 0);
    }
    return running && !vips_band_format_isint((VipsBandFormat)plan->head.format);
}

/*
 * libvips turns LabQ into 8-bit colours with what it had to round carried on to the next pixel, from the left
 * of the piece that it computes. Where the input or the operation has it compute in squares, they show; the
 * encoder that is given strips would turn whole rows.
 */
static bool carries_along(const struct img *s, const VipsImage *out)
{
    bool labq = s->plan.head.coding == VIPS_CODING_LABQ || out->Coding == VIPS_CODING_LABQ;
    return labq && (tiled(s->in.image) || tiled(out));
}

struct fitted {
    uint32_t margin;
    bool slanted;
};

/* Which input rows the output needs. False: no telling. */
static bool fit(VipsImage *out, struct img_probe *probe, bool squares, struct geometry *g, struct fitted *ret)
{
    uint32_t rows[SAMPLES];
    struct demand d[SAMPLES];
    size_t n = geometry_samples(g->out_rows, rows, SAMPLES);
    probe->open = true;
    int r = is_slanted(out, probe, rows[n / 2], &ret->slanted);
    for (size_t i = 0; i < n && r == 0; i++)
        r = sample(out, probe, rows[i], ret->slanted, &d[i]);
    if (r != 0) {
        vips_error_clear();
        return false;
    }
    ret->margin = geometry_fit(g, d, n);
    if (tiled(out) && is_moved(d, n))
        geometry_need_all(g);
    if (in_squares(out, g, ret->slanted) || (squares && tiled(out))) {
        int width, height, lines;
        vips_get_tile_size(out, &width, &height, &lines);
        g->tile = (uint32_t)MAX(width, height); /* both 128 */
        ret->margin = 0;
    }
    return true;
}

/* Do the strip's first, middle and last row ask for rows that it will have? */
static bool strip_fits(VipsImage *out, struct img_probe *probe, const struct geometry *g, uint64_t chunk)
{
    uint32_t last = geometry_rows_of(g, chunk) - 1, first = (uint32_t)(chunk * g->rows);
    for (uint32_t i = 0; i < 3; i++) {
        struct demand d;
        if (sample(out, probe, first + last * i / 2, true, &d) != 0)
            return false;
        if (d.bottom > 0 && (d.bottom > geometry_need(g, chunk) || d.top < geometry_unneeded(g, chunk)))
            return false;
    }
    return true;
}

/* By how many rows a square asks for more than its height does along the line: it is as wide as it is high.
 * False: none that was looked at asks for anything. */
static bool square_excess(VipsImage *out, struct img_probe *probe, const struct geometry *g, uint32_t *ret)
{
    uint32_t span = 0;
    int side = (int)g->tile, step = side * (1 + out->Xsize / side / SQUARES_CHECKED);
    int height = MIN(side, out->Ysize);
    for (int left = 0; left < out->Xsize; left += step) {
        VipsRect rect = {left, (out->Ysize - height) / 2, MIN(side, out->Xsize - left), height};
        probe->top = probe->bottom = 0;
        if (evaluate(out, &rect) == 0 && probe->bottom > 0)
            span = MAX(span, probe->bottom - probe->top);
    }
    *ret = (uint32_t)MAX(0.0, span - g->slope * (height - 1));
    return span > 0;
}

/*
 * What a slanted row asks for follows no line where the picture has corners, and may do so between the
 * samples: then the whole raster comes first. As many strips are looked at as cost no time.
 */
static void check_slanted(VipsImage *out, struct img_probe *probe, struct geometry *g)
{
    uint64_t step = 1 + g->chunks / STRIPS_CHECKED;
    for (uint64_t chunk = 0; chunk < g->chunks && !g->all; chunk += step)
        if (!strip_fits(out, probe, g, chunk))
            geometry_need_all(g);
    uint32_t excess = 0;
    if (!g->all && !square_excess(out, probe, g, &excess))
        geometry_need_all(g);
    geometry_widen(g, excess);
    vips_error_clear();
}

/* Raw pixels go from the worker to the file, all others through an arena. */
static bool fits_arena(const struct op_job *job, const struct img_plan *p)
{
    return img_is_raw(job) || p->geo.rows * p->out_line <= PWC_RESULT_MAX;
}

/* The output is known, and `plan` says whole or not. */
static int measure(struct op_job *job, struct img *s, VipsImage *out, struct img_probe *probe,
                   struct op_plan *plan)
{
    struct geometry *g = &s->plan.geo;
    struct fitted fitted = {0};
    if (img_budget(job, "out", out) < 0)
        return -1;
    *g = (struct geometry){.in_rows = (uint32_t)s->plan.head.height,
                           .out_width = (uint32_t)out->Xsize,
                           .out_rows = (uint32_t)out->Ysize};
    s->plan.out_line = img_line(out);
    plan->whole = img_family(job)->caches || carries_along(s, out) ||
                  !fit(out, probe, img_family(job)->counted || has_running_sums(job, &s->plan), g, &fitted);
    if (plan->whole)
        return 0;
    if (img_family(job)->from_top)
        geometry_need_all(g);
    geometry_cut(g, s->plan.out_line, fitted.margin, img_strip_bytes);
    if (fitted.slanted)
        check_slanted(out, probe, g);
    plan->whole = g->chunks < 2 || !fits_arena(job, &s->plan);
    return 0;
}

static int probe(struct op_job *job, struct img *s, struct op_plan *plan)
{
    struct img_probe probe = {0};
    VipsImage *out = NULL, *in = img_probe_new(&s->plan, &probe);
    VipsObject *op = NULL;
    if (!in)
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    int r = img_build(job, in, s->second, &out, &op);
    if (r > 0 && probe.read) {
        vips_error_clear();
        plan->whole = true;
        r = 0;
    } else if (r > 0) {
        r = img_refused(job, in);
    } else if (r == 0) {
        r = measure(job, s, out, &probe, plan);
    }
    g_clear_object(&out);
    if (op) {
        vips_object_unref_outputs(op);
        g_object_unref(op);
    }
    g_object_unref(in);
    return r;
}

/* A plan whose metadata are packed, so that the probe sees exactly what the workers will see. Metadata that
 * no plan holds are left where they are: in the one process that does it all. */
static bool pack(struct img *s, struct op_plan *plan)
{
    free(plan->blob);
    plan->blob = NULL;
    plan->whole = img_plan_pack(&s->plan, s->in.image, &plan->blob, &plan->blob_len) < 0;
    return !plan->whole;
}

static int read_second(struct op_job *job, struct img *s)
{
    const char *role = img_family(job)->second;
    if (!role)
        return 0;
    if (img_small_read(job, role, IMG_MASK_MAX, &s->mask, &s->plan.mask_len) < 0)
        return -1;
    s->plan.mask = s->mask;
    return img_mask_parse(job, role, s->mask, s->plan.mask_len, &s->second);
}

/* Workers write into the output at once, so it must have its size, and room. */
static int reserve_output(struct op_job *job, const struct img_plan *p)
{
    int fd = op_fd(job, "out");
    uint64_t bytes = p->out_line * p->geo.out_rows;
    if (fd < 0)
        return op_fail(job, PWC__CODE__CODE_BAD_DESCRIPTOR, "out: no file was given");
    int r = fd_resize(fd, 0);
    if (r == 0)
        r = fd_reserve(fd, bytes);
    return r < 0 ? op_fail(job, PWC__CODE__CODE_OUTPUT, "out: %s", strerror(-r)) : 0;
}

static int fill(struct op_job *job, struct img *s, struct op_plan *plan)
{
    const struct geometry *g = &s->plan.geo;
    bool raw = img_is_raw(job);
    plan->chunks = g->chunks;
    plan->result_bytes = raw ? 0 : g->rows * s->plan.out_line;
    plan->raster_bytes = s->plan.in_place ? 0 : s->plan.line * g->in_rows;
    plan->producer = true;
    plan->absorb = raw ? PWC__ABSORB__ABSORB_PLACED : PWC__ABSORB__ABSORB_SERIAL;
    plan->windowed = img_windowed(&s->plan, plan->absorb);
    plan->unit = "rows";
    plan->unit_size = g->rows;
    plan->units = g->out_rows;
    if (raw && job->nsave > 0)
        return op_fail(job, PWC__CODE__CODE_NO_SUCH_PARAM, "save.%s: raw pixels have no options",
                       job->save[0]->name);
    return raw ? reserve_output(job, &s->plan) : 0;
}

static int plan_cut(struct op_job *job, struct img *s, struct op_plan *plan)
{
    s->plan.line = img_line(s->in.image);
    img_header_of(s->in.image, &s->plan.head);
    if (read_second(job, s) < 0)
        return -1;
    /* Packed once for the probe, whose geometry is not known yet, and again for the workers. */
    struct img_plan *p = &s->plan;
    p->geo = (struct geometry){
        .in_rows = (uint32_t)p->head.height, .out_width = 1, .out_rows = 1, .rows = 1, .chunks = 1};
    struct img_plan parsed;
    if (!pack(s, plan))
        return 0;
    if (img_plan_parse(plan->blob, plan->blob_len, &parsed) < 0)
        return op_fail(job, PWC__CODE__CODE_INTERNAL, "in: its header cannot be planned with");
    p->meta = parsed.meta;
    p->meta_end = parsed.meta_end;
    if (probe(job, s, plan) < 0)
        return -1;
    if (plan->whole)
        return 0;
    p->in_place = img_pixels_lie_at(job, &s->in);
    return pack(s, plan) ? fill(job, s, plan) : 0;
}

int img_plan(struct op_job *job, struct op_plan *plan)
{
    struct img *s = img_state(job);
    img_begin();
    if (img_check_format(job) < 0)
        return -1;
    plan->whole = img_family(job)->source;
    if (plan->whole)
        return 0;
    if (img_input_open(job, &s->in) < 0)
        return -1;
    plan->whole = img_bytes(s->in.image) <= img_whole_bytes;
    if (plan->whole)
        return 0;
    int r = plan_cut(job, s, plan);
    if (r < 0 || plan->whole) {
        free(TAKE_PTR(plan->blob));
        plan->blob_len = 0;
    }
    return r;
}
