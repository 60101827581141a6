/*
 * threads.c - see threads.h. The table is written by the threads themselves; a thread that answers after
 * nobody waits any more writes into its own entry, which is not read then.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "worker/threads.h"

#define STACK_BYTES (128u << 10) /* unwinding wants some 10 KiB, AVX-512 frames as much again */

static struct thread threads[THREADS_MOST];
static _Atomic uint32_t asked;
static pthread_key_t leaving;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- the list ---- */

static struct thread *enter(void)
{
    for (size_t i = 0; i < THREADS_MOST; i++) {
        pid_t none = 0;
        if (atomic_load_explicit(&threads[i].id, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&threads[i].id, &none, gettid()))
            return &threads[i];
    }
    return NULL; /* it will be missing in stacks, nothing else */
}

static struct thread *find(pid_t id)
{
    for (size_t i = 0; i < THREADS_MOST; i++)
        if (atomic_load(&threads[i].id) == id)
            return &threads[i];
    return NULL;
}

void threads_list(void)
{
    if (find(gettid()) == NULL)
        enter();
}

/* ---- their beginning and end ---- */

struct start {
    void *(*run)(void *);
    void *arg;
};

/* glibc gives a thread no stack for handlers; sanitizers do. Only what is used of it is there. */
static void *give_stack(void)
{
    stack_t stack = {0};
    if (sigaltstack(NULL, &stack) < 0 || (stack.ss_flags & SS_DISABLE) == 0)
        return NULL;
    void *base = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    stack = (stack_t){.ss_sp = base, .ss_size = STACK_BYTES};
    sigaltstack(&stack, NULL);
    return base;
}

static void leave(void *arg)
{
    const stack_t none = {.ss_flags = SS_DISABLE};
    struct thread *t = arg;
    if (t->stack != NULL) {
        sigaltstack(&none, NULL);
        munmap(t->stack, STACK_BYTES);
    }
    atomic_store(&t->id, 0);
}

static void make_key(void)
{
    pthread_key_create(&leaving, leave);
}

static void *thread_begin(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    pthread_once(&once, make_key);
    struct thread *t = enter();
    if (t != NULL) {
        t->stack = give_stack();
        pthread_setspecific(leaving, t); /* threads end in more ways than by returning */
    }
    return start.run(start.arg);
}

/* Found before the C library's by all that is loaded. */
int pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT,
                                                                                       "pthread_create");
    struct start *start = malloc(sizeof *start);
    if (start == NULL)
        return EAGAIN;
    *start = (struct start){run, arg};
    int r = create(ret, attr, thread_begin, start);
    if (r != 0)
        free(start);
    return r;
}

/* ---- what a thread is at ---- */

static uintptr_t context_pc(const ucontext_t *uc)
{
#if defined(__x86_64__)
    return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)uc->uc_mcontext.pc;
#else
    (void)uc;
    return 0;
#endif
}

#if defined(__x86_64__)
/* The number of a call that was ended is gone; a futex's second argument is like no other's. */
static bool waits_for_futex(greg_t second)
{
    const greg_t op = second & ~FUTEX_CLOCK_REALTIME;
    return op == FUTEX_WAIT_PRIVATE || op == FUTEX_WAIT_BITSET_PRIVATE || op == FUTEX_WAIT_BITSET;
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)
/* The system tells without a fault: it reads a set of signals before it finds that it is asked nothing. */
static bool word_readable(uintptr_t at)
{
    const int nothing = -1;
    at &= ~(uintptr_t)7;
    return at != 0 && (syscall(SYS_rt_sigprocmask, nothing, at, NULL, 8) == 0 || errno != EFAULT);
}

/* n: 8 at most. */
static bool readable(const void *at, size_t n)
{
    return word_readable((uintptr_t)at) && word_readable((uintptr_t)at + n - 1);
}
#endif

/* A system call was ended by the signal, or will be begun again behind it, or none was under way. */
static enum thread_state context_state(const ucontext_t *uc)
{
    bool ended = false, again = false, futex = false;
#if defined(__x86_64__)
    static const uint8_t call[] = {0x0f, 0x05};
    const greg_t *r = uc->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)context_pc(uc);
    const bool there = readable((const void *)(context_pc(uc) - 2), 4); /* it may lead nowhere */
    ended = there && r[REG_RAX] == -EINTR && memcmp(at - 2, call, 2) == 0;
    again = there && memcmp(at, call, 2) == 0;
    futex = again ? r[REG_RAX] == SYS_futex : waits_for_futex(r[REG_RSI]);
#elif defined(__aarch64__)
    static const uint32_t call = 0xd4000001; /* svc 0 */
    const uint32_t *at = (const uint32_t *)context_pc(uc);
    const bool there = (uintptr_t)at % 4 == 0 && readable((const void *)(context_pc(uc) - 4), 8);
    ended = there && (int64_t)uc->uc_mcontext.regs[0] == -EINTR && at[-1] == call;
    again = there && at[0] == call;
    futex = uc->uc_mcontext.regs[8] == SYS_futex;
#endif
    if (!ended && !again)
        return THREAD_COMPUTES;
    return futex ? THREAD_WAITS : THREAD_CALLS;
}

#if defined(__x86_64__)
/* A call's machine code ends here: to a place, or to one that a register or memory says. */
static bool behind_call(const uint8_t *at)
{
    for (int back = 2; back <= 7; back++)
        if (at[-back] == 0xff && (at[1 - back] & 0x38) == 0x10)
            return true;
    return at[-5] == 0xe8;
}

