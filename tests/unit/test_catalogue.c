/* test_catalogue.c - the catalogue a stage wrote: what is believed, what is refused, how names are found. */
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/catalogue.h"
#include "daemon/nearest.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"

/* ---- writing one ---- */

struct book {
    uint8_t *bytes;
    size_t len;
};

static void book_raw(struct book *b, const void *data, size_t n)
{
    b->bytes = xrealloc(b->bytes, b->len + n, 1);
    memcpy(b->bytes + b->len, data, n);
    b->len += n;
}

static void book_add(struct book *b, const Pwc__OpInfo *op)
{
    size_t n = pwc__op_info__get_packed_size(op);
    AUTO_FREE uint8_t *packed = xcalloc(n, 1);
    uint32_t len = htole32((uint32_t)n);
    pwc__op_info__pack(op, packed);
    book_raw(b, &len, sizeof len);
    book_raw(b, packed, n);
}

static void book_free(struct book *b)
{
    free(b->bytes);
}

#define OP(nm)                                                                                               \
    (Pwc__OpInfo)                                                                                            \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__op_info__descriptor), .name = (char *)(uintptr_t)(nm),         \
        .version = (char *)"1", .summary = (char *)"an op", .count_param = (char *)"",                       \
        .split = PWC__SPLIT__SPLIT_PLANNED                                                                   \
    }
#define PARAM(nm, ty)                                                                                        \
    (Pwc__ParamInfo)                                                                                         \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__param_info__descriptor), .name = (char *)(uintptr_t)(nm),      \
        .type = PWC__PARAM_TYPE__PARAM_##ty, .summary = (char *)"", .def = (char *)"", .unit = (char *)""    \
    }
#define CHOICE(nm)                                                                                           \
    (Pwc__Choice)                                                                                            \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__choice__descriptor), .nick = (char *)(uintptr_t)(nm),          \
        .summary = (char *)""                                                                                \
    }
#define ROLE(nm, d)                                                                                          \
    (Pwc__RoleInfo)                                                                                          \
    {                                                                                                        \
        .base = PROTOBUF_C_MESSAGE_INIT(&pwc__role_info__descriptor), .name = (char *)(uintptr_t)(nm),       \
        .dir = PWC__ROLE_DIR__ROLE_##d, .summary = (char *)""                                                \
    }

static void three_ops(struct book *b)
{
    Pwc__OpInfo ops[] = {OP("image.gaussblur"), OP("array.sum"), OP("noop"), OP("save.png")};
    ops[3].kind = PWC__OP_KIND__OP_SAVE;
    *b = (struct book){0};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        book_add(b, &ops[i]);
}

static void refused(const struct book *b, const char *why)
{
    char *error = NULL;
    ck_assert_ptr_null(catalogue_parse(b->bytes, b->len, &error));
    ck_assert_ptr_nonnull(error);
    ck_assert_msg(strstr(error, why) != NULL, "\"%s\" lacks \"%s\"", error, why);
    free(error);
}

static void refused_op(const Pwc__OpInfo *op, const char *why)
{
    struct book b = {0};
    book_add(&b, op);
    refused(&b, why);
    book_free(&b);
}

static void accepted_op(const Pwc__OpInfo *op)
{
    struct book b = {0};
    char *error = NULL;
    book_add(&b, op);
    struct catalogue *c = catalogue_parse(b.bytes, b.len, &error);
    ck_assert_msg(c != NULL, "%s", error);
    catalogue_free(c);
    book_free(&b);
}

/* ---- tests ---- */

START_TEST(finds)
{
    struct book b;
    char *error = NULL;
    three_ops(&b);
    struct catalogue *c = catalogue_parse(b.bytes, b.len, &error);
    ck_assert_msg(c != NULL, "%s", error);
    book_free(&b); /* nothing of it may be needed any more */
    ck_assert_uint_eq(catalogue_len(c), 4);
    ck_assert_str_eq(catalogue_at(c, 0)->info->name, "array.sum");
    ck_assert_str_eq(catalogue_at(c, 3)->info->name, "save.png");
    ck_assert_ptr_null(catalogue_at(c, 4));
    ck_assert_ptr_eq(catalogue_find(c, "noop"), catalogue_at(c, 2));
    ck_assert_ptr_null(catalogue_find(c, "noo"));
    ck_assert_ptr_null(catalogue_find(c, ""));
    ck_assert_ptr_eq(catalogue_find_in(c, "save", "png"), catalogue_at(c, 3));
    ck_assert_ptr_null(catalogue_find_in(c, "save", "gif"));
    Pwc__OpInfo *again =
        pwc__op_info__unpack(NULL, catalogue_at(c, 1)->packed_len, catalogue_at(c, 1)->packed);
    ck_assert_str_eq(again->name, "image.gaussblur");
    pwc__op_info__free_unpacked(again, NULL);
    catalogue_free(c);
    catalogue_free(NULL);
}
END_TEST

