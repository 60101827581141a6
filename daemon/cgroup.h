/*
 * cgroup.h - a memory cgroup for each stage, where the service manager delegates us a part of the tree
 * (systemd: Delegate=). Without that, the tick watches how much memory stages have (tick.c).
 *
 *   DELEGATED/              ours; no process lives here, so that it may hand controllers down
 *   DELEGATED/supervisor/   pwcd and the nursery
 *   DELEGATED/stage-17/     one stage at a time
 *
 * Making, removing and joining cgroups share a lock of the kernel's, and who joins may hold it until all
 * processors have noticed [17 ms]. The supervisor waits for nothing: so cgroups are made before there are
 * stages, are used again (one that is short costs a wait, once), and a stage joins by itself, as a spare,
 * through a descriptor of cgroup.procs. What outlives a stage (an arena) stays charged to its cgroup, which
 * is not given out again before that is gone.
 */
#ifndef PWC_DAEMON_CGROUP_H
#define PWC_DAEMON_CGROUP_H

#include "ipc/base.h"

struct cgroup;

/* The folder of the group this process is in; root: so many of its bytes are where the tree is mounted. 0 or
 * -errno. */
int cgroup_find_self(char *ret_path, size_t size, size_t *ret_root);
/* Finds out whether we may, moves this process into a leaf and makes cgroups for so many stages. 0: in force.
 * Before any child is made. */
int cgroups_start(bool wanted, uint32_t stages);
/* One line for people: which of the two watches memory, and why. */
const char *cgroups_posture(void);
/* Removes them: no stage may be left. */
void cgroups_stop(void);

/* An empty one; NULL: not in force, or (warned) not to be had. */
struct cgroup *cgroup_take(void);
/* Its process must have been reaped, or never have joined. Accepts NULL. */
void cgroup_give_back(struct cgroup *g);
/* Who writes "0" to it joins. The cgroup's descriptor. */
int cgroup_procs(const struct cgroup *g);
/* What this stage may have from now on; 0: no limit. False: there is no cgroup, or it has more already, which
 * would have to be reclaimed first: then the tick watches. */
bool cgroup_limit(struct cgroup *g, uint64_t bytes);
bool cgroup_limits(const struct cgroup *g, uint64_t bytes); /* is this its limit now? */

enum oom { OOM_NONE, OOM_CGROUP, OOM_KERNEL };
/* Did the kernel kill it for want of memory, for its own limit or for another's (the machine's, the
 * service's)? */
enum oom cgroup_oom(const struct cgroup *g);

struct cgroup_events {
    uint64_t oom, oom_kill;
};
/* Pure, for tests. Our place in the tree as /proc/self/cgroup tells; where the tree is mounted, as mountinfo
 * tells. 0 or -errno. */
int cgroup_parse_self(const char *text, char *ret_path, size_t size);
int cgroup_parse_mount(const char *mountinfo, char *ret_path, size_t size);
struct cgroup_events cgroup_parse_events(const char *memory_events);
enum oom cgroup_judge(struct cgroup_events before, struct cgroup_events after);

#endif
