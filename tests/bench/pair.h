/* pair.h - one row of the comparison: who runs what, what came out, what was to be reached. */
#ifndef PWC_TESTS_BENCH_PAIR_H
#define PWC_TESTS_BENCH_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define SIDES_MAX   8
#define METRICS_MAX 24
#define GOALS_MAX   16
#define ROUNDS_MAX  1000

/* The values of one key, a round each. */
struct metric {
    char key[32];
    double *values;
    size_t n, marked; /* how many; how many there were before the rounds that warm up */
};

/* One program in the comparison; the first is ours. */
struct side {
    const char *name, *command; /* borrowed from argv */
    const char *absent;         /* why it cannot run; NULL: it can */
    struct metric metrics[METRICS_MAX];
    size_t nmetrics;
};

struct goal {
    char metric[32];
    char peers[64];     /* "omp", "vips1+vips2" (the better one), "-": our value itself */
    bool at_most, none; /* none: it is shown, and nothing was to be reached */
    double value;
};

struct row {
    const char *id, *title, *check;
    struct side sides[SIDES_MAX];
    struct goal goals[GOALS_MAX];
    size_t nsides, ngoals;
    size_t rounds, warm;     /* wanted; warm ones come first and are not kept when others follow */
    bool once;               /* nothing here scatters: one round, and no bounds */
    size_t begun, done;      /* all; those that are kept */
    double budget, limit;    /* seconds: for all rounds but those that warm up; for one command */
    const char *failure;     /* a wrong result, a program that failed; NULL */
    double took[ROUNDS_MAX]; /* seconds, of each round that is kept */
};

struct metric *side_metric(struct side *s, const char *key); /* NULL: none */

void side_add(struct side *s, const char *key, double value);

/* pair_run.c: further rounds until there are enough or the budget is spent. */
void row_run(struct row *row);
/* pair_keep.c: what was kept in that file of this row, if there is one; keeps what a later run can go on
 * with. */
void row_resume(struct row *row, const char *path);
void row_keep(const struct row *row, const char *path);
/* pair_report.c: one JSON object, and a line of the table for each goal. */
void row_report(struct row *row, FILE *json, FILE *table);
/* A line for each peer that has no figure. */
void row_notes(struct row *row, FILE *notes);

#endif
