/*
 * detach.c - --detach: a child does the work and publishes; the caller gets the number.
 *
 * Somebody has to publish the output when the job is done, and to open a batch's files as they are wanted.
 * That is the child: in a session of its own, silent once the job has its number. Every pwcctl that will
 * publish holds an abstract socket named after the job, so that `wait` in another process can wait for the
 * files too: the connection breaks when the publisher ends, however it ends, and nothing stays behind.
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

static int tell_fd = -1;

static void parent_ends(pid_t child, int fd)
{
    uint64_t job;
    ssize_t n;
    while ((n = read(fd, &job, sizeof job)) < 0 && errno == EINTR)
        continue;
    if (n == sizeof job) {
        printf("%llu\n", (unsigned long long)job);
        exit(fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED);
    }
    int status; /* it has said why on stderr */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_INTERNAL);
}

void detach_fork(void)
{
    int p[2];
    pid_t child = -1;
    if (pipe2(p, O_CLOEXEC) < 0 || (child = fork()) < 0)
        exit(complain(EXIT_FAILED, "cannot detach: %s", strerror(errno)));
    if (child > 0) {
        close(p[1]);
        parent_ends(child, p[0]);
    }
    close(p[0]);
    tell_fd = p[1];
}

/* Only now the session changes: until here ^C ends both. */
void detach_tell(uint64_t job)
{
    if (tell_fd < 0)
        return;
    (void)!write(tell_fd, &job, sizeof job);
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

int detach_announce(struct pwc *c, uint64_t job)
{
    struct sockaddr_un sa;
    socklen_t len = publisher_name(c, job, &sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 64) == 0)
        return 0; /* open as long as we live: that is the message */
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Who finds the listener's backlog full waits in connect. */
static int connect_until(int fd, const struct sockaddr_un *sa, socklen_t len, int64_t end)
{
    int ms = left_ms(end);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms > 0 ? ms % 1000 * 1000 : 1}; /* 0 is for ever */
    if (ms != PWC_FOREVER)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    return connect(fd, (const struct sockaddr *)sa, len);
}

bool detach_wait_published(struct pwc *c, uint64_t job, int64_t end)
{
    struct sockaddr_un sa;
    struct ucred who = {0};
    socklen_t len = publisher_name(c, job, &sa), size = sizeof who;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = -1;
    if (fd >= 0 && connect_until(fd, &sa, len, end) < 0)
        r = errno == EAGAIN ? 0 : -1;
    else if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
             (who.uid == geteuid() || geteuid() == 0)) /* anybody may take a name; only our own count */
        while ((r = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, left_ms(end))) < 0 &&
               errno == EINTR)
            continue;
    if (fd >= 0)
        close(fd);
    return r != 0;
}
