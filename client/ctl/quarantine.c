/* quarantine.c - the verb: chunks that were given up are listed, tried again, forgotten. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "client/ctl/ctl.h"

struct view {
    struct json *j; /* NULL: for people */
    bool fully;
    size_t n;
};

/* What stands in its place, in one word. */
static const char *instead(const struct pwc_quarantined *q, char *buf, size_t size)
{
    if (q->on_failure == PWC_ON_FAILURE_FILL)
        snprintf(buf, size, "filled with %u", q->fill);
    else
        snprintf(buf, size, "%s", q->on_failure == PWC_ON_FAILURE_SKIP ? "skipped" : "nothing");
    return buf;
}

static void as_json(struct json *j, const struct pwc_quarantined *q)
{
    char buf[32];
    json_begin(j, NULL, '{');
    json_u64(j, "job", q->job);
    json_u64(j, "chunk", q->chunk);
    json_str(j, "op", q->op);
    json_str(j, "state", pwc_job_state_name(q->state));
    json_u64(j, "uid", q->uid);
    json_str(j, "input", q->input);
    json_str(j, "covers", q->covers);
    json_str(j, "cause", pwc_code_name(q->code));
    json_str(j, "reason", q->reason);
    json_u64(j, "attempts", q->attempts);
    json_u64(j, "at_ns", q->at_ns);
    json_str(j, "instead", instead(q, buf, sizeof buf));
    if (q->on_failure == PWC_ON_FAILURE_FILL)
        json_u64(j, "fill", q->fill);
    json_bool(j, "can_retry", q->why_not[0] == '\0');
    json_str(j, "why_not", q->why_not);
    json_end(j, '}');
}

static void fully(const struct pwc_quarantined *q)
{
    char buf[32], when[32] = "";
    time_t t = (time_t)(q->at_ns / 1000000000u);
    struct tm tm;
    if (localtime_r(&t, &tm) != NULL)
        strftime(when, sizeof when, "%F %T", &tm);
    char *covers = one_line(text("%s", q->covers));
    printf("chunk    %" PRIu64 ".%" PRIu64 "%s%s, of %s, job %s\n", q->job, q->chunk,
           covers[0] != '\0' ? ", " : "", covers, q->op, pwc_job_state_name(q->state));
    free(covers);
    char *input = input_text(q->input, q->covers);
    if (input[0] != '\0')
        printf("input    %s\n", input);
    free(input);
    printf("given up %s after %u attempt%s: %s\n", when, q->attempts, q->attempts == 1 ? "" : "s",
           pwc_code_name(q->code));
    printf("reason   %s\n", q->reason);
    printf("instead  %s\n", instead(q, buf, sizeof buf));
    if (q->why_not[0] != '\0')
        printf("retry    %s\n", q->why_not);
    else
        printf("retry    possible: 'pwcctl quarantine retry %" PRIu64 ".%" PRIu64 "'\n", q->job, q->chunk);
}

static void show(const struct pwc_quarantined *q, void *user)
{
    struct view *v = user;
    char chunk[48], buf[32];
    if (v->j != NULL) {
        as_json(v->j, q);
    } else if (v->fully) {
        fully(q);
    } else {
        if (v->n == 0)
            printf("%-12s  %8s  %-12s  %-15s  %s\n", "CHUNK", "ATTEMPTS", "CAUSE", "INSTEAD", "REASON");
        snprintf(chunk, sizeof chunk, "%" PRIu64 ".%" PRIu64, q->job, q->chunk);
        char *input = input_text(q->input, q->covers);
        printf("%-12s  %8u  %-12s  %-15s  %s%s%s\n", chunk, q->attempts, pwc_code_name(q->code),
               instead(q, buf, sizeof buf), input, input[0] != '\0' ? ": " : "", q->reason);
        free(input);
    }
    v->n++;
}

/* ---- the four things to do ---- */

struct target {
    uint64_t job, chunk;
};

/* What is not there is said, and the others are listed all the same. */
static int list_one(struct pwc *c, struct view *v, const struct target *t)
{
    size_t before = v->n;
    int r = pwc_list_quarantine(c, t->job, t->chunk, ANSWER_MS, show, v);
    if (r != PWC_OK)
        return complain_code(r);
    if (!v->fully || v->n > before)
        return 0;
    char chunk[24] = "";
    if (t->chunk != PWC_ALL_CHUNKS)
        snprintf(chunk, sizeof chunk, ".%" PRIu64, t->chunk);
    return complain(EXIT_NO_JOB, "%" PRIu64 "%s is not in quarantine: 'pwcctl quarantine' lists what is",
                    t->job, chunk);
}

