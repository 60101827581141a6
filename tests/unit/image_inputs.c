/* image_inputs.c - see image_inputs.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/image_inputs.h"
#include "worker/ops/image.h"

static const char *folder;

/* Noise over slow gradients: every neighbourhood differs, and encoders have something to do. */
static VipsImage *picture(int w, int h, int bands)
{
    VipsImage *t[8] = {0}, *out = NULL;
    if (vips_xyz(&t[0], w, h, NULL) || vips_linear1(t[0], &t[1], 0.9, 20, NULL) ||
        vips_gaussnoise(&t[2], w, h, "sigma", 30.0, "mean", 40.0, "seed", 42, NULL) ||
        vips_add(t[1], t[2], &t[3], NULL) || vips_bandmean(t[3], &t[4], NULL))
        return NULL;
    VipsImage *all[4] = {t[4], NULL, NULL, NULL};
    for (int i = 1; i < bands; i++)
        if (vips_linear1(all[i - 1], &all[i], i % 2 ? -0.7 : 0.8, 200.0 - 30 * i, NULL))
            return NULL;
    if (vips_bandjoin(all, &t[5], bands, NULL) || vips_cast(t[5], &t[6], VIPS_FORMAT_UCHAR, NULL) ||
        vips_copy(t[6], &t[7], "interpretation",
                  bands < 3 ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB, NULL))
        return NULL;
    out = vips_image_copy_memory(t[7]);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        g_clear_object(&t[i]);
    for (size_t i = 1; i < ARRAY_LEN(all); i++)
        g_clear_object(&all[i]);
    return out;
}

static VipsImage *wide(VipsImage *in)
{
    VipsImage *a = NULL, *b = NULL, *out = NULL;
    if (vips_linear1(in, &a, 257, 0, NULL) || vips_cast(a, &b, VIPS_FORMAT_USHORT, NULL) ||
        vips_copy(b, &out, "interpretation",
                  in->Bands < 3 ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16, NULL))
        out = NULL;
    g_clear_object(&a);
    g_clear_object(&b);
    return out;
}

static bool save(VipsImage *im, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (im && vips_image_write_to_file(im, path, NULL) == 0)
        return true;
    fprintf(stderr, "%s: %s\n", name, vips_error_buffer());
    return false;
}

/* ICC profile, EXIF orientation, XMP, resolution: what must survive. */
static VipsImage *decorated(VipsImage *in)
{
    static const char xmp[] = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf>test</rdf></x:xmpmeta>";
    VipsImage *out = NULL;
    VipsBlob *icc = NULL;
    if (vips_copy(in, &out, "xres", 11.811, "yres", 11.811, NULL) || vips_profile_load("p3", &icc, NULL))
        return NULL;
    size_t len;
    const void *data = vips_blob_get(icc, &len);
    vips_image_set_blob_copy(out, VIPS_META_ICC_NAME, data, len);
    vips_image_set_blob_copy(out, VIPS_META_XMP_NAME, xmp, sizeof xmp - 1);
    vips_image_set_int(out, VIPS_META_ORIENTATION, 6);
    vips_image_set_string(out, "exif-ifd0-Make", "pwc (pwc, ASCII, 4 components, 4 bytes)");
    vips_area_unref(VIPS_AREA(icc));
    return out;
}

static bool make_rgb(void)
{
    VipsImage *rgb = picture(301, 217, 3), *rgb16 = wide(rgb), *deco = decorated(rgb);
    VipsImage *deco16 = decorated(rgb16), *cmyk = NULL, *lab = NULL, *f = NULL, *labq = NULL;
    bool ok = save(rgb, "rgb.jpg[Q=92]") && save(rgb, "rgb.png") && save(rgb, "rgb.tif") &&
              save(rgb, "tiled.tif[tile,tile_width=64,tile_height=64,compression=deflate]") &&
              save(rgb, "pyramid.tif[tile,pyramid,tile_width=64,tile_height=64,compression=jpeg]") &&
              save(rgb, "strip.tif[compression=lzw]") && save(rgb, "rgb.webp[lossless]") &&
              save(rgb, "inter.png[interlace]") && save(rgb16, "rgb16.png") && save(rgb16, "rgb16.tif") &&
              save(deco, "deco.jpg") && save(deco, "deco.png") && save(deco16, "deco16.tif") &&
              save(deco, "deco.webp") && save(deco, "deco.tif") && save(rgb, "prog.jpg[interlace]");
    ok = ok && !vips_colourspace(rgb, &cmyk, VIPS_INTERPRETATION_CMYK, NULL) && save(cmyk, "cmyk.jpg") &&
         !vips_colourspace(rgb, &lab, VIPS_INTERPRETATION_LAB, NULL) && save(lab, "lab.tif") &&
         !vips_Lab2LabQ(lab, &labq, NULL) && save(labq, "labq.tif") &&
         save(labq, "labqtiles.tif[tile,tile_width=64,tile_height=64]") &&
         !vips_cast(rgb, &f, VIPS_FORMAT_FLOAT, NULL) && save(f, "float.tif") && save(rgb, "rgb.gif");
    VipsImage *all[] = {rgb, rgb16, deco, deco16, cmyk, lab, f, labq};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        g_clear_object(&all[i]);
    return ok;
}

