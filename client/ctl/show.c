/* show.c - what the daemon is doing: status, jobs, workers, deaths, show, doctor; ping and version. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "client/ctl/ctl.h"

struct view {
    struct json *j; /* NULL: for people */
    size_t n;
    uint64_t chunks;         /* of the job that is shown; 0: not known yet */
    bool sick, fully, going; /* going: no jobs that are over */
};

/* Connects, and begins a JSON document if one is wanted. */
static int view_open(const struct args *args, struct view *v, struct json *j, const char *schema,
                     struct pwc **ret_c)
{
    *v = (struct view){.j = args->o.json ? j : NULL};
    int r = ctl_connect(&args->o, ret_c);
    if (r != 0 || v->j == NULL)
        return r;
    json_open(j, stdout);
    json_begin(j, NULL, '{');
    json_str(j, "schema", schema);
    return 0;
}

static int view_close(struct view *v, struct pwc *c, int code)
{
    if (v->j != NULL)
        json_end(v->j, '}');
    int r = code == PWC_OK ? 0 : complain_code(code);
    ctl_disconnect(c);
    return r;
}

/* ---- status, doctor ---- */

static void show_status(const struct pwc_status *s, void *user)
{
    struct view *v = user;
    char up[32];
    v->sick = v->sick || strcmp(s->health, "ok") != 0;
    if (v->j == NULL) {
        printf("%s, pid %u, up %s: %s\n", s->server, s->pid, duration_text(s->up_ns, up, sizeof up),
               s->health);
        printf("workers  %u busy of %u (%s), %u stages, %u spares\n", s->busy, s->workers, s->workers_from,
               s->stages, s->spares);
        printf("jobs     %" PRIu64 " running, %" PRIu64 " queued, %" PRIu64 " done, %" PRIu64 " failed\n",
               s->jobs_running, s->jobs_queued, s->jobs_done, s->jobs_failed);
        printf("deaths   %" PRIu64 "\n", s->deaths);
        printf("clients  %u\n", s->clients);
        printf("sandbox  %s\n", s->layers[0] != '\0' ? s->layers : "(no stage is in it just now)");
        if (s->missing[0] != '\0')
            printf("missing  %s\n", s->missing);
        printf("memory   %s\n", s->memory);
        if (v->fully)
            printf("scratch  %s\nlimits   %s\n", s->scratch, s->limits);
        return;
    }
    json_begin(v->j, "daemon", '{');
    json_str(v->j, "server", s->server);
    json_u64(v->j, "pid", s->pid);
    json_str(v->j, "health", s->health);
    json_u64(v->j, "up_ns", s->up_ns);
    json_u64(v->j, "workers", s->workers);
    json_str(v->j, "workers_from", s->workers_from);
    json_u64(v->j, "busy", s->busy);
    json_u64(v->j, "stages", s->stages);
    json_u64(v->j, "spares", s->spares);
    json_u64(v->j, "clients", s->clients);
    json_u64(v->j, "jobs_queued", s->jobs_queued);
    json_u64(v->j, "jobs_running", s->jobs_running);
    json_u64(v->j, "jobs_done", s->jobs_done);
    json_u64(v->j, "jobs_failed", s->jobs_failed);
    json_u64(v->j, "deaths", s->deaths);
    json_u64(v->j, "dropped", s->dropped);
    json_str(v->j, "layers", s->layers);
    json_str(v->j, "missing", s->missing);
    json_str(v->j, "scratch", s->scratch);
    json_str(v->j, "limits", s->limits);
    json_str(v->j, "memory", s->memory);
    json_end(v->j, '}');
}

static void progress_text(const struct pwc_job_info *i, char *buf, size_t size)
{
    if (i->counts.total > 0)
        snprintf(buf, size, "%" PRIu64 "/%" PRIu64, i->counts.done, i->counts.total);
    else
        snprintf(buf, size, "-");
}

