/* quarantine.c - see quarantine.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/events.h"
#include "daemon/nearest.h"
#include "daemon/quarantine.h"
#include "daemon/session.h"
#include "daemon/trace.h"
#include "ipc/utf8.h"

#define RECIPE_MAX 400u /* of a command that is told: enough for any that somebody typed */

/* ---- the command that does it again ---- */

static void put(char *text, size_t size, const char *fmt, ...) PRINTF(3, 4);
static void put(char *text, size_t size, const char *fmt, ...)
{
    size_t n = strlen(text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + n, size - n, fmt, ap);
    va_end(ap);
}

/* Bytes of the character that word begins with; *spelled: a command can be told only with its number, as a
 * terminal obeys it or it is none. */
static size_t next_char(const char *word, bool *spelled)
{
    size_t len = utf8_len(word, strnlen(word, UTF8_MAX));
    *spelled = len == 0 || control_len(word) > 0;
    return MAX(len, (size_t)1);
}

/* As a shell takes it, whatever is in it: byte for byte the same, though what it is told in is UTF-8. */
static void put_word(char *text, size_t size, const char *word)
{
    bool plain = word[0] != '\0', spell = false, spelled;
    for (const char *p = word; *p != '\0'; p += next_char(p, &spelled), spell |= spelled)
        plain &= (*p >= '+' && *p <= ':') || *p == '_' || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z');
    if (plain) {
        put(text, size, "%s", word);
        return;
    }
    put(text, size, spell ? "$'" : "'");
    for (const char *p = word; *p != '\0';) {
        size_t n = next_char(p, &spelled);
        for (size_t i = 0; spelled && i < n; i++)
            put(text, size, "\\%03o", (unsigned)(unsigned char)p[i]);
        if (!spelled && *p == '\'')
            put(text, size, spell ? "\\'" : "'\\''");
        else if (!spelled)
            put(text, size, spell && *p == '\\' ? "\\%.*s" : "%.*s", (int)n, p);
        p += n;
    }
    put(text, size, "'");
}

static void put_value(char *text, size_t size, const Pwc__Value *v)
{
    switch (v->kind_case) {
    case PWC__VALUE__KIND_I64:
        put(text, size, "%" PRId64, v->i64);
        break;
    case PWC__VALUE__KIND_U64:
        put(text, size, "%" PRIu64, v->u64);
        break;
    case PWC__VALUE__KIND_F64:
        put(text, size, "%.17g", v->f64);
        break;
    case PWC__VALUE__KIND_FLAG:
        put(text, size, v->flag ? "true" : "false");
        break;
    case PWC__VALUE__KIND_STR:
        put_word(text, size, v->str);
        break;
    case PWC__VALUE__KIND_F64S:
        for (size_t i = 0; i < v->f64s->n_v; i++)
            put(text, size, "%s%.17g", i > 0 ? "," : "", v->f64s->v[i]);
        break;
    case PWC__VALUE__KIND_I64S:
        for (size_t i = 0; i < v->i64s->n_v; i++)
            put(text, size, "%s%" PRId64, i > 0 ? "," : "", v->i64s->v[i]);
        break;
    default:
        put(text, size, "...");
    }
}

static void put_values(char *text, size_t size, const char *option, const struct params *p)
{
    for (size_t i = 0; i < p->n; i++) {
        put(text, size, " %s%s=", option, p->v[i]->name);
        put_value(text, size, p->v[i]->value);
    }
}

/* The one whose file is no option: whose name is told. */
static bool is_main_input(const struct job *j, const char *role)
{
    for (size_t i = 0; i < j->op->n_roles; i++)
        if (j->op->roles[i]->dir == PWC__ROLE_DIR__ROLE_IN && !j->op->roles[i]->optional)
            return strcmp(j->op->roles[i]->name, role) == 0;
    return false;
}

static void put_roles(char *text, size_t size, const struct job *j)
{
    for (unsigned i = 0; i < j->nroles; i++)
        if (j->roles[i].out)
            put(text, size, j->batch ? " --out-dir DIR" : " -o OUTPUT");
        else if (!is_main_input(j, j->roles[i].name))
            put(text, size, " --in %s=FILE", j->roles[i].name);
}

/* "pwcctl run image.thumbnail width=256 --out-dir DIR"; the parameters are there only while the job is. One
 * that was cut would do something else. */
static char *recipe_of(const struct job *j)
{
    char text[RECIPE_MAX] = "pwcctl run ";
    put(text, sizeof text, "%s", j->op->name);
    put_values(text, sizeof text, "", j->params);
    if (j->format[0] != '\0')
        put(text, sizeof text, " --format %s", j->format);
    put_values(text, sizeof text, "--save ", j->save);
    put_values(text, sizeof text, "--load ", j->load);
    put_roles(text, sizeof text, j);
    if (strlen(text) + 1 == sizeof text)
        return xasprintf("pwcctl run %s ...", j->op->name);
    return xstrdup(text);
}

/* A name as a word of a command that can be pasted. False: it cannot be told, for it may have been cut, or it
 * takes too much room. */
static bool name_word(const char *name, char *word, size_t size)
{
    /* An option or a parameter, if nothing is done about it. */
    bool odd = name[0] == '-' || name[strcspn(name, "/=")] == '=';
    word[0] = '\0';
    put(word, size, "%s", odd ? "./" : "");
    put_word(word, size, name);
    return name[0] != '\0' && strlen(name) < PWC_ITEM_NAME_MAX && strlen(word) + 1 < size;
}

static void tell_recipe(const struct given_up *g, const char *because, char *why, size_t size)
{
    const struct job *j = g->job;
    char word[PWC_TEXT_MAX];
    snprintf(why, size, "job %lu %s; run it again: %s", (unsigned long)j->id, because, j->recipe);
    size_t room = MIN(sizeof word, size - strlen(why) - 1);
    if (j->items > 0)
        put(why, size, " %s", name_word(quarantine_input(g), word, room) ? word : "INPUT");
}

