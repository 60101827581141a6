/*
 * connect.c - the connection, and the private daemon of --private.
 *
 * The private pwcd listens in a directory of its own and tells through a notify socket that it is ready, as
 * it would tell the service manager. Once we are connected nothing needs the directory: it is removed at
 * once, so that nothing stays behind however we end. The daemon is in a session of its own (^C is ours), gets
 * SIGTERM when we die, and is waited for when we are done.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

#define START_MS 30000 /* a cold start reads libvips from a disk */
#define STOP_MS  15000 /* more than pwcd's own grace */

static struct private
{
    pid_t pid;
    int pidfd, notify, log;
    char dir[200], socket[220], words[64];
}
own = {.pidfd = -1, .notify = -1, .log = -1};

int private_pidfd(void)
{
    return own.pidfd;
}

/* ---- finding the program ---- */

static char *usable(char *path)
{
    if (path != NULL && access(path, X_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static char *beside_us(void)
{
    static const char *const places[] = {"%s/../sbin/pwcd", "%s/pwcd", "%s/../libexec/pwcd", "%s/../pwcd"};
    char exe[4096], *found = NULL;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    for (size_t i = 0; found == NULL && i < COUNT(places); i++) {
        /* a build tree: libtool puts the real pwcctl into .libs */
        if (i == 3 && strcmp(base_name(exe), ".libs") != 0)
            break;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        found = usable(text(places[i], exe));
#pragma GCC diagnostic pop
    }
    return found;
}

static char *in_path(void)
{
    const char *path = getenv("PATH");
    char *list = text("%s:/usr/local/sbin:/usr/sbin:/sbin", path != NULL ? path : ""), *save = NULL,
         *found = NULL;
    for (char *dir = strtok_r(list, ":", &save); found == NULL && dir != NULL;
         dir = strtok_r(NULL, ":", &save))
        found = usable(text("%s/pwcd", dir));
    free(list);
    return found;
}

static int find_pwcd(char **ret_path)
{
    const char *env = getenv("PWC_PWCD");
    if (env != NULL && env[0] != '\0') {
        *ret_path = usable(text("%s", env));
        return *ret_path != NULL ? 0
                                 : complain(EXIT_UNREACHABLE, "PWC_PWCD is '%s': %s", env, strerror(errno));
    }
    *ret_path = beside_us();
    if (*ret_path == NULL)
        *ret_path = in_path();
    return *ret_path != NULL ? 0
                             : complain(EXIT_UNREACHABLE, "--private: no pwcd beside pwcctl or in PATH; "
                                                          "PWC_PWCD may name it");
}

/* ---- starting ---- */

static int make_places(void)
{
    const char *run = getenv("XDG_RUNTIME_DIR"), *tmp = getenv("TMPDIR");
    const char *bases[] = {run, tmp, "/tmp"};
    own.dir[0] = '\0';
    for (size_t i = 0; i < COUNT(bases) && own.dir[0] == '\0'; i++) {
        if (bases[i] == NULL || bases[i][0] == '\0' ||
            strlen(bases[i]) > 80) /* a socket's path has 107 bytes */
            continue;
        snprintf(own.dir, sizeof own.dir, "%s/pwc-XXXXXX", bases[i]);
        if (mkdtemp(own.dir) == NULL)
            own.dir[0] = '\0';
    }
    if (own.dir[0] == '\0')
        return complain(EXIT_FAILED, "cannot make a temporary directory in /tmp: %s", strerror(errno));
    snprintf(own.socket, sizeof own.socket, "%s/pwcd.sock", own.dir);
    signals_cleanup_path(own.dir, own.socket);
    return 0;
}

static void remove_places(void)
{
    unlink(own.socket);
    rmdir(own.dir);
    signals_cleanup_path(NULL, NULL);
}

/* Abstract, with a name that the kernel picks: "@1f3a0". */
static int open_notify(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t len = sizeof sa;
    own.notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (own.notify < 0 || bind(own.notify, (struct sockaddr *)&sa, sizeof sa.sun_family) < 0 ||
        getsockname(own.notify, (struct sockaddr *)&sa, &len) < 0)
        return complain(EXIT_FAILED, "cannot make a notify socket: %s", strerror(errno));
    int n = (int)(len - offsetof(struct sockaddr_un, sun_path) - 1);
    snprintf(own.words, sizeof own.words, "@%.*s", n, sa.sun_path + 1);
    return 0;
}

/* The stages' program beside a pwcd that is not where it was built for: a build tree, a copied installation.
 */
static char *find_stage(const char *pwcd)
{
    int dir = (int)(base_name(pwcd) - pwcd);
    char *found = usable(text("%.*spwc-stage", dir, pwcd));
    return found != NULL ? found : usable(text("%.*s../libexec/pwc-stage", dir, pwcd));
}

static void become_pwcd(const char *pwcd, const struct options *o, pid_t parent)
{
    char workers[16], *stage = find_stage(pwcd);
    const char *argv[8] = {"pwcd", "--socket", own.socket};
    size_t n = 3;
    snprintf(workers, sizeof workers, "%u", o->workers);
    if (stage != NULL) {
        argv[n++] = "--stage";
        argv[n++] = stage;
    }
    if (o->workers > 0) {
        argv[n++] = "--workers";
        argv[n++] = workers;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILED);
    setsid();
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    if (!o->verbose)
        dup2(own.log, STDERR_FILENO);
    setenv("NOTIFY_SOCKET", own.words, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("LISTEN_FDS");
    execv(pwcd, (char *const *)(uintptr_t)argv);
    dprintf(STDERR_FILENO, "%s: %s\n", pwcd, strerror(errno));
    _exit(EXIT_UNREACHABLE);
}

/* ": " and the last line of what it wrote, for the user; or "". */
static const char *last_words(void)
{
    static char words[1024 + 2];
    char buf[1024];
    off_t size = own.log >= 0 ? lseek(own.log, 0, SEEK_END) : 0;
    off_t from = size > (off_t)sizeof buf - 1 ? size - (off_t)(sizeof buf - 1) : 0;
    ssize_t n = size > 0 ? pread(own.log, buf, sizeof buf - 1, from) : 0;
    while (n > 0 && buf[n - 1] == '\n')
        n--;
    buf[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(buf, '\n');
    line = line != NULL ? line + 1 : buf;
    snprintf(words, sizeof words, "%s%s", line[0] != '\0' ? ": " : "", line);
    return words;
}

static bool dead(void)
{
    return poll(&(struct pollfd){.fd = own.pidfd, .events = POLLIN}, 1, 0) > 0;
}

/* READY=1, its death, or the end of our patience. */
static int wait_ready(const char *pwcd)
{
    char words[512];
    for (int64_t end = now_ms() + START_MS, left; (left = end - now_ms()) > 0;) {
        struct pollfd p[2] = {{.fd = own.notify, .events = POLLIN}, {.fd = own.pidfd, .events = POLLIN}};
        if (poll(p, 2, (int)left) < 0 && errno != EINTR)
            break;
        ssize_t n = recv(own.notify, words, sizeof words - 1, 0);
        words[n > 0 ? n : 0] = '\0';
        if (n > 0 && strstr(words, "READY=1") != NULL)
            return 0;
        if (dead())
            return complain(EXIT_UNREACHABLE, "--private: %s ended at once%s", pwcd, last_words());
    }
    return complain(EXIT_UNREACHABLE, "--private: %s was not ready within %d s%s", pwcd, START_MS / 1000,
                    last_words());
}

static int start(const char *pwcd, const struct options *o)
{
    own.log = anonymous_file();
    pid_t parent = getpid();
    own.pid = fork();
    if (own.pid < 0)
        return complain(EXIT_FAILED, "cannot start pwcd: %s", strerror(errno));
    if (own.pid == 0)
        become_pwcd(pwcd, o, parent);
    own.pidfd = (int)syscall(SYS_pidfd_open, own.pid, 0);
    return wait_ready(pwcd);
}

static void stop(void)
{
    if (own.pid <= 0)
        return;
    kill(own.pid, SIGTERM);
    struct pollfd p = {.fd = own.pidfd, .events = POLLIN};
    int r;
    do
        r = poll(&p, 1, STOP_MS);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        kill(own.pid, SIGKILL);
    while (waitpid(own.pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    own.pid = 0;
    close(own.pidfd);
    own.pidfd = -1;
}

static int connect_private(const struct options *o, struct pwc **ret_c)
{
    char *pwcd = NULL;
    int r = find_pwcd(&pwcd);
    if (r == 0)
        r = make_places();
    if (r == 0) {
        r = open_notify();
        if (r == 0)
            r = start(pwcd, o);
        if (r == 0 && (r = pwc_connect(own.socket, START_MS, ret_c)) != PWC_OK)
            r = complain_code(r);
        remove_places();
        if (own.notify >= 0)
            close(own.notify);
        if (r != 0)
            stop();
    }
    free(pwcd);
    return r;
}

/* ---- both ---- */

int ctl_connect(const struct options *o, struct pwc **ret_c)
{
    if (o->private)
        return connect_private(o, ret_c);
    int r = pwc_connect(o->socket, PWC_TIMEOUT_DEFAULT, ret_c);
    if (r == PWC_E_UNREACHABLE)
        return complain(EXIT_UNREACHABLE, "no pwcd answers (%s): start one, or use --private", pwc_error());
    return r == PWC_OK ? 0 : complain_code(r);
}

void ctl_disconnect(struct pwc *c)
{
    pwc_close(c);
    stop();
}
