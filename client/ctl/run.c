/*
 * run.c - run and submit: prepare, submit, follow, publish, report.
 *
 * The loop waits for the daemon, the next repaint, a signal, or the death of a private daemon. The first ^C
 * cancels and waits for the job's end, so that nothing computes on; the second ends us at once (signals.c).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

#define DEATHS_TOLD 20u /* chunks given up: more of them tell nothing new, and hide the rest */
#define LACK_US     10000

static void on_progress(struct pwc_job *job, enum pwc_job_state state, const struct pwc_counts *counts,
                        const char *waiting, void *user)
{
    (void)user;
    progress_update(state, counts, waiting, pwc_job_id(job));
}

static void tell_given_up(struct run *run)
{
    if (run->given_up[0] != '\0')
        note("pwcctl: %s", run->given_up);
    run->given_up[0] = '\0';
}

/* One line for a chunk that is given up, nothing for one that is tried again. What ends the job is its
 * reason, and files of a batch are named at the end: neither is told twice. */
static void on_death(struct pwc_job *job, const struct pwc_death *death, int given_up, void *user)
{
    (void)job;
    struct run *run = user;
    const struct options *o = &run->args->o;
    char buf[REASON_ROOM];
    progress_json_death(death, given_up != 0);
    if (o->progress == PROGRESS_JSON || o->quiet)
        return;
    if (!given_up && o->verbose)
        note("pwcctl: %s", death_text(death, buf, sizeof buf));
    if (!given_up || run->batch != NULL)
        return;
    tell_given_up(run);
    if (++run->deaths <= DEATHS_TOLD || o->verbose)
        death_text(death, run->given_up, sizeof run->given_up);
    if (run->deaths == DEATHS_TOLD + 1 && !o->verbose)
        note("pwcctl: what else is given up is only counted; 'pwcctl quarantine' lists it");
}

static void on_finished(struct pwc_job *job, void *user)
{
    (void)job;
    ((struct run *)user)->finished = true;
}

static void take_signal(struct run *run)
{
    if (run->signal != 0 || (run->signal = signals_take()) == 0)
        return;
    if (!run->args->o.quiet)
        note("pwcctl: cancelling; once more ends at once");
    pwc_cancel(run->job);
}

/* Where poll(2) lacks memory it may have some soon: the job goes on meanwhile. */
static void follow(struct run *run)
{
    while (!run->finished) {
        struct pollfd p[] = {
            {.fd = pwc_fd(run->c), .events = pwc_events(run->c)},
            {.fd = signals_fd(), .events = POLLIN},
            {.fd = private_pidfd(), .events = POLLIN},
            {.fd = detach_fd(), .events = POLLIN},
        };
        if (poll(p, COUNT(p), progress_wait_ms()) < 0 && errno != EINTR)
            usleep(LACK_US);
        if (p[1].revents != 0)
            take_signal(run);
        if (p[3].revents != 0)
            detach_take_waiters();
        pwc_dispatch(run->c, 0); /* its errors end the job, which finishes it */
        progress_tick();
    }
    progress_end();
}

/* ---- detached ---- */

/* Without an output to publish and files to open the daemon can go on alone. */
static bool daemon_alone(const struct run *run)
{
    return run->batch == NULL && run->out.fd < 0;
}

static int detach(struct run *run)
{
    int r = pwc_wait_accepted(run->job, PWC_FOREVER);
    if (r != PWC_OK)
        return report_outcome(run->job, false, run);
    if (pwc_job_existing(run->job)) { /* an earlier command has the files, and publishes */
        detach_tell(run->job);
        run->finished = true;
        return 0;
    }
    if (daemon_alone(run)) {
        r = pwc_detach(run->job, PWC_FOREVER);
        if (r != PWC_OK && pwc_job_state(run->job) < PWC_JOB_DONE)
            return complain_code(r);
        detach_tell(run->job);
        run->finished = true;
        return 0;
    }
    detach_announce(run->c, pwc_job_id(run->job));
    detach_tell(run->job);
    return 0;
}

/* ---- all of it ---- */

static bool trace_on_stdout(const struct options *o)
{
    return o->trace != NULL && strcmp(o->trace, "-") == 0;
}

static int prepare(struct run *run)
{
    const struct options *o = &run->args->o;
    int r = request_build(run->c, run->args, &run->rq);
    if (r != 0)
        return r;
    pwc_spec_callbacks(run->rq.spec, &(struct pwc_callbacks){on_progress, on_death, NULL, on_finished}, run);
    if (o->detach && run->rq.shape.nout == 0 && o->out_dir == NULL)
        pwc_spec_on_disconnect(run->rq.spec, PWC_ON_DISCONNECT_DETACH, 0);
    progress_start(o, run->rq.shape.name, o->out_dir != NULL ? "files" : "chunks");
    if ((r = trace_prepare(run)) != 0)
        return r;
    return o->out_dir != NULL ? batch_prepare(run) : single_prepare(run);
}

