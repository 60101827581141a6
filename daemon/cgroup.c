/* cgroup.c - see cgroup.h. Files of the cgroup file system answer at once; moving a process does not, and is
 * done here once, at the start. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/peek.h"
#include "ipc/log.h"

#define LEAF     "supervisor"
#define PATH_LEN 1024
/* Of one that is given out: the kernel's own few pages, not an arena of the stage before. */
#define CHARGED_AT_MOST (1u << 20)

struct cgroup {
    bool taken;
    int dir, procs;
    uint64_t limit;
    struct cgroup_events before; /* counted when it was taken */
};

static struct {
    int dir; /* the delegated cgroup; -1: not in force */
    struct cgroup **all;
    unsigned n, room;
    char posture[PATH_LEN + 128];
    bool complained;
} tree = {.dir = -1};

static char *get(int dir, const char *file, char *text, size_t size)
{
    (void)peek(dir, file, text, size);
    return text;
}

/* ---- where we are ---- */

int cgroup_parse_self(const char *text, char *ret_path, size_t size)
{
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        if (n > 3 && strncmp(line, "0::/", 4) == 0) {
            if (n - 3 >= size || memmem(line, n, "/..", 3) != NULL) /* outside of our namespace */
                return -ENOENT;
            memcpy(ret_path, line + 3, n - 3);
            ret_path[n - 3] = '\0';
            return 0;
        }
        line += n + (line[n] == '\n');
    }
    return -ENOENT;
}

int cgroup_parse_mount(const char *mountinfo, char *ret_path, size_t size)
{
    for (const char *line = mountinfo; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        char root[256], where[256];
        const char *kind = memmem(line, n, " - cgroup2 ", 11);
        /* Only a mount of the whole: of a part we could not tell where it lies. */
        if (kind != NULL && sscanf(line, "%*s %*s %*s %255s %255s", root, where) == 2 &&
            strcmp(root, "/") == 0) {
            snprintf(ret_path, size, "%s", where);
            return 0;
        }
        line += n + (line[n] == '\n');
    }
    return -ENOENT;
}

int cgroup_find_self(char *ret_path, size_t size, size_t *ret_root)
{
    char self[PATH_LEN], where[PATH_LEN / 4], mounts[64 * 1024];
    get(AT_FDCWD, "/proc/self/cgroup", mounts, sizeof mounts);
    int r = cgroup_parse_self(mounts, self, sizeof self);
    if (r < 0)
        return r;
    get(AT_FDCWD, "/proc/self/mountinfo", mounts, sizeof mounts);
    if ((r = cgroup_parse_mount(mounts, where, sizeof where)) < 0)
        return r;
    *ret_root = strlen(where);
    return (size_t)snprintf(ret_path, size, "%s%s", where, strcmp(self, "/") == 0 ? "" : self) < size
               ? 0
               : -ENAMETOOLONG;
}

/* The manager gives the folder to the user it runs us as, or, where that is root, marks it. */
static bool is_delegated(const char *path)
{
    char mark[2] = "", file[PATH_LEN + 32];
    snprintf(file, sizeof file, "%s/cgroup.subtree_control", path);
    if (geteuid() != 0)
        return access(file, W_OK) == 0;
    return (getxattr(path, "user.delegate", mark, 1) == 1 ||
            getxattr(path, "trusted.delegate", mark, 1) == 1) &&
           mark[0] == '1';
}

/* In the leaf we are where DelegateSubgroup= has put us there, or somebody who starts us a second time. */
static bool find_delegated(char *path)
{
    char *last = strrchr(path, '/');
    if (last != NULL && strcmp(last, "/" LEAF) == 0) {
        *last = '\0';
        if (is_delegated(path))
            return true;
        *last = '/';
    }
    return is_delegated(path);
}

/* ---- writing ---- */

