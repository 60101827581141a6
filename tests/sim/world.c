/*
 * world.c - one seed: a supervisor with its clients, jobs and faults; run to the end, taken apart, nothing
 * left.
 *
 * The faults of a world are counted: when they are spent, everything must come to its end in a bounded number
 * of steps. Some worlds come to harm a little everywhere, some much in one place, some not at all.
 */
#include <string.h>

#include "daemon/catalogue.h"
#include "daemon/children.h"
#include "daemon/tables.h"
#include "tests/sim/sim.h"

#define STEPS_MAX  60000u /* far above what a world needs: a few hundred, some thousands with timeouts */
#define QUIET_MAX  3000u  /* steps until an idle supervisor really is */
#define STANDSTILL (1500 * NS_PER_S) /* a hog is waited for ten times as long as its median */

struct world W;
static uint64_t rng;

/* ---- chance ---- */

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t z = a + b * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t sim_rnd(uint64_t below)
{
    rng += 0x9e3779b97f4a7c15ull;
    return below > 0 ? sim_mix(rng, 0) % below : 0;
}

bool sim_chance(unsigned permille)
{
    return sim_rnd(1000) < permille;
}

bool sim_fault(unsigned permille)
{
    if (W.faults_left == 0 || !sim_chance(permille))
        return false;
    W.faults_left--;
    sim_tally->faults++;
    return true;
}

/* ---- the ops ---- */

#define TEXT(s) ((char *)(uintptr_t)(s))

static struct catalogue *catalogue;

/* Of a count that is folded nobody wants the results: of a fold, everybody. */
static size_t put_op(uint8_t *at, const char *name, Pwc__Split split, Pwc__Absorb absorb, unsigned nroles)
{
    Pwc__ParamInfo infos[2] = {PWC__PARAM_INFO__INIT, PWC__PARAM_INFO__INIT},
                   *params[2] = {&infos[0], &infos[1]};
    Pwc__RoleInfo roles[2] = {PWC__ROLE_INFO__INIT, PWC__ROLE_INFO__INIT},
                  *role_list[2] = {&roles[0], &roles[1]};
    Pwc__OpInfo op = PWC__OP_INFO__INIT;
    for (int i = 0; i < 2; i++) {
        infos[i].name = TEXT(i == 0 ? "spec" : "n");
        infos[i].type = PWC__PARAM_TYPE__PARAM_UINT;
        roles[i].name = TEXT(i == 0 ? "in" : "out");
        roles[i].dir = i == 0 ? PWC__ROLE_DIR__ROLE_IN : PWC__ROLE_DIR__ROLE_OUT;
    }
    op.name = TEXT(name);
    op.version = TEXT("1");
    op.params = params;
    op.n_params = 2;
    op.roles = role_list;
    op.n_roles = nroles;
    op.split = split;
    op.count_param = TEXT(split == PWC__SPLIT__SPLIT_COUNT ? "n" : "");
    op.absorb = absorb;
    op.results_optional = split == PWC__SPLIT__SPLIT_COUNT;
    op.needs = absorb == PWC__ABSORB__ABSORB_FOLDED;
    op.whole = nroles == 2;
    op.scratch = nroles == 2;
    uint32_t n = (uint32_t)pwc__op_info__pack(&op, at + 4);
    memcpy(at, &n, 4);
    return n + 4;
}

static void make_catalogue(void)
{
    uint8_t bytes[4096];
    size_t n = 0;
    char *error = NULL;
    n += put_op(bytes + n, "count", PWC__SPLIT__SPLIT_COUNT, PWC__ABSORB__ABSORB_NONE, 0);
    n += put_op(bytes + n, "countfold", PWC__SPLIT__SPLIT_COUNT, PWC__ABSORB__ABSORB_FOLDED, 0);
    n += put_op(bytes + n, "fold", PWC__SPLIT__SPLIT_PLANNED, PWC__ABSORB__ABSORB_FOLDED, 1);
    n += put_op(bytes + n, "placed", PWC__SPLIT__SPLIT_PLANNED, PWC__ABSORB__ABSORB_PLACED, 2);
    n += put_op(bytes + n, "serial", PWC__SPLIT__SPLIT_PLANNED, PWC__ABSORB__ABSORB_SERIAL, 2);
    catalogue = catalogue_parse(bytes, n, &error);
    SIM_CHECK(catalogue != NULL, "the catalogue: %s", error);
}

