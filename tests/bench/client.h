/* client.h - the commands of bench-client; each file has a few. argv[0] is the command's name. */
#ifndef PWC_TESTS_BENCH_CLIENT_H
#define PWC_TESTS_BENCH_CLIENT_H

#include "tests/bench/bench.h"

/* client_jobs.c */
int cmd_chunks(int argc, char **argv);
int cmd_latency(int argc, char **argv);
int cmd_flood(int argc, char **argv);
int cmd_ready(int argc, char **argv);
/* client_files.c */
int cmd_sum(int argc, char **argv);
/* client_deaths.c */
int cmd_kill(int argc, char **argv);
int cmd_kills(int argc, char **argv);
int cmd_exec(int argc, char **argv);
/* client_anytime.c */
int cmd_anytime(int argc, char **argv);
/* traced.c */
int cmd_whole(int argc, char **argv);
/* client_growth.c */
int cmd_waiting(int argc, char **argv);
int cmd_clients(int argc, char **argv);
/* client_daemon.c */
int cmd_fresh(int argc, char **argv);
int cmd_idle(int argc, char **argv);
int cmd_watched(int argc, char **argv);
int cmd_memory(int argc, char **argv);
int cmd_added(int argc, char **argv);

#endif
