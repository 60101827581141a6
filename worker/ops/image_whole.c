/*
 * image_whole.c - everything in one process: small images, a batch's items, operations that cannot be cut,
 * and thumbnails, whose loader decodes at the size it needs.
 *
 * The input is decoded first and in one go, from the top: then the operation may read it in any order, and a
 * damaged file is told from a failing operation. A large one goes into the scratch file, whose pages the
 * kernel can write out; where there is none (a batch's items) the budget bounds the memory.
 */
#include <string.h>

#include "worker/ops/image.h"

/* Up to this a decoded image lies in ordinary memory. */
#define MEMORY_MOST (64u << 20)

struct pixels {
    void *data;
    uint64_t bytes;
    void *own; /* to be freed; NULL: it lies in the scratch file */
};

static int pixels_new(struct op_job *job, uint64_t bytes, struct pixels *p)
{
    *p = (struct pixels){.bytes = bytes};
    if (bytes > MEMORY_MOST && job->raster_fd >= 0) {
        p->data = op_map_scratch(job, bytes);
        return p->data ? 0 : -1;
    }
    p->data = p->own = malloc(bytes);
    if (!p->data)
        return op_fail(job, PWC__CODE__CODE_NO_MEMORY, "in: its %llu MiB of pixels do not fit memory",
                       (unsigned long long)(bytes >> 20));
    return 0;
}

struct decoding {
    uint8_t *to;
    uint64_t line;
};

static int decoded(struct op_job *job, uint32_t first, uint32_t n, const void *data, void *arg)
{
    (void)job;
    const struct decoding *d = arg;
    memcpy(d->to + first * d->line, data, n * d->line);
    return 0;
}

static int run_op(struct op_job *job, VipsImage *in, VipsImage *second)
{
    VipsImage *out = NULL;
    VipsObject *op = NULL;
    int r = img_build(job, in, second, &out, &op);
    if (r != 0)
        return r < 0 ? r : img_refused(job, in);
    r = img_budget(job, "out", out);
    if (r == 0)
        r = img_save(job, out, NULL);
    if (r == 0)
        img_results(job, op);
    g_object_unref(out);
    vips_object_unref_outputs(op);
    g_object_unref(op);
    return r;
}

static int run_decoded(struct op_job *job, struct img_input *in, VipsImage *second, const struct pixels *p)
{
    struct decoding d = {p->data, img_line(in->image)};
    if (img_read_rows(job, in, decoded, &d) < 0)
        return -1;
    struct img_view view = {.limit = (uint32_t)in->image->Ysize, .cancel = job->cancel};
    VipsImage *im = img_view_of(in->image, &view, p->data, p->bytes);
    int r = im ? run_op(job, im, second) : img_fail(job, PWC__CODE__CODE_INTERNAL, NULL);
    g_clear_object(&im);
    g_clear_object(&view.pixels);
    return r;
}

static int whole_mask(struct op_job *job, VipsImage **ret)
{
    AUTO_FREE void *data = NULL;
    size_t len = 0;
    const char *role = img_family(job)->second;
    if (!role)
        return 0;
    return img_small_read(job, role, IMG_MASK_MAX, &data, &len) < 0
               ? -1
               : img_mask_parse(job, role, data, len, ret);
}

static int whole_op(struct op_job *job, struct img *s)
{
    struct img_input in = {0};
    VipsImage *second = NULL;
    struct pixels p = {0};
    if (s->in.image) { /* the planner's */
        in = s->in;
        s->in = (struct img_input){0};
    } else if (img_input_open(job, &in) < 0) {
        return -1;
    }
    int r = whole_mask(job, &second);
    if (r == 0)
        r = pixels_new(job, img_bytes(in.image), &p);
    if (r == 0)
        r = run_decoded(job, &in, second, &p);
    g_clear_object(&second);
    img_input_close(&in);
    free(p.own);
    return r;
}

/* ---- thumbnails ---- */

