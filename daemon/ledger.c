/* ledger.c - see ledger.h. */
#include <string.h>

#include "daemon/ledger.h"
#include "ipc/log.h"
#include "proto/limits.h"

void ledger_init(struct ledger *l, uint64_t total, uint64_t ready)
{
    *l = (struct ledger){.total = total, .ready = MIN(ready, total)};
}

void ledger_free(struct ledger *l)
{
    iset_free(&l->back);
    iset_free(&l->alone);
    iset_free(&l->held);
    iset_free(&l->done);
    iset_free(&l->bad);
    iset_free(&l->suspect);
    free(l->charges);
    *l = (struct ledger){0};
}

void ledger_set_ready(struct ledger *l, uint64_t ready)
{
    l->ready = MAX(l->ready, MIN(ready, l->total));
}

uint64_t ledger_waiting(const struct ledger *l)
{
    return (l->ready > l->fresh ? l->ready - l->fresh : 0) + iset_count_below(&l->back, l->ready) +
           iset_count_below(&l->alone, l->ready);
}

uint64_t ledger_lowest(const struct ledger *l)
{
    uint64_t low = l->fresh < l->ready ? l->fresh : UINT64_MAX;
    if (l->back.n > 0)
        low = MIN(low, l->back.ranges[0].from);
    if (l->alone.n > 0)
        low = MIN(low, l->alone.ranges[0].from);
    return low < l->ready ? low : UINT64_MAX;
}

uint64_t ledger_charged(const struct ledger *l)
{
    uint64_t chunk = l->alone.n > 0 ? l->alone.ranges[0].from : UINT64_MAX;
    return chunk < l->ready ? chunk : UINT64_MAX;
}

