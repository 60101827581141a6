/* log.c - formats one line and writes it at once, so that lines of several processes never mix. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/log.h"

static struct {
    const char *program;
    enum log_level most;
    bool journal;
    _Atomic unsigned lost; /* lines that nobody took */
} logger = {.program = "pwc", .most = LOG_INFO};

static const struct {
    const char *word;
    int priority; /* syslog's */
} levels[] = {
    [LOG_BUG] = {"bug", 2},   [LOG_FATAL] = {"fatal", 3}, [LOG_WARN] = {"warning", 4},
    [LOG_INFO] = {"info", 6}, [LOG_DBG] = {"debug", 7},
};

void log_open(const char *program, enum log_level most, bool journal_prefix)
{
    logger.program = program;
    logger.most = most;
    logger.journal = journal_prefix;
}

void log_set_level(enum log_level most)
{
    logger.most = most;
}

bool log_enabled(enum log_level level)
{
    return level <= logger.most;
}

/*
 * Who reads the log may have stopped: a terminal at Ctrl-S, a pager, a journal that hangs. Nobody's work
 * waits for that: what is not taken at once is lost, and counted. False: it was not taken. (A pipe that
 * others fill in just this moment may still keep us.)
 */
static bool put(const char *line, size_t len)
{
    ssize_t n = send(STDERR_FILENO, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0 || errno != ENOTSOCK)
        return n >= 0 || (errno != EAGAIN && errno != ENOBUFS);
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&p, 1, 0) == 0)
        return false;
    (void)!write(STDERR_FILENO, line, len);
    return true;
}

static size_t prefix(enum log_level level, char *line, size_t size)
{
    int n = logger.journal ? snprintf(line, size, "<%d>", levels[level].priority)
                           : snprintf(line, size, "%s: %s: ", logger.program, levels[level].word);
    return (size_t)MAX(n, 0);
}

static bool tell_lost(void)
{
    char line[160];
    unsigned lost = atomic_exchange(&logger.lost, 0);
    if (lost == 0)
        return true;
    size_t n = prefix(LOG_WARN, line, sizeof line);
    n += (size_t)snprintf(line + n, sizeof line - n, "%u lines of the log are lost: nobody read it\n", lost);
    bool told = put(line, n);
    if (!told)
        atomic_fetch_add(&logger.lost, lost);
    return told;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char line[1400];
    size_t n = prefix(level, line, sizeof line);
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    /* Peers' words come in here: one that holds a line break must not look like two lines of ours. */
    size_t len = MIN(n + (size_t)MAX(m, 0), sizeof line - 2);
    for (size_t i = n; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = ' ';
    line[len] = '\n';
    if (!tell_lost() || !put(line, len + 1))
        atomic_fetch_add(&logger.lost, 1);
}
