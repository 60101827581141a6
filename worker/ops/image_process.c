/*
 * image_process.c - the worker: the operation, built over the raster, evaluated strip by strip.
 *
 * A strip is the output's full width: libvips' 8-bit rank is wrong in narrower tiles, and encoders want rows.
 * Where libvips itself would compute in squares and it shows (image_plan.c), the strip is computed in the
 * same squares. libvips computes straight into the arena.
 *
 * It does so on a thread that libvips itself has made, one a job, started at open and joined at close, while
 * the stage's thread waits. On any other thread libvips shares nothing between the branches of an operation,
 * and a region that is asked for less than before computes again what it was asked for before. Each strip
 * gets a fresh region, so that it is a function of its number alone.
 *
 * Rows that no later strip needs leave the map: a picture of gigabytes would count as the worker's memory,
 * page by page as it was read, though it is the kernel's cache.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "worker/ops/image.h"

/* The same build from the same plan must give the same output, or strips would be garbage. */
static int check_output(struct op_job *job, const struct img *s)
{
    const struct geometry *g = &s->plan.geo;
    if ((uint32_t)s->out->Xsize == g->out_width && (uint32_t)s->out->Ysize == g->out_rows &&
        img_line(s->out) == s->plan.out_line)
        return 0;
    return op_fail(job, PWC__CODE__CODE_INTERNAL, "the output became %d x %d, planned were %u x %u",
                   s->out->Xsize, s->out->Ysize, g->out_width, g->out_rows);
}

/* The raster's, or the input's own; NULL: op_fail was called. */
static const void *find_pixels(struct op_job *job, const struct img *s, uint64_t *ret_bytes)
{
    const uint64_t bytes = s->plan.line * s->plan.geo.in_rows;
    uint64_t len = job->raster_bytes;
    const char *map = s->plan.in_place ? op_map_input(job, "in", &len) : job->raster;
    *ret_bytes = bytes;
    if (s->plan.in_place && !map)
        return NULL;
    if (map && len >= s->plan.in_place && len - s->plan.in_place >= bytes)
        return map + s->plan.in_place;
    if (s->plan.in_place)
        op_fail(job, PWC__CODE__CODE_INPUT_SHRANK, "in: the file became shorter while it was read");
    else
        op_fail(job, PWC__CODE__CODE_PROTOCOL, "the raster of this job is too small");
    return NULL;
}

static int build(struct op_job *job, struct img *s)
{
    VipsObject *op = NULL;
    uint64_t bytes = 0;
    const void *pixels = find_pixels(job, s, &bytes);
    VipsImage *in = pixels ? img_view_new(&s->plan, &s->view, pixels, bytes) : NULL;
    if (!pixels)
        return -1;
    if (!in)
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    s->view.limit = s->plan.geo.in_rows;
    s->trail = (struct trail){.map = (uintptr_t)pixels - s->plan.in_place,
                              .pixels = (uintptr_t)pixels,
                              .line = s->plan.line,
                              .step = IMG_DROP_STEP,
                              .keep = img_window_bytes / 2, /* a picture that fits costs nothing */
                              .left = UINTPTR_MAX};
    int r = img_build(job, in, s->second, &s->out, &op);
    g_object_unref(in);
    if (r != 0)
        return r < 0 ? r : img_fail(job, PWC__CODE__CODE_OP, NULL);
    vips_object_unref_outputs(op);
    g_object_unref(op);
    return check_output(job, s);
}

struct img_eval {
    GThread *thread;
    GMutex lock;
    GCond turn;
    enum { EVAL_IDLE, EVAL_ASKED, EVAL_QUIT } state; /* IDLE: result is that of the last request */
    struct img *s;
    VipsRect strip;
    void *to; /* holds the strip's rows without gaps */
    int result;
};

/* In one piece, or in the squares that libvips would use. */
static int prepare_strip(const struct geometry *g, VipsRegion *region, VipsRegion *dest,
                         const VipsRect *strip)
{
    int step = g->tile ? (int)g->tile : MAX(strip->width, strip->height);
    for (int y = 0; y < strip->height; y += step)
        for (int x = 0; x < strip->width; x += step) {
            VipsRect r = {x, strip->top + y, MIN(step, strip->width - x), MIN(step, strip->height - y)};
            if (vips_region_prepare_to(region, dest, &r, x, y) != 0)
                return -1;
        }
    return 0;
}

static int evaluate(struct img *s, const VipsRect *strip, void *to)
{
    VipsImage *im = vips_image_new_from_memory(to, (size_t)strip->height * s->plan.out_line, strip->width,
                                               strip->height, s->out->Bands, s->out->BandFmt);
    if (!im)
        return -1;
    VipsRegion *dest = vips_region_new(im), *region = vips_region_new(s->out);
    VipsRect all = {0, 0, strip->width, strip->height};
    int r = dest && region ? vips_region_image(dest, &all) : -1;
    if (r == 0)
        r = prepare_strip(&s->plan.geo, region, dest, strip);
    g_clear_object(&region);
    g_clear_object(&dest);
    g_object_unref(im);
    return r;
}

static void *eval_run(void *arg)
{
    struct img_eval *e = arg;
    g_mutex_lock(&e->lock);
    for (;;) {
        while (e->state == EVAL_IDLE)
            g_cond_wait(&e->turn, &e->lock);
        if (e->state == EVAL_QUIT)
            break;
        e->result = evaluate(e->s, &e->strip, e->to);
        e->state = EVAL_IDLE;
        g_cond_broadcast(&e->turn);
    }
    g_mutex_unlock(&e->lock);
    return NULL;
}

