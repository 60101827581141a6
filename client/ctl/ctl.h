/*
 * ctl.h - what the files of pwcctl share. pwcctl is a user of libpwc like any other: it includes pwc.h only.
 *
 * Functions that can fail for the user's sake print one line with complain() and return an exit status; 0
 * means go on. stdout carries data only, everything else goes to stderr.
 */
#ifndef PWC_CTL_H
#define PWC_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "client/pwc.h"

/* FEATURES users know from sysexits, timeout(1) and the shell; pwcctl(1) lists them. */
enum status {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* the job, an input or the output */
    EXIT_USAGE = 2,  /* the command line: also an unknown op or a bad parameter */
    EXIT_NO_JOB = 3,
    EXIT_CANCELLED = 4,
    EXIT_PARTIAL = 5,
    EXIT_UNREACHABLE = 69,
    EXIT_INTERNAL = 70,
    EXIT_BUSY = 75,
    EXIT_PROTOCOL = 76,
    EXIT_DENIED = 77,
    EXIT_TIMEOUT = 124,
    EXIT_SIGNAL = 128,
};

#define COUNT(a)      (sizeof(a) / sizeof((a)[0]))
#define ANSWER_MS     10000 /* for an answer to a question: far more than a living daemon needs */
#define FORMAT(f, va) __attribute__((format(printf, f, va)))

/* ---- options.c ---- */

enum when { WHEN_AUTO, WHEN_ALWAYS, WHEN_NEVER };
enum progress_mode { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };

struct pair {
    char *name, *value;
};
struct pairs {
    struct pair *v;
    size_t n;
};

struct options {
    const char *socket;
    bool private, json, verbose, quiet, help, version;
    enum when color;
    enum progress_mode progress;

    const char *output, *out_dir, *files_from, *format, *domain, *trace, *request_key;
    struct pairs in, save, load;
    struct pwc_policy policy;
    bool policy_set;
    bool fail_asked; /* --on-failure fail: of a batch, too */
    enum pwc_isolation isolation;
    uint32_t workers;
    int priority;
    bool detach, allow_partial;
    int timeout_ms; /* wait: PWC_FOREVER */
};

struct args {
    struct options o;
    char **words; /* what is no option; words[0] is the verb */
    size_t n;
    size_t files_from; /* words from here on came after "--": never parameters */
};

/* Which options a verb takes: pwcctl --help lists them in this order. */
enum option_group { GROUP_COMMON = 1, GROUP_JSON = 2, GROUP_RUN = 4, GROUP_TIMEOUT = 8 };

bool options_ask_json(char **argv); /* known before the rest is parsed, whose mistakes are told so, too */
int options_parse(int argc, char **argv, struct args *ret_args);
void options_free(struct args *args);
int options_check(const struct args *args, unsigned groups); /* only what the verb takes was given */
void options_help(FILE *to, unsigned groups);
void options_names(FILE *to, unsigned groups); /* one a line, for completion */
/* Complains about a name that is there already. */
int pairs_add(struct pairs *p, const char *name, size_t name_len, const char *value);
void pairs_free(struct pairs *p);

/* ---- verbs.c, main.c ---- */

struct verb {
    const char *name, *alias, *args, *summary, *details;
    unsigned groups;
    int (*run)(const struct args *args);
};
extern const struct verb verbs[];
extern const size_t nverbs;
const struct verb *verb_find(const char *name); /* NULL: none */
void verb_help(const struct verb *verb);
int verb_unknown(const char *name);

int verb_run(const struct args *args);
int verb_submit(const struct args *args);
int verb_ops(const struct args *args);
int verb_help_verb(const struct args *args);
int verb_status(const struct args *args);
int verb_jobs(const struct args *args);
int verb_workers(const struct args *args);
int verb_deaths(const struct args *args);
int verb_show(const struct args *args);
int verb_quarantine(const struct args *args);
int verb_wait(const struct args *args);
int verb_cancel(const struct args *args);
int verb_ping(const struct args *args);
int verb_version(const struct args *args);
int verb_doctor(const struct args *args);
int verb_trace(const struct args *args); /* trace.c */
int verb_completion(const struct args *args);

/* ---- connect.c ---- */

/* Connects as the options say; --private starts a daemon of our own first. */
int ctl_connect(const struct options *o, struct pwc **ret_c);
/* Ends the connection, and the private daemon with it. */
void ctl_disconnect(struct pwc *c);
int private_pidfd(void); /* readable when the private daemon has died; -1 none */

/* ---- util.c ---- */

