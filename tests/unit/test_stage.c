/* test_stage.c - the nursery, the life of a stage, leases and fold states, driven over the real channel. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "ipc/fds.h"
#include "tests/unit/runner.h"
#include "tests/unit/test_stage_super.h"
#include "worker/sandbox.h"

/* ---- life ---- */

START_TEST(a_stage_is_our_child)
{
    struct nursery n = nursery_start();
    struct kid k = kid_spawn(&n);
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", k.pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    bool seen = false;
    while (fgets(line, sizeof line, f) != NULL)
        seen = seen || (strncmp(line, "PPid:", 5) == 0 && atoi(line + 5) == getpid());
    ck_assert(seen);
    fclose(f);
    chan_free(k.chan); /* end of file: it ends by itself */
    siginfo_t info = kid_death(&k);
    ck_assert_int_eq(info.si_code, CLD_EXITED);
    ck_assert_int_eq(info.si_status, 0);
}
END_TEST

START_TEST(root_is_given_up)
{
    if (geteuid() != 0)
        return;
    struct nursery n = nursery_start();
    struct kid k = kid_spawn(&n);
    char path[64], line[256];
    unsigned real = 0, effective = 0, saved = 0;
    snprintf(path, sizeof path, "/proc/%d/status", k.pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "Uid:", 4) == 0)
            ck_assert_int_eq(sscanf(line, "Uid: %u %u %u", &real, &effective, &saved), 3);
    fclose(f);
    ck_assert_uint_ne(real, 0);
    ck_assert_uint_eq(real, effective);
    ck_assert_uint_eq(real, saved);
}
END_TEST

START_TEST(a_direct_stage_works)
{
    struct kid k = kid_executed();
    kid_open(&k, 1, "noop", "n", "100", NULL);
    Stage__Lease l = lease_of(1, 1, 0, 100);
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 100);
    chan_free(k.chan);
    ck_assert_int_eq(kid_death(&k).si_code, CLD_EXITED);
}
END_TEST

START_TEST(a_parent_that_is_gone_gets_no_stage)
{
    struct nursery n = nursery_start();
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[0]);
    Stage__Spawn m = STAGE__SPAWN__INIT;
    m.stage = 1;
    say_full(n.chan, PWC_MSG_SPAWN, &m, NULL, 0, &pair[1], 1);
    close(pair[1]);
    const struct answer *a = expect(n.chan, PWC_MSG_SPAWNED);
    siginfo_t info = death_of((pid_t)((const Stage__Spawned *)(const void *)a->msg)->pid, a->fds[0]);
    ck_assert_int_eq(info.si_code, CLD_EXITED);
    ck_assert_int_eq(info.si_status, EXIT_SUCCESS);
}
END_TEST

/* Nor is anything prepared for it, of which joining its cgroup, a pipe here, comes first. That there is a
 * message left hides nothing. */
START_TEST(a_parent_that_is_gone_gets_no_nursery)
{
    int pair[2], joined[2], status = -1;
    char byte;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(pipe2(joined, O_CLOEXEC), 0);
    ck_assert_int_eq(write(pair[0], "unread", 6), 6);
    close(pair[0]);
    pid_t pid = fork();
    if (pid == 0) {
        int channel = fcntl(pair[1], F_DUPFD_CLOEXEC, 10), procs = fcntl(joined[1], F_DUPFD_CLOEXEC, 10);
        if (dup2(channel, 3) == 3 && dup2(procs, 4) == 4)
            execl(stage_program(), "pwc-stage", "--nursery", "--cgroup", NULL);
        _exit(127);
    }
    close(joined[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(read(joined[0], &byte, 1), 0);
}
END_TEST

/* A supervisor of its own, which is killed; we only hold the stage's pidfd. */
START_TEST(stages_die_with_the_supervisor)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t super = fork();
    if (super == 0) {
        struct nursery n = nursery_start();
        struct kid k = kid_ready(&n);
        kid_open(&k, 1, "fault.hang", "n", "1", NULL);
        Stage__Lease l = lease_of(1, 1, 0, 1);
        say(k.chan, PWC_MSG_LEASE, &l);
        if (write(pair[1], &k.pid, sizeof k.pid) == sizeof k.pid)
            pause();
        _exit(1);
    }
    close(pair[1]);
    pid_t pid = 0;
    ck_assert_int_eq(read(pair[0], &pid, sizeof pid), sizeof pid);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    ck_assert_int_ge(pidfd, 0);
    kill(super, SIGKILL);
    siginfo_t info = death_of(pid, pidfd);
    ck_assert_int_eq(info.si_status, SIGKILL);
}
END_TEST

START_TEST(terminal_signals_are_the_supervisors)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        kill(k.pid, signals[i]);
        kill(n.pid, signals[i]);
    }
    kid_open(&k, 1, "noop", "n", "100", NULL);
    Stage__Lease l = lease_of(1, 1, 0, 100);
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 100);
    kid_spawn(&n);
}
END_TEST

