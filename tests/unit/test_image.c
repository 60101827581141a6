/*
 * test_image.c - image.* in this process (op_driver) against the `vips` command, pixel by pixel and field by
 * field.
 *
 * Every row of the table is one call: the same parameters go to the driver, which cuts the image into many
 * strips and computes them in random order while the raster is still filling, and to the command. A bound
 * other than 0 needs a reason.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/unit/image_inputs.h"
#include "tests/unit/op_driver.h"
#include "tests/unit/runner.h"

extern uint64_t img_whole_bytes, img_strip_bytes, img_read_bytes, img_window_bytes;

static char dir[64];

/* SLIDE: strips are computed while the input is still being read. ALL: cut, but after the last row. */
enum how { SLIDE, ALL, WHOLE };

struct call {
    const char *op, *in,
        *out;           /* out: suffix with save options as the command takes them: ".tif[compression=lzw]" */
    const char *params; /* "sigma=8 precision=float" */
    enum how how;
    const char *second;  /* role=file */
    const char *command; /* the command's files, if not "IN OUT": %i %o %m */
    const char *option;  /* one that takes the second file: %m */
    double most;         /* largest difference allowed */
    const char *reason;
};

#define CALL(op_, in_, out_, params_, how_, ...)                                                             \
    {                                                                                                        \
        .op = op_, .in = in_, .out = out_, .params = params_, .how = how_, ##__VA_ARGS__                     \
    }
static const struct call calls[] = {
#include "tests/unit/image_calls.h"
};

/* ---- the command's side ---- */

static bool is_required(const struct op *op, const char *assignment)
{
    size_t len = strcspn(assignment, "=");
    for (size_t i = 0; i < op->nparams; i++)
        if (strncmp(op->params[i].name, assignment, len) == 0 && op->params[i].name[len] == '\0')
            return op->params[i].required;
    ck_abort_msg("%s has no parameter %s", op->name, assignment);
}

/* One parameter as the command's argument: required ones by place, others by name. */
static void add_argument(char *places, char *options, size_t size, const struct op *op,
                         const char *assignment)
{
    char value[128], name[64];
    int len = (int)strcspn(assignment, "=");
    snprintf(value, sizeof value, "%s", assignment + len + 1);
    snprintf(name, sizeof name, "%.*s", len, assignment);
    for (char *c = value; *c; c++)
        *c = *c == ',' ? ' ' : *c;
    for (char *c = name; *c; c++)
        *c = *c == '_' ? '-' : *c;
    if (is_required(op, assignment))
        snprintf(places + strlen(places), size - strlen(places), " '%s'", value);
    else if (strcmp(value, "true") == 0)
        snprintf(options + strlen(options), size - strlen(options), " --%s", name);
    else if (strcmp(value, "false") != 0)
        snprintf(options + strlen(options), size - strlen(options), " '--%s=%s'", name, value);
}

static void expand(char *to, size_t size, const char *from, const char *in, const char *out, const char *mask)
{
    size_t n = 0;
    for (; *from && n + 1 < size; from++) {
        const char *word = from[0] != '%'   ? NULL
                           : from[1] == 'i' ? in
                           : from[1] == 'o' ? out
                           : from[1] == 'm' ? mask
                                            : NULL;
        if (!word) {
            to[n++] = *from;
            continue;
        }
        n += (size_t)snprintf(to + n, size - n, "%s", word);
        from++;
    }
    to[MIN(n, size - 1)] = '\0';
}

