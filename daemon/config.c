/*
 * config.c - see config.h. One row of config.def is everything there is to say about a setting; this file
 * knows types, not keys. Flags are kept by reading argv again, so that a reload gives them the last word too.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/nearest.h"
#include "daemon/units.h"

enum config_type { TEXT, PATH, MODE, COUNT, AUTO, SIZE, TIME, BOOL, LEVEL, ISOLATION };

struct key {
    const char *name, *def, *help;
    size_t offset;
    uint64_t min, max;
    enum config_type type;
    bool live;
};

static const struct key keys[CFG_COUNT] = {
#define CONFIG_KEY(name, type, min, max, def, live, help)                                                    \
    [CFG_##name] = {#name, def, help, offsetof(struct config, name), min, max, type, live},
#include "daemon/config.def"
};

/* A row whose type does not fit its field must not compile. */
#define WIDTH_TEXT      sizeof(char *)
#define WIDTH_PATH      sizeof(char *)
#define WIDTH_MODE      sizeof(mode_t)
#define WIDTH_COUNT     sizeof(uint32_t)
#define WIDTH_AUTO      sizeof(uint32_t)
#define WIDTH_SIZE      sizeof(uint64_t)
#define WIDTH_TIME      sizeof(int64_t)
#define WIDTH_BOOL      sizeof(bool)
#define WIDTH_LEVEL     sizeof(enum log_level)
#define WIDTH_ISOLATION sizeof(Pwc__Isolation)
#define CONFIG_KEY(name, type, ...)                                                                          \
    _Static_assert(sizeof(((struct config *)0)->name) == WIDTH_##type, "type of setting " #name);
#include "daemon/config.def"

struct word {
    const char *name;
    int value;
};
static const struct word bool_words[] = {{"no", 0},   {"yes", 1}, {"false", 0},
                                         {"true", 1}, {"0", 0},   {"1", 1}};
static const struct word level_words[] = {
    {"fatal", LOG_FATAL}, {"warning", LOG_WARN}, {"info", LOG_INFO}, {"debug", LOG_DBG}};
static const struct word isolation_words[] = {
    {"user", PWC__ISOLATION__ISOLATION_USER},
    {"job", PWC__ISOLATION__ISOLATION_JOB},
    {"chunk", PWC__ISOLATION__ISOLATION_CHUNK},
};

static void *field(struct config *c, const struct key *k)
{
    return (char *)c + k->offset;
}
static const void *field_const(const struct config *c, const struct key *k)
{
    return (const char *)c + k->offset;
}
static bool is_string(const struct key *k)
{
    return k->type == TEXT || k->type == PATH;
}

/* ---- reading a value ---- */

/* What would be right, for the messages. */
static char *expected(const struct key *k)
{
    char low[UNITS_TEXT];
    switch (k->type) {
    case TEXT:
    case PATH:
        return xstrdup("an absolute path");
    case MODE:
        return xstrdup("an octal mode like 0660");
    case COUNT:
        return xasprintf("a number from %ju to %ju", (uintmax_t)k->min, (uintmax_t)k->max);
    case AUTO:
        return xasprintf("auto or a number from %ju to %ju", (uintmax_t)k->min, (uintmax_t)k->max);
    case SIZE:
        return xasprintf("%sa size like 500M, 16G (1024s) or 1g (1000s)", k->min == 0 ? "none or " : "");
    case TIME:
        time_format((int64_t)k->min, low);
        return k->min == 0 ? xstrdup("none or a time like 200ms, 30s or 5m")
                           : xasprintf("a time like 200ms, 30s or 5m, at least %s", low);
    case BOOL:
        return xstrdup("yes or no");
    case LEVEL:
        return xstrdup("fatal, warning, info or debug");
    case ISOLATION:
        return xstrdup("user, job or chunk");
    }
    return xstrdup("another value");
}

static int word_parse(const struct word *words, size_t n, const char *value, int *ret)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i].name, value) == 0) {
            *ret = words[i].value;
            return 0;
        }
    return -EINVAL;
}

