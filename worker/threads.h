/*
 * threads.h - the threads of a stage, whoever made them, and what each of them is at.
 *
 * An op's library computes on threads of its own, while the stage's thread waits for them; a signal that is
 * sent to the process finds the one that waits. So this program has a pthread_create of its own, which every
 * library gets: each thread is listed, and has a stack for handlers of signals, without which one that has
 * used up its own could not say so.
 *
 * All but threads_list is async-signal-safe.
 */
#ifndef PWC_WORKER_THREADS_H
#define PWC_WORKER_THREADS_H

#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "ipc/segment.h"

/* The later, the less likely it is to blame. */
enum thread_state {
    THREAD_COMPUTES,
    THREAD_CALLS, /* the system, which does not answer yet */
    THREAD_MUTE,  /* not even a signal reaches it: it waits deep in the kernel */
    THREAD_WAITS, /* for another thread, or for work */
};

#define THREADS_MOST 64
#define THREAD_NAME  16 /* the kernel's TASK_COMM_LEN */

struct thread {
    _Atomic pid_t id;               /* 0: free */
    _Atomic uint32_t asked, answer; /* equal: what follows is the answer */
    enum thread_state state;
    uint64_t cpu_ns;
    int nframes;
    void *frames[OBITUARY_FRAMES];
    char name[THREAD_NAME];
    void *stack; /* for handlers, if it was given one */
};

/* Lists the calling thread, which has a stack for handlers already. */
void threads_list(void);
/* Fills in what the calling thread is at, from its handler of a signal; of its stack, the first frame. */
void thread_look(struct thread *t, void *context);
/* Then its callers: a stack may be so broken that this kills. */
void thread_unwind(struct thread *t, const siginfo_t *info, void *context);
/* Answers threads_ask, from a handler; false: the signal was another one. */
bool thread_answer(int sig, const siginfo_t *info, void *context);
enum thread_state thread_state(const struct thread *t);
/* Asks all other threads what they are at and waits so long for answers. Returns how many there are. */
size_t threads_ask(struct thread *ret[THREADS_MOST], int64_t patience_ns);

#endif
