/*
 * cpus.h - how many CPUs this process may really use: the least of its affinity mask (cpusets show there) and
 * the CPU quotas of its control group and all groups above (v2 cpu.max, v1 cfs_quota), never below 1.
 */
#ifndef PWC_DAEMON_CPUS_H
#define PWC_DAEMON_CPUS_H

#include "ipc/base.h"

struct cpus {
    unsigned count;   /* at least 1 */
    const char *from; /* static: what decided: "affinity", "cpu.max", "config" */
};

/* configured: 0 for automatic. root: prefix of /proc and /sys, "" for the real ones. Cannot fail. */
struct cpus cpus_usable(unsigned configured, const char *root);

/* ---- pure parts ---- */

/* What the three sources come to. affinity, quota: 0 when unknown or unlimited. */
struct cpus cpus_decide(unsigned configured, unsigned affinity, unsigned quota);

/* "150000 100000" (cpu.max): 2, rounded up; 0: no limit or not understood. */
unsigned cpus_parse_max(const char *text);
/* v1: cpu.cfs_quota_us and cpu.cfs_period_us. The same. */
unsigned cpus_parse_cfs(const char *quota, const char *period);

/* The group's path in /proc/self/cgroup; controller NULL: v2. Malloc'ed; NULL: none. */
char *cpus_parse_cgroup(const char *text, const char *controller);

/* Where a hierarchy is mounted, by /proc/self/mountinfo; controller NULL: v2. Malloc'ed; 0 or -ENOENT. */
int cpus_parse_mount(const char *text, const char *controller, char **ret_dir, char **ret_root);

/* The least quota of the group and its ancestors, 0: none. */
unsigned cpus_quota(const char *root);

#endif
