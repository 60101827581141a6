/* json.c - writing JSON: one document a line, keys as they come, integers in full. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/ctl/ctl.h"

void json_open(struct json *j, FILE *f)
{
    *j = (struct json){.f = f};
}

/* Bytes of the UTF-8 character that s begins with; 0: it is none (RFC 3629: no surrogates, no overlong
 * forms). */
static size_t utf8_len(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf4 && s[1] >= 0x90);
    return overlong || beyond ? 0 : n;
}

/* A file's name may be any bytes, a JSON document may not: what is no character becomes U+FFFD. */
static void quoted(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('"', f);
    while (*s != '\0') {
        size_t n = utf8_len(s);
        if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(f, "\\u%04x", *s);
        else if (n == 0)
            fputs("\\ufffd", f);
        else
            fwrite(s, 1, n, f);
        s += n > 0 ? n : 1;
    }
    fputc('"', f);
}

static void lead(struct json *j, const char *key)
{
    if (j->depth > 0 && j->more[j->depth])
        fputc(',', j->f);
    j->more[j->depth] = true;
    if (key != NULL) {
        quoted(j->f, key);
        fputc(':', j->f);
    }
}

void json_begin(struct json *j, const char *key, char bracket)
{
    lead(j, key);
    fputc(bracket, j->f);
    j->more[++j->depth] = false;
}

void json_end(struct json *j, char bracket)
{
    fputc(bracket, j->f);
    if (--j->depth == 0)
        fputc('\n', j->f);
}

void json_str(struct json *j, const char *key, const char *v)
{
    lead(j, key);
    quoted(j->f, v);
}

void json_u64(struct json *j, const char *key, uint64_t v)
{
    lead(j, key);
    fprintf(j->f, "%" PRIu64, v);
}

void json_i64(struct json *j, const char *key, int64_t v)
{
    lead(j, key);
    fprintf(j->f, "%" PRId64, v);
}

void json_f64(struct json *j, const char *key, double v)
{
    struct pwc_value value = {.type = PWC_F64, .u.f64 = v};
    char buf[40];
    pwc_value_text(&value, buf, sizeof buf);
    lead(j, key);
    if (isfinite(v))
        fputs(buf, j->f);
    else
        quoted(j->f, buf); /* JSON has no words for them */
}

void json_bool(struct json *j, const char *key, bool v)
{
    lead(j, key);
    fputs(v ? "true" : "false", j->f);
}

static void json_plain(struct json *j, const char *key, const struct pwc_value *v, bool quotes)
{
    size_t len = pwc_value_text(v, NULL, 0);
    char *buf = must(malloc(len + 1));
    pwc_value_text(v, buf, len + 1);
    lead(j, key);
    if (quotes)
        quoted(j->f, buf);
    else
        fputs(buf, j->f);
    free(buf);
}

void json_value(struct json *j, const char *key, const struct pwc_value *v)
{
    switch (v->type) {
    case PWC_F64:
        json_f64(j, key, v->u.f64);
        break;
    case PWC_F64S:
        json_begin(j, key, '[');
        for (size_t i = 0; i < v->u.f64s.n; i++)
            json_f64(j, NULL, v->u.f64s.v[i]);
        json_end(j, ']');
        break;
    case PWC_I64S:
        json_begin(j, key, '[');
        for (size_t i = 0; i < v->u.i64s.n; i++)
            json_i64(j, NULL, v->u.i64s.v[i]);
        json_end(j, ']');
        break;
    case PWC_I64:
    case PWC_U64:
    case PWC_I128:
    case PWC_FLAG:
        json_plain(j, key, v, false);
        break;
    case PWC_STR:
    case PWC_BLOB:
        json_plain(j, key, v, true);
    }
}

void json_counts(struct json *j, const char *key, const struct pwc_counts *n)
{
    json_begin(j, key, '{');
    json_u64(j, "total", n->total);
    json_u64(j, "done", n->done);
    json_u64(j, "absorbed", n->absorbed);
    json_u64(j, "failed", n->failed);
    json_u64(j, "retried", n->retried);
    json_u64(j, "deaths", n->deaths);
    json_u64(j, "redone", n->redone);
    json_u64(j, "leases", n->leases);
    json_u64(j, "workers", n->workers);
    json_u64(j, "bytes_in", n->bytes_in);
    json_u64(j, "bytes_out", n->bytes_out);
    json_end(j, '}');
}

void json_death(struct json *j, const char *key, const struct pwc_death *d)
{
    json_begin(j, key, '{');
    json_u64(j, "job", d->job);
    json_u64(j, "stage", d->stage);
    json_u64(j, "pid", d->pid);
    json_str(j, "role", d->role);
    if (d->in_chunk)
        json_u64(j, "chunk", d->chunk);
    json_str(j, "input", d->input);
    json_str(j, "covers", d->covers);
    json_u64(j, "attempt", d->attempt);
    json_u64(j, "attempts_max", d->attempts_max);
    json_str(j, "cause", pwc_code_name(d->code));
    if (d->signal != 0)
        json_str(j, "signal", signal_name(d->signal));
    json_i64(j, "exit_status", d->exit_status);
    json_str(j, "reason", d->reason);
    json_str(j, "stack", d->stack);
    json_u64(j, "at_ns", d->at_ns);
    json_u64(j, "cpu_ns", d->cpu_ns);
    json_u64(j, "rss_peak", d->rss_peak);
    json_u64(j, "rss_before", d->rss_before);
    json_u64(j, "elapsed_ns", d->elapsed_ns);
    json_str(j, "layers", d->layers);
    json_str(j, "syscall", d->syscall);
    json_str(j, "stderr", d->stderr_tail);
    json_str(j, "oom_by", d->oom_by);
    json_end(j, '}');
}
