/*
 * progress.c - how far a job is: a bar on a terminal, repainted at most ten times a second; elsewhere a line
 * every ten seconds; or a JSON object a line. All on stderr.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

#define PAINT_MS 100
#define PLAIN_MS 10000

static struct {
    enum progress_mode mode;
    const char *name, *unit; /* "gaussblur", "chunks" */
    bool painted, dirty, terminal;
    int64_t last_ms, started_ms;
    uint64_t started_done, job;
    enum pwc_job_state state;
    struct pwc_counts counts;
    char waiting[32];
} p;

bool progress_on_terminal(void)
{
    return p.terminal;
}

void progress_start(const struct options *o, const char *op, const char *unit)
{
    const char *term = getenv("TERM"), *dot = strrchr(op, '.');
    p.terminal = isatty(STDERR_FILENO);
    bool bar = p.terminal && term != NULL && strcmp(term, "dumb") != 0;
    p.mode = o->progress;
    if (p.mode == PROGRESS_AUTO)
        p.mode = o->quiet ? PROGRESS_NONE : bar ? PROGRESS_BAR : PROGRESS_PLAIN;
    p.name = dot != NULL ? dot + 1 : op;
    p.unit = unit;
    p.last_ms = now_ms();
}

/* ---- one line ---- */

struct line {
    char text[256];
    size_t len;
};

static void add(struct line *l, const char *fmt, ...) FORMAT(2, 3);
static void add(struct line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(l->text + l->len, sizeof l->text - l->len, fmt, ap);
    va_end(ap);
    l->len += (size_t)n < sizeof l->text - l->len ? (size_t)n : sizeof l->text - l->len - 1;
}

/* 0: not known. What a consumer had when it died is computed again, so less may be done than when we began.
 */
static double rate(void)
{
    double s = (double)(now_ms() - p.started_ms) / 1e3;
    return p.started_ms != 0 && s > 0.2 && p.counts.done > p.started_done
               ? (double)(p.counts.done - p.started_done) / s
               : 0;
}

static void add_many(struct line *l, uint64_t n, const char *one, const char *many)
{
    if (n > 0)
        add(l, "  %" PRIu64 " %s", n, n == 1 ? one : many);
}

static void add_numbers(struct line *l)
{
    double r = rate();
    if (p.counts.total > 0)
        add(l, "%" PRIu64 "/%" PRIu64 " %s", p.counts.done, p.counts.total, p.unit);
    else
        add(l, "%s", pwc_job_state_name(p.state));
    if (r > 0)
        add(l, r < 10 ? "  %.1f/s" : "  %.0f/s", r);
    add_many(l, p.counts.retried, "retry", "retries");
    add_many(l, p.counts.failed, "failed", "failed");
    if (p.waiting[0] != '\0')
        add(l, "  waiting: %s", p.waiting);
    if (r > 0 && p.counts.total > p.counts.done) {
        uint64_t s = (uint64_t)((double)(p.counts.total - p.counts.done) / r + 0.5);
        if (s < 3600)
            add(l, "  ETA %u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
        else
            add(l, "  ETA %" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    } else if (p.counts.total > 0 && p.state == PWC_JOB_ENDING) {
        add(l, "  writing");
    }
}

static size_t columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

static void paint(void)
{
    struct line numbers = {0}, l = {0};
    add_numbers(&numbers);
    size_t width = columns() - 1, fixed = strlen(p.name) + 2 + 2 + 2 + numbers.len;
    size_t bar = p.counts.total > 0 && width > fixed + 5 ? width - fixed : 0;
    bar = bar > 40 ? 40 : bar;
    add(&l, "%s  ", p.name);
    if (bar > 0) {
        size_t full = (size_t)((double)bar * (double)p.counts.done / (double)p.counts.total);
        add(&l, "[");
        for (size_t i = 0; i < bar; i++)
            add(&l, "%c", i < full ? '#' : '.');
        add(&l, "]  ");
    }
    add(&l, "%s", numbers.text);
    fprintf(stderr, "\r%.*s\033[K", (int)width, l.text);
    fflush(stderr);
    p.painted = true;
}

static void print_json(const char *event, const struct pwc_death *d, bool given_up)
{
    struct json j;
    json_open(&j, stderr);
    json_begin(&j, NULL, '{');
    json_str(&j, "event", event);
    json_u64(&j, "job", p.job);
    if (d != NULL) {
        json_bool(&j, "given_up", given_up);
        json_death(&j, "death", d);
    } else {
        json_str(&j, "state", pwc_job_state_name(p.state));
        json_str(&j, "waiting", p.waiting);
        json_f64(&j, "rate", rate());
        json_counts(&j, "counts", &p.counts);
    }
    json_end(&j, '}');
}

void progress_json_death(const struct pwc_death *d, bool given_up)
{
    if (p.mode == PROGRESS_JSON)
        print_json("death", d, given_up);
}

void progress_json_finished(enum pwc_job_state state, const struct pwc_counts *counts, uint64_t job)
{
    p.state = state;
    p.counts = *counts;
    p.job = job;
    p.waiting[0] = '\0';
    if (p.mode == PROGRESS_JSON)
        print_json("finished", NULL, false);
}

/* ---- when ---- */

static int period(void)
{
    return p.mode == PROGRESS_PLAIN ? PLAIN_MS : PAINT_MS;
}

int progress_wait_ms(void)
{
    if (p.mode == PROGRESS_NONE || !p.dirty)
        return -1;
    int64_t left = p.last_ms + period() - now_ms();
    return left > 0 ? (int)left : 0;
}

void progress_tick(void)
{
    if (progress_wait_ms() != 0)
        return;
    p.last_ms = now_ms();
    p.dirty = p.mode == PROGRESS_PLAIN; /* a line every ten seconds even when nothing moves */
    if (p.mode == PROGRESS_BAR) {
        paint();
    } else if (p.mode == PROGRESS_JSON) {
        print_json("progress", NULL, false);
    } else {
        struct line l = {0};
        add_numbers(&l);
        fprintf(stderr, "pwcctl: %s: %s\n", p.name, l.text);
    }
}

void progress_update(enum pwc_job_state state, const struct pwc_counts *counts, const char *waiting,
                     uint64_t job)
{
    p.state = state;
    p.counts = *counts;
    p.job = job;
    snprintf(p.waiting, sizeof p.waiting, "%s", waiting);
    if (p.started_ms == 0 && counts->done > 0) { /* before that it was starting, not computing */
        p.started_ms = now_ms();
        p.started_done = counts->done;
    }
    p.dirty = true;
    progress_tick();
}

void progress_end(void)
{
    if (p.painted)
        fputs("\r\033[K", stderr);
    p.painted = false;
}

void note(const char *fmt, ...)
{
    va_list ap;
    char *line = NULL;
    bool again = p.painted;
    va_start(ap, fmt);
    must(vasprintf(&line, fmt, ap) < 0 ? NULL : line);
    va_end(ap);
    progress_end();
    fprintf(stderr, "%s\n", one_line(line));
    free(line);
    if (again)
        paint();
}
