/*
 * fault.c - ops that misbehave, in test builds only: each does its worst at chunk `at`, while the attempt is
 * not past `attempts`. Attempts are known for the first chunk of a lease only; a chunk that was charged is
 * always leased alone, so a fault inside a longer lease counts as the first.
 *
 * All of them fold: the job's result says how many chunks were computed and the sum of their numbers, so a
 * test sees that each counted exactly once, whatever died meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "proto/limits.h"
#include "worker/job.h"
#include "worker/mappings.h"
#include "worker/ops/fault.h"

extern const struct op fault_copy;  /* fault_copy.c */
extern const struct op fault_lone;  /* fault_way.c */
extern const struct op fault_probe; /* fault_probe.c */

struct count {
    uint64_t chunks, sum;
};

struct fault {
    int (*act)(struct op_job *job);
};

/* Keeps the optimizer from knowing that something always fails. */
static volatile uintptr_t opaque;

static int act_none(struct op_job *job)
{
    (void)job;
    return 0;
}

/* It shall die of the signal: with sanitizers, the check before the store would end it first. */
__attribute__((no_sanitize("undefined"))) static int act_segv(struct op_job *job)
{
    (void)job;
    *(volatile int *)opaque = 1;
    return 0;
}

/* Calls where nothing is, or only data. */
static int act_jump(struct op_job *job)
{
    const char *call = op_str(job, "call", "");
    void (*jump)(void);
    void *to = NULL;
    if (strcmp(call, "data") == 0)
        to = (void *)(uintptr_t)&opaque;
    else if (strcmp(call, "null") != 0)
        to = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(call, "gone") == 0)
        munmap(to, 4096);
    memcpy(&jump, &to, sizeof jump);
    jump();
    return 0;
}

/* Dies where nobody can tell any more who called: what it would return to is overwritten. */
static int act_smash(struct op_job *job)
{
    uintptr_t *frame = __builtin_frame_address(0);
    opaque = (uintptr_t)&frame[1];
    *(volatile uintptr_t *)opaque = 8;
    opaque = 0;
    return act_segv(job);
}

static int act_abort(struct op_job *job)
{
    (void)job;
    abort();
}

static int act_hang(struct op_job *job)
{
    (void)job;
    while (opaque == 0)
        ;
    return 0;
}

static int act_stop(struct op_job *job)
{
    (void)job;
    raise(SIGSTOP);
    return 0;
}

static int act_hold(struct op_job *job)
{
    return fault_do(job, "hold", "");
}

static int act_stick(struct op_job *job)
{
    return fault_do(job, "stick", "");
}

/* Until an allocation fails; then like most programs: it aborts. */
static int act_leak(struct op_job *job)
{
    const size_t step = 4 << 20;
    uint64_t limit = (uint64_t)op_int(job, "bytes", INT64_MAX);
    for (uint64_t n = 0; n < limit; n += step) {
        char *p = malloc(step);
        if (p == NULL)
            abort();
        memset(p, 1, step);
        opaque = (uintptr_t)p;
        opaque = 0;
    }
    return 0;
}

static int hoard_memfd(struct op_job *job, size_t bytes)
{
    static char some[1 << 20];
    int fd = memfd_create("hoard", MFD_CLOEXEC);
    if (fd < 0)
        return op_fail(job, CODE(OP), "memfd_create: %s", strerror(errno));
    for (size_t n = 0; n < bytes; n += sizeof some)
        if (write(fd, some, sizeof some) < 0)
            return op_fail(job, CODE(OP), "write: %s", strerror(errno));
    return 0;
}

/* The pages stay, though nobody's table leads to them. */
static int hoard_shared(struct op_job *job, size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return op_fail(job, CODE(OP), "mmap: %s", strerror(errno));
    memset(p, 1, bytes);
    return madvise(p, bytes, MADV_DONTNEED);
}