/* Parsing is tested elsewhere; here it is the same each time, or malformed. */
struct catalogue *__wrap_catalogue_load(int fd, char **ret_error);
struct catalogue *__wrap_catalogue_load(int fd, char **ret_error)
{
    const struct file *f = fd_file(fd);
    if (f->mem.kind == MEM_CATALOGUE && f->mem.bytes > 0)
        return catalogue;
    W.start_troubles++;
    *ret_error = xstrdup("simulated");
    return NULL;
}

/* ---- a world ---- */

static void make_poison(struct spec *s)
{
    s->npoison = sim_chance(300) ? 1 + (unsigned)sim_rnd(SIM_POISONS) : 0;
    for (unsigned i = 0; i < s->npoison; i++)
        s->poison[i] = (struct poison){.chunk = sim_rnd(s->chunks),
                                       .kind = (enum poison_kind)sim_rnd(POISON_KINDS),
                                       .times = sim_chance(300) ? 1000 : 1 + (uint32_t)sim_rnd(3)};
    for (unsigned i = 0; i < s->npoison; i++) /* waiting for a hang costs the simulation most */
        if ((s->poison[i].kind == POISON_HANG && !sim_chance(150)) ||
            (s->poison[i].kind == POISON_LATE && !sim_chance(500)))
            s->poison[i].kind = POISON_CRASH;
}

/* No chance, so that most worlds stay what they were. Consumers and producers are mostly quick, and now and
 * then slower than any lease; and one chunk may compute for seconds, whatever its job allows. */
static void make_pace(struct spec *s)
{
    uint64_t r = sim_mix(s->salt, 95);
    s->take_ns = s->op == OP_SERIAL && r % 1000 < 300 ? 5 * NS_PER_MS << (r >> 10 & 31) % 6 : 0;
    s->strip_ns = (r >> 16) % 1000 < 100 ? 5 * NS_PER_MS << (r >> 26 & 31) % 6 : 0;
    if ((r >> 32) % 1000 >= (s->op == OP_SERIAL ? 150 : 20) || s->chunks == 0)
        return;
    s->long_chunk = (r >> 42) % s->chunks;
    s->long_ns = NS_PER_S << (r >> 52) % 3;
}

static void make_spec(struct spec *s, unsigned index)
{
    static const uint64_t sizes[] = {4096, 1 << 20, 4 << 20, 6 << 20, 6 << 20, 20 << 20};
    *s = (struct spec){.index = index, .salt = sim_rnd(UINT64_MAX), .op = (enum op_kind)sim_rnd(OP_KINDS)};
    if (W.crowded || W.swarm)
        s->op = W.crowded ? OP_SERIAL : OP_COUNT;
    else if (W.wide)
        s->op = sim_chance(500) ? OP_FOLD : OP_COUNT_FOLD;
    else if (W.thieves)
        s->op = OP_BATCH;
    s->client = &W.clients[sim_rnd(W.nclients)];
    s->client->todo |= 1u << index;
    s->chunks = 1 + sim_rnd(sim_chance(W.wide ? 900 : 300) ? 60 : sim_chance(500) ? 14 : 4);
    if (W.swarm)
        s->chunks = 1;
    else if ((s->op == OP_COUNT || s->op == OP_COUNT_FOLD) && sim_chance(30))
        s->chunks = 0;
    bool planned = s->op == OP_FOLD || s->op == OP_SERIAL || s->op == OP_PLACED;
    s->whole = planned && sim_chance(100);
    if (s->whole)
        s->chunks = 1;
    s->result_bytes = s->op == OP_SERIAL ? sizes[sim_rnd(ARRAY_LEN(sizes))] : 0;
    s->producer = !s->whole && (s->op == OP_SERIAL || s->op == OP_PLACED) && sim_chance(700);
    s->raster = s->producer && sim_chance(700);
    s->windowed = s->producer && s->op == OP_SERIAL && sim_chance(500);
    s->window = 2 + (uint32_t)sim_rnd(6);
    s->state_bytes = W.wide && sim_chance(700) ? PWC_STATE_MAX - (uint32_t)sim_rnd(PWC_STATE_MAX / 2) : 16;
    s->chunk_ns = (int64_t)(10 * NS_PER_US << sim_rnd(W.swarm && !sim_chance(100) ? 2 : 10));
    s->uneven = sim_chance(400);
    if (W.thieves) {
        s->chunk_ns = (int64_t)(NS_PER_MS << sim_rnd(4));
        s->uneven = true;
    }
    s->plan_errors = planned && sim_chance(50) ? 1 + (uint32_t)sim_rnd(3) : 0;
    s->bad_finish = (s->op == OP_FOLD || s->op == OP_COUNT_FOLD) && sim_chance(30);
    s->isolation = (Pwc__Isolation)(sim_chance(W.swarm ? 950 : 600) ? 0 : sim_rnd(3));
    s->records = sim_chance(500);
    make_pace(s);
    if (W.faults_left > 0 && s->chunks > 0)
        make_poison(s);
}

