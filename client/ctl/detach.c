/*
 * detach.c - --detach: a child does the work and publishes; the caller gets the number.
 *
 * Somebody has to publish the output when the job is done, and to open a batch's files as they are wanted.
 * That is the child: in a session of its own, silent once the job has its number. The child that will
 * publish holds an abstract socket named after the job, so that `wait` in another process can wait for the
 * files too: one byte tells it whether they are there. A connection that breaks without it says that the
 * publisher ended before its work was done; nothing stays behind, however it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

#define WAITERS_MAX 256 /* a batch's files need descriptors, too */
#define MEET_MS     200 /* in a full backlog: then whose it is is looked up again */

static int tell_fd = -1;

static struct {
    int fd; /* the listener */
    int waiters[WAITERS_MAX];
    size_t n;
    bool full; /* who comes now stays in the listener's queue */
} announced = {.fd = -1};

struct told {
    uint64_t job, existing;
};

/* Without its number nobody finds the job, which goes on: no matter why it could not be written. */
static int print_told(const struct told *t, bool as_json)
{
    struct json j;
    if (!as_json) {
        printf("%llu\n", (unsigned long long)t->job);
    } else {
        json_open(&j, stdout);
        json_begin(&j, NULL, '{');
        json_str(&j, "schema", "pwc.submit/1");
        json_u64(&j, "job", t->job);
        json_bool(&j, "existing", t->existing != 0);
        json_end(&j, '}');
    }
    if (fflush(stdout) == 0)
        return EXIT_OK;
    return complain(EXIT_FAILED, "job %llu goes on, but its number cannot be written to stdout: %s",
                    (unsigned long long)t->job, strerror(errno));
}

static void parent_ends(pid_t child, int fd, bool as_json)
{
    struct told told;
    ssize_t n;
    while ((n = read(fd, &told, sizeof told)) < 0 && errno == EINTR)
        continue;
    if (n == sizeof told)
        exit(print_told(&told, as_json));
    int status; /* it has said why on stderr */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_INTERNAL);
}

void detach_fork(bool as_json)
{
    int p[2];
    pid_t child = -1;
    if (pipe2(p, O_CLOEXEC) < 0 || (child = fork()) < 0)
        exit(complain(EXIT_FAILED, "cannot detach: %s", strerror(errno)));
    if (child > 0) {
        close(p[1]);
        parent_ends(child, p[0], as_json);
    }
    close(p[0]);
    tell_fd = p[1];
}