void *must(void *p); /* aborts on NULL: out of memory */
char *text(const char *fmt, ...) FORMAT(1, 2);
const char *base_name(const char *path);
/* One line on stderr, "pwcctl: ...", in JSON after --json; returns status. */
int complain(int status, const char *fmt, ...) FORMAT(2, 3);
char *one_line(char *line);  /* without control characters, for people; returns line */
int complain_code(int code); /* pwc_error() with the status that fits */
int status_of(int code);     /* of an enum pwc_code */
void util_setup(const struct options *o);
bool use_color(void);
const char *nearest(const char *word, const char *const *names, size_t n); /* NULL: none is near */
int parse_duration(const char *s, uint64_t *ret_ns);                       /* 30, 1.5h, 200ms, 2d; -1 */
int parse_size(const char *s, uint64_t *ret_bytes);        /* 100, 64M (1024), 64m (1000); -1 */
int parse_u64(const char *s, uint64_t max, uint64_t *ret); /* -1 */
int64_t now_ms(void);
int64_t end_ms(int timeout_ms); /* when that will be over; PWC_FOREVER: -1 */
int left_ms(int64_t end);       /* until then: 0, or PWC_FOREVER */
const char *duration_text(uint64_t ns, char *buf, size_t size);
const char *signal_name(int sig);                   /* "SIGSEGV" */
int parse_job(const char *word, uint64_t *ret_job); /* complains */
/* JOB, or JOB.CHUNK; chunk PWC_ALL_CHUNKS: no chunk was named. Complains. */
int parse_chunk(const char *word, uint64_t *ret_job, uint64_t *ret_chunk);

/* ---- json.c ---- */

struct json {
    FILE *f;
    bool more[16];
    unsigned depth;
};
void json_open(struct json *j, FILE *f);
void json_begin(struct json *j, const char *key, char bracket); /* '{' or '['; key NULL in lists */
void json_end(struct json *j, char bracket);
void json_str(struct json *j, const char *key, const char *v);
void json_u64(struct json *j, const char *key, uint64_t v);
void json_i64(struct json *j, const char *key, int64_t v);
void json_f64(struct json *j, const char *key, double v);
void json_bool(struct json *j, const char *key, bool v);
void json_value(struct json *j, const char *key, const struct pwc_value *v);
void json_counts(struct json *j, const char *key, const struct pwc_counts *n);
void json_death(struct json *j, const char *key, const struct pwc_death *d);

/* ---- input.c, publish.c ---- */

/* A descriptor that can seek: the file itself, or an anonymous copy of a pipe's or stdin's bytes. */
int input_open(const char *name, int *ret_fd, struct stat *ret_st);
int anonymous_file(void);         /* unlinked, O_RDWR; -1 with errno */
const char *temporary_dir(void);  /* where it lies, if it can: $TMPDIR or /tmp */
int copy_bytes(int from, int to); /* 0 or -1 with errno */

enum output_kind { OUTPUT_NEW, OUTPUT_REPLACE, OUTPUT_STREAM };
struct output {
    char *name;   /* as given, for messages */
    char *target; /* where it ends up, links resolved; NULL: stdout */
    char *temp;   /* a name beside it, where the file system has no O_TMPFILE */
    int fd;       /* what the job writes */
    enum output_kind kind;
    struct stat old; /* REPLACE */
};
/* Prepares; nothing is visible yet. `why` gets the reason of a failure (status 1). */
int output_open(const char *name, struct output *out, char *why, size_t size);
bool output_is(const struct output *out, const struct stat *st); /* the same file */
char *output_place(const char *name); /* where it will be, links followed; NULL: nowhere. A new string */
bool output_takes(const struct output *out, const char *name); /* the place of what has this name, or will */
int output_publish(struct output *out, char *why, size_t size);
void output_drop(struct output *out); /* after either; unpublished bytes vanish */

/* ---- request.c: from words to a spec ---- */

struct role {
    char *name, *summary;
    bool out, optional;
};
struct shape { /* of the op, from the catalogue */
    char *name;
    struct role *roles;
    size_t nroles, nin, nout; /* optional inputs are not counted in nin */
    bool formats, batches;
};
struct extra { /* --in mask=FILE */
    const char *role, *name;
    int fd;
};
struct request {
    struct shape shape;
    char **files;
    size_t nfiles;
    struct pwc_spec *spec;
    struct extra extras[8];
    size_t nextras;
    char *format;
};
int request_build(struct pwc *c, const struct args *args, struct request *ret_rq);
void request_free(struct request *rq);
const char *first_role(const struct shape *s, bool out); /* NULL: none */
/* "x.jpg[Q=90,strip]": cuts the bracket off and adds the options. */
int take_brackets(char *name, bool is_input, struct pairs *ret_options);
int format_of(const char *name, const struct options *o, struct pwc *c, char **ret_format);
const char *format_suffix(const char *format);
bool suffix_is(const char *name, const char *format);

