/* base.c - allocation that aborts instead of failing, and descriptor cleanup. See base.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base.h"

void fd_close_(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

void *must(void *p)
{
    if (p == NULL) {
        static const char text[] = "fatal: out of memory\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    return must(calloc(n > 0 ? n : 1, size > 0 ? size : 1));
}

void *xrealloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        bytes = SIZE_MAX;
    return must(realloc(p, bytes > 0 ? bytes : 1));
}

char *xstrdup(const char *s)
{
    return must(strdup(s));
}

void copy_text(char *out, size_t size, const char *text)
{
    size_t n = strnlen(text, size - 1);
    memcpy(out, text, n);
    out[n] = '\0';
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    return must(n < 0 ? NULL : text);
}