/* Only now the session changes: until here ^C ends both. */
void detach_tell(struct pwc_job *job)
{
    const struct told told = {pwc_job_id(job), (uint64_t)pwc_job_existing(job)};
    if (tell_fd < 0)
        return;
    (void)!write(tell_fd, &told, sizeof told);
    close(tell_fd);
    tell_fd = -1;
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

/* "\0pwc/INSTANCE/JOB": the first byte makes it abstract. */
static socklen_t publisher_name(struct pwc *c, uint64_t job, struct sockaddr_un *sa)
{
    const struct pwc_daemon *d = pwc_daemon(c);
    char hex[33];
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", d->instance[i]);
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(sa->sun_path + 1, sizeof sa->sun_path - 1, "pwc/%s/%llu", hex, (unsigned long long)job);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

void detach_announce(struct pwc *c, uint64_t job)
{
    struct sockaddr_un sa;
    socklen_t len = publisher_name(c, job, &sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 64) == 0)
        announced.fd = fd;
    else if (fd >= 0)
        close(fd);
}

int detach_fd(void)
{
    return announced.full ? -1 : announced.fd;
}

/* Waiters send nothing: what can be read is their end. */
static void drop_gone(void)
{
    size_t n = 0;
    for (size_t i = 0; i < announced.n; i++)
        if (poll(&(struct pollfd){.fd = announced.waiters[i], .events = POLLIN}, 1, 0) > 0)
            close(announced.waiters[i]);
        else
            announced.waiters[n++] = announced.waiters[i];
    announced.n = n;
}

/* The next who comes, with a right to hear it; anybody may connect. -1: nobody, or no more can be taken. */
static int next_waiter(void)
{
    int fd;
    while ((fd = accept4(announced.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR) {
        struct ucred who = {0};
        socklen_t size = sizeof who;
        if (fd < 0)
            continue;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
            (who.uid == geteuid() || who.uid == 0))
            return fd;
        close(fd);
    }
    return -1;
}

/* Each is taken out of the queue at once: who gives up waiting must not fill it for those who come later. */
void detach_take_waiters(void)
{
    int fd;
    drop_gone();
    while (announced.n < COUNT(announced.waiters) && (fd = next_waiter()) >= 0)
        announced.waiters[announced.n++] = fd;
    announced.full = announced.n == COUNT(announced.waiters) || errno != EAGAIN;
}

static void tell_waiter(int fd, bool published)
{
    char byte = published ? PUBLISHED : NOT_PUBLISHED;
    (void)!send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

void detach_conclude(bool published)
{
    if (announced.fd < 0)
        return;
    shutdown(announced.fd, SHUT_RDWR); /* who comes now is refused, not forgotten */
    while (announced.n > 0)
        tell_waiter(announced.waiters[--announced.n], published);
    for (int fd; (fd = next_waiter()) >= 0;)
        tell_waiter(fd, published);
    close(announced.fd);
    announced.fd = -1;
}

static void see_owner(const struct pwc_job_info *info, void *user)
{
    *(uid_t *)user = info->uid;
}

/* Anybody may take a name: only whose the job is publishes it. Root waits for others' jobs, too. */
static uid_t owner_of(struct pwc *c, uint64_t job, int64_t end)
{
    uid_t owner = geteuid();
    int left = left_ms(end);
    if (owner == 0)
        (void)pwc_list_jobs(c, job, left >= 0 && left < ANSWER_MS ? left : ANSWER_MS, see_owner, &owner);
    return owner;
}

static bool is_ours(uid_t holder, uid_t owner)
{
    return holder == owner || holder == geteuid();
}

/* Who finds the listener's backlog full waits in connect: a while, because nobody knows then whose it is. */
static int connect_for(int fd, const struct sockaddr_un *sa, socklen_t len, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms > 0 ? ms % 1000 * 1000 : 1}; /* 0 is for ever */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    return connect(fd, (const struct sockaddr *)sa, len);
}

/* 0: somebody has taken us, or will; -EAGAIN: not in time; else there is no publisher. Where the kernel does
 * not tell whose a full backlog is, one that stays so is not a publisher's: they empty theirs at once. */
static int meet(int fd, const struct sockaddr_un *sa, socklen_t len, uid_t owner, int64_t end)
{
    const int64_t patience = end_ms(ANSWER_MS);
    for (;;) {
        int left = left_ms(end), r = connect_for(fd, sa, len, left >= 0 && left < MEET_MS ? left : MEET_MS);
        uid_t holder = owner;
        if (r == 0 || (errno != EAGAIN && errno != EINTR))
            return r == 0 ? 0 : -errno;
        if (holder_of(sa, len, &holder) ? !is_ours(holder, owner) : left_ms(patience) == 0)
            return -ECONNREFUSED;
        if (left_ms(end) == 0)
            return -EAGAIN;
    }
}

/* What the publisher has to say, or its end. */
static enum published hear(int fd, int64_t end)
{
    char byte;
    int r;
    while ((r = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, left_ms(end))) < 0 && errno == EINTR)
        continue;
    if (r == 0)
        return NOT_IN_TIME;
    return read(fd, &byte, 1) == 1 && byte == PUBLISHED ? PUBLISHED : NOT_PUBLISHED;
}

enum published detach_wait_published(struct pwc *c, uint64_t job, int64_t end)
{
    struct sockaddr_un sa;
    struct ucred who = {0};
    socklen_t len = publisher_name(c, job, &sa), size = sizeof who;
    uid_t owner = owner_of(c, job, end);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int met = fd >= 0 ? meet(fd, &sa, len, owner, end) : -errno;
    enum published r = met == -EAGAIN ? NOT_IN_TIME : PUBLISHED;
    if (met == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && is_ours(who.uid, owner))
        r = hear(fd, end);
    if (fd >= 0)
        close(fd);
    return r;
}

int complain_unpublished(uint64_t job)
{
    return complain(EXIT_FAILED, "job %llu is done, but not all of its output could be published",
                    (unsigned long long)job);
}