START_TEST(nearest)
{
    struct book b;
    char *error = NULL;
    three_ops(&b);
    struct catalogue *c = catalogue_parse(b.bytes, b.len, &error);
    ck_assert_str_eq(catalogue_nearest(c, "image.gausblur"), "image.gaussblur");
    ck_assert_str_eq(catalogue_nearest(c, "gaussblur"), "image.gaussblur");
    ck_assert_str_eq(catalogue_nearest(c, "Gausblur"), "image.gaussblur");
    ck_assert_str_eq(catalogue_nearest(c, "aray.smu"), "array.sum");
    ck_assert_ptr_null(catalogue_nearest(c, "save.pnf")); /* no op */
    ck_assert_ptr_null(catalogue_nearest(c, "zzzzzz"));
    ck_assert_ptr_null(catalogue_nearest(c, ""));
    catalogue_free(c);
    book_free(&b);
}
END_TEST

START_TEST(distances)
{
    ck_assert_uint_eq(name_distance("", ""), 0);
    ck_assert_uint_eq(name_distance("abc", "abc"), 0);
    ck_assert_uint_eq(name_distance("abc", "ABC"), 0);
    ck_assert_uint_eq(name_distance("abc", "acb"), 1);
    ck_assert_uint_eq(name_distance("abc", "ab"), 1);
    ck_assert_uint_eq(name_distance("ab", "abc"), 1);
    ck_assert_uint_eq(name_distance("abc", "axc"), 1);
    ck_assert_uint_eq(name_distance("", "abc"), 3);
    ck_assert_uint_eq(name_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(name_distance("workres", "workers"), 1);
    char longer[100];
    memset(longer, 'a', sizeof longer);
    longer[99] = '\0';
    ck_assert_uint_eq(name_distance(longer, longer), UINT32_MAX);
    char shown[12];
    ck_assert_str_eq(printable("a\033[1m\xff", shown, sizeof shown), "a?[1m?");
    ck_assert_str_eq(printable("0123456789abcdef", shown, sizeof shown), "01234567...");
    char line[] = "\xc3\xbc\xff\n\033[m\x7f\xc2\x9b\xc2\xa0";
    ck_assert_str_eq(one_line(line), "\xc3\xbc\xff??[m???\xc2\xa0");
    ck_assert_uint_eq(control_len(""), 0);
}
END_TEST

START_TEST(lengths_lie)
{
    struct book b;
    three_ops(&b);
    size_t whole = b.len;
    for (size_t cut = 1; cut < whole; cut++) {
        char *error = NULL;
        struct catalogue *c = catalogue_parse(b.bytes, cut, &error);
        ck_assert((c == NULL) == (error != NULL)); /* cut between entries it is a smaller catalogue */
        catalogue_free(c);
        free(error);
    }
    uint32_t lie = htole32(0xffffffffu);
    memcpy(b.bytes, &lie, sizeof lie);
    refused(&b, "claims 4294967295 bytes");
    lie = 0;
    memcpy(b.bytes, &lie, sizeof lie);
    refused(&b, "claims 0 bytes");
    b.len = 0;
    refused(&b, "empty");
    b.len = 3;
    refused(&b, "within a length");
    book_free(&b);
}
END_TEST

START_TEST(garbage)
{
    unsigned seed = 7;
    for (int round = 0; round < 20000; round++) {
        struct book b;
        char *error = NULL;
        three_ops(&b);
        for (int i = 0; i < 1 + round % 4; i++) {
            seed = seed * 1103515245u + 12345u;
            b.bytes[(seed >> 8) % b.len] = (uint8_t)(seed >> 24);
        }
        struct catalogue *c = catalogue_parse(b.bytes, b.len, &error);
        ck_assert((c == NULL) == (error != NULL));
        for (size_t i = 0; c != NULL && i < catalogue_len(c); i++)
            ck_assert_uint_lt(strlen(catalogue_at(c, i)->info->name), PWC_NAME_MAX);
        catalogue_free(c);
        free(error);
        book_free(&b);
    }
}
END_TEST

START_TEST(names)
{
    Pwc__OpInfo op = OP("bad name");
    refused_op(&op, "a bad name");
    op = OP("");
    refused_op(&op, "a bad name");
    op = OP("\033[2J");
    refused_op(&op, "(?[2J) has a bad name");
    char longest[PWC_NAME_MAX + 1];
    memset(longest, 'x', sizeof longest);
    longest[PWC_NAME_MAX] = '\0';
    op = OP(longest);
    refused_op(&op, "a bad name");
    longest[PWC_NAME_MAX - 1] = '\0';
    accepted_op(&op);
    struct book b;
    three_ops(&b);
    op = OP("noop");
    book_add(&b, &op);
    refused(&b, "two ops are called noop");
    book_free(&b);
}
END_TEST

START_TEST(enums)
{
    Pwc__OpInfo op = OP("x");
    op.kind = 3;
    refused_op(&op, "kind");
    op = OP("x");
    op.absorb = 4;
    refused_op(&op, "absorb");
    op = OP("x");
    op.split = 2;
    refused_op(&op, "split");
}
END_TEST

START_TEST(parameters)
{
    Pwc__ParamInfo p[PWC_PARAMS_MAX + 1], *list[PWC_PARAMS_MAX + 1];
    Pwc__Choice choice = CHOICE("a"), *choices[] = {&choice};
    char p_names[PWC_PARAMS_MAX + 1][8];
    Pwc__OpInfo op = OP("x");
    op.params = list;
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        snprintf(p_names[i], sizeof p_names[i], "p%zu", i);
        p[i] = PARAM(p_names[i], INT);
        list[i] = &p[i];
    }
    op.n_params = PWC_PARAMS_MAX + 1;
    refused_op(&op, "too many parameters");
    op.n_params--;
    accepted_op(&op);
    op.n_params = 2;
    p[1].name = p[0].name;
    refused_op(&op, "two parameters of one name");
    op.n_params = 1;
    p[0].type = 99;
    refused_op(&op, "unknown type");
    p[0].type = PWC__PARAM_TYPE__PARAM_ENUM;
    refused_op(&op, "choices");
    p[0].choices = choices;
    p[0].n_choices = 1;
    accepted_op(&op);
    choice.nick = (char *)"a,b";
    refused_op(&op, "choice with a bad name");
    choice.nick = (char *)"a";
    p[0].type = PWC__PARAM_TYPE__PARAM_INT;
    refused_op(&op, "choices");
    p[0] = PARAM("p", FLOAT);
    p[0].min = 2;
    p[0].max = 1;
    refused_op(&op, "bad range");
    p[0].max = (double)NAN;
    refused_op(&op, "bad range");
    p[0].max = (double)INFINITY;
    refused_op(&op, "bad range");
}
END_TEST