static void show_job(const struct pwc_job_info *i, void *user)
{
    struct view *v = user;
    char progress[48], age[32];
    if (v->going && i->state >= PWC_JOB_DONE)
        return;
    if (v->j == NULL) {
        if (v->n++ == 0)
            printf("%6s  %-9s  %17s  %5s  %9s  %-22s %s\n", "JOB", "STATE", "CHUNKS", "FAIL", "AGE", "OP",
                   "NOTE");
        char *input = input_text(i->input, "");
        progress_text(i, progress, sizeof progress);
        printf("%6" PRIu64 "  %-9s  %17s  %5" PRIu64 "  %9s  %-22s %s%s\n", i->job,
               pwc_job_state_name(i->state), progress, i->counts.failed,
               duration_text(i->age_ns, age, sizeof age), i->op, i->waiting[0] != '\0' ? "waiting: " : "",
               i->waiting[0] != '\0'  ? i->waiting
               : i->reason[0] != '\0' ? i->reason
                                      : input);
        free(input);
        return;
    }
    json_begin(v->j, NULL, '{');
    json_u64(v->j, "job", i->job);
    json_str(v->j, "op", i->op);
    json_u64(v->j, "uid", i->uid);
    json_str(v->j, "state", pwc_job_state_name(i->state));
    json_str(v->j, "waiting", i->waiting);
    json_str(v->j, "code", pwc_code_name(i->code));
    json_str(v->j, "reason", i->reason);
    json_str(v->j, "domain", i->domain);
    json_u64(v->j, "items", i->items);
    json_str(v->j, "input", i->input);
    json_u64(v->j, "age_ns", i->age_ns);
    json_u64(v->j, "run_ns", i->run_ns);
    json_counts(v->j, "counts", &i->counts);
    json_end(v->j, '}');
}

static int list_jobs(struct pwc *c, struct view *v, uint64_t job)
{
    if (v->j != NULL)
        json_begin(v->j, "jobs", '[');
    int r = pwc_list_jobs(c, job, ANSWER_MS, show_job, v);
    if (v->j != NULL)
        json_end(v->j, ']');
    return r;
}

int verb_status(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct view v;
    int r = view_open(args, &v, &j, "pwc.status/1", &c);
    if (r != 0)
        return r;
    r = pwc_get_status(c, ANSWER_MS, show_status, &v);
    v.going = true; /* a thousand that are over are remembered: 'jobs' has them */
    if (r == PWC_OK)
        r = list_jobs(c, &v, 0);
    return view_close(&v, c, r);
}

int verb_jobs(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct view v;
    int r = view_open(args, &v, &j, "pwc.jobs/1", &c);
    return r != 0 ? r : view_close(&v, c, list_jobs(c, &v, 0));
}

/* A job of one chunk: only one that runs shows that jobs run, and which layers of the sandbox are in force.
 */
static void try_job(struct pwc *c, struct view *v)
{
    struct pwc_spec *spec = pwc_spec_new("noop");
    struct pwc_job *job = NULL;
    pwc_spec_param(spec, "n", "1");
    int r = pwc_submit(c, spec, &job);
    if (r == PWC_OK)
        r = pwc_wait(job, ANSWER_MS);
    bool well = r == PWC_OK || r == PWC_NO_SUCH_OP;
    v->sick = v->sick || !well;
    if (v->j != NULL)
        json_str(v->j, "trial", well ? "ok" : pwc_error());
    else
        printf("trial    %s\n", well ? "a job of one chunk: ok" : pwc_error());
    pwc_job_free(job);
    pwc_spec_free(spec);
}

int verb_doctor(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct view v;
    int r = view_open(args, &v, &j, "pwc.doctor/1", &c);
    if (r != 0)
        return r;
    const struct pwc_daemon *d = pwc_daemon(c);
    if (v.j == NULL) {
        printf("socket   %s, protocol %u, we are uid %u\n", d->path, d->version, d->uid);
    } else {
        json_str(v.j, "socket", d->path);
        json_u64(v.j, "protocol", d->version);
        json_u64(v.j, "uid", d->uid);
    }
    try_job(c, &v);
    v.fully = true;
    r = view_close(&v, c, pwc_get_status(c, ANSWER_MS, show_status, &v));
    return r == 0 && v.sick ? EXIT_FAILED : r;
}

/* ---- workers ---- */

