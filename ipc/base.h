/*
 * base.h - the few words every file needs: moves, cleanups, sizes.
 *
 * Conventions of the whole tree: functions return 0 (or a count) or a negative errno; outputs are
 * `ret_*`, last, and untouched on failure; `foo_free` takes NULL and half-built objects.
 */
#ifndef PWC_BASE_H
#define PWC_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

/* Moves a pointer or descriptor out of a variable, which is left empty. */
#define TAKE_PTR(p)                                                                                          \
    ({                                                                                                       \
        __typeof__(p) taken_ = (p);                                                                          \
        (p) = NULL;                                                                                          \
        taken_;                                                                                              \
    })
#define TAKE_FD(fd)                                                                                          \
    ({                                                                                                       \
        int taken_ = (fd);                                                                                   \
        (fd) = -1;                                                                                           \
        taken_;                                                                                              \
    })

#define CLEANUP(f)      __attribute__((cleanup(f)))
#define PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))

static inline void free_ptr_(void *p)
{
    free(*(void **)p);
}
#define AUTO_FREE CLEANUP(free_ptr_)

void fd_close_(const int *fd);
#define AUTO_FD CLEANUP(fd_close_)

/* Allocation that cannot fail: the process aborts with a report. Only for small, bounded objects. */
void *must(void *p) __attribute__((returns_nonnull)); /* of what libraries allocate: NULL aborts, too */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* Cuts what does not fit. */
void copy_text(char *out, size_t size, const char *text);
char *xasprintf(const char *fmt, ...) __attribute__((malloc, returns_nonnull)) PRINTF(1, 2);

/* `a * b`, or false when it overflows. */
static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

#endif
