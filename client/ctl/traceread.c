/*
 * traceread.c - the records of a trace out of the file that tracewrite.c wrote.
 *
 * Any JSON is parsed, and bounded in depth; of it only the events count whose category is a record's kind,
 * those that say which lease they end, and otherData. Unknown keys and events are passed over, so a trace
 * that went through another tool may be read.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/trace.h"

#define DEPTH_MAX 32

const char *const trace_words[TRACE_KINDS] = {
    [PWC_TRACE_JOB] = "job",
    [PWC_TRACE_BORN] = "born",
    [PWC_TRACE_READY] = "ready",
    [PWC_TRACE_DIED] = "died",
    [PWC_TRACE_KILL] = "kill",
    [PWC_TRACE_LEASE] = "lease",
    [PWC_TRACE_CHUNKS] = "chunks",
    [PWC_TRACE_ABSORBED] = "absorbed",
    [PWC_TRACE_ANNOUNCED] = "announced",
    [PWC_TRACE_WAIT] = "wait",
    [PWC_TRACE_RETRY] = "retry",
    [PWC_TRACE_GAVE_UP] = "gave_up",
    [PWC_TRACE_TAKEN_BACK] = "taken_back",
    [PWC_TRACE_RESTART] = "restart",
    [PWC_TRACE_AGAIN] = "again",
};

enum where { ELSEWHERE, TOP, OTHER, EVENTS, EVENT, ARGS };

struct reader {
    struct trace *t;
    const char *begin, *p, *end;
    unsigned depth;
    bool bad, events;
    char schema[24];
    /* the event that is being read */
    struct pwc_trace_record r;
    uint64_t tid, pid, dur, begun, killed, ended, cause;
    char cat[16];
};

/* ---- values ---- */

static void blanks(struct reader *rd)
{
    while (rd->p < rd->end && (*rd->p == ' ' || *rd->p == '\n' || *rd->p == '\r' || *rd->p == '\t'))
        rd->p++;
}

static bool take(struct reader *rd, char ch)
{
    blanks(rd);
    if (rd->p == rd->end || *rd->p != ch)
        return false;
    rd->p++;
    return true;
}

static void expect(struct reader *rd, char ch)
{
    if (!take(rd, ch))
        rd->bad = true;
}

/* Cut to size; escapes stay as they are: no name that we look for has one. */
static void string(struct reader *rd, char *to, size_t size)
{
    size_t n = 0;
    expect(rd, '"');
    while (!rd->bad && rd->p < rd->end && *rd->p != '"') {
        if (n + 1 < size)
            to[n++] = *rd->p;
        rd->p += *rd->p == '\\' && rd->p + 1 < rd->end ? 2 : 1;
    }
    to[n] = '\0';
    if (rd->p < rd->end)
        rd->p++;
    else
        rd->bad = true;
}

static bool digit(const struct reader *rd)
{
    return rd->p < rd->end && *rd->p >= '0' && *rd->p <= '9';
}

/* A number with up to three decimals, in thousandths; what does not fit is no time and no number of ours. */
static uint64_t thousandths(struct reader *rd)
{
    uint64_t v = 0, scale = 1000;
    bool over = false;
    const char *from = rd->p;
    for (; digit(rd); rd->p++)
        over |= __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*rd->p - '0'), &v);
    over |= __builtin_mul_overflow(v, 1000u, &v);
    if (rd->p < rd->end && *rd->p == '.')
        for (rd->p++; digit(rd); rd->p++)
            v += (scale /= 10) * (uint64_t)(*rd->p - '0');
    rd->bad |= rd->p == from;
    return over ? UINT64_MAX : v;
}

static uint64_t integer(struct reader *rd)
{
    uint64_t v = 0;
    bool over = false;
    const char *from = rd->p;
    for (; digit(rd); rd->p++)
        over |= __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*rd->p - '0'), &v);
    rd->bad |= rd->p == from;
    return over ? UINT64_MAX : v;
}

