/*
 * deaths.c - see deaths.h. The obituary is gossip of a dying process: each field is read once, bounded, and
 * its text is cut to printable characters before anybody sees it.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "daemon/cgroup.h"
#include "daemon/deaths.h"
#include "daemon/events.h"
#include "daemon/nearest.h"
#include "daemon/pressure.h"
#include "daemon/roles.h"
#include "daemon/units.h"

enum cause cause_of(Pwc__Code code)
{
    switch (code) {
    case PWC__CODE__CODE_OOM:
    case PWC__CODE__CODE_NO_MEMORY:
        return CAUSE_OOM;
    case PWC__CODE__CODE_TIMEOUT:
    case PWC__CODE__CODE_STALLED:
        return CAUSE_TIMEOUT;
    case PWC__CODE__CODE_CRASH:
    case PWC__CODE__CODE_EXIT:
    case PWC__CODE__CODE_SANDBOX:
    case PWC__CODE__CODE_RLIMIT:
    case PWC__CODE__CODE_PROTOCOL:
    case PWC__CODE__CODE_INTERNAL:
        return CAUSE_CRASH;
    default:
        return CAUSE_ERROR;
    }
}

const char *code_name(Pwc__Code code)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(&pwc__code__descriptor, (int)code);
    return v != NULL ? v->name : "CODE_?";
}

static void copy_printable(char *to, size_t size, const volatile char *from, size_t len)
{
    size_t n = MIN(len, size - 1);
    for (size_t i = 0; i < n; i++) {
        char c = from[i];
        to[i] = (c >= ' ' && c < 0x7f) || c == '\n' ? c : '?';
    }
    to[n] = '\0';
}

/* The first line of an obituary's text may be "syscall: NAME". What SIGUSR1 left there tells of this death
 * only if we have sent it; else somebody did, some time ago, or a chunk that was late had ended in time after
 * all. */
static void read_obituary(struct death *x, const struct stage *s)
{
    if (s->seg == NULL || atomic_load(&s->seg->obituary.ready) != 1)
        return;
    const struct obituary *o = &s->seg->obituary;
    if (*(volatile const int32_t *)&o->signal == SIGUSR1 && s->doom_code == PWC__CODE__CODE_OK)
        return;
    uint32_t len = MIN(*(volatile const uint32_t *)&o->text_len, OBITUARY_TEXT);
    free(x->stack);
    x->stack = xcalloc(1, len + 1u);
    copy_printable(x->stack, len + 1u, o->text, len);
    x->cpu_ns = *(volatile const uint64_t *)&o->cpu_ns;
    uint32_t why = *(volatile const uint32_t *)&o->why;
    if (why == PWC__CODE__CODE_INPUT_SHRANK || why == PWC__CODE__CODE_INPUT_IO ||
        why == PWC__CODE__CODE_NO_MEMORY || why == PWC__CODE__CODE_OOM || why == PWC__CODE__CODE_CRASH)
        x->code = (Pwc__Code)why;
    static const char mark[] = "syscall: ";
    if (strncmp(x->stack, mark, sizeof mark - 1) == 0) {
        size_t n = strcspn(x->stack + sizeof mark - 1, "\n");
        snprintf(x->syscall, sizeof x->syscall, "%.*s", (int)n, x->stack + sizeof mark - 1);
    }
}

/* "name+0x12 (object)" is "name", "?+0x12 (object)" is "object+0x12": where addr2line would look. */
static void name_frame(const char *frame, char *ret, size_t size)
{
    char name[64], offset[24], object[64];
    if (sscanf(frame, "%63[^+]+%23[^ ] (%63[^)])", name, offset, object) != 3)
        return;
    if (strcmp(name, "?") == 0)
        snprintf(ret, size, " in %s+%s", object, offset);
    else
        snprintf(ret, size, " in %s", name);
}