static const char *word_name(const struct word *words, size_t n, int value)
{
    for (size_t i = 0; i < n; i++)
        if (words[i].value == value)
            return words[i].name;
    return "?";
}

/* A path given as a flag is relative to where the command was typed; in a file that would mean nothing. */
static int path_parse(const char *value, bool flag, char **ret)
{
    if (*value == '/') {
        *ret = xstrdup(value);
        return 0;
    }
    if (!flag || *value == '\0')
        return -EINVAL;
    AUTO_FREE char *cwd = getcwd(NULL, 0);
    if (cwd == NULL)
        return -errno;
    *ret = xasprintf("%s/%s", cwd, value);
    return 0;
}

static int mode_parse(const char *value, uint64_t max, mode_t *ret)
{
    size_t n = strspn(value, "01234567");
    if (n == 0 || n > 4 || value[n] != '\0')
        return -EINVAL;
    unsigned long v = strtoul(value, NULL, 8);
    if (v > max)
        return -ERANGE;
    *ret = (mode_t)v;
    return 0;
}

static int number_parse(const struct key *k, const char *value, uint64_t *ret)
{
    uint64_t v = 0;
    int64_t ns;
    int r = 0;
    if (k->type == AUTO && strcmp(value, "auto") == 0) {
        *ret = 0;
        return 0;
    }
    if (k->type == SIZE) {
        r = size_parse(value, &v);
    } else if (k->type == TIME) {
        r = time_parse(value, &ns);
        v = r == 0 ? (uint64_t)ns : 0;
    } else {
        r = count_parse(value, &v);
    }
    if (r == 0 && (v < k->min || v > k->max))
        r = -ERANGE;
    if (r == 0)
        *ret = v;
    return r;
}

/* What a flag can say and the file cannot would be another value once `pwcd -n` has written it down. */
static bool fits_the_file(const char *text)
{
    static const char blank[] = " \t\r\n";
    size_t n = strlen(text);
    const char *comment = text;
    while ((comment = strchr(comment, '#')) != NULL && comment != text && strchr(" \t", comment[-1]) == NULL)
        comment++;
    return comment == NULL && strchr(text, '\n') == NULL &&
           (n == 0 || (strchr(blank, text[0]) == NULL && strchr(blank, text[n - 1]) == NULL));
}

static int set_string(struct config *c, const struct key *k, const char *value, bool flag)
{
    char **at = field(c, k), *text = NULL;
    int r = 0;
    if (k->type == PATH)
        r = path_parse(value, flag, &text);
    else
        text = xstrdup(value);
    if (r == 0 && !fits_the_file(text))
        r = -EILSEQ;
    if (r < 0) {
        free(text);
        return r;
    }
    free(*at);
    *at = text;
    return 0;
}

static int set_word(struct config *c, const struct key *k, const char *value)
{
    int v = 0, r;
    if (k->type == BOOL)
        r = word_parse(bool_words, ARRAY_LEN(bool_words), value, &v);
    else if (k->type == LEVEL)
        r = word_parse(level_words, ARRAY_LEN(level_words), value, &v);
    else
        r = word_parse(isolation_words, ARRAY_LEN(isolation_words), value, &v);
    if (r < 0)
        return r;
    if (k->type == BOOL)
        *(bool *)field(c, k) = v != 0;
    else if (k->type == LEVEL)
        *(enum log_level *)field(c, k) = (enum log_level)v;
    else
        *(Pwc__Isolation *)field(c, k) = (Pwc__Isolation)v;
    return 0;
}

static int set_number(struct config *c, const struct key *k, const char *value)
{
    uint64_t v = 0;
    int r = number_parse(k, value, &v);
    if (r < 0)
        return r;
    if (k->type == SIZE)
        *(uint64_t *)field(c, k) = v;
    else if (k->type == TIME)
        *(int64_t *)field(c, k) = (int64_t)v;
    else
        *(uint32_t *)field(c, k) = (uint32_t)v;
    return 0;
}

