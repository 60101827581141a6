/*
 * ping.c - bench-ping: the least that a message can cost which goes from a client through a broker to a
 * worker and back, over AF_UNIX stream sockets. Nothing is parsed, checked or remembered.
 *
 *   bench-ping N [epoll|looking]
 *
 * Messages have the size that a small Submit and its answer have. The broker waits with blocking reads, which
 * is the fastest there is for one that sleeps, and no broker for more than one; `epoll` makes it wait for
 * both sides, as a broker must. `looking`: as long as ours do, the worker and the broker look for the
 * next message before they sleep, and yield between two looks as ours do.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define MESSAGE 64
#define WARM    500

/* Seconds: worker/stage.c, daemon/main.c, where looks are counted. */
#define WORKER_LOOKS 70e-6
#define BROKER_LOOKS 50e-6

static void pass(int from, int to, double looking)
{
    char m[MESSAGE];
    ssize_t n = -1;
    for (double until = looking > 0 ? bench_now() + looking : 0; n < 0 && looking > 0;) {
        n = recv(from, m, sizeof m, MSG_DONTWAIT);
        if (n < 0 && bench_now() > until)
            break;
        if (n < 0)
            sched_yield();
    }
    if (n < 0)
        n = recv(from, m, sizeof m, 0);
    if (n == 0)
        _exit(0);
    if (n != MESSAGE || send(to, m, sizeof m, MSG_NOSIGNAL) != MESSAGE)
        _exit(1);
}

static _Noreturn void broker(int client, int worker, double looking)
{
    for (;;) {
        pass(client, worker, looking);
        pass(worker, client, looking);
    }
}

static _Noreturn void broker_epoll(int client, int worker)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = client}, got;
    epoll_ctl(ep, EPOLL_CTL_ADD, client, &e);
    e.data.fd = worker;
    epoll_ctl(ep, EPOLL_CTL_ADD, worker, &e);
    for (;;)
        if (epoll_wait(ep, &got, 1, -1) == 1)
            pass(got.data.fd, got.data.fd == client ? worker : client, 0);
}

static void pair(int sv[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        bench_fail("socketpair: %m");
}

/* true: in the child, which ends with its parent */
static bool child(void)
{
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %m");
    return pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

int main(int argc, char **argv)
{
    size_t n = bench_number("pings", argc > 1 ? argv[1] : NULL, 1, 1 << 24);
    int front[2], back[2];
    char m[MESSAGE] = "ping";
    double *took = calloc(n, sizeof *took);
    bool epoll = argc > 2 && strcmp(argv[2], "epoll") == 0, looking = argc > 2 && !epoll;
    pair(front);
    pair(back);
    if (child()) {
        close(front[0]);
        close(back[1]);
        epoll ? broker_epoll(front[1], back[0]) : broker(front[1], back[0], looking ? BROKER_LOOKS : 0);
    }
    if (child()) {
        close(front[0]);
        close(front[1]);
        close(back[0]);
        for (;;)
            pass(back[1], back[1], looking ? WORKER_LOOKS : 0);
    }
    double before = bench_now();
    for (size_t i = 0; i < n + WARM; i++) {
        double start = bench_now();
        before = i == WARM ? start : before;
        if (send(front[0], m, sizeof m, MSG_NOSIGNAL) != MESSAGE ||
            recv(front[0], m, sizeof m, MSG_WAITALL) != MESSAGE)
            bench_fail("the broker is gone");
        if (i >= WARM)
            took[i - WARM] = bench_now() - start;
    }
    if (strcmp(m, "ping") != 0)
        bench_fail("what came back is not what went");
    bench_print("rate", (double)n / (bench_now() - before));
    bench_print_quantiles("", took, n);
    free(took);
    return 0;
}
