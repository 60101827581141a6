/*
 * pair.c - bench-pair: runs our program and others in turn, on the same work, and says what the ratios are.
 *
 *   bench-pair --row ID --title TEXT (--rounds N [--warm N] | --once) [--budget SECONDS] [--limit SECONDS]
 *              [--check COMMAND] [--keep FILE] --json FILE --table FILE [--notes FILE]
 *              --run NAME COMMAND... [--absent NAME REASON]... --goal "METRIC PEER <= VALUE"...
 *              [--show "METRIC PEER"]...
 *
 * A round runs every side once; each order is followed by its reverse, then turns by one, so that nobody is
 * always the one who finds the caches cold, or always comes after the same other. What a command prints as
 * "key value" is a metric; "wall" is its time from start to end. When ours fails the row has failed; a peer
 * that fails, or exits with 77, is absent. CHECK runs after each round.
 *
 * --show is a ratio that belongs beside the others, of which no goal speaks.
 *
 * --once is for what does not scatter, counts of wakeups for instance: one round, none before it, and a
 * verdict without bounds. Else a goal is reached only with a 95 % bound and enough pairs (stats.h).
 *
 * No round but the first begins that would not end within the budget if it took what they usually take: the
 * table says how many there were. The budget begins behind the rounds that warm up. --keep writes those of a
 * row that was cut into FILE; given again it goes on with them. A command that takes longer than the limit is
 * killed, with everything it has started.
 */
#include <stdio.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "tests/bench/pair.h"

struct metric *side_metric(struct side *s, const char *key)
{
    for (size_t i = 0; i < s->nmetrics; i++)
        if (strcmp(s->metrics[i].key, key) == 0)
            return &s->metrics[i];
    return NULL;
}

/* ---- arguments ---- */

static const char *next(char ***at)
{
    if (**at == NULL)
        bench_fail("an argument is missing at the end");
    return *(*at)++;
}

static struct side *add_side(struct row *row, const char *name)
{
    if (row->nsides == SIDES_MAX)
        bench_fail("more than %d sides", SIDES_MAX);
    struct side *s = &row->sides[row->nsides++];
    s->name = name;
    return s;
}

static void add_goal(struct row *row, const char *text)
{
    char cmp[3] = "";
    struct goal *g = &row->goals[row->ngoals];
    if (row->ngoals == GOALS_MAX ||
        sscanf(text, "%31s %63s %2s %lf", g->metric, g->peers, cmp, &g->value) != 4 ||
        (strcmp(cmp, "<=") != 0 && strcmp(cmp, ">=") != 0))
        bench_fail("goal '%s': expected METRIC PEER <= VALUE, or >=", text);
    g->at_most = cmp[0] == '<';
    row->ngoals++;
}

static void add_shown(struct row *row, const char *text)
{
    struct goal *g = &row->goals[row->ngoals];
    if (row->ngoals == GOALS_MAX || sscanf(text, "%31s %63s", g->metric, g->peers) != 2)
        bench_fail("shown '%s': expected METRIC PEER", text);
    g->at_most = g->none = true;
    row->ngoals++;
}

static FILE *append_to(const char *path)
{
    FILE *f = fopen(path, "ae");
    if (f == NULL)
        bench_fail("%s: %m", path);
    return f;
}

static double seconds(const char *what, const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !(v > 0))
        bench_fail("--%s: '%s' is no number of seconds", what, text);
    return v;
}

/* Options that take a number or name something of the whole row. */
static bool row_option(struct row *row, const char *option, char ***at)
{
    if (strcmp(option, "--row") == 0)
        row->id = next(at);
    else if (strcmp(option, "--title") == 0)
        row->title = next(at);
    else if (strcmp(option, "--check") == 0)
        row->check = next(at);
    else if (strcmp(option, "--rounds") == 0)
        row->rounds = bench_number("rounds", next(at), 1, ROUNDS_MAX);
    else if (strcmp(option, "--warm") == 0)
        row->warm = bench_number("warm", next(at), 0, ROUNDS_MAX);
    else if (strcmp(option, "--once") == 0) {
        row->once = true;
        row->rounds = 1;
        row->warm = 0;
    } else if (strcmp(option, "--budget") == 0)
        row->budget = seconds("budget", next(at));
    else if (strcmp(option, "--limit") == 0)
        row->limit = seconds("limit", next(at));
    else
        return false;
    return true;
}

struct files {
    FILE *json, *table, *notes;
    const char *kept;
};

static bool file_option(struct files *files, const char *option, char ***at)
{
    if (strcmp(option, "--json") == 0)
        files->json = append_to(next(at));
    else if (strcmp(option, "--table") == 0)
        files->table = append_to(next(at));
    else if (strcmp(option, "--notes") == 0)
        files->notes = append_to(next(at));
    else if (strcmp(option, "--keep") == 0)
        files->kept = next(at);
    else
        return false;
    return true;
}

static void side_option(struct row *row, const char *option, char ***at)
{
    if (strcmp(option, "--goal") == 0)
        add_goal(row, next(at));
    else if (strcmp(option, "--show") == 0)
        add_shown(row, next(at));
    else if (strcmp(option, "--run") == 0) {
        struct side *s = add_side(row, next(at));
        s->command = next(at);
    } else if (strcmp(option, "--absent") == 0) {
        struct side *s = add_side(row, next(at));
        s->absent = next(at);
    } else
        bench_fail("'%s' is no option", option);
}

static void run_rounds(struct row *row, const char *kept)
{
    if (kept != NULL)
        row_resume(row, kept);
    row_run(row);
    if (kept != NULL)
        row_keep(row, kept);
}

int main(int argc, char **argv)
{
    static struct row row = {.rounds = 15, .warm = 1, .budget = 1e9, .limit = 600};
    struct files files = {0};
    (void)argc;
    for (char **at = argv + 1; *at != NULL;) {
        const char *option = next(&at);
        if (!row_option(&row, option, &at) && !file_option(&files, option, &at))
            side_option(&row, option, &at);
    }
    if (row.id == NULL || row.title == NULL || row.nsides == 0 || files.json == NULL || files.table == NULL)
        bench_fail("--row, --title, --run, --json and --table must be given");
    run_rounds(&row, files.kept);
    row_report(&row, files.json, files.table);
    if (files.notes != NULL)
        row_notes(&row, files.notes);
    if (files.notes != NULL && fclose(files.notes) != 0)
        bench_fail("notes: %m");
    fclose(files.json);
    return fclose(files.table) == 0 && row.failure == NULL ? 0 : 1;
}
