/*
 * test_evil.c - pwcd with stages that are compromised (evil_stage.c) for one user's domains and honest for
 * another's. Whatever they do: pwcd lives, each job ends and says why, the honest user's results are right,
 * nothing is left.
 *
 * PWC_SEED chooses (it is printed), PWC_EVIL_ROUNDS says how long (jobs of the evil user: 9 a round).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/hostile/evil.h"
#include "tests/hostile/peer.h"
#include "tests/hostile/picture.h"
#include "tests/unit/runner.h"

#define STRANGER  65534u
#define ROUNDS    2
#define JOB_MS    1000
#define CHUNK_MS  200
#define BATCH     6
#define GROWS_KIB 12288u
#define DEAF_KIB  (24u * 1024u) /* what waits for a stage that does not read may be 16 MiB */
#define DEAF_FOR  2600u         /* chunks: the leases of 2050, with states of 8 KiB, are 16 MiB */

static struct victim v;
static uint64_t *counts, seed;
static int large, small, numbers;

static void set(const char *name, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    setenv(name, text, 1);
}

static void prepare(void)
{
    static uint8_t bytes[1 << 20];
    int fd = memfd_create("counts", 0); /* inherited by all of them */
    char path[64];
    ck_assert_int_eq(ftruncate(fd, EVIL_WORDS * 8), 0);
    counts = mmap(NULL, EVIL_WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), fd);
    setenv("PWC_EVIL_COUNTS", path, 1);
    setenv("PWC_REAL_STAGE", built("pwc-stage-test"), 1);
    set("PWC_EVIL_SEED", seed);
    large = picture(2000, 2000, 3);
    small = picture(64, 64, 3);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    numbers = memfd_of(bytes, sizeof bytes);
}

static void start(void)
{
    prepare();
    victim_start_with(&v, built("tests/hostile/evil_stage"),
                      (const char *const[]){"--set", "ready_timeout=2s", "--set", "cancel_grace=100ms",
                                            "--set", "idle_stage_timeout=5s", NULL});
}

static void report(void)
{
    static const char *const names[EVIL_ACTIONS] = EVIL_NAMES;
    printf("counts: ");
    for (unsigned i = 0; i < EVIL_ACTIONS; i++)
        printf("%s %llu%s", names[i], (unsigned long long)counts[i], i + 1 < EVIL_ACTIONS ? ", " : "\n");
}

/* ---- an honest user ---- */

static uint64_t sum_of(Pwc__Finished *f)
{
    for (size_t i = 0; i < f->n_results; i++) {
        const Pwc__Value *x = f->results[i]->value;
        uint64_t low = 0;
        if (strcmp(f->results[i]->name, "sum") == 0 && x->kind_case == PWC__VALUE__KIND_I128) {
            memcpy(&low, x->i128.data, sizeof low);
            return low;
        }
    }
    return 0;
}

static Pwc__Finished *one_job(struct peer *p, const struct job_spec *spec, const int *fds, unsigned nfds)
{
    peer_submit(p, 1, spec);
    uint64_t job = peer_accepted(p);
    ck_assert_uint_ne(job, 0);
    if (nfds > 0)
        peer_item(p, job, 0, fds, nfds);
    return peer_await(p, PWC_MSG_FINISHED);
}

/* 64 times 0 to 255, 4096 times. */
#define SUM (255ull * 128 * 4096)

static void honest_sum(struct peer *p)
{
    static const struct job_spec sum = {
        .op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}, .label = "ordinary"};
    Pwc__Finished *f = one_job(p, &sum, &numbers, 1);
    ck_assert_msg(f->state == PWC__JOB_STATE__JOB_DONE, "an honest sum failed: %s", f->reason);
    ck_assert_uint_eq(sum_of(f), SUM);
    msg_free(&f->base);
}

#ifdef HAVE_VIPS
static void honest_picture(struct peer *p)
{
    static uint8_t in[2000 * 2000 * 3], out[2000 * 2000 * 3];
    static const struct job_spec spec = {
        .op = "image.invert", .format = "raw", .items = 1, .roles = {"in", "out"}, .label = "ordinary"};
    int fds[] = {large, memfd_create("out", MFD_CLOEXEC)};
    Pwc__Finished *f = one_job(p, &spec, fds, 2);
    ck_assert_msg(f->state == PWC__JOB_STATE__JOB_DONE, "an honest picture failed: %s", f->reason);
    ck_assert_int_eq(pread_all(large, in, sizeof in, 256), 0);
    ck_assert_int_eq(pread_all(fds[1], out, sizeof out, 0), 0);
    size_t i = 0;
    while (i < sizeof in && out[i] == 255 - in[i])
        i++;
    ck_assert_msg(i == sizeof in, "byte %zu of an honest picture is wrong", i);
    close(fds[1]);
    msg_free(&f->base);
}
#endif

