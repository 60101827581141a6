/*
 * image_merge.c - the consumer: an image whose rows are the workers' strips, pulled through the encoder.
 *
 * Its header comes from building the operation over an input without pixels; its metadata are therefore what
 * the operation leaves of the input's. The saver asks for rows from the top, on one thread of libvips' at a
 * time, while the main thread waits in it: op_next is called by one thread at a time, though not always the
 * same.
 */
#include <string.h>

#include "worker/ops/image.h"

struct puller {
    struct op_job *job;
    const struct geometry *geo;
    uint64_t line;
    uint64_t next;       /* chunks below it have been taken or skipped */
    uint64_t gap;        /* [gap, chunk) were given up */
    uint64_t chunk;      /* in hand, if data is set */
    const uint8_t *data; /* NULL: given back */
    bool failed;
};

/* Gives back what lies wholly above `row`. */
static int give_back(struct puller *p, uint64_t row)
{
    if (!p->data || (p->chunk + 1) * p->geo->rows > row)
        return 0;
    p->data = NULL;
    return op_absorbed(p->job, p->chunk + 1);
}

/* The strip that holds `row`; NULL in ret_data: it was given up, its rows are black. */
static int strip_of(struct puller *p, uint64_t row, const uint8_t **ret_data)
{
    uint64_t want = row / p->geo->rows;
    *ret_data = NULL;
    if (give_back(p, row) < 0)
        return -1;
    while (p->next <= want) {
        uint64_t got = 0;
        const uint8_t *data = op_next(p->job, &got);
        if (!data)
            return -1;
        if (got < p->next || got >= p->geo->chunks)
            return op_fail(p->job, PWC__CODE__CODE_PROTOCOL, "strip %llu came out of order",
                           (unsigned long long)got);
        p->gap = p->next;
        p->data = data;
        p->chunk = got;
        p->next = got + 1;
    }
    if (want >= p->gap && want < p->chunk)
        return 0;
    if (!p->data || want != p->chunk)
        return op_fail(p->job, PWC__CODE__CODE_INTERNAL, "row %llu was asked for again",
                       (unsigned long long)row);
    *ret_data = p->data;
    return 0;
}

static int pull_rows(struct puller *p, VipsRegion *out)
{
    const VipsRect *r = &out->valid;
    size_t pel = img_pel(out->im), width = (size_t)r->width * pel;
    for (int y = r->top; y < r->top + r->height; y++) {
        const uint8_t *strip = NULL;
        if (strip_of(p, (uint64_t)y, &strip) < 0)
            return -1;
        VipsPel *to = img_addr(out, r->left, y);
        if (strip)
            memcpy(to, strip + ((uint64_t)y % p->geo->rows) * p->line + (size_t)r->left * pel, width);
        else
            memset(to, 0, width);
    }
    /* The rest of the strip is done with too if these were its last rows. */
    return r->left + r->width == out->im->Xsize ? give_back(p, (uint64_t)(r->top + r->height)) : 0;
}

static int pull(VipsRegion *out, void *seq, void *a, void *b, gboolean *stop)
{
    (void)seq;
    (void)b;
    (void)stop;
    struct puller *p = a;
    if (!p->failed && pull_rows(p, out) == 0)
        return 0;
    p->failed = true;
    vips_error("image", "no more strips");
    return -1;
}

static void *pull_start(VipsImage *im, void *a, void *b)
{
    (void)im;
    (void)b;
    return a;
}

static int pull_stop(void *seq, void *a, void *b)
{
    (void)seq;
    (void)a;
    (void)b;
    return 0;
}

/* The operation's output without pixels. */
static int build_header(struct op_job *job, struct img *s)
{
    VipsObject *op = NULL;
    VipsImage *in = img_view_new(&s->plan, &s->view, NULL, 0);
    if (!in)
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    int r = img_build(job, in, s->second, &s->out, &op);
    g_object_unref(in);
    if (r != 0)
        return r < 0 ? r : img_fail(job, PWC__CODE__CODE_OP, NULL);
    img_results(job, op);
    vips_object_unref_outputs(op);
    g_object_unref(op);
    return 0;
}

static int save_strips(struct op_job *job, struct img *s, struct puller *p)
{
    VipsImage *im = vips_image_new();
    if (vips_image_pipelinev(im, VIPS_DEMAND_STYLE_FATSTRIP, s->out, NULL) != 0 ||
        vips_image_generate(im, pull_start, pull, pull_stop, p, NULL) != 0) {
        g_object_unref(im);
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    }
    /* The operation would have it in tiles; its pixels are here already, and come in rows. */
    im->dhint = VIPS_DEMAND_STYLE_FATSTRIP;
    int r = img_save(job, im, NULL);
    g_object_unref(im);
    return r;
}

int img_merge(struct op_job *job)
{
    struct img *s = img_state(job);
    img_begin();
    if (img_load_plan(job, s) < 0 || build_header(job, s) < 0)
        return -1;
    const struct geometry *g = &s->plan.geo;
    if ((uint32_t)s->out->Xsize != g->out_width || (uint32_t)s->out->Ysize != g->out_rows ||
        img_line(s->out) != s->plan.out_line || job->result_bytes < g->rows * s->plan.out_line)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "the plan does not fit the operation");
    struct puller p = {.job = job, .geo = g, .line = s->plan.out_line};
    int r = save_strips(job, s, &p);
    if (r == 0 && p.data)
        r = op_absorbed(job, p.chunk + 1);
    return r < 0 ? r : img_starved(job);
}