static bool make_others(void)
{
    VipsImage *grey = picture(251, 199, 1), *rgba = picture(203, 161, 4), *thin = picture(1, 300, 3);
    VipsImage *flat = picture(300, 1, 3), *grey16 = wide(grey), *rgba16 = wide(rgba), *bin = NULL,
              *big = picture(1500, 900, 3);
    VipsImage *big16 = wide(big);
    bool ok = save(grey, "grey.png") && save(grey, "grey.jpg") && save(grey16, "grey16.png") &&
              save(rgba, "rgba.png") && save(rgba, "rgba.webp[lossless]") && save(rgba16, "rgba16.tif") &&
              save(thin, "thin.png") && save(flat, "flat.png") && !vips_more_const1(grey, &bin, 120, NULL) &&
              save(bin, "bin.png") && save(big, "big.jpg") && save(big, "big.tif") &&
              save(big, "packed.tif[compression=lzw]") && save(grey, "inverted.tif[miniswhite]") &&
              save(big, "large.tif[bigtiff]") && save(grey16, "grey16.tif") && save(big16, "big16.tif");
    VipsImage *all[] = {grey, rgba, thin, flat, grey16, rgba16, bin, big, big16};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        g_clear_object(&all[i]);
    return ok;
}

static bool text(const char *name, const char *content)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    if (!f)
        return false;
    bool ok = fputs(content, f) >= 0;
    return fclose(f) == 0 && ok;
}

static bool make_profile(void)
{
    VipsBlob *icc = NULL;
    if (vips_profile_load("p3", &icc, NULL))
        return false;
    char path[512];
    size_t len;
    const void *data = vips_blob_get(icc, &len);
    snprintf(path, sizeof path, "%s/p3.icc", folder);
    FILE *f = fopen(path, "we");
    bool ok = f && fwrite(data, 1, len, f) == len;
    vips_area_unref(VIPS_AREA(icc));
    return f && fclose(f) == 0 && ok;
}

static bool make_masks(void)
{
    VipsImage *rgb = picture(301, 217, 3), *piece = NULL;
    bool ok =
        text("sharp.mat", "3 3 8 0\n-1 -1 -1\n-1 16 -1\n-1 -1 -1\n") &&
        text("sep.mat", "5 1 16 0\n1 4 6 4 1\n") && text("emboss.csv", "-2,-1,0\n-1,1,1\n0,1,2\n") &&
        text("cross.mat", "3 3\n128 255 128\n255 255 255\n128 255 128\n") &&
        text("recomb.mat", "3 3\n0.3 0.6 0.1\n0.1 0.7 0.2\n0.5 0.25 0.25\n") &&
        text("invertlut.mat", "4 4\n0.1 0.2 0.3 0.1\n0.2 0.4 0.4 0.2\n0.7 0.5 0.6 0.3\n0.9 0.8 0.7 0.6\n") &&
        text("wide.mat", "31 31\n") && !vips_crop(rgb, &piece, 40, 30, 17, 13, NULL) &&
        save(piece, "piece.png");
    g_clear_object(&rgb);
    g_clear_object(&piece);
    return ok;
}

bool inputs_make(const char *dir)
{
    folder = dir;
    pid_t pid = fork();
    if (pid == 0) {
        if (VIPS_INIT("inputs") != 0)
            _exit(2);
        _exit(make_rgb() && make_others() && make_masks() && make_profile() ? 0 : 1);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* ---- comparison ---- */

static void *field_differs(VipsImage *im, const char *name, GValue *v, void *other)
{
    (void)im;
    (void)v;
    static char which[256];
    char *a = NULL, *b = NULL;
    if (strcmp(name, "filename") == 0)
        return NULL;
    vips_image_get_as_string(im, name, &a);
    vips_image_get_as_string(other, name, &b);
    snprintf(which, sizeof which, "%s: %.90s / %.90s", name, a ? a : "(none)", b ? b : "(none)");
    bool same = a && b && strcmp(a, b) == 0;
    g_free(a);
    g_free(b);
    return same ? NULL : which;
}

static void compare_header(VipsImage *a, VipsImage *b, struct difference *d)
{
    const char *which = vips_image_map(a, field_differs, b);
    if (!which)
        which = vips_image_map(b, field_differs, a);
    snprintf(d->header, sizeof d->header, "%s", which ? which : "");
    vips_error_clear();
}

static bool compare_pixels(VipsImage *a, VipsImage *b, struct difference *d)
{
    VipsImage *x = NULL, *y = NULL;
    bool ok =
        !vips_cast(a, &x, VIPS_FORMAT_DPCOMPLEX, NULL) && !vips_cast(b, &y, VIPS_FORMAT_DPCOMPLEX, NULL);
    size_t n = 0, m = 0, differ = 0;
    double *p = ok ? vips_image_write_to_memory(x, &n) : NULL,
           *q = ok ? vips_image_write_to_memory(y, &m) : NULL;
    d->most = d->fraction = 0;
    if (!p || !q || n != m)
        ok = false;
    for (size_t i = 0; ok && i < n / sizeof(double); i++) {
        if (p[i] == q[i] || (isnan(p[i]) && isnan(q[i])))
            continue;
        differ++;
        d->most = MAX(d->most, isnan(p[i] - q[i]) ? HUGE_VAL : fabs(p[i] - q[i]));
    }
    d->fraction = n ? (double)differ / ((double)n / 16) : 0;
    g_free(p);
    g_free(q);
    g_clear_object(&x);
    g_clear_object(&y);
    return ok;
}

bool inputs_compare(const char *a, const char *b, struct difference *ret)
{
    VipsImage *x = vips_image_new_from_file(a, NULL), *y = vips_image_new_from_file(b, NULL);
    bool ok = x && y;
    if (ok)
        compare_header(x, y, ret);
    if (ok && (x->Xsize != y->Xsize || x->Ysize != y->Ysize || x->Bands != y->Bands))
        ret->most = HUGE_VAL;
    else if (ok)
        ok = compare_pixels(x, y, ret);
    if (!ok)
        fprintf(stderr, "%s, %s: %s\n", a, b, vips_error_buffer());
    g_clear_object(&x);
    g_clear_object(&y);
    return ok;
}
