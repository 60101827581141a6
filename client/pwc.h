/*
 * pwc.h - the client library of pwcd: submit chunked work, follow it, take its results.
 *
 *     struct pwc *c;
 *     struct pwc_job *job;
 *     int64_t sum;
 *     if (pwc_connect(NULL, PWC_TIMEOUT_DEFAULT, &c) != PWC_OK)
 *         errx(1, "%s", pwc_error());
 *     struct pwc_spec *spec = pwc_spec_new("array.sum");
 *     pwc_spec_param(spec, "type", "int32");
 *     pwc_spec_fd(spec, "in", fd);
 *     if (pwc_submit(c, spec, &job) != PWC_OK || pwc_wait(job, PWC_FOREVER) != PWC_OK)
 *         errx(1, "%s", pwc_error());
 *     pwc_result_i64(job, "sum", &sum);
 *     pwc_job_free(job), pwc_spec_free(spec), pwc_close(c);
 *
 * Errors. Functions that return int return PWC_OK (0) or an enum pwc_code; pwc_error() is then one line of
 * text for people: what was wrong, where, what would be right. Outputs (`ret_*`) are untouched on failure.
 * Only running out of memory for the library's own small objects aborts the process.
 *
 * Units. Times are nanoseconds since an event the field names, except time-outs, which are milliseconds
 * (int; PWC_FOREVER: no limit). Sizes are bytes.
 *
 * Texts from the daemon are UTF-8: "?" stands for a byte that a file's name or an op put there and that is
 * none. Names of inputs (`input`) are the bytes that were given, cut behind 512, be they UTF-8 or not.
 *
 * Ownership. What a function returns through `ret_*` is the caller's, to be freed with the function named
 * there. Strings and structs given to a callback, and what accessors return, belong to the library: valid
 * during the callback, and until pwc_job_free or pwc_close. Strings and descriptors given to a function are
 * copied (duplicated) before it returns and stay the caller's, except where it says "taken".
 *
 * Threads. A connection and its jobs may be used from any number of threads at once; one that waits reads
 * for all. A spec belongs to one thread at a time. Callbacks run one at a time, without a lock held, inside
 * pwc_dispatch, pwc_wait and the other functions that wait, in whichever thread reads. When pwc_wait says how
 * a job ended, its callbacks have returned, in whichever thread. A callback may submit, cancel and free jobs;
 * functions that wait answer PWC_E_ARGUMENT there, for they could never end. Nor may it wait for a thread
 * that is in pwc_wait, or for a lock that one holds there: that thread waits for the callbacks. pwc_close
 * must not run in a callback, nor while another thread uses the connection. Fork is not supported: a child
 * may only exec.
 */
#ifndef PWC_H
#define PWC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PWC_API __attribute__((visibility("default")))
#else
#define PWC_API
#endif

#define PWC_FOREVER         (-1)
#define PWC_TIMEOUT_DEFAULT 5000 /* ms for a connection; a daemon that is alive answers in less than one */

/* ---- codes ---- */

/* Why something failed. Below 1000 the daemon said so (the numbers of the protocol); the rest is ours. */
enum pwc_code {
    PWC_OK = 0,
    PWC_UNKNOWN_MESSAGE = 1, /* the daemon is older than this library */
    PWC_VERSION = 2,         /* no common protocol version */
    PWC_MALFORMED = 3,
    PWC_STATE = 4,
    PWC_UNSUPPORTED = 5, /* known, but this daemon does not act on it */
    PWC_NO_SUCH_OP = 10,
    PWC_NO_SUCH_PARAM = 11,
    PWC_BAD_PARAM = 12,
    PWC_NO_SUCH_ROLE = 13,
    PWC_BAD_FORMAT = 14,
    PWC_NO_SUCH_JOB = 15,
    PWC_DENIED = 16, /* too many of your descriptors hang when they are closed */
    PWC_BUSY = 17,   /* too many jobs or connections, or shutting down: try again later */
    PWC_BAD_DESCRIPTOR = 18,
    PWC_BAD_INPUT = 20,
    PWC_BUDGET = 21, /* the input claims more than the limits allow */
    PWC_OUTPUT = 22,
    PWC_NO_MEMORY = 23,
    PWC_OP = 24,
    PWC_CRASH = 25,
    PWC_EXIT = 26,
    PWC_TIMEOUT = 27, /* of a chunk or of the job */
    PWC_STALLED = 28,
    PWC_OOM = 29,
    PWC_SANDBOX = 30,
    PWC_INPUT_SHRANK = 31,
    PWC_INPUT_IO = 32,
    PWC_STAGE_PROTOCOL = 33,
    PWC_CANCELLED = 34,
    PWC_CLIENT_GONE = 35,
    PWC_SHUTDOWN = 36,
    PWC_INTERNAL = 37,
    PWC_START = 38,
    PWC_RLIMIT = 60, /* a stage reached a limit of its process: CPU time, size of a file, threads */