/* The innermost frame that is not the C library's own way of dying, or of waiting, of the first thread. */
static void culprit(const struct death *x, char *ret, size_t size)
{
    static const char *const noise[] = {"libc.so", "linux-vdso", "obituary", "pthread_kill",
                                        "libglib-2.0.so"};
    ret[0] = '\0';
    for (const char *line = x->stack; line != NULL && *line != '\0';) {
        char one[160], name[96];
        if (line != x->stack && strncmp(line, "thread ", 7) == 0)
            return;
        snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
        bool skip = false;
        for (size_t i = 0; i < ARRAY_LEN(noise); i++)
            skip |= strstr(one, noise[i]) != NULL;
        if (!skip && sscanf(one, "#%*d %*s %95[^\n]", name) == 1) {
            name_frame(name, ret, size);
            if (ret[0] != '\0') /* code that was made at run time has no name */
                return;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
}

#define OOM_WINDOW_NS                                                                                        \
    (3 * NS_PER_S) /* from being chosen to being gone: its memory is given back in between */

bool deaths_look_for_oom(struct daemon *d)
{
    uint64_t kills;
    struct mono now = clock_now();
    if (pressure_oom_kills(&kills)) {
        if (d->oom_looked && kills > d->oom_kills)
            d->oom_at = now;
        d->oom_looked = true;
        d->oom_kills = kills;
    }
    return d->oom_at.ns != 0 && mono_since(now, d->oom_at) < OOM_WINDOW_NS;
}

/* SIGKILL that we did not send: the kernel counts whom it kills for want of memory, in each cgroup and in
 * all. */
static enum oom killed_by_kernel(const struct stage *s)
{
    enum oom by = cgroup_oom(s->cgroup);
    if (by == OOM_NONE && s->cgroup == NULL && deaths_look_for_oom(s->d))
        by = OOM_KERNEL;
    return by;
}

const char reason_machine[] = "the machine ran out of memory, of which it held the most";

static bool over_limit(const struct stage *s)
{
    return strcmp(s->kill_reason, reason_machine) != 0;
}

static void find_oom(struct death *x, const struct stage *s)
{
    bool unknown =
        s->ends && x->signal == 0 && x->code == PWC__CODE__CODE_CRASH; /* written off before it was gone */
    enum oom by = s->kill_code == PWC__CODE__CODE_OK && (x->signal == SIGKILL || unknown)
                      ? killed_by_kernel(s)
                      : OOM_NONE;
    x->oom_by = "";
    if (by != OOM_NONE) {
        x->code = PWC__CODE__CODE_OOM;
        x->oom_by = by == OOM_CGROUP ? "cgroup" : "kernel";
    } else if (x->code == PWC__CODE__CODE_OOM) {
        x->oom_by = s->kill_code != PWC__CODE__CODE_OOM ? "stage" : over_limit(s) ? "supervisor" : "machine";
    }
}

bool deaths_crowded_out(const struct death *x)
{
    return strcmp(x->oom_by, "kernel") == 0 || strcmp(x->oom_by, "machine") == 0;
}

/* The kernel counts for the process' life; the slot says what there was when the lease began, but for a small
 * job's, which was too quick to ask. */
static void of_this_lease(struct death *x, const struct stage *s)
{
    const struct segment_slot *slot = s->seg != NULL ? &s->seg->slots[0] : NULL;
    uint64_t cpu_before = slot != NULL ? atomic_load(&slot->cpu) : 0;
    uint64_t rss_before = slot != NULL ? atomic_load(&slot->rss) : 0;
    x->cpu_ns -= MIN(cpu_before, x->cpu_ns);
    x->rss_peak = s->rss_peak;
    x->rss_before = MIN(rss_before, x->rss_peak);
    if (s->lease.small) {
        x->cpu_ns = MIN(x->cpu_ns, x->elapsed_ns);
        x->rss_before = x->rss_peak;
    }
}

static void classify(struct death *x, const struct stage *s, const siginfo_t *info)
{
    bool killed = info == NULL || info->si_code != CLD_EXITED;
    x->signal = killed && info != NULL ? info->si_status : 0;
    x->exit_status = killed ? 0 : info->si_status;
    x->code = killed ? PWC__CODE__CODE_CRASH : PWC__CODE__CODE_EXIT;
    if (x->signal == SIGSYS)
        x->code = PWC__CODE__CODE_SANDBOX;
    if (x->signal == SIGXCPU || x->signal == SIGXFSZ)
        x->code = PWC__CODE__CODE_RLIMIT;
    read_obituary(x, s);
    if (s->kill_code != PWC__CODE__CODE_OK)
        x->code = s->kill_code;
    if (s->cpu_ns > 0)
        x->cpu_ns = s->cpu_ns;
    of_this_lease(x, s);
    find_oom(x, s);
}

/* By whom and at which limit. False: that was not it. */
static bool describe_oom(const struct death *x, const char *where, char *how, size_t size)
{
    char limit[UNITS_TEXT];
    size_format(x->memory, limit);
    if (strcmp(x->oom_by, "kernel") == 0)
        snprintf(how, size, "killed by the kernel for want of memory");
    else if (strcmp(x->oom_by, "stage") == 0)
        snprintf(how, size, "ended%s: no memory left of its limit of %s", where, limit);
    else if (strcmp(x->oom_by, "machine") == 0)
        snprintf(how, size, "killed%s: %s", where, reason_machine);
    else if (x->oom_by[0] != '\0')
        snprintf(how, size, "killed: over its memory limit of %s", limit);
    return x->oom_by[0] != '\0';
}

/* What it left is done again as well: it has not reported it. */
static void describe_kill(const struct death *x, const struct stage *s, const char *where, char *how,
                          size_t size)
{
    uint64_t late = s->lease.seen_chunk;
    char from[40] = "";
    if (late < SLOT_FINISH)
        snprintf(from, sizeof from, " from chunk %lu", (unsigned long)late);
    snprintf(how, size, "killed%s: %s%s%s%s", where, s->kill_reason, x->went_on ? ", but it had gone on" : "",
             x->went_on ? from : "", x->went_on ? " by then" : "");
}

static const char *over_rlimit(const struct death *x)
{
    if (x->code != PWC__CODE__CODE_RLIMIT)
        return "";
    return x->signal == SIGXCPU ? ": over its limit of CPU time" : ": over the limit of a file's size";
}

/* The one line for people: "chunk 17 (rows 2176 to 2303) killed by SIGSEGV in vips_foo, attempt 3 of 3",
 * "consumer at chunk 17 ...", "worker at the results ..."; who was between chunks has no attempt. */
static void tell(struct death *x, const char *what)
{
    char chunk[sizeof x->covers + 40] = "", attempt[40] = "";
    bool named = x->covers[0] != '\0';
    if (x->in_chunk)
        snprintf(chunk, sizeof chunk, "chunk %lu%s%s%s", (unsigned long)x->chunk, named ? " (" : "",
                 x->covers, named ? ")" : "");
    if (x->attempt > 0)
        snprintf(attempt, sizeof attempt, ", attempt %u of %u", x->attempt, x->attempts_max);
    const char *at = x->beside ? " at " : x->finishes ? " at the results" : "";
    x->reason = xasprintf("%s%s%s %s%s", x->in_chunk && !x->beside ? "" : x->role, at, chunk, what, attempt);
    one_line(x->reason);
}

static void describe(struct death *x, const struct stage *s)
{
    char how[256], where[128], sig[UNITS_TEXT];
    signal_format(x->signal, sig);
    culprit(x, where, sizeof where);
    if (describe_oom(x, where, how, sizeof how))
        ;
    else if (s->kill_code != PWC__CODE__CODE_OK)
        describe_kill(x, s, where, how, sizeof how);
    else if (x->code == PWC__CODE__CODE_INPUT_SHRANK)
        snprintf(how, sizeof how, "ended: the input became shorter while it was read");
    else if (x->code == PWC__CODE__CODE_INPUT_IO)
        snprintf(how, sizeof how, "ended: reading the input failed");
    else if (x->code == PWC__CODE__CODE_NO_MEMORY)
        snprintf(how, sizeof how, "ended: no memory or scratch space");
    else if (x->syscall[0] != '\0')
        snprintf(how, sizeof how, "killed by the sandbox: system call %s", x->syscall);
    else if (x->open)
        snprintf(how, sizeof how, "ended, of what is not known: its process is not taken apart yet");
    else if (x->signal != 0)
        snprintf(how, sizeof how, "killed by %s%s%s", sig, where, over_rlimit(x));
    else
        snprintf(how, sizeof how, "exited with status %d", x->exit_status);
    tell(x, how);
}

static void death_free(struct daemon *d, struct death *x)
{
    TAILQ_REMOVE(&d->deaths, &x->place, link);
    d->ndeaths--;
    user_keeps_no_more(KEPT_DEATHS, &x->kept);
    free(x->reason);
    free(x->stack);
    free(x->stderr_tail);
    free(x->input);
    free(x);
}

/* The newest may still be in use up the stack. */
static void forget_some(struct daemon *d, const struct user *adds)
{
    while (d->ndeaths > MAX(d->cfg.deaths_kept, 1u)) {
        struct death *old = user_kept_too_long(d, KEPT_DEATHS, adds, d->ndeaths);
        events_forget_death(d, old);
        death_free(d, old);
    }
}

void deaths_forget_some(struct daemon *d)
{
    forget_some(d, TAILQ_FIRST(&d->users));
}

static struct death *death_new(struct stage *s)
{
    struct daemon *d = s->d;
    struct death *x = xcalloc(1, sizeof *x);
    x->job = s->job != NULL ? s->job->id : 0;
    x->stage = s->id;
    x->pid = (uint32_t)s->pid;
    x->uid = s->uid;
    x->role = stage_role_name(s);
    x->memory = s->job != NULL ? s->job->memory : d->cfg.memory;
    x->at_ns = clock_real_ns();
    x->elapsed_ns = (uint64_t)mono_since(clock_now(), s->lease.since);
    memcpy(x->layers, s->layers, sizeof x->layers);
    x->stack = xstrdup("");
    x->input = xstrdup(s->job != NULL && s->job->input != NULL ? s->job->input : "");
    places_add(&d->deaths, &x->place, x);
    user_keeps(user_get(d, s->uid), KEPT_DEATHS, &x->kept, x);
    d->ndeaths++;
    forget_some(d, x->kept.user);
    return x;
}

static void take_input(struct death *x, const char *input)
{
    free(x->input);
    x->input = xstrdup(input);
}

static void fill_chunk(struct death *x, struct stage *s, uint64_t chunk)
{
    struct job *j = s->job;
    x->chunk = chunk;
    x->in_chunk = true;
    take_input(x, job_input(j, chunk));
    job_covers(j, chunk, x->covers, sizeof x->covers);
    x->attempt = ledger_attempt(&j->ledger, chunk);
}

/* Its own words, not those of who was there before. Where the slot is not believed, all since the lease. */
static void take_stderr(struct death *x, struct stage *s)
{
    char last[TAIL_BYTES];
    bool known = x->in_chunk && s->lease.kind == LEASE_CHUNKS && s->kill_code != PWC__CODE__CODE_PROTOCOL;
    tail_text(s->tail, s->lease.id, known ? x->chunk : SLOT_IDLE, last, sizeof last);
    x->stderr_tail = xstrdup(last);
}

/* With what this cause leaves: another one may leave more, or fewer. */
static uint32_t attempts_max(const struct death *x, const struct job *j)
{
    return x->attempt + ledger_left(&j->ledger, x->chunk, cause_of(x->code), &j->budget);
}

static void fill_handed(struct death *x, const struct handed *h)
{
    x->chunk = h->chunk;
    x->in_chunk = true;
    x->attempt = h->attempt;
    snprintf(x->covers, sizeof x->covers, "%s", h->covers);
    take_input(x, h->input);
}

/* Which attempt of the job's at this role it was, and what it was at. A planner that does all of the job is
 * at its only chunk. */
static void fill_role(struct death *x, const struct job *j, enum lease_kind role, bool whole)
{
    if (whole)
        x->role = "whole";
    x->chunk = role == LEASE_PRODUCE ? j->announced : role == LEASE_CONSUME ? j->assembly.absorbed : 0;
    x->beside = (role == LEASE_PRODUCE || role == LEASE_CONSUME) && x->chunk < j->ledger.total;
    x->in_chunk = x->beside || whole;
    x->finishes = role == LEASE_FINISH && j->absorb == PWC__ABSORB__ABSORB_FOLDED;
    if (x->in_chunk)
        job_covers(j, x->chunk, x->covers, sizeof x->covers);
    else
        x->chunk = 0;
    x->attempt = roles_attempt(j, role);
    x->attempts_max = x->attempt + roles_left(j, role, cause_of(x->code));
}

/* Whom it died of, if of a chunk. */
static void find_chunk(struct death *x, struct stage *s)
{
    if (s->handed != NULL) {
        fill_handed(x, s->handed);
        return;
    }
    x->went_on = stage_went_on(s);
    if (x->went_on)
        return;
    uint64_t chunk = stage_slot_chunk(s);
    if (stage_slot_finishes(s)) {
        fill_role(x, s->job, LEASE_FINISH, false);
        return;
    }
    bool alone =
        s->lease.end - s->lease.first == 1 &&
        (!s->lease.small || s->kill_code == PWC__CODE__CODE_PROTOCOL || stage_slot_lease(s) == s->lease.id);
    if (alone && (s->kill_code == PWC__CODE__CODE_PROTOCOL || (chunk != SLOT_IDLE && !stage_slot_past(s))))
        chunk = s->lease.first; /* whatever the slot says, it can only have been this one */
    bool ours = s->lease.kind == LEASE_CHUNKS && (alone || stage_slot_lease(s) == s->lease.id) &&
                chunk >= s->lease.first && chunk < s->lease.end;
    if (ours)
        fill_chunk(x, s, chunk);
}

struct death *deaths_record(struct stage *s, const siginfo_t *info)
{
    struct death *x = death_new(s);
    x->open = info == NULL;
    classify(x, s, info);
    find_chunk(x, s);
    take_stderr(x, s);
    if (s->lease.kind != LEASE_CHUNKS)
        fill_role(x, s->job, s->lease.kind, stage_slot_chunk(s) == SLOT_WHOLE);
    else if (s->handed != NULL)
        x->attempts_max = x->attempt + s->handed->left[cause_of(x->code)];
    else if (x->in_chunk)
        x->attempts_max = attempts_max(x, s->job);
    describe(x, s);
    if (s->job != NULL) {
        s->job->last_death = x;
        s->job->deaths++;
    }
    s->d->totals.deaths++;
    return x;
}

void deaths_amend(const struct stage *s, const siginfo_t *info)
{
    struct death *x = places_first(&s->d->deaths);
    while (x != NULL && (!x->open || x->stage != s->id))
        x = places_after(&x->place);
    if (x == NULL)
        return;
    x->open = false;
    classify(x, s, info);
    free(x->reason);
    describe(x, s);
    log_info("stage %lu (pid %d) is gone: %s", (unsigned long)s->id, s->pid, x->reason);
}

static struct death *op_error_new(struct stage *s, const struct op_error *why)
{
    struct death *x = death_new(s);
    x->code = why->code;
    x->oom_by = why->code == PWC__CODE__CODE_OOM ? "stage" : "";
    x->cpu_ns = why->cpu_ns;
    x->rss_before = why->rss_before;
    x->rss_peak = why->rss_peak;
    return x;
}

static const char *words_of(const struct op_error *why)
{
    return why->reason[0] != '\0' ? why->reason : code_name(why->code);
}

struct death *deaths_error(struct stage *s, uint64_t chunk, const struct op_error *why)
{
    struct death *x = op_error_new(s, why);
    char what[PWC_TEXT_MAX];
    fill_chunk(x, s, chunk);
    take_stderr(x, s);
    x->attempts_max = attempts_max(x, s->job);
    /* room for what it covers, which must not be cut */
    snprintf(what, sizeof what, "failed: %.*s", PWC_TEXT_MAX - 400, words_of(why));
    tell(x, what);
    s->job->last_death = x;
    return x;
}

struct death *deaths_refused(struct stage *s, enum lease_kind role, bool whole, const struct op_error *why)
{
    struct death *x = op_error_new(s, why);
    fill_role(x, s->job, role, whole);
    take_stderr(x, s);
    x->reason = one_line(xasprintf("%.*s", PWC_TEXT_MAX - 1, words_of(why)));
    return x;
}

bool deaths_ended(const struct job *j, const struct death *x)
{
    size_t n = strlen(job_reason(j)), end = strlen(x->reason);
    return j->code == x->code && n >= end && strcmp(job_reason(j) + n - end, x->reason) == 0;
}

void deaths_pack(const struct death *x, Pwc__Death *ret)
{
    pwc__death__init(ret);
    ret->job = x->job;
    ret->stage = x->stage;
    ret->pid = x->pid;
    ret->role = (char *)(uintptr_t)x->role;
    ret->chunk = x->chunk;
    ret->in_chunk = x->in_chunk;
    ret->covers = (char *)(uintptr_t)x->covers;
    ret->input = msg_bytes(x->input);
    ret->attempt = x->attempt;
    ret->attempts_max = x->attempts_max;
    ret->code = x->code;
    ret->signal = x->signal;
    ret->exit_status = x->exit_status;
    ret->reason = (char *)(uintptr_t)x->reason;
    ret->stack = (char *)(uintptr_t)x->stack;
    ret->at_ns = (uint64_t)x->at_ns;
    ret->cpu_ns = x->cpu_ns;
    ret->rss_before = x->rss_before;
    ret->rss_peak = x->rss_peak;
    ret->layers = (char *)(uintptr_t)x->layers;
    ret->syscall = (char *)(uintptr_t)x->syscall;
    ret->elapsed_ns = x->elapsed_ns;
    ret->oom_by = (char *)(uintptr_t)x->oom_by;
    ret->stderr_tail = (char *)(uintptr_t)x->stderr_tail;
}

void deaths_free_all(struct daemon *d)
{
    struct death *x;
    while ((x = places_first(&d->deaths)) != NULL)
        death_free(d, x);
}
