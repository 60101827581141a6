/* table.c - see table.h. Chained; grows at load 1, so that a hundred thousand jobs under way cost no walks.
 */
#include "client/table.h"

#define FIRST_SIZE 16u

/* Job ids and tags count up: multiplying spreads them over the high bits. */
static size_t place(const struct table *t, uint64_t key)
{
    return (size_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & (t->size - 1);
}

static void push(struct table *t, struct node *n)
{
    size_t i = place(t, n->key);
    n->next = t->buckets[i];
    t->buckets[i] = n;
    t->low = MIN(t->low, i);
}

static void grow(struct table *t)
{
    struct table old = *t;
    t->size = old.size > 0 ? old.size * 2 : FIRST_SIZE;
    t->buckets = xcalloc(t->size, sizeof(struct node *));
    for (size_t i = 0; i < old.size; i++)
        for (struct node *n = old.buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            push(t, n);
        }
    free(old.buckets);
}

void table_add(struct table *t, struct node *n, uint64_t key)
{
    if (t->used >= t->size)
        grow(t);
    n->key = key;
    push(t, n);
    t->used++;
}

bool table_remove(struct table *t, struct node *n)
{
    if (t->size == 0)
        return false;
    for (struct node **at = &t->buckets[place(t, n->key)]; *at != NULL; at = &(*at)->next)
        if (*at == n) {
            *at = n->next;
            t->used--;
            return true;
        }
    return false;
}

struct node *table_find(const struct table *t, uint64_t key)
{
    if (t->size == 0)
        return NULL;
    struct node *n = t->buckets[place(t, key)];
    while (n != NULL && n->key != key)
        n = n->next;
    return n;
}

struct node *table_next(const struct node *n)
{
    struct node *m = n->next;
    while (m != NULL && m->key != n->key)
        m = m->next;
    return m;
}

struct node *table_any(struct table *t)
{
    if (t->used == 0)
        return NULL;
    while (t->buckets[t->low] == NULL)
        t->low++;
    return t->buckets[t->low];
}

void table_clear(struct table *t)
{
    free(t->buckets);
    *t = (struct table){0};
}