/* ---- single.c, batch.c: the two ways to run ---- */

struct run;
int single_prepare(struct run *run);
int single_publish(struct run *run);
void single_drop(struct run *run);
int batch_prepare(struct run *run);
void batch_report(struct run *run);
int batch_outcome(struct run *run); /* as report_outcome */
void batch_json(const struct run *run, struct json *j);
void batch_drop(struct run *run);

struct batch;
struct trace;

#define REASON_ROOM 1100 /* for the daemon's longest */

struct run {
    const struct args *args;
    struct pwc *c;
    struct pwc_job *job;
    struct request rq;
    struct output out; /* single; fd -1: none */
    struct batch *batch;
    struct trace *trace; /* NULL: none */
    bool finished;
    bool unpublished;           /* an output is not in its place */
    unsigned deaths;            /* chunks given up that were told */
    char given_up[REASON_ROOM]; /* the last that was final: told unless the job's end tells it */
    int signal;                 /* of a ^C: 0 none */
};

/* ---- trace.c: run --trace ---- */

int trace_prepare(struct run *run); /* before the job is submitted */
int trace_publish(struct run *run);
/* It must not take the place of what the job reads, or writes. 0, or an exit status with a complaint. */
int trace_spares_input(const struct run *run, const char *name, const struct stat *st);
int trace_spares_output(const struct run *run, const char *name);
void trace_free(struct trace *t);

/* ---- progress.c ---- */

void progress_start(const struct options *o, const char *op, const char *unit);
void progress_update(enum pwc_job_state state, const struct pwc_counts *counts, const char *waiting,
                     uint64_t job);
int progress_wait_ms(void); /* until something is to be painted; -1 for ever */
void progress_tick(void);
void progress_end(void); /* clears the bar */
bool progress_on_terminal(void);
void note(const char *fmt, ...) FORMAT(1, 2); /* a line on stderr, beside the bar */
void progress_json_death(const struct pwc_death *d, bool given_up);
void progress_json_finished(enum pwc_job_state state, const struct pwc_counts *counts, uint64_t job);

/* ---- report.c ---- */

const char *death_text(const struct pwc_death *d, char *buf, size_t size);
/* The input's name for a line for people; "" where what the chunk covers says it, as in a batch. To be freed.
 */
char *input_text(const char *input, const char *covers);
void report_results(struct pwc_job *job, const char *prefix);
/* Run is NULL for a job that somebody else submitted. */
void report_json(struct pwc_job *job, const char *op, const struct run *run);
void report_summary(const struct run *run);
/* Status; says why it is not 0, and with run about which file, without it (not ours) about which job. */
int report_outcome(struct pwc_job *job, bool allow_partial, const struct run *run);

/* ---- signals.c ---- */

void signals_setup(void);
void signals_hold(void);    /* from now on the first signal is reported by signals_fd */
void signals_release(void); /* and now each ends us again */
int signals_fd(void);
int signals_take(void); /* the signal that came, or 0 */
void signals_cleanup_path(const char *dir,
                          const char *file); /* removed when a signal ends us; NULL: nothing */

/* ---- detach.c ---- */

/* --detach: the caller goes on as the child, which will do the work; the parent prints what detach_tell says.
 */
void detach_fork(bool json);
void detach_tell(struct pwc_job *job);
/* From here to detach_conclude, or our death, detach_wait_published in others waits for us. */
void detach_announce(struct pwc *c, uint64_t job);
int detach_fd(void); /* readable when somebody comes to wait; -1: nobody can */
void detach_take_waiters(void);
void detach_conclude(bool published);
enum published { PUBLISHED, NOT_PUBLISHED, NOT_IN_TIME };
/* PUBLISHED also when nobody does it (any more): then there is nobody to say otherwise. */
enum published detach_wait_published(struct pwc *c, uint64_t job, int64_t end);
int complain_unpublished(uint64_t job);

/* ---- holder.c ---- */

/* Whose socket listens under this name. False: nobody's, or the kernel does not tell. */
bool holder_of(const struct sockaddr_un *sa, socklen_t len, uid_t *ret_uid);

#endif