/* ---- the evil user's jobs ---- */

static const struct job_spec evil_jobs[] = {
    {.op = "noop", .params = {"n", "1000000"}},
    {.op = "fault.none", .params = {"n", "200", "ms", "1"}},
    {.op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}},
    {.op = "array.histogram",
     .params = {"type", "uint8", "bins", "300", "min", "0", "max", "255"},
     .items = 1,
     .roles = {"in"}},
    {.op = "fault.none", .params = {"n", "1000000000"}},
#ifdef HAVE_VIPS
    {.op = "image.invert", .format = "png", .items = 1, .roles = {"in", "out"}},
    {.op = "image.invert", .format = "tiff", .items = 1, .roles = {"in", "out"}},
    {.op = "image.invert", .format = "raw", .items = 1, .roles = {"in", "out"}},
    {.op = "image.invert", .format = "png", .items = BATCH, .batch = true, .roles = {"in", "out"}},
#endif
};

struct round {
    struct peer p;
    unsigned kind[64]; /* of the job with this tag */
    unsigned running, states[9];
};

static void answer_want(struct round *r, uint64_t tag, const Pwc__Want *w)
{
    const struct job_spec *spec = &evil_jobs[tag % ARRAY_LEN(evil_jobs)];
    bool picture_op = spec->format != NULL, big = picture_op && strcmp(spec->format, "png") != 0;
    for (uint64_t i = w->first; i < w->first + w->n; i++) {
        int fds[] = {!picture_op ? numbers : big ? large : small, memfd_create("out", MFD_CLOEXEC)};
        peer_item(&r->p, w->job, i, fds, picture_op ? 2 : 1);
        close(fds[1]);
    }
}

static void evil_frame(struct round *r, const struct frame *f)
{
    ProtobufCMessage *m = msg_unpack(f->desc, f->body, f->body_len);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_ne(f->type, PWC_MSG_REJECTED);
    if (f->type == PWC_MSG_WANT)
        answer_want(r, f->tag, (Pwc__Want *)m);
    if (f->type == PWC_MSG_FINISHED) {
        const Pwc__Finished *x = (Pwc__Finished *)m;
        bool failed = x->state == PWC__JOB_STATE__JOB_FAILED;
        ck_assert_msg(x->state >= PWC__JOB_STATE__JOB_DONE && x->state <= PWC__JOB_STATE__JOB_PARTIAL,
                      "state %d", x->state);
        ck_assert_msg(!failed || (x->code != PWC__CODE__CODE_OK && x->reason[0] != '\0'),
                      "%s failed without a reason", evil_jobs[f->tag % ARRAY_LEN(evil_jobs)].op);
        r->states[x->state]++;
        r->running--;
    }
    msg_free(m);
}

/* All kinds at once; each must end. Meanwhile the honest user works. */
static void evil_round(struct round *r, struct peer *honest)
{
    for (uint64_t i = 0; i < ARRAY_LEN(evil_jobs); i++) {
        struct job_spec spec = evil_jobs[i];
        spec.label = "evil";
        spec.job_timeout_ms = JOB_MS * SLOWER;
        spec.chunk_timeout_ms = CHUNK_MS * SLOWER;
        spec.trace = 100000; /* the rings of the evil are read, too */
        peer_submit(&r->p, i, &spec);
        r->running++;
    }
    int64_t until = now_ms() + PATIENCE_MS + JOB_MS * SLOWER * (int64_t)ARRAY_LEN(evil_jobs);
    for (unsigned n = 0; r->running > 0; n++) {
        struct frame f;
        int got = -ETIMEDOUT;
        while (r->running > 0 && (got = peer_hear(&r->p, &f, 20)) == 1)
            evil_frame(r, &f);
        ck_assert_msg(r->running == 0 || got == -ETIMEDOUT, "the evil user's connection ended");
        ck_assert_msg(now_ms() < until, "%u evil jobs do not end", r->running);
        if (n % 8 == 0)
            honest_sum(honest);
    }
}

