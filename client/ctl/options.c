/*
 * options.c - the command line: one table of options. Options stand anywhere before "--"; a value follows as
 * the next word or after "=". Which verb takes which is checked after the verb is known.
 */
#include <string.h>

#include "client/ctl/ctl.h"

#define RETRIES_MAX     100 /* what the daemon takes */
#define REQUEST_KEY_MAX 32

int pairs_add(struct pairs *p, const char *name, size_t name_len, const char *value)
{
    for (size_t i = 0; i < p->n; i++)
        if (strlen(p->v[i].name) == name_len && strncmp(p->v[i].name, name, name_len) == 0)
            return complain(EXIT_USAGE, "%s: is given twice, as '%s' and as '%s'", p->v[i].name,
                            p->v[i].value, value);
    p->v = must(realloc(p->v, (p->n + 1) * sizeof *p->v));
    p->v[p->n++] = (struct pair){must(strndup(name, name_len)), must(strdup(value))};
    return 0;
}

void pairs_free(struct pairs *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].name);
        free(p->v[i].value);
    }
    free(p->v);
    *p = (struct pairs){0};
}

void options_free(struct args *args)
{
    pairs_free(&args->o.in);
    pairs_free(&args->o.save);
    pairs_free(&args->o.load);
    free(args->words);
}

struct option;
typedef int (*setter)(struct options *o, const struct option *opt, const char *value);

struct option {
    char letter;
    const char *name, *value, *summary; /* value NULL: takes none */
    unsigned group;
    setter set;
    size_t at; /* offset in struct options, for the plain setters */
};

static int bad_value(const struct option *opt, const char *value, const char *right)
{
    return complain(EXIT_USAGE, "--%s '%s': %s", opt->name, value, right);
}

static int set_flag(struct options *o, const struct option *opt, const char *value)
{
    (void)value;
    *(bool *)((char *)o + opt->at) = true;
    return 0;
}

static int set_text(struct options *o, const struct option *opt, const char *value)
{
    if (value[0] == '\0')
        return bad_value(opt, value, "must not be empty");
    *(const char **)(void *)((char *)o + opt->at) = value;
    return 0;
}

/* NAME=VALUE; a bare NAME is a flag. */
static int set_pair(struct options *o, const struct option *opt, const char *value)
{
    const char *eq = strchr(value, '=');
    size_t len = eq != NULL ? (size_t)(eq - value) : strlen(value);
    if (len == 0)
        return bad_value(opt, value, "must be NAME=VALUE");
    struct pairs *pairs = (struct pairs *)(void *)((char *)o + opt->at);
    return pairs_add(pairs, value, len, eq != NULL ? eq + 1 : "true");
}

static int set_in(struct options *o, const struct option *opt, const char *value)
{
    const char *eq = strchr(value, '=');
    if (eq == NULL || eq == value || eq[1] == '\0')
        return bad_value(opt, value, "must be ROLE=FILE, as in --in mask=FILE");
    return set_pair(o, opt, value);
}

static int set_word(const struct option *opt, const char *value, const char *const *words, size_t n, int *ret)
{
    char list[128] = "";
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i], value) == 0) {
            *ret = (int)i;
            return 0;
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s",
                 i == 0      ? ""
                 : i + 1 < n ? ", "
                             : " or ",
                 words[i]);
    }
    return complain(EXIT_USAGE, "--%s '%s': must be %s", opt->name, value, list);
}

static int set_color(struct options *o, const struct option *opt, const char *value)
{
    static const char *const words[] = {"auto", "always", "never"};
    int i;
    int r = set_word(opt, value, words, COUNT(words), &i);
    if (r == 0)
        o->color = (enum when)i;
    return r;
}

static int set_progress(struct options *o, const struct option *opt, const char *value)
{
    static const char *const words[] = {"auto", "bar", "plain", "json", "none"};
    int i;
    int r = set_word(opt, value, words, COUNT(words), &i);
    if (r == 0)
        o->progress = (enum progress_mode)i;
    return r;
}

static int set_isolation(struct options *o, const struct option *opt, const char *value)
{
    static const char *const words[] = {"user", "job", "chunk"};
    int i;
    int r = set_word(opt, value, words, COUNT(words), &i);
    if (r == 0)
        o->isolation = (enum pwc_isolation)i;
    return r;
}

static int set_on_failure(struct options *o, const struct option *opt, const char *value)
{
    static const char *const words[] = {[PWC_ON_FAILURE_FAIL] = "fail", [PWC_ON_FAILURE_SKIP] = "skip"};
    uint64_t byte;
    o->policy_set = true;
    if (strncmp(value, "fill=", 5) == 0 && parse_u64(value + 5, 255, &byte) == 0) {
        o->policy.on_failure = PWC_ON_FAILURE_FILL;
        o->policy.fill = (uint8_t)byte;
        o->fail_asked = false;
        return 0;
    }
    for (size_t i = 0; i < COUNT(words); i++)
        if (strcmp(words[i], value) == 0) {
            o->policy.on_failure = (enum pwc_on_failure)i;
            o->fail_asked = i == PWC_ON_FAILURE_FAIL;
            return 0;
        }
    return bad_value(opt, value, "must be fail, skip or fill=BYTE, 0 to 255");
}