static int eval_ask(struct img_eval *e, const VipsRect *strip, void *to)
{
    g_mutex_lock(&e->lock);
    e->strip = *strip;
    e->to = to;
    e->state = EVAL_ASKED;
    g_cond_broadcast(&e->turn);
    while (e->state == EVAL_ASKED)
        g_cond_wait(&e->turn, &e->lock);
    int r = e->result;
    g_mutex_unlock(&e->lock);
    return r;
}

void img_eval_free(struct img_eval *e)
{
    if (!e)
        return;
    if (e->thread) {
        g_mutex_lock(&e->lock);
        e->state = EVAL_QUIT;
        g_cond_broadcast(&e->turn);
        g_mutex_unlock(&e->lock);
        g_thread_join(e->thread);
    }
    g_mutex_clear(&e->lock);
    g_cond_clear(&e->turn);
    free(e);
}

static int eval_start(struct op_job *job, struct img *s)
{
    s->eval = xcalloc(1, sizeof *s->eval);
    s->eval->s = s;
    g_mutex_init(&s->eval->lock);
    g_cond_init(&s->eval->turn);
    s->eval->thread = vips_g_thread_new("strips", eval_run, s->eval);
    return s->eval->thread ? 0 : img_fail(job, PWC__CODE__CODE_NO_MEMORY, NULL);
}

int img_open(struct op_job *job)
{
    struct img *s = img_state(job);
    img_begin();
    if (img_load_plan(job, s) < 0)
        return -1;
    s->view.cancel = job->cancel;
    if (build(job, s) < 0)
        return -1;
    if (!img_is_raw(job) && job->result_bytes < s->plan.geo.rows * s->plan.out_line)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "the plan does not fit the operation");
    if (eval_start(job, s) < 0)
        return -1;
    if (img_is_raw(job) && !(s->strip = calloc(s->plan.geo.rows, s->plan.out_line)))
        return op_fail(job, PWC__CODE__CODE_NO_MEMORY, "no memory for a strip of %llu bytes",
                       (unsigned long long)(s->plan.geo.rows * s->plan.out_line));
    return img_starved(job);
}

static int explain(struct op_job *job, struct img *s, uint64_t chunk)
{
    char text[256];
    Pwc__Code code = img_message(text, sizeof text, PWC__CODE__CODE_OP);
    if (op_cancelled(job))
        return op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
    if (s->view.beyond)
        return op_fail(job, PWC__CODE__CODE_INTERNAL, "strip %llu asked for more rows than the probe saw: %s",
                       (unsigned long long)chunk, text);
    return op_fail(job, code, "%s", text);
}

/* Raster and input are shared maps of files: what leaves stays in the cache, and whoever asks for it again
 * (a strip that is tried once more) finds it there. */
static void leave_rows(struct img *s, uint64_t chunk)
{
    uintptr_t from;
    uint64_t bytes = geometry_leave(&s->plan.geo, &s->trail, chunk, &from);
    if (bytes > 0)
        (void)madvise((void *)from, bytes, MADV_DONTNEED); /* a wish: without it all goes on */
}

/* In place. Where the file was cut off inside of a page there are zeros, and no fault tells. */
static int still_there(struct op_job *job, const struct img_plan *plan, uint64_t chunk)
{
    uint64_t end = plan->in_place + geometry_need(&plan->geo, chunk) * plan->line;
    struct stat st;
    if (plan->in_place == 0 || fstat(op_fd(job, "in"), &st) < 0 || (uint64_t)st.st_size >= end)
        return 0;
    return op_fail(job, PWC__CODE__CODE_INPUT_SHRANK, "in: the file became shorter while it was read");
}

int img_process(struct op_job *job, uint64_t chunk, void *result)
{
    struct img *s = job->state;
    const struct geometry *g = &s->plan.geo;
    if (chunk >= g->chunks)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "there is no strip %llu", (unsigned long long)chunk);
    VipsRect strip = {0, (int)(chunk * g->rows), (int)g->out_width, (int)geometry_rows_of(g, chunk)};
    s->view.limit = geometry_need(g, chunk);
    bool going = img_windowed(&s->plan, job->absorb) && s->plan.in_place == 0;
    s->view.first = going ? geometry_unneeded(g, chunk) : 0;
    s->view.beyond = false;
    img_begin();
    if (eval_ask(s->eval, &strip, s->strip ? s->strip : result) != 0)
        return explain(job, s, chunk);
    leave_rows(s, chunk);
    if (img_starved(job) < 0 || still_there(job, &s->plan, chunk) < 0)
        return -1;
    if (!s->strip)
        return 0;
    return img_pwrite(job, s->strip, (size_t)strip.height * s->plan.out_line,
                      (uint64_t)strip.top * s->plan.out_line);
}

/* Whatever an attempt that died has left there. The operation itself may be what cannot be built. */
int img_blank(struct op_job *job, uint64_t chunk, uint8_t byte)
{
    struct img_plan plan;
    if (img_plan_parse(job->plan, job->plan_len, &plan) < 0 || chunk >= plan.geo.chunks)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "there is no strip %llu", (unsigned long long)chunk);
    uint8_t some[16384];
    memset(some, byte, sizeof some);
    uint64_t at = chunk * plan.geo.rows * plan.out_line;
    uint64_t left = geometry_rows_of(&plan.geo, chunk) * plan.out_line;
    for (uint64_t n; left > 0; at += n, left -= n) {
        n = MIN(left, (uint64_t)sizeof some);
        if (img_pwrite(job, some, n, at) < 0)
            return -1;
    }
    return 0;
}