    PWC_E_UNREACHABLE = 1000, /* nothing listens on the socket */
    PWC_E_ACCESS = 1001,      /* no right to connect */
    PWC_E_PROTOCOL = 1002,    /* what answers is not pwcd, or broke the protocol */
    PWC_E_GONE = 1003,        /* the connection ended: the daemon stopped or dropped us */
    PWC_E_TIMEOUT = 1004,  /* the time given to a function of this library is over; nothing else happened */
    PWC_E_ARGUMENT = 1005, /* a call or a spec that cannot be right */
    PWC_E_SYSTEM = 1006,   /* a system call failed here: descriptors or memory ran out */
    PWC_E_PARTIAL = 1007,  /* pwc_wait only: done, but with chunks or items given up */
};

/* "bad-param", "crash", ...; "unknown" for a number this library does not know. Never NULL. */
PWC_API const char *pwc_code_name(int code);

/* The text of the last failure in this thread; never NULL. Valid until the next failure in the thread. */
PWC_API const char *pwc_error(void);

/* "0.1.0", of the library in use. */
PWC_API const char *pwc_version(void);

/* ---- connections ---- */

struct pwc;

/* What the daemon said when it welcomed us. */
struct pwc_daemon {
    uint32_t version;     /* of the protocol */
    uint8_t instance[16]; /* new at every start of the daemon: job ids are unique together with it */
    const char *server;   /* "pwcd 0.1.0" */
    uint32_t workers;     /* seats: chunks computed at a time */
    uint32_t uid;         /* whom it takes us for */
    const char *path;     /* of the socket; "" after pwc_connect_fd */
};

/*
 * Connects and shakes hands. path NULL: $PWC_SOCKET if set and not empty; else $XDG_RUNTIME_DIR/pwcd.sock,
 * the user's own daemon; else, where none answers or we may not ask it, /run/pwcd/pwcd.sock, the system's.
 * timeout_ms covers everything.
 * PWC_E_UNREACHABLE, PWC_E_ACCESS, PWC_E_PROTOCOL (something else answers, or nothing in time), PWC_VERSION,
 * PWC_BUSY. Close with pwc_close.
 */
PWC_API int pwc_connect(const char *path, int timeout_ms, struct pwc **ret_c);

/* The same over a connected AF_UNIX stream socket, which is taken whatever the result. */
PWC_API int pwc_connect_fd(int fd, int timeout_ms, struct pwc **ret_c);

/* Ends the connection; NULL is fine. Jobs not finished end with PWC_E_GONE here (in the daemon as their
 * spec's on_disconnect says); their handles stay readable until freed. */
PWC_API void pwc_close(struct pwc *c);

PWC_API const struct pwc_daemon *pwc_daemon(const struct pwc *c);

/*
 * For programs with an event loop: poll pwc_fd() for pwc_events() (POLLIN, also POLLOUT while something is
 * unsent; ask before each poll), then call pwc_dispatch(c, 0). Requests are gathered and leave with the next
 * dispatch, wait or pwc_flush, or when many have gathered.
 */
PWC_API int pwc_fd(const struct pwc *c);
PWC_API short pwc_events(struct pwc *c);

/*
 * Sends what waits, reads what has come, runs callbacks; if nothing has come waits up to timeout_ms for it.
 * Returns early on a signal. PWC_OK also if nothing came; PWC_E_GONE or PWC_E_PROTOCOL when the
 * connection has ended (all jobs have ended then, and their callbacks have run, or do in the thread that
 * reads).
 */
PWC_API int pwc_dispatch(struct pwc *c, int timeout_ms);
PWC_API int pwc_flush(struct pwc *c);

/* ---- values ---- */