/* Where this world's processes come to harm. */
static void make_faults(void)
{
    W.faults_left = sim_chance(100)   ? 0
                    : sim_chance(850) ? 1 + (uint32_t)sim_rnd(6)
                                      : 1 + (uint32_t)sim_rnd(40);
    unsigned everywhere = sim_chance(500) ? 3 + (unsigned)sim_rnd(12) : 0;
    for (int i = 0; i < AT_WHERES; i++)
        W.p_at[i] = everywhere;
    for (int i = 0; i < 2; i++)
        W.p_at[sim_rnd(AT_WHERES)] = (unsigned)sim_rnd(sim_chance(300) ? 800 : 150);
    W.p_lie = sim_chance(250) ? 1 + (unsigned)sim_rnd(40) : 0;
    W.p_kernel = sim_chance(150) ? 1 + (unsigned)sim_rnd(60) : 0;
    W.p_start = sim_chance(150) ? (unsigned)sim_rnd(800) : 0;
    W.p_client = sim_chance(200) ? (unsigned)sim_rnd(200) : 0;
    W.p_slow = sim_chance(300) ? (unsigned)sim_rnd(60) : 1;
    W.p_memory = sim_chance(100) ? (unsigned)sim_rnd(300) : 0;
    W.p_broken = sim_chance(150) ? (unsigned)sim_rnd(100) : 0;
    W.p_steal_race = sim_chance(300) ? (unsigned)sim_rnd(800) : 20;
}

static void on_scarce(struct due *due)
{
    if (due == &W.scarce_to)
        W.fds_most = 0;
    else if (W.d.catalogue != NULL)
        kernel_scarce_begin();
    else
        due_in(due, NS_PER_S); /* before there are ops pwcd has nobody to tell */
}

/* Few descriptors: for some seconds, a minute, or until all jobs have ended. */
static void make_scarce(void)
{
    static const int64_t lasts[] = {5 * NS_PER_S, 15 * NS_PER_S, 60 * NS_PER_S, 0, 0};
    int64_t ns = lasts[sim_rnd(ARRAY_LEN(lasts))], from = (int64_t)sim_rnd(2 * NS_PER_S);
    W.scarce_from.fire = W.scarce_to.fire = on_scarce;
    due_in(&W.scarce_from, from);
    if (ns > 0)
        due_in(&W.scarce_to, from + ns);
    for (unsigned i = 0; i < W.nspecs; i++)
        W.specs[i].chunk_ns = (int64_t)(50 * NS_PER_MS << sim_rnd(4));
}

/* Chunks that compute for seconds, in all seats maybe, beside others that are over in no time. */
static void make_hogs(void)
{
    for (unsigned i = 0; i < W.nspecs; i++)
        if (sim_chance(600)) {
            W.specs[i].chunk_ns = HOG_NS << sim_rnd(4);
            W.specs[i].uneven = false;
        }
}