START_TEST(the_catalogue_is_complete)
{
    struct nursery n = nursery_start();
    struct kid k = kid_spawn(&n);
    Stage__Describe m = STAGE__DESCRIBE__INIT;
    say(k.chan, PWC_MSG_DESCRIBE, &m);
    const struct answer *a = expect(k.chan, PWC_MSG_CATALOGUE);
    const Stage__Catalogue *c = (const void *)a->msg;
    ck_assert_uint_eq(a->nfds, 1);
    ck_assert(memfd_is_sealed(a->fds[0], true));
    uint8_t *bytes = xcalloc(1, c->bytes);
    ck_assert_int_eq(pread_all(a->fds[0], bytes, c->bytes, 0), 0);
    unsigned ops = 0, known = 0;
    char last[PWC_NAME_MAX + 1] = "";
    for (uint64_t at = 0; at < c->bytes; ops++) {
        uint32_t len = (uint32_t)bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16 |
                       (uint32_t)bytes[at + 3] << 24;
        ck_assert_uint_le(at + 4 + len, c->bytes);
        Pwc__OpInfo *info = pwc__op_info__unpack(NULL, len, bytes + at + 4);
        ck_assert_ptr_nonnull(info);
        ck_assert_int_lt(strcmp(last, info->name), 0);
        snprintf(last, sizeof last, "%s", info->name);
        if (strcmp(info->name, "noop") == 0) {
            ck_assert_int_eq(info->split, PWC__SPLIT__SPLIT_COUNT);
            ck_assert_str_eq(info->count_param, "n");
            known++;
        }
        known += strcmp(info->name, "array.sum") == 0;
        at += 4 + len;
        pwc__op_info__free_unpacked(info, NULL);
    }
    ck_assert_uint_eq(ops, c->ops);
    ck_assert_uint_eq(known, 2);
    kid_enter(&k, 0); /* it is still a spare */
}
END_TEST

START_TEST(what_breaks_the_protocol_ends_the_stage)
{
    struct nursery n = nursery_start();
    struct kid early = kid_spawn(&n), twice = kid_ready(&n), surplus = kid_ready(&n);
    Stage__Lease l = lease_of(1, 1, 0, 1);
    say(early.chan, PWC_MSG_LEASE, &l); /* before Enter */
    ck_assert(has_ended(early.chan));
    ck_assert_int_eq(kid_death(&early).si_status, 76);
    kid_open(&twice, 1, "noop", "n", "1", NULL);
    kid_open(&twice, 1, "noop", "n", "1", NULL);
    ck_assert_int_eq(kid_death(&twice).si_status, 76);
    kid_open(&surplus, 1, "no.such.op", NULL);
    ck_assert_int_eq(kid_death(&surplus).si_status, 76);
}
END_TEST

/* ---- leases ---- */

START_TEST(a_lease_is_reported_and_counted)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "noop", "n", "1000000000", NULL);
    Stage__Lease l = lease_of(41, 1, 1000, 10);
    const Stage__Report *r = kid_lease(&k, &l);
    ck_assert_uint_eq(r->lease, 41);
    ck_assert_uint_eq(r->job, 1);
    ck_assert_uint_eq(r->done, 10);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
    const struct segment *g = k.segment;
    ck_assert(g->magic == SEGMENT_MAGIC);
    ck_assert_uint_eq(atomic_load(&g->slots[0].chunk), SLOT_IDLE);
    ck_assert_uint_eq(atomic_load(&g->slots[0].lease), 41);
    ck_assert_uint_eq(atomic_load(&g->slots[0].done), 10);
    l = lease_of(42, 1, 5000, 1000);
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 1000);
    ck_assert_uint_eq(atomic_load(&g->slots[0].done), 1010);
    ck_assert_uint_eq(atomic_load(&g->trace_next), 0); /* nobody asked for a trace */
}
END_TEST