static void skip_scalar(struct reader *rd)
{
    const char *from = rd->p;
    while (rd->p < rd->end && strchr("+-.0123456789eEtrufalsn", *rd->p) != NULL)
        rd->p++;
    rd->bad |= rd->p == from;
}

/* ---- events ---- */

static void take_event(struct reader *rd)
{
    struct pwc_trace_record *r = &rd->r;
    for (int kind = 1; kind < TRACE_KINDS && r->kind == 0; kind++)
        if (trace_words[kind] != NULL && strcmp(trace_words[kind], rd->cat) == 0)
            r->kind = kind;
    if (rd->ended != 0)
        r->kind = PWC_TRACE_ENDED;
    if (r->kind == 0)
        return;
    if (rd->pid == 2)
        r->stage = rd->tid;
    if (r->kind == PWC_TRACE_ENDED) {
        r->end_ns = r->at_ns;
        r->value = rd->begun;
        r->lease = rd->ended;
        r->code = (int)(rd->cause & 0xffff);
    } else if (r->kind == PWC_TRACE_DIED) {
        r->end_ns = rd->killed;
    } else if (r->kind == PWC_TRACE_CHUNKS || r->kind == PWC_TRACE_WAIT) {
        r->end_ns = r->at_ns + rd->dur;
    }
    trace_add(rd->t, r);
}

struct field {
    const char *key;
    size_t at; /* in struct reader */
};
#define FIELD(key, member)                                                                                   \
    {                                                                                                        \
        key, offsetof(struct reader, member)                                                                 \
    }
static const struct field arg_fields[] = {
    FIELD("first", r.first),     FIELD("n", r.n),          FIELD("from", r.first),
    FIELD("kept", r.n),          FIELD("ended", ended),    FIELD("cause", cause),
    FIELD("lease", r.lease),     FIELD("value", r.value),  FIELD("stage", r.stage),
    FIELD("waiting", r.waiting), FIELD("begun_ns", begun), FIELD("killed_ns", killed)};
static const struct field event_times[] = {FIELD("ts", r.at_ns), FIELD("dur", dur)};
static const struct field event_fields[] = {FIELD("pid", pid), FIELD("tid", tid)};

static uint64_t *field_of(struct reader *rd, const struct field *fields, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(fields[i].key, key) == 0)
            return (uint64_t *)(void *)((char *)rd + fields[i].at);
    return NULL;
}

/* True: the value was ours. */
static bool take_number(struct reader *rd, enum where where, const char *key)
{
    uint64_t *to;
    if (where == EVENT && (to = field_of(rd, event_times, COUNT(event_times), key)) != NULL)
        *to = thousandths(rd);
    else if (where == EVENT && (to = field_of(rd, event_fields, COUNT(event_fields), key)) != NULL)
        *to = integer(rd);
    else if (where == ARGS && (to = field_of(rd, arg_fields, COUNT(arg_fields), key)) != NULL)
        *to = integer(rd);
    else if (where == ARGS && strcmp(key, "code") == 0)
        rd->r.code = (int)(integer(rd) & 0xffff);
    else if (where == ARGS && strcmp(key, "seat") == 0)
        rd->r.seat = (uint32_t)integer(rd);
    else if (where == ARGS && strcmp(key, "os_pid") == 0)
        rd->r.pid = (uint32_t)integer(rd);
    else if (where == OTHER && strcmp(key, "job") == 0)
        rd->t->job = integer(rd);
    else if (where == OTHER && strcmp(key, "records_dropped") == 0)
        rd->t->dropped = integer(rd);
    else
        return false;
    return true;
}

static void take_string(struct reader *rd, enum where where, const char *key)
{
    char unused[2];
    if (where == EVENT && strcmp(key, "cat") == 0)
        string(rd, rd->cat, sizeof rd->cat);
    else if (where == OTHER && strcmp(key, "op") == 0) {
        string(rd, rd->t->op, sizeof rd->t->op);
        one_line(rd->t->op);
    } else if (where == OTHER && strcmp(key, "schema") == 0)
        string(rd, rd->schema, sizeof rd->schema);
    else
        string(rd, unused, sizeof unused);
}