/* The first one of this chunk or a later one. */
static size_t charge_index(const struct ledger *l, uint64_t chunk)
{
    size_t lo = 0, hi = l->ncharges;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (l->charges[mid].chunk < chunk)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const struct charge *charge_find(const struct ledger *l, uint64_t chunk)
{
    size_t at = charge_index(l, chunk);
    return at < l->ncharges && l->charges[at].chunk == chunk ? &l->charges[at] : NULL;
}

/* A chunk with charges waits alone, so that whoever dies next to it is not suspected with it. */
static void put_waiting(struct ledger *l, uint64_t from, uint64_t to)
{
    iset_add(&l->back, from, to);
    for (size_t i = charge_index(l, from); i < l->ncharges && l->charges[i].chunk < to; i++) {
        uint64_t c = l->charges[i].chunk;
        iset_remove(&l->back, c, c + 1);
        iset_add(&l->alone, c, c + 1);
    }
}

/* A lease holds suspects only, few of them, or none: how much of [first, first + n) goes back to waiting. */
static uint64_t beyond_suspicion(struct ledger *l, uint64_t first, uint64_t n)
{
    const struct range *r = iset_after(&l->suspect, first);
    uint64_t most = n;
    if (r != NULL && r->from <= first)
        most = MIN(l->suspect_most, r->to - first);
    else if (r != NULL)
        most = r->from - first;
    if (most >= n)
        return 0;
    put_waiting(l, first + most, first + n);
    return n - most;
}

uint64_t ledger_take_from(struct ledger *l, uint64_t first, uint64_t most)
{
    uint64_t n;
    BUG_ON(first != ledger_lowest(l) && first != ledger_charged(l));
    if (first == UINT64_MAX || most == 0)
        return 0;
    if (l->alone.n > 0 && l->alone.ranges[0].from == first) {
        n = 1;
        iset_remove(&l->alone, first, first + 1);
    } else if (l->back.n > 0 && l->back.ranges[0].from == first) {
        n = MIN(most, MIN(l->back.ranges[0].to, l->ready) - first);
        iset_remove(&l->back, first, first + n);
    } else {
        n = MIN(most, l->ready - first);
        l->fresh = first + n;
    }
    n -= beyond_suspicion(l, first, n);
    iset_add(&l->held, first, first + n);
    return n;
}

uint64_t ledger_take(struct ledger *l, uint64_t most, uint64_t *ret_first)
{
    uint64_t first = ledger_lowest(l), n = ledger_take_from(l, first, most);
    if (n > 0)
        *ret_first = first;
    return n;
}

void ledger_give_back(struct ledger *l, uint64_t from, uint64_t to)
{
    uint64_t n = iset_remove(&l->held, from, to);
    BUG_ON(n != to - from);
    put_waiting(l, from, to);
}

void ledger_suspect(struct ledger *l, uint64_t from, uint64_t to)
{
    uint64_t half = MAX((to - from) / 2, (uint64_t)1);
    l->suspect_most = l->suspect.count > 0 ? MIN(l->suspect_most, half) : half;
    iset_add(&l->suspect, from, to);
    ledger_give_back(l, from, to);
}

/* What is over keeps none: there may be as many as the job has chunks. */
static void drop_charges(struct ledger *l, uint64_t from, uint64_t to)
{
    size_t at = charge_index(l, from), end = charge_index(l, to);
    if (at == end)
        return;
    for (size_t i = at; i < end; i++)
        l->solos -= l->charges[i].solo;
    memmove(l->charges + at, l->charges + end, (l->ncharges - end) * sizeof *l->charges);
    l->ncharges -= end - at;
}

bool ledger_report(struct ledger *l, uint64_t from, uint64_t to)
{
    if (from == to)
        return true;
    const struct range *r = iset_after(&l->held, from);
    if (from > to || r == NULL || r->from > from || r->to < to)
        return false;
    iset_remove(&l->held, from, to);
    iset_add(&l->done, from, to);
    iset_remove(&l->suspect, from, to);
    drop_charges(l, from, to);
    return true;
}

void ledger_rewind(struct ledger *l)
{
    l->ready = 0;
    ledger_forget(l, 0, l->total);
}

void ledger_forget(struct ledger *l, uint64_t from, uint64_t to)
{
    const struct range *r = iset_after(&l->done, from);
    if (r == NULL || from >= to)
        return;
    for (size_t i = (size_t)(r - l->done.ranges); i < l->done.n && l->done.ranges[i].from < to; i++)
        put_waiting(l, MAX(l->done.ranges[i].from, from), MIN(l->done.ranges[i].to, to));
    l->redone += iset_remove(&l->done, from, to);
}

static struct charge *charge_of(struct ledger *l, uint64_t chunk)
{
    size_t at = charge_index(l, chunk);
    if (at < l->ncharges && l->charges[at].chunk == chunk)
        return &l->charges[at];
    if (l->ncharges == l->room) {
        l->room = l->room * 2 + 4;
        l->charges = xrealloc(l->charges, l->room, sizeof *l->charges);
    }
    memmove(l->charges + at + 1, l->charges + at, (l->ncharges - at) * sizeof *l->charges);
    l->ncharges++;
    l->charges[at] = (struct charge){.chunk = chunk};
    return &l->charges[at];
}

static void give_up(struct ledger *l, uint64_t chunk)
{
    iset_add(&l->bad, chunk, chunk + 1);
    drop_charges(l, chunk, chunk + 1);
}

bool ledger_charge(struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget)
{
    BUG_ON(iset_remove(&l->held, chunk, chunk + 1) != 1);
    iset_remove(&l->suspect, chunk, chunk + 1);
    if (ledger_left(l, chunk, cause, budget) == 0) {
        give_up(l, chunk);
        return false;
    }
    charge_of(l, chunk)->by[cause]++;
    iset_add(&l->alone, chunk, chunk + 1);
    l->retried++;
    return true;
}

uint32_t ledger_left(const struct ledger *l, uint64_t chunk, enum cause cause, const struct budget *budget)
{
    const struct charge *c = charge_find(l, chunk);
    if (c == NULL && l->ncharges >= LEDGER_CHARGES_MAX)
        return 0;
    uint32_t by = c != NULL ? c->by[cause] : 0;
    return by < budget->retries[cause] ? budget->retries[cause] - by : 0;
}

/* Done or given up meanwhile it has no charges, and recalled a clean slate: nothing is to be moved. */
void ledger_recharge(struct ledger *l, uint64_t chunk, enum cause from, enum cause to)
{
    if (charge_find(l, chunk) == NULL)
        return;
    struct charge *c = charge_of(l, chunk);
    if (c->by[from] == 0)
        return;
    c->by[from]--;
    c->by[to]++;
}

void ledger_set_solo(struct ledger *l, uint64_t chunk, bool solo)
{
    if (ledger_is_solo(l, chunk) == solo || charge_find(l, chunk) == NULL)
        return;
    charge_of(l, chunk)->solo = solo;
    l->solos += solo ? 1 : -(size_t)1;
}

bool ledger_is_solo(const struct ledger *l, uint64_t chunk)
{
    const struct charge *c = l->solos > 0 ? charge_find(l, chunk) : NULL;
    return c != NULL && c->solo;
}

void ledger_recall(struct ledger *l, uint64_t chunk, uint32_t attempts)
{
    BUG_ON(iset_remove(&l->bad, chunk, chunk + 1) != 1);
    if (l->ncharges < LEDGER_CHARGES_MAX)
        charge_of(l, chunk)->before = attempts;
    iset_add(&l->held, chunk, chunk + 1);
}

void ledger_give_alone(struct ledger *l, uint64_t chunk)
{
    BUG_ON(iset_remove(&l->held, chunk, chunk + 1) != 1);
    iset_add(&l->alone, chunk, chunk + 1);
    l->retried++;
}

void ledger_reject(struct ledger *l, uint64_t chunk)
{
    BUG_ON(iset_remove(&l->held, chunk, chunk + 1) != 1);
    give_up(l, chunk);
}

/* What is next goes into another set than the ready ones. */
static void next_into(struct ledger *l, struct iset *set)
{
    BUG_ON(l->ready >= l->total);
    put_waiting(l, l->fresh, l->ready);
    iset_add(set, l->ready, l->ready + 1);
    l->fresh = ++l->ready;
}

void ledger_reject_next(struct ledger *l)
{
    next_into(l, &l->bad);
}

void ledger_hold_next(struct ledger *l)
{
    next_into(l, &l->held);
}

uint32_t ledger_attempt(const struct ledger *l, uint64_t chunk)
{
    const struct charge *c = charge_find(l, chunk);
    if (c == NULL)
        return 1;
    uint32_t n = 1 + c->before;
    for (int i = 0; i < CAUSES; i++)
        n += c->by[i];
    return n;
}

bool ledger_overflows(const struct ledger *l, bool each)
{
    return each ? l->bad.count > PWC_FAILURES_MAX : l->bad.n > PWC_FAILURE_RUNS_MAX;
}

bool ledger_complete(const struct ledger *l)
{
    return l->done.count + l->bad.count == l->total;
}
