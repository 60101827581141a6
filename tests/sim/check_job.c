/*
 * check_job.c - what must hold of one job whenever the supervisor has nothing left to do at a moment: its
 * counters against its lists, its lists against each other, and both against what the simulated stages know
 * to have happened:
 *   - a chunk is waiting, held by one lease, done or given up, never two of these and never none;
 *   - no chunk was tried again more often than a cause of its attempts' ends allows, however late one is
 * known;
 *   - the sum over all fold states that lie about is the sum over the chunks that are done: each exactly
 * once;
 *   - a place in an arena is taken by one result or one lease; results that are wanted are there.
 */
#include "daemon/ledger.h"
#include "tests/sim/sim.h"

/* ---- chunks ---- */

uint64_t chunk_bits(uint64_t from, uint64_t to)
{
    uint64_t below_to = to >= 64 ? UINT64_MAX : (1ull << to) - 1,
             below_from = from >= 64 ? UINT64_MAX : (1ull << from) - 1;
    return below_to & ~below_from;
}

static uint64_t mask_of(const struct iset *s)
{
    uint64_t m = 0;
    for (size_t i = 0; i < s->n; i++)
        m |= chunk_bits(s->ranges[i].from, s->ranges[i].to);
    return m;
}

/* held: by leases. What its client is to send once more waits for that. */
static void check_ledger(const struct job *j, uint64_t held)
{
    const struct ledger *l = &j->ledger;
    uint64_t back = mask_of(&l->back), alone = mask_of(&l->alone), h = mask_of(&l->held),
             done = mask_of(&l->done), bad = mask_of(&l->bad);
    uint64_t n = l->back.count + l->alone.count + l->held.count + l->done.count + l->bad.count;
    held |= mask_of(&j->asked_again) | mask_of(&j->recalled) | mask_of(&j->lost);
    SIM_CHECK(h == held, "job %lu: chunks %lx are held by leases, %lx by the ledger", (ul)j->id, (ul)held,
              (ul)h);
    SIM_CHECK((back | alone | h | done | bad) == chunk_bits(0, l->fresh) && n == l->fresh,
              "job %lu: of %lu chunks taken, back %lx alone %lx held %lx done %lx bad %lx", (ul)j->id,
              (ul)l->fresh, (ul)back, (ul)alone, (ul)h, (ul)done, (ul)bad);
    SIM_CHECK((mask_of(&l->suspect) & (done | bad)) == 0,
              "job %lu: chunks that have ended are still suspected", (ul)j->id);
    SIM_CHECK(bad == (spec_of_job(j->id)->bad & chunk_bits(0, l->total)),
              "job %lu: given up %lx, charged %lx", (ul)j->id, (ul)bad, (ul)spec_of_job(j->id)->bad);
    const struct spec *s = spec_of_job(j->id);
    SIM_CHECK((done & ~s->computed) == 0, "job %lu: chunks %lx are done, but nobody did them", (ul)j->id,
              (ul)(done & ~s->computed));
}

static void check_budgets(const struct job *j)
{
    const struct ledger *l = &j->ledger;
    for (size_t i = 0; i < l->ncharges; i++)
        for (int c = 0; c < CAUSES; c++)
            SIM_CHECK(l->charges[i].by[c] <= j->budget.retries[c],
                      "job %lu: chunk %lu was tried again %u times for cause %d, of which %u are allowed",
                      (ul)j->id, (ul)l->charges[i].chunk, l->charges[i].by[c], c, j->budget.retries[c]);
}

/* ---- fold states ---- */

static void add_states(const struct spec *s, const struct fold_list *list, uint64_t sum[2])
{
    const struct fold_state *f;
    STAILQ_FOREACH(f, list, link)
    {
        uint64_t v[2];
        spec_get_state(s, f->bytes, f->len, v);
        sum[0] += v[0];
        sum[1] += v[1];
    }
}

