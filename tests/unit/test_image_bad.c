/*
 * test_image_bad.c - image.* with what strangers send: broken files, lying headers, files that change
 * underfoot, full disks, damaged plans. Each must end with its code and one line that says what is wrong;
 * nothing may crash.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/image_inputs.h"
#include "tests/unit/op_driver.h"
#include "tests/unit/runner.h"
#include "worker/ops/image.h"

static char dir[64];

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

static int open_in(const char *name)
{
    AUTO_FREE char *path = name[0] == '/' ? xstrdup(name) : path_of(name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ck_assert_msg(fd >= 0, "%s", path);
    return fd;
}

static int open_out(void)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void cut_everything(void)
{
    ops_image_start();
    img_whole_bytes = 0;
    img_strip_bytes = 8192;
    img_read_bytes = 1;
}

static void prepare(struct op_run *run, const char *op, const char *in)
{
    run_init(run, op);
    ck_assert_ptr_nonnull(run->op);
    run->format = "png";
    run_fd(run, "in", open_in(in));
    run_fd(run, "out", open_out());
}

/* Runs it; it must fail with `code`, and its one line must hold `text`. */
static void fails(struct op_run *run, Pwc__Code code, const char *text)
{
    ck_assert_int_lt(run_go(run), 0);
    ck_assert_msg(run->code == code && strstr(run->text, text) != NULL, "%d and \"%s\" expected, got %d: %s",
                  (int)code, text, (int)run->code, run->text);
    ck_assert_ptr_null(strchr(run->text, '\n'));
    run_free(run);
}

static void refused(const char *op, const char *param, const char *in, Pwc__Code code, const char *text)
{
    struct op_run run;
    prepare(&run, op, in);
    if (param)
        run_param(&run, param);
    fails(&run, code, text);
}

static void put(const char *name, const void *data, size_t len)
{
    AUTO_FREE char *path = path_of(name);
    FILE *f = fopen(path, "we");
    ck_assert(f && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

/* The first percent of a file. */
static void cut_file(const char *from, const char *to, unsigned percent)
{
    AUTO_FREE char *a = path_of(from), *b = path_of(to);
    char command[512];
    struct stat st;
    ck_assert_int_eq(stat(a, &st), 0);
    snprintf(command, sizeof command, "head -c %llu '%s' >'%s'",
             (unsigned long long)st.st_size * percent / 100, a, b);
    ck_assert_int_eq(system(command), 0);
}

/* ---- files ---- */

static const char *const truncatable[] = {"rgb.jpg",   "prog.jpg", "rgb.png",   "inter.png",
                                          "rgb16.png", "rgb.tif",  "tiled.tif", "strip.tif",
                                          "rgb.webp",  "rgb.gif",  "early.tif"};

static void truncated(const char *name, bool batch)
{
    struct op_run run;
    cut_file(name, "cut", 60);
    prepare(&run, "image.invert", "cut");
    run.batch = batch;
    fails(&run, PWC__CODE__CODE_BAD_INPUT, "in: ");
    prepare(&run, "image.thumbnail", "cut");
    run_param(&run, "width=290");
    run.batch = batch;
    fails(&run, PWC__CODE__CODE_BAD_INPUT, "in: ");
}

START_TEST(truncated_in_strips)
{
    cut_everything();
    truncated(truncatable[_i], false);
}
END_TEST

START_TEST(truncated_whole)
{
    ops_image_start();
    truncated(truncatable[_i], false);
    truncated(truncatable[_i], true);
}
END_TEST

/* The command's way, for those who ask for it. */
START_TEST(truncated_but_wanted)
{
    struct op_run run;
    cut_everything();
    cut_file("rgb.jpg", "cut", 60);
    prepare(&run, "image.invert", "cut");
    run_load(&run, "jpeg", "fail_on=none");
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    run_free(&run);
    prepare(&run, "image.thumbnail", "cut");
    run_load(&run, "jpeg", "fail_on=none");
    run_param(&run, "width=290");
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    run_free(&run);
}
END_TEST

START_TEST(not_images)
{
    static const char svg[] = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"></svg>";
    ops_image_start();
    put("text", "hello, world\n", 13);
    put("empty", "", 0);
    put("a.svg", svg, sizeof svg - 1);
    put("a.pdf", "%PDF-1.4\n%....", 14);
    put("a.ppm", "P6\n2 2\n255\n............", 22);
    put("a.v", "\xb6\xa6\xf2\x08............................................................", 64);
    const Pwc__Code bad = PWC__CODE__CODE_BAD_INPUT;
    static const char *const ops[] = {"image.invert", "image.thumbnail"};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        const char *width = i ? "width=20" : NULL;
        refused(ops[i], width, "text", bad, "in: not an image that can be read; JPEG, PNG");
        refused(ops[i], width, "empty", bad, "in: empty file");
        refused(ops[i], width, "a.svg", bad, "in: SVG files are not accepted");
        refused(ops[i], width, "a.pdf", bad, "in: PDF files are not accepted");
        refused(ops[i], width, "a.ppm", bad, "in: PPM files are not accepted");
        refused(ops[i], width, "a.v", bad, "in: VIPS files are not accepted");
    }
}
END_TEST

START_TEST(not_files)
{
    ops_image_start();
    AUTO_FREE char *fifo = path_of("fifo");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    const Pwc__Code bad = PWC__CODE__CODE_BAD_DESCRIPTOR;
    refused("image.invert", NULL, dir, bad, "in: is a directory");
    refused("image.invert", NULL, "fifo", bad, "in: is a pipe");
    refused("image.invert", NULL, "/dev/zero", bad, "in: is a device");
}
END_TEST

/* ---- budgets ---- */

static uint32_t crc_of(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    }
    return ~c;
}

