/*
 * test_image_raster.c - image.* and pixels without a format around them: results that the workers place in a
 * file of raw pixels, inputs whose pixels are used where they lie, and rasters of which only a window is
 * kept.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/unit/image_case.h"
#include "tests/unit/runner.h"

extern uint64_t img_window_bytes;

/* ---- raw pixels: placed by the workers ---- */

/* Complex and double results, which no other format holds exactly. */
static void check_raw(const char *op, const char *in, const char *params, bool cut)
{
    struct call c = {.op = op, .in = in, .out = ".raw", .params = params};
    char ours[512], theirs[512], command[2048];
    struct op_run run;
    if (cut)
        cut_everything();
    prepare(&run, &c, ours, sizeof ours);
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    ck_assert_int_eq(run.plan.whole, !cut);
    if (cut)
        ck_assert_int_eq((int)run.plan.absorb, PWC__ABSORB__ABSORB_PLACED);
    snprintf(theirs, sizeof theirs, "'%s/theirs.raw'", dir);
    run_command(&c, run.op, theirs);
    snprintf(command, sizeof command, "cmp %s '%s'", theirs, ours);
    ck_assert_msg(system(command) == 0, "%s", command);
    run_free(&run);
}

/* FFTW chooses its algorithm by the memory's alignment, so the last bits differ from call to call. */
START_TEST(fourier_is_close)
{
    struct call c = {.op = "fwfft", .in = "grey.png", .out = ".raw", .params = ""};
    char ours[512], theirs[512];
    struct op_run run;
    ops_image_start();
    prepare(&run, &c, ours, sizeof ours);
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    snprintf(theirs, sizeof theirs, "'%s/theirs.raw'", dir);
    run_command(&c, run.op, theirs);
    snprintf(theirs, sizeof theirs, "%s/theirs.raw", dir);
    FILE *a = fopen(ours, "re"), *b = fopen(theirs, "re");
    ck_assert(a && b);
    double x, y, most = 0;
    size_t n = 0;
    for (; fread(&x, sizeof x, 1, a) == 1 && fread(&y, sizeof y, 1, b) == 1; n++)
        most = MAX(most, fabs(x - y));
    ck_assert_uint_eq(n, 251u * 199u * 2u);
    ck_assert_double_le(most, 1e-9);
    fclose(a);
    fclose(b);
    run_free(&run);
}
END_TEST

START_TEST(raw_is_placed)
{
    check_raw("gaussblur", "rgb16.png", "sigma=3", true);
}
END_TEST

static size_t read_raw(struct op_run *run, uint8_t *to, size_t room)
{
    ck_assert_msg(run_go(run) == 0, "%s", run->text);
    ssize_t n = pread(run->fds[run->nfds - 1].fd, to, room, 0);
    ck_assert_int_gt(n, 0);
    ck_assert_uint_lt((size_t)n, room);
    return (size_t)n;
}

/* Over what an attempt has left, to the byte and no further; the last strip is a shorter one. */
START_TEST(raw_rows_given_up_are_filled)
{
    struct call c = {.op = "gaussblur", .in = "rgb16.png", .out = ".raw", .params = "sigma=3"};
    static uint8_t whole[1 << 20], want[1 << 20], holed[1 << 20];
    char ours[512];
    struct op_run run;
    cut_everything();
    prepare(&run, &c, ours, sizeof ours);
    size_t n = read_raw(&run, whole, sizeof whole);
    uint64_t chunks = run.plan.chunks, rows = run.plan.unit_size, line = n / run.plan.units;
    ck_assert_uint_gt(chunks, 2);
    run_free(&run);
    for (uint64_t chunk = 0; chunk < chunks; chunk += chunks - 1) {
        prepare(&run, &c, ours, sizeof ours);
        run.blank = true;
        run.blank_chunk = chunk;
        run.blank_byte = 201;
        ck_assert_uint_eq(read_raw(&run, holed, sizeof holed), n);
        run_free(&run);
        uint64_t from = chunk * rows * line;
        memcpy(want, whole, n);
        memset(want + from, 201, MIN(rows * line, n - from));
        ck_assert_mem_eq(want, holed, n);
    }
}
END_TEST

START_TEST(raw_doubles_are_placed)
{
    check_raw("linear", "rgb.png", "a=1.25 b=3.5", true);
}
END_TEST

START_TEST(raw_whole)
{
    ops_image_start();
    check_raw("gaussblur", "rgb.jpg", "sigma=3", false);
    check_raw("stats", "rgb.png", "", false);
    check_raw("invertlut", "invertlut.mat", "size=300", false);
}
END_TEST

/* ---- inputs that are rasters already ---- */

/* Copies a TIFF; `change` (number of entries, the first of them) alters its directory, which has 12 bytes an
 * entry. */
static void change_tiff(const char *from, const char *to, void (*change)(int fd, unsigned n, off_t at))
{
    char command[1200], path[512];
    uint32_t at = 0;
    uint16_t n = 0;
    snprintf(path, sizeof path, "%s/%s", dir, to);
    snprintf(command, sizeof command, "cp '%s/%s' '%s'", dir, from, path);
    ck_assert_int_eq(system(command), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, &at, sizeof at, 4), sizeof at);
    ck_assert_int_eq(pread(fd, &n, sizeof n, at), sizeof n);
    change(fd, n, (off_t)at + 2);
    close(fd);
}

