/* obituary.c - see obituary.h. Everything below on_death is async-signal-safe. Names come from symbols.c; for
 * stripped objects from dladdr, which takes the loader's lock: that is recursive, and the alarm ends a
 * handler that waits for another thread's. */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "proto/pwc.pb-c.h"
#include "worker/mappings.h"
#include "worker/obituary.h"
#include "worker/sandbox.h"
#include "worker/symbols.h"

#define HANDLER_SECONDS 2 /* far more than a stack takes, far less than a person waits */

static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ};

static struct {
    struct obituary *target;
    uint64_t memory;
    uint64_t page;
    int statm;
    volatile sig_atomic_t signal; /* being handled */
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

static uintptr_t context_pc(const void *context)
{
    const ucontext_t *uc = context;
#if defined(__x86_64__)
    return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)uc->uc_mcontext.pc;
#else
    (void)uc;
    return 0;
#endif
}

/* Our own frames come first: the stack starts where the signal struck. */
static int first_frame(void *const *frames, int n, uintptr_t pc)
{
    for (int i = 0; i < n; i++)
        if ((uintptr_t)frames[i] == pc)
            return i;
    return 0;
}

static void put_stack(struct obituary *o, const void *context)
{
    void *frames[OBITUARY_FRAMES + 8];
    int n = backtrace(frames, (int)ARRAY_LEN(frames));
    int from = first_frame(frames, n, context_pc(context));
    for (int i = from; i < n && i - from < (int)OBITUARY_FRAMES; i++) {
        uintptr_t pc = (uintptr_t)frames[i];
        put(o, "#");
        put_number(o, (uint64_t)(i - from), 10);
        put(o, " 0x");
        put_number(o, pc, 16);
        put_symbol(o, pc - (i > from)); /* a return address may already lie in the next function */
        put(o, "\n");
    }
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

static void write_obituary(int sig, const siginfo_t *info, const void *context)
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
    put_stack(o, context);
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

static void on_death(int sig, siginfo_t *info, void *context)
{
    self.signal = sig;
    alarm(HANDLER_SECONDS);
    write_obituary(sig, info, context);
    die_of(sig);
}

static void on_request(int sig, siginfo_t *info, void *context)
{
    write_obituary(sig, info, context);
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
    stack_t stack = {.ss_sp = alt_stack, .ss_size = sizeof alt_stack};
    sigaltstack(&stack, NULL);
    struct sigaction on = {.sa_sigaction = on_death, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&on.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
        sigaction(deadly[i], &on, NULL);
    struct sigaction guard = {.sa_handler = on_guard, .sa_flags = SA_ONSTACK};
    sigaction(SIGALRM, &guard, NULL);
    struct sigaction request = {.sa_sigaction = on_request, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigaction(SIGUSR1, &request, NULL);
}
