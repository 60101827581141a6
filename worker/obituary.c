/* obituary.c - see obituary.h. Everything below on_death is async-signal-safe. Names come from symbols.c; for
 * stripped objects from dladdr, which takes the loader's lock: that is recursive, and the alarm ends a
 * handler that waits for another thread's. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "proto/pwc.pb-c.h"
#include "worker/mappings.h"
#include "worker/obituary.h"
#include "worker/sandbox.h"
#include "worker/symbols.h"
#include "worker/threads.h"

#define ASKED_NS        (60 * NS_PER_MS)  /* the supervisor kills 100 ms after it has asked */
#define DEATH_NS        (500 * NS_PER_MS) /* threads may be many and processors few */
#define HANDLER_SECONDS 2                 /* far more than a stack takes, far less than a person waits */

static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ};

static struct {
    struct obituary *target;
    uint64_t memory;
    uint64_t page;
    int statm;
    volatile sig_atomic_t signal; /* being handled */
    _Atomic bool stays;           /* where it has said what it is at, for good */
    _Atomic pid_t dying, writing; /* the thread that has it in hand */
    struct thread here;           /* the one that writes */
} self = {.statm = -1};

static char alt_stack[128 * 1024]; /* unwinding wants some 10 KiB, AVX-512 frames as much again */

/* ---- text without stdio ---- */

static void put(struct obituary *o, const char *s)
{
    uint32_t n = o->text_len;
    while (*s != 0 && n < OBITUARY_TEXT - 1)
        o->text[n++] = *s++;
    o->text_len = n;
}

static void put_number(struct obituary *o, uint64_t v, unsigned base)
{
    char digits[24];
    size_t i = sizeof digits - 1;
    digits[i] = 0;
    do
        digits[--i] = "0123456789abcdef"[v % base];
    while ((v /= base) != 0);
    put(o, digits + i);
}

static void put_place(struct obituary *o, const char *name, uint64_t offset, const char *object)
{
    put(o, " ");
    put(o, name);
    put(o, "+0x");
    put_number(o, offset, 16);
    put(o, " (");
    put(o, object);
    put(o, ")");
}

static void put_symbol(struct obituary *o, uintptr_t pc)
{
    struct symbol sym;
    Dl_info at;
    if (symbols_find(pc, &sym)) {
        put_place(o, sym.name, pc - sym.start, sym.object);
        return;
    }
    if (dladdr((const void *)pc, &at) == 0 || at.dli_fname == NULL) {
        put(o, " ?");
        return;
    }
    uintptr_t from = (uintptr_t)(at.dli_sname != NULL ? at.dli_saddr : at.dli_fbase);
    const char *slash = strrchr(at.dli_fname, '/');
    put_place(o, at.dli_sname != NULL ? at.dli_sname : "?", pc - from,
              slash != NULL ? slash + 1 : at.dli_fname);
}

static void put_frames(struct obituary *o, const struct thread *t, int from)
{
    for (int i = from; i < t->nframes; i++) {
        uintptr_t pc = (uintptr_t)t->frames[i];
        put(o, "#");
        put_number(o, (uint64_t)i, 10);
        put(o, " 0x");
        put_number(o, pc, 16);
        put_symbol(o, pc - (i > 0)); /* a return address may already lie in the next function */
        put(o, "\n");
    }
}

static void put_thread(struct obituary *o, const struct thread *t)
{
    static const char *const at[] = {[THREAD_COMPUTES] = "computes",
                                     [THREAD_CALLS] = "is in a system call",
                                     [THREAD_MUTE] = "does not answer",
                                     [THREAD_WAITS] = "waits for another"};
    put(o, "thread ");
    put(o, t->name);
    put(o, " ");
    put(o, at[thread_state(t)]);
    put(o, ":\n");
    if (thread_state(t) != THREAD_MUTE)
        put_frames(o, t, 0);
}

static bool before(const struct thread *a, const struct thread *b)
{
    const enum thread_state x = thread_state(a), y = thread_state(b);
    return x != y ? x < y : a->cpu_ns > b->cpu_ns;
}

/* All threads, the one that is most likely to blame first: there may be no room for the last. */
static void put_threads(struct obituary *o, int64_t patience_ns)
{
    struct thread *all[THREADS_MOST + 1];
    size_t n = threads_ask(all, patience_ns);
    all[n++] = &self.here;
    if (n == 1) {
        put_frames(o, all[0], 0);
        return;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && before(all[j], all[j - 1]); j--) {
            struct thread *t = all[j];
            all[j] = all[j - 1];
            all[j - 1] = t;
        }
    for (size_t i = 0; i < n; i++)
        put_thread(o, all[i]);
}

/* ---- the cause ---- */

