/* level.c - what the daemon holds, read off /proc when only spares are left. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "tests/chaos/chaos.h"

#define REST_NS (60 * NS_PER_S)

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n >= 2 ? n - 2 : 0;
}

/* Lines of a file that have the word in them. */
static unsigned count_lines(const char *path, const char *word)
{
    char line[512];
    unsigned n = 0;
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        n += strstr(line, word) != NULL;
    if (f != NULL)
        fclose(f);
    return n;
}

static uint64_t rss_bytes(int pid)
{
    char path[64], line[128];
    unsigned long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmRSS: %lu", &kb) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return (uint64_t)kb * 1024;
}

static unsigned count_children(int pid)
{
    char path[64];
    unsigned n = 0;
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fscanf(f, "%d", &child) == 1)
        n++;
    if (f != NULL)
        fclose(f);
    return n;
}

/* Mappings of stages' memory; the daemon's own libraries and heap come and go as they like. */
static struct level level_now(int pid)
{
    char path[64];
    struct level l = {.rss = rss_bytes(pid), .children = count_children(pid)};
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    l.fds = count_entries(path);
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    l.mappings = count_lines(path, "memfd:");
    return l;
}

struct census {
    unsigned stages, spares, nurseries;
};

static void count_stage(const struct pwc_stage_info *info, void *user)
{
    struct census *n = user;
    n->stages++;
    n->spares += strcmp(info->role, "spare") == 0 && strcmp(info->state, "spare") == 0;
    n->nurseries += strcmp(info->role, "nursery") == 0;
}

static void look_at_status(const struct pwc_status *status, void *user)
{
    *(struct pwc_status *)user = *status;
}

/* Ready for the next job and nothing else: a spare a seat and one more, one nursery, all its children known.
 */
static bool at_rest(struct pwc *c, int pid, struct level *ret)
{
    struct pwc_status status = {0};
    struct census n = {0};
    if (pwc_get_status(c, PWC_TIMEOUT_DEFAULT, look_at_status, &status) != PWC_OK ||
        pwc_list_stages(c, PWC_TIMEOUT_DEFAULT, count_stage, &n) != PWC_OK)
        give_up("pwcd does not answer: %s", pwc_error());
    *ret = level_now(pid);
    return status.busy == 0 && status.jobs_running == 0 && status.jobs_queued == 0 && n.nurseries == 1 &&
           n.spares == status.workers + 1 && n.stages == n.spares + 1 && ret->children == n.stages;
}

struct level level_at_rest(struct pwc *c, int pid)
{
    struct mono end = mono_add(clock_now(), REST_NS);
    struct level l;
    unsigned calm = 0;
    while (calm < 3) { /* descriptors of clients are closed by a thread, a moment after their job */
        calm = at_rest(c, pid, &l) ? calm + 1 : 0;
        if (mono_since(clock_now(), end) > 0) {
            level_print("now", &l);
            give_up("pwcd does not come to rest");
        }
        poll(NULL, 0, 50);
    }
    return l;
}

void level_print(const char *when, const struct level *l)
{
    printf("chaos: %s: pwcd has %u descriptors, %u mappings of stages, %u children, %lu KiB resident\n", when,
           l->fds, l->mappings, l->children, (unsigned long)(l->rss / 1024));
}
