/* pair_report.c - see pair.h: what a row says as JSON and in the table. */
#include <string.h>

#include "tests/bench/bench.h"
#include "tests/bench/pair.h"
#include "tests/bench/stats.h"

enum outcome { FAILED, UNKNOWN, SHOWN, UNSURE, NO, TOO_FEW, YES };

struct verdict {
    const struct side *peer;   /* NULL: our value itself */
    const struct side *beside; /* no peer, but shown beside ours; NULL: none */
    struct stats ours, theirs, ratio;
    bool known, reached;
    const char *why_not; /* unknown */
    enum outcome outcome;
    char word[96]; /* what the table says */
};

static struct stats stats_of_copy(const struct metric *m)
{
    double copy[ROUNDS_MAX];
    memcpy(copy, m->values, m->n * sizeof *copy);
    return stats_of(copy, m->n);
}

static void judge_against(struct verdict *v, struct row *row, const struct goal *g, struct side *peer)
{
    double ratio[ROUNDS_MAX];
    const struct metric *ours = side_metric(&row->sides[0], g->metric),
                        *theirs = side_metric(peer, g->metric);
    v->peer = peer;
    v->why_not = peer->absent != NULL ? peer->absent : "not measured";
    if (peer->absent != NULL || ours == NULL || theirs == NULL || ours->n != theirs->n)
        return;
    for (size_t i = 0; i < ours->n; i++) {
        v->why_not = "their value is 0"; /* there is no ratio to that */
        if (theirs->values[i] == 0)
            return;
        ratio[i] = ours->values[i] / theirs->values[i];
    }
    v->ours = stats_of_copy(ours);
    v->theirs = stats_of_copy(theirs);
    v->ratio = stats_of(ratio, ours->n);
    v->known = true;
    v->reached = stats_reaches(&v->ratio, g->at_most, g->value);
}

/* The goal is a number of ours; what the first peer has is shown beside it. */
static void judge_alone(struct verdict *v, struct row *row, const struct goal *g)
{
    const struct metric *m = side_metric(&row->sides[0], g->metric);
    v->why_not = row->sides[0].absent != NULL ? row->sides[0].absent : "not measured";
    if (m == NULL)
        return;
    v->ours = v->ratio = stats_of_copy(m);
    v->known = true;
    m = row->nsides > 1 && row->sides[1].absent == NULL ? side_metric(&row->sides[1], g->metric) : NULL;
    if (m != NULL) {
        v->theirs = stats_of_copy(m);
        v->beside = &row->sides[1];
    }
    v->reached = stats_reaches(&v->ratio, g->at_most, g->value);
}

static bool named(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, '+') != NULL ? strchr(at, '+') + 1 : NULL)
        if (strncmp(at, name, len) == 0 && (at[len] == '+' || at[len] == '\0'))
            return true;
    return false;
}

/* Against several the best of them counts: the ratio that is worst for us. */
static struct verdict judge(struct row *row, const struct goal *g)
{
    struct verdict best = {.why_not = "not measured"};
    if (strcmp(g->peers, "-") == 0) {
        judge_alone(&best, row, g);
        return best;
    }
    for (size_t i = 1; i < row->nsides; i++) {
        struct verdict v = {0};
        if (!named(g->peers, row->sides[i].name))
            continue;
        judge_against(&v, row, g, &row->sides[i]);
        bool worse = v.known && (!best.known || (v.ratio.median > best.ratio.median) == g->at_most);
        if (worse || best.peer == NULL)
            best = v;
    }
    return best;
}

/* A goal that holds needs a bound and enough pairs, unless nothing scatters. */
static enum outcome outcome_of(const struct row *row, const struct goal *g, const struct verdict *v)
{
    if (row->failure != NULL)
        return FAILED;
    if (!v->known)
        return UNKNOWN;
    if (g->none)
        return SHOWN;
    if (!row->once && !stats_sure(&v->ratio))
        return UNSURE;
    if (!v->reached)
        return NO;
    return row->once || row->done >= STATS_ENOUGH ? YES : TOO_FEW;
}

static void settle(struct verdict *v, const struct row *row, const struct goal *g)
{
    static const char *const words[] = {[SHOWN] = "no goal",
                                        [UNSURE] = "unsure",
                                        [NO] = "no",
                                        [TOO_FEW] = "yes, too few pairs",
                                        [YES] = "yes"};
    v->outcome = outcome_of(row, g, v);
    if (v->outcome == FAILED)
        snprintf(v->word, sizeof v->word, "FAILED: %s", row->failure);
    else
        snprintf(v->word, sizeof v->word, "%s", v->outcome == UNKNOWN ? v->why_not : words[v->outcome]);
}

static void put_text(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        if ((unsigned char)*text >= ' ')
            fputc(*text, f);
    }
    fputc('"', f);
}

static void put_stats(FILE *f, const char *name, const struct stats *s)
{
    fprintf(f, ",\"%s\":{\"median\":%.9g,\"low\":%.9g,\"high\":%.9g,\"n\":%zu,\"coverage\":%.4f}", name,
            s->median, s->low, s->high, s->n, s->coverage);
}