/* The job is an earlier command's, with the same request key: so is its output. */
static int published_there(const struct run *run)
{
    uint64_t id = pwc_job_id(run->job);
    if (detach_wait_published(run->c, id, -1) == NOT_PUBLISHED)
        return complain_unpublished(id);
    if (run->out.fd >= 0 && run->out.kind == OUTPUT_STREAM)
        return complain(EXIT_FAILED,
                        "'%s' gets nothing: job %llu was there already, and its output went elsewhere",
                        run->out.name, (unsigned long long)id);
    if ((run->out.fd >= 0 || run->batch != NULL) && !run->args->o.quiet)
        note("pwcctl: job %llu was there already: its output is where the first command put it",
             (unsigned long long)id);
    return 0;
}

static int conclude(struct run *run)
{
    const struct options *o = &run->args->o;
    enum pwc_job_state state = pwc_job_state(run->job);
    struct pwc_counts counts;
    int published = 0;
    pwc_job_counts(run->job, &counts);
    progress_json_finished(state, &counts, pwc_job_id(run->job));
    bool done = state == PWC_JOB_DONE || state == PWC_JOB_PARTIAL;
    if (run->signal == 0 && done && pwc_job_existing(run->job))
        published = published_there(run);
    else if (run->signal == 0 && done && run->batch == NULL)
        published = single_publish(run);
    else if (run->out.fd >= 0)
        run->unpublished = true;
    run->unpublished |= published != 0;
    int traced = trace_publish(run);
    if (run->batch == NULL &&
        (state != PWC_JOB_FAILED || strstr(pwc_job_reason(run->job), run->given_up) == NULL))
        tell_given_up(run);
    batch_report(run);
    int r;
    if (run->signal != 0)
        r = EXIT_SIGNAL + run->signal;
    else
        r = run->batch != NULL ? batch_outcome(run) : report_outcome(run->job, o->allow_partial, run);
    if (r == 0)
        r = published != 0 ? published : traced;
    if (run->signal == 0 && published == 0 && done)
        report_summary(run); /* it names the output, which is there */
    bool stdout_taken = (run->out.fd >= 0 && run->out.target == NULL) || trace_on_stdout(o);
    if (o->json && !stdout_taken)
        report_json(run->job, run->rq.shape.name, run);
    else if (!stdout_taken)
        report_results(run->job, "");
    return r;
}

static int run_job(struct run *run)
{
    int r = prepare(run);
    if (r != 0)
        return r;
    if (run->args->o.detach) {
        if ((r = detach(run)) != 0 || run->finished)
            return r;
    }
    signals_hold();
    follow(run);
    signals_release();
    r = conclude(run);
    detach_conclude(!run->unpublished);
    return r;
}

static int check_trace(const struct options *o)
{
    if (o->trace != NULL && o->detach)
        return complain(EXIT_USAGE,
                        "--trace and --detach exclude each other: a trace is followed to its end");
    if (trace_on_stdout(o) && (o->json || (o->output != NULL && strcmp(o->output, "-") == 0)))
        return complain(EXIT_USAGE, "--trace - takes stdout: %s must go elsewhere",
                        o->json ? "--json" : "the output");
    if (o->trace != NULL && o->request_key != NULL)
        return complain(EXIT_USAGE, "--trace and --request-key exclude each other: the job may be an earlier "
                                    "command's, which has its trace");
    return 0;
}

static int check(const struct args *args)
{
    if (args->n < 2)
        return complain(EXIT_USAGE,
                        "which op? 'pwcctl ops' lists them, as in: pwcctl run image.invert a.jpg b.png");
    if (args->words[1][0] == '\0')
        return complain(EXIT_USAGE, "'' is no op's name: 'pwcctl ops' lists them");
    if (args->o.detach && args->o.private)
        return complain(EXIT_USAGE,
                        "--detach and --private exclude each other: the private daemon ends with us");
    if (args->o.files_from != NULL && args->o.out_dir == NULL)
        return complain(EXIT_USAGE, "--files-from needs --out-dir");
    return check_trace(&args->o);
}

int verb_run(const struct args *args)
{
    struct run run = {.args = args, .out = {.fd = -1}};
    int r = check(args);
    if (r != 0)
        return r;
    if (args->o.detach)
        detach_fork(args->o.json);
    r = ctl_connect(&args->o, &run.c);
    if (r == 0)
        r = run_job(&run);
    pwc_job_free(run.job);
    single_drop(&run);
    batch_drop(&run);
    trace_free(run.trace);
    request_free(&run.rq);
    ctl_disconnect(run.c);
    return r;
}

int verb_submit(const struct args *args)
{
    struct args detached = *args;
    detached.o.detach = true;
    return verb_run(&detached);
}
