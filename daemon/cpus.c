/*
 * cpus.c - see cpus.h. Texts of /proc and /sys are parsed by pure functions; whatever is missing or not
 * understood means "no limit": too many stages are slow, none would be useless.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cpus.h"
#include "ipc/fds.h"

#define FILE_MAX (256u * 1024u) /* mountinfo of a host with thousands of mounts */

/* ---- pure ---- */

static unsigned quota_cpus(uint64_t quota, uint64_t period)
{
    if (quota == 0 || period == 0)
        return 0;
    uint64_t n = quota / period + (quota % period != 0);
    return n > UINT32_MAX ? 0 : (unsigned)n;
}

/* A number at the start of text; false for "max", "-1" and the like. */
static bool leading_number(const char *text, uint64_t *ret, const char **ret_rest)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    *ret = v;
    *ret_rest = end + strspn(end, " \t");
    return true;
}

unsigned cpus_parse_max(const char *text)
{
    uint64_t quota, period;
    const char *rest;
    if (!leading_number(text, &quota, &rest) || !leading_number(rest, &period, &rest))
        return 0;
    return quota_cpus(quota, period);
}

unsigned cpus_parse_cfs(const char *quota, const char *period)
{
    uint64_t q, p;
    const char *rest;
    if (!leading_number(quota, &q, &rest) || !leading_number(period, &p, &rest))
        return 0;
    return quota_cpus(q, p);
}

/* Is `word` one of the comma-separated words in [list, end)? */
static bool in_list(const char *list, const char *end, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma != NULL ? comma : end;
        if ((size_t)(stop - p) == n && memcmp(p, word, n) == 0)
            return true;
        p = stop + 1;
    }
    return false;
}