/* Options for the loader, as text: libvips opens the source again and again, by itself. */
static int option_string(struct op_job *job, GString *out)
{
    g_string_assign(out, "[");
    bool fail_on = false;
    for (size_t i = 0; i < job->nload; i++) {
        const Pwc__Param *p = job->load[i];
        const Pwc__Value *v = p->value;
        bool text = v->kind_case == PWC__VALUE__KIND_STR;
        if (text && strspn(v->str, "abcdefghijklmnopqrstuvwxyz-_0123456789") != strlen(v->str))
            return op_fail(job, PWC__CODE__CODE_BAD_PARAM, "load.%s: no such choice", p->name);
        fail_on = fail_on || strcmp(p->name, "fail_on") == 0;
        g_string_append_printf(out, "%s=", p->name);
        if (text)
            g_string_append(out, v->str);
        else if (v->kind_case == PWC__VALUE__KIND_F64)
            g_string_append_printf(out, "%.17g", v->f64);
        else if (v->kind_case == PWC__VALUE__KIND_FLAG)
            g_string_append(out, v->flag ? "true" : "false");
        else
            g_string_append_printf(
                out, "%lld", (long long)(v->kind_case == PWC__VALUE__KIND_U64 ? (int64_t)v->u64 : v->i64));
        g_string_append(out, ",");
    }
    g_string_append_printf(out, "%s]", fail_on ? "" : op_has(job, "fail_on") ? "" : "fail_on=truncated");
    return 0;
}

/* Decoding runs inside the operation here: whose words are these? */
static Pwc__Code blame(void)
{
    static const char *const codecs[] = {"VipsJpeg",  "vipspng",  "pngload",        "tiff2vips",
                                         "webp2vips", "webpload", "gifload",        "nsgif",
                                         "heif",      "libpng",   "VipsForeignLoad"};
    const char *text = vips_error_buffer();
    if (*text == '\0') /* libpng, of interlaced files */
        return PWC__CODE__CODE_BAD_INPUT;
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++)
        if (strstr(text, codecs[i]) != NULL)
            return PWC__CODE__CODE_BAD_INPUT;
    return PWC__CODE__CODE_OP;
}

static int thumbnail_save(struct op_job *job, VipsObject *op, VipsSource *source)
{
    VipsImage *out = NULL;
    g_object_get(op, "out", &out, NULL);
    int r = img_budget(job, "out", out);
    /* In memory first: then a damaged input is found before anything is written, and blamed rightly. */
    VipsImage *memory = r == 0 ? vips_image_copy_memory(out) : NULL;
    if (r == 0 && (!memory || img_source_failure(source) != PWC__CODE__CODE_OK))
        r = img_fail(job, blame(), source);
    if (r == 0)
        r = img_save(job, memory, NULL);
    if (r == 0)
        img_results(job, op);
    g_clear_object(&memory);
    g_object_unref(out);
    return r;
}

static int thumbnail_run(struct op_job *job, VipsSource *source, const char *options)
{
    VipsObject *op = g_object_new(img_family(job)->type, NULL);
    g_object_set(op, "source", source, "option_string", options, NULL);
    int r = img_set_args(job, op, job->params, job->nparams, "params");
    if (r == 0 && vips_object_build(op) != 0)
        r = img_fail(job, blame(), source);
    if (r == 0)
        r = thumbnail_save(job, op, source);
    vips_object_unref_outputs(op);
    g_object_unref(op);
    return r;
}

static int whole_thumbnail(struct op_job *job)
{
    struct img_input header = {0};
    /* The budget counts what the file claims, not what is decoded in the end. */
    if (img_input_open(job, &header) < 0)
        return -1;
    g_clear_object(&header.image);
    GString *options = g_string_new(NULL);
    int r = option_string(job, options);
    if (r == 0)
        r = thumbnail_run(job, header.source, options->str);
    g_string_free(options, TRUE);
    img_input_close(&header);
    return r;
}

int img_whole(struct op_job *job)
{
    struct img *s = img_state(job);
    if (!s->in.image) /* else the planner has begun */
        img_begin();
    if (img_check_format(job) < 0)
        return -1;
    int r = img_family(job)->source ? whole_thumbnail(job) : whole_op(job, s);
    return r < 0 ? r : img_starved(job);
}
