/* crowd.c - see crowd.h. */
#include <sys/resource.h>
#include <unistd.h>

#include "tests/hostile/crowd.h"

struct victim v;
bool root;

const struct job_spec waits = {.op = "array.sum", .params = {"type", "uint8"}, .items = 1, .roles = {"in"}};

void crowd_start(void)
{
    struct rlimit rl;
    root = geteuid() == 0;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    victim_start(&v, (const char *const[]){"--set", "clients_max=4000", "--set", "clients_per_user=3500",
                                           "--set", "jobs_per_user=2000", "--set", "history=50", "--set",
                                           "max_pixels=1000000", NULL});
}

void crowd_stop(void)
{
    victim_stop(&v);
}

struct peer stranger(void)
{
    return root ? peer_open_as(&v, STRANGER) : peer_open(&v);
}
