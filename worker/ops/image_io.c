/*
 * image_io.c - a client's descriptors as libvips sources and targets.
 *
 * Both keep an offset of their own and use pread and pwrite alone: the shared file offset belongs to the
 * client. Subclasses rather than VipsSourceCustom, whose signals cost a marshalled call per read. Neither has
 * a descriptor that libvips knows of, so nothing is mapped or reopened behind our back; temporary targets
 * (TIFF pyramids) then lie in memory. What fails here is kept, because libvips only says "read error".
 */
#include <errno.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/ops/image.h"

typedef struct img_source {
    VipsSource parent;
    int fd; /* borrowed from the stage */
    int64_t pos, size;
    int64_t left; /* so much may still be read before it seems to end */
    Pwc__Code failure;
    const _Atomic uint32_t *cancel;
} ImgSource;
typedef VipsSourceClass ImgSourceClass;

typedef struct img_target {
    VipsTarget parent;
    int fd; /* borrowed */
    int64_t pos, end;
    int error;
} ImgTarget;
typedef VipsTargetClass ImgTargetClass;

GType img_source_get_type(void);
GType img_target_get_type(void);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
G_DEFINE_TYPE(ImgSource, img_source, VIPS_TYPE_SOURCE)
G_DEFINE_TYPE(ImgTarget, img_target, VIPS_TYPE_TARGET)
#pragma GCC diagnostic pop

static int64_t moved(int64_t pos, int64_t end, int64_t offset, int whence)
{
    int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? pos : end, to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0) {
        errno = EINVAL;
        return -1;
    }
    return to;
}

/*
 * A failure looks like the end of the file: libtiff takes the -1 of a read that failed for a count, and
 * clears memory from one byte before its buffer. Whoever drives a source asks it for its failure in the end.
 */
static gint64 source_read(VipsSource *source, void *data, size_t length)
{
    ImgSource *s = (ImgSource *)source;
    if (atomic_load_explicit(s->cancel, memory_order_relaxed) != 0)
        s->failure = PWC__CODE__CODE_CANCELLED;
    if (s->failure != PWC__CODE__CODE_OK || s->pos >= s->size || s->left <= 0 || length == 0)
        return 0;
    int64_t n = MIN((int64_t)MIN(length, (size_t)INT64_MAX), MIN(s->size - s->pos, s->left));
    int r = pread_all(s->fd, data, (size_t)n, (uint64_t)s->pos); /* libtiff takes less for a damaged file */
    if (r < 0) {
        s->failure = r == -ENODATA ? PWC__CODE__CODE_INPUT_SHRANK : PWC__CODE__CODE_INPUT_IO;
        return 0;
    }
    s->pos += n;
    s->left -= s->left < INT64_MAX ? n : 0;
    return n;
}

static gint64 source_seek(VipsSource *source, gint64 offset, int whence)
{
    ImgSource *s = (ImgSource *)source;
    int64_t to = moved(s->pos, s->size, offset, whence);
    if (to >= 0)
        s->pos = to;
    return to;
}

static void img_source_class_init(ImgSourceClass *c)
{
    c->read = source_read;
    c->seek = source_seek;
}

static void img_source_init(ImgSource *s)
{
    s->fd = -1;
}

VipsSource *img_source_new(int fd, int64_t size, const _Atomic uint32_t *cancel)
{
    ImgSource *s = g_object_new(img_source_get_type(), NULL);
    s->fd = fd;
    s->size = size;
    s->left = INT64_MAX;
    s->cancel = cancel;
    if (vips_object_build(VIPS_OBJECT(s)) != 0) {
        g_object_unref(s);
        return NULL;
    }
    return VIPS_SOURCE(s);
}

void img_source_limit(VipsSource *s, int64_t bytes)
{
    ((ImgSource *)s)->left = bytes;
}

Pwc__Code img_source_failure(VipsSource *s)
{
    return s ? ((ImgSource *)s)->failure : PWC__CODE__CODE_OK;
}

static gint64 target_write(VipsTarget *target, const void *data, size_t length)
{
    ImgTarget *t = (ImgTarget *)target;
    ssize_t n;
    do
        n = pwrite(t->fd, data, length, t->pos);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        t->error = t->error ? t->error : errno;
        return -1;
    }
    t->pos += n;
    t->end = MAX(t->end, t->pos);
    return n;
}

/* libtiff reads back what it wrote when it has several pages. */
static gint64 target_read(VipsTarget *target, void *data, size_t length)
{
    ImgTarget *t = (ImgTarget *)target;
    int64_t n = MIN((int64_t)MIN(length, (size_t)INT64_MAX), MAX(t->end - t->pos, 0));
    if (pread_all(t->fd, data, (size_t)n, (uint64_t)t->pos) < 0)
        return -1;
    t->pos += n;
    return n;
}

static off_t target_seek(VipsTarget *target, off_t offset, int whence)
{
    ImgTarget *t = (ImgTarget *)target;
    int64_t to = moved(t->pos, t->end, offset, whence);
    if (to >= 0)
        t->pos = to;
    return to;
}

static int target_end(VipsTarget *target)
{
    return ((ImgTarget *)target)->error != 0 ? -1 : 0;
}

static void img_target_class_init(ImgTargetClass *c)
{
    c->write = target_write;
    c->read = target_read;
    c->seek = target_seek;
    c->end = target_end;
}

static void img_target_init(ImgTarget *t)
{
    t->fd = -1;
}

VipsTarget *img_target_new(int fd)
{
    ImgTarget *t = g_object_new(img_target_get_type(), NULL);
    t->fd = fd;
    if (vips_object_build(VIPS_OBJECT(t)) != 0) {
        g_object_unref(t);
        return NULL;
    }
    return VIPS_TARGET(t);
}

int img_target_errno(VipsTarget *t)
{
    return ((ImgTarget *)t)->error;
}

uint64_t img_target_bytes(VipsTarget *t)
{
    return (uint64_t)((ImgTarget *)t)->end;
}
