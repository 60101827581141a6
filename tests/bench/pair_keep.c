/*
 * pair_keep.c - see pair.h: the rounds of a row that was cut short, so that it can go on where it stopped.
 *
 * A line each: "took" and the seconds of each round; "side" and its name; below it "absent" and why, or the
 * values of a key. Between tabs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "tests/bench/pair.h"

static void put_values(FILE *f, const char *key, const double *values, size_t n)
{
    fputs(key, f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "\t%.17g", values[i]);
    fputc('\n', f);
}

static void put_all(FILE *f, const struct row *row)
{
    put_values(f, "took", row->took, row->done);
    for (const struct side *s = row->sides; s < row->sides + row->nsides; s++) {
        fprintf(f, "side\t%s\n", s->name);
        if (s->absent != NULL)
            fprintf(f, "absent\t%s\n", s->absent);
        for (size_t i = 0; i < s->nmetrics; i++)
            put_values(f, s->metrics[i].key, s->metrics[i].values, s->metrics[i].n);
    }
}

/* What failed, and what is complete, leaves nothing to go on with. */
void row_keep(const struct row *row, const char *path)
{
    if (row->failure != NULL || row->done == 0 || row->done >= row->rounds) {
        (void)remove(path);
        return;
    }
    FILE *f = fopen(path, "we");
    if (f == NULL)
        bench_fail("%s: %m", path);
    put_all(f, row);
    if (ferror(f) || fclose(f) != 0)
        bench_fail("%s: %m", path);
}

static size_t get_values(char **rest, double *ret)
{
    size_t n = 0;
    for (const char *v; n < ROUNDS_MAX && (v = strtok_r(NULL, "\t", rest)) != NULL; n++)
        ret[n] = strtod(v, NULL);
    return n;
}

static struct side *side_named(struct row *row, const char *name)
{
    for (struct side *s = row->sides; s < row->sides + row->nsides; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    bench_fail("the rounds that were kept have a side '%s', this row has none", name);
}

/* Who was absent then has no figures for those rounds, and so has no further ones. */
static void get_line(struct row *row, struct side **s, char *line)
{
    char *rest = NULL;
    double values[ROUNDS_MAX];
    const char *key = strtok_r(line, "\t", &rest);
    if (key == NULL)
        return;
    if (strcmp(key, "took") == 0)
        row->done = get_values(&rest, row->took);
    else if (strcmp(key, "side") == 0)
        *s = side_named(row, rest);
    else if (*s != NULL && strcmp(key, "absent") == 0)
        (*s)->absent = strdup(rest);
    else if (*s != NULL)
        for (size_t i = 0, n = get_values(&rest, values); i < n; i++)
            side_add(*s, key, values[i]);
}

void row_resume(struct row *row, const char *path)
{
    char *line = NULL;
    size_t size = 0;
    struct side *s = NULL;
    FILE *f = fopen(path, "re");
    if (f == NULL && errno == ENOENT)
        return;
    if (f == NULL)
        bench_fail("%s: %m", path);
    for (ssize_t n; (n = getline(&line, &size, f)) > 0;) {
        line[n - 1] = '\0';
        get_line(row, &s, line);
    }
    free(line);
    fclose(f);
}