enum pwc_type {
    PWC_I64 = 1,
    PWC_U64,
    PWC_I128,
    PWC_F64,
    PWC_BLOB,
    PWC_STR,
    PWC_FLAG,
    PWC_F64S,
    PWC_I64S,
};

struct pwc_value {
    enum pwc_type type;
    union {
        int64_t i64;
        uint64_t u64;
        struct {
            uint64_t lo;
            int64_t hi;
        } i128;
        double f64;
        int flag;
        const char *str;
        struct {
            const void *data;
            size_t len;
        } blob;
        struct {
            const double *v;
            size_t n;
        } f64s;
        struct {
            const int64_t *v;
            size_t n;
        } i64s;
    } u;
};

/* The value as text (numbers exactly, lists separated by blanks, blobs in hex), cut to size as snprintf does;
 * returns the length it would have. */
PWC_API size_t pwc_value_text(const struct pwc_value *v, char *buf, size_t size);

/* ---- what to do: specs ---- */

struct pwc_spec;
struct pwc_job;

enum pwc_on_disconnect {
    PWC_ON_DISCONNECT_CANCEL = 0, /* the job ends with the connection */
    PWC_ON_DISCONNECT_LINGER = 1, /* it waits linger_ns for an Attach, then ends */
    PWC_ON_DISCONNECT_DETACH = 2, /* it goes on: pwc_attach from anywhere */
};
enum pwc_isolation {
    PWC_ISOLATION_USER = 0, /* processes serve one user (and label) */
    PWC_ISOLATION_JOB = 1,
    PWC_ISOLATION_CHUNK = 2, /* a fresh process for each chunk */
};
enum pwc_on_failure {
    PWC_ON_FAILURE_FAIL = 0, /* a chunk that is given up fails the job */
    PWC_ON_FAILURE_SKIP = 1, /* the job goes on and ends partial; in an output it has bytes of 0 */
    PWC_ON_FAILURE_FILL = 2, /* ... with each of its bytes set to `fill`; refused without an output, or in a
                                batch */
};

/* Start from pwc_policy_default. Retries are attempts after the first; -1: the daemon's default. */
struct pwc_policy {
    int32_t retries_error;     /* the op said no */
    int32_t retries_crash;     /* a process died */
    int32_t retries_oom;       /* it took too much memory */
    int32_t retries_timeout;   /* it took too long */
    uint64_t chunk_timeout_ns; /* 0: none */
    int32_t
        chunk_timeout_percent; /* of the running median, once there is one; 0: none; the lesser limit holds */
    uint64_t job_timeout_ns;   /* 0: none */
    enum pwc_on_failure on_failure; /* a batch goes on with its other files, and so does a job with halt */
    uint64_t max_failures;          /* 0: 1,000; UINT64_MAX: only counted */
    uint64_t memory;                /* bytes a worker; 0: the daemon's limit */
    uint8_t fill;                   /* with PWC_ON_FAILURE_FILL */
    const char *halt; /* "(now|soon),(fail|success|done)=(N|N%)", or GNU parallel's old forms; NULL: never.
                         Copied, at most 63 characters */
};
PWC_API void pwc_policy_default(struct pwc_policy *ret_policy);

/* How far a job is. total is 0 while unknown. */
struct pwc_counts {
    uint64_t total, done, absorbed; /* chunks: in all, computed, put together */
    uint64_t failed;                /* chunks given up */
    uint64_t retried;               /* attempts beyond the first */
    uint64_t deaths;                /* processes that died in this job */
    uint64_t redone;                /* chunks done again though they had not failed */
    uint64_t leases;
    uint64_t bytes_in, bytes_out;
    uint32_t workers; /* distinct ones so far */
};

enum pwc_job_state {
    PWC_JOB_SUBMITTED = 0, /* not answered yet */
    PWC_JOB_QUEUED = 1,
    PWC_JOB_PLANNING = 2,
    PWC_JOB_RUNNING = 3,
    PWC_JOB_ENDING = 4,
    PWC_JOB_DONE = 5, /* terminal from here on */
    PWC_JOB_FAILED = 6,
    PWC_JOB_CANCELLED = 7,
    PWC_JOB_PARTIAL = 8,   /* done, but with chunks or items given up */
    PWC_JOB_REFUSED = 100, /* the daemon would not take it: pwc_job_field says what is wrong */
    PWC_JOB_LOST = 101,    /* the connection ended first */
};
/* "queued", "running", ... */
PWC_API const char *pwc_job_state_name(enum pwc_job_state state);

