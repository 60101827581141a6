/*
 * image_blob.c - the plan as bytes and back.
 *
 * Written by the planner, which has just parsed a stranger's file and may have been taken over by it, read by
 * workers and the consumer: every length is checked against what is left, every number against its range,
 * before use. Native byte order: both ends are the same program.
 *
 *   header, geometry, row sizes, mask (u32 length, bytes), metadata until the end:
 *   u8 type, u16 length of name, name and NUL, u32 length of value, value
 */
#include <errno.h>
#include <string.h>

#include "worker/ops/image.h"

#define MAGIC 0x31676d69u

struct fixed {
    uint32_t magic, mask_len;
    struct img_header head;
    struct geometry geo;
    uint64_t line, out_line, in_place;
};

enum meta_type { META_INT = 1, META_DOUBLE, META_TEXT, META_BLOB, META_INTS, META_DOUBLES };

void img_header_of(const VipsImage *im, struct img_header *ret)
{
    *ret = (struct img_header){.width = im->Xsize,
                               .height = im->Ysize,
                               .bands = im->Bands,
                               .format = im->BandFmt,
                               .coding = im->Coding,
                               .type = im->Type,
                               .xoffset = im->Xoffset,
                               .yoffset = im->Yoffset,
                               .xres = im->Xres,
                               .yres = im->Yres};
}

struct packing {
    GByteArray *bytes;
    bool full; /* more than a plan may have: what is there is of no use */
};

static void put(struct packing *out, const void *data, size_t len)
{
    out->full = out->full || len > OP_PLAN_MAX - out->bytes->len;
    if (!out->full)
        g_byte_array_append(out->bytes, data, (guint)len);
}

static void put_meta(struct packing *out, enum meta_type type, const char *name, const void *data, size_t len)
{
    uint8_t t = (uint8_t)type;
    uint16_t n = (uint16_t)strlen(name);
    uint32_t l = (uint32_t)len;
    put(out, &t, sizeof t);
    put(out, &n, sizeof n);
    put(out, name, n + 1u);
    put(out, &l, sizeof l);
    put(out, data, len);
}