static int put(int dir, const char *file, const char *text)
{
    /* O_NONBLOCK: newer kernels then lower a limit without reclaiming on our time. */
    AUTO_FD int fd = openat(dir, file, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Left by an instance that was killed; its stages are dead or die with it. */
static void remove_leftovers(void)
{
    int fd = openat(tree.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL)
        if (strncmp(e->d_name, "stage-", 6) == 0)
            unlinkat(tree.dir, e->d_name, AT_REMOVEDIR);
    if (d != NULL)
        closedir(d);
}

static int make_one(void)
{
    char name[32];
    snprintf(name, sizeof name, "stage-%u", tree.n);
    if (mkdirat(tree.dir, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    AUTO_FD int dir = openat(tree.dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_FD int procs = dir >= 0 ? openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC) : -1;
    if (procs < 0)
        return -errno;
    /* A stage is one thing: all its threads go, and it does not wear the machine out by swapping. Either may
     * be missing from the kernel. */
    put(dir, "memory.oom.group", "1");
    put(dir, "memory.swap.max", "0");
    if (tree.n == tree.room) {
        tree.room = MAX(2 * tree.room, 16u);
        tree.all = xrealloc(tree.all, tree.room, sizeof tree.all[0]);
    }
    struct cgroup *g = xcalloc(1, sizeof *g);
    *g = (struct cgroup){.dir = TAKE_FD(dir), .procs = TAKE_FD(procs)};
    tree.all[tree.n++] = g;
    return 0;
}

/* What failed, in words; NULL: nothing. */
static const char *take_over(void)
{
    char controllers[256];
    get(tree.dir, "cgroup.controllers", controllers, sizeof controllers);
    if (strstr(controllers, "memory") == NULL)
        return "the memory controller is not there";
    if (mkdirat(tree.dir, LEAF, 0755) < 0 && errno != EEXIST)
        return "a cgroup cannot be made";
    if (put(tree.dir, LEAF "/cgroup.procs", "0") < 0)
        return "pwcd cannot move into a leaf";
    if (put(tree.dir, "cgroup.subtree_control", "+memory") < 0)
        return "the memory controller cannot be handed down (are there other processes in it?)";
    return NULL;
}

static int not_in_force(const char *why, const char *where)
{
    if (tree.dir >= 0)
        close(TAKE_FD(tree.dir));
    snprintf(tree.posture, sizeof tree.posture, "watched ten times a second (%s%s%s)", why,
             where[0] != '\0' ? ": " : "", where);
    return -ENOTSUP;
}

int cgroups_start(bool wanted, uint32_t stages)
{
    char path[PATH_LEN];
    size_t root;
    if (!wanted)
        return not_in_force("cgroups = no", "");
    if (cgroup_find_self(path, sizeof path, &root) < 0)
        return not_in_force("no cgroup v2", "");
    if (!find_delegated(path))
        return not_in_force("no cgroup is delegated to pwcd", "");
    tree.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *why = tree.dir < 0 ? strerror(errno) : take_over();
    if (why != NULL)
        return not_in_force(why, path);
    remove_leftovers();
    while (tree.n < stages && make_one() == 0)
        ;
    snprintf(tree.posture, sizeof tree.posture, "a cgroup for each stage, in %s", path);
    return 0;
}

const char *cgroups_posture(void)
{
    return tree.posture;
}

void cgroups_stop(void)
{
    if (tree.dir < 0)
        return;
    for (unsigned i = 0; i < tree.n; i++) {
        close(tree.all[i]->dir);
        close(tree.all[i]->procs);
        free(tree.all[i]);
    }
    remove_leftovers();
    free(TAKE_PTR(tree.all));
    tree.n = tree.room = 0;
    close(TAKE_FD(tree.dir));
}

/* ---- one stage's ---- */

/* What it is charged with; of one that cannot be looked at, no more can be. */
static uint64_t charged(const struct cgroup *g)
{
    char now[32];
    int r = peek(g->dir, "memory.current", now, sizeof now);
    return r < 0 && r != -ENOENT ? UINT64_MAX : strtoull(now, NULL, 10);
}

static int events(const struct cgroup *g, struct cgroup_events *ret)
{
    char text[256];
    int r = peek(g->dir, "memory.events", text, sizeof text);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret = cgroup_parse_events(text);
    return 0;
}

static struct cgroup *not_to_be_had(int error)
{
    if (!tree.complained)
        log_warn("no cgroup for a stage: %s; its memory is watched instead", strerror(-error));
    tree.complained = true;
    return NULL;
}

struct cgroup *cgroup_take(void)
{
    if (tree.dir < 0)
        return NULL;
    struct cgroup *g = NULL;
    for (unsigned i = 0; i < tree.n && g == NULL; i++)
        if (!tree.all[i]->taken && charged(tree.all[i]) <= CHARGED_AT_MOST)
            g = tree.all[i];
    int r = g == NULL ? make_one() : 0;
    if (r < 0)
        return not_to_be_had(r);
    if (g == NULL)
        g = tree.all[tree.n - 1];
    r = events(g, &g->before); /* without it, any later SIGKILL would seem to be the kernel's */
    if (r < 0)
        return not_to_be_had(r);
    g->taken = true;
    return g;
}

void cgroup_give_back(struct cgroup *g)
{
    if (g == NULL)
        return;
    BUG_ON(!g->taken);
    g->taken = false;
    cgroup_limit(g, 0);
}

int cgroup_procs(const struct cgroup *g)
{
    return g->procs;
}

bool cgroup_limits(const struct cgroup *g, uint64_t bytes)
{
    return g != NULL && g->limit == bytes;
}

bool cgroup_limit(struct cgroup *g, uint64_t bytes)
{
    char text[32];
    if (g == NULL || g->limit == bytes)
        return g != NULL;
    if (bytes != 0 && charged(g) > bytes)
        return false;
    if (bytes == 0)
        snprintf(text, sizeof text, "max");
    else
        snprintf(text, sizeof text, "%" PRIu64, bytes);
    if (put(g->dir, "memory.max", text) < 0)
        return false;
    g->limit = bytes;
    return true;
}

static uint64_t count_of(const char *events, const char *key)
{
    size_t len = strlen(key);
    for (const char *line = events; *line != '\0';) {
        if (strncmp(line, key, len) == 0 && line[len] == ' ')
            return strtoull(line + len, NULL, 10);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return 0;
}

struct cgroup_events cgroup_parse_events(const char *memory_events)
{
    return (struct cgroup_events){.oom = count_of(memory_events, "oom"),
                                  .oom_kill = count_of(memory_events, "oom_kill")};
}

enum oom cgroup_judge(struct cgroup_events before, struct cgroup_events after)
{
    if (after.oom_kill <= before.oom_kill)
        return OOM_NONE;
    return after.oom > before.oom ? OOM_CGROUP : OOM_KERNEL;
}

enum oom cgroup_oom(const struct cgroup *g)
{
    struct cgroup_events now;
    return g != NULL && events(g, &now) == 0 ? cgroup_judge(g->before, now) : OOM_NONE;
}