static void attack(uint64_t rounds)
{
    struct peer honest = peer_open(&v);
    struct round r = {.p = geteuid() == 0 ? peer_open_as(&v, STRANGER) : peer_open(&v)};
    for (uint64_t i = 0; i < rounds; i++) {
        evil_round(&r, &honest);
#ifdef HAVE_VIPS
        honest_picture(&honest);
#endif
    }
    printf("%u done, %u failed, %u cancelled, %u partial\n", r.states[PWC__JOB_STATE__JOB_DONE],
           r.states[PWC__JOB_STATE__JOB_FAILED], r.states[PWC__JOB_STATE__JOB_CANCELLED],
           r.states[PWC__JOB_STATE__JOB_PARTIAL]);
    peer_free(&r.p);
    peer_free(&honest);
}

static uint64_t rounds(void)
{
    const char *given = getenv("PWC_EVIL_ROUNDS");
    return given != NULL ? strtoull(given, NULL, 0) : ROUNDS;
}

START_TEST(everything_at_random)
{
    static const uint64_t rates[] = {3, 20, 100};
    set("PWC_EVIL_ONE_IN", rates[_i]);
    start();
    attack(rounds());
    report();
    victim_is_well(&v, GROWS_KIB);
    victim_stop(&v);
}
END_TEST

START_TEST(each_alone)
{
    set("PWC_EVIL_ONE_IN", 4);
    set("PWC_EVIL_ONLY", (uint64_t)_i);
    start();
    attack(MAX(rounds() / 6, (uint64_t)1));
    ck_assert_uint_gt(counts[_i], 0);
    if (_i == EVIL_READY) { /* its cgroup would be another's, and it would live there still */
        ck_assert_uint_eq(victim_logged(&v, "cannot join its cgroup"), 0);
        ck_assert_uint_gt(victim_logged(&v, "was ready before"), 0);
    }
    victim_is_well(&v, GROWS_KIB);
    victim_stop(&v);
}
END_TEST

/* It is ended before it has reported all the chunks there are, and the others are done by another stage. */
START_TEST(what_waits_for_the_deaf_is_bounded)
{
    static const struct job_spec spec = {
        .op = "array.histogram",
        .params = {"type", "uint8", "bins", "1024", "min", "0", "max", "255"},
        .items = 1,
        .roles = {"in"},
        .label = "evil",
        .max_failures = 1};
    set("PWC_EVIL_ONE_IN", 1);
    set("PWC_EVIL_ONLY", EVIL_DEAF);
    start();
    struct peer p = peer_open(&v);
    int fd = memfd_of("", 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)DEAF_FOR << 20), 0);
    Pwc__Finished *f = one_job(&p, &spec, &fd, 1);
    ck_assert_msg(f->state == PWC__JOB_STATE__JOB_DONE, "state %d: %s", f->state, f->reason);
    ck_assert_uint_eq(f->counts->done, DEAF_FOR);
    ck_assert_uint_eq(f->counts->deaths, 1);
    ck_assert_uint_eq(f->counts->workers, 2);
    ck_assert_uint_eq(victim_logged(&v, "cannot send lease: No buffer space available"), 1);
#ifndef PWC_SANITIZED
    ck_assert_uint_le(victim_most_kib(&v), v.rss_kib + DEAF_KIB);
#endif
    msg_free(&f->base);
    close(fd);
    peer_free(&p);
    victim_is_well(&v, GROWS_KIB);
    victim_stop(&v);
}
END_TEST

int main(void)
{
    const char *given = getenv("PWC_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)now_ms();
    setbuf(stdout, NULL);
    printf("seed %llu\n", (unsigned long long)seed);
    Suite *s = suite_create("hostile stages");
    TCase *t = tcase_create("stages");
    tcase_set_timeout(t, 0);
    tcase_add_loop_test(t, everything_at_random, 0, 3);
    tcase_add_loop_test(t, each_alone, 0, EVIL_ACTIONS);
    suite_add_tcase(s, t);
    t = tcase_create("deaf");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, what_waits_for_the_deaf_is_bounded);
    suite_add_tcase(s, t);
    return run_suite(s);
}