/* One attempt that ended badly. */
struct pwc_death {
    uint64_t job, stage;
    uint32_t pid;
    const char *role; /* "worker", "producer", ... */
    uint64_t chunk;
    int in_chunk;                   /* 0: it died between chunks */
    const char *covers;             /* "rows 128 to 255", of a batch `input` as text; may be "" */
    uint32_t attempt, attempts_max; /* attempt counts from 1 */
    int code;                       /* enum pwc_code */
    int signal, exit_status;
    const char *reason;          /* one line */
    const char *stack;           /* a frame a line, or "" */
    uint64_t at_ns;              /* since the epoch */
    uint64_t cpu_ns, elapsed_ns; /* since its lease began */
    uint64_t rss_peak;           /* bytes of resident memory: the most that its process ever held, ... */
    uint64_t rss_before;     /* ... and until the lease began: if that is less, rss_peak is this lease's */
    const char *layers;      /* of the sandbox that was in force */
    const char *syscall;     /* the forbidden one, or "" */
    const char *stderr_tail; /* what it wrote last, since it was at that, or ""; like the stack it comes with
                                pwc_list_deaths only */
    const char *oom_by;      /* PWC_OOM: "cgroup", "kernel", "supervisor", "machine" or "stage"; else "" */
    const char *input;       /* the name of the item, or "": pwc_spec_name, pwc_item */
};

/* What became of a range of chunks: see pwc_spec_records. */
struct pwc_record {
    uint64_t first, n;
    int code; /* PWC_OK, or why they were given up */
    uint32_t attempt;
    const char *reason;
};

/* All optional. `user` is the pointer given with them. Not called after pwc_job_free; one that runs in
 * another thread just then runs on: pwc_wait first, where `user` goes with the job. */
struct pwc_callbacks {
    /* Counts or state changed; at most some 10 times a second. waiting: why nothing runs ("seats",
     * "turn", "descriptors", "memory", "stages"), or "". */
    void (*progress)(struct pwc_job *job, enum pwc_job_state state, const struct pwc_counts *counts,
                     const char *waiting, void *user);
    /* A process died in this job. given_up: its chunk was given up with this; else it is tried again. */
    void (*death)(struct pwc_job *job, const struct pwc_death *death, int given_up, void *user);
    void (*record)(struct pwc_job *job, const struct pwc_record *record, void *user);
    /* The last one of a job: it is terminal. */
    void (*finished)(struct pwc_job *job, void *user);
};

/*
 * A spec may be submitted any number of times. Setters do not fail: the first mistake is kept and told by
 * pwc_submit (PWC_E_ARGUMENT). Ops, parameters, roles and their ranges are checked by the daemon.
 */
PWC_API struct pwc_spec *pwc_spec_new(const char *op);
PWC_API void pwc_spec_free(struct pwc_spec *spec); /* NULL is fine */

/* Which table a value is for. */
enum pwc_table {
    PWC_PARAM = 0, /* of the op */
    PWC_SAVE = 1,  /* options of the output format */
    PWC_LOAD = 2,  /* options of the loader */
};
/* As text: the daemon parses it by the declared type. The same name again replaces the value. */
PWC_API void pwc_spec_text(struct pwc_spec *spec, enum pwc_table table, const char *name, const char *text);
PWC_API void pwc_spec_value(struct pwc_spec *spec, enum pwc_table table, const char *name,
                            const struct pwc_value *value);
PWC_API void pwc_spec_param(struct pwc_spec *spec, const char *name, const char *text);
PWC_API void pwc_spec_i64(struct pwc_spec *spec, const char *name, int64_t v);
PWC_API void pwc_spec_f64(struct pwc_spec *spec, const char *name, double v);