/* Header fields come through the same map as metadata; they are packed already. */
static bool is_header(const char *name)
{
    static const char *const names[] = {"width",   "height",  "bands", "format", "coding",  "interpretation",
                                        "xoffset", "yoffset", "xres",  "yres",   "filename"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    /* The raster can be read in any order, whatever the file could. */
    return strcmp(name, VIPS_META_SEQUENTIAL) == 0 || strlen(name) > UINT16_MAX;
}

static void put_area(struct packing *out, enum meta_type type, const char *name, const GValue *v)
{
    size_t len = 0;
    int n = 0;
    const void *data;
    if (type == META_BLOB)
        data = vips_value_get_blob(v, &len);
    else if (type == META_INTS)
        data = vips_value_get_array_int(v, &n);
    else
        data = vips_value_get_array_double(v, &n);
    if (type != META_BLOB)
        len = (size_t)n * (type == META_INTS ? sizeof(int) : sizeof(double));
    if (data && len < UINT32_MAX)
        put_meta(out, type, name, data, len);
}

static void *pack_field(VipsImage *im, const char *name, GValue *v, void *a)
{
    (void)im;
    struct packing *out = a;
    if (is_header(name))
        return NULL;
    GType type = G_VALUE_TYPE(v);
    if (type == G_TYPE_INT) {
        int i = g_value_get_int(v);
        put_meta(out, META_INT, name, &i, sizeof i);
    } else if (type == G_TYPE_DOUBLE) {
        double d = g_value_get_double(v);
        put_meta(out, META_DOUBLE, name, &d, sizeof d);
    } else if (type == VIPS_TYPE_REF_STRING) {
        const char *s = vips_value_get_ref_string(v, NULL);
        put_meta(out, META_TEXT, name, s, strlen(s) + 1);
    } else if (type == G_TYPE_STRING && g_value_get_string(v)) {
        const char *s = g_value_get_string(v);
        put_meta(out, META_TEXT, name, s, strlen(s) + 1);
    } else if (type == VIPS_TYPE_BLOB) {
        put_area(out, META_BLOB, name, v);
    } else if (type == VIPS_TYPE_ARRAY_INT) {
        put_area(out, META_INTS, name, v);
    } else if (type == VIPS_TYPE_ARRAY_DOUBLE) {
        put_area(out, META_DOUBLES, name, v);
    }
    return NULL;
}

int img_plan_pack(const struct img_plan *plan, VipsImage *in, void **ret_blob, size_t *ret_len)
{
    struct fixed f;
    memset(&f, 0, sizeof f); /* padding too: the plan is a function of the job */
    f.magic = MAGIC;
    f.mask_len = (uint32_t)plan->mask_len;
    f.head = plan->head;
    f.geo = plan->geo;
    f.line = plan->line;
    f.out_line = plan->out_line;
    f.in_place = plan->in_place;
    struct packing out = {.bytes = g_byte_array_new()};
    put(&out, &f, sizeof f);
    put(&out, plan->mask, plan->mask_len);
    vips_image_map(in, pack_field, &out);
    if (!out.full) {
        *ret_len = out.bytes->len;
        *ret_blob = memcpy(xcalloc(1, out.bytes->len), out.bytes->data, out.bytes->len);
    }
    g_byte_array_free(out.bytes, TRUE);
    return out.full ? -E2BIG : 0;
}

static bool header_valid(const struct img_header *h, uint64_t line)
{
    if (h->width < 1 || h->height < 1 || h->bands < 1 || h->width > VIPS_MAX_COORD ||
        h->height > VIPS_MAX_COORD || h->format < 0 || h->format >= VIPS_FORMAT_LAST)
        return false;
    if (h->coding != VIPS_CODING_NONE && h->coding != VIPS_CODING_LABQ && h->coding != VIPS_CODING_RAD)
        return false;
    uint64_t pel, bytes;
    return mul_u64((uint64_t)h->bands, vips_format_sizeof((VipsBandFormat)h->format), &pel) &&
           mul_u64(pel, (uint64_t)h->width, &bytes) && bytes == line &&
           mul_u64(bytes, (uint64_t)h->height, &pel) && pel <= INT64_MAX;
}

int img_plan_parse(const void *blob, size_t len, struct img_plan *ret)
{
    struct fixed f;
    if (!blob || len < sizeof f)
        return -1;
    memcpy(&f, blob, sizeof f);
    if (f.magic != MAGIC || f.mask_len > len - sizeof f || f.mask_len > IMG_MASK_MAX)
        return -1;
    if (!header_valid(&f.head, f.line) || !geometry_valid(&f.geo) || f.geo.in_rows != (uint32_t)f.head.height)
        return -1;
    if (f.in_place > INT64_MAX - f.line * f.geo.in_rows)
        return -1;
    const uint8_t *p = (const uint8_t *)blob + sizeof f;
    *ret = (struct img_plan){.head = f.head,
                             .geo = f.geo,
                             .line = f.line,
                             .out_line = f.out_line,
                             .in_place = f.in_place,
                             .mask = f.mask_len ? p : NULL,
                             .mask_len = f.mask_len,
                             .meta = p + f.mask_len,
                             .meta_end = (const uint8_t *)blob + len};
    return 0;
}

/* One field, with its bounds checked. */
struct field {
    uint8_t type;
    const char *name;
    const uint8_t *data;
    uint32_t len;
};

static int next_field(const uint8_t **p, const uint8_t *end, struct field *ret)
{
    uint16_t n;
    if ((size_t)(end - *p) < 1 + sizeof n)
        return -1;
    ret->type = **p;
    memcpy(&n, *p + 1, sizeof n);
    *p += 1 + sizeof n;
    if ((size_t)(end - *p) < n + 1u + sizeof ret->len || (*p)[n] != '\0')
        return -1;
    ret->name = (const char *)*p;
    *p += n + 1u;
    memcpy(&ret->len, *p, sizeof ret->len);
    *p += sizeof ret->len;
    if ((size_t)(end - *p) < ret->len)
        return -1;
    ret->data = *p;
    *p += ret->len;
    return 0;
}

static int set_array(VipsImage *im, const struct field *f)
{
    size_t size = f->type == META_INTS ? sizeof(int) : sizeof(double), n = f->len / size;
    if (f->len % size != 0 || n > INT32_MAX)
        return -1;
    GValue v = G_VALUE_INIT;
    AUTO_FREE void *copy = xcalloc(n + 1, size); /* the plan's fields are not aligned */
    memcpy(copy, f->data, f->len);
    if (f->type == META_INTS) {
        g_value_init(&v, VIPS_TYPE_ARRAY_INT);
        vips_value_set_array_int(&v, copy, (int)n);
    } else {
        g_value_init(&v, VIPS_TYPE_ARRAY_DOUBLE);
        vips_value_set_array_double(&v, copy, (int)n);
    }
    vips_image_set(im, f->name, &v);
    g_value_unset(&v);
    return 0;
}

static int set_field(VipsImage *im, const struct field *f)
{
    int i;
    double d;
    switch (f->type) {
    case META_INT:
        if (f->len != sizeof i)
            return -1;
        memcpy(&i, f->data, sizeof i);
        vips_image_set_int(im, f->name, i);
        return 0;
    case META_DOUBLE:
        if (f->len != sizeof d)
            return -1;
        memcpy(&d, f->data, sizeof d);
        vips_image_set_double(im, f->name, d);
        return 0;
    case META_TEXT:
        if (f->len == 0 || f->data[f->len - 1] != '\0')
            return -1;
        vips_image_set_string(im, f->name, (const char *)f->data);
        return 0;
    case META_BLOB:
        vips_image_set_blob_copy(im, f->name, f->data, f->len);
        return 0;
    case META_INTS:
    case META_DOUBLES:
        return set_array(im, f);
    default:
        return -1;
    }
}

/* Sets the fields that are (or are not) the EXIF block. */
static int set_fields(const struct img_plan *plan, VipsImage *im, bool exif)
{
    struct field f;
    for (const uint8_t *p = plan->meta; p && p < plan->meta_end;) {
        if (next_field(&p, plan->meta_end, &f) < 0 || is_header(f.name))
            return -1;
        if ((strcmp(f.name, VIPS_META_EXIF_NAME) == 0) == exif && set_field(im, &f) < 0)
            return -1;
    }
    return 0;
}

static void set_header(const struct img_header *h, VipsImage *im)
{
    vips_image_init_fields(im, h->width, h->height, h->bands, (VipsBandFormat)h->format,
                           (VipsCoding)h->coding, (VipsInterpretation)h->type, h->xres, h->yres);
    im->Xoffset = h->xoffset;
    im->Yoffset = h->yoffset;
}

/*
 * Setting the EXIF block makes libvips parse it, and set resolution, orientation and more from it, which the
 * loader may have changed since: so the block comes first, what it brought along is dropped, and the header
 * comes last.
 */
int img_plan_dress(const struct img_plan *plan, VipsImage *im)
{
    set_header(&plan->head, im);
    if (set_fields(plan, im, true) < 0)
        return -1;
    gchar **names = vips_image_get_fields(im);
    for (gchar **n = names; *n; n++)
        if (!is_header(*n) && strcmp(*n, VIPS_META_EXIF_NAME) != 0)
            vips_image_remove(im, *n);
    g_strfreev(names);
    if (set_fields(plan, im, false) < 0)
        return -1;
    set_header(&plan->head, im);
    return 0;
}