/* Adds up to the lease, in order, without holes, whatever shared a record. */
static void check_ring(const struct segment *g, uint64_t from, uint64_t upto, const Stage__Lease *l)
{
    uint64_t at = l->first, time = 0;
    for (uint64_t i = from; i < upto; i++) {
        const struct trace_record *r = &g->trace[i % TRACE_RECORDS];
        ck_assert_uint_eq(r->lease, l->lease);
        ck_assert_uint_eq(r->first, at);
        ck_assert_uint_ge(r->start_ns, time);
        ck_assert_uint_ge(r->end_ns, r->start_ns);
        at += r->n;
        time = r->end_ns;
    }
    ck_assert_uint_eq(at, l->first + l->n);
}

START_TEST(a_trace_tells_each_chunk)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "noop", "n", "1000000000", NULL);
    const struct segment *g = k.segment;
    Stage__Lease l = lease_of(41, 1, 1000, 10);
    atomic_store(&k.control->trace, 1); /* ns: a chunk takes longer, each has a record */
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 10);
    ck_assert_uint_eq(atomic_load(&g->trace_next), 10);
    check_ring(g, 0, 10, &l);
    atomic_store(&k.control->trace, 1000000000); /* groups double: 1, 2, 4, ... */
    l = lease_of(42, 1, 5000, 1023);
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 1023);
    ck_assert_uint_eq(atomic_load(&g->trace_next), 20);
    check_ring(g, 10, 20, &l);
    atomic_store(&k.control->trace, 0);
    l = lease_of(43, 1, 9000, 10);
    ck_assert_uint_eq(kid_lease(&k, &l)->done, 10);
    ck_assert_uint_eq(atomic_load(&g->trace_next), 20);
}
END_TEST

START_TEST(noop_costs_nanoseconds)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    const uint64_t chunks = 50000000;
    double best = 1e9;
    kid_open(&k, 1, "noop", "n", "1000000000", NULL);
    for (uint64_t i = 0; i < 5; i++) {
        Stage__Lease l = lease_of(1 + i, 1, i * chunks, chunks);
        const Stage__Report *r = kid_lease(&k, &l);
        ck_assert_uint_eq(r->done, chunks);
        best = MIN(best, (double)r->ns / (double)chunks);
    }
    printf("noop: %.2f ns a chunk\n", best);
#ifndef PWC_SANITIZED
    ck_assert_double_lt(best, 20.0); /* far above what is measured, far below a message or a clock a chunk */
#endif
}
END_TEST

START_TEST(the_tail_of_a_lease_can_be_taken_back)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "sleep", "n", "1000", "ms", "1", NULL);
    Stage__Lease l = lease_of(1, 1, 100, 900);
    say(k.chan, PWC_MSG_LEASE, &l);
    while (atomic_load(&k.segment->slots[0].done) < 3)
        sched_yield();
    atomic_store(&k.control->limit, 200);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_uint_eq(r->done, 100);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
    l = lease_of(2, 1, 100, 100); /* all of it beyond a lower limit: nothing is started */
    atomic_store(&k.control->limit, 100);
    r = kid_lease(&k, &l);
    ck_assert_uint_eq(r->done, 0);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
}
END_TEST

START_TEST(cancel_is_honoured_inside_a_chunk)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "sleep", "n", "2", "ms", "3600000", NULL);
    Stage__Lease l = lease_of(1, 1, 0, 2);
    say(k.chan, PWC_MSG_LEASE, &l);
    while (atomic_load(&k.segment->slots[0].chunk) != 0)
        sched_yield();
    atomic_store(&k.control->cancel, 1);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_int_eq(r->code, PWC__CODE__CODE_CANCELLED);
    ck_assert_uint_eq(r->done, 0);
    ck_assert_uint_eq(r->failed, 0);
}
END_TEST

START_TEST(an_error_ends_the_lease_at_its_chunk)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "fault.error", "n", "100", "at", "70", "attempts", "1", NULL);
    Stage__Lease l = lease_of(1, 1, 0, 100);
    const Stage__Report *r = kid_lease(&k, &l);
    ck_assert_uint_eq(r->done, 70);
    ck_assert_uint_eq(r->failed, 70);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OP);
    ck_assert_str_eq(r->reason, "this chunk always fails");
    l = lease_of(2, 1, 70, 1);
    l.attempt = 2;
    r = kid_lease(&k, &l);
    ck_assert_uint_eq(r->done, 1);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OK);
}
END_TEST

