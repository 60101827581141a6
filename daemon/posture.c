/* posture.c - see posture.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>

#include "daemon/posture.h"
#include "daemon/units.h"

const char *posture_fs_name(uint64_t magic)
{
    static const struct {
        uint64_t magic;
        const char *name;
    } known[] = {
        {0xef53, "ext4"},
        {0x58465342, "xfs"},
        {0x9123683e, "btrfs"},
        {0x2fc12fc1, "zfs"},
        {0xf2f52010, "f2fs"},
        {0x794c7630, "overlay"},
        {0x01021994, "tmpfs: rasters take memory"},
        {0x858458f6, "ramfs: rasters take memory"},
        {0x6969, "nfs: slow for rasters"},
        {0x65735546, "fuse: slow for rasters"},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].magic == magic)
            return known[i].name;
    return "unknown file system";
}

void posture_scratch(const char *dir, char *text, size_t size)
{
    struct statfs fs;
    char room[UNITS_TEXT];
    if (statfs(dir, &fs) < 0) {
        snprintf(text, size, "%.150s (%s)", dir, strerror(errno));
        return;
    }
    size_format((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize >> 20 << 20, room);
    snprintf(text, size, "%.150s (%s; %s free at the start)", dir,
             posture_fs_name((uint64_t)fs.f_type & UINT32_MAX), room);
}

int posture_scratch_try(const char *dir)
{
    AUTO_FD int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : 0;
}

char *posture_limits(const struct config *cfg, uint32_t seats, char *text, size_t size)
{
    struct rlimit rl = {0, 0};
    char memory[UNITS_TEXT];
    getrlimit(RLIMIT_NOFILE, &rl);
    size_format(cfg->memory, memory);
    snprintf(text, size,
             "%ju descriptors; %u stages, memory of each %s; %u jobs (%u a user); %u clients (%u a user)",
             (uintmax_t)rl.rlim_cur, config_stages_max(cfg, seats), cfg->memory == 0 ? "unlimited" : memory,
             cfg->jobs_max, cfg->jobs_per_user, cfg->clients_max, cfg->clients_per_user);
    return text;
}
