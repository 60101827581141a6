/*
 * client.c - bench-client: our side of each measurement, through libpwc. One command a measurement; the
 * daemon is the one at $PWC_SOCKET.
 */
#include <stdio.h>
#include <string.h>

#include "tests/bench/client.h"

static const struct {
    const char *name, *usage;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"ready", "                        wait until the daemon computes", cmd_ready},
    {"chunks", "OP N [STEPS [SUM]]     one job of N chunks", cmd_chunks},
    {"latency", "N                     N one-chunk jobs, one after the other", cmd_latency},
    {"flood", "N WINDOW CLIENTS        N one-chunk jobs a client, WINDOW of them on their way", cmd_flood},
    {"sum", "FILE SUM                  array.sum of int32", cmd_sum},
    {"kill", "N STEPS                  N times: kill a worker in a chunk, wait for the chunk elsewhere",
     cmd_kill},
    {"kills",
     "PWCCTL TRACE STEPS SECONDS N SUM CALM-N CALM-SUM FEW-N FEW-SUM  a job of N chunks, a worker killed "
     "every "
     "SECONDS: what it loses, and how many per cent longer it takes than calm ones let expect",
     cmd_kills},
    {"anytime",
     "PWCCTL TRACE N STEPS SUM KILLS [SEED]  a job of N chunks, workers killed at random: by its trace, "
     "until "
     "their "
     "chunk is begun elsewhere",
     cmd_anytime},
    {"exec", "PROGRAM N                time until a stage that is executed says Ready", cmd_exec},
    {"waiting", "N                     cost of 1000 jobs while N others wait", cmd_waiting},
    {"clients", "N                     cost of N clients that are connected", cmd_clients},
    {"idle", "SECONDS [strace] [used]  wakeups and memory of a daemon that has nothing to do", cmd_idle},
    {"watched", "SECONDS               wakeups of one that has a watchdog and nothing to do", cmd_watched},
    {"fresh", "SETTINGS COMMAND...     run it against a daemon of its own", cmd_fresh},
    {"memory", "COMMAND...             run it; peak memory of daemon and stages meanwhile", cmd_memory},
    {"added", "COMMAND LONGER [CHECK]  how many per cent longer the second takes; CHECK follows each of it",
     cmd_added},
    {"whole", "PWCCTL TRACE N          that trace of N chunks lacks nothing", cmd_whole},
};

static int usage(void)
{
    fprintf(stderr, "usage: bench-client COMMAND ARGUMENT...\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(stderr, "  %s %s\n", commands[i].name, commands[i].usage);
    return 2;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return usage();
}