static int set_value(struct config *c, const struct key *k, const char *value, bool flag)
{
    switch (k->type) {
    case TEXT:
    case PATH:
        return set_string(c, k, value, flag);
    case MODE:
        return mode_parse(value, k->max, field(c, k));
    case BOOL:
    case LEVEL:
    case ISOLATION:
        return set_word(c, k, value);
    default:
        return set_number(c, k, value);
    }
}

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < CFG_COUNT; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static int unknown_key(const char *key, const char *origin, char **ret_error)
{
    struct nearest near = nearest_to(key);
    char shown[80];
    for (size_t i = 0; i < CFG_COUNT; i++)
        nearest_try(&near, keys[i].name);
    printable(key, shown, sizeof shown);
    if (near.best != NULL)
        *ret_error =
            xasprintf("%s: no setting is called \"%s\"; did you mean \"%s\"?", origin, shown, near.best);
    else
        *ret_error = xasprintf("%s: no setting is called \"%s\"; pwcd -n lists them", origin, shown);
    return -EINVAL;
}

int config_set(struct config *c, const char *key, const char *value, const char *origin, char **ret_error)
{
    const struct key *k = find_key(key);
    if (k == NULL)
        return unknown_key(key, origin, ret_error);
    int r = set_value(c, k, value, strncmp(origin, "--", 2) == 0);
    if (r < 0) {
        char shown[120];
        AUTO_FREE char *right = expected(k);
        *ret_error =
            xasprintf("%s: %s: \"%s\" is %s; give %s%s", origin, key, printable(value, shown, sizeof shown),
                      r == -ERANGE ? "out of range" : "not understood", right,
                      r == -EILSEQ ? " without a line's end, a blank at its end or one before a #" : "");
        return -EINVAL;
    }
    char **at = &c->origin[k - keys];
    free(*at);
    *at = xstrdup(origin);
    return 0;
}

/* ---- defaults ---- */

/* The user's own directory, else the system's; empty when there is neither: only --socket or the manager
 * helps. */
static char *default_socket(void)
{
    const char *dir = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0)
        return xstrdup("/run/pwcd/pwcd.sock");
    if (dir != NULL && *dir == '/')
        return xasprintf("%s/pwcd.sock", dir);
    return xstrdup("");
}

void config_defaults(struct config *c)
{
    *c = (struct config){.file = xstrdup("")};
    for (size_t i = 0; i < CFG_COUNT; i++) {
        char *error = NULL;
        if (keys[i].def != NULL)
            BUG_ON(config_set(c, keys[i].name, keys[i].def, "default", &error) < 0);
    }
    c->socket = default_socket();
    c->origin[CFG_socket] = xstrdup("default");
}

void config_free(struct config *c)
{
    for (size_t i = 0; i < CFG_COUNT; i++) {
        free(TAKE_PTR(c->origin[i]));
        if (is_string(&keys[i]))
            free(TAKE_PTR(*(char **)field(c, &keys[i])));
    }
    free(TAKE_PTR(c->file));
}

/* ---- reloading ---- */

static bool value_equal(const struct config *a, const struct config *b, const struct key *k)
{
    const void *x = field_const(a, k), *y = field_const(b, k);
    switch (k->type) {
    case TEXT:
    case PATH:
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    case BOOL:
        return *(const bool *)x == *(const bool *)y;
    case SIZE:
    case TIME:
        return memcmp(x, y, sizeof(uint64_t)) == 0;
    default:
        return memcmp(x, y, sizeof(uint32_t)) == 0;
    }
}

static void print_value(const struct config *c, const struct key *k, FILE *f);

static char *value_text(const struct config *c, const struct key *k)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    BUG_ON(f == NULL);
    print_value(c, k, f);
    fclose(f);
    return text;
}

