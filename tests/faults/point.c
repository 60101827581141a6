/* point.c - see inject.h. Names of calls come from libseccomp, names of errors from glibc. */
#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/faults/inject.h"

#define CALLS 512

static const char *const role_names[ROLES] = {
    [ROLE_MAIN] = "main",         [ROLE_LOADER] = "loader",     [ROLE_NURSERY] = "nursery",
    [ROLE_SPARE] = "spare",       [ROLE_IDLE] = "idle",         [ROLE_PLANNER] = "planner",
    [ROLE_PRODUCER] = "producer", [ROLE_CONSUMER] = "consumer", [ROLE_WORKER] = "worker"};

static struct {
    pthread_mutex_t lock;
    unsigned counts[ROLES][CALLS];
    enum role role; /* the point; act NONE: there is none */
    long call;
    unsigned index;
    int act;
    pid_t hit;
    FILE *orders;
    int answers;
    pid_t command;
} self = {.lock = PTHREAD_MUTEX_INITIALIZER};

const char *role_name(enum role role)
{
    return role_names[role];
}

static int parse_action(const char *text)
{
    if (strcmp(text, "KILL") == 0)
        return ACT_KILL;
    if (strcmp(text, "SHORT") == 0)
        return ACT_SHORT;
    for (int e = 1; e < 200; e++)
        if (strerrorname_np(e) != NULL && strcmp(strerrorname_np(e), text) == 0)
            return e;
    return ACT_NONE;
}

int point_arm(const char *text)
{
    char role[16], call[32], action[24];
    unsigned index, r = 0;
    if (sscanf(text, "%15s %31s %u %23s", role, call, &index, action) != 4)
        return -EINVAL;
    while (r < ROLES && strcmp(role_names[r], role) != 0)
        r++;
    int nr = seccomp_syscall_resolve_name(call), act = parse_action(action);
    if (r == ROLES || nr < 0 || nr >= CALLS || act == ACT_NONE || index == 0)
        return -EINVAL;
    pthread_mutex_lock(&self.lock);
    memset(self.counts, 0, sizeof self.counts);
    self.role = (enum role)r;
    self.call = nr;
    self.index = index;
    self.act = act;
    self.hit = 0;
    pthread_mutex_unlock(&self.lock);
    return 0;
}

static void disarm(bool forget)
{
    pthread_mutex_lock(&self.lock);
    self.act = ACT_NONE;
    if (forget)
        memset(self.counts, 0, sizeof self.counts);
    pthread_mutex_unlock(&self.lock);
}

int point_at(enum role role, long call, pid_t pid)
{
    if (call < 0 || call >= CALLS)
        return ACT_NONE;
    pthread_mutex_lock(&self.lock);
    unsigned n = ++self.counts[role][call];
    int act = self.act != ACT_NONE && self.role == role && self.call == call && self.index == n ? self.act
                                                                                                : ACT_NONE;
    if (act != ACT_NONE) {
        self.hit = pid;
        self.act = ACT_NONE; /* once */
    }
    pthread_mutex_unlock(&self.lock);
    return act;
}

pid_t point_hit(void)
{
    pthread_mutex_lock(&self.lock);
    pid_t hit = self.hit;
    pthread_mutex_unlock(&self.lock);
    return hit;
}

void point_show(int fd)
{
    pthread_mutex_lock(&self.lock);
    for (unsigned r = 0; r < ROLES; r++)
        for (int c = 0; c < CALLS; c++) {
            char *name = self.counts[r][c] > 0 ? seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, c) : NULL;
            if (name != NULL)
                dprintf(fd, "%s %s %u\n", role_names[r], name, self.counts[r][c]);
            free(name);
        }
    pthread_mutex_unlock(&self.lock);
}

static void obey(const char *order)
{
    int fd = self.answers;
    if (strncmp(order, "arm ", 4) == 0) {
        dprintf(fd, "%s\n", point_arm(order + 4) == 0 ? "ok" : "no such point");
    } else if (strcmp(order, "count") == 0) {
        disarm(true);
        dprintf(fd, "ok\n");
    } else if (strcmp(order, "show") == 0) {
        point_show(fd);
        dprintf(fd, ".\n");
    } else if (strcmp(order, "result") == 0) {
        pid_t hit = point_hit();
        disarm(false);
        if (hit > 0)
            dprintf(fd, "hit %d\n", hit);
        else
            dprintf(fd, "missed\n");
    } else if (strcmp(order, "pid") == 0) {
        dprintf(fd, "%d\n", self.command);
    } else {
        dprintf(fd, "no such order\n");
    }
}

static void *serve(void *arg)
{
    (void)arg;
    char line[128];
    while (fgets(line, sizeof line, self.orders) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    return NULL;
}

void point_serve(const char *orders, const char *answers, pid_t command)
{
    pthread_t t;
    self.command = command;
    self.orders = fopen(orders, "r+e"); /* read-write: neither waits for the other end nor ends with it */
    FILE *f = fopen(answers, "r+e");
    if (self.orders == NULL || f == NULL || pthread_create(&t, NULL, serve, NULL) != 0) {
        perror("inject: orders");
        _exit(70);
    }
    self.answers = fileno(f);
    pthread_detach(t);
}