static void run_command(const struct call *c, const struct op *op, const char *out)
{
    char places[1024] = "", options[1024] = "", files[2048], in[512], mask[512] = "", second[600] = "",
         all[4800];
    AUTO_FREE char *params = xstrdup(c->params);
    char *save = NULL;
    for (char *p = strtok_r(params, " ", &save); p; p = strtok_r(NULL, " ", &save))
        add_argument(places, options, sizeof places, op, p);
    snprintf(in, sizeof in, "'%s/%s'", dir, c->in);
    if (c->second)
        snprintf(mask, sizeof mask, "'%s/%s'", dir, strchr(c->second, '=') + 1);
    expand(files, sizeof files, c->command ? c->command : "%i %o", in, out, mask);
    if (c->option)
        expand(second, sizeof second, c->option, in, out, mask);
    /* stats says where the extremes lie: with several threads, whose comes first is luck. */
    const char *alone = strcmp(c->op, "stats") == 0 ? "VIPS_CONCURRENCY=1 " : "";
    snprintf(all, sizeof all, "%svips %s %s %s -- %s %s", alone, c->op, options, second, files, places);
    ck_assert_msg(system(all) == 0, "%s", all);
}

/* ---- our side ---- */

static void name_output(const struct call *c, const char *who, char *ret_path, size_t size, char *ret_format,
                        char *ret_options)
{
    char suffix[16];
    size_t len = strcspn(c->out, "[");
    snprintf(suffix, sizeof suffix, "%.*s", (int)len, c->out);
    snprintf(ret_path, size, "%s/%s%s", dir, who, suffix);
    strcpy(ret_format, strcmp(suffix, ".jpg") == 0   ? "jpeg"
                       : strcmp(suffix, ".tif") == 0 ? "tiff"
                                                     : suffix + 1);
    snprintf(ret_options, 128, "%s", c->out[len] ? c->out + len + 1 : "");
    ret_options[strcspn(ret_options, "]")] = '\0';
}