PWC_API void pwc_spec_format(struct pwc_spec *spec, const char *format); /* of the output: "png" */
PWC_API void pwc_spec_policy(struct pwc_spec *spec, const struct pwc_policy *policy);
PWC_API void pwc_spec_on_disconnect(struct pwc_spec *spec, enum pwc_on_disconnect what, uint64_t linger_ns);
PWC_API void pwc_spec_isolation(struct pwc_spec *spec, enum pwc_isolation isolation);
PWC_API void pwc_spec_domain(struct pwc_spec *spec, const char *label); /* other labels: other processes */
/* For lists and logs, in a later version: today's pwcd refuses a job with labels (PWC_UNSUPPORTED). */
PWC_API void pwc_spec_label(struct pwc_spec *spec, const char *key, const char *value);
PWC_API void pwc_spec_priority(struct pwc_spec *spec, int priority);          /* -20 (first) to 19 */
PWC_API void pwc_spec_max_workers(struct pwc_spec *spec, uint32_t n);         /* 0: all */
PWC_API void pwc_spec_op_version(struct pwc_spec *spec, const char *version); /* exactly this one */
/*
 * Up to 32 bytes. A submit that is repeated with the same key by the same user gives the same job, be it over
 * or not, so who lost the connection can submit again without having it done twice. Nothing else of the
 * repeated spec counts but its callbacks: the daemon has the descriptors of the first one, so the job's
 * outputs are where those were opened. Look at pwc_job_existing before you publish an output.
 */
PWC_API void pwc_spec_request_key(struct pwc_spec *spec, const void *key, size_t len);
/* The callbacks of jobs submitted from now on. */
PWC_API void pwc_spec_callbacks(struct pwc_spec *spec, const struct pwc_callbacks *callbacks, void *user);
/* Ask for a pwc_record of every chunk. At most `window` are on their way at a time (1 to 65536): the daemon
 * sends more as the callback returns. Of several handles of one job on a connection one gets them: the first
 * that asked, until it is freed. */
PWC_API void pwc_spec_records(struct pwc_spec *spec, uint32_t window);

/*
 * Where the time of a job goes. Times are CLOCK_MONOTONIC; records come in the order in which the daemon
 * wrote them, which for those with a length is the order of their ends. Skip kinds you do not know.
 */
enum pwc_trace_kind {
    PWC_TRACE_JOB = 1,   /* code: pwc_job_state; n: chunks; first: seats; value: CPU time of the daemon */
    PWC_TRACE_BORN = 2,  /* a process was made; value: CPU time that cost beside its own */
    PWC_TRACE_READY = 3, /* code 0: it waits for a user, 1: it serves one; value: its CPU time so far */
    PWC_TRACE_DIED =
        4, /* at: seen, end: killed by the daemon (else 0), code: why, first: chunk (n 1: in it) */
    PWC_TRACE_KILL = 5,   /* the daemon kills it; code: why */
    PWC_TRACE_LEASE = 6,  /* given; code: pwc_trace_lease; value: CPU time before its first lease, else 0 */
    PWC_TRACE_ENDED = 7,  /* at: given, value: begun, end: over; first, n: what counts; code: why not all */
    PWC_TRACE_CHUNKS = 8, /* at to end: computed; code not PWC_OK: died in it. Short chunks share a record */
    PWC_TRACE_ABSORBED = 9,    /* put together; stage 0: by the daemon */
    PWC_TRACE_ANNOUNCED = 10,  /* can be leased from now on */
    PWC_TRACE_WAIT = 11,       /* at to end: why the job got no more leases; code: pwc_trace_wait */
    PWC_TRACE_RETRY = 12,      /* chunk first; code: why; value: attempts so far */
    PWC_TRACE_GAVE_UP = 13,    /* the same */
    PWC_TRACE_TAKEN_BACK = 14, /* from the tail of this lease, for another */
    PWC_TRACE_RESTART = 15,    /* the consumer starts from nothing; n: what it had absorbed */
    PWC_TRACE_AGAIN = 16,      /* a chunk that was given up is tried again: somebody asked for it */
};
enum pwc_trace_lease {
    PWC_TRACE_FOR_PLAN = 1,
    PWC_TRACE_FOR_CHUNKS = 2,
    PWC_TRACE_FOR_FINISH = 3,
    PWC_TRACE_FOR_PRODUCE = 4,
    PWC_TRACE_FOR_CONSUME = 5,
};
enum pwc_trace_wait {
    PWC_TRACE_WAIT_NOTHING = 0, /* no chunk waits */
    PWC_TRACE_WAIT_TURN = 1,
    PWC_TRACE_WAIT_DESCRIPTORS = 2,
    PWC_TRACE_WAIT_PLAN = 3,
    PWC_TRACE_WAIT_INPUT = 4,
    PWC_TRACE_WAIT_SEAT = 5, /* all are busy, as they should be */
    PWC_TRACE_WAIT_ARENA = 6,
    PWC_TRACE_WAIT_CONSUMER = 7,
    PWC_TRACE_WAIT_MEMORY = 8,
    PWC_TRACE_WAIT_BACKOFF = 9,
    PWC_TRACE_WAIT_STAGE = 10,
    PWC_TRACE_WAIT_LIMIT = 11,
    PWC_TRACE_WAIT_LAST = 12,
    PWC_TRACE_WAIT_OUTPUT = 13,
};
struct pwc_trace_record {
    int kind, code;
    uint64_t at_ns, end_ns;
    uint64_t first, n; /* chunks */
    uint64_t lease, stage;
    uint64_t value;
    uint64_t waiting; /* chunks that could be leased just then */
    uint32_t pid, seat, in_flight;
};
/*
 * Ask for records, at most `most` of them about chunks and four times as many others. `each` gets some at a
 * time; dropped: how many the daemon has left out so far. The last come before `finished`.
 */
