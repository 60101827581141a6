/*
 * closer.c - see closer.h.
 *
 * One lock, held only to move entries between lists, never across close(2). An entry is waiting, then in
 * progress in one thread, then gone. A thread takes the oldest waiting entry whose user has none in progress.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "daemon/closer.h"
#include "ipc/clock.h"

#define STACK_BYTES (64u * 1024u) /* a thread that does nothing but close(2) */

int64_t closer_stuck_ns = 10 * NS_PER_S;

struct entry {
    struct entry *next;
    int fd;
    uid_t uid;
    struct mono since; /* queued; then: in progress */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work; /* something to close, or stop */
    pthread_cond_t idle; /* nothing is left */
    struct entry *head, **tail;
    struct entry *running[CLOSER_THREADS]; /* by thread; NULL: it waits */
    unsigned threads;
    size_t pending; /* waiting and running */
    bool stop;
    uid_t as; /* main thread only */
} closer = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .as = CLOSER_NOBODY};

/* ---- with the lock held ---- */

static const struct entry *running_of(uid_t uid)
{
    for (unsigned i = 0; i < closer.threads; i++)
        if (closer.running[i] != NULL && closer.running[i]->uid == uid)
            return closer.running[i];
    return NULL;
}

/* Where the link to the first entry that may be closed now is; NULL: none. */
static struct entry **next_closable(void)
{
    for (struct entry **at = &closer.head; *at != NULL; at = &(*at)->next)
        if (running_of((*at)->uid) == NULL)
            return at;
    return NULL;
}

static struct entry *unlink_entry(struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    if (closer.tail == &e->next)
        closer.tail = at;
    return e;
}

static bool all_busy(void)
{
    for (unsigned i = 0; i < closer.threads; i++)
        if (closer.running[i] == NULL)
            return false;
    return true;
}

static void *closer_thread(void *arg);

/* Signals belong to the main thread's loop: the new thread inherits a full mask. */
static int start_thread(void)
{
    pthread_t t;
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&t, &attr, closer_thread, (void *)(uintptr_t)closer.threads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (r == 0)
        closer.threads++;
    return -r;
}

/* Wakes a thread for what can be closed; makes one when all of them are held up by others' descriptors. */
static void dispatch(void)
{
    if (next_closable() == NULL)
        return;
    if (closer.threads > 0 && closer.threads < CLOSER_THREADS && all_busy())
        (void)start_thread(); /* without it, it takes longer */
    pthread_cond_signal(&closer.work);
}

/* ---- the threads ---- */

static void finish(unsigned self)
{
    free(TAKE_PTR(closer.running[self]));
    if (--closer.pending == 0)
        pthread_cond_broadcast(&closer.idle);
}

static void *closer_thread(void *arg)
{
    unsigned self = (unsigned)(uintptr_t)arg;
    pthread_mutex_lock(&closer.lock);
    for (;;) {
        struct entry **at;
        while ((at = next_closable()) == NULL && !closer.stop)
            pthread_cond_wait(&closer.work, &closer.lock);
        if (at == NULL)
            break;
        struct entry *e = closer.running[self] = unlink_entry(at);
        e->since = clock_now();
        dispatch();
        pthread_mutex_unlock(&closer.lock);
        close(e->fd);
        pthread_mutex_lock(&closer.lock);
        finish(self);
    }
    pthread_mutex_unlock(&closer.lock);
    return NULL;
}

/* ---- for the main thread ---- */

int closer_start(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&closer.idle, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&closer.lock);
    closer.stop = false;
    if (closer.tail == NULL)
        closer.tail = &closer.head;
    int r = closer.threads > 0 ? 0 : start_thread();
    if (r == 0)
        dispatch();
    pthread_mutex_unlock(&closer.lock);
    return r;
}

void closer_close_for(int fd, uid_t uid)
{
    if (fd < 0)
        return;
    struct entry *e = xcalloc(1, sizeof *e);
    *e = (struct entry){.fd = fd, .uid = uid, .since = clock_now()};
    pthread_mutex_lock(&closer.lock);
    if (closer.tail == NULL)
        closer.tail = &closer.head;
    *closer.tail = e;
    closer.tail = &e->next;
    closer.pending++;
    dispatch();
    pthread_mutex_unlock(&closer.lock);
}

void closer_close(int fd)
{
    closer_close_for(fd, closer.as);
}

uid_t closer_as(uid_t uid)
{
    uid_t before = closer.as;
    closer.as = uid;
    return before;
}

size_t closer_pending(void)
{
    pthread_mutex_lock(&closer.lock);
    size_t n = closer.pending;
    pthread_mutex_unlock(&closer.lock);
    return n;
}

size_t closer_pending_of(uid_t uid)
{
    pthread_mutex_lock(&closer.lock);
    size_t n = running_of(uid) != NULL;
    for (const struct entry *e = closer.head; e != NULL; e = e->next)
        n += e->uid == uid;
    pthread_mutex_unlock(&closer.lock);
    return n;
}

size_t closer_stuck(uid_t uid)
{
    struct mono now = clock_now();
    size_t n = 0;
    pthread_mutex_lock(&closer.lock);
    const struct entry *own = running_of(uid);
    if (own != NULL && mono_since(now, own->since) > closer_stuck_ns) {
        n = 1;
        for (const struct entry *e = closer.head; e != NULL; e = e->next)
            n += e->uid == uid && mono_since(now, e->since) > closer_stuck_ns;
    }
    pthread_mutex_unlock(&closer.lock);
    return n;
}

/* Threads that wait end by themselves; one that hangs in close(2) ends with the process. */
bool closer_stop(int timeout_ms)
{
    struct mono end = mono_add(clock_now(), timeout_ms * NS_PER_MS);
    struct timespec ts = {end.ns / NS_PER_S, end.ns % NS_PER_S};
    int r = 0;
    pthread_mutex_lock(&closer.lock);
    while (closer.pending > 0 && r == 0)
        r = pthread_cond_timedwait(&closer.idle, &closer.lock, &ts);
    bool done = closer.pending == 0;
    closer.stop = true;
    pthread_cond_broadcast(&closer.work);
    pthread_mutex_unlock(&closer.lock);
    return done;
}
