/* table.h - an intrusive hash table by number: job ids, tags. Entries are linked in, never copied; keys may
 * repeat. */
#ifndef PWC_CLIENT_TABLE_H
#define PWC_CLIENT_TABLE_H

#include "ipc/base.h"

struct node {
    struct node *next;
    uint64_t key;
};

struct table {
    struct node **buckets;
    size_t size, used; /* size: 0 or a power of two */
    size_t low;        /* no bucket before this one holds any: who empties the table walks over it once */
};

#define NODE_OF(n, type, member) ((type *)(void *)((char *)(n)-offsetof(type, member)))

void table_add(struct table *t, struct node *n, uint64_t key);
bool table_remove(struct table *t, struct node *n); /* false: it was not in */
struct node *table_find(const struct table *t, uint64_t key);
struct node *table_next(const struct node *n); /* another one with the same key, or NULL */
struct node *table_any(struct table *t);       /* NULL: empty */
void table_clear(struct table *t);             /* frees the buckets, not the entries */

#endif