static void check_fold(const struct job *j)
{
    const struct spec *s = spec_of_job(j->id);
    uint64_t have[2] = {0, 0}, want[2] = {0, j->ledger.done.count}, done = mask_of(&j->ledger.done);
    if (j->absorb != PWC__ABSORB__ABSORB_FOLDED || j->got_results || j->state != PWC__JOB_STATE__JOB_RUNNING)
        return;
    add_states(s, &j->states, have);
    const struct stage *x;
    TAILQ_FOREACH(x, &j->d->pool->stages, link)
    {
        if (x->job == j)
            add_states(s, &x->lease.handed, have);
    }
    for (uint64_t c = 0; c < s->chunks; c++)
        if ((done >> c & 1) != 0)
            want[0] += spec_value(s, c);
    SIM_CHECK(have[0] == want[0] && have[1] == want[1],
              "job %lu: %lu chunks are done, fold states hold %lu%s", (ul)j->id, (ul)want[1], (ul)have[1],
              have[1] == want[1] ? " others" : "");
}

/* ---- results in arenas ---- */

static uint64_t places(uint32_t place, uint64_t n)
{
    return chunk_bits(place, place + n);
}

static void check_arena(const struct job *j, const struct arena *a)
{
    uint64_t taken = 0;
    const struct result *r;
    LIST_FOREACH(r, &j->assembly.results, link)
    {
        if (r->arena != a)
            continue;
        SIM_CHECK((taken & places(r->place, r->n)) == 0, "job %lu: two results share a place", (ul)j->id);
        taken |= places(r->place, r->n);
    }
    const struct stage *s, *owner = NULL;
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        if (s->arena != a)
            continue;
        SIM_CHECK(owner == NULL && s->arena_job == j, "job %lu: an arena of two", (ul)j->id);
        owner = s;
        if (s->lease.nplaces > 0) {
            SIM_CHECK((taken & places(s->lease.place, s->lease.nplaces)) == 0,
                      "job %lu: a lease writes over a result", (ul)j->id);
            taken |= places(s->lease.place, s->lease.nplaces);
        }
    }
    SIM_CHECK(a->orphan == (owner == NULL), "job %lu: an arena is %san orphan, but has %s", (ul)j->id,
              a->orphan ? "" : "not ", owner != NULL ? "a stage" : "none");
    SIM_CHECK(a->taken == taken, "job %lu: places %lx of an arena are marked, %lx are used", (ul)j->id,
              (ul)a->taken, (ul)taken);
    SIM_CHECK(!a->orphan || taken != 0, "job %lu: an empty arena is kept", (ul)j->id);
}

static void check_assembly(const struct job *j)
{
    const struct assembly *a = &j->assembly;
    const struct arena *arena;
    const struct result *r;
    uint64_t there = 0, done = mask_of(&j->ledger.done), last = 0, bytes = 0;
    LIST_FOREACH(arena, &a->arenas, link)
    {
        check_arena(j, arena);
        bytes += arena->bytes;
    }
    LIST_FOREACH(arena, &a->gone, link)
    {
        bytes += arena->bytes;
    }
    SIM_CHECK(a->bytes == bytes, "job %lu: counts %lu bytes of arenas, has %lu", (ul)j->id, (ul)a->bytes,
              (ul)bytes);
    LIST_FOREACH(r, &a->results, link)
    {
        SIM_CHECK(r->first >= last && r->n > 0, "job %lu: results overlap at chunk %lu", (ul)j->id,
                  (ul)r->first);
        last = r->first + r->n;
        there |= chunk_bits(r->first, last);
    }
    if (j->absorb != PWC__ABSORB__ABSORB_SERIAL || j->state != PWC__JOB_STATE__JOB_RUNNING)
        return;
    SIM_CHECK(a->absorbed <= a->sent && a->sent <= j->ledger.total, "job %lu: absorbed %lu, sent %lu",
              (ul)j->id, (ul)a->absorbed, (ul)a->sent);
    uint64_t bad = mask_of(&j->ledger.bad);
    SIM_CHECK((there & ~done & ~bad) == 0, "job %lu: results of chunks %lx, which are not done", (ul)j->id,
              (ul)(there & ~done));
    SIM_CHECK((bad & ~there & chunk_bits(a->absorbed, 64)) == 0,
              "job %lu: chunks %lx are given up, but nothing stands in for them", (ul)j->id,
              (ul)(bad & ~there & chunk_bits(a->absorbed, 64)));
    SIM_CHECK((done & ~there & chunk_bits(a->absorbed, 64)) == 0,
              "job %lu: chunks %lx are done, but their results are gone", (ul)j->id,
              (ul)(done & ~there & chunk_bits(a->absorbed, 64)));
    SIM_CHECK((chunk_bits(0, a->absorbed) & ~done & ~bad) == 0,
              "job %lu: chunks %lx were absorbed, but are not done", (ul)j->id,
              (ul)(chunk_bits(0, a->absorbed) & ~done));
}