static void add_save_options(struct op_run *run, char *options)
{
    char *save = NULL;
    for (char *o = strtok_r(options, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
        char with[64];
        snprintf(with, sizeof with, strchr(o, '=') ? "%s" : "%s=true", o);
        run_save(run, with);
    }
}

static int open_in(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%.*s", dir, (int)strcspn(name, "["), name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s", path);
    return fd;
}

static int open_out(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void prepare(struct op_run *run, const struct call *c, char *path, size_t size)
{
    char name[64], options[128];
    static char format[16];
    snprintf(name, sizeof name, "image.%s", c->op);
    run_init(run, name);
    ck_assert_msg(run->op != NULL, "%s is not there", name);
    name_output(c, "ours", path, size, format, options);
    run->format = format;
    AUTO_FREE char *params = xstrdup(c->params);
    char *save = NULL;
    for (char *p = strtok_r(params, " ", &save); p; p = strtok_r(NULL, " ", &save))
        run_param(run, p);
    add_save_options(run, options);
    const char *bracket = strchr(c->in, '[');
    if (bracket) {
        char option[64];
        snprintf(option, sizeof option, "%.*s", (int)strcspn(bracket + 1, "]"), bracket + 1);
        run_load(run, strstr(c->in, ".tif") ? "tiff" : strstr(c->in, ".jpg") ? "jpeg" : "gif", option);
    }
    run_fd(run, "in", open_in(c->in));
    run_fd(run, "out", open_out(path));
    if (c->second) {
        static char role[32];
        snprintf(role, sizeof role, "%.*s", (int)strcspn(c->second, "="), c->second);
        run_fd(run, role, open_in(strchr(c->second, '=') + 1));
    }
}

static void check_how(const struct call *c, const struct op_run *run)
{
    enum how how = run->plan.whole ? WHOLE : run->early > 0 ? SLIDE : ALL;
    ck_assert_msg(how == c->how, "%s %s %s: %s expected, got %s (%llu chunks)", c->op, c->in, c->params,
                  c->how == WHOLE ? "whole"
                  : c->how == ALL ? "all rows first"
                                  : "a sliding window",
                  how == WHOLE ? "whole"
                  : how == ALL ? "all rows first"
                               : "a sliding window",
                  (unsigned long long)run->plan.chunks);
}

static void compare(const struct call *c, const char *ours, const char *theirs)
{
    struct difference d;
    ck_assert(inputs_compare(ours, theirs, &d));
    ck_assert_msg(d.header[0] == '\0', "%s %s -> %s: header: %s", c->op, c->in, c->out, d.header);
    ck_assert_msg(d.most <= c->most, "%s %s %s -> %s: differs by %g in %g of all values", c->op, c->in,
                  c->params, c->out, d.most, d.fraction);
}

static void run_call(const struct call *c, bool batch)
{
    char ours[512], theirs[512], format[16], options[128], with[1024];
    struct op_run run;
    prepare(&run, c, ours, sizeof ours);
    run.batch = batch;
    int r = run_go(&run);
    ck_assert_msg(r == 0, "%s %s: %s", c->op, c->in, run.text);
    if (!batch)
        check_how(c, &run);
    ck_assert_uint_gt(run.wrote + (run.plan.absorb == PWC__ABSORB__ABSORB_PLACED), 0);
    name_output(c, "theirs", theirs, sizeof theirs, format, options);
    snprintf(with, sizeof with, "'%s%s'", theirs, c->out + strcspn(c->out, "["));
    run_command(c, run.op, with);
    compare(c, ours, theirs);
    run_free(&run);
}

static void cut_everything(void)
{
    ops_image_start();
    img_whole_bytes = 0;
    img_strip_bytes = 8192;
    img_read_bytes = 1;
}

START_TEST(equals_the_command)
{
    cut_everything();
    run_call(&calls[_i], false);
}
END_TEST

START_TEST(equals_the_command_in_a_batch)
{
    ops_image_start();
    run_call(&calls[_i], true);
}
END_TEST

START_TEST(bounds_have_reasons)
{
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        ck_assert_msg((calls[i].most > 0) == (calls[i].reason != NULL), "%s", calls[i].op);
}
END_TEST

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

/* ---- the table ---- */

static size_t count(const char *prefix, size_t in_roles)
{
    const struct op *const *ops;
    size_t n = driver_ops(&ops), found = 0;
    for (size_t i = 0; i < n; i++) {
        size_t roles = 0;
        for (size_t k = 0; k < ops[i]->nroles; k++)
            roles += ops[i]->roles[k].dir == PWC__ROLE_DIR__ROLE_IN;
        found += strncmp(ops[i]->name, prefix, strlen(prefix)) == 0 && roles == in_roles;
    }
    return found;
}

START_TEST(table_is_complete)
{
    ops_image_start();
    size_t one = count("image.", 1), two = count("image.", 2);
    printf("image.*: %zu with one image in, %zu with a mask or table too\n", one, two);
    ck_assert_uint_ge(one, 107);
    ck_assert_uint_ge(two, 15);
    ck_assert_uint_eq(count("save.", 0), 5);
    ck_assert_uint_ge(count("load.", 0), 4);
    static const char *const not_there[] = {"image.system",  "image.globalbalance", "image.jpegload",
                                            "image.pngsave", "image.add",           "image.thumbnail_source"};
    for (size_t i = 0; i < ARRAY_LEN(not_there); i++)
        ck_assert_msg(driver_op(not_there[i]) == NULL, "%s", not_there[i]);
}
END_TEST

static const struct op_param *param_of(const char *op, const char *name)
{
    const struct op *o = driver_op(op);
    ck_assert_msg(o != NULL, "%s", op);
    for (size_t i = 0; i < o->nparams; i++)
        if (strcmp(o->params[i].name, name) == 0)
            return &o->params[i];
    return NULL;
}

static bool has_choice(const struct op_param *p, const char *nick)
{
    for (const struct op_choice *c = p->choices; c && c->nick; c++)
        if (strcmp(c->nick, nick) == 0)
            return true;
    return false;
}

START_TEST(table_knows_types)
{
    ops_image_start();
    const struct op_param *p = param_of("image.gaussblur", "sigma");
    ck_assert(p && p->required && p->type == PWC__PARAM_TYPE__PARAM_FLOAT && p->max > 0);
    p = param_of("image.gaussblur", "min_ampl");
    ck_assert(p && !p->required && strcmp(p->def, "0.2") == 0);
    p = param_of("image.gaussblur", "precision");
    ck_assert(p && p->type == PWC__PARAM_TYPE__PARAM_ENUM && has_choice(p, "approximate") &&
              !has_choice(p, "last"));
    p = param_of("image.affine", "matrix");
    ck_assert(p && p->required && p->type == PWC__PARAM_TYPE__PARAM_FLOATS);
    p = param_of("image.affine", "interpolate");
    ck_assert(p && has_choice(p, "vsqbs") && has_choice(p, "bicubic"));
    p = param_of("save.jpeg", "Q");
    ck_assert(p && p->type == PWC__PARAM_TYPE__PARAM_INT && p->min == 1 && p->max == 100 &&
              strcmp(p->def, "75") == 0);
    p = param_of("load.jpeg", "shrink");
    ck_assert(p && p->type == PWC__PARAM_TYPE__PARAM_INT);
    ck_assert(param_of("save.tiff", "filename") == NULL && param_of("load.png", "access") == NULL);
    ck_assert(param_of("image.thumbnail", "width")->required &&
              !param_of("image.thumbnail", "option_string"));
}
END_TEST

/* Names and texts must fit the catalogue's messages. */
START_TEST(table_fits_the_wire)
{
    ops_image_start();
    const struct op *const *ops;
    size_t n = driver_ops(&ops);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = 0;
        ck_assert_uint_le(strlen(ops[i]->name), 64);
        ck_assert_uint_le(ops[i]->nparams, 64);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(ops[k]->name, ops[i]->name);
        for (size_t k = 0; k < ops[i]->nparams; k++) {
            const struct op_param *p = &ops[i]->params[k];
            ck_assert_msg(p->name && p->summary, "%s parameter %zu", ops[i]->name, k);
            bytes += strlen(p->name) + strlen(p->summary) + 40;
            for (const struct op_choice *c = p->choices; c && c->nick; c++)
                bytes += strlen(c->nick) + strlen(c->summary) + 8;
        }
        ck_assert_msg(bytes < 15000, "%s takes %zu bytes", ops[i]->name, bytes);
    }
}
END_TEST

/* ---- fixtures ---- */

static void make_inputs(void)
{
    strcpy(dir, "/tmp/pwc-image-XXXXXX");
    ck_assert(mkdtemp(dir) != NULL);
    ck_assert(inputs_make(dir));
}

static void remove_inputs(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    (void)!system(command);
}

int main(void)
{
    Suite *s = suite_create("image");
    TCase *t = tcase_create("against the vips command");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, make_inputs, remove_inputs);
    tcase_add_loop_test(t, equals_the_command, 0, ARRAY_LEN(calls));
    tcase_add_loop_test(t, equals_the_command_in_a_batch, 0, ARRAY_LEN(calls));
    tcase_add_test(t, bounds_have_reasons);
    tcase_add_test(t, raw_is_placed);
    tcase_add_test(t, raw_rows_given_up_are_filled);
    tcase_add_test(t, raw_doubles_are_placed);
    tcase_add_test(t, raw_whole);
    tcase_add_test(t, fourier_is_close);
    tcase_add_test(t, a_window_is_enough);
    tcase_add_test(t, plain_pixels_are_used_where_they_lie);
    tcase_add_test(t, all_other_pixels_are_decoded);
    tcase_add_test(t, half_a_tile_is_no_strip);
    suite_add_tcase(s, t);
    t = tcase_create("table");
    tcase_add_test(t, table_is_complete);
    tcase_add_test(t, table_knows_types);
    tcase_add_test(t, table_fits_the_wire);
    suite_add_tcase(s, t);
    return run_suite(s);
}
