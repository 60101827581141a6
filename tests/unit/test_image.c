/*
 * test_image.c - image.* in this process (op_driver) against the `vips` command, pixel by pixel and field by
 * field.
 *
 * Every row of the table is one call: the same parameters go to the driver, which cuts the image into many
 * strips and computes them in random order while the raster is still filling, and to the command. A bound
 * other than 0 needs a reason.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/image_case.h"
#include "tests/unit/runner.h"

#define CALL(op_, in_, out_, params_, how_, ...)                                                             \
    {                                                                                                        \
        .op = op_, .in = in_, .out = out_, .params = params_, .how = how_, ##__VA_ARGS__                     \
    }
static const struct call calls[] = {
#include "tests/unit/image_calls.h"
};

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

int main(void)
{
    Suite *s = suite_create("image");
    TCase *t = tcase_create("against the vips command");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, make_inputs, remove_inputs);
    tcase_add_loop_test(t, equals_the_command, 0, ARRAY_LEN(calls));
    tcase_add_loop_test(t, equals_the_command_in_a_batch, 0, ARRAY_LEN(calls));
    tcase_add_test(t, bounds_have_reasons);
    add_raster_tests(t);
    suite_add_tcase(s, t);
    t = tcase_create("table");
    tcase_add_test(t, table_is_complete);
    tcase_add_test(t, table_knows_types);
    tcase_add_test(t, table_fits_the_wire);
    suite_add_tcase(s, t);
    return run_suite(s);
}
