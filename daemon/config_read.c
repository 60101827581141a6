/*
 * config_read.c - the configuration's two sources: the file, one "key = value" a line, and the flags.
 *
 * "#" begins a comment at the start of a line or after a blank, so that a path may hold one. A key may stand
 * in the file once: a second line would silently undo the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/nearest.h"

/* ---- the file ---- */

static char *trim(char *s)
{
    s += strspn(s, " \t\r\n");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r\n", s[n - 1]) != NULL)
        s[--n] = '\0';
    return s;
}

static void cut_comment(char *line)
{
    for (char *p = line; (p = strchr(p, '#')) != NULL; p++)
        if (p == line || p[-1] == ' ' || p[-1] == '\t') {
            *p = '\0';
            return;
        }
}

static int set_twice(const struct config *c, const char *key, const char *path, const char *origin,
                     char **ret_error)
{
    size_t n = strlen(path);
#define CONFIG_KEY(name, ...) [CFG_##name] = #name,
    static const char *const names[] = {
#include "daemon/config.def"
    };
    for (size_t i = 0; i < CFG_COUNT; i++) {
        const char *before = c->origin[i];
        if (strcmp(names[i], key) != 0 || before == NULL || strncmp(before, path, n) != 0 || before[n] != ':')
            continue;
        *ret_error =
            xasprintf("%s: %s was set in line %s already; keep one of them", origin, key, before + n + 1);
        return -EINVAL;
    }
    return 0;
}

static int read_line(struct config *c, const char *path, unsigned number, char *line, size_t len,
                     char **ret_error)
{
    AUTO_FREE char *origin = xasprintf("%s:%u", path, number);
    if (memchr(line, '\0', len) != NULL) {
        *ret_error = xasprintf("%s: holds a NUL byte; this is not a text file", origin);
        return -EINVAL;
    }
    cut_comment(line);
    char *key = trim(line);
    if (*key == '\0')
        return 0;
    char *value = strchr(key, '=');
    if (value == NULL) {
        char shown[60];
        *ret_error = xasprintf("%s: \"%s\" has no \"=\"; write key = value", origin,
                               printable(key, shown, sizeof shown));
        return -EINVAL;
    }
    *value++ = '\0';
    key = trim(key);
    int r = set_twice(c, key, path, origin, ret_error);
    return r < 0 ? r : config_set(c, key, trim(value), origin, ret_error);
}

/* Opened without waiting: a FIFO in the file's place must not hang a reload. */
static int open_file(const char *path, FILE **ret, char **ret_error)
{
    struct stat st;
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int e = errno;
        *ret_error = xasprintf("%s: cannot be read: %s", path, strerror(e));
        return -e;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        *ret_error = xasprintf("%s: is not a regular file", path);
        return -EINVAL;
    }
    FILE *f = fdopen(fd, "re");
    if (f == NULL)
        return -errno;
    TAKE_FD(fd);
    *ret = f;
    return 0;
}

static int load_lines(struct config *c, const char *path, char **ret_error)
{
    FILE *f = NULL;
    int r = open_file(path, &f, ret_error);
    if (r < 0)
        return r;
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    ssize_t n;
    for (unsigned number = 1; r == 0 && (n = getline(&line, &size, f)) >= 0; number++)
        r = read_line(c, path, number, line, (size_t)n, ret_error);
    if (r == 0 && ferror(f)) {
        *ret_error = xasprintf("%s: cannot be read: %s", path, strerror(errno));
        r = -EIO;
    }
    fclose(f);
    if (r == 0) {
        free(c->file);
        c->file = xstrdup(path);
    }
    return r;
}

/* The file's name may hold anything, and what is wrong is one line. */
int config_load_file(struct config *c, const char *path, char **ret_error)
{
    int r = load_lines(c, path, ret_error);
    if (r < 0 && *ret_error != NULL)
        one_line(*ret_error);
    return r;
}

/* ---- the flags ---- */

struct flag {
    const char *name; /* "--workers", "-d" */
    const char *key;  /* setting it stands for; NULL: see below */
    enum { FLAG_KEY, FLAG_YES, FLAG_SET, FLAG_FILE, FLAG_DEBUG, FLAG_CHECK, FLAG_HELP, FLAG_VERSION } what;
};

