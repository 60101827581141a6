/*
 * small_catalogue.h - a catalogue of a few ops, as a stage would describe them, for the tests of what a
 * Submit may say. Included by one file a test program: it defines the tables.
 */
#ifndef PWC_TESTS_SMALL_CATALOGUE_H
#define PWC_TESTS_SMALL_CATALOGUE_H

#include "daemon/params.h"
#include "tests/unit/runner.h"

#define T(s) ((char *)(uintptr_t)(s))

#define PARAM(nm, ty, ...)                                                                                   \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__param_info__descriptor), .name = T(nm),                        \
        .type = PWC__PARAM_TYPE__PARAM_##ty, .summary = T(""), .def = T(""), .unit = T(""), __VA_ARGS__      \
    }
#define CHOICE(nm)                                                                                           \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__choice__descriptor), .nick = T(nm), .summary = T("")           \
    }
#define ROLE(nm, d, opt)                                                                                     \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__role_info__descriptor), .name = T(nm),                         \
        .dir = PWC__ROLE_DIR__ROLE_##d, .optional = opt, .summary = T("")                                    \
    }

static Pwc__Choice horizontal = CHOICE("horizontal"), vertical = CHOICE("vertical");
static Pwc__Choice *directions[] = {&horizontal, &vertical};
static Pwc__ParamInfo all_types[] = {
    PARAM("sigma", FLOAT, .min = 0, .max = 1000, .required = true),
    PARAM("width", INT, .min = 1, .max = 10000000),
    PARAM("offset", INT),
    PARAM("seed", UINT),
    PARAM("linear", BOOL),
    PARAM("profile", STRING),
    PARAM("direction", ENUM, .choices = directions, .n_choices = 2),
    PARAM("keep", FLAGS, .choices = directions, .n_choices = 2),
    PARAM("background", FLOATS, .min = 0, .max = 255),
    PARAM("area", INTS),
    PARAM("ratio", FLOAT, .min = -0.5, .max = 1e20),
};
static Pwc__ParamInfo *blur_params[ARRAY_LEN(all_types)];
static Pwc__RoleInfo in = ROLE("in", IN, false), out = ROLE("out", OUT, false), mask = ROLE("mask", IN, true);
static Pwc__RoleInfo *blur_roles[] = {&in, &out, &mask}, *sum_roles[] = {&in};
static Pwc__ParamInfo noop_n = PARAM("n", UINT), save_q = PARAM("Q", INT, .min = 1, .max = 100),
                      load_page = PARAM("page", INT, .min = 0, .max = 100000),
                      load_n = PARAM("n", INT, .min = -1, .max = 100),
                      load_shrink = PARAM("shrink", INT, .min = 1, .max = 16);
static Pwc__ParamInfo *noop_params[] = {&noop_n}, *jpeg_params[] = {&save_q},
                      *tiff_params[] = {&load_page, &load_n}, *load_jpeg_params[] = {&load_shrink};

#define OP(nm, ...)                                                                                          \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__op_info__descriptor), .name = T(nm), .version = T("8.14.1"),   \
        .summary = T(""), .count_param = T(""), .split = PWC__SPLIT__SPLIT_PLANNED, __VA_ARGS__              \
    }
static Pwc__OpInfo ops[] = {
    OP("image.gaussblur", .params = blur_params, .n_params = ARRAY_LEN(all_types), .roles = blur_roles,
       .n_roles = 3, .whole = true, .formats = true),
    OP("array.sum", .roles = sum_roles, .n_roles = 1),
    OP("noop", .params = noop_params, .n_params = 1),
    OP("save.png", .kind = PWC__OP_KIND__OP_SAVE),
    OP("save.jpeg", .kind = PWC__OP_KIND__OP_SAVE, .params = jpeg_params, .n_params = 1),
    OP("load.tiff", .kind = PWC__OP_KIND__OP_LOAD, .params = tiff_params, .n_params = 2),
    OP("load.jpeg", .kind = PWC__OP_KIND__OP_LOAD, .params = load_jpeg_params, .n_params = 1),
};
#define BLUR (&ops[0])
#define NOOP (&ops[2])
static struct catalogue *cat;

static void setup(void)
{
    uint8_t bytes[8192];
    size_t len = 0;
    char *error = NULL;
    NOOP->split = PWC__SPLIT__SPLIT_COUNT;
    NOOP->count_param = T("n");
    noop_n.def = T("1");
    for (size_t i = 0; i < ARRAY_LEN(all_types); i++)
        blur_params[i] = &all_types[i];
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        size_t n = pwc__op_info__pack(&ops[i], bytes + len + 4);
        for (unsigned k = 0; k < 4; k++)
            bytes[len + k] = (uint8_t)(n >> (8 * k));
        len += n + 4;
        ck_assert_uint_le(len, sizeof bytes);
    }
    cat = catalogue_parse(bytes, len, &error);
    ck_assert_msg(cat != NULL, "%s", error);
}

static void teardown(void)
{
    catalogue_free(cat);
}

static inline Pwc__Value str(const char *s)
{
    Pwc__Value v = PWC__VALUE__INIT;
    v.kind_case = PWC__VALUE__KIND_STR;
    v.str = T(s);
    return v;
}

#endif