/* Reads where nobody has written: nothing but tables, a page of them for 2 MiB. */
static int hoard_tables(struct op_job *job, size_t bytes)
{
    const size_t step = 2 << 20, all = bytes / 4096 * step;
    const volatile char *p = mmap(NULL, all, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return op_fail(job, CODE(OP), "mmap: %s", strerror(errno));
    for (size_t at = 0; at < all; at += step)
        (void)p[at];
    for (;;)
        pause();
}

/* Memory that is not mapped and anonymous, as much as anybody lets it have. */
static int act_hoard(struct op_job *job)
{
    static const struct {
        const char *name;
        int (*run)(struct op_job *, size_t);
    } ways[] = {{"memfd", hoard_memfd}, {"shared", hoard_shared}, {"tables", hoard_tables}};
    const char *name = op_str(job, "call", "");
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        if (strcmp(ways[i].name, name) == 0)
            return ways[i].run(job, (size_t)op_int(job, "bytes", 0));
    return op_fail(job, CODE(BAD_PARAM), "no such memory: %s", name);
}

/* One byte behind what was asked for: harmless, since malloc rounds up; a sanitizer must see it. */
static int act_overrun(struct op_job *job)
{
    (void)job;
    AUTO_FREE char *p = malloc(20);
    if (p == NULL)
        return -1;
    opaque = (uintptr_t)p; /* nobody knows how large it is, but for who watches malloc */
    ((volatile char *)opaque)[20] = 1;
    opaque = 0;
    return 0;
}

/* What C leaves undefined and every machine does alike: a sanitizer must see it. */
static int act_undefined(struct op_job *job)
{
    (void)job;
    volatile int most = INT32_MAX;
    most = most + (int)(opaque + 1);
    return 0;
}

static int act_exit(struct op_job *job)
{
    _exit((int)op_int(job, "status", 3));
}

/* A header that promises more than a frame may have. */
static int act_garbage(struct op_job *job)
{
    (void)job;
    char bytes[256];
    memset(bytes, 0xee, sizeof bytes);
    return send(STAGE_CHANNEL, bytes, sizeof bytes, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Over slots, obituary and trace, then it dies: nothing of what is there is true. */
static int act_scribble(struct op_job *job)
{
    struct segment *g = job->priv->stage->segment;
    memset((void *)g, 0xa5, sizeof *g);
    raise(SIGKILL);
    return 0;
}

/* Its slot says that it goes on and on. */
static int act_restless(struct op_job *job)
{
    struct segment_slot *slot = &job->priv->stage->segment->slots[0];
    for (uint64_t i = 0;; nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL))
        atomic_store(&slot->done, i++);
    return 0;
}

static int act_error(struct op_job *job)
{
    return op_fail(job, CODE(OP), "this chunk always fails");
}

/* A frame of valid form: a report for a lease that it never had. */
static int act_lie(struct op_job *job)
{
    Stage__Report m = STAGE__REPORT__INIT;
    m.job = job->id;
    m.lease = UINT64_MAX - 7;
    m.done = 1000000;
    return stage_send(job->priv->stage, PWC_MSG_REPORT, &m.base, NULL, 0, NULL, 0);
}

/* A report of more chunks than its lease ever held. */
static int act_boast(struct op_job *job)
{
    struct stage *s = job->priv->stage;
    Stage__Report m = STAGE__REPORT__INIT;
    m.job = job->id;
    m.lease = atomic_load(&s->segment->slots[0].lease);
    m.done = 1000000;
    return stage_send(s, PWC_MSG_REPORT, &m.base, NULL, 0, NULL, 0);
}

__attribute__((noinline)) static int die_deep(int depth)
{
    volatile int here = depth;
    if (depth == 0)
        return raise(SIGABRT);
    return die_deep(depth - 1) + here;
}

/* More than a record holds of anything; of a flood more than anybody reads. */
static int act_talk(struct op_job *job)
{
    char text[3000];
    bool flood = strcmp(op_str(job, "call", ""), "flood") == 0;
    int64_t lines = flood ? op_int(job, "bytes", INT64_MAX) / 8 : 3000;
    for (int64_t i = 1; i <= lines; i++)
        dprintf(STDERR_FILENO, "line %ld\n", (long)i);
    dprintf(STDERR_FILENO, "\033[31mlast words\n");
    memset(text, 'x', sizeof text);
    if (strcmp(op_str(job, "call", ""), "error") == 0)
        return op_fail(job, CODE(OP), "%.*s", (int)sizeof text, text);
    return die_deep(1000);
}

static void pause_ms(const struct op_job *job, int64_t ms)
{
    for (; ms > 0 && !op_cancelled(job); ms -= 10) {
        struct timespec t = {.tv_nsec = (long)(MIN(ms, 10) * NS_PER_MS)};
        nanosleep(&t, NULL);
    }
}

static int act_bus(struct op_job *job)
{
    uint64_t len;
    volatile const uint8_t *p = op_map_input(job, "in", &len);
    if (p == NULL)
        return -1;
    pause_ms(job, op_int(job, "ms", 0));
    unsigned sum = 0;
    for (uint64_t i = 0; i < len; i += 512)
        sum += p[i];
    op_result_u64(job, "sum", sum);
    return 0;
}

static void *thread_of_a_crowd(void *arg)
{
    for (;;)
        pause();
    return arg;
}

/* As many threads as it can get, which have nothing to do. */
static int act_crowd(struct op_job *job)
{
    (void)job;
    pthread_attr_t small;
    pthread_t t;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    while (pthread_create(&t, &small, thread_of_a_crowd, NULL) == 0)
        ;
    for (;;)
        pause();
    return 0;
}

/* ---- forbidden calls ---- */

static void *thread_main(void *arg)
{
    return arg;
}

static long call_thread(void)
{
    pthread_t t;
    int r = pthread_create(&t, NULL, thread_main, NULL);
    if (r == 0)
        pthread_join(t, NULL);
    errno = r;
    return r == 0 ? 0 : -1;
}

static long call_open(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}
static long call_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static long call_exec(void)
{
    char name[] = "/bin/true", *argv[] = {name, NULL};
    return execv(name, argv);
}
static long call_fork(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}
static long call_vfork(void)
{
    return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0); /* what fork is, without the library */
}
static long call_ptrace(void)
{
    return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL); /* not what the search for leaks does, see filter.c */
}
static long call_kill(void)
{
    return kill(getppid(), 0);
}
static long call_killall(void)
{
    return kill(-1, 0);
}
static long call_readmem(void)
{
    return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}
