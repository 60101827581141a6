/* util.c - complaints, exit statuses, numbers with units, near words. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

static bool as_json;
static enum when color;

void util_setup(const struct options *o)
{
    as_json = o->json;
    color = o->color;
}

void *must(void *p)
{
    if (p == NULL) {
        fputs("pwcctl: out of memory\n", stderr);
        abort();
    }
    return p;
}

char *text(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return must(n < 0 ? NULL : s);
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---- complaints ---- */

bool use_color(void)
{
    const char *no = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");
    if (color != WHEN_AUTO)
        return color == WHEN_ALWAYS;
    if (no != NULL && no[0] != '\0')
        return false;
    if (force != NULL && strcmp(force, "0") != 0 && force[0] != '\0')
        return true;
    return isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
}

/* Names of files may hold what ends a line or steers a terminal, and whoever sent the files chose them. */
char *one_line(char *line)
{
    for (unsigned char *c = (unsigned char *)line; *c != '\0'; c++) {
        bool second = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0; /* of UTF-8's control characters */
        if (*c < 0x20 || *c == 0x7f || second)
            memset(c, '?', second ? 2 : 1);
    }
    return line;
}

int complain(int status, const char *fmt, ...)
{
    va_list ap;
    char *line = NULL;
    va_start(ap, fmt);
    must(vasprintf(&line, fmt, ap) < 0 ? NULL : line);
    va_end(ap);
    progress_end();
    if (as_json) {
        struct json j;
        json_open(&j, stderr);
        json_begin(&j, NULL, '{');
        json_begin(&j, "error", '{');
        json_i64(&j, "status", status);
        json_str(&j, "message", line);
        json_end(&j, '}');
        json_end(&j, '}');
    } else {
        fprintf(stderr, use_color() ? "pwcctl: \033[31m%s\033[0m\n" : "pwcctl: %s\n", one_line(line));
    }
    free(line);
    return status;
}

static const struct {
    int code;
    enum status status;
} statuses[] = {
    {PWC_OK, EXIT_OK},
    {PWC_NO_SUCH_OP, EXIT_USAGE},
    {PWC_NO_SUCH_PARAM, EXIT_USAGE},
    {PWC_BAD_PARAM, EXIT_USAGE},
    {PWC_NO_SUCH_ROLE, EXIT_USAGE},
    {PWC_BAD_FORMAT, EXIT_USAGE},
    {PWC_UNSUPPORTED, EXIT_USAGE},
    {PWC_NO_SUCH_JOB, EXIT_NO_JOB},
    {PWC_CANCELLED, EXIT_CANCELLED},
    {PWC_CLIENT_GONE, EXIT_CANCELLED},
    {PWC_E_PARTIAL, EXIT_PARTIAL},
    {PWC_E_UNREACHABLE, EXIT_UNREACHABLE},
    {PWC_E_GONE, EXIT_UNREACHABLE},
    {PWC_SHUTDOWN, EXIT_UNREACHABLE},
    {PWC_INTERNAL, EXIT_INTERNAL},
    {PWC_STAGE_PROTOCOL, EXIT_INTERNAL},
    {PWC_START, EXIT_INTERNAL},
    {PWC_E_SYSTEM, EXIT_INTERNAL},
    {PWC_E_ARGUMENT, EXIT_USAGE},
    {PWC_BUSY, EXIT_BUSY},
    {PWC_VERSION, EXIT_PROTOCOL},
    {PWC_UNKNOWN_MESSAGE, EXIT_PROTOCOL},
    {PWC_MALFORMED, EXIT_PROTOCOL},
    {PWC_STATE, EXIT_PROTOCOL},
    {PWC_E_PROTOCOL, EXIT_PROTOCOL},
    {PWC_DENIED, EXIT_DENIED},
    {PWC_E_ACCESS, EXIT_DENIED},
    {PWC_TIMEOUT, EXIT_TIMEOUT},
    {PWC_E_TIMEOUT, EXIT_TIMEOUT},
};

int status_of(int code)
{
    for (size_t i = 0; i < COUNT(statuses); i++)
        if (statuses[i].code == code)
            return (int)statuses[i].status;
    return EXIT_FAILED;
}