__attribute__((no_sanitize("address"))) static bool returns_to(void *const *sp, void **ret)
{
    Dl_info known;
    if (!readable(sp, sizeof *sp) || *sp == NULL)
        return false;
    const uint8_t *at = *sp;
    if (dladdr(at - 8, &known) == 0 || !readable(at - 7, 7) || !behind_call(at))
        return false;
    *ret = *sp;
    return true;
}
#endif

/* Code that was made at run time (liborc's, which computes most 8-bit pictures) tells nobody how to unwind
 * it. It has pushed some registers, no more, so whom it returns to is not far; farther nothing is certain. */
static int find_caller(void **ret, const ucontext_t *uc)
{
#if defined(__x86_64__)
    void *const *sp = (void *const *)uc->uc_mcontext.gregs[REG_RSP];
    Dl_info known;
    if (dladdr((const void *)context_pc(uc), &known) != 0)
        return 0;
    for (int i = 0; i < 16; i++)
        if (returns_to(sp + i, ret))
            return 1;
#else
    (void)ret, (void)uc;
#endif
    return 0;
}

/* The frames below the one at pc; of all there are where this architecture's pc is not known. */
static int unwind_from(uintptr_t pc, void *frames[], int most)
{
    void *all[OBITUARY_FRAMES + 8];
    const int n = backtrace(all, (int)ARRAY_LEN(all));
    for (int i = 0; i < n; i++) /* our own come first: the stack starts where the signal struck */
        if (pc == 0 || (uintptr_t)all[i] == pc) {
            const int below = MIN(n - i - 1, most);
            memcpy(frames, all + i + 1, (size_t)below * sizeof *frames);
            return below;
        }
    return 0;
}

/* Nothing can be run there: a call through a pointer that leads nowhere, or a return to it. */
static bool leads_nowhere(const siginfo_t *info, const ucontext_t *uc)
{
#if defined(__x86_64__) || defined(__aarch64__)
    const void *pc = (const void *)context_pc(uc);
    const bool fault = (info->si_signo == SIGSEGV || info->si_signo == SIGBUS) && info->si_code > 0;
    return !readable(pc, 1) || (fault && info->si_addr == pc);
#else
    (void)info, (void)uc;
    return false;
#endif
}

/* The stack of who jumped to nowhere, as if the call had just returned. The registers are put back: where
 * the signal was sent just then, the thread goes on. */
static int unwind_jump(void *frames[], int most, ucontext_t *uc)
{
    int n = 0;
#if defined(__x86_64__)
    greg_t *r = uc->uc_mcontext.gregs;
    const greg_t pc = r[REG_RIP], sp = r[REG_RSP];
    if (!returns_to((void *const *)sp, frames))
        return 0;
    r[REG_RIP] = (greg_t)frames[0];
    r[REG_RSP] = sp + (greg_t)sizeof frames[0];
    n = 1 + unwind_from((uintptr_t)frames[0], frames + 1, most - 1);
    r[REG_RIP] = pc;
    r[REG_RSP] = sp;
#elif defined(__aarch64__)
    mcontext_t *m = &uc->uc_mcontext;
    const uint64_t pc = m->pc;
    Dl_info known;
    frames[0] = (void *)m->regs[30];
    if (m->regs[30] == pc || dladdr(frames[0], &known) == 0)
        return 0;
    m->pc = m->regs[30];
    n = 1 + unwind_from((uintptr_t)frames[0], frames + 1, most - 1);
    m->pc = pc;
#else
    (void)frames, (void)most, (void)uc;
#endif
    return n;
}

void thread_look(struct thread *t, void *context)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    t->cpu_ns = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
    t->state = context_state(context);
    prctl(PR_GET_NAME, t->name, 0, 0, 0);
    t->frames[0] = (void *)context_pc(context);
    t->nframes = 1;
}

/* libgcc reads what lies at the place that it starts from. */
void thread_unwind(struct thread *t, const siginfo_t *info, void *context)
{
    const int most = (int)OBITUARY_FRAMES - 1;
    int n = leads_nowhere(info, context) ? unwind_jump(t->frames + 1, most, context)
                                         : unwind_from(context_pc(context), t->frames + 1, most);
    if (n == 0)
        n = find_caller(t->frames + 1, context);
    t->nframes = 1 + n;
}

/* ---- asking ---- */

bool thread_answer(int sig, const siginfo_t *info, void *context)
{
    if (sig != SIGUSR1 || info->si_code != SI_TKILL || info->si_pid != getpid())
        return false;
    struct thread *t = find(gettid());
    if (t == NULL)
        return true;
    uint32_t round = atomic_load(&t->asked);
    thread_look(t, context);
    thread_unwind(t, info, context);
    atomic_store(&t->answer, round);
    return true;
}

static bool answered(const struct thread *t)
{
    return atomic_load(&t->answer) == atomic_load(&t->asked);
}

enum thread_state thread_state(const struct thread *t)
{
    return answered(t) ? t->state : THREAD_MUTE;
}

static bool all_answered(struct thread *const *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!answered(t[i]))
            return false;
    return true;
}

size_t threads_ask(struct thread *ret[THREADS_MOST], int64_t patience_ns)
{
    const uint32_t round = atomic_fetch_add(&asked, 1) + 1;
    const struct timespec pause = {.tv_nsec = NS_PER_MS / 4};
    struct mono until = mono_add(clock_now(), patience_ns);
    size_t n = 0;
    for (size_t i = 0; i < THREADS_MOST; i++) {
        pid_t id = atomic_load(&threads[i].id);
        if (id == 0 || id == gettid())
            continue;
        atomic_store(&threads[i].asked, round);
        if (syscall(SYS_tgkill, getpid(), id, SIGUSR1) == 0)
            ret[n++] = &threads[i];
    }
    while (!all_answered(ret, n) && mono_since(until, clock_now()) > 0)
        nanosleep(&pause, NULL);
    return n;
}