static long call_setfl(void)
{
    return fcntl(STAGE_CHANNEL, F_SETFL, O_APPEND);
}
static long call_mount(void)
{
    return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

/* A mutex knows its owner by the thread id that glibc has cached: in a cloned stage it must be the right one.
 */
static long call_tid(void)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&m);
    bool right = m.__data.__owner == (int)syscall(SYS_gettid);
    pthread_mutex_unlock(&m);
    errno = ESRCH;
    return right ? 0 : -1;
}

static const struct call {
    const char *name;
    long (*call)(void);
} calls[] = {
    {"open", call_open},       {"socket", call_socket}, {"exec", call_exec},   {"fork", call_fork},
    {"clone", call_vfork},     {"ptrace", call_ptrace}, {"kill", call_kill},   {"killall", call_killall},
    {"readmem", call_readmem}, {"setfl", call_setfl},   {"mount", call_mount}, {"thread", call_thread},
    {"tid", call_tid},
};

static int act_syscall(struct op_job *job)
{
    const char *name = op_str(job, "call", "mount");
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        if (strcmp(calls[i].name, name) == 0) {
            if (calls[i].call() >= 0)
                return 0;
            return op_fail(job, CODE(OP), "%s: %s", name, strerror(errno));
        }
    return op_fail(job, CODE(BAD_PARAM), "no such call: %s", name);
}

/* ---- threads of an op's own ---- */

static void *thread_spins(void *arg)
{
    while (opaque == 0)
        ;
    return arg;
}

#if defined(__x86_64__)
/* Code that was made at run time, as liborc makes it: it calls nobody, and no table tells how to unwind it.
 */