/* ---- records ---- */

const char *quarantine_input(const struct given_up *g)
{
    return g->job->batch ? g->covers : g->job->input != NULL ? g->job->input : "";
}

const struct given_up *quarantine_last(const struct job *j)
{
    return TAILQ_LAST(&j->given_up, given_up_list);
}

static void forget(struct given_up *g)
{
    struct daemon *d = g->job->d;
    TAILQ_REMOVE(&d->quarantine, &g->place, link);
    TAILQ_REMOVE(&g->job->given_up, g, of_job);
    d->nquarantine--;
    user_keeps_no_more(KEPT_GIVEN_UP, &g->kept);
    free(g->covers);
    free(g->reason);
    free(g);
}

static void forget_some(struct daemon *d, const struct user *adds)
{
    while (d->nquarantine > d->cfg.quarantine_kept)
        forget(user_kept_too_long(d, KEPT_GIVEN_UP, adds, d->nquarantine));
}

void quarantine_add(struct job *j, uint64_t chunk, Pwc__Code code, uint32_t attempts, const char *covers,
                    const char *reason)
{
    struct daemon *d = j->d;
    if (j->recipe == NULL)
        j->recipe = recipe_of(j);
    struct given_up *g = xcalloc(1, sizeof *g);
    *g = (struct given_up){
        .job = j, .chunk = chunk, .code = code, .attempts = attempts, .at_ns = clock_real_ns()};
    g->covers = xasprintf("%.*s", (int)PWC_ITEM_NAME_MAX, covers);
    g->reason = xasprintf("%.*s", (int)PWC_TEXT_MAX - 1, reason);
    places_add(&d->quarantine, &g->place, g);
    TAILQ_INSERT_TAIL(&j->given_up, g, of_job);
    user_keeps(j->user, KEPT_GIVEN_UP, &g->kept, g);
    d->nquarantine++;
    forget_some(d, j->user);
}

void quarantine_forget_some(struct daemon *d)
{
    forget_some(d, TAILQ_FIRST(&d->users));
}

uint64_t quarantine_drop(struct job *j, uint64_t chunk)
{
    uint64_t n = 0;
    struct given_up *g, *next;
    for (g = TAILQ_FIRST(&j->given_up); g != NULL; g = next) {
        next = TAILQ_NEXT(g, of_job);
        if (chunk != ALL_CHUNKS && g->chunk != chunk)
            continue;
        forget(g);
        n++;
    }
    return n;
}

void quarantine_free_all(struct daemon *d)
{
    struct given_up *g;
    while ((g = places_first(&d->quarantine)) != NULL)
        forget(g);
}

/* ---- instead ---- */

bool quarantine_blank(const struct job *j, uint64_t *ret_chunk)
{
    if (j->absorb != PWC__ABSORB__ABSORB_PLACED || !ledger_complete(&j->ledger))
        return false;
    const struct range *r = iset_after(&j->ledger.bad, j->filled);
    if (r != NULL)
        *ret_chunk = MAX(r->from, j->filled);
    return r != NULL;
}

/* ---- again ---- */

void quarantine_why_not(const struct given_up *g, char *why, size_t size)
{
    const struct job *j = g->job;
    why[0] = '\0';
    if (job_is_terminal(j) || j->state == PWC__JOB_STATE__JOB_ENDING)
        tell_recipe(g, j->items > 0 ? "has ended and its files are closed" : "has ended", why, size);
    else if (j->halting)
        snprintf(why, size, "job %lu is halting: nothing more is started", (unsigned long)j->id);
    else if (j->batch && (j->session == NULL || j->adopted))
        tell_recipe(g, "has lost its client, and the files with it", why, size);
    else if (j->batch && j->session->half_closed)
        tell_recipe(g, "has a client that sends no more files", why, size);
    else if ((j->absorb == PWC__ABSORB__ABSORB_SERIAL && g->chunk < j->assembly.sent) ||
             (j->absorb == PWC__ABSORB__ABSORB_PLACED && ledger_complete(&j->ledger)))
        tell_recipe(g, "has written something in its place already", why, size);
}

static void try_again(struct given_up *g)
{
    struct job *j = g->job;
    uint64_t chunk = g->chunk;
    uint32_t attempts = g->attempts;
    forget(g);
    ledger_recall(&j->ledger, chunk, attempts);
    j->recalls++;
    trace_chunk(j, TRACE_AGAIN, chunk, PWC__CODE__CODE_OK, attempts);
    if (j->absorb == PWC__ABSORB__ABSORB_SERIAL)
        assembly_remove_hole(&j->assembly, chunk);
    if (j->batch)
        job_want_again(j, chunk);
    else
        ledger_give_alone(&j->ledger, chunk);
    daemon_touch(j->d);
}

uint64_t quarantine_retry(struct job *j, uint64_t chunk, char *why, size_t size)
{
    struct given_up *g, *next;
    uint64_t n = 0;
    snprintf(why, size,
             chunk == ALL_CHUNKS ? "job %lu: nothing of it is in quarantine" : "%lu.%lu is not in quarantine",
             (unsigned long)j->id, (unsigned long)chunk);
    for (g = TAILQ_FIRST(&j->given_up); g != NULL; g = next) {
        next = TAILQ_NEXT(g, of_job);
        if (chunk != ALL_CHUNKS && g->chunk != chunk)
            continue;
        quarantine_why_not(g, why, size);
        if (why[0] != '\0')
            continue;
        try_again(g);
        n++;
    }
    if (n > 0) {
        job_want(j);
        events_state(j);
    }
    return n;
}
