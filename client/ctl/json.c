/* json.c - writing JSON: one document a line, keys as they come, integers in full. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "client/ctl/ctl.h"

void json_open(struct json *j, FILE *f)
{
    *j = (struct json){.f = f};
}

static void quoted(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch == '"' || ch == '\\')
            fprintf(f, "\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f)
            fprintf(f, "\\u%04x", ch);
        else
            fputc(ch, f);
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
    if (--j->depth == 0) {
        fputc('\n', j->f);
        fflush(j->f);
    }
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
    json_u64(j, "elapsed_ns", d->elapsed_ns);
    json_str(j, "layers", d->layers);
    json_str(j, "syscall", d->syscall);
    json_str(j, "stderr", d->stderr_tail);
    json_str(j, "oom_by", d->oom_by);
    json_end(j, '}');
}
