/* clock.h - monotonic time that cannot be mixed with another unit. */
#ifndef PWC_CLOCK_H
#define PWC_CLOCK_H

#include <stdint.h>

struct mono {
    int64_t ns; /* CLOCK_MONOTONIC */
};

#define NS_PER_US 1000ll
#define NS_PER_MS 1000000ll
#define NS_PER_S  1000000000ll

struct mono clock_now(void);
int64_t clock_real_ns(void); /* CLOCK_REALTIME, for records people read */
int64_t clock_cpu_ns(void);  /* CPU time of this process */

static inline int64_t mono_since(struct mono now, struct mono then)
{
    return now.ns - then.ns;
}
static inline struct mono mono_add(struct mono t, int64_t ns)
{
    return (struct mono){t.ns + ns};
}

#endif