PWC_API void pwc_spec_trace(struct pwc_spec *spec, uint64_t most,
                            void (*each)(struct pwc_job *job, const struct pwc_trace_record *records,
                                         size_t n, uint64_t dropped, void *user),
                            void *user);

/*
 * Descriptors of a job with one item. They are duplicated at pwc_submit and sent when the daemon wants
 * them. Inputs: seekable, readable, neither O_PATH nor O_DIRECT; the file offset is not used. Outputs:
 * O_RDWR, no O_APPEND, not the file of an input. A role takes one: of a second the job is refused.
 */
PWC_API void pwc_spec_fd(struct pwc_spec *spec, const char *role, int fd);

/* What the input of a job with one item is called, for messages only: a file name. Copied; at most 512 bytes
 * of it. A batch's items have theirs from open_item. */
PWC_API void pwc_spec_name(struct pwc_spec *spec, const char *name);

/*
 * A batch: `items` times the same op, each item with its own descriptors, each a chunk that fails alone. The
 * library asks for an item's descriptors when the daemon wants them, so that at most some 32 items are open
 * at a time, however many there are (up to 10,000,000).
 */
struct pwc_item {
    int fds[8];        /* in the order of `roles`; taken: the library closes them after sending. Set to -1 */
    const char *name;  /* for messages: a file name. Copied when open_item returns */
    const char *error; /* when open_item fails: the reason, one line. Copied too */
};
struct pwc_batch {
    uint64_t items;
    const char *const *roles; /* nroles of 1 to 8 names */
    size_t nroles;
    /* Opens item `index` (0 to items-1). PWC_OK, or a code: this item fails with item->error, the others go
     * on. May be called again for the same item, after its descriptors could not be used. */
    int (*open_item)(struct pwc_job *job, uint64_t index, struct pwc_item *item, void *user);
    /* The item is done: publish, close. code: PWC_OK or why not. Called once for each item that the
     * daemon answered, and again when a failed one was tried again; when the job ends early the rest is not.
     * May be NULL. */
    void (*item_done)(struct pwc_job *job, uint64_t index, int code, const char *reason, uint32_t attempts,
                      void *user);
    void *user;
};
PWC_API void pwc_spec_batch(struct pwc_spec *spec, const struct pwc_batch *batch);

/* ---- jobs ---- */

/*
 * Sends the job and returns at once with a handle; whether it is accepted shows later. Waits only while more
 * than 1 MiB is unsent. Free with pwc_job_free.
 */
PWC_API int pwc_submit(struct pwc *c, const struct pwc_spec *spec, struct pwc_job **ret_job);

/* Lets go of the handle. A job not finished goes on without us, but a batch, which cannot, is cancelled. */
PWC_API void pwc_job_free(struct pwc_job *job); /* NULL is fine */

/* Until the job has an id. PWC_OK, the code of a refusal, PWC_E_TIMEOUT. */
PWC_API int pwc_wait_accepted(struct pwc_job *job, int timeout_ms);

/* Until the job is terminal and its callbacks have returned: all of it has been told, and the handle may be
 * freed. PWC_OK: done, everything; PWC_E_TIMEOUT: not yet; PWC_E_PARTIAL; else why it failed, and pwc_error()
 * is its reason. Any number of threads may wait, for the same job too. In a callback: PWC_E_ARGUMENT unless
 * the job is terminal. */
