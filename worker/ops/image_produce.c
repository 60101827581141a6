/*
 * image_produce.c - the producer: decodes from the first row to the last into the raster and says which
 * chunks can be computed. Rows go through pwrite: a write through the map costs a fault a page. Where the
 * input itself is the raster (image_place.c) it only sees to it that rows are in memory before anybody is
 * given them: nobody waits for a disk in a seat.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/ops/image.h"

/* Decoded at a time: stays in the second-level cache until it is written. */
uint64_t img_read_bytes = 256u << 10;
/* A raster larger than this is a window: rows that all chunks have passed are given back. */
uint64_t img_window_bytes = 384u << 20;
/* In place: how far apart the bytes are whose coming is waited for. */
#define FETCH_STEP (64u << 10)

/* libvips' regions may have padding between rows only when they are parts of something wider. */
static int take_region(struct op_job *job, VipsRegion *r, const VipsRect *rect, img_rows_fn take, void *arg)
{
    size_t line = img_line(r->im);
    if ((size_t)r->bpl == line)
        return take(job, (uint32_t)rect->top, (uint32_t)rect->height, img_addr(r, 0, rect->top), arg);
    for (int y = 0; y < rect->height; y++)
        if (take(job, (uint32_t)(rect->top + y), 1, img_addr(r, 0, rect->top + y), arg) < 0)
            return -1;
    return 0;
}

int img_read_rows(struct op_job *job, struct img_input *in, img_rows_fn take, void *arg)
{
    VipsImage *im = in->image;
    VipsRegion *r = vips_region_new(im);
    if (!r)
        return img_fail(job, PWC__CODE__CODE_NO_MEMORY, NULL);
    int step = (int)geometry_at_once(img_line(im), img_read_bytes), result = 0;
    for (int y = 0; y < im->Ysize && result == 0; y += step) {
        VipsRect rect = {0, y, im->Xsize, MIN(step, im->Ysize - y)};
        if (op_cancelled(job))
            result = op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
        else if (vips_region_prepare(r, &rect) != 0)
            result = img_fail(job, PWC__CODE__CODE_BAD_INPUT, in->source);
        else
            result = take_region(job, r, &rect, take, arg);
    }
    g_object_unref(r);
    /* A loader that tolerates truncation has not noticed. */
    if (result == 0 && img_source_failure(in->source) != PWC__CODE__CODE_OK)
        result = img_fail(job, PWC__CODE__CODE_BAD_INPUT, in->source);
    return result < 0 ? result : img_starved(job);
}

