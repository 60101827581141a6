/*
 * image_place.c - pixels that lie in the input as they would lie in the raster.
 *
 * An uncompressed TIFF, whose strips follow each other in this machine's byte order, is a raster with
 * something before and behind it: the workers map it, and nobody decodes it into scratch space. Decoding such
 * a file is two copies of it, which is a tenth of the time that a resize takes.
 *
 * Which files these are is read from the first directory, the one that the loader has read as well. All that
 * is not plain is left to the loader, and so is a file whose first row is not what the loader makes of it:
 * what a TIFF means is libvips' to say. The file may be anybody's, and may change while it is read.
 */
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "ipc/fds.h"
#include "worker/ops/image.h"

#define ENTRIES_MOST 128u

enum {
    TAG_WIDTH = 256,
    TAG_HEIGHT = 257,
    TAG_BITS = 258,
    TAG_COMPRESSION = 259,
    TAG_PHOTOMETRIC = 262,
    TAG_FILL_ORDER = 266,
    TAG_OFFSETS = 273,
    TAG_SAMPLES = 277,
    TAG_STRIP_ROWS = 278,
    TAG_BYTES = 279,
    TAG_PLANAR = 284,
    TAG_TILE_WIDTH = 322,
    TAG_TILE_LENGTH = 323,
    TAG_EXTRA = 338,
    TAG_SAMPLE_FORMAT = 339,
};

/* A directory in native byte order; `big`: BigTIFF. */
struct tiff {
    int fd;
    bool big;
    uint64_t entries;
    uint8_t bytes[ENTRIES_MOST * 20];
};

static uint64_t number(const uint8_t *p, size_t size)
{
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    if (size == 2)
        return memcpy(&two, p, sizeof two), two;
    if (size == 4)
        return memcpy(&four, p, sizeof four), four;
    memcpy(&eight, p, sizeof eight);
    return eight;
}

static size_t entry_size(const struct tiff *t)
{
    return t->big ? 20 : 12;
}

static bool tiff_open(struct tiff *t, int fd)
{
    static const uint16_t one = 1;
    uint8_t head[16];
    const char *native = *(const uint8_t *)&one == 1 ? "II" : "MM";
    *t = (struct tiff){.fd = fd};
    if (pread_all(fd, head, sizeof head, 0) < 0 || memcmp(head, native, 2) != 0)
        return false;
    uint64_t magic = number(head + 2, 2);
    t->big = magic == 43 && number(head + 4, 2) == 8;
    if (magic != 42 && !t->big)
        return false;
    uint64_t at = t->big ? number(head + 8, 8) : number(head + 4, 4);
    size_t size = t->big ? 8 : 2;
    if (at > INT64_MAX / 2 || pread_all(fd, head, size, at) < 0)
        return false;
    t->entries = number(head, size);
    return t->entries <= ENTRIES_MOST && pread_all(fd, t->bytes, t->entries * entry_size(t), at + size) == 0;
}

static const uint8_t *find(const struct tiff *t, uint16_t tag)
{
    for (uint64_t i = 0; i < t->entries; i++)
        if (number(t->bytes + i * entry_size(t), 2) == tag)
            return t->bytes + i * entry_size(t);
    return NULL;
}

/* A tag's `n` numbers, malloc'ed; NULL: it has not got so many, or not of a kind that counts. n 0: as many as
 * there are. */
static uint64_t *numbers(const struct tiff *t, uint16_t tag, uint64_t *n)
{
    const uint8_t *e = find(t, tag);
    if (!e)
        return NULL;
    uint64_t type = number(e + 2, 2), count = number(e + 4, t->big ? 8 : 4);
    size_t size = type == 3 ? 2 : type == 4 ? 4 : type == 16 ? 8 : 0, word = t->big ? 8 : 4;
    if (size == 0 || count == 0 || count > VIPS_MAX_COORD || (*n != 0 && count != *n))
        return NULL;
    AUTO_FREE uint8_t *raw = xcalloc(count, size);
    const uint8_t *value = e + 4 + word;
    uint64_t at = number(value, word);
    if (count * size <= word)
        memcpy(raw, value, count * size);
    else if (at > INT64_MAX / 2 || pread_all(t->fd, raw, count * size, at) < 0)
        return NULL;
    uint64_t *all = xcalloc(count, sizeof *all);
    for (uint64_t i = 0; i < count; i++)
        all[i] = number(raw + i * size, size);
    *n = count;
    return all;
}

/* Every number of the tag is `want`, and so is `def` where there is no such tag. */
static bool all_are(const struct tiff *t, uint16_t tag, uint64_t want, uint64_t def)
{
    uint64_t n = 0;
    if (!find(t, tag))
        return want == def;
    AUTO_FREE uint64_t *all = numbers(t, tag, &n);
    for (uint64_t i = 0; all && i < n; i++)
        if (all[i] != want)
            return false;
    return all != NULL;
}