static void be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* A PNG's signature and header that claim a size, and 1 KB of nothing. */
static void put_liar(uint32_t width, uint32_t height)
{
    uint8_t f[1024] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    be32(f + 16, width);
    be32(f + 20, height);
    f[24] = 8;
    f[25] = 2;
    be32(f + 29, crc_of(f + 12, 17));
    be32(f + 33, 900);
    memcpy(f + 37, "IDAT\x78\x01", 6);
    put("liar.png", f, sizeof f);
}

START_TEST(claims_too_much)
{
    static const char *const ops[] = {"image.gaussblur", "image.thumbnail"};
    cut_everything();
    put_liar(60000, 60000);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct op_run run;
        prepare(&run, ops[i], "liar.png");
        run_param(&run, i ? "width=200" : "sigma=2");
        run.budget.pixels = 1000000000;
        fails(&run, PWC__CODE__CODE_BUDGET,
              "in: 60000 x 60000 pixels are more than the limit of 1000000000 (max_pixels)");
    }
    struct op_run run;
    prepare(&run, "image.invert", "liar.png");
    run.budget.bytes = 1u << 30;
    fails(&run, PWC__CODE__CODE_BUDGET, "(max_bytes)");
}
END_TEST

START_TEST(budgets)
{
    struct op_run run;
    ops_image_start();
    prepare(&run, "image.zoom", "rgb.png");
    run_param(&run, "xfac=1000");
    run_param(&run, "yfac=1000");
    run.budget.pixels = 1000000;
    fails(&run, PWC__CODE__CODE_BUDGET, "out: 301000 x 217000 pixels");
    img_whole_bytes = 0;
    prepare(&run, "image.zoom", "rgb.png");
    run_param(&run, "xfac=1000");
    run_param(&run, "yfac=1000");
    run.budget.pixels = 1000000;
    fails(&run, PWC__CODE__CODE_BUDGET, "out: 301000 x 217000 pixels");
    prepare(&run, "image.invert", "anim.gif");
    run_load(&run, "gif", "n=-1");
    run.budget.frames = 2;
    fails(&run, PWC__CODE__CODE_BUDGET, "in: 3 frames are more than the limit of 2 (max_frames)");
}
END_TEST

/* ---- parameters ---- */

START_TEST(parameters)
{
    const Pwc__Code bad = PWC__CODE__CODE_BAD_PARAM;
    ops_image_start();
    refused("image.gaussblur", "sigma=-4", "rgb.png", bad, "params.sigma: -4 is out of range: 0 to 1000");
    refused("image.gaussblur", "sigmb=4", "rgb.png", PWC__CODE__CODE_NO_SUCH_PARAM, "params.sigmb");
    refused("image.rot", "angle=d91", "rgb.png", bad, "params.angle: no such choice");
    refused("image.icc_transform", "output_profile=/etc/passwd", "rgb.png", bad,
            "built-in profiles srgb, cmyk, p3");
    refused("image.thumbnail", "export_profile=x.icc", "rgb.png", bad, "built-in profiles srgb, cmyk, p3");
    refused("image.affine", "interpolate=magic", "rgb.png", bad, "no such interpolator");
    refused("image.gaussblur", NULL, "rgb.png", PWC__CODE__CODE_OP, "sigma");
    refused("image.crop", "left=1", "rgb.png", PWC__CODE__CODE_OP, "");
    struct op_run run;
    prepare(&run, "image.invert", "rgb.png");
    run_save(&run, "profile=/etc/passwd");
    fails(&run, bad, "save.profile: only the built-in");
    prepare(&run, "image.invert", "rgb.png");
    run_load(&run, "jpeg", "shrink=2");
    fails(&run, PWC__CODE__CODE_NO_SUCH_PARAM, "load.shrink: pngload_source has no such argument");
    prepare(&run, "image.invert", "rgb.tif");
    run_load(&run, "tiff", "page=7");
    fails(&run, PWC__CODE__CODE_BAD_INPUT, "in: cannot be decoded: ");
    prepare(&run, "image.invert", "rgb.png");
    run.format = "bmp";
    fails(&run, PWC__CODE__CODE_BAD_FORMAT, "png, jpeg, tiff, webp and raw can");
    prepare(&run, "image.invert", "rgb.png");
    run.format = "raw";
    run_save(&run, "Q=5");
    fails(&run, PWC__CODE__CODE_NO_SUCH_PARAM, "raw pixels have no options");
}
END_TEST

