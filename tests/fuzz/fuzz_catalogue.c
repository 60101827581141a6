/*
 * fuzz_catalogue.c - any bytes as the catalogue that a stage describes itself with: refused with one line, or
 * something that can be asked and checked against.
 */
#include <string.h>

#include "daemon/params.h"
#include "tests/fuzz/fuzz.h"

static void check_line(const char *line)
{
    FUZZ_CHECK(line != NULL && line[0] != '\0' && strlen(line) < PWC_TEXT_MAX);
    for (; *line != '\0'; line++)
        FUZZ_CHECK(*line >= ' ' && *line < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *error = NULL;
    struct catalogue *c = catalogue_parse(data, size, &error);
    if (c == NULL) {
        check_line(error);
        free(error);
        return 0;
    }
    for (size_t i = 0; i < catalogue_len(c); i++) {
        const struct catalogue_op *op = catalogue_at(c, i);
        Pwc__Submit m = PWC__SUBMIT__INIT;
        struct submission sub;
        struct refusal why;
        FUZZ_CHECK(catalogue_find(c, op->info->name) == op);
        m.op = op->info->name;
        if (submit_check(c, &m, &sub, &why) == 0)
            submission_free(&sub);
        else
            check_line(why.reason);
        (void)catalogue_nearest(c, op->info->name + 1);
    }
    catalogue_free(c);
    return 0;
}