static void make_world(void)
{
    make_faults();
    W.scarce = sim_mix(W.seed, 4712) % 1000 < 50; /* no chance: the other worlds stay what they were */
    W.crowded = sim_chance(60);
    W.swarm = !W.crowded && sim_chance(150);
    W.wide = !W.crowded && !W.swarm && sim_chance(60);
    W.thieves = !W.crowded && !W.swarm && !W.wide && sim_chance(60);
    W.p_steal_race = W.thieves ? 500 : W.p_steal_race;
    W.cursed = sim_mix(W.seed, 4717) % 1000 < 50 ? 1000 + (uid_t)(sim_mix(W.seed, 4718) % 3) : 0;
    W.cursed_needs = sim_mix(W.seed, 4719) % 2;
    W.p_sick = sim_mix(W.seed, 4715) % 1000 < (W.cursed != 0 ? 600u : 100u)
                   ? 20 + (unsigned)(sim_mix(W.seed, 4716) % 400)
                   : 0; /* together they are what accounts are for */
    W.repeats = sim_mix(W.seed, 4714) % 1000 < 250;
    W.nosy = sim_chance(200);
    W.halts = sim_chance(100);
    W.strangers = sim_chance(100);
    W.nclients = 1 + (unsigned)sim_rnd(W.crowded ? 3 : sim_chance(500) ? 1 : 4);
    for (unsigned i = 0; i < W.nclients; i++) {
        W.clients[i].index = i;
        W.clients[i].uid = 1000 + (uid_t)sim_rnd(3);
    }
    W.nspecs = 1 + (unsigned)sim_rnd(W.crowded ? 10 : W.swarm ? SIM_JOBS_MAX : sim_chance(700) ? 3 : 6);
    for (unsigned i = 0; i < W.nspecs; i++)
        make_spec(&W.specs[i], i);
    if (W.scarce)
        make_scarce();
    else if (sim_mix(W.seed, 4713) % 1000 < 50)
        make_hogs();
    for (unsigned i = 0; i < W.nclients; i++)
        client_begin(&W.clients[i]);
}

/* ---- main.c's part of the supervisor ---- */

void daemon_turn(struct daemon *d)
{
    tables_turn(d);
}

/* There is no service manager. */
void daemon_tell_status(struct daemon *d)
{
    (void)d;
}

static void on_child_news(struct due *due)
{
    (void)due;
    children_changed(&W.d);
}

/* Users who look in and go again. */
static void strangers(struct daemon *d, uint64_t n)
{
    while (W.strangers && n-- > 0)
        user_get(d, STRANGERS + (uid_t)sim_rnd(100000));
}

static void daemon_start(struct daemon *d)
{
    static struct config defaults;
    if (defaults.scratch == NULL)
        config_defaults(&defaults);
    memory_begin();
    d->cfg = defaults;
    d->cfg.idle_stage_timeout = (W.scarce ? 60 : 2) * NS_PER_S;
    d->cfg.stall_timeout = (int64_t)(2 + sim_rnd(10)) * (W.scarce ? 10 : 1) * NS_PER_S;
    d->seats = W.wide ? 8 + (uint32_t)sim_rnd(24) : 1 + (uint32_t)sim_rnd(sim_chance(500) ? 2 : 4);
    d->cfg.stages_max = sim_chance(300) ? d->seats + 3 + (uint32_t)sim_rnd(3) : 0;
    d->cfg.history = sim_chance(50) ? (uint32_t)sim_rnd(3) : 100;
    d->cfg.quarantine_kept = sim_chance(100) ? (uint32_t)sim_rnd(3) : 100;
    d->cfg.deaths_kept = sim_chance(100) ? 1 + (uint32_t)sim_rnd(3) : 100;
    d->cfg.require_sandbox = sim_mix(W.seed, 4717) % 1000 < 100;
    d->seats_from = "simulation";
    d->windows_most = sim_chance(200) ? 1 + sim_rnd(200 << 20) : 0;
    d->started = clock_now();
    tables_init(d);
    d->pool = pool_new(d);
    nursery_start(d->pool);
    strangers(d, sim_rnd(200));
    for (uid_t uid = 1000; uid < 1003; uid++) /* they have been here before */
        user_get(d, uid)->used_ns = sim_chance(700) ? 0 : sim_rnd(3600 * NS_PER_S);
    d->dirty = true;
    daemon_turn(d);
}