/* Where the value of a tag lies. */
static off_t value_of_tag(int fd, unsigned n, off_t at, uint16_t tag)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t t = 0;
        ck_assert_int_eq(pread(fd, &t, sizeof t, at + 12 * i), sizeof t);
        if (t == tag)
            return at + 12 * i + 8;
    }
    ck_abort_msg("no tag %u", tag);
}

/* The first two strips change places: the pixels are still all there. */
static void swap_strips(int fd, unsigned n, off_t at)
{
    uint32_t table = 0, offsets[2];
    ck_assert_int_eq(pread(fd, &table, sizeof table, value_of_tag(fd, n, at, 273)), sizeof table);
    ck_assert_int_eq(pread(fd, offsets, sizeof offsets, table), sizeof offsets);
    uint32_t swapped[2] = {offsets[1], offsets[0]};
    ck_assert_int_eq(pwrite(fd, swapped, sizeof swapped, table), sizeof swapped);
}

static void multiply_alpha(int fd, unsigned n, off_t at)
{
    uint16_t associated = 1;
    ck_assert_int_eq(pwrite(fd, &associated, sizeof associated, value_of_tag(fd, n, at, 338)),
                     sizeof associated);
}

/* The value is the same; only who knows this kind of number for it gets it. */
static void rows_in_bytes(int fd, unsigned n, off_t at)
{
    uint16_t byte = 1;
    ck_assert_int_eq(pwrite(fd, &byte, sizeof byte, value_of_tag(fd, n, at, 278) - 6), sizeof byte);
}

/* The unit of the resolution becomes the height of a tile. */
static void half_tiled(int fd, unsigned n, off_t at)
{
    uint16_t tag = 323;
    ck_assert_int_eq(pwrite(fd, &tag, sizeof tag, value_of_tag(fd, n, at, 296) - 8), sizeof tag);
}

/* The last entry, the kind of numbers, becomes 70 MB of XMP, which lie in a hole. */
static void weigh_down(int fd, unsigned n, off_t at)
{
    const struct {
        uint16_t tag, type;
        uint32_t count, offset;
    } xmp = {700, 1, 70u << 20, 64u << 20};
    ck_assert_int_eq(pwrite(fd, &xmp, sizeof xmp, value_of_tag(fd, n, at, 339) - 8), sizeof xmp);
    ck_assert_int_eq(ftruncate(fd, (off_t)xmp.offset + xmp.count), 0);
}

/* No plan holds them. */
START_TEST(metadata_of_any_size)
{
    cut_everything();
    change_tiff("big.tif", "heavy.tif", weigh_down);
    check_raw("gaussblur", "heavy.tif", "sigma=2", false);
}
END_TEST

/* Elsewhere they are decoded: pages of memory files would count as the stage's, those of others may never
 * come. */
static bool on_disk(void)
{
    struct statfs fs;
    ck_assert_int_eq(statfs(dir, &fs), 0);
    return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC || fs.f_type == BTRFS_SUPER_MAGIC ||
           fs.f_type == F2FS_SUPER_MAGIC;
}

static void check_place(const char *in, bool in_place)
{
    struct call c = {.op = "gaussblur", .in = in, .out = ".tif", .params = "sigma=2", .how = SLIDE};
    char ours[512], theirs[512];
    struct op_run run;
    prepare(&run, &c, ours, sizeof ours);
    ck_assert_msg(run_go(&run) == 0, "%s: %s", in, run.text);
    ck_assert_msg((run.plan.raster_bytes == 0) == (in_place && on_disk()), "%s: %llu bytes of raster", in,
                  (unsigned long long)run.plan.raster_bytes);
    check_how(&c, &run);
    snprintf(theirs, sizeof theirs, "%s/theirs.tif", dir);
    run_command(&c, run.op, theirs);
    compare(&c, ours, theirs);
    run_free(&run);
}

START_TEST(plain_pixels_are_used_where_they_lie)
{
    cut_everything();
    check_place("big.tif", true);
    check_place("large.tif", true);
    check_place("rgb16.tif", true);
    check_place("grey16.tif", true);
    check_place("float.tif", true);
    check_place("deco16.tif", true);
}
END_TEST

START_TEST(all_other_pixels_are_decoded)
{
    cut_everything();
    change_tiff("big.tif", "swapped.tif", swap_strips);
    change_tiff("rgba16.tif", "associated.tif", multiply_alpha);
    change_tiff("big.tif", "bytes.tif", rows_in_bytes);
    check_place("swapped.tif", false);
    check_place("associated.tif", false);
    check_place("bytes.tif", false);
    check_place("inverted.tif", false);
    check_place("packed.tif", false);
    check_place("tiled.tif", false);
    check_place("lab.tif", false);
    check_place("rgb.png", false);
    check_place("big.tif[autorotate=true]", false);
}
END_TEST

