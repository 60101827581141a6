/* test_table.c - the client's table: emptied one by one, as when a connection ends with all that is open. */
#include <stdlib.h>

#include "client/table.h"
#include "tests/unit/runner.h"

static struct table table;

static void free_table(void)
{
    table_clear(&table);
}

/* Takes out what there is, each exactly once. */
static void empty(const struct node *nodes, size_t n, bool *seen)
{
    for (struct node *at; (at = table_any(&table)) != NULL;) {
        size_t i = (size_t)(at - nodes);
        ck_assert_uint_lt(i, n);
        ck_assert(!seen[i]);
        seen[i] = true;
        ck_assert(table_remove(&table, at));
    }
    ck_assert_uint_eq(table.used, 0);
}

/* So many that a walk for each would take minutes. */
START_TEST(emptied)
{
    enum { N = 1 << 20 };
    struct node *nodes = calloc(N, sizeof *nodes);
    bool *seen = calloc(N, sizeof *seen);
    for (size_t i = 0; i < N; i++)
        table_add(&table, &nodes[i], i + 1);
    empty(nodes, N, seen);
    for (size_t i = 0; i < N; i++)
        ck_assert(seen[i]);
    ck_assert_ptr_null(table_any(&table));
    free(nodes);
    free(seen);
}
END_TEST

/* What comes while it is being emptied is found, wherever it lands; the same keys again, and growth. */
START_TEST(filled_between)
{
    enum { N = 4096 };
    static struct node nodes[N];
    static bool seen[N];
    size_t added = 0, out = 0;
    uint64_t random = 1;
    ck_assert_ptr_null(table_any(&table));
    while (out < N) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        if (added < N && (random >> 40) % 5 < 3) {
            table_add(&table, &nodes[added], (random >> 33) % 1000);
            added++;
            continue;
        }
        struct node *at = table_any(&table);
        ck_assert_int_eq(at == NULL, added == out);
        if (at == NULL)
            continue;
        ck_assert_ptr_nonnull(table_find(&table, at->key));
        ck_assert(!seen[at - nodes]);
        seen[at - nodes] = true;
        ck_assert(table_remove(&table, at));
        ck_assert(!table_remove(&table, at));
        out++;
    }
    empty(nodes, N, seen);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("table");
    TCase *tc = tcase_create("table");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, NULL, free_table);
    tcase_add_test(tc, emptied);
    tcase_add_test(tc, filled_between);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