static void fails(struct kid *k, uint64_t lease, bool blank, const char *reason)
{
    Stage__Lease m = lease_of(lease, 1, 0, 10);
    m.blank = blank;
    ck_assert_str_eq(kid_lease(k, &m)->reason, reason);
}

/* Not of the chunk that failed before, nor of what the op could not be opened for: that is told again. */
START_TEST(a_blank_tells_its_own_failure)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n), broken = kid_ready(&n);
    kid_open(&k, 1, "fault.error", "n", "10", NULL);
    fails(&k, 1, false, "this chunk always fails");
    fails(&k, 2, true, "fault.error fills nothing");
    char op[] = "noop";
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    m.job = 1;
    m.op = op;
    m.role = STAGE__ROLE__ROLE_WORKER;
    m.absorb = PWC__ABSORB__ABSORB_FOLDED;
    say(broken.chan, PWC_MSG_JOB_OPEN, &m);
    fails(&broken, 1, false, "noop does not fold");
    fails(&broken, 2, true, "noop fills nothing");
    fails(&broken, 3, false, "noop does not fold");
}
END_TEST

START_TEST(eight_jobs_and_a_lease_of_none)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    for (uint64_t job = 1; job <= 8; job++)
        kid_open(&k, job, "noop", "n", "10", NULL);
    for (uint64_t job = 8; job >= 1; job--) {
        Stage__Lease l = lease_of(job, job, 0, 10);
        ck_assert_uint_eq(kid_lease(&k, &l)->job, job);
        Stage__JobClose close = STAGE__JOB_CLOSE__INIT;
        close.job = job;
        say(k.chan, PWC_MSG_JOB_CLOSE, &close);
    }
    Stage__Lease l = lease_of(99, 3, 0, 10);
    ck_assert_int_eq(kid_lease(&k, &l)->code, PWC__CODE__CODE_PROTOCOL);
}
END_TEST

/* ---- fold states ---- */

struct count {
    uint64_t chunks, sum;
};

static const struct answer *fold_lease(struct kid *k, const Stage__Lease *l, const struct count *states,
                                       unsigned n)
{
    uint8_t tail[1024];
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        tail[len] = sizeof *states;
        memset(tail + len + 1, 0, 3);
        memcpy(tail + len + 4, &states[i], sizeof *states);
        len += 4 + sizeof *states;
    }
    say_full(k->chan, PWC_MSG_LEASE, l, tail, len, NULL, 0);
    return expect(k->chan, PWC_MSG_REPORT);
}

static struct count state_of(const struct answer *a)
{
    struct count c;
    ck_assert_uint_eq(a->tail_len, 4 + sizeof c);
    ck_assert_uint_eq(a->tail[0], sizeof c);
    memcpy(&c, a->tail + 4, sizeof c);
    return c;
}

START_TEST(states_travel_and_the_last_one_becomes_results)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "fault.none", "n", "300", NULL);
    Stage__Lease l = lease_of(1, 1, 0, 100);
    struct count a = state_of(fold_lease(&k, &l, NULL, 0));
    ck_assert_uint_eq(a.chunks, 100);
    ck_assert_uint_eq(a.sum, 4950);
    l = lease_of(2, 1, 100, 100);
    struct count b = state_of(fold_lease(&k, &l, NULL, 0));
    l = lease_of(3, 1, 200, 100);
    l.final = true;
    const struct answer *last = fold_lease(&k, &l, (struct count[]){a, b}, 2);
    const Stage__Report *r = (const void *)last->msg;
    ck_assert_uint_eq(last->tail_len, 0);
    ck_assert_uint_eq(r->n_results, 2);
    ck_assert_str_eq(r->results[0]->name, "chunks");
    ck_assert_uint_eq(r->results[0]->value->u64, 300);
    ck_assert_uint_eq(r->results[1]->value->u64, 300 * 299 / 2);
    l = lease_of(4, 1, 300, 0); /* nothing but states is left */
    l.final = true;
    r = (const void *)fold_lease(&k, &l, &a, 1)->msg;
    ck_assert_uint_eq(r->n_results, 2);
    ck_assert_uint_eq(r->results[0]->value->u64, 100);
}
END_TEST