int complain_code(int code)
{
    return complain(status_of(code), "%s", pwc_error());
}

/* ---- near words ---- */

static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);
    if (n >= COUNT(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = change < least + 1 ? change : least + 1;
        }
    }
    return row[n];
}

const char *nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 2; /* further away it is another word, not a slip */
    for (size_t i = 0; i < n; i++) {
        size_t d = names[i] != NULL ? distance(word, names[i]) : SIZE_MAX;
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

/* ---- numbers ---- */

int parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    if (s[0] < '0' || s[0] > '9')
        return -1;
    uintmax_t v = strtoumax(s, &end, 10);
    if (errno != 0 || *end != '\0' || v > max)
        return -1;
    *ret = v;
    return 0;
}

struct unit {
    const char *name;
    double factor;
};

static int parse_units(const char *s, const struct unit *units, size_t n, uint64_t *ret)
{
    char *end;
    if ((s[0] < '0' || s[0] > '9') && s[0] != '.')
        return -1;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
        return -1; /* a number to strtod(3) alone */
    double v = strtod(s, &end);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        v *= units[i].factor;
        if (!(v >= 0 && v < 9e18))
            return -1;
        *ret = (uint64_t)(v + 0.5);
        return 0;
    }
    return -1;
}

int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t end_ms(int timeout_ms)
{
    return timeout_ms == PWC_FOREVER ? -1 : now_ms() + timeout_ms;
}

int left_ms(int64_t end)
{
    int64_t left = end - now_ms();
    return end < 0 ? PWC_FOREVER : left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

int parse_duration(const char *s, uint64_t *ret_ns)
{
    static const struct unit units[] = {{"", 1e9},   {"s", 1e9},    {"ms", 1e6},   {"us", 1e3},
                                        {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
    return parse_units(s, units, COUNT(units), ret_ns);
}

int parse_size(const char *s, uint64_t *ret_bytes)
{
    static const struct unit units[] = {{"", 1},     {"K", 1024},    {"M", 1048576}, {"G", 1073741824.0},
                                        {"k", 1000}, {"m", 1000000}, {"g", 1e9}};
    return parse_units(s, units, COUNT(units), ret_bytes);
}

const char *duration_text(uint64_t ns, char *buf, size_t size)
{
    uint64_t s = ns / 1000000000u;
    if (ns < 10000000u)
        snprintf(buf, size, "%" PRIu64 " us", ns / 1000u);
    else if (ns < 1000000000u)
        snprintf(buf, size, "%" PRIu64 " ms", ns / 1000000u);
    else if (s < 60)
        snprintf(buf, size, "%.2f s", (double)ns / 1e9);
    else if (s < 3600)
        snprintf(buf, size, "%" PRIu64 ":%02u", s / 60, (unsigned)(s % 60));
    else
        snprintf(buf, size, "%" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    return buf;
}

const char *signal_name(int sig)
{
    static char buf[32];
    const char *abbrev = sigabbrev_np(sig);
    if (abbrev != NULL)
        snprintf(buf, sizeof buf, "SIG%s", abbrev);
    else
        snprintf(buf, sizeof buf, "signal %d", sig);
    return buf;
}

int parse_job(const char *word, uint64_t *ret_job)
{
    if (parse_u64(word, UINT64_MAX, ret_job) < 0 || *ret_job == 0)
        return complain(EXIT_USAGE, "'%s' is no job: a number that 'pwcctl jobs' lists", word);
    return EXIT_OK;
}

int parse_chunk(const char *word, uint64_t *ret_job, uint64_t *ret_chunk)
{
    const char *dot = strchr(word, '.');
    *ret_chunk = PWC_ALL_CHUNKS;
    if (dot == NULL)
        return parse_job(word, ret_job);
    char job[32];
    snprintf(job, sizeof job, "%.*s", (int)(dot - word), word);
    if (parse_u64(dot + 1, UINT64_MAX - 1, ret_chunk) < 0 || parse_u64(job, UINT64_MAX, ret_job) < 0 ||
        *ret_job == 0)
        return complain(EXIT_USAGE, "'%s' is neither a job nor a chunk of one, as 7 or 7.12", word);
    return EXIT_OK;
}