/* A hundred bytes off the pixels, which leaves the page that they lie in: as soon as nobody looks at the file
 * any more but the workers. What is behind the cut are zeros, which no fault tells. */
static void cut_in_a_page(struct op_run *run, uint64_t chunk)
{
    const off_t end = 8 + 1500 * 900 * 3, cut = end - 100;
    char path[512];
    if (chunk != run->plan.chunks - 1)
        return;
    ck_assert_int_eq((cut - 1) / 4096, (end - 1) / 4096); /* the smallest page there is */
    snprintf(path, sizeof path, "%s/cut.tif", dir);
    ck_assert_int_eq(truncate(path, cut), 0);
}

START_TEST(a_cut_inside_of_a_page_is_told)
{
    struct call c = {.op = "invert", .in = "cut.tif", .out = ".tif", .params = ""};
    char ours[512], command[1200];
    struct op_run run;
    if (!on_disk())
        return;
    cut_everything();
    snprintf(command, sizeof command, "cp '%s/big.tif' '%s/cut.tif'", dir, dir);
    ck_assert_int_eq(system(command), 0);
    prepare(&run, &c, ours, sizeof ours);
    run.on_chunk = cut_in_a_page;
    ck_assert_int_eq(run_go(&run), -1);
    ck_assert_int_eq((int)run.code, (int)PWC__CODE__CODE_INPUT_SHRANK);
    ck_assert_str_eq(run.text, "in: the file became shorter while it was read");
    run_free(&run);
}
END_TEST

/* What libtiff takes for tiles without any is an error, as it is for libvips: not pixels. */
START_TEST(half_a_tile_is_no_strip)
{
    cut_everything();
    change_tiff("big.tif", "half.tif", half_tiled);
    struct call c = {.op = "gaussblur", .in = "half.tif", .out = ".tif", .params = "sigma=2", .how = SLIDE};
    char ours[512];
    struct op_run run;
    prepare(&run, &c, ours, sizeof ours);
    ck_assert_msg(run_go(&run) != 0, "a picture of a file that libvips cannot read");
    run_free(&run);
}
END_TEST

/* A raster that may not exist at once. */
static void check_window(const char *in, const char *op, const char *params)
{
    struct call c = {.op = op, .in = in, .out = ".tif", .params = params};
    char ours[512], theirs[512];
    struct op_run run;
    prepare(&run, &c, ours, sizeof ours);
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    ck_assert(run.plan.windowed);
    ck_assert_msg(run.raster_kept < img_window_bytes + (256u << 10), "%s %s: %llu bytes kept", op, params,
                  (unsigned long long)run.raster_kept);
    ck_assert(run.plan.raster_bytes == 0 || run.plan.raster_bytes > 4 * run.raster_kept);
    snprintf(theirs, sizeof theirs, "%s/theirs.tif", dir);
    run_command(&c, run.op, theirs);
    compare(&c, ours, theirs);
    run_free(&run);
}

START_TEST(a_window_is_enough)
{
    cut_everything();
    img_window_bytes = 512u << 10;
    check_window("packed.tif", "gaussblur", "sigma=4");
    check_window("packed.tif", "resize", "scale=0.3");
    check_window("packed.tif", "resize", "scale=1.4");
    check_window("packed.tif", "extract_area", "left=10 top=500 width=1000 height=300");
    check_window("big.tif", "resize", "scale=0.3");
}
END_TEST

/* Its workers ask for the first rows whatever strip they begin with. */
START_TEST(rows_that_are_read_from_the_top_stay)
{
    struct call c = {.op = "thumbnail_image", .in = "packed.tif", .out = ".tif", .params = "width=400"};
    char ours[512], theirs[512];
    struct op_run run;
    cut_everything();
    img_window_bytes = 512u << 10;
    prepare(&run, &c, ours, sizeof ours);
    ck_assert_msg(run_go(&run) == 0, "%s", run.text);
    ck_assert(!run.plan.whole && !run.plan.windowed);
    snprintf(theirs, sizeof theirs, "%s/theirs.tif", dir);
    run_command(&c, run.op, theirs);
    compare(&c, ours, theirs);
    run_free(&run);
}
END_TEST

/* ---- all of them ---- */

void add_raster_tests(TCase *tc)
{
    tcase_add_test(tc, raw_is_placed);
    tcase_add_test(tc, raw_rows_given_up_are_filled);
    tcase_add_test(tc, raw_doubles_are_placed);
    tcase_add_test(tc, raw_whole);
    tcase_add_test(tc, fourier_is_close);
    tcase_add_test(tc, a_window_is_enough);
    tcase_add_test(tc, rows_that_are_read_from_the_top_stay);
    tcase_add_test(tc, plain_pixels_are_used_where_they_lie);
    tcase_add_test(tc, all_other_pixels_are_decoded);
    tcase_add_test(tc, a_cut_inside_of_a_page_is_told);
    tcase_add_test(tc, half_a_tile_is_no_strip);
    tcase_add_test(tc, metadata_of_any_size);
}
