/*
 * image_case.h - one call of image.*, made in this process (op_driver) and by the `vips` command, and the
 * comparison of what they wrote: what the tests against the command share.
 */
#ifndef PWC_TESTS_IMAGE_CASE_H
#define PWC_TESTS_IMAGE_CASE_H

#include <check.h>

#include "tests/unit/op_driver.h"

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

extern char dir[64]; /* of the inputs, and of what is written */

void make_inputs(void);
void remove_inputs(void);

/* So that even small images are cut into many strips. */
void cut_everything(void);

/* Our side: everything but run_go. The result will lie in `path`. */
void prepare(struct op_run *run, const struct call *c, char *path, size_t size);
/* The command's side; out: what it is to write, quoted for the shell where it must be. */
void run_command(const struct call *c, const struct op *op, const char *out);

/* Was it cut as the call says? */
void check_how(const struct call *c, const struct op_run *run);
/* Headers and values of two files. */
void compare(const struct call *c, const char *ours, const char *theirs);
/* Both sides and the comparison. */
void run_call(const struct call *c, bool batch);

/* test_image_raster.c */
void add_raster_tests(TCase *tc);

#endif