START_TEST(a_final_lease_cut_short_gives_its_state_back)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "fault.error", "n", "300", "at", "250", NULL);
    struct count held = {7, 70};
    Stage__Lease l = lease_of(1, 1, 100, 100);
    l.final = true;
    atomic_store(&k.control->limit, 150);
    const struct answer *a = fold_lease(&k, &l, &held, 1);
    ck_assert_uint_eq(((const Stage__Report *)(const void *)a->msg)->n_results, 0);
    ck_assert_uint_eq(state_of(a).chunks, 57);
    atomic_store(&k.control->limit, UINT64_MAX);
    l = lease_of(2, 1, 200, 100);
    l.final = true;
    a = fold_lease(&k, &l, &held, 1);
    const Stage__Report *r = (const void *)a->msg;
    ck_assert_int_eq(r->code, PWC__CODE__CODE_OP);
    ck_assert_uint_eq(r->failed, 250);
    ck_assert_uint_eq(r->n_results, 0);
    ck_assert_uint_eq(state_of(a).chunks, 57);
    ck_assert_uint_eq(state_of(a).sum, 70 + (200 + 249) * 50 / 2);
}
END_TEST

START_TEST(a_state_of_impossible_length_is_refused)
{
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    kid_open(&k, 1, "fault.none", "n", "300", NULL);
    Stage__Lease l = lease_of(1, 1, 0, 10);
    say_full(k.chan, PWC_MSG_LEASE, &l, "\xff\xff\xff\xff rest", 9, NULL, 0);
    const Stage__Report *r = (const void *)expect(k.chan, PWC_MSG_REPORT)->msg;
    ck_assert_int_eq(r->code, PWC__CODE__CODE_PROTOCOL);
    ck_assert_uint_eq(r->done, 0);
}
END_TEST

/* As the job's planner has said, who may be anybody's by now: there is no state to add to. */
START_TEST(an_op_that_folds_is_not_run_without)
{
    static char op[] = "fault.none", name[] = "n";
    struct nursery n = nursery_start();
    struct kid k = kid_ready(&n);
    Pwc__Value v = PWC__VALUE__INIT;
    Pwc__Param p = PWC__PARAM__INIT, *params[] = {&p};
    v.kind_case = PWC__VALUE__KIND_U64;
    v.u64 = 300;
    p.name = name;
    p.value = &v;
    Stage__JobOpen m = STAGE__JOB_OPEN__INIT;
    m.job = 1;
    m.op = op;
    m.params = params;
    m.n_params = 1;
    m.absorb = PWC__ABSORB__ABSORB_NONE;
    say(k.chan, PWC_MSG_JOB_OPEN, &m);
    Stage__Lease l = lease_of(1, 1, 0, 10);
    const Stage__Report *r = kid_lease(&k, &l);
    ck_assert_int_eq(r->code, PWC__CODE__CODE_PROTOCOL);
    ck_assert_str_eq(r->reason, "fault.none folds");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stage");
    TCase *life = tcase_create("life"), *leases = tcase_create("leases"), *folds = tcase_create("folds");
    tcase_set_timeout(life, 60);
    tcase_set_timeout(leases, 60);
    tcase_set_timeout(folds, 60);
    tcase_add_test(life, a_stage_is_our_child);
    tcase_add_test(life, root_is_given_up);
    tcase_add_test(life, a_direct_stage_works);
    tcase_add_test(life, a_parent_that_is_gone_gets_no_stage);
    tcase_add_test(life, a_parent_that_is_gone_gets_no_nursery);
    tcase_add_test(life, stages_die_with_the_supervisor);
    tcase_add_test(life, terminal_signals_are_the_supervisors);
    tcase_add_test(life, the_catalogue_is_complete);
    tcase_add_test(life, what_breaks_the_protocol_ends_the_stage);
    tcase_add_test(leases, a_lease_is_reported_and_counted);
    tcase_add_test(leases, a_trace_tells_each_chunk);
    tcase_add_test(leases, noop_costs_nanoseconds);
    tcase_add_test(leases, the_tail_of_a_lease_can_be_taken_back);
    tcase_add_test(leases, cancel_is_honoured_inside_a_chunk);
    tcase_add_test(leases, an_error_ends_the_lease_at_its_chunk);
    tcase_add_test(leases, a_blank_tells_its_own_failure);
    tcase_add_test(leases, eight_jobs_and_a_lease_of_none);
    tcase_add_test(folds, states_travel_and_the_last_one_becomes_results);
    tcase_add_test(folds, a_final_lease_cut_short_gives_its_state_back);
    tcase_add_test(folds, a_state_of_impossible_length_is_refused);
    tcase_add_test(folds, an_op_that_folds_is_not_run_without);
    suite_add_tcase(s, life);
    suite_add_tcase(s, leases);
    suite_add_tcase(s, folds);
    return run_suite(s);
}