static int set_halt(struct options *o, const struct option *opt, const char *value)
{
    if (value[0] == '\0')
        return bad_value(opt, value, "must be never or (now|soon),(fail|success|done)=(N|N%)");
    o->policy.halt = value; /* the daemon knows the grammar; of it empty is "not given" */
    o->policy_set = true;
    return 0;
}

/* One "CAUSE=N" of a list, `len` bytes long. */
static bool set_cause(struct pwc_policy *p, const char *word, size_t len)
{
    const struct {
        const char *name;
        int32_t *retries;
    } causes[] = {{"error=", &p->retries_error},
                  {"crash=", &p->retries_crash},
                  {"oom=", &p->retries_oom},
                  {"timeout=", &p->retries_timeout}};
    char number[8];
    uint64_t n;
    for (size_t i = 0; i < COUNT(causes); i++) {
        size_t name = strlen(causes[i].name);
        if (len < name || strncmp(word, causes[i].name, name) != 0)
            continue;
        snprintf(number, sizeof number, "%.*s", (int)(len - name), word + name);
        if (len - name >= sizeof number || parse_u64(number, RETRIES_MAX, &n) < 0)
            return false;
        *causes[i].retries = (int32_t)n;
        return true;
    }
    return false;
}

/* N for every cause, or "error=0,crash=2": those that are not named keep the daemon's default. */
static int set_retries(struct options *o, const struct option *opt, const char *value)
{
    struct pwc_policy *p = &o->policy;
    uint64_t n;
    o->policy_set = true;
    if (parse_u64(value, RETRIES_MAX, &n) == 0) {
        p->retries_error = p->retries_crash = p->retries_oom = p->retries_timeout = (int32_t)n;
        return 0;
    }
    for (const char *word = value;; word++) {
        size_t len = strcspn(word, ",");
        if (!set_cause(p, word, len))
            return bad_value(
                opt, value,
                "must be 0 to 100, for all causes or by cause, as error=0,crash=2,oom=2,timeout=1");
        word += len;
        if (*word == '\0')
            return 0;
    }
}

/* Nothing at all is no limit but a mistake. */
static bool parse_time(const char *value, uint64_t *ret_ns)
{
    uint64_t ns;
    if (parse_duration(value, &ns) < 0 || ns == 0)
        return false;
    *ret_ns = ns;
    return true;
}

static int set_max_failures(struct options *o, const struct option *opt, const char *value)
{
    uint64_t *most = &o->policy.max_failures;
    if (strcmp(value, "none") == 0)
        *most = UINT64_MAX;
    else if (parse_u64(value, UINT64_MAX - 1, most) < 0 || *most == 0)
        return bad_value(opt, value, "must be a number from 1 on, or none");
    o->policy_set = true;
    return 0;
}

static int set_chunk_timeout(struct options *o, const struct option *opt, const char *value)
{
    o->policy_set = true;
    size_t n = strlen(value);
    char digits[16] = "";
    uint64_t percent;
    if (n > 1 && n < sizeof digits && value[n - 1] == '%') {
        memcpy(digits, value, n - 1);
        if (parse_u64(digits, 1000000, &percent) == 0 && percent >= 100) {
            o->policy.chunk_timeout_percent = (int32_t)percent;
            return 0;
        }
    }
    return parse_time(value, &o->policy.chunk_timeout_ns)
               ? 0
               : bad_value(opt, value, "must be a duration, as 30s or 200ms, or at least 100%");
}

static int set_timeout(struct options *o, const struct option *opt, const char *value)
{
    uint64_t ns;
    if (!parse_time(value, &ns))
        return bad_value(opt, value, "must be a duration, as 30s, 200ms, 1.5h");
    o->policy.job_timeout_ns = ns;
    o->policy_set = true;
    o->timeout_ms = ns / 1000000u > INT32_MAX ? INT32_MAX : (int)((ns + 999999u) / 1000000u);
    return 0;
}

static int set_memory(struct options *o, const struct option *opt, const char *value)
{
    o->policy_set = true;
    if (parse_size(value, &o->policy.memory) < 0 || o->policy.memory == 0)
        return bad_value(opt, value, "must be a size, as 512M or 2G");
    return 0;
}

static int set_request_key(struct options *o, const struct option *opt, const char *value)
{
    size_t n = strlen(value);
    if (n == 0 || n > REQUEST_KEY_MAX)
        return bad_value(opt, value, "must be 1 to 32 bytes long");
    o->request_key = value;
    return 0;
}