static int write_rows(struct op_job *job, uint64_t line, uint32_t first, uint32_t n, const void *data)
{
    const char *p = data;
    uint64_t at = first * line, left = n * line;
    while (left > 0) {
        ssize_t w = pwrite(job->raster_fd, p, left, (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return op_fail(job, PWC__CODE__CODE_NO_MEMORY, "scratch file: %s", strerror(errno));
        p += w;
        at += (uint64_t)w;
        left -= (uint64_t)w;
    }
    return 0;
}

bool img_windowed(const struct img_plan *plan, Pwc__Absorb absorb)
{
    return absorb == PWC__ABSORB__ABSORB_SERIAL && !plan->geo.all &&
           plan->line * plan->geo.in_rows > img_window_bytes;
}

struct progress {
    uint64_t announced, released; /* chunks */
    uint64_t dropped;             /* bytes of the raster given back */
};

/* Rows below `rows`, the first that is not written yet, that no chunk will ask for again. */
static uint32_t passed(const struct img_plan *plan, const struct progress *p, uint32_t rows)
{
    return MIN(rows, geometry_unneeded(&plan->geo, p->released));
}

/* Gives them back: pages that are gone are never written to the disk. */
static void drop_rows(struct op_job *job, const struct img_plan *plan, struct progress *p, uint32_t rows)
{
    if (plan->in_place)
        return; /* it is the client's file */
    uint64_t end = passed(plan, p, rows) * plan->line;
    end -= end % IMG_DROP_STEP;
    if (end <= p->dropped)
        return;
    if (fallocate(job->raster_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)p->dropped,
                  (off_t)(end - p->dropped)) == 0)
        p->dropped = end;
}

/* Keeps the rows that are written and still wanted within the window. Waiting is safe only while a chunk that
 * was announced is not absorbed yet. */
static int keep_window(struct op_job *job, const struct img_plan *plan, struct progress *p, uint32_t rows)
{
    if (op_released(job, false, &p->released) < 0)
        return -1;
    drop_rows(job, plan, p, rows);
    while ((rows - passed(plan, p, rows)) * plan->line > img_window_bytes && p->released < p->announced) {
        if (op_released(job, true, &p->released) < 0)
            return -1;
        drop_rows(job, plan, p, rows);
    }
    return 0;
}

/* Rows below `rows` can be read now. */
static int rows_are_there(struct op_job *job, struct progress *p, uint32_t rows)
{
    struct img *s = job->state;
    uint64_t ready = geometry_ready(&s->plan.geo, rows);
    if (ready > p->announced) {
        p->announced = ready;
        if (op_announce(job, ready) < 0)
            return -1;
    }
    return img_windowed(&s->plan, job->absorb) ? keep_window(job, &s->plan, p, rows) : 0;
}

static int produced(struct op_job *job, uint32_t first, uint32_t n, const void *data, void *arg)
{
    struct img *s = job->state;
    return write_rows(job, s->plan.line, first, n, data) < 0 ? -1 : rows_are_there(job, arg, first + n);
}

/* Brings a part of the input into memory. A byte here and there is waited for: the kernel reads more than a
 * page at a time, and what is missing all the same costs a worker a wait. */
static int fetch(struct op_job *job, uint64_t at, uint64_t end)
{
    int fd = op_fd(job, "in");
    posix_fadvise(fd, (off_t)at, (off_t)(end - at), POSIX_FADV_WILLNEED);
    for (; at < end; at += FETCH_STEP) {
        char byte;
        int r = pread_all(fd, &byte, 1, MIN(at + FETCH_STEP, end) - 1);
        if (r == -ENODATA)
            return op_fail(job, PWC__CODE__CODE_INPUT_SHRANK,
                           "in: the file became shorter while it was read");
        if (r < 0)
            return op_fail(job, PWC__CODE__CODE_INPUT_IO, "in: reading failed");
    }
    return 0;
}

static int produce_in_place(struct op_job *job, struct progress *p)
{
    const struct img_plan *plan = &((struct img *)job->state)->plan;
    const uint32_t rows = plan->geo.in_rows;
    const uint32_t step = geometry_at_once(plan->line, img_read_bytes);
    for (uint32_t y = 0, next; y < rows; y = next) {
        next = y + MIN(step, rows - y);
        if (op_cancelled(job))
            return op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
        if (fetch(job, plan->in_place + y * plan->line, plan->in_place + next * plan->line) < 0 ||
            rows_are_there(job, p, next) < 0)
            return -1;
    }
    return 0;
}

int img_produce(struct op_job *job)
{
    struct img *s = img_state(job);
    struct progress progress = {0};
    if (img_plan_parse(job->plan, job->plan_len, &s->plan) < 0)
        return op_fail(job, PWC__CODE__CODE_PROTOCOL, "the plan of this job is damaged");
    if (s->plan.in_place) {
        img_input_close(&s->in);
        /* What the loader has read ahead, some strips of a wide picture, the heap would keep until the job's
         * end. */
        if (img_windowed(&s->plan, job->absorb))
            malloc_trim(0);
        return produce_in_place(job, &progress);
    }
    if (!s->in.image) { /* a producer that is asked again reads again */
        img_begin();
        if (img_input_open(job, &s->in) < 0)
            return -1;
    }
    int r = img_read_rows(job, &s->in, produced, &progress);
    img_input_close(&s->in);
    return r;
}