static const struct flag flags[] = {
    {"--socket", "socket", FLAG_KEY},
    {"--workers", "workers", FLAG_KEY},
    {"--stage", "stage_program", FLAG_KEY},
    {"--scratch", "scratch", FLAG_KEY},
    {"--require-sandbox", "require_sandbox", FLAG_YES},
    {"--config", NULL, FLAG_FILE},
    {"--set", NULL, FLAG_SET},
    {"-d", NULL, FLAG_DEBUG},
    {"--debug", NULL, FLAG_DEBUG},
    {"-n", NULL, FLAG_CHECK},
    {"--check", NULL, FLAG_CHECK},
    {"-h", NULL, FLAG_HELP},
    {"--help", NULL, FLAG_HELP},
    {"-V", NULL, FLAG_VERSION},
    {"--version", NULL, FLAG_VERSION},
};

static void print_help(void)
{
    fputs("Usage: pwcd [OPTION]...\n"
          "Runs chunked work on every core and survives what that work does. Stays in the foreground.\n\n"
          "  --socket PATH      socket clients connect to\n"
          "  --workers N        seats: how many stages compute at a time\n"
          "  --config FILE      settings (default " CONFIG_FILE ", if it is there)\n"
          "  --stage PROGRAM    the program of all stages, pwc-stage\n"
          "  --scratch DIR      directory for decoded rasters\n"
          "  --require-sandbox  refuse to run stages that lack a layer of the sandbox\n"
          "  --set KEY=VALUE    any setting; may be repeated\n"
          "  -d, --debug        log everything (log_level = debug)\n"
          "  -n, --check        check the configuration, print it with the origin of each value, and end\n"
          "  -h, --help         this text\n"
          "  -V, --version      the version\n\n"
          "Settings, for the file and --set:\n",
          stdout);
    config_print_keys(stdout);
    fputs("\nSee pwcd(8) and pwcd.conf(5).\n", stdout);
}

static bool takes_value(const struct flag *f)
{
    return f->what == FLAG_KEY || f->what == FLAG_SET || f->what == FLAG_FILE;
}

/* "--name" or "--name=value"; *ret_value is NULL without a value. */
static const struct flag *find_flag(const char *arg, const char **ret_value)
{
    size_t n = strcspn(arg, "=");
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strlen(flags[i].name) == n && strncmp(arg, flags[i].name, n) == 0) {
            *ret_value = arg[n] == '=' ? arg + n + 1 : NULL;
            return &flags[i];
        }
    return NULL;
}

static int unknown_flag(const char *arg, char **ret_error)
{
    char shown[60];
    printable(arg, shown, sizeof shown);
    if (*arg != '-') {
        *ret_error = xasprintf("\"%s\" is no option, and pwcd takes nothing else; see pwcd --help", shown);
        return -EINVAL;
    }
    struct nearest near = nearest_to(arg);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strlen(flags[i].name) > 2)
            nearest_try(&near, flags[i].name);
    if (near.best != NULL)
        *ret_error = xasprintf("no option is called %s; did you mean %s?", shown, near.best);
    else
        *ret_error = xasprintf("no option is called %s; see pwcd --help", shown);
    return -EINVAL;
}

/* One step through argv: 1 a flag, 0 the end, -EINVAL. */
static int next_flag(int argc, char **argv, int *i, const struct flag **ret, const char **ret_value,
                     char **ret_error)
{
    if (*i >= argc)
        return 0;
    const char *arg = argv[(*i)++], *value = NULL;
    const struct flag *f = find_flag(arg, &value);
    if (f == NULL)
        return unknown_flag(arg, ret_error);
    if (takes_value(f) && value == NULL) {
        if (*i >= argc) {
            *ret_error = xasprintf("%s needs a value after it", f->name);
            return -EINVAL;
        }
        value = argv[(*i)++];
    } else if (!takes_value(f) && value != NULL) {
        *ret_error = xasprintf("%s takes no value", f->name);
        return -EINVAL;
    }
    *ret = f;
    *ret_value = value;
    return 1;
}