START_TEST(masks)
{
    struct op_run run;
    cut_everything();
    prepare(&run, "image.conv", "rgb.png");
    fails(&run, PWC__CODE__CODE_BAD_DESCRIPTOR, "mask: no file was given");
    put("bad.mat", "3 3\n1 2 three\n", 14);
    prepare(&run, "image.conv", "rgb.png");
    run_fd(&run, "mask", open_in("bad.mat"));
    fails(&run, PWC__CODE__CODE_BAD_INPUT, "mask: not a matrix");
    put("bad.csv", "1,2,3\n4,5\n", 10);
    prepare(&run, "image.conv", "rgb.png");
    run_fd(&run, "mask", open_in("bad.csv"));
    fails(&run, PWC__CODE__CODE_BAD_INPUT, "mask: not a matrix");
    prepare(&run, "image.icc_import", "rgb.png");
    run_fd(&run, "profile", open_in("bad.mat"));
    fails(&run, PWC__CODE__CODE_BAD_INPUT, "profile: not an ICC profile");
    AUTO_FREE char *big = xcalloc(1, (1u << 20) + 1);
    put("big.mat", big, (1u << 20) + 1);
    prepare(&run, "image.conv", "rgb.png");
    run_fd(&run, "mask", open_in("big.mat"));
    fails(&run, PWC__CODE__CODE_BUDGET, "mask: 1048577 bytes are more than the limit of 1048576");
}
END_TEST

/* ---- files that change, outputs that do not take ---- */

static void shorten(struct op_run *run, uint64_t chunk)
{
    (void)run;
    if (chunk == 0) {
        AUTO_FREE char *path = path_of("shrinks.tif");
        ck_assert_int_eq(truncate(path, 400000), 0);
    }
}

START_TEST(shrinks)
{
    char command[256];
    struct op_run run;
    cut_everything();
    snprintf(command, sizeof command, "cp '%s/big.tif' '%s/shrinks.tif'", dir, dir);
    ck_assert_int_eq(system(command), 0);
    prepare(&run, "image.invert", "shrinks.tif");
    run.on_chunk = shorten;
    fails(&run, PWC__CODE__CODE_INPUT_SHRANK, "in: the file became shorter while it was read");
}
END_TEST

static void cancel(struct op_run *run, uint64_t chunk)
{
    if (chunk == 3)
        atomic_store(&run->cancel, 1);
}

START_TEST(cancelled)
{
    struct op_run run;
    cut_everything();
    prepare(&run, "image.invert", "big.tif");
    run.on_chunk = cancel;
    fails(&run, PWC__CODE__CODE_CANCELLED, "cancelled");
}
END_TEST

/* Writing fails after some bytes, as on a full disk. */
static void full(const char *format, rlim_t bytes, const char *text)
{
    struct rlimit most = {bytes, bytes};
    struct op_run run;
    run_init(&run, "image.invert");
    run.format = format;
    run_fd(&run, "in", open_in("rgb.png"));
    run_fd(&run, "out", open_out());
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &most), 0);
    fails(&run, PWC__CODE__CODE_OUTPUT, text);
}

static const char *const outputs[] = {"png", "jpeg", "tiff", "webp", "raw"};

START_TEST(full_disk)
{
    ops_image_start();
    full(outputs[_i], 3000, "out: File too large");
}
END_TEST

/* All but the last byte can be written. */
START_TEST(full_disk_at_the_end)
{
    struct op_run run;
    struct stat st;
    ops_image_start();
    run_init(&run, "image.invert");
    run.format = outputs[_i];
    run_fd(&run, "in", open_in("rgb.png"));
    int out = open_out();
    run_fd(&run, "out", out);
    ck_assert_int_eq(run_go(&run), 0);
    ck_assert_int_eq(fstat(out, &st), 0);
    run_free(&run);
    full(outputs[_i], (rlim_t)st.st_size - 1, "out: File too large");
}
END_TEST