static void *thread_runs_made(void *arg)
{
    static const uint8_t for_ever[] = {0xeb, 0xfe};
    void *code =
        mmap(NULL, sizeof for_ever, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void (*run)(void);
    if (code == MAP_FAILED)
        return NULL;
    memcpy(code, for_ever, sizeof for_ever);
    memcpy(&run, &code, sizeof run);
    run();
    return arg;
}
#else
#define thread_runs_made thread_spins
#endif

static void *thread_sleeps(void *arg)
{
    while (opaque == 0)
        pause();
    return arg;
}

static void *thread_segv(void *arg)
{
    act_segv(NULL);
    return arg;
}

static uintptr_t thread_overflows(uintptr_t n)
{
    volatile char room[4096];
    room[0] = (char)n;
    return opaque == 0 ? thread_overflows(n + 1) + (uintptr_t)room[0] : n;
}

static void *thread_goes_deeper(void *arg)
{
    return (void *)(thread_overflows(0) + (uintptr_t)arg);
}

static int act_thread(struct op_job *job)
{
    static const struct {
        const char *name;
        void *(*run)(void *);
    } does[] = {{"spin", thread_spins},
                {"sleep", thread_sleeps},
                {"made", thread_runs_made},
                {"segv", thread_segv},
                {"overflow", thread_goes_deeper}};
    const char *name = op_str(job, "call", "");
    pthread_t t;
    for (size_t i = 0; i < ARRAY_LEN(does); i++)
        if (strcmp(does[i].name, name) == 0) {
            if (pthread_create(&t, NULL, does[i].run, NULL) != 0)
                return op_fail(job, CODE(NO_MEMORY), "no thread");
            return pthread_join(t, NULL) == 0 ? 0 : -1;
        }
    return op_fail(job, CODE(BAD_PARAM), "no thread does that: %s", name);
}

/* ---- the op around them ---- */

static int misbehave(struct op_job *job, uint64_t chunk)
{
    const struct fault *f = job->op->family;
    return f != NULL && fault_due(job, chunk) ? f->act(job) : 0;
}

static int fault_process(struct op_job *job, uint64_t chunk, void *result)
{
    (void)result;
    pause_ms(job, op_int(job, "ms", 0));
    if (misbehave(job, chunk) < 0)
        return -1;
    struct count *c = job->fold;
    if (c != NULL) {
        c->chunks++;
        c->sum += chunk;
    }
    return 0;
}

static void fault_fold_init(struct op_job *job)
{
    *(struct count *)job->fold = (struct count){0};
}

static int fault_fold(struct op_job *job, const void *state, size_t len)
{
    struct count more, *c = job->fold;
    if (len != sizeof more)
        return op_fail(job, CODE(PROTOCOL), "a state of %zu bytes", len);
    memcpy(&more, state, sizeof more);
    c->chunks += more.chunks;
    c->sum += more.sum;
    return 0;
}

/* Where states become results is "chunk" n, one past the last. */
static int fault_finish(struct op_job *job)
{
    const struct count *c = job->fold;
    pause_ms(job, op_int(job, "finish_ms", 0));
    if (!op_bool(job, "every", false) && misbehave(job, (uint64_t)op_int(job, "n", 0)) < 0)
        return -1;
    op_result_u64(job, "chunks", c->chunks);
    op_result_u64(job, "sum", c->sum);
    return 0;
}

static int slow_open(struct op_job *job)
{
    pause_ms(job, op_int(job, "start_ms", 0));
    return 0;
}

/* Between Ready and the first chunk: an op whose preparation takes long. */
static int slow_start_open(struct op_job *job)
{
    pause_ms(job, op_int(job, "ms", 0));
    return 0;
}

/* The second time there is some. */
static int poor_open(struct op_job *job)
{
    static bool again;
    bool poor = !again;
    again = true;
    return poor ? op_fail(job, CODE(NO_MEMORY), "no memory to open it") : 0;
}

static int count_chunk(struct op_job *job, uint64_t chunk, void *result)
{
    (void)result;
    struct count *c = job->fold;
    c->chunks++;
    c->sum += chunk;
    return 0;
}

/* Over its time and then, asked for its stack, at its end after all; the next chunk is in no hurry. */
static int late_process(struct op_job *job, uint64_t chunk, void *result)
{
    const struct obituary *o = &job->priv->stage->segment->obituary;
    const uint64_t at = (uint64_t)op_int(job, "at", 0);
    errno = 0;
    while (chunk == at && atomic_load(&o->ready) == 0)
        sched_yield();
    if (errno != 0)
        return op_fail(job, CODE(OP), "it was asked, and errno is changed: %s", strerror(errno));
    if (chunk == at + 1)
        pause_ms(job, op_int(job, "ms", 0));
    return count_chunk(job, chunk, result);
}

static int map_plan(struct op_job *job, struct op_plan *plan)
{
    (void)job;
    plan->whole = true;
    return 0;
}

#define NUMBER(n, text, d)                                                                                   \
    {                                                                                                        \
        .name = n, .type = PWC__PARAM_TYPE__PARAM_UINT, .summary = text, .max = (double)PWC_CHUNKS_MAX,      \
        .def = d                                                                                             \
    }
static const struct op_param params[] = {
    {.name = "n",
     .type = PWC__PARAM_TYPE__PARAM_UINT,
     .summary = "Number of chunks",
     .required = true,
     .min = 1,
     .max = (double)PWC_CHUNKS_MAX},
    NUMBER("at", "The chunk that misbehaves; n: the end, where states become results", "0"),
    {.name = "every", .type = PWC__PARAM_TYPE__PARAM_BOOL, .summary = "And all behind it", .def = "false"},
    NUMBER("attempts", "How many attempts at it do", "1"),
    NUMBER("ms", "How long each chunk takes", "0"),
    NUMBER("start_ms", "How long the op takes to open", "0"),
    NUMBER("finish_ms", "How long the end takes", "0"),
    NUMBER("bytes", "leak, hoard, talk: how much", "4611686018427387904"),
    NUMBER("status", "exit: the status", "3"),
    {.name = "call",
     .type = PWC__PARAM_TYPE__PARAM_STRING,
     .summary = "syscall: which; thread, talk: what it does; jump: to where; hoard: of what kind",
     .def = "mount"},
};
static const struct op_param bus_params[] = {NUMBER("ms", "How long it waits before it reads", "0")};
static const struct op_role in_role[] = {
    {"in", PWC__ROLE_DIR__ROLE_IN, false, "A file that becomes shorter"}};

#define FAULT(n, text, ...)                                                                                  \
    {                                                                                                        \
        .name = "fault." #n, .version = "1", .summary = text, .params = params,                              \
        .nparams = ARRAY_LEN(params), .count_param = "n", .absorb = PWC__ABSORB__ABSORB_FOLDED,              \
        .fold_bytes = sizeof(struct count), .results_optional = true,                                        \
        .family = &(const struct fault){act_##n}, .open = slow_open, .process = fault_process,               \
        .fold_init = fault_fold_init, .fold = fault_fold, .finish = fault_finish, ##__VA_ARGS__              \
    }

#define COUNTS(n, text, how_open, how_process)                                                               \
    {                                                                                                        \
        .name = "fault." #n, .version = "1", .summary = text, .params = params,                              \
        .nparams = ARRAY_LEN(params), .count_param = "n", .absorb = PWC__ABSORB__ABSORB_FOLDED,              \
        .fold_bytes = sizeof(struct count), .results_optional = true, .open = how_open,                      \
        .process = how_process, .fold_init = fault_fold_init, .fold = fault_fold, .finish = fault_finish     \
    }

static const struct op faults[] = {
    FAULT(none, "Chunks that do nothing but count"),
    FAULT(segv, "Writes where nothing is"),
    FAULT(jump, "Calls where nothing is"),
    FAULT(smash, "Writes where nothing is, with a broken stack"),
    FAULT(abort, "Aborts"),
    FAULT(hang, "Computes for ever"),
    FAULT(stop, "Stops itself"),
    FAULT(hold, "Waits until it is asked for its stack"),
    FAULT(stick, "Stands still"),
    FAULT(restless, "Never ends, and its slot says that it makes progress"),
    FAULT(leak, "Takes memory until there is none"),
    FAULT(hoard, "Takes memory that nobody sees"),
    FAULT(crowd, "Starts threads until it gets no more"),
    FAULT(overrun, "Writes one byte too far, where it does no harm"),
    FAULT(undefined, "Adds one to the largest integer"),
    FAULT(exit, "Exits"),
    FAULT(garbage, "Writes garbage to the supervisor"),
    FAULT(lie, "Reports a lease it never had"),
    FAULT(boast, "Reports more chunks than it was given"),
    FAULT(scribble, "Overwrites its segment and dies"),
    FAULT(talk, "Writes much to stderr, then dies deep in calls or returns a long error"),
    FAULT(error, "Returns an error"),
    FAULT(syscall, "Calls what the sandbox forbids"),
    FAULT(thread, "Has a thread misbehave, and waits for it", .needs = OP_NEEDS_CODE),
    COUNTS(slow_start, "Takes long to open", slow_start_open, count_chunk),
    COUNTS(late, "Ends a chunk when its time is up", NULL, late_process),
    COUNTS(poor, "Has no memory when a process opens it for the first time", poor_open, count_chunk),
    {.name = "fault.bus",
     .version = "1",
     .summary = "Reads a mapped input, which may shrink meanwhile",
     .params = bus_params,
     .nparams = ARRAY_LEN(bus_params),
     .roles = in_role,
     .nroles = 1,
     .plan = map_plan,
     .whole = act_bus},
};

void ops_fault(struct optable *t)
{
    optable_add(t, &fault_copy);
    optable_add(t, &fault_lone);
    optable_add(t, &fault_probe);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        optable_add(t, &faults[i]);
}
