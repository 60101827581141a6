/* optable.c - see optable.h. */
#include <string.h>

#include "ipc/log.h"
#include "proto/limits.h"
#include "worker/optable.h"

void optable_add(struct optable *t, const struct op *op)
{
    if (t->n == t->room) {
        t->room = t->room > 0 ? t->room * 2 : 64;
        t->ops = xrealloc(t->ops, t->room, sizeof(const struct op *));
    }
    t->ops[t->n++] = op;
}

static int by_name(const void *a, const void *b)
{
    const struct op *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

void optable_finish(struct optable *t)
{
    if (t->n > 1)
        qsort(t->ops, t->n, sizeof(const struct op *), by_name);
    for (size_t i = 0; i < t->n; i++) {
        BUG_ON(strlen(t->ops[i]->name) > PWC_NAME_MAX);
        BUG_ON(t->ops[i]->nroles > PWC_ROLES_MAX || t->ops[i]->fold_bytes > PWC_STATE_MAX);
        BUG_ON(i > 0 && strcmp(t->ops[i - 1]->name, t->ops[i]->name) == 0);
    }
}

const struct op *optable_find(const struct optable *t, const char *name)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(name, t->ops[mid]->name);
        if (c == 0)
            return t->ops[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}