static int apply_set(struct config *c, const char *pair, char **ret_error)
{
    const char *eq = strchr(pair, '=');
    if (eq == NULL) {
        char shown[60];
        *ret_error =
            xasprintf("--set %s has no \"=\"; write --set KEY=VALUE", printable(pair, shown, sizeof shown));
        return -EINVAL;
    }
    AUTO_FREE char *key = strndup(pair, (size_t)(eq - pair));
    return key == NULL ? -ENOMEM : config_set(c, key, eq + 1, "--set", ret_error);
}

static int apply_flag(struct config *c, const struct flag *f, const char *value, char **ret_error)
{
    switch (f->what) {
    case FLAG_KEY:
        return config_set(c, f->key, value, f->name, ret_error);
    case FLAG_YES:
        return config_set(c, f->key, "yes", f->name, ret_error);
    case FLAG_SET:
        return apply_set(c, value, ret_error);
    case FLAG_DEBUG:
        c->debug = true;
        free(c->origin[CFG_log_level]);
        c->origin[CFG_log_level] = xstrdup(f->name);
        c->log_level = LOG_DBG;
        return 0;
    case FLAG_CHECK:
        c->check_only = true;
        return 0;
    default:
        return 0; /* done by look_ahead */
    }
}

/* The first pass: is every flag one, which file, is it only a question? */
static int look_ahead(int argc, char **argv, const char **ret_file, char **ret_error)
{
    const struct flag *f;
    const char *value;
    int r;
    for (int i = 1; (r = next_flag(argc, argv, &i, &f, &value, ret_error)) > 0;) {
        if (f->what == FLAG_FILE)
            *ret_file = value;
        if (f->what == FLAG_HELP)
            print_help();
        if (f->what == FLAG_VERSION)
            puts("pwcd " PACKAGE_VERSION);
        if (f->what == FLAG_HELP || f->what == FLAG_VERSION)
            return CONFIG_EXIT;
    }
    return r;
}

static int load(struct config *c, const char *file, char **ret_error)
{
    if (file != NULL)
        return config_load_file(c, file, ret_error);
    return access(CONFIG_FILE, F_OK) == 0 ? config_load_file(c, CONFIG_FILE, ret_error) : 0;
}

int config_parse(struct config *c, int argc, char **argv, char **ret_error)
{
    const char *file = NULL, *value;
    const struct flag *f;
    char *error = NULL;
    struct config n = {0};
    int r = look_ahead(argc, argv, &file, &error);
    if (r == CONFIG_RUN) {
        config_defaults(&n);
        r = load(&n, file, &error);
    }
    for (int i = 1; r == CONFIG_RUN;) {
        r = next_flag(argc, argv, &i, &f, &value, &error);
        if (r == 0)
            break;
        r = apply_flag(&n, f, value, &error);
    }
    if (r != CONFIG_RUN) {
        config_free(&n);
        if (r < 0)
            *ret_error = error != NULL ? one_line(error) : xstrdup(strerror(-r));
        return r;
    }
    n.argc = argc;
    n.argv = argv;
    *c = n;
    return CONFIG_RUN;
}

/* ---- do the things named exist ---- */

static int bad_path(const struct config *c, enum config_key key, const char *name, const char *path,
                    const char *why, int error, char **ret_error)
{
    *ret_error = one_line(xasprintf("%s: %s: %s %s", c->origin[key], name, path, why));
    return error;
}

int config_check_paths(const struct config *c, char **ret_error)
{
    struct stat st;
    if (stat(c->scratch, &st) < 0)
        return bad_path(c, CFG_scratch, "scratch", c->scratch, "does not exist; name a directory", -errno,
                        ret_error);
    if (!S_ISDIR(st.st_mode))
        return bad_path(c, CFG_scratch, "scratch", c->scratch, "is not a directory", -ENOTDIR, ret_error);
    if (access(c->scratch, W_OK | X_OK) < 0)
        return bad_path(c, CFG_scratch, "scratch", c->scratch, "cannot be written to", -errno, ret_error);
    if (access(c->stage_program, X_OK) < 0 || stat(c->stage_program, &st) < 0 || !S_ISREG(st.st_mode))
        return bad_path(c, CFG_stage_program, "stage_program", c->stage_program,
                        "is no program; is pwc-stage installed? --stage names it", -ENOENT, ret_error);
    return 0;
}
