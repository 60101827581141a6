/*
 * image_view.c - images that are not files: the raster, a header without pixels, a recorder of demand.
 *
 * All three carry the input's header and metadata, so an op builds over any of them alike. The raster is
 * handed on without a copy, row range by row range, and a request past the rows that were announced is
 * refused: it would be answered with whatever lies in the scratch file.
 */
#include <string.h>

#include "worker/ops/image.h"

VipsPel *img_addr(const VipsRegion *r, int x, int y)
{
    return r->data + (ptrdiff_t)(y - r->valid.top) * r->bpl +
           (ptrdiff_t)(x - r->valid.left) * (ptrdiff_t)img_pel(r->im);
}

static VipsImage *dressed(const struct img_plan *plan)
{
    VipsImage *im = vips_image_new();
    if (img_plan_dress(plan, im) < 0 || vips_image_pipelinev(im, VIPS_DEMAND_STYLE_ANY, NULL) != 0) {
        g_object_unref(im);
        return NULL;
    }
    return im;
}

static void *view_start(VipsImage *im, void *a, void *b)
{
    (void)im;
    (void)b;
    struct img_view *v = a;
    return v->pixels ? (void *)vips_region_new(v->pixels) : v;
}

static int view_stop(void *seq, void *a, void *b)
{
    (void)b;
    if (seq != a)
        g_object_unref(seq);
    return 0;
}

static int view_generate(VipsRegion *out, void *seq, void *a, void *b, gboolean *stop)
{
    (void)b;
    (void)stop;
    struct img_view *v = a;
    VipsRect *r = &out->valid;
    if (v->cancel && atomic_load_explicit(v->cancel, memory_order_relaxed) != 0) {
        vips_error("image", "cancelled");
        return -1;
    }
    if (!v->pixels || (uint32_t)(r->top + r->height) > v->limit || (uint32_t)r->top < v->first) {
        v->beyond = true;
        vips_error("image", "rows %d to %d asked for, %u to %u are there", r->top, r->top + r->height - 1,
                   v->first, v->limit - 1);
        return -1;
    }
    if (vips_region_prepare(seq, r) != 0)
        return -1;
    return vips_region_region(out, seq, r, r->left, r->top);
}

VipsImage *img_view_new(const struct img_plan *plan, struct img_view *view, const void *data, uint64_t bytes)
{
    const struct img_header *h = &plan->head;
    if (data) {
        view->pixels =
            vips_image_new_from_memory(data, bytes, h->width, h->height, h->bands, (VipsBandFormat)h->format);
        if (!view->pixels)
            return NULL;
        view->pixels->Coding = (VipsCoding)h->coding;
    }
    VipsImage *im = dressed(plan);
    if (im && vips_image_generate(im, view_start, view_generate, view_stop, view, NULL) != 0)
        g_clear_object(&im);
    return im;
}

VipsImage *img_view_of(VipsImage *in, struct img_view *view, const void *data, uint64_t bytes)
{
    view->pixels = vips_image_new_from_memory(data, bytes, in->Xsize, in->Ysize, in->Bands, in->BandFmt);
    if (!view->pixels)
        return NULL;
    view->pixels->Coding = in->Coding;
    VipsImage *im = vips_image_new();
    if (vips_image_pipelinev(im, VIPS_DEMAND_STYLE_ANY, in, NULL) != 0)
        g_clear_object(&im);
    if (!im)
        return NULL;
    vips_image_remove(im, VIPS_META_SEQUENTIAL);
    if (vips_image_generate(im, view_start, view_generate, view_stop, view, NULL) != 0)
        g_clear_object(&im);
    return im;
}

static void *probe_start(VipsImage *im, void *a, void *b)
{
    (void)im;
    (void)b;
    return a;
}

static int probe_stop(void *seq, void *a, void *b)
{
    (void)seq;
    (void)a;
    (void)b;
    return 0;
}

static int probe_generate(VipsRegion *out, void *seq, void *a, void *b, gboolean *stop)
{
    (void)seq;
    (void)b;
    (void)stop;
    struct img_probe *p = a;
    const VipsRect *r = &out->valid;
    if (!p->open) {
        p->read = true;
        vips_error("image", "pixels are read while the operation is built");
        return -1;
    }
    uint32_t top = (uint32_t)r->top, bottom = (uint32_t)(r->top + r->height);
    p->top = p->bottom == 0 ? top : MIN(p->top, top);
    p->bottom = MAX(p->bottom, bottom);
    vips_region_black(out);
    return 0;
}

VipsImage *img_probe_new(const struct img_plan *plan, struct img_probe *probe)
{
    VipsImage *im = dressed(plan);
    if (im && vips_image_generate(im, probe_start, probe_generate, probe_stop, probe, NULL) != 0)
        g_clear_object(&im);
    return im;
}