char *cpus_parse_cgroup(const char *text, const char *controller)
{
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *end = line + len;
        const char *names = memchr(line, ':', len);
        const char *path = names != NULL ? memchr(names + 1, ':', (size_t)(end - names - 1)) : NULL;
        if (path != NULL) {
            bool hit = controller == NULL ? path == names + 1 && strncmp(line, "0:", 2) == 0
                                          : in_list(names + 1, path, controller);
            if (hit)
                return strndup(path + 1, (size_t)(end - path - 1));
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return NULL;
}

/* The kernel writes blanks in paths as \040 and so on. */
static void unescape(char *s)
{
    char *out = s;
    for (; *s != '\0'; s++) {
        if (s[0] == '\\' && strspn(s + 1, "01234567") >= 3) {
            *out++ = (char)(((s[1] - '0') << 6) | ((s[2] - '0') << 3) | (s[3] - '0'));
            s += 3;
        } else {
            *out++ = *s;
        }
    }
    *out = '\0';
}

/* One line: "36 35 98:0 ROOT DIR opts [tags] - TYPE source superopts". */
static bool mount_line(char *line, const char *controller, char **ret_dir, char **ret_root)
{
    char *field[6], *save = NULL;
    char *tail = strstr(line, " - ");
    if (tail == NULL)
        return false;
    *tail = '\0';
    char *type = strtok_r(tail + 3, " ", &save);
    (void)strtok_r(NULL, " ", &save);
    char *super = strtok_r(NULL, " ", &save);
    if (type == NULL || strcmp(type, controller == NULL ? "cgroup2" : "cgroup") != 0)
        return false;
    if (controller != NULL && (super == NULL || !in_list(super, super + strlen(super), controller)))
        return false;
    size_t n = 0;
    for (char *w = strtok_r(line, " ", &save); w != NULL && n < 5; w = strtok_r(NULL, " ", &save))
        field[n++] = w;
    if (n < 5)
        return false;
    unescape(field[3]);
    unescape(field[4]);
    *ret_root = xstrdup(field[3]);
    *ret_dir = xstrdup(field[4]);
    return true;
}

int cpus_parse_mount(const char *text, const char *controller, char **ret_dir, char **ret_root)
{
    AUTO_FREE char *copy = xstrdup(text);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
        if (mount_line(line, controller, ret_dir, ret_root))
            return 0;
    return -ENOENT;
}

struct cpus cpus_decide(unsigned configured, unsigned affinity, unsigned quota)
{
    if (configured > 0)
        return (struct cpus){configured, "config"};
    if (quota > 0 && (affinity == 0 || quota < affinity))
        return (struct cpus){quota, "cpu.max"};
    return (struct cpus){MAX(affinity, 1u), "affinity"};
}

/* ---- reading ---- */

/* The whole of a small file of /proc or /sys; NULL when it is not there. */
static char *slurp(const char *root, const char *dir, const char *name)
{
    AUTO_FREE char *path = xasprintf("%s%s/%s", root, dir, name);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = NULL;
    size_t len = 0, size = 0;
    for (;;) {
        if (size - len < 2) {
            size = size > 0 ? size * 2 : 1024;
            text = xrealloc(text, size, 1);
        }
        ssize_t n = read(fd, text + len, size - len - 1);
        if (n <= 0 || len >= FILE_MAX)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    return text;
}

static unsigned group_quota(const char *root, const char *dir, bool v2)
{
    if (v2) {
        AUTO_FREE char *max = slurp(root, dir, "cpu.max");
        return max != NULL ? cpus_parse_max(max) : 0;
    }
    AUTO_FREE char *quota = slurp(root, dir, "cpu.cfs_quota_us");
    AUTO_FREE char *period = slurp(root, dir, "cpu.cfs_period_us");
    return quota != NULL && period != NULL ? cpus_parse_cfs(quota, period) : 0;
}

/*
 * The group's path below the mount point. In a container the hierarchy is mounted from the group's own root
 * on, or the path leads out of the namespace ("/../.."): then the mount point is all that can be seen.
 */
static const char *below_mount(const char *group, const char *root)
{
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(group, root, n) != 0 || (group[n] != '/' && group[n] != '\0') || strstr(group, "/..") != NULL)
        return "";
    return strcmp(group + n, "/") == 0 ? "" : group + n;
}

/* The least quota from the group up to the mount point. */
static unsigned hierarchy_quota(const char *root, const char *mounts, const char *groups,
                                const char *controller)
{
    AUTO_FREE char *dir = NULL, *mount_root = NULL;
    AUTO_FREE char *group = cpus_parse_cgroup(groups, controller);
    if (group == NULL || cpus_parse_mount(mounts, controller, &dir, &mount_root) < 0)
        return 0;
    AUTO_FREE char *path = xasprintf("%s%s", dir, below_mount(group, mount_root));
    size_t top = strlen(dir);
    unsigned least = 0;
    for (;;) {
        unsigned q = group_quota(root, path, controller == NULL);
        if (q > 0 && (least == 0 || q < least))
            least = q;
        char *slash = strrchr(path, '/');
        if (strlen(path) <= top || slash == NULL)
            return least;
        *slash = '\0';
    }
}

unsigned cpus_quota(const char *root)
{
    AUTO_FREE char *groups = slurp(root, "/proc/self", "cgroup");
    AUTO_FREE char *mounts = slurp(root, "/proc/self", "mountinfo");
    if (groups == NULL || mounts == NULL)
        return 0;
    unsigned v2 = hierarchy_quota(root, mounts, groups, NULL);
    unsigned v1 = hierarchy_quota(root, mounts, groups, "cpu");
    return v2 > 0 && v1 > 0 ? MIN(v1, v2) : MAX(v1, v2);
}

/* glibc's cpu_set_t ends at 1024; the kernel says -EINVAL until the set is large enough. */
static unsigned affinity_cpus(void)
{
    for (unsigned max = 1024; max <= 1024 * 1024; max *= 4) {
        cpu_set_t *set = CPU_ALLOC(max);
        size_t size = CPU_ALLOC_SIZE(max);
        if (set == NULL)
            return 0;
        int r = sched_getaffinity(0, size, set) < 0 ? -errno : CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (r != -EINVAL)
            return r > 0 ? (unsigned)r : 0;
    }
    return 0;
}

struct cpus cpus_usable(unsigned configured, const char *root)
{
    return cpus_decide(configured, affinity_cpus(), cpus_quota(root));
}