static void show_stage(const struct pwc_stage_info *s, void *user)
{
    struct view *v = user;
    char chunk[24] = "-", age[32], job[24] = "-";
    if (v->j == NULL) {
        if (v->n++ == 0)
            printf("%6s  %7s  %-9s %-9s  %6s  %6s  %10s  %10s  %9s\n", "STAGE", "PID", "ROLE", "STATE", "UID",
                   "JOB", "CHUNK", "CHUNKS", "AGE");
        if (s->in_chunk)
            snprintf(chunk, sizeof chunk, "%" PRIu64, s->chunk);
        if (s->job != 0)
            snprintf(job, sizeof job, "%" PRIu64, s->job);
        printf("%6" PRIu64 "  %7u  %-9s %-9s  %6u  %6s  %10s  %10" PRIu64 "  %9s\n", s->stage, s->pid,
               s->role, s->state, s->uid, job, chunk, s->chunks, duration_text(s->age_ns, age, sizeof age));
        return;
    }
    json_begin(v->j, NULL, '{');
    json_u64(v->j, "stage", s->stage);
    json_u64(v->j, "pid", s->pid);
    json_str(v->j, "role", s->role);
    json_str(v->j, "state", s->state);
    json_u64(v->j, "uid", s->uid);
    json_u64(v->j, "job", s->job);
    if (s->in_chunk)
        json_u64(v->j, "chunk", s->chunk);
    json_u64(v->j, "chunks", s->chunks);
    json_u64(v->j, "age_ns", s->age_ns);
    json_str(v->j, "layers", s->layers);
    json_end(v->j, '}');
}

int verb_workers(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct view v;
    int r = view_open(args, &v, &j, "pwc.workers/1", &c);
    if (r != 0)
        return r;
    if (v.j != NULL)
        json_begin(v.j, "workers", '[');
    r = pwc_list_stages(c, ANSWER_MS, show_stage, &v);
    if (v.j != NULL)
        json_end(v.j, ']');
    return view_close(&v, c, r);
}

/* ---- deaths, show ---- */

static void show_death(const struct pwc_death *d, void *user)
{
    struct view *v = user;
    char buf[REASON_ROOM], when[32] = "";
    v->n++;
    if (v->j != NULL) {
        json_death(v->j, NULL, d);
        return;
    }
    time_t t = (time_t)(d->at_ns / 1000000000u);
    struct tm tm;
    if (localtime_r(&t, &tm) != NULL)
        strftime(when, sizeof when, "%F %T", &tm);
    char *input = input_text(d->input, d->covers);
    death_text(d, buf, sizeof buf);
    printf("%s  job %" PRIu64 "%s%s: %s\n", when, d->job, input[0] != '\0' ? ", " : "", input, one_line(buf));
    free(input);
}

