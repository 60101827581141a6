/* convert.c - from the protocol's messages to the plain structs of pwc.h; strings stay the message's. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"

const char *text_of(const char *s)
{
    return s != NULL ? s : "";
}

void counts_from(struct pwc_counts *ret, const Pwc__Counts *pb)
{
    if (pb == NULL)
        return;
    *ret = (struct pwc_counts){
        .total = pb->total,
        .done = pb->done,
        .absorbed = pb->absorbed,
        .failed = pb->failed,
        .retried = pb->retried,
        .deaths = pb->deaths,
        .redone = pb->redone,
        .leases = pb->leases,
        .bytes_in = pb->bytes_in,
        .bytes_out = pb->bytes_out,
        .workers = pb->workers,
    };
}

void death_from(struct pwc_death *ret, const Pwc__Death *pb)
{
    *ret = (struct pwc_death){
        .job = pb->job,
        .stage = pb->stage,
        .pid = pb->pid,
        .role = text_of(pb->role),
        .chunk = pb->chunk,
        .in_chunk = pb->in_chunk,
        .covers = text_of(pb->covers),
        .attempt = pb->attempt,
        .attempts_max = pb->attempts_max,
        .code = (int)pb->code,
        .signal = pb->signal,
        .exit_status = pb->exit_status,
        .reason = text_of(pb->reason),
        .stack = text_of(pb->stack),
        .at_ns = pb->at_ns,
        .cpu_ns = pb->cpu_ns,
        .rss_peak = pb->rss_peak,
        .rss_before = pb->rss_before,
        .elapsed_ns = pb->elapsed_ns,
        .layers = text_of(pb->layers),
        .syscall = text_of(pb->syscall),
        .stderr_tail = text_of(pb->stderr_tail),
        .oom_by = text_of(pb->oom_by),
        .input = msg_name_of(&pb->input),
    };
}

static uint64_t get64le(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static int scalar_from(struct pwc_value *v, const Pwc__Value *pb)
{
    switch (pb->kind_case) {
    case PWC__VALUE__KIND_I64:
        *v = (struct pwc_value){.type = PWC_I64, .u.i64 = pb->i64};
        return PWC_OK;
    case PWC__VALUE__KIND_U64:
        *v = (struct pwc_value){.type = PWC_U64, .u.u64 = pb->u64};
        return PWC_OK;
    case PWC__VALUE__KIND_F64:
        *v = (struct pwc_value){.type = PWC_F64, .u.f64 = pb->f64};
        return PWC_OK;
    case PWC__VALUE__KIND_FLAG:
        *v = (struct pwc_value){.type = PWC_FLAG, .u.flag = pb->flag};
        return PWC_OK;
    case PWC__VALUE__KIND_STR:
        *v = (struct pwc_value){.type = PWC_STR, .u.str = text_of(pb->str)};
        return PWC_OK;
    default:
        return fail(PWC_E_PROTOCOL, "the value has a type that this library does not know");
    }
}

int value_from(struct pwc_value *ret, const Pwc__Value *pb)
{
    struct pwc_value v = {0};
    int r = PWC_OK;
    if (pb == NULL)
        return fail(PWC_E_PROTOCOL, "the value is missing");
    switch (pb->kind_case) {
    case PWC__VALUE__KIND_I128:
        if (pb->i128.len != 16)
            return fail(PWC_E_PROTOCOL, "a 128-bit value of %zu bytes", pb->i128.len);
        v.type = PWC_I128;
        v.u.i128.lo = get64le(pb->i128.data);
        v.u.i128.hi = (int64_t)get64le(pb->i128.data + 8);
        break;
    case PWC__VALUE__KIND_BLOB:
        v.type = PWC_BLOB;
        v.u.blob.data = pb->blob.data;
        v.u.blob.len = pb->blob.len;
        break;
    case PWC__VALUE__KIND_F64S:
        v.type = PWC_F64S;
        v.u.f64s.v = pb->f64s->v;
        v.u.f64s.n = pb->f64s->n_v;
        break;
    case PWC__VALUE__KIND_I64S:
        v.type = PWC_I64S;
        v.u.i64s.v = pb->i64s->v;
        v.u.i64s.n = pb->i64s->n_v;
        break;
    default:
        r = scalar_from(&v, pb);
    }
    if (r == PWC_OK)
        *ret = v;
    return r;
}

/* ---- text ---- */

struct sink {
    char *buf;
    size_t size, len;
};

static void put(struct sink *s, const char *text)
{
    for (; *text != '\0'; text++, s->len++)
        if (s->len + 1 < s->size)
            s->buf[s->len] = *text;
}

static void put_f64(struct sink *s, double v)
{
    char shortest[40];
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(shortest, sizeof shortest, "%.*g", digits, v);
        if (strtod(shortest, NULL) == v)
            break;
    }
    put(s, shortest);
}

static void put_i64(struct sink *s, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, v);
    put(s, text);
}

static void put_i128(struct sink *s, uint64_t lo, int64_t hi)
{
    unsigned __int128 v = (unsigned __int128)(uint64_t)hi << 64 | lo;
    char digits[48], *at = digits + sizeof digits;
    if (hi < 0)
        v = -v;
    *--at = '\0';
    do {
        *--at = (char)('0' + (int)(v % 10));
        v /= 10;
    } while (v > 0);
    if (hi < 0)
        *--at = '-';
    put(s, at);
}

static void put_blob(struct sink *s, const uint8_t *p, size_t n)
{
    char hex[3];
    for (size_t i = 0; i < n; i++) {
        snprintf(hex, sizeof hex, "%02x", p[i]);
        put(s, hex);
    }
}

static void put_list(struct sink *s, const struct pwc_value *v)
{
    size_t n = v->type == PWC_F64S ? v->u.f64s.n : v->u.i64s.n;
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(s, " ");
        if (v->type == PWC_F64S)
            put_f64(s, v->u.f64s.v[i]);
        else
            put_i64(s, v->u.i64s.v[i]);
    }
}

static void put_value(struct sink *s, const struct pwc_value *v)
{
    char text[32];
    switch (v->type) {
    case PWC_I64:
        put_i64(s, v->u.i64);
        break;
    case PWC_U64:
        snprintf(text, sizeof text, "%" PRIu64, v->u.u64);
        put(s, text);
        break;
    case PWC_I128:
        put_i128(s, v->u.i128.lo, v->u.i128.hi);
        break;
    case PWC_F64:
        put_f64(s, v->u.f64);
        break;
    case PWC_FLAG:
        put(s, v->u.flag ? "true" : "false");
        break;
    case PWC_STR:
        put(s, v->u.str);
        break;
    case PWC_BLOB:
        put_blob(s, v->u.blob.data, v->u.blob.len);
        break;
    case PWC_F64S:
    case PWC_I64S:
        put_list(s, v);
    }
}

size_t pwc_value_text(const struct pwc_value *v, char *buf, size_t size)
{
    struct sink s = {buf, size, 0};
    put_value(&s, v);
    if (size > 0)
        buf[MIN(s.len, size - 1)] = '\0';
    return s.len;
}