static int set_workers(struct options *o, const struct option *opt, const char *value)
{
    uint64_t n;
    if (parse_u64(value, 4096, &n) < 0 || n == 0)
        return bad_value(opt, value, "must be a number from 1 to 4096");
    o->workers = (uint32_t)n;
    return 0;
}

static int set_priority(struct options *o, const struct option *opt, const char *value)
{
    char *end;
    long n = strtol(value, &end, 10);
    if (value[0] == '\0' || *end != '\0' || n < -20 || n > 19)
        return bad_value(opt, value, "must be a number from -20 (first) to 19");
    o->priority = (int)n;
    return 0;
}

#define AT(field) offsetof(struct options, field)

static const struct option options[] = {
    {'s', "socket", "PATH", "the daemon's socket; else $PWC_SOCKET, the user's, the system's", GROUP_COMMON,
     set_text, AT(socket)},
    {0, "private", NULL, "start a pwcd of our own for just this command", GROUP_COMMON, set_flag,
     AT(private)},
    {'v', "verbose", NULL, "say more on stderr", GROUP_COMMON, set_flag, AT(verbose)},
    {'q', "quiet", NULL, "say only what went wrong", GROUP_COMMON, set_flag, AT(quiet)},
    {0, "color", "WHEN", "auto, always or never; NO_COLOR and CLICOLOR_FORCE are honoured", GROUP_COMMON,
     set_color, 0},
    {'h', "help", NULL, "show help", GROUP_COMMON, set_flag, AT(help)},
    {'V', "version", NULL, "show the version", GROUP_COMMON, set_flag, AT(version)},
    {0, "json", NULL, "results, lists and errors as JSON", GROUP_JSON, set_flag, AT(json)},
    {'o', "output", "FILE", "where the result goes; - is stdout; FILE[Q=90,strip] sets options", GROUP_RUN,
     set_text, AT(output)},
    {0, "in", "ROLE=FILE", "a further input by its role, as --in mask=FILE", GROUP_RUN, set_in, AT(in)},
    {0, "out-dir", "DIR", "each input is an item of a batch, written to DIR under its own name", GROUP_RUN,
     set_text, AT(out_dir)},
    {0, "files-from", "FILE", "more inputs, a name a line (or between NULs); - is stdin", GROUP_RUN, set_text,
     AT(files_from)},
    {0, "format", "FORMAT", "of the output: png, jpeg, tiff, webp, raw; else by its suffix", GROUP_RUN,
     set_text, AT(format)},
    {0, "save", "NAME=VALUE", "an option of the output format, as Q=90", GROUP_RUN, set_pair, AT(save)},
    {0, "load", "NAME=VALUE", "an option of the loader, as page=1", GROUP_RUN, set_pair, AT(load)},
    {0, "retries", "N", "further attempts at a chunk; by cause: error=0,crash=2,oom=2,timeout=1", GROUP_RUN,
     set_retries, 0},
    {0, "chunk-timeout", "TIME", "for one chunk: 30s, 200ms, or 300% of the median", GROUP_RUN,
     set_chunk_timeout, 0},
    {0, "timeout", "TIME", "for the whole; exit status 124", GROUP_TIMEOUT, set_timeout, 0},
    {0, "on-failure", "WHAT", "a chunk given up: fail the job, skip it or fill=BYTE (exit status 5)",
     GROUP_RUN, set_on_failure, 0},
    {0, "halt", "WHEN", "end early: (now|soon),(fail|success|done)=(N|N%)", GROUP_RUN, set_halt, 0},
    {0, "max-failures", "N|none", "give up after so many with --on-failure skip", GROUP_RUN, set_max_failures,
     0},
    {0, "allow-partial", NULL, "a job with chunks given up is a success", GROUP_RUN, set_flag,
     AT(allow_partial)},
    {0, "memory", "SIZE", "limit of a worker: 512M, 2G", GROUP_RUN, set_memory, 0},
    {'j', "workers", "N", "at most so many at a time", GROUP_RUN, set_workers, 0},
    {0, "isolation", "WHAT", "a process serves one user, job or chunk", GROUP_RUN, set_isolation, 0},
    {0, "domain", "LABEL", "jobs with different labels share no process", GROUP_RUN, set_text, AT(domain)},
    {0, "priority", "N", "-20 (first) to 19", GROUP_RUN, set_priority, 0},
    {0, "request-key", "KEY", "the same key gives the same job: a repeated command does it once", GROUP_RUN,
     set_request_key, 0},
    {0, "trace", "FILE", "where the time goes, for ui.perfetto.dev or 'pwcctl trace FILE'; - is stdout",
     GROUP_RUN, set_text, AT(trace)},
    {0, "detach", NULL, "print the job's number and return", GROUP_RUN, set_flag, AT(detach)},
    {0, "progress", "HOW", "auto, bar, plain, json or none", GROUP_RUN, set_progress, 0},
};

