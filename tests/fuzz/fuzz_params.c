/*
 * fuzz_params.c - any Submit against a catalogue: refused with a field and one printable line, or taken with
 * values of the declared types that fit the messages they travel on in. Input: a byte that says how the rest
 * makes the message: as it is, or through the descriptors (fill.h), so that most of it is right.
 */
#include <string.h>

#include "daemon/params.h"
#include "daemon/values.h"
#include "ipc/messages.h"
#include "tests/fuzz/catalogue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

static void check_refusal(const struct refusal *why)
{
    FUZZ_CHECK(why->code != PWC__CODE__CODE_OK);
    FUZZ_CHECK(strlen(why->field) < sizeof why->field && why->reason[0] != '\0');
    for (const char *p = why->reason; *p != '\0'; p++)
        FUZZ_CHECK(*p >= ' ' && *p < 0x7f);
}

static void check_values(const struct params *p)
{
    size_t packed = 0;
    FUZZ_CHECK(p->n <= PWC_PARAMS_MAX);
    for (size_t i = 0; i < p->n; i++) {
        FUZZ_CHECK(p->v[i]->value->kind_case != PWC__VALUE__KIND__NOT_SET);
        FUZZ_CHECK(params_get(p, p->v[i]->name) == p->v[i]->value);
        packed += pwc__param__get_packed_size(p->v[i]);
    }
    FUZZ_CHECK(packed <= PARAMS_PACKED_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct catalogue *cat;
    if (cat == NULL)
        cat = fuzz_catalogue();
    static uint8_t body[PWC_BODY_MAX];
    const struct msg_desc *d = msg_find(PWC_MSG_SUBMIT);
    if (size == 0 || size > sizeof body)
        return 0;
    size_t len = size - 1;
    if (data[0] % 2 == 0) {
        memcpy(body, data + 1, len);
    } else {
        struct input in = {data + 1, size - 1};
        struct source s = input_source(&in);
        len = fill_body(d->proto, &s, body, sizeof body);
    }
    ProtobufCMessage *m = msg_unpack(d, body, len);
    struct submission sub;
    struct refusal why;
    if (m != NULL && submit_check(cat, (Pwc__Submit *)m, &sub, &why) == 0) {
        check_values(sub.params);
        check_values(sub.save);
        check_values(sub.load);
        submission_free(&sub);
    } else if (m != NULL) {
        check_refusal(&why);
    }
    msg_free(m);
    return 0;
}
