/*
 * pair.c - bench-pair: runs our program and others in turn, on the same work, and says what the ratios are.
 *
 *   bench-pair --row ID --title TEXT --rounds N [--warm N] [--check COMMAND] --json FILE --table FILE
 *              --run NAME COMMAND... [--absent NAME REASON]... --goal "METRIC PEER <= VALUE"...
 *
 * A round runs every side once; the order turns by one each round, so that nobody is always the one who finds
 * the caches cold. What a command prints as "key value" is a metric; "wall" is its time from start to end. A
 * command that fails makes the row fail; one that exits with 77 is absent. CHECK runs after each round.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/pair.h"

struct metric *side_metric(struct side *s, const char *key)
{
    for (size_t i = 0; i < s->nmetrics; i++)
        if (strcmp(s->metrics[i].key, key) == 0)
            return &s->metrics[i];
    return NULL;
}

static void add_value(struct side *s, const char *key, double value)
{
    struct metric *m = side_metric(s, key);
    if (m == NULL && s->nmetrics < METRICS_MAX) {
        m = &s->metrics[s->nmetrics++];
        snprintf(m->key, sizeof m->key, "%s", key);
        m->values = calloc(ROUNDS_MAX, sizeof *m->values);
    }
    if (m != NULL && m->n < ROUNDS_MAX)
        m->values[m->n++] = value;
}

static pid_t start(const char *command, int out)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (dup2(out, STDOUT_FILENO) < 0)
        _exit(126);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* What it printed, and its status. */
static int run_command(const char *command, char *out, size_t size, double *ret_wall)
{
    int p[2], status;
    size_t n = 0;
    ssize_t got;
    if (pipe2(p, O_CLOEXEC) < 0)
        bench_fail("pipe: %m");
    double begun = bench_now();
    pid_t pid = start(command, p[1]);
    close(p[1]);
    while (n < size - 1 && (got = read(p[0], out + n, size - 1 - n)) != 0) {
        if (got < 0 && errno != EINTR)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    out[n] = '\0';
    close(p[0]);
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        bench_fail("%s: %m", command);
    *ret_wall = bench_now() - begun;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* keep: false in the rounds that only warm up */
static void run_side(struct row *row, struct side *s, bool keep)
{
    char out[8192], key[32];
    double wall, value;
    int status = run_command(s->command, out, sizeof out, &wall);
    if (status == BENCH_SKIP) {
        s->absent = "cannot run here";
        return;
    }
    if (status != 0) {
        fprintf(stderr, "bench-pair: %s: %s: status %d: %s\n", row->id, s->name, status, s->command);
        if (s == &row->sides[0])
            row->failure = "ours failed, or its result was wrong";
        else
            s->absent = "failed, or its result was wrong";
        return;
    }
    if (!keep)
        return;
    add_value(s, "wall", wall);
    for (char *line = strtok(out, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (sscanf(line, "%31s %lf", key, &value) == 2)
            add_value(s, key, value);
}

static void check(struct row *row)
{
    char out[8192];
    double wall;
    if (row->check == NULL || run_command(row->check, out, sizeof out, &wall) == 0)
        return;
    row->failure = "the results differ";
    fprintf(stderr, "bench-pair: %s: the check failed: %s\n%s", row->id, row->check, out);
}

static void run_rounds(struct row *row)
{
    for (size_t round = 0; round < row->warm + row->rounds && row->failure == NULL; round++) {
        for (size_t i = 0; i < row->nsides && row->failure == NULL; i++) {
            struct side *s = &row->sides[(round + i) % row->nsides];
            if (s->absent == NULL)
                run_side(row, s, round >= row->warm);
        }
        if (row->failure == NULL)
            check(row);
    }
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

static FILE *append_to(const char *path)
{
    FILE *f = fopen(path, "ae");
    if (f == NULL)
        bench_fail("%s: %m", path);
    return f;
}

int main(int argc, char **argv)
{
    static struct row row = {.rounds = 15, .warm = 1};
    FILE *json = NULL, *table = NULL;
    (void)argc;
    for (char **at = argv + 1; *at != NULL;) {
        const char *option = next(&at);
        if (strcmp(option, "--row") == 0)
            row.id = next(&at);
        else if (strcmp(option, "--title") == 0)
            row.title = next(&at);
        else if (strcmp(option, "--check") == 0)
            row.check = next(&at);
        else if (strcmp(option, "--rounds") == 0)
            row.rounds = bench_number("rounds", next(&at), 1, ROUNDS_MAX);
        else if (strcmp(option, "--warm") == 0)
            row.warm = bench_number("warm", next(&at), 0, ROUNDS_MAX);
        else if (strcmp(option, "--json") == 0)
            json = append_to(next(&at));
        else if (strcmp(option, "--table") == 0)
            table = append_to(next(&at));
        else if (strcmp(option, "--goal") == 0)
            add_goal(&row, next(&at));
        else if (strcmp(option, "--run") == 0) {
            struct side *s = add_side(&row, next(&at));
            s->command = next(&at);
        } else if (strcmp(option, "--absent") == 0) {
            struct side *s = add_side(&row, next(&at));
            s->absent = next(&at);
        } else
            bench_fail("'%s' is no option", option);
    }
    if (row.id == NULL || row.title == NULL || row.nsides == 0 || json == NULL || table == NULL)
        bench_fail("--row, --title, --run, --json and --table must be given");
    if (row.sides[0].absent == NULL)
        run_rounds(&row);
    row_report(&row, json, table);
    fclose(json);
    return fclose(table) == 0 && row.failure == NULL ? 0 : 1;
}
