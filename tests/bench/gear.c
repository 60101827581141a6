/*
 * gear.c - bench-gear: Gearman's counterparts, through its own C library.
 *
 *   worker PORT          a worker that does nothing with each job
 *   latency PORT N       N jobs by gearman_client_do, one after the other
 *   flood PORT N CLIENTS CLIENTS times N tasks by gearman_client_run_tasks
 */
#include <libgearman/gearman.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define WARM  100
#define BATCH 1000 /* tasks added before they are run: all at once is slower there */

static gearman_return_t nothing(gearman_job_st *job, void *context)
{
    (void)job, (void)context;
    return GEARMAN_SUCCESS;
}

static int work(in_port_t port)
{
    gearman_worker_st *w = gearman_worker_create(NULL);
    if (gearman_worker_add_server(w, "127.0.0.1", port) != GEARMAN_SUCCESS ||
        gearman_worker_define_function(w, "noop", 4, gearman_function_create(nothing), 0, NULL) !=
            GEARMAN_SUCCESS)
        bench_fail("%s", gearman_worker_error(w));
    while (gearman_worker_work(w) == GEARMAN_SUCCESS)
        continue;
    bench_fail("%s", gearman_worker_error(w));
}

static gearman_client_st *client(in_port_t port)
{
    gearman_client_st *c = gearman_client_create(NULL);
    if (gearman_client_add_server(c, "127.0.0.1", port) != GEARMAN_SUCCESS)
        bench_fail("%s", gearman_client_error(c));
    return c;
}

static void do_one(gearman_client_st *c)
{
    gearman_return_t r;
    size_t size;
    free(gearman_client_do(c, "noop", NULL, "1", 1, &size, &r));
    if (r != GEARMAN_SUCCESS)
        bench_fail("%s", gearman_client_error(c));
}

static int latency(in_port_t port, size_t n)
{
    double *took = calloc(n, sizeof *took), before = 0;
    gearman_client_st *c = client(port);
    for (size_t i = 0; i < n + WARM; i++) {
        double start = bench_now();
        before = i == WARM ? start : before;
        do_one(c);
        if (i >= WARM)
            took[i - WARM] = bench_now() - start;
    }
    bench_print("rate", (double)n / (bench_now() - before));
    bench_print_quantiles("", took, n);
    free(took);
    return 0;
}

static gearman_return_t count(gearman_task_st *task)
{
    ++*(size_t *)gearman_task_context(task);
    return GEARMAN_SUCCESS;
}

static void run_tasks(gearman_client_st *c, size_t n)
{
    size_t done = 0;
    gearman_return_t r;
    gearman_client_set_complete_fn(c, count);
    for (size_t at = 0; at < n; at += BATCH) {
        for (size_t i = at; i < n && i < at + BATCH; i++)
            if (gearman_client_add_task(c, NULL, &done, "noop", NULL, "1", 1, &r) == NULL)
                bench_fail("%s", gearman_client_error(c));
        if (gearman_client_run_tasks(c) != GEARMAN_SUCCESS)
            bench_fail("%s", gearman_client_error(c));
        gearman_client_task_free_all(c);
    }
    if (done != n)
        bench_fail("%zu of %zu tasks were done", done, n);
}

/* Says that it is connected and warm, waits for the word, runs its tasks: as ours does (client_jobs.c). */
static int flood_child(in_port_t port, size_t n, int go, int ready)
{
    char byte = 0;
    gearman_client_st *c = client(port);
    run_tasks(c, WARM);
    if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
        return 1;
    run_tasks(c, n);
    gearman_client_free(c);
    return 0;
}

static int flood(in_port_t port, size_t n, size_t clients)
{
    int go[2], ready[2], status;
    char byte = 0;
    if (pipe(go) < 0 || pipe(ready) < 0)
        bench_fail("pipe: %m");
    for (size_t i = 0; i < clients; i++) {
        pid_t pid = fork();
        if (pid < 0)
            bench_fail("fork: %m");
        if (pid == 0)
            _exit(flood_child(port, n, go[0], ready[1]));
    }
    close(ready[1]); /* a child that fails must not leave us waiting */
    for (size_t i = 0; i < clients; i++)
        if (read(ready[0], &byte, 1) != 1)
            bench_fail("a client failed");
    double start = bench_now();
    for (size_t i = 0; i < clients; i++)
        if (write(go[1], &byte, 1) != 1)
            bench_fail("pipe: %m");
    for (size_t i = 0; i < clients; i++)
        if (wait(&status) < 0 || status != 0)
            bench_fail("a client failed");
    bench_print("rate", (double)(n * clients) / (bench_now() - start));
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    in_port_t port = argc > 2 ? (in_port_t)bench_number("port", argv[2], 1, 65535) : 0;
    size_t n = argc > 3 ? bench_number("jobs", argv[3], 1, 1 << 24) : 0;
    if (strcmp(what, "worker") == 0 && argc == 3)
        return work(port);
    if (strcmp(what, "latency") == 0 && argc == 4)
        return latency(port, n);
    if (strcmp(what, "flood") == 0 && argc == 5)
        return flood(port, n, bench_number("clients", argv[4], 1, 1024));
    fprintf(stderr, "usage: see the head of tests/bench/gear.c\n");
    return 2;
}
