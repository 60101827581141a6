/* image_case.c - see image_case.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/image_case.h"
#include "tests/unit/image_inputs.h"
#include "tests/unit/runner.h"

extern uint64_t img_whole_bytes, img_strip_bytes, img_read_bytes;

char dir[64];

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

void run_command(const struct call *c, const struct op *op, const char *out)
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

void prepare(struct op_run *run, const struct call *c, char *path, size_t size)
{
    char name[64], options[128];
    static char format[16];
    snprintf(name, sizeof name, "image.%s", c->op);
    run_init(run, name);
    ck_assert_msg(run->op != NULL, "%s is not there", name);
    ops_image_code((run->op->needs & OP_NEEDS_CODE) != 0); /* as in its stages */
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

void check_how(const struct call *c, const struct op_run *run)
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

void compare(const struct call *c, const char *ours, const char *theirs)
{
    struct difference d;
    ck_assert(inputs_compare(ours, theirs, &d));
    ck_assert_msg(d.header[0] == '\0', "%s %s -> %s: header: %s", c->op, c->in, c->out, d.header);
    ck_assert_msg(d.most <= c->most, "%s %s %s -> %s: differs by %g in %g of all values", c->op, c->in,
                  c->params, c->out, d.most, d.fraction);
}

void run_call(const struct call *c, bool batch)
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

void cut_everything(void)
{
    ops_image_start();
    img_whole_bytes = 0;
    img_strip_bytes = 8192;
    img_read_bytes = 1;
}

/* ---- fixtures ---- */

void make_inputs(void)
{
    strcpy(dir, "/tmp/pwc-image-XXXXXX");
    ck_assert(mkdtemp(dir) != NULL);
    ck_assert(inputs_make(dir));
}

void remove_inputs(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    (void)!system(command);
}
