/* restart.c - the table of restart.h and its actions. */
#include "daemon/restart.h"

enum action {
    STAY,  /* nothing to learn from it */
    FAIL,  /* later, and twice as late as before */
    TRUST, /* it can start after all: on probation */
    EASE,  /* once more */
    JUDGE, /* well again, if probation lasted long enough */
    COUNT, /* one is chance, many are a failure */
};

static const enum action table[RESTART_PHASES][RESTART_EVENTS] = {
    [RESTART_WELL] = {[RESTART_DIED_BEFORE_READY] = FAIL,
                      [RESTART_READY] = STAY,
                      [RESTART_HEALTHY] = STAY,
                      [RESTART_DIED_LATER] = STAY,
                      [RESTART_KILLED] = COUNT},
    [RESTART_FAILING] = {[RESTART_DIED_BEFORE_READY] = FAIL,
                         [RESTART_READY] = TRUST,
                         [RESTART_HEALTHY] = STAY,
                         [RESTART_DIED_LATER] = STAY,
                         [RESTART_KILLED] = COUNT},
    [RESTART_PROBATION] = {[RESTART_DIED_BEFORE_READY] = FAIL,
                           [RESTART_READY] = EASE,
                           [RESTART_HEALTHY] = JUDGE,
                           [RESTART_DIED_LATER] = JUDGE,
                           [RESTART_KILLED] = COUNT},
};

/* Who dies during a wait was started before it, for the same reason: many at once count once. */
static void fail(struct restart_state *s, struct mono now)
{
    if (restart_wait(s, now) > 0)
        return;
    s->phase = RESTART_FAILING;
    s->in_row++;
    s->delay_ns = s->delay_ns == 0 ? RESTART_FIRST_NS : MIN(s->delay_ns * 2, RESTART_LONGEST_NS);
    s->not_before = mono_add(now, s->delay_ns);
}

static void trust(struct restart_state *s, struct mono now)
{
    s->phase = RESTART_PROBATION;
    s->in_row = 0;
    s->ready_at = now;
    s->not_before = now;
}

static void ease(struct restart_state *s)
{
    s->delay_ns /= 2;
    if (s->delay_ns >= RESTART_FIRST_NS)
        return;
    s->phase = RESTART_WELL;
    s->delay_ns = 0;
}

static void judge(struct restart_state *s, struct mono now)
{
    if (mono_since(now, s->ready_at) < RESTART_HEALTHY_NS)
        return;
    s->phase = RESTART_WELL;
    s->delay_ns = 0;
}

int64_t restart_next(struct restart_state *s, enum restart_event event, struct mono now)
{
    if (event == RESTART_READY)
        s->killed = 0;
    switch (table[s->phase][event]) {
    case STAY:
        break;
    case FAIL:
        fail(s, now);
        break;
    case TRUST:
        trust(s, now);
        break;
    case EASE:
        ease(s);
        break;
    case JUDGE:
        judge(s, now);
        break;
    case COUNT:
        if (s->killed < RESTART_KILLS_MAX)
            s->killed++;
        else
            fail(s, now);
        break;
    }
    return restart_wait(s, now);
}

bool restart_counts(struct restart_state *s, enum restart_event event, struct mono now)
{
    unsigned before = s->in_row;
    restart_next(s, event, now);
    return s->in_row > before;
}

int64_t restart_wait(const struct restart_state *s, struct mono now)
{
    int64_t left = mono_since(s->not_before, now);
    return s->phase == RESTART_FAILING && left > 0 ? left : 0;
}

bool restart_gives_up(const struct restart_state *s, bool untried)
{
    return s->in_row >= (untried ? 2 * RESTART_GIVE_UP : RESTART_GIVE_UP);
}

void restart_otherwise(struct restart_state *s, struct mono now)
{
    if (restart_wait(s, now) > 0)
        s->not_before = now;
}

const char *restart_phase_name(enum restart_phase phase)
{
    static const char *const names[RESTART_PHASES] = {
        [RESTART_WELL] = "well", [RESTART_FAILING] = "failing", [RESTART_PROBATION] = "probation"};
    return (unsigned)phase < RESTART_PHASES ? names[phase] : "?";
}