PWC_API int pwc_wait(struct pwc_job *job, int timeout_ms);

/* Asks the daemon to end the job; pwc_wait then says PWC_CANCELLED, unless it was done before. Does not wait.
 */
PWC_API int pwc_cancel(struct pwc_job *job);

/* Returns when the daemon holds all it needs, so that the connection may end without ending the job. The
 * job's spec must say PWC_ON_DISCONNECT_DETACH, and it must be no batch. Of a job that an earlier request
 * with the same key made, this one's wish counts from then on. The handle is told no more of the job. */
PWC_API int pwc_detach(struct pwc_job *job, int timeout_ms);

/* A handle for a job submitted earlier, by whatever connection of the same user. callbacks may be NULL; they
 * run in the next function that waits or dispatches, not in this one, also when the job is over already. */
PWC_API int pwc_attach(struct pwc *c, uint64_t id, const struct pwc_callbacks *callbacks, void *user,
                       int timeout_ms, struct pwc_job **ret_job);

/* Cancels by number. */
PWC_API int pwc_cancel_id(struct pwc *c, uint64_t id, int timeout_ms);

PWC_API uint64_t pwc_job_id(struct pwc_job *job); /* 0: not accepted (yet) */
/* 1: accepted, and an earlier submit with the same request key made the job. None of this handle's
 * descriptors is used, and of a batch neither open_item nor item_done is called. */
PWC_API int pwc_job_existing(struct pwc_job *job);
PWC_API enum pwc_job_state pwc_job_state(struct pwc_job *job);
PWC_API void pwc_job_counts(struct pwc_job *job, struct pwc_counts *ret_counts);

/* The rest is for terminal jobs; before, it is PWC_OK, "", 0 and nothing. */
PWC_API int pwc_job_code(struct pwc_job *job);
PWC_API const char *pwc_job_reason(struct pwc_job *job);
PWC_API const char *pwc_job_field(struct pwc_job *job); /* refused: "params.sigma"; else "" */
PWC_API uint64_t pwc_job_queued_ns(struct pwc_job *job);
PWC_API uint64_t pwc_job_run_ns(struct pwc_job *job);
/* 1 and the death that ended the job, or 0. */
PWC_API int pwc_job_death(struct pwc_job *job, struct pwc_death *ret_death);

/* Typed results, in the op's order. PWC_E_ARGUMENT: no such index or name, or it does not fit the type. */
PWC_API size_t pwc_results(struct pwc_job *job);
PWC_API int pwc_result(struct pwc_job *job, size_t index, const char **ret_name, struct pwc_value *ret_value);
PWC_API int pwc_result_value(struct pwc_job *job, const char *name, struct pwc_value *ret_value);
PWC_API int pwc_result_i64(struct pwc_job *job, const char *name, int64_t *ret_v);
PWC_API int pwc_result_f64(struct pwc_job *job, const char *name, double *ret_v); /* integers too, rounded */
PWC_API int pwc_result_str(struct pwc_job *job, const char *name, const char **ret_v);

/* ---- asking the daemon. Each waits for the answer; lists call `each` in this thread. ---- */

PWC_API int pwc_ping(struct pwc *c, int timeout_ms);

struct pwc_status {
    const char *server;
    uint32_t pid, workers;
    const char *workers_from; /* what decided their number: "affinity", "cpu.max", "config", ... */
    uint32_t busy, stages, spares, clients;
    uint64_t jobs_queued, jobs_running, jobs_done, jobs_failed, deaths;
    uint64_t up_ns;
    const char *health;  /* "ok", or what is wrong */
    uint64_t dropped;    /* late messages of the dead */
    const char *layers;  /* sandbox layers in force */
    const char *missing; /* and those that are not, each with its reason */
    const char *scratch; /* directory of rasters and its file system */
    const char *limits;  /* one line */
    const char *memory;  /* who keeps stages within their memory: one line */
};
PWC_API int pwc_get_status(struct pwc *c, int timeout_ms,
                           void (*each)(const struct pwc_status *status, void *user), void *user);