static void put_side(FILE *f, const struct side *s)
{
    fprintf(f, "{\"name\":\"%s\",\"command\":", s->name);
    put_text(f, s->command != NULL ? s->command : "");
    if (s->absent != NULL) {
        fputs(",\"absent\":", f);
        put_text(f, s->absent);
    }
    fputs(",\"metrics\":{", f);
    for (size_t i = 0; i < s->nmetrics; i++) {
        fprintf(f, "%s\"%s\":[", i > 0 ? "," : "", s->metrics[i].key);
        for (size_t k = 0; k < s->metrics[i].n; k++)
            fprintf(f, "%s%.9g", k > 0 ? "," : "", s->metrics[i].values[k]);
        fputc(']', f);
    }
    fputs("}}", f);
}

static void put_target(FILE *f, const struct goal *g)
{
    if (!g->none)
        fprintf(f, "%s %.6g", g->at_most ? "<=" : ">=", g->value);
}

/* "reached" is null when too little was measured to say either, and without a goal. */
static void put_goal(FILE *f, const struct goal *g, const struct verdict *v)
{
    bool no = v->outcome == NO || v->outcome == FAILED;
    fprintf(f, "{\"metric\":\"%s\",\"against\":\"%s\",\"goal\":\"", g->metric, g->peers);
    put_target(f, g);
    fprintf(f, "\",\"reached\":%s,\"verdict\":", v->outcome == YES ? "true" : no ? "false" : "null");
    put_text(f, v->word);
    if (v->peer != NULL)
        fprintf(f, ",\"best\":\"%s\"", v->peer->name);
    if (v->known) {
        put_stats(f, "ours", &v->ours);
        put_stats(f, v->peer != NULL ? "ratio" : "value", &v->ratio);
    }
    if (v->beside != NULL)
        fprintf(f, ",\"beside\":\"%s\"", v->beside->name);
    if (v->known && (v->peer != NULL || v->beside != NULL))
        put_stats(f, "theirs", &v->theirs);
    fputc('}', f);
}

/* Four digits that count, and no exponents. */
static void put_number(FILE *f, double v)
{
    int before = v >= 1000 || v <= -1000 ? 4 : v >= 100 ? 3 : v >= 10 ? 2 : 1;
    fprintf(f, "%.*f", 4 - before, v);
}

static void put_numbers(FILE *f, const struct row *row, const struct verdict *v)
{
    put_number(f, v->ours.median);
    fputc('\t', f);
    if (v->peer != NULL || v->beside != NULL)
        put_number(f, v->theirs.median);
    fputc('\t', f);
    if (v->peer != NULL)
        put_number(f, v->ratio.median);
    fputc('\t', f);
    if (!row->once)
        put_number(f, v->ratio.low);
    fputc('\t', f);
    if (!row->once)
        put_number(f, v->ratio.high);
}

/* "15"; "9 of 15" when the budget cut it; "once". */
static void put_pairs(FILE *f, const struct row *row)
{
    if (row->once && row->done == 1) {
        fputs("once", f);
        return;
    }
    fprintf(f, "%zu", row->done);
    if (row->done < row->rounds)
        fprintf(f, " of %zu", row->rounds);
}

/* row, title, metric, peer, ours, theirs, ratio, low, high, goal, verdict, pairs, coverage: between tabs */
static void put_line(FILE *f, const struct row *row, const struct goal *g, const struct verdict *v)
{
    const struct side *shown = v->peer != NULL ? v->peer : v->beside;
    const char *peer = shown != NULL ? shown->name : g->peers;
    fprintf(f, "%s\t%s\t%s\t%s\t", row->id, row->title, g->metric, peer);
    if (v->known && row->failure == NULL)
        put_numbers(f, row, v);
    else
        fputs("\t\t\t\t", f);
    fputc('\t', f);
    put_target(f, g);
    fprintf(f, "\t%s\t", v->word);
    put_pairs(f, row);
    fprintf(f, "\t%.4f\n", v->known ? v->ratio.coverage : 0);
}

/* A peer that is not there is missing for the whole row, also where another stands for it ("vips1+vips2"). */
void row_notes(struct row *row, FILE *notes)
{
    for (struct side *s = row->sides + 1; s < row->sides + row->nsides; s++) {
        if (s->absent == NULL)
            continue;
        const struct metric *wall = side_metric(s, "wall");
        fprintf(notes, "%s: without %s: %s", row->id, s->name, s->absent);
        if (wall != NULL)
            fprintf(notes, " (rounds before that: %zu)", wall->n);
        fputc('\n', notes);
    }
}

void row_report(struct row *row, FILE *json, FILE *table)
{
    fprintf(json, "{\"row\":\"%s\",\"title\":", row->id);
    put_text(json, row->title);
    fprintf(json, ",\"rounds\":%zu,\"wanted\":%zu,\"once\":%s,\"failure\":", row->done, row->rounds,
            row->once ? "true" : "false");
    row->failure != NULL ? put_text(json, row->failure) : (void)fputs("null", json);
    fputs(",\"sides\":[", json);
    for (size_t i = 0; i < row->nsides; i++) {
        fputs(i > 0 ? "," : "", json);
        put_side(json, &row->sides[i]);
    }
    fputs("],\"goals\":[", json);
    for (size_t i = 0; i < row->ngoals; i++) {
        struct verdict v = judge(row, &row->goals[i]);
        settle(&v, row, &row->goals[i]);
        fputs(i > 0 ? "," : "", json);
        put_goal(json, &row->goals[i], &v);
        put_line(table, row, &row->goals[i], &v);
    }
    fputs("]}\n", json);
}