static void daemon_finish(struct daemon *d)
{
    tables_end_jobs(d, false);
    pool_shutdown(d->pool);
    tables_free(d);
}

/* ---- running ---- */

static bool jobs_left(void)
{
    for (unsigned i = 0; i < W.nspecs; i++) {
        const struct spec *s = &W.specs[i];
        const struct client *c = s->client;
        if (s->id != 0 ? s->terminals == 0 : !s->lost && !c->gone && !c->lingering)
            return true;
        if (c->gone && c->leave.place != 0)
            return true; /* it will be back */
    }
    return false;
}

static void one_step(void)
{
    static int64_t last_real;
    bool timer = false;
    if (W.steps == 0)
        last_real = sim_now();
    W.steps++;
    strangers(&W.d, sim_chance(10) ? sim_rnd(40) : 0);
    SIM_CHECK(loop_step(&timer), "nothing is due any more, and jobs are left");
    if (!timer)
        last_real = sim_now();
    SIM_CHECK(sim_now() - last_real < STANDSTILL, "nothing but timers for %lld s", STANDSTILL / NS_PER_S);
    check_step();
}

static void run_jobs(void)
{
    uint64_t stop = sim_chance(60) ? sim_rnd(1500) : UINT64_MAX;
    while (jobs_left()) {
        if (W.steps >= stop) {
            W.ending = W.ended_early = true;
            return;
        }
        SIM_CHECK(W.steps < STEPS_MAX, "no end after %u steps", STEPS_MAX);
        one_step();
    }
}

/* Nothing waits for it, and nothing that it has said waits for the supervisor, which may be slow to read. */
static bool has_heard_all(const struct client *c)
{
    const struct end *e = c->sock != NULL ? c->sock->end : NULL;
    return c->reader.place == 0 && (e == NULL || e->other == NULL || e->other->head == NULL);
}

/* The clients are gone and the jobs too: parked stages are retired, and then nothing is due at all. */
static void run_quiet(void)
{
    for (unsigned i = 0; i < W.nclients; i++)
        due_drop(&W.clients[i].leave);
    uint64_t from = W.steps;
    while (loop_pending() > 0) {
        for (unsigned i = 0; i < W.nclients; i++)
            if (has_heard_all(&W.clients[i]))
                client_end(&W.clients[i]);
        SIM_CHECK(W.steps - from < QUIET_MAX, "an idle supervisor is still awake after %u steps", QUIET_MAX);
        if (loop_pending() > 0)
            one_step();
    }
    check_end();
}

void world_run(uint64_t seed)
{
    if (catalogue == NULL)
        make_catalogue();
    memset(&W, 0, sizeof W);
    W.seed = seed;
    rng = sim_mix(seed, 4711);
    loop_reset();
    kernel_reset();
    check_reset();
    make_world();
    W.child_news.fire = on_child_news;
    daemon_start(&W.d);
    run_jobs();
    due_drop(&W.scarce_from);
    due_drop(&W.scarce_to);
    W.faults_left = W.fds_most = 0;
    if (!W.ending)
        run_quiet();
    sim_tally->seeds++;
    sim_tally->steps += W.steps;
    sim_tally->jobs += W.d.next_job;
    sim_tally->deaths += W.d.totals.deaths;
    sim_tally->steals += W.d.totals.steals;
    sim_tally->dropped += W.d.totals.dropped;
    sim_tally->ahead += W.d.totals.ahead;
    sim_tally->recalled += W.d.totals.recalled;
    W.ending = true;
    for (unsigned i = 0; i < W.nclients; i++) {
        client_end(&W.clients[i]);
        client_end(&W.twins[i].c);
    }
    daemon_finish(&W.d);
    kernel_check_empty();
    procs_reset();
    memory_check_empty();
}