START_TEST(no_space)
{
    struct op_run run;
    ops_image_start();
    run_init(&run, "image.invert");
    run.format = outputs[_i];
    run_fd(&run, "in", open_in("rgb.png"));
    run_fd(&run, "out", open("/dev/full", O_RDWR | O_CLOEXEC));
    fails(&run, PWC__CODE__CODE_OUTPUT, "out: No space left on device");
}
END_TEST

/* ---- plans from a stage that was taken over ---- */

START_TEST(damaged_plans)
{
    cut_everything();
    struct op_run run;
    prepare(&run, "image.gaussblur", "deco.jpg");
    run_param(&run, "sigma=2");
    run.keep_plan = true;
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    size_t len = run.plan.blob_len;
    AUTO_FREE uint8_t *copy = xcalloc(1, len);
    uint64_t seed = 7, parsed = 0, dressed = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, run.plan.blob, len);
        for (int k = 0; k < 1 + i % 4; k++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            copy[(seed >> 33) % len] = (uint8_t)(seed >> 20);
        }
        /* An allocation of exactly this size: what reads past the end is caught by sanitizers. */
        size_t n = i % 3 == 0 ? (seed >> 40) % len : len;
        AUTO_FREE uint8_t *exact = xcalloc(1, n + 1);
        memcpy(exact, copy, n);
        struct img_plan plan;
        if (img_plan_parse(exact, n, &plan) < 0)
            continue;
        parsed++;
        VipsImage *im = vips_image_new();
        dressed += img_plan_dress(&plan, im) == 0;
        g_object_unref(im);
    }
    printf("damaged plans: %llu parsed, %llu dressed\n", (unsigned long long)parsed,
           (unsigned long long)dressed);
    ck_assert_uint_gt(parsed, 0);
    ck_assert_uint_lt(dressed, 20000);
    run_free(&run);
}
END_TEST

/* The supervisor sizes arenas by what the planner says, and the workers would write behind them. */
static void promise_less(struct op_run *run)
{
    ck_assert_uint_gt(run->plan.result_bytes, 1);
    run->plan.result_bytes--;
}

START_TEST(strips_larger_than_promised)
{
    struct op_run run;
    cut_everything();
    prepare(&run, "image.invert", "big.tif");
    run.on_plan = promise_less;
    fails(&run, PWC__CODE__CODE_PROTOCOL, "the plan does not fit the operation");
}
END_TEST

/* ---- fixtures ---- */

static void make_inputs(void)
{
    char command[512];
    strcpy(dir, "/tmp/pwc-imgbad-XXXXXX");
    ck_assert(mkdtemp(dir) != NULL);
    ck_assert(inputs_make(dir));
    /* three frames; and a TIFF whose directory comes first, so that its pixels can be cut off */
    snprintf(command, sizeof command,
             "cd '%s' && vips arrayjoin 'grey.png grey.png grey.png' anim.v --across 1 && "
             "vips copy anim.v anim.gif[page-height=199] && vips copy 'rgb.tif' early.tif[tile,pyramid]",
             dir);
    ck_assert_int_eq(system(command), 0);
}

static void remove_inputs(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    (void)!system(command);
}

int main(void)
{
    Suite *s = suite_create("image, bad input");
    TCase *t = tcase_create("bad");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, make_inputs, remove_inputs);
    tcase_add_loop_test(t, truncated_in_strips, 0, ARRAY_LEN(truncatable));
    tcase_add_loop_test(t, truncated_whole, 0, ARRAY_LEN(truncatable));
    tcase_add_test(t, truncated_but_wanted);
    tcase_add_test(t, not_images);
    tcase_add_test(t, not_files);
    tcase_add_test(t, claims_too_much);
    tcase_add_test(t, budgets);
    tcase_add_test(t, parameters);
    tcase_add_test(t, masks);
    tcase_add_test(t, shrinks);
    tcase_add_test(t, cancelled);
    tcase_add_loop_test(t, full_disk, 0, ARRAY_LEN(outputs));
    tcase_add_loop_test(t, full_disk_at_the_end, 0, ARRAY_LEN(outputs));
    tcase_add_loop_test(t, no_space, 0, ARRAY_LEN(outputs));
    tcase_add_test(t, damaged_plans);
    tcase_add_test(t, strips_larger_than_promised);
    suite_add_tcase(s, t);
    return run_suite(s);
}
