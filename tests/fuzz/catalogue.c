/* catalogue.c - see catalogue.h. */
#include <string.h>

#include "tests/fuzz/catalogue.h"
#include "tests/fuzz/fuzz.h"

#define T(s)               ((char *)(uintptr_t)(s))
#define PARAM(nm, ty, ...) PARAM_DEF(nm, ty, "", __VA_ARGS__)
#define PARAM_DEF(nm, ty, d, ...)                                                                            \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__param_info__descriptor), .name = T(nm),                        \
        .type = PWC__PARAM_TYPE__PARAM_##ty, .summary = T(""), .def = T(d), .unit = T(""), __VA_ARGS__       \
    }
#define ROLE(nm, d, opt)                                                                                     \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__role_info__descriptor), .name = T(nm),                         \
        .dir = PWC__ROLE_DIR__ROLE_##d, .optional = opt, .summary = T("")                                    \
    }
#define OP(nm, ...) OP_SPLIT(nm, PLANNED, "", __VA_ARGS__)
#define OP_SPLIT(nm, sp, count, ...)                                                                         \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__op_info__descriptor), .name = T(nm), .version = T("1"),        \
        .summary = T(""), .count_param = T(count), .split = PWC__SPLIT__SPLIT_##sp, __VA_ARGS__              \
    }

static Pwc__Choice red = {.base = PROTOBUF_C_MESSAGE_INIT(&pwc__choice__descriptor),
                          .nick = T("red"),
                          .summary = T("")},
                   blue = {.base = PROTOBUF_C_MESSAGE_INIT(&pwc__choice__descriptor),
                           .nick = T("blue"),
                           .summary = T("")};
static Pwc__Choice *colours[] = {&red, &blue};
static Pwc__ParamInfo all_types[] = {
    PARAM("sigma", FLOAT, .max = 1000),
    PARAM("width", INT, .min = 1, .max = 10000000),
    PARAM("offset", INT),
    PARAM("seed", UINT),
    PARAM("linear", BOOL),
    PARAM("profile", STRING),
    PARAM("direction", ENUM, .choices = colours, .n_choices = 2),
    PARAM("keep", FLAGS, .choices = colours, .n_choices = 2),
    PARAM("background", FLOATS, .max = 255),
    PARAM("area", INTS),
    PARAM("ratio", FLOAT, .min = -0.5, .max = 1e20),
};
static Pwc__ParamInfo n_param = PARAM_DEF("n", UINT, "1"), type_param = PARAM("type", STRING),
                      q_param = PARAM("Q", INT, .min = 1, .max = 100),
                      page_param = PARAM("page", INT, .max = 1000);
static Pwc__ParamInfo *blur_params[ARRAY_LEN(all_types)],
    *count_params[] = {&n_param}, *sum_params[] = {&type_param}, *save_params[] = {&q_param},
    *load_params[] = {&page_param};
static Pwc__RoleInfo in = ROLE("in", IN, false), out = ROLE("out", OUT, false), mask = ROLE("mask", IN, true);
static Pwc__RoleInfo *blur_roles[] = {&in, &out, &mask}, *sum_roles[] = {&in};

static Pwc__OpInfo ops[] = {
    OP_SPLIT("noop", COUNT, "n", .params = count_params, .n_params = 1),
    OP_SPLIT("count", COUNT, "n", .params = count_params, .n_params = 1,
             .absorb = PWC__ABSORB__ABSORB_FOLDED),
    OP("array.sum", .params = sum_params, .n_params = 1, .roles = sum_roles, .n_roles = 1,
       .absorb = PWC__ABSORB__ABSORB_FOLDED),
    OP("image.blur", .params = blur_params, .n_params = ARRAY_LEN(all_types), .roles = blur_roles,
       .n_roles = 3, .whole = true, .formats = true, .scratch = true, .absorb = PWC__ABSORB__ABSORB_SERIAL),
    OP("save.png", .kind = PWC__OP_KIND__OP_SAVE),
    OP("save.raw", .kind = PWC__OP_KIND__OP_SAVE, .params = save_params, .n_params = 1),
    OP("load.tiff", .kind = PWC__OP_KIND__OP_LOAD, .params = load_params, .n_params = 1),
};

size_t fuzz_catalogue_bytes(uint8_t *to, size_t room)
{
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(all_types); i++)
        blur_params[i] = &all_types[i];
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        FUZZ_CHECK(len + 4 + pwc__op_info__get_packed_size(&ops[i]) <= room);
        size_t n = pwc__op_info__pack(&ops[i], to + len + 4);
        for (unsigned k = 0; k < 4; k++)
            to[len + k] = (uint8_t)(n >> (8 * k));
        len += n + 4;
    }
    return len;
}

struct catalogue *fuzz_catalogue(void)
{
    uint8_t bytes[8192];
    char *error = NULL;
    struct catalogue *c = catalogue_parse(bytes, fuzz_catalogue_bytes(bytes, sizeof bytes), &error);
    if (c == NULL)
        fprintf(stderr, "%s\n", error);
    FUZZ_CHECK(c != NULL);
    return c;
}