static void indented(const char *before, const char *line)
{
    while (*line != '\0') {
        size_t n = strcspn(line, "\n");
        printf("%s%.*s\n", before, (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void show_death_fully(const struct pwc_death *d, void *user)
{
    const struct view *v = user;
    char t[32], cpu[32];
    show_death(d, user);
    if (v->j != NULL)
        return;
    printf("    %s %u, stage %" PRIu64 ", %s since its lease began, %s of CPU, peak %" PRIu64
           " KiB%s, sandbox: %s\n",
           d->role, d->pid, d->stage, duration_text(d->elapsed_ns, t, sizeof t),
           duration_text(d->cpu_ns, cpu, sizeof cpu), d->rss_peak / 1024,
           d->rss_peak > d->rss_before ? "" : " (which its process had before)",
           d->layers[0] != '\0' ? d->layers : "none");
    indented("    ", d->stack);
    indented("    stderr: ", d->stderr_tail);
}

static int list_deaths(struct pwc *c, struct view *v, uint64_t job, uint64_t chunk,
                       void (*each)(const struct pwc_death *, void *))
{
    if (v->j != NULL)
        json_begin(v->j, "deaths", '[');
    int r = pwc_list_deaths(c, job, chunk, ANSWER_MS, each, v);
    if (v->j != NULL)
        json_end(v->j, ']');
    return r;
}

static void is_there(const struct pwc_job_info *i, void *user)
{
    ((struct view *)user)->chunks = i->counts.total;
}

static int check_chunk(const struct view *v, uint64_t job, uint64_t chunk)
{
    if (chunk == PWC_ALL_CHUNKS || v->chunks == 0 || chunk < v->chunks)
        return EXIT_OK;
    return complain(EXIT_NO_JOB, "job %" PRIu64 " has no chunk %" PRIu64 ": they are 0 to %" PRIu64, job,
                    chunk, v->chunks - 1);
}

int verb_deaths(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct view v;
    uint64_t job = 0, chunk = PWC_ALL_CHUNKS;
    if (args->n > 1 && parse_chunk(args->words[1], &job, &chunk) != 0)
        return EXIT_USAGE;
    int r = view_open(args, &v, &j, "pwc.deaths/1", &c);
    if (r != 0)
        return r;
    r = list_deaths(c, &v, job, chunk, args->o.verbose ? show_death_fully : show_death);
    if (r == PWC_OK && v.n == 0 && job != 0)
        r = pwc_list_jobs(c, job, ANSWER_MS, is_there, &v);
    r = view_close(&v, c, r);
    return r == 0 ? check_chunk(&v, job, chunk) : r;
}

static void show_fully(const struct pwc_job_info *i, void *user)
{
    struct view *v = user;
    char progress[48], age[32], ran[32];
    v->chunks = i->counts.total;
    if (v->j != NULL) {
        show_job(i, user);
        return;
    }
    const struct pwc_counts *n = &i->counts;
    progress_text(i, progress, sizeof progress);
    printf("job      %" PRIu64 ", %s, uid %u%s%s\n", i->job, i->op, i->uid,
           i->domain[0] != '\0' ? ", domain " : "", i->domain);
    char *input = input_text(i->input, "");
    if (input[0] != '\0')
        printf("input    %s\n", input);
    free(input);
    printf("state    %s%s%s\n", pwc_job_state_name(i->state), i->waiting[0] != '\0' ? ", waiting: " : "",
           i->waiting);
    if (i->code != PWC_OK || i->reason[0] != '\0')
        printf("reason   %s: %s\n", pwc_code_name(i->code), i->reason);
    printf("chunks   %s done, %" PRIu64 " put together, %" PRIu64 " given up, %" PRIu64 " retried, %" PRIu64
           " redone, %" PRIu64 " leases\n",
           progress, n->absorbed, n->failed, n->retried, n->redone, n->leases);
    printf("workers  %u, %" PRIu64 " deaths\n", n->workers, n->deaths);
    printf("bytes    %" PRIu64 " in, %" PRIu64 " out, %" PRIu64 " items\n", n->bytes_in, n->bytes_out,
           i->items);
    printf("time     %s old, ran %s\n", duration_text(i->age_ns, age, sizeof age),
           duration_text(i->run_ns, ran, sizeof ran));
}

int verb_show(const struct args *args)
{
    struct pwc *c = NULL;
    struct json j;
    struct view v;
    uint64_t job, chunk;
    if (args->n != 2)
        return complain(EXIT_USAGE, "which job? 'pwcctl show JOB[.CHUNK]'; 'pwcctl jobs' lists them");
    int r = parse_chunk(args->words[1], &job, &chunk);
    if (r != 0 || (r = view_open(args, &v, &j, "pwc.show/1", &c)) != 0)
        return r;
    if (v.j != NULL)
        json_begin(v.j, "jobs", '[');
    r = pwc_list_jobs(c, job, ANSWER_MS, show_fully, &v);
    if (v.j != NULL)
        json_end(v.j, ']');
    if (r == PWC_OK)
        r = list_deaths(c, &v, job, chunk, show_death_fully);
    r = view_close(&v, c, r);
    return r == 0 ? check_chunk(&v, job, chunk) : r;
}

/* ---- ping, version ---- */

static void show_ping(const struct pwc_daemon *d, uint64_t ns, bool as_json)
{
    struct json j;
    if (!as_json) {
        printf("%s at %s: %.0f us\n", d->server, d->path, (double)ns / 1e3);
        return;
    }
    json_open(&j, stdout);
    json_begin(&j, NULL, '{');
    json_str(&j, "schema", "pwc.ping/1");
    json_str(&j, "server", d->server);
    json_str(&j, "path", d->path);
    json_u64(&j, "answer_ns", ns);
    json_end(&j, '}');
}

int verb_ping(const struct args *args)
{
    struct pwc *c = NULL;
    struct timespec a, b;
    int r = ctl_connect(&args->o, &c);
    if (r != 0)
        return r;
    clock_gettime(CLOCK_MONOTONIC, &a);
    r = pwc_ping(c, ANSWER_MS);
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (r == PWC_OK)
        show_ping(pwc_daemon(c), (uint64_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec),
                  args->o.json);
    else
        r = complain_code(r);
    ctl_disconnect(c);
    return r;
}

int verb_version(const struct args *args)
{
    struct json j;
    if (!args->o.json) {
        printf("pwcctl %s (libpwc %s)\n", PACKAGE_VERSION, pwc_version());
        return 0;
    }
    json_open(&j, stdout);
    json_begin(&j, NULL, '{');
    json_str(&j, "schema", "pwc.version/1");
    json_str(&j, "pwcctl", PACKAGE_VERSION);
    json_str(&j, "libpwc", pwc_version());
    json_end(&j, '}');
    return 0;
}
