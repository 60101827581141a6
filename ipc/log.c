/* log.c - formats one line and writes it at once, so that lines of several processes never mix. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ipc/log.h"

static struct {
    const char *program;
    enum log_level most;
    bool journal;
    int at_once;           /* stderr's terminal or pipe, opened so that no write waits; -1: neither */
    _Atomic unsigned lost; /* lines that nobody took */
    atomic_bool cut;       /* of the last one a part was taken */
} logger = {.program = "pwc", .most = LOG_INFO, .at_once = -1};

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

/* The master's side of a terminal, opened again, would be another terminal's. */
static bool can_be_reopened(void)
{
    struct stat st;
    unsigned number;
    if (fstat(STDERR_FILENO, &st) < 0)
        return false;
    return S_ISFIFO(st.st_mode) || (isatty(STDERR_FILENO) && ioctl(STDERR_FILENO, TIOCGPTN, &number) < 0);
}

/*
 * A description of our own: others write to stderr's too, and must not find that it has stopped waiting. A
 * file stays as it is: it never makes us wait, and opened again it would be written from its start.
 */
void log_never_wait(void)
{
    if (logger.at_once < 0 && can_be_reopened())
        logger.at_once = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_set_level(enum log_level most)
{
    logger.most = most;
}

bool log_enabled(enum log_level level)
{
    return level <= logger.most;
}

/* A terminal takes what it has room for, which may be a part of a line; the next then begins a new one. */
static bool put_at_once(const char *line, size_t len)
{
    char end[] = "\n";
    bool cut = atomic_exchange(&logger.cut, false);
    struct iovec v[] = {{.iov_base = end, .iov_len = cut}, {.iov_base = (char *)line, .iov_len = len}};
    ssize_t n = writev(logger.at_once, v, ARRAY_LEN(v));
    if (n < 0) {
        if (cut)
            atomic_store(&logger.cut, true);
        return errno != EAGAIN;
    }
    if ((size_t)n == cut + len)
        return true;
    if ((size_t)n > cut || (cut && n == 0))
        atomic_store(&logger.cut, true);
    return false;
}

/*
 * Who reads the log may have stopped: a terminal at Ctrl-S, a pager, a journal that hangs. Nobody's work
 * waits for that: what is not taken at once is lost, and counted. False: it was not taken. (Where stderr
 * could not be opened again, a terminal that has room for a part, and a pipe that others fill in just this
 * moment, may still keep us.)
 */
static bool put(const char *line, size_t len)
{
    if (logger.at_once >= 0)
        return put_at_once(line, len);
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
