/*
 * ping.c - bench-ping: the least that a message can cost which goes from a client through a broker to a
 * worker and back, over AF_UNIX stream sockets. Nothing is parsed, checked or remembered.
 *
 *   bench-ping N [epoll]
 *
 * Messages have the size that a small Submit and its answer have. The broker waits with blocking reads, which
 * is the fastest there is and no broker for more than one; `epoll` makes it wait for both sides, as a broker
 * must.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define MESSAGE 64
#define WARM    500

static void pass(int from, int to)
{
    char m[MESSAGE];
    ssize_t n = recv(from, m, sizeof m, 0);
    if (n == 0)
        _exit(0);
    if (n != MESSAGE || send(to, m, sizeof m, MSG_NOSIGNAL) != MESSAGE)
        _exit(1);
}

static _Noreturn void broker(int client, int worker)
{
    for (;;) {
        pass(client, worker);
        pass(worker, client);
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
            pass(got.data.fd, got.data.fd == client ? worker : client);
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
    pair(front);
    pair(back);
    if (child()) {
        close(front[0]);
        close(back[1]);
        argc > 2 ? broker_epoll(front[1], back[0]) : broker(front[1], back[0]);
    }
    if (child()) {
        close(front[0]);
        close(front[1]);
        close(back[0]);
        for (;;)
            pass(back[1], back[1]);
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
