/*
 * image_load.c - the input: descriptor, loader, header, budget; and the mask.
 *
 * Everything here happens before a pixel is decoded. Only libvips' trusted loaders run (ops_image_start
 * blocks the others); for the rest a look at the first bytes tells the user which format it was.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/ops/image.h"

#define ACCEPTED "JPEG, PNG, TIFF, WebP, GIF and HEIF are"

static int wrong_kind(struct op_job *job, const char *role, mode_t mode)
{
    const char *kind = S_ISDIR(mode)    ? "a directory"
                       : S_ISFIFO(mode) ? "a pipe"
                       : S_ISSOCK(mode) ? "a socket"
                                        : "a device";
    return op_fail(job, PWC__CODE__CODE_BAD_DESCRIPTOR,
                   "%s: is %s; a regular file or a memory file is wanted", role, kind);
}

int img_source_open(struct op_job *job, const char *role, int64_t max, VipsSource **ret_source,
                    int64_t *ret_size)
{
    struct stat st;
    int fd = op_fd(job, role);
    if (fd < 0)
        return op_fail(job, PWC__CODE__CODE_BAD_DESCRIPTOR, "%s: no file was given", role);
    if (fstat(fd, &st) < 0)
        return op_fail(job, PWC__CODE__CODE_INPUT_IO, "%s: %s", role, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return wrong_kind(job, role, st.st_mode);
    if (st.st_size == 0)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT, "%s: empty file", role);
    if (st.st_size > max)
        return op_fail(job, PWC__CODE__CODE_BUDGET, "%s: %lld bytes are more than the limit of %lld", role,
                       (long long)st.st_size, (long long)max);
    VipsSource *s = img_source_new(fd, st.st_size, job->cancel);
    if (!s)
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    *ret_source = s;
    if (ret_size)
        *ret_size = st.st_size;
    return 0;
}

int img_fail(struct op_job *job, Pwc__Code code, VipsSource *source)
{
    char text[512];
    code = img_message(text, sizeof text, code);
    switch ((int)img_source_failure(source)) {
    case PWC__CODE__CODE_INPUT_SHRANK:
        return op_fail(job, PWC__CODE__CODE_INPUT_SHRANK, "in: the file became shorter while it was read");
    case PWC__CODE__CODE_INPUT_IO:
        return op_fail(job, PWC__CODE__CODE_INPUT_IO, "in: reading failed");
    case PWC__CODE__CODE_CANCELLED:
        return op_fail(job, PWC__CODE__CODE_CANCELLED, "cancelled");
    default:
        if (code == PWC__CODE__CODE_BAD_INPUT)
            return op_fail(job, code, "in: cannot be decoded: %s", *text ? text : "damaged or truncated");
        return op_fail(job, code, "%s", *text ? text : "libvips failed and gave no reason");
    }
}

/* Its words seldom say what they were about: "bad extract area". */
int img_refused(struct op_job *job, const VipsImage *in)
{
    char text[400];
    Pwc__Code code = img_message(text, sizeof text, PWC__CODE__CODE_OP);
    return op_fail(job, code, "%s (in: %d x %d pixels, %d %s of %s)",
                   *text ? text : "libvips failed and gave no reason", in->Xsize, in->Ysize, in->Bands,
                   in->Bands == 1 ? "band" : "bands", vips_enum_nick(VIPS_TYPE_BAND_FORMAT, in->BandFmt));
}