struct pwc_job_info {
    uint64_t job;
    const char *op;
    uint32_t uid;
    enum pwc_job_state state;
    struct pwc_counts counts;
    const char *waiting;
    uint64_t age_ns, run_ns;
    int code;
    const char *reason, *domain;
    uint64_t items;
    const char *input; /* its name, or "": pwc_spec_name */
};
/* job 0: all of yours (root: everybody's). PWC_NO_SUCH_JOB. */
PWC_API int pwc_list_jobs(struct pwc *c, uint64_t job, int timeout_ms,
                          void (*each)(const struct pwc_job_info *info, void *user), void *user);

struct pwc_stage_info {
    uint64_t stage;
    uint32_t pid;
    const char *role, *state;
    uint32_t uid;
    uint64_t job, chunk;
    int in_chunk;
    uint64_t chunks; /* computed in its life */
    uint64_t age_ns;
    const char *layers;
};
PWC_API int pwc_list_stages(struct pwc *c, int timeout_ms,
                            void (*each)(const struct pwc_stage_info *info, void *user), void *user);

#define PWC_ALL_CHUNKS UINT64_MAX

/* job 0: all of yours. chunk: one of that job, or PWC_ALL_CHUNKS. */
PWC_API int pwc_list_deaths(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms,
                            void (*each)(const struct pwc_death *death, void *user), void *user);

/* A chunk that was given up. */
struct pwc_quarantined {
    uint64_t job, chunk;
    const char *op;
    enum pwc_job_state state; /* of the job */
    uint32_t uid;
    const char *covers; /* as in struct pwc_death */
    int code;
    const char *reason;
    uint32_t attempts;
    uint64_t at_ns; /* since the epoch */
    enum pwc_on_failure on_failure;
    uint8_t fill;
    const char *why_not; /* "": it can be tried again; else why not, and what to do instead */
    const char *input;   /* as in struct pwc_death */
};
/* job 0: of all jobs of yours. chunk: one of that job, or PWC_ALL_CHUNKS. */
PWC_API int pwc_list_quarantine(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms,
                                void (*each)(const struct pwc_quarantined *q, void *user), void *user);
/* Tries chunks again while their job runs. PWC_STATE: none of them can be, and pwc_error() says why and what
 * to do instead. In a batch the item is opened again, by the connection that submitted it: open_item and
 * item_done are called once more. */
PWC_API int pwc_quarantine_retry(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms,
                                 uint64_t *ret_n);
/* Forgets them. What the job does is the same. */
PWC_API int pwc_quarantine_drop(struct pwc *c, uint64_t job, uint64_t chunk, int timeout_ms, uint64_t *ret_n);

enum pwc_param_type {
    PWC_PARAM_INT = 0,
    PWC_PARAM_UINT = 1,
    PWC_PARAM_FLOAT = 2,
    PWC_PARAM_BOOL = 3,
    PWC_PARAM_STRING = 4,
    PWC_PARAM_ENUM = 5,
    PWC_PARAM_FLOATS = 6,
    PWC_PARAM_INTS = 7,
    PWC_PARAM_FLAGS = 8,
};
struct pwc_choice {
    const char *nick, *summary;
};
struct pwc_param_info {
    const char *name;
    enum pwc_param_type type;
    const char *summary;
    int required;
    double min, max; /* both 0: any */
    const char *def; /* as text; "" none */
    const char *unit;
    const struct pwc_choice *choices; /* of ENUM and FLAGS */
    size_t nchoices;
};
struct pwc_role_info {
    const char *name;
    int out; /* 1: the job writes it */
    int optional;
    const char *summary;
};
enum pwc_op_kind {
    PWC_OP_JOB = 0,
    PWC_OP_SAVE = 1, /* only describes the options of a format: save.png */
    PWC_OP_LOAD = 2,
};
struct pwc_op_info {
    const char *name, *version, *summary;
    enum pwc_op_kind kind;
    const struct pwc_param_info *params;
    size_t nparams;
    const struct pwc_role_info *roles;
    size_t nroles;
    int batches;                 /* can be run over many items */
    int formats;                 /* its output wants a format */
    const char *count_param;     /* "n": this parameter is the number of chunks; else "" */
    const char *const *suffixes; /* of OP_SAVE: ".png" */
    size_t nsuffixes;
};
/* name "" or NULL: all. A name that is none: PWC_NO_SUCH_OP, and pwc_error() names the nearest. */
PWC_API int pwc_list_ops(struct pwc *c, const char *name, int timeout_ms,
                         void (*each)(const struct pwc_op_info *info, void *user), void *user);

#ifdef __cplusplus
}
#endif

#endif
