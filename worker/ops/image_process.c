/*
 * image_process.c - the worker: the operation, built over the raster, evaluated strip by strip.
 *
 * A strip is the output's full width: libvips' 8-bit rank is wrong in narrower tiles, and encoders want rows.
 * libvips computes straight into the arena; its own threads are not involved.
 */
#include <string.h>

#include "worker/ops/image.h"

/* The same build from the same plan must give the same output, or strips would be garbage. */
static int check_output(struct op_job *job, const struct img *s)
{
    const struct geometry *g = &s->plan.geo;
    if ((uint32_t)s->out->Xsize == g->out_width && (uint32_t)s->out->Ysize == g->out_rows &&
        img_line(s->out) == s->plan.out_line)
        return 0;
    return op_fail(job, PWC__CODE__CODE_INTERNAL, "the output became %d x %d, planned were %u x %u", s->out->Xsize,
                   s->out->Ysize, g->out_width, g->out_rows);
}

static int build(struct op_job *job, struct img *s)
{
    VipsObject *op = NULL;
    VipsImage *in = img_view_new(&s->plan, &s->view, job->raster, job->raster_bytes);
    if (!in)
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    s->view.limit = s->plan.geo.in_rows;
    int r = img_build(job, in, s->second, &s->out, &op);
    g_object_unref(in);
    if (r != 0)
        return r < 0 ? r : img_fail(job, PWC__CODE__CODE_OP, NULL);
    vips_object_unref_outputs(op);
    g_object_unref(op);
    return check_output(job, s);
}

int img_open(struct op_job *job)
{
    struct img *s = img_state(job);
    if (img_load_plan(job, s) < 0)
        return -1;
    if (!job->raster || job->raster_bytes < s->plan.line * s->plan.geo.in_rows)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "the raster of this job is too small");
    s->view.cancel = job->cancel;
    if (build(job, s) < 0)
        return -1;
    s->region = vips_region_new(s->out);
    if (!s->region)
        return img_fail(job, PWC__CODE__CODE_NO_MEMORY, NULL);
    if (img_is_raw(job))
        s->strip = xcalloc(s->plan.geo.rows, s->plan.out_line);
    return 0;
}

/* Evaluates the strip into `to`, which holds its rows without gaps. */
static int evaluate(struct img *s, const VipsRect *strip, void *to)
{
    VipsImage *im = vips_image_new_from_memory(to, (size_t)strip->height * s->plan.out_line, strip->width,
                                               strip->height, s->out->Bands, s->out->BandFmt);
    if (!im)
        return -1;
    VipsRegion *dest = vips_region_new(im);
    VipsRect all = {0, 0, strip->width, strip->height};
    int r = dest ? vips_region_image(dest, &all) : -1;
    if (r == 0)
        r = vips_region_prepare_to(s->region, dest, strip, 0, 0);
    g_clear_object(&dest);
    g_object_unref(im);
    return r;
}

static int explain(struct op_job *job, struct img *s, uint64_t chunk)
{
    char text[256];
    img_message(text, sizeof text);
    if (op_cancelled(job))
        return op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
    if (s->view.beyond)
        return op_fail(job, PWC__CODE__CODE_INTERNAL, "strip %llu asked for more rows than the probe saw: %s",
                       (unsigned long long)chunk, text);
    return op_fail(job, PWC__CODE__CODE_OP, "%s", text);
}

int img_process(struct op_job *job, uint64_t chunk, void *result)
{
    struct img *s = job->state;
    const struct geometry *g = &s->plan.geo;
    if (chunk >= g->chunks)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "there is no strip %llu", (unsigned long long)chunk);
    VipsRect strip = {0, (int)(chunk * g->rows), (int)g->out_width, (int)geometry_rows_of(g, chunk)};
    s->view.limit = geometry_need(g, chunk);
    s->view.beyond = false;
    if (evaluate(s, &strip, s->strip ? s->strip : result) != 0)
        return explain(job, s, chunk);
    if (!s->strip)
        return 0;
    return img_pwrite(job, s->strip, (size_t)strip.height * s->plan.out_line, (uint64_t)strip.top * s->plan.out_line);
}