/* Formats that libvips reads but does not vouch for: what their files begin with. */
struct magic {
    const char *name;
    uint8_t len;
    const char *bytes;
};
static const struct magic refused[] = {
    {"PDF", 5, "%PDF-"},
    {"SVG", 4, "<svg"},
    {"XML or SVG", 5, "<?xml"},
    {"gzip (compressed SVG?)", 2, "\x1f\x8b"},
    {"VIPS", 4, "\x08\xf2\xa6\xb6"},
    {"VIPS", 4, "\xb6\xa6\xf2\x08"},
    {"PPM", 2, "P1"},
    {"PPM", 2, "P2"},
    {"PPM", 2, "P3"},
    {"PPM", 2, "P4"},
    {"PPM", 2, "P5"},
    {"PPM", 2, "P6"},
    {"PFM", 2, "PF"},
    {"PFM", 2, "Pf"},
    {"JPEG XL", 2, "\xff\x0a"},
    {"JPEG XL", 12, "\0\0\0\x0cJXL \x0d\x0a\x87\x0a"},
    {"JPEG 2000", 12, "\0\0\0\x0cjP  \x0d\x0a\x87\x0a"},
    {"JPEG 2000", 4, "\xff\x4f\xff\x51"},
    {"OpenEXR", 4, "\x76\x2f\x31\x01"},
    {"FITS", 6, "SIMPLE"},
    {"Radiance", 10, "#?RADIANCE"},
    {"Radiance", 6, "#?RGBE"},
    {"BMP", 2, "BM"},
    {"Photoshop", 4, "8BPS"},
};

/* Formats that are read: no loader wants the file, so something is wrong with this one. */
static const struct magic damaged[] = {
    {"TIFF", 4, "II*\0"},    {"TIFF", 4, "MM\0*"},  {"BigTIFF", 4, "II+\0"}, {"BigTIFF", 4, "MM\0+"},
    {"JPEG", 2, "\xff\xd8"}, {"PNG", 4, "\x89PNG"}, {"GIF", 4, "GIF8"},      {"WebP", 4, "RIFF"},
};

static const char *name_of(const struct magic *list, size_t n, const char *head, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (len >= list[i].len && memcmp(head, list[i].bytes, list[i].len) == 0)
            return list[i].name;
    return NULL;
}

static int refuse(struct op_job *job)
{
    char head[16] = {0};
    ssize_t n = pread(op_fd(job, "in"), head, sizeof head, 0);
    size_t len = n > 0 ? (size_t)n : 0;
    const char *name = name_of(refused, ARRAY_LEN(refused), head, len);
    if (name)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT, "in: %s files are not accepted; " ACCEPTED, name);
    name = name_of(damaged, ARRAY_LEN(damaged), head, len);
    if (name)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT, "in: a damaged or truncated %s file", name);
    return op_fail(job, PWC__CODE__CODE_BAD_INPUT, "in: not an image that can be read; " ACCEPTED);
}

/* Some loaders look for the end of the first line, which a hole of a terabyte does not have. */
#define SNIFF_BYTES (16 << 20)

/* Its directory is read to the end, with whatever an editor has left there: metadata, layers. */
static bool is_large_tiff(struct op_job *job, VipsSource *s)
{
    char head[4] = {0};
    if (pread(op_fd(job, "in"), head, sizeof head, 0) != sizeof head)
        return false;
    const char *name = name_of(damaged, ARRAY_LEN(damaged), head, sizeof head);
    return name && g_str_has_suffix(name, "TIFF") && vips_foreign_is_a_source("tiffload_source", s);
}

int img_find_loader(struct op_job *job, VipsSource *s, const char **ret_class)
{
    img_source_limit(s, SNIFF_BYTES);
    const char *class = vips_foreign_find_load_source(s);
    img_source_limit(s, INT64_MAX);
    if (!class && is_large_tiff(job, s)) {
        vips_error_clear();
        class = "VipsForeignLoadTiffSource";
    }
    if (!class) {
        if (img_source_failure(s) != PWC__CODE__CODE_OK)
            return img_fail(job, PWC__CODE__CODE_BAD_INPUT, s);
        vips_error_clear();
        return refuse(job);
    }
    /* Some loaders are found though they are blocked. */
    const VipsOperationClass *c = g_type_class_ref(g_type_from_name(class));
    if (!c || (c->flags & (VIPS_OPERATION_UNTRUSTED | VIPS_OPERATION_BLOCKED)))
        return refuse(job);
    /* Any text that begins with two numbers is a matrix of that size: a table would be a picture of something
     * else. */
    if (g_str_has_prefix(class, "VipsForeignLoadMatrix") && !img_family(job)->matrix)
        return refuse(job);
    *ret_class = class;
    return 0;
}

/* These loaders keep the whole file in memory. */
static bool maps_file(const char *class)
{
    return g_str_has_prefix(class, "VipsForeignLoadWebp") || g_str_has_prefix(class, "VipsForeignLoadNsgif");
}