START_TEST(roles_and_counts)
{
    Pwc__RoleInfo r[PWC_ROLES_MAX + 1], *list[PWC_ROLES_MAX + 1];
    Pwc__OpInfo op = OP("x");
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        r[i] = ROLE("in", IN);
        list[i] = &r[i];
    }
    op.roles = list;
    op.n_roles = PWC_ROLES_MAX + 1;
    refused_op(&op, "too many roles");
    op.n_roles = 2;
    refused_op(&op, "two roles of one name");
    r[1] = ROLE("out", OUT);
    accepted_op(&op);
    r[1].dir = 7;
    refused_op(&op, "unknown direction");
    op.n_roles = 0;
    op.split = PWC__SPLIT__SPLIT_COUNT;
    op.count_param = (char *)"n";
    refused_op(&op, "count parameter that is not there");
    Pwc__ParamInfo n = PARAM("n", FLOAT), *params[] = {&n};
    op.params = params;
    op.n_params = 1;
    refused_op(&op, "no whole number");
    n.type = PWC__PARAM_TYPE__PARAM_UINT;
    accepted_op(&op);
}
END_TEST

START_TEST(memory_must_be_sealed)
{
    struct book b;
    char *error = NULL;
    int fd;
    three_ops(&b);
    ck_assert_int_eq(memfd_sealed_copy("book", b.bytes, b.len, &fd), 0);
    struct catalogue *c = catalogue_load(fd, &error);
    ck_assert_msg(c != NULL, "%s", error);
    ck_assert_uint_eq(catalogue_len(c), 4);
    catalogue_free(c);
    close(fd);
    ck_assert_int_eq(memfd_sized("book", b.len, &fd), 0); /* may still be written */
    ck_assert_ptr_null(catalogue_load(fd, &error));
    ck_assert_str_eq(error, "catalogue: is not in sealed memory");
    free(TAKE_PTR(error));
    close(fd);
    ck_assert_int_eq(memfd_sealed_copy("book", "", 0, &fd), 0);
    ck_assert_ptr_null(catalogue_load(fd, &error));
    ck_assert_ptr_nonnull(strstr(error, "is empty"));
    free(TAKE_PTR(error));
    close(fd);
    ck_assert_ptr_null(catalogue_load(STDIN_FILENO, &error));
    free(error);
    book_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("catalogue");
    TCase *t = tcase_create("catalogue");
    tcase_add_test(t, finds);
    tcase_add_test(t, nearest);
    tcase_add_test(t, distances);
    tcase_add_test(t, lengths_lie);
    tcase_add_test(t, garbage);
    tcase_add_test(t, names);
    tcase_add_test(t, enums);
    tcase_add_test(t, parameters);
    tcase_add_test(t, roles_and_counts);
    tcase_add_test(t, memory_must_be_sealed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