/* ---- the document ---- */

static void value(struct reader *rd, enum where where, const char *key);

static enum where inside(enum where where, const char *key)
{
    if (where == TOP)
        return strcmp(key, "otherData") == 0 ? OTHER : strcmp(key, "traceEvents") == 0 ? EVENTS : ELSEWHERE;
    return where == EVENTS ? EVENT : where == EVENT && strcmp(key, "args") == 0 ? ARGS : ELSEWHERE;
}

static void members(struct reader *rd, enum where where)
{
    char key[24];
    if (take(rd, '}'))
        return;
    do {
        blanks(rd);
        string(rd, key, sizeof key);
        expect(rd, ':');
        value(rd, where, key);
    } while (!rd->bad && take(rd, ','));
    expect(rd, '}');
}

static void object(struct reader *rd, enum where where)
{
    if (where == EVENT) {
        rd->r = (struct pwc_trace_record){0};
        rd->tid = rd->pid = rd->dur = rd->begun = rd->killed = rd->ended = rd->cause = 0;
        rd->cat[0] = '\0';
    }
    members(rd, where);
    if (where == EVENT && !rd->bad)
        take_event(rd);
}

static void list(struct reader *rd, enum where where)
{
    rd->events |= where == EVENTS;
    if (take(rd, ']'))
        return;
    do
        value(rd, where == EVENTS ? EVENTS : ELSEWHERE, "");
    while (!rd->bad && take(rd, ','));
    expect(rd, ']');
}

static void value(struct reader *rd, enum where where, const char *key)
{
    blanks(rd);
    if (rd->bad || rd->p == rd->end || rd->depth == DEPTH_MAX) {
        rd->bad = true;
        return;
    }
    rd->depth++;
    if (take(rd, '{'))
        object(rd, inside(where, key));
    else if (take(rd, '['))
        list(rd, inside(where, key));
    else if (*rd->p == '"')
        take_string(rd, where, key);
    else if (!take_number(rd, where, key))
        skip_scalar(rd);
    rd->depth--;
}

static int parse(struct reader *rd, char *why, size_t size)
{
    expect(rd, '{');
    if (!rd->bad)
        members(rd, TOP);
    blanks(rd);
    if (rd->bad || rd->p != rd->end)
        snprintf(why, size, "no JSON at byte %zu", (size_t)(rd->p - rd->begin));
    else if (!rd->events || strcmp(rd->schema, "pwc.trace/1") != 0)
        snprintf(why, size, "no trace that 'pwcctl run --trace' wrote");
    else
        return 0;
    return -1;
}

int trace_read(struct trace *t, int fd, char *why, size_t size)
{
    struct stat st;
    int copy = -1;
    if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && ((copy = anonymous_file()) < 0 ||
                                                        copy_bytes(fd, copy) != 0 || fstat(copy, &st) < 0))) {
        snprintf(why, size, "%s", strerror(errno));
        if (copy >= 0)
            close(copy);
        return -1;
    }
    size_t len = (size_t)st.st_size;
    void *map = len > 0 ? mmap(NULL, len, PROT_READ, MAP_PRIVATE, copy >= 0 ? copy : fd, 0) : NULL;
    if (copy >= 0)
        close(copy);
    if (len == 0 || map == MAP_FAILED) {
        snprintf(why, size, "%s", len == 0 ? "it is empty" : strerror(errno));
        return -1;
    }
    struct reader *rd = must(calloc(1, sizeof *rd));
    rd->t = t;
    rd->begin = rd->p = map;
    rd->end = rd->p + len;
    int r = parse(rd, why, size);
    free(rd);
    munmap(map, len);
    return r;
}