int img_budget(struct op_job *job, const char *role, const VipsImage *im)
{
    uint64_t w = (uint64_t)im->Xsize, h = (uint64_t)im->Ysize, pixels, bytes;
    const struct op_budget *b = &job->budget;
    if (!mul_u64(w, h, &pixels) || !mul_u64(pixels, img_pel(im), &bytes))
        return op_fail(job, PWC__CODE__CODE_BUDGET, "%s: %llu x %llu pixels cannot be counted", role,
                       (unsigned long long)w, (unsigned long long)h);
    if (b->pixels && pixels > b->pixels)
        return op_fail(job, PWC__CODE__CODE_BUDGET,
                       "%s: %llu x %llu pixels are more than the limit of %llu (max_pixels)", role,
                       (unsigned long long)w, (unsigned long long)h, (unsigned long long)b->pixels);
    if (b->bytes && bytes > b->bytes)
        return op_fail(job, PWC__CODE__CODE_BUDGET,
                       "%s: %llu x %llu pixels make %llu bytes, more than the limit of %llu (max_bytes)",
                       role, (unsigned long long)w, (unsigned long long)h, (unsigned long long)bytes,
                       (unsigned long long)b->bytes);
    int frames = im->Ysize / MAX(1, vips_image_get_page_height((VipsImage *)im));
    if (b->frames && (uint32_t)frames > b->frames)
        return op_fail(job, PWC__CODE__CODE_BUDGET,
                       "%s: %d frames are more than the limit of %u (max_frames)", role, frames, b->frames);
    return 0;
}

static bool load_option(const struct op_job *job, const char *name)
{
    for (size_t i = 0; i < job->nload; i++)
        if (strcmp(job->load[i]->name, name) == 0)
            return true;
    return false;
}