/* Puts the running value back, by way of text: what is printed reads back the same. */
static void keep_running(const struct config *running, struct config *c, const struct key *k, char **note)
{
    AUTO_FREE char *wanted = value_text(c, k), *kept = value_text(running, k), *before = *note;
    char *error = NULL;
    if (is_string(k)) {
        char **at = field(c, k);
        free(*at);
        *at = xstrdup(*(char *const *)field_const(running, k));
    } else {
        BUG_ON(config_set(c, k->name, kept, "default", &error) < 0);
    }
    free(c->origin[k - keys]);
    c->origin[k - keys] = xstrdup(running->origin[k - keys]);
    *note = xasprintf("%s%s%s = %s needs a restart", before != NULL ? before : "", before != NULL ? "; " : "",
                      k->name, wanted);
}

int config_reload(const struct config *running, struct config *ret_new, char **ret_note, char **ret_error)
{
    struct config c;
    int r = config_parse(&c, running->argc, running->argv, ret_error);
    if (r < 0)
        return r;
    char *note = NULL;
    for (size_t i = 0; i < CFG_COUNT; i++)
        if (!keys[i].live && !value_equal(running, &c, &keys[i]))
            keep_running(running, &c, &keys[i], &note);
    r = config_check_paths(&c, ret_error);
    if (r < 0) {
        config_free(&c);
        free(note);
        return r;
    }
    if (ret_note != NULL)
        *ret_note = TAKE_PTR(note);
    free(note);
    *ret_new = c;
    return 0;
}

/* ---- printing ---- */

static void print_value(const struct config *c, const struct key *k, FILE *f)
{
    const void *at = field_const(c, k);
    char text[UNITS_TEXT];
    switch (k->type) {
    case TEXT:
    case PATH:
        fputs(*(char *const *)at, f);
        return;
    case MODE:
        fprintf(f, "%04o", *(const mode_t *)at);
        return;
    case COUNT:
    case AUTO:
        snprintf(text, sizeof text, "%u", *(const uint32_t *)at);
        fputs(k->type == AUTO && *(const uint32_t *)at == 0 ? "auto" : text, f);
        return;
    case SIZE:
        size_format(*(const uint64_t *)at, text);
        fputs(text, f);
        return;
    case TIME:
        time_format(*(const int64_t *)at, text);
        fputs(text, f);
        return;
    case BOOL:
        fputs(*(const bool *)at ? "yes" : "no", f);
        return;
    case LEVEL:
        fputs(word_name(level_words, ARRAY_LEN(level_words), (int)*(const enum log_level *)at), f);
        return;
    case ISOLATION:
        fputs(word_name(isolation_words, ARRAY_LEN(isolation_words), (int)*(const Pwc__Isolation *)at), f);
        return;
    }
}

static void print_auto(const struct config *c, size_t i, const struct cpus *cpus, FILE *f)
{
    if (i == CFG_workers && c->workers == 0)
        fprintf(f, " (%u, %s)", cpus->count, cpus->from);
    if (i == CFG_stages_max && c->stages_max == 0)
        fprintf(f, " (%u)", config_stages_max(c, c->workers > 0 ? c->workers : cpus->count));
}

void config_print(const struct config *c, const struct cpus *cpus, FILE *f)
{
    fprintf(f, "# file: %s\n", *c->file != '\0' ? c->file : "none");
    for (size_t i = 0; i < CFG_COUNT; i++) {
        AUTO_FREE char *value = value_text(c, &keys[i]);
        /* A path that there is none of: no line could say that, so it is a comment. */
        bool none = keys[i].type == PATH && value[0] == '\0';
        fprintf(f, "%s%-*s = %-24s # %s", none ? "# " : "", none ? 16 : 18, keys[i].name, value,
                c->origin[i]);
        if (cpus != NULL)
            print_auto(c, i, cpus, f);
        fputc('\n', f);
    }
}

void config_print_keys(FILE *f)
{
    for (size_t i = 0; i < CFG_COUNT; i++)
        fprintf(f, "  %-18s %s%s%s%s\n", keys[i].name, keys[i].help, keys[i].def != NULL ? " [" : "",
                keys[i].def != NULL ? keys[i].def : "", keys[i].def != NULL ? "]" : "");
}
