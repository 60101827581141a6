/* log.c - formats one line and writes it with one write(2), so that lines of several processes never mix. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "ipc/log.h"

static struct {
    const char *program;
    enum log_level most;
    bool journal;
} logger = {"pwc", LOG_INFO, false};

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

void log_line(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char line[1400];
    int n = logger.journal ? snprintf(line, sizeof line, "<%d>", levels[level].priority)
                           : snprintf(line, sizeof line, "%s: %s: ", logger.program, levels[level].word);
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    /* Peers' words come in here: one that holds a line break must not look like two lines of ours. */
    size_t len = MIN((size_t)n + (size_t)MAX(m, 0), sizeof line - 2);
    for (size_t i = (size_t)n; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = ' ';
    line[len] = '\n';
    (void)!write(STDERR_FILENO, line, len + 1);
}