/* Builds the loader, which reads the header. */
static int load_header(struct op_job *job, const char *class, struct img_input *in)
{
    GType type = g_type_from_name(class);
    if (type == 0)
        return op_fail(job, PWC__CODE__CODE_INTERNAL, "in: loader %s is not there", class);
    VipsObject *o = g_object_new(type, NULL);
    g_object_set(o, "source", in->source, "access", VIPS_ACCESS_SEQUENTIAL, NULL);
    /* libvips would fill what is missing with grey; a user wants to know. */
    if (!load_option(job, "fail_on"))
        g_object_set(o, "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
    int r = img_set_args(job, o, job->load, job->nload, "load");
    if (r == 0 && (vips_object_build(o) != 0 || img_source_failure(in->source) != PWC__CODE__CODE_OK))
        r = img_fail(job, PWC__CODE__CODE_BAD_INPUT, in->source);
    if (r == 0)
        g_object_get(o, "out", &in->image, NULL);
    vips_object_unref_outputs(o);
    g_object_unref(o);
    return r;
}

/*
 * A profile that came as a descriptor takes the place of the image's own: the colour operations then use it
 * as they use an embedded one, and it goes the way of all metadata, through the plan to the workers.
 */
static int attach_profile(struct op_job *job, struct img_input *in)
{
    AUTO_FREE void *data = NULL;
    size_t len = 0;
    if (!img_family(job)->profile || op_fd(job, "profile") < 0)
        return 0;
    if (img_small_read(job, "profile", IMG_PROFILE_MAX, &data, &len) < 0)
        return -1;
    if (len < 132 || memcmp((const char *)data + 36, "acsp", 4) != 0)
        return op_fail(job, PWC__CODE__CODE_BAD_INPUT, "profile: not an ICC profile");
    VipsImage *copy = NULL;
    if (vips_copy(in->image, &copy, NULL) != 0)
        return img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    vips_image_set_blob_copy(copy, VIPS_META_ICC_NAME, data, len);
    g_object_unref(in->image);
    in->image = copy;
    return 0;
}

int img_input_open(struct op_job *job, struct img_input *ret)
{
    struct img_input in = {0};
    const char *class = NULL;
    int r = img_source_open(job, "in", INT64_MAX, &in.source, &in.size);
    if (r == 0)
        r = img_find_loader(job, in.source, &class);
    if (r == 0 && maps_file(class) && job->budget.bytes && (uint64_t)in.size > job->budget.bytes)
        r = op_fail(job, PWC__CODE__CODE_BUDGET, "in: %lld bytes are more than the limit of %llu (max_bytes)",
                    (long long)in.size, (unsigned long long)job->budget.bytes);
    if (r == 0)
        r = load_header(job, class, &in);
    if (r == 0)
        r = img_budget(job, "in", in.image);
    if (r == 0)
        r = attach_profile(job, &in);
    if (r < 0) {
        img_input_close(&in);
        return r;
    }
    *ret = in;
    return 0;
}

void img_input_close(struct img_input *in)
{
    g_clear_object(&in->image);
    g_clear_object(&in->source);
}

int img_small_read(struct op_job *job, const char *role, int64_t most, void **ret_data, size_t *ret_len)
{
    VipsSource *s = NULL;
    int64_t size = 0;
    if (img_source_open(job, role, most, &s, &size) < 0)
        return -1;
    g_object_unref(s); /* it was the checks we wanted */
    AUTO_FREE char *data = xcalloc(1, (size_t)size);
    int r = pread_all(op_fd(job, role), data, (size_t)size, 0);
    if (r == -ENODATA)
        return op_fail(job, PWC__CODE__CODE_INPUT_SHRANK, "%s: the file became shorter while it was read",
                       role);
    if (r < 0)
        return op_fail(job, PWC__CODE__CODE_INPUT_IO, "%s: %s", role, strerror(-r));
    *ret_data = TAKE_PTR(data);
    *ret_len = (size_t)size;
    return 0;
}

/* Rows of numbers separated by commas, semicolons, spaces or tabs, as `vips` reads *.csv. */
static VipsImage *parse_csv(const char *data, size_t len)
{
    GArray *v = g_array_new(FALSE, FALSE, sizeof(double));
    AUTO_FREE char *text = xcalloc(1, len + 1);
    memcpy(text, data, len);
    int width = 0, height = 0;
    bool ok = strlen(text) == len; /* no zero bytes */
    char *rest = text;
    for (char *line = strsep(&rest, "\r\n"); ok && line; line = strsep(&rest, "\r\n")) {
        int n = 0;
        for (char *word = strsep(&line, ",; \t"); ok && word; word = strsep(&line, ",; \t")) {
            if (*word == '\0')
                continue;
            char *end;
            double d = g_ascii_strtod(word, &end);
            ok = *end == '\0' && v->len < IMG_MASK_PIXELS;
            g_array_append_val(v, d);
            n++;
        }
        if (n == 0)
            continue;
        ok = ok && (height == 0 || n == width);
        width = n;
        height++;
    }
    VipsImage *im = NULL;
    if (ok && height > 0)
        im = vips_image_new_matrix_from_array(width, height, (double *)(void *)v->data, (int)v->len);
    g_array_free(v, TRUE);
    return im;
}

/* A matrix or an image in one of the accepted formats, in memory. */
static VipsImage *parse_image(const void *data, size_t len)
{
    VipsImage *lazy = NULL, *im = NULL;
    VipsSource *s = vips_source_new_from_memory(data, len);
    if (s && vips_foreign_find_load_source(s))
        lazy = vips_image_new_from_source(s, "", "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
    if (lazy && (uint64_t)lazy->Xsize * (uint64_t)lazy->Ysize <= IMG_MASK_PIXELS)
        im = vips_image_copy_memory(lazy);
    g_clear_object(&lazy);
    g_clear_object(&s);
    return im;
}

int img_mask_parse(struct op_job *job, const char *role, const void *data, size_t len, VipsImage **ret)
{
    VipsImage *im = parse_image(data, len);
    if (!im)
        im = parse_csv(data, len);
    vips_error_clear();
    if (!im)
        return op_fail(
            job, PWC__CODE__CODE_BAD_INPUT,
            "%s: not a matrix (\"3 3\" and 9 numbers, or rows of comma-separated numbers) or image of up "
            "to %u pixels",
            role, IMG_MASK_PIXELS);
    *ret = im;
    return 0;
}