/* True when nearly all of RLIMIT_DATA is in use: libraries abort or touch NULL when an allocation fails. */
static bool out_of_memory(void)
{
    char text[128];
    if (self.memory == 0 || self.statm < 0)
        return false;
    ssize_t n = pread(self.statm, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = 0;
    uint64_t field = 0;
    unsigned at = 0; /* the sixth number: data and stack, in pages */
    for (const char *p = text; *p != 0 && at < 6; p++) {
        if (*p == ' ' && ++at < 6)
            field = 0;
        else if (*p >= '0' && *p <= '9')
            field = field * 10 + (uint64_t)(*p - '0');
    }
    return field * self.page >= self.memory / 8 * 7;
}

/* By another process. The kernel says of some of its own that the process sent them to itself: SIGXFSZ. */
static bool was_sent(const siginfo_t *info)
{
    return info->si_code <= 0 && info->si_pid != getpid();
}

static Pwc__Code conclude(int sig, const siginfo_t *info)
{
    if (was_sent(info))
        return PWC__CODE__CODE_CRASH; /* it says nothing but that somebody wanted that */
    if (sig == SIGSYS)
        return PWC__CODE__CODE_SANDBOX;
    if (sig == SIGBUS)
        return mapping_blame((uintptr_t)info->si_addr);
    if (sig == SIGXCPU || sig == SIGXFSZ)
        return PWC__CODE__CODE_RLIMIT;
    return out_of_memory() ? PWC__CODE__CODE_OOM : PWC__CODE__CODE_OK;
}

static uint64_t cpu_ns(void)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A signal that was not caused by what a thread did strikes any of them, mostly the one that waits. */
static bool strikes_any(int sig, const siginfo_t *info)
{
    return sig == SIGXCPU || was_sent(info);
}

static void write_obituary(int sig, const siginfo_t *info, void *context)
{
    struct obituary *o = self.target;
    if (o == NULL)
        return;
    o->signal = sig;
    o->code = info->si_code;
    bool forbidden = sig == SIGSYS && !was_sent(info);
    o->syscall = forbidden ? info->si_syscall : 0;
    o->address = sig == SIGABRT || sig == SIGSYS ? 0 : (uint64_t)(uintptr_t)info->si_addr;
    o->cpu_ns = cpu_ns();
    o->text_len = 0;
    o->why = (uint32_t)conclude(sig, info);
    if (forbidden) {
        put(o, "syscall: ");
        put(o, sandbox_syscall_name(info->si_syscall));
        put(o, "\n");
    }
    atomic_store_explicit(&o->ready, 1, memory_order_release);
    thread_look(&self.here, context);
    if (strikes_any(sig, info)) {
        thread_unwind(&self.here, info, context);
        put_threads(o, sig == SIGUSR1 ? ASKED_NS : DEATH_NS);
        return;
    }
    put_frames(o, &self.here, 0); /* whatever becomes of the rest */
    thread_unwind(&self.here, info, context);
    put_frames(o, &self.here, 1);
}

static void die_of(int sig)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t set;
    sigaction(sig, &plain, NULL);
    sigemptyset(&set);
    sigaddset(&set, sig);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
    _exit(128 + sig);
}

/* Without a death that is being handled somebody sent it. */
static void on_guard(int sig)
{
    die_of(self.signal != 0 ? self.signal : sig);
}

/* The first death counts. One in its own handler ends that; another thread's waits for the end of the
 * process, which the alarm makes certain. */
static bool first_death(pid_t me)
{
    const struct timespec pause = {.tv_nsec = NS_PER_MS / 4};
    pid_t none = 0;
    if (!atomic_compare_exchange_strong(&self.dying, &none, me))
        return false;
    alarm(HANDLER_SECONDS);
    for (pid_t who = me; (who = atomic_load(&self.writing)) != 0 && who != me;)
        nanosleep(&pause, NULL);
    return true;
}

static void on_death(int sig, siginfo_t *info, void *context)
{
    const pid_t me = gettid();
    if (first_death(me)) {
        self.signal = sig;
        write_obituary(sig, info, context);
    } else {
        while (atomic_load(&self.dying) != me)
            pause();
    }
    die_of(self.signal);
}

/* A death that has seen nobody write does not look again: so who wants to write looks for it last. */
static void answer(int sig, siginfo_t *info, void *context)
{
    pid_t none = 0;
    if (thread_answer(sig, info, context) || !atomic_compare_exchange_strong(&self.writing, &none, gettid()))
        return;
    if (atomic_load(&self.dying) == 0)
        write_obituary(sig, info, context);
    atomic_store(&self.writing, 0);
}

/* From the supervisor, or from the thread that it reached. What was under way may go on and end in time after
 * all; but who was stopped is continued only for this, and each thread stays where it has answered. */
static void on_request(int sig, siginfo_t *info, void *context)
{
    const int kept = errno;
    if (info->si_code == SI_QUEUE && info->si_value.sival_int == OBITUARY_STAY)
        atomic_store(&self.stays, true);
    answer(sig, info, context);
    while (atomic_load(&self.stays))
        pause();
    errno = kept;
}

/* ---- set-up ---- */

void obituary_prepare(void)
{
    void *frames[4];
    backtrace(frames, 4); /* the first call loads libgcc_s, which a sandbox would forbid */
    symbols_load();
}

void obituary_memory(uint64_t memory, int statm)
{
    self.memory = memory;
    self.statm = statm;
    self.page = (uint64_t)sysconf(_SC_PAGESIZE);
}

void obituary_arm(struct obituary *o)
{
    self.target = o;
    threads_list();
    stack_t stack = {.ss_sp = alt_stack, .ss_size = sizeof alt_stack};
    sigaltstack(&stack, NULL);
    struct sigaction on = {.sa_sigaction = on_death, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction request = {.sa_sigaction = on_request, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&on.sa_mask);
    sigemptyset(&request.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++) {
        sigaction(deadly[i], &on, NULL);
        sigaddset(&request.sa_mask, deadly[i]); /* an answer shows what was under way, not itself */
    }
    struct sigaction guard = {.sa_handler = on_guard, .sa_flags = SA_ONSTACK};
    sigaction(SIGALRM, &guard, NULL);
    sigaction(SIGUSR1, &request, NULL);
}