static const struct option *find(const char *name, size_t len)
{
    for (size_t i = 0; i < COUNT(options); i++)
        if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0)
            return &options[i];
    return NULL;
}

static const struct option *find_letter(char letter)
{
    for (size_t i = 0; i < COUNT(options); i++)
        if (options[i].letter == letter)
            return &options[i];
    return NULL;
}

static int unknown(const char *word)
{
    const char *names[COUNT(options)];
    for (size_t i = 0; i < COUNT(options); i++)
        names[i] = options[i].name;
    const char *near = nearest(word + strspn(word, "-"), names, COUNT(names));
    if (near != NULL)
        return complain(EXIT_USAGE, "unknown option '%s': did you mean --%s?", word, near);
    return complain(EXIT_USAGE,
                    "unknown option '%s': 'pwcctl --help' lists them; a file of that name is ./%s", word,
                    word);
}

/* What was given, for options_check. */
static bool given[COUNT(options)];

static int apply(struct options *o, const struct option *opt, const char *value, char ***at)
{
    if (opt->value == NULL && value != NULL)
        return complain(EXIT_USAGE, "--%s takes no value", opt->name);
    if (opt->value != NULL && value == NULL && (value = *++*at) == NULL)
        return complain(EXIT_USAGE, "--%s needs a value: --%s %s", opt->name, opt->name, opt->value);
    given[opt - options] = true;
    return opt->set(o, opt, value);
}

/* -o FILE, -oFILE, -vq */
static int parse_letters(struct options *o, char ***at)
{
    const char *word = **at;
    for (const char *p = word + 1; *p != '\0'; p++) {
        const struct option *opt = find_letter(*p);
        if (opt == NULL)
            return unknown(word);
        bool takes = opt->value != NULL;
        int r = apply(o, opt, takes && p[1] != '\0' ? p + 1 : NULL, at);
        if (r != 0 || takes)
            return r;
    }
    return 0;
}

static int parse_long(struct options *o, char ***at)
{
    const char *word = **at, *name = word + 2, *eq = strchr(name, '=');
    const struct option *opt = find(name, eq != NULL ? (size_t)(eq - name) : strlen(name));
    return opt != NULL ? apply(o, opt, eq != NULL ? eq + 1 : NULL, at) : unknown(word);
}

bool options_ask_json(char **argv)
{
    for (char **at = argv + 1; *at != NULL && strcmp(*at, "--") != 0; at++)
        if (strcmp(*at, "--json") == 0)
            return true;
    return false;
}

int options_parse(int argc, char **argv, struct args *ret_args)
{
    struct args a = {.words = must(calloc((size_t)argc + 1, sizeof(char *))), .files_from = SIZE_MAX};
    pwc_policy_default(&a.o.policy);
    a.o.timeout_ms = PWC_FOREVER;
    int r = 0;
    for (char **at = argv + 1; *at != NULL && r == 0; at++) {
        if (a.files_from != SIZE_MAX || (*at)[0] != '-' || (*at)[1] == '\0')
            a.words[a.n++] = *at;
        else if (strcmp(*at, "--") == 0)
            a.files_from = a.n;
        else if ((*at)[1] == '-')
            r = parse_long(&a.o, &at);
        else
            r = parse_letters(&a.o, &at);
    }
    *ret_args = a;
    return r;
}

int options_check(const struct args *args, unsigned groups)
{
    for (size_t i = 0; i < COUNT(options); i++)
        if (given[i] && (options[i].group & (groups | GROUP_COMMON)) == 0)
            return complain(EXIT_USAGE, "'%s' takes no --%s: see 'pwcctl help %s'", args->words[0],
                            options[i].name, args->words[0]);
    return 0;
}

void options_help(FILE *to, unsigned groups)
{
    for (size_t i = 0; i < COUNT(options); i++) {
        const struct option *opt = &options[i];
        char left[48];
        if ((opt->group & groups) == 0)
            continue;
        snprintf(left, sizeof left, "%s--%s%s%s", "", opt->name, opt->value != NULL ? " " : "",
                 opt->value != NULL ? opt->value : "");
        if (opt->letter != 0)
            fprintf(to, "  -%c, %-22s %s\n", opt->letter, left, opt->summary);
        else
            fprintf(to, "      %-22s %s\n", left, opt->summary);
    }
}

void options_names(FILE *to, unsigned groups)
{
    for (size_t i = 0; i < COUNT(options); i++)
        if ((options[i].group & groups) != 0)
            fprintf(to, "--%s%s\n", options[i].name, options[i].value != NULL ? "=" : "");
}