/* ---- descriptors ---- */

static uint64_t wanted_again(const struct job *j)
{
    return (uint64_t)__builtin_popcountll(mask_of(&j->asked_again) | mask_of(&j->recalled) |
                                          mask_of(&j->lost));
}

uint32_t job_fds(const struct job *j)
{
    uint32_t n = (j->plan_fd >= 0 ? 1u : 0u) + (j->scratch_fd >= 0 ? 1 : 0) +
                 (j->scratch_ro_fd >= 0 ? 1 : 0) + (j->raster_fd >= 0 ? 1 : 0) +
                 (j->have_fds ? j->nroles : 0);
    const struct item *it;
    const struct arena *a;
    uint64_t items = 0;
    TAILQ_FOREACH(it, &j->item_list, link)
    {
        n += it->nfds;
        items++;
    }
    LIST_FOREACH(a, &j->assembly.arenas, link)
    {
        n++;
    }
    SIM_CHECK(!j->batch || items == j->items_in - j->items_out - wanted_again(j),
              "job %lu: %lu items came, %lu are done, %lu are here", (ul)j->id, (ul)j->items_in,
              (ul)j->items_out, (ul)items);
    return n;
}

/* ---- one job ---- */

/* What must have ended it has, and what runs was begun. */
static void check_goes_on(const struct job *j, uint32_t workers)
{
    SIM_CHECK(j->state != PWC__JOB_STATE__JOB_RUNNING || j->began.ns != 0,
              "job %lu runs, and no stage ever had anything of it", (ul)j->id);
    SIM_CHECK(j->job_timeout_ns == 0 || j->state == PWC__JOB_STATE__JOB_ENDING ||
                  mono_since(clock_now(), j->born) <= (int64_t)j->job_timeout_ns,
              "job %lu goes on after its time is up", (ul)j->id);
    SIM_CHECK(!j->halting || workers > 0 || j->state != PWC__JOB_STATE__JOB_RUNNING ||
                  ledger_complete(&j->ledger),
              "job %lu is halting, and nothing is left that could end it", (ul)j->id);
}

uint32_t check_job(const struct job *j, bool active)
{
    uint32_t stages = 0, workers = 0;
    uint64_t held = 0;
    const struct stage *s;
    SIM_CHECK(!job_is_terminal(j) && j->active == active, "job %lu is in the wrong list", (ul)j->id);
    TAILQ_FOREACH(s, &j->d->pool->stages, link)
    {
        for (unsigned i = 0; i < s->nahead; i++)
            if (s->ahead[i].job == j) {
                SIM_CHECK(held == 0 && s->lease.small && s->ahead[i].lease != s->lease.id,
                          "job %lu is ahead twice", (ul)j->id);
                SIM_CHECK(j->domain == s->domain && j->memory == s->job->memory,
                          "job %lu is ahead in stage %lu, which has another's domain or limit", (ul)j->id,
                          (ul)s->id);
                stages++;
                held = 1;
            }
        if (s->job != j)
            continue;
        SIM_CHECK(s->domain == j->domain && s->uid == j->user->uid, "stage %lu works for another domain",
                  (ul)s->id);
        stages++;
        workers += s->seat;
        if (s->lease.kind != LEASE_CHUNKS)
            continue;
        uint64_t m = chunk_bits(s->lease.first, s->lease.end);
        SIM_CHECK((m != 0 || s->handed != NULL) && (held & m) == 0, "job %lu: chunks %lx are held twice",
                  (ul)j->id, (ul)(held & m));
        held |= m;
    }
    SIM_CHECK(stages == j->stages_on && workers == j->workers_on,
              "job %lu: counts %u stages and %u workers, has %u and %u", (ul)j->id, j->stages_on,
              j->workers_on, stages, workers);
    SIM_CHECK(j->max_workers == 0 || workers <= j->max_workers, "job %lu: %u workers, %u are allowed",
              (ul)j->id, workers, j->max_workers);
    SIM_CHECK(j->state != PWC__JOB_STATE__JOB_ENDING || stages > 0,
              "job %lu is ending with nobody to wait for", (ul)j->id);
    check_goes_on(j, workers);
    if (j->planned) {
        check_ledger(j, held);
        check_budgets(j);
        check_fold(j);
        check_assembly(j);
    }
    return workers;
}