static int list(struct pwc *c, struct view *v, const struct target *t, size_t n)
{
    static const struct target all = {0, PWC_ALL_CHUNKS};
    int r = 0;
    if (v->j != NULL) {
        json_begin(v->j, NULL, '{');
        json_str(v->j, "schema", "pwc.quarantine/1");
        json_begin(v->j, "quarantine", '[');
    }
    for (size_t i = 0; i < (n > 0 ? n : 1) && (r == 0 || r == EXIT_NO_JOB); i++) {
        int one = list_one(c, v, n > 0 ? &t[i] : &all);
        r = one != 0 ? one : r;
    }
    if (v->j != NULL) {
        json_end(v->j, ']');
        json_end(v->j, '}');
    }
    return r;
}

/* Why something cannot be tried again is a refusal of the usual kind, not a fault of the protocol. */
static int refused(int code)
{
    return complain(code == PWC_STATE ? EXIT_FAILED : status_of(code), "%s", pwc_error());
}

static int change(struct pwc *c, struct view *v, const struct target *t, size_t n, bool retry)
{
    uint64_t sum = 0, some;
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        int code = retry ? pwc_quarantine_retry(c, t[i].job, t[i].chunk, ANSWER_MS, &some)
                         : pwc_quarantine_drop(c, t[i].job, t[i].chunk, ANSWER_MS, &some);
        if (code == PWC_OK)
            sum += some;
        else
            r = refused(code);
    }
    if (v->j != NULL) {
        json_begin(v->j, NULL, '{');
        json_str(v->j, "schema", "pwc.quarantine/1");
        json_u64(v->j, retry ? "retried" : "dropped", sum);
        json_end(v->j, '}');
    } else if (r == 0 || sum > 0) { /* some may have been refused */
        printf("%" PRIu64 " %s %s\n", sum, sum == 1 ? "chunk" : "chunks",
               retry ? "tried again" : "forgotten");
    }
    return r;
}

static int parse_targets(const struct args *args, size_t from, struct target **ret)
{
    struct target *t = must(calloc(args->n, sizeof *t));
    int r = 0;
    for (size_t i = from; r == 0 && i < args->n; i++)
        r = parse_chunk(args->words[i], &t[i - from].job, &t[i - from].chunk);
    *ret = t;
    return r;
}

/* "quarantine 7" is "quarantine ls 7". */
static bool is_target(const char *word)
{
    return word[0] >= '0' && word[0] <= '9';
}

int verb_quarantine(const struct args *args)
{
    static const char *const words[] = {"ls", "show", "retry", "drop"};
    size_t from = args->n > 1 && is_target(args->words[1]) ? 1 : 2;
    enum { LS, SHOW, RETRY, DROP, NONE } what = args->n > 1 && from > 1 ? NONE : LS;
    struct json j;
    struct view v = {.j = args->o.json ? &j : NULL};
    struct pwc *c = NULL;
    struct target *t = NULL;
    size_t n = args->n > from ? args->n - from : 0;
    for (size_t i = 0; i < COUNT(words) && args->n > 1; i++)
        if (strcmp(args->words[1], words[i]) == 0)
            what = (unsigned)i;
    if (what == NONE)
        return complain(EXIT_USAGE,
                        "'%s': it is ls, show, retry or drop, as in: pwcctl quarantine retry 7.12",
                        args->words[1]);
    if (what != LS && n == 0)
        return complain(EXIT_USAGE,
                        "which? pwcctl quarantine %s JOB[.CHUNK]...; 'pwcctl quarantine' lists them",
                        words[what]);
    v.fully = what == SHOW;
    json_open(&j, stdout);
    int r = parse_targets(args, from, &t);
    if (r == 0 && (r = ctl_connect(&args->o, &c)) == 0)
        r = what <= SHOW ? list(c, &v, t, n) : change(c, &v, t, n, what == RETRY);
    free(t);
    ctl_disconnect(c);
    return r;
}