static uint64_t sample_format(VipsBandFormat f)
{
    return vips_band_format_isuint(f) ? 1 : vips_band_format_isint(f) ? 2 : 3;
}

/* Numbers as they are: no colour that is converted, no alpha that was multiplied in, no planes, no tiles. */
static bool is_plain(const struct tiff *t, const VipsImage *im)
{
    uint64_t bits = 8 * (uint64_t)vips_format_sizeof(im->BandFmt);
    return im->Coding == VIPS_CODING_NONE && !vips_band_format_iscomplex(im->BandFmt) &&
           all_are(t, TAG_WIDTH, (uint64_t)im->Xsize, 0) && all_are(t, TAG_HEIGHT, (uint64_t)im->Ysize, 0) &&
           all_are(t, TAG_SAMPLES, (uint64_t)im->Bands, 1) && all_are(t, TAG_BITS, bits, 1) &&
           all_are(t, TAG_SAMPLE_FORMAT, sample_format(im->BandFmt), 1) &&
           (all_are(t, TAG_PHOTOMETRIC, 1, 0) || all_are(t, TAG_PHOTOMETRIC, 2, 0)) &&
           all_are(t, TAG_COMPRESSION, 1, 1) && all_are(t, TAG_FILL_ORDER, 1, 1) &&
           all_are(t, TAG_PLANAR, 1, 1) && !find(t, TAG_TILE_WIDTH) && !find(t, TAG_TILE_LENGTH) &&
           (!find(t, TAG_EXTRA) || all_are(t, TAG_EXTRA, 2, 2) || all_are(t, TAG_EXTRA, 0, 0));
}

/* Where the strips begin, if each begins where the one before it ends; 0: they do not. */
static uint64_t strips_begin(const struct tiff *t, const VipsImage *im)
{
    uint64_t one = 1, rows = (uint64_t)im->Ysize, line = img_line(im);
    AUTO_FREE uint64_t *high = numbers(t, TAG_STRIP_ROWS, &one);
    if (!high && find(t, TAG_STRIP_ROWS))
        return 0;
    uint64_t step = high && *high > 0 && *high < rows ? *high : rows;
    uint64_t n = (rows + step - 1) / step;
    AUTO_FREE uint64_t *at = numbers(t, TAG_OFFSETS, &n);
    AUTO_FREE uint64_t *bytes = numbers(t, TAG_BYTES, &n);
    if (!at || !bytes || at[0] > INT64_MAX / 2)
        return 0;
    for (uint64_t i = 0; i < n; i++)
        if (at[i] != at[0] + i * step * line || bytes[i] != MIN(step, rows - i * step) * line)
            return 0;
    return at[0];
}

/*
 * File systems of disks, whose pages are the kernel's cache. Mapped pages of a memory file count as its
 * stage's own, and an overlay may lie on one; a file of FUSE or of another machine may not be mappable, or
 * let a worker wait for it in its seat, for as long as somebody likes.
 */
static bool is_on_disk(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    switch ((unsigned long)fs.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}

static bool bytes_are(int fd, uint64_t at, const uint8_t *want, uint64_t len)
{
    uint8_t there[16384];
    for (uint64_t n; len > 0; at += n, want += n, len -= n) {
        n = MIN(len, (uint64_t)sizeof there);
        if (pread_all(fd, there, n, at) < 0 || memcmp(there, want, n) != 0)
            return false;
    }
    return true;
}

static bool first_row_lies_there(int fd, VipsImage *im, uint64_t at)
{
    VipsRegion *r = vips_region_new(im);
    VipsRect row = {0, 0, im->Xsize, 1};
    bool same = r && vips_region_prepare(r, &row) == 0 && bytes_are(fd, at, img_addr(r, 0, 0), img_line(im));
    g_clear_object(&r);
    vips_error_clear();
    return same;
}

uint64_t img_pixels_lie_at(const struct op_job *job, const struct img_input *in)
{
    struct tiff t;
    int fd = op_fd(job, "in");
    VipsImage *im = in->image;
    uint64_t end, at = 0;
    if (job->nload > 0 || !is_on_disk(fd) || !tiff_open(&t, fd) || !is_plain(&t, im))
        return 0;
    at = strips_begin(&t, im);
    if (at == 0 || at % vips_format_sizeof(im->BandFmt) != 0 || !add_u64(at, img_bytes(im), &end) ||
        end > (uint64_t)in->size)
        return 0;
    return first_row_lies_there(fd, im, at) ? at : 0;
}
