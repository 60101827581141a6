/* posture.h - what `pwcctl doctor` tells of limits and of the place for rasters: texts for people. */
#ifndef PWC_DAEMON_POSTURE_H
#define PWC_DAEMON_POSTURE_H

#include "daemon/config.h"

/* "ext4", "tmpfs: rasters take memory", ...; by the number statfs(2) gives. */
const char *posture_fs_name(uint64_t magic);

/* The directory and its file system. Asks the file system: at the start and after a reload only. */
void posture_scratch(const char *dir, char *text, size_t size);

/* Makes a scratch file there and lets it go: 0 or -errno. */
int posture_scratch_try(const char *dir);

/* The limits in force, on one line. Returns text. */
char *posture_limits(const struct config *cfg, uint32_t seats, char *text, size_t size);

#endif
