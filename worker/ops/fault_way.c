/*
 * fault_way.c - see fault.h; and fault.lone, in test builds only: chunks whose results nobody wants, which
 * misbehave in each of these ways. A job of one of them is a small one, which shares its stage with others.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "worker/job.h"
#include "worker/ops/fault.h"

#define EATEN ((size_t)200 << 20)

bool fault_due(const struct op_job *job, uint64_t chunk)
{
    const uint64_t at = (uint64_t)op_int(job, "at", 0);
    const bool here = op_bool(job, "every", false) ? chunk >= at : chunk == at;
    return here && job->attempt <= op_int(job, "attempts", 1);
}

/* ---- the ways ---- */

static int die(struct op_job *job, const char *who)
{
    (void)job, (void)who;
    return raise(SIGKILL);
}

static int burn(struct op_job *job, const char *who)
{
    (void)job, (void)who;
    for (volatile bool burns = true; burns;)
        ;
    return 0;
}

/* Where the optimizer sees it. */
static char *volatile eaten;

/* And keeps it, until somebody does something about it. */
static int eat(struct op_job *job, const char *who)
{
    (void)job, (void)who;
    eaten = malloc(EATEN);
    if (eaten == NULL)
        abort();
    memset(eaten, 1, EATEN);
    for (;;)
        pause();
}

static int hold(struct op_job *job, const char *who)
{
    (void)who;
    struct obituary *o = &job->priv->stage->segment->obituary;
    sigset_t asked, before;
    sigemptyset(&asked);
    sigaddset(&asked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &asked, &before);
    while (atomic_load(&o->ready) == 0)
        sigsuspend(&before);
    atomic_store(&o->ready, 0); /* for the next time */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

/* Asked for its stack it gives it, and stays. */
static int stick(struct op_job *job, const char *who)
{
    (void)job, (void)who;
    while (pause() < 0)
        ;
    return 0;
}

static int refuse(struct op_job *job, const char *who)
{
    return op_fail(job, PWC__CODE__CODE_OP, "this %s always fails", who);
}

const char *const fault_ways[FAULT_WAYS] = {"die", "burn", "eat", "hold", "stick", "fail"};

int fault_do(struct op_job *job, const char *way, const char *who)
{
    static int (*const does[FAULT_WAYS])(struct op_job *, const char *) = {die,  burn,  eat,
                                                                           hold, stick, refuse};
    for (size_t i = 0; i < FAULT_WAYS; i++)
        if (strcmp(fault_ways[i], way) == 0)
            return does[i](job, who);
    return 0;
}

/* ---- fault.lone ---- */

static int lone_process(struct op_job *job, uint64_t chunk, void *result)
{
    (void)result;
    int64_t ms = op_int(job, "ms", 0);
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};
    if (ms > 0)
        nanosleep(&t, NULL);
    return fault_due(job, chunk) ? fault_do(job, op_str(job, "way", "none"), "chunk") : 0;
}

#define NUMBER(n, text, from, d)                                                                             \
    {                                                                                                        \
        .name = n, .type = PWC__PARAM_TYPE__PARAM_UINT, .summary = text, .min = from, .max = 1e9, .def = d   \
    }
static const struct op_choice ways[] = {{"none", "it does not"},
                                        {"die", "dies"},
                                        {"burn", "computes for ever"},
                                        {"eat", "takes 200 MiB"},
                                        {"hold", "waits until it is asked for its stack"},
                                        {"stick", "stands still"},
                                        {"fail", "returns an error"},
                                        {NULL, NULL}};
static const struct op_param params[] = {
    {.name = "n",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "Number of chunks",
     .required = true,
     .min = 1,
     .max = 1e9},
    {.name = "way",
     .type = PWC__PARAM_TYPE__PARAM_ENUM,
     .summary = "How it misbehaves",
     .def = "none",
     .choices = ways},
    NUMBER("at", "At which chunk", 0, "0"),
    {.name = "every", .type = PWC__PARAM_TYPE__PARAM_BOOL, .summary = "And at all behind it", .def = "false"},
    NUMBER("attempts", "How many attempts at it", 0, "1"),
    NUMBER("ms", "How long each chunk takes", 0, "0"),
};

const struct op fault_lone = {.name = "fault.lone",
                              .version = "1",
                              .summary = "Chunks without results",
                              .params = params,
                              .nparams = ARRAY_LEN(params),
                              .count_param = "n",
                              .process = lone_process};
