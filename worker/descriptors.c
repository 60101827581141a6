/*
 * descriptors.c - the client's descriptors, role by role: checked, mapped, emptied, closed.
 *
 * A descriptor can be anything: here, in a stage that may hang and be written off, is the first place where
 * its type is looked at. The shared file offset is never used. A check says nothing about later: an input may
 * still shrink, which the SIGBUS handler tells apart by the list in mappings.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/job.h"
#include "worker/mappings.h"

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a pipe";
    if (S_ISSOCK(mode))
        return "a socket";
    if (S_ISCHR(mode) || S_ISBLK(mode))
        return "a device";
    return "of an unknown kind";
}

static int check_flags(struct op_job *job, const struct role_fd *r, int flags)
{
    int mode = flags & O_ACCMODE;
    if ((flags & O_PATH) != 0)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: opened with O_PATH, it must be open for reading%s",
                       r->name, r->dir == PWC__ROLE_DIR__ROLE_OUT ? " and writing" : "");
    if (r->dir == PWC__ROLE_DIR__ROLE_IN && mode == O_WRONLY)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: is not open for reading", r->name);
    if ((flags & O_DIRECT) != 0)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: opened with O_DIRECT, open it without", r->name);
    if (r->dir != PWC__ROLE_DIR__ROLE_OUT)
        return 0;
    if (mode != O_RDWR)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: must be open for reading and writing", r->name);
    if ((flags & O_APPEND) != 0)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: opened with O_APPEND, open it without", r->name);
    return 0;
}

/* Files of /proc say that they are empty, and are not: chunks of nothing would be a wrong result. */
static int check_empty(struct op_job *job, const struct role_fd *r)
{
    char c;
    ssize_t n = pread(r->fd, &c, 1, 0);
    if (n < 0)
        return op_fail(job, CODE(INPUT_IO), "%s: cannot be read: %s", r->name, strerror(errno));
    if (n > 0)
        return op_fail(job, CODE(BAD_DESCRIPTOR),
                       "%s: says that it is empty and is not, as files of /proc do: a copy is needed",
                       r->name);
    return 0;
}

static int check_one(struct op_job *job, struct role_fd *r)
{
    struct stat st;
    int flags = fcntl(r->fd, F_GETFL);
    if (flags < 0)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: %s", r->name, strerror(errno));
    if (check_flags(job, r, flags) < 0)
        return -1;
    if (fstat(r->fd, &st) < 0)
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: cannot look at it: %s", r->name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: is %s, a regular file is needed", r->name,
                       kind_of(st.st_mode));
    r->size = (uint64_t)st.st_size;
    r->dev = st.st_dev;
    r->ino = st.st_ino;
    if (r->dir == PWC__ROLE_DIR__ROLE_IN && r->size == 0 && check_empty(job, r) < 0)
        return -1;
    if (r->dir == PWC__ROLE_DIR__ROLE_IN)
        mapping_add(MAPPING_INPUT, NULL, r->size, r->fd);
    return 0;
}

static int check_aliases(struct op_job *job)
{
    const struct op_job_private *p = job->priv;
    for (unsigned i = 0; i < p->nroles; i++)
        for (unsigned k = 0; k < p->nroles; k++) {
            const struct role_fd *out = &p->roles[i], *other = &p->roles[k];
            if (i == k || out->dir != PWC__ROLE_DIR__ROLE_OUT || out->fd < 0 || other->fd < 0)
                continue;
            if (out->dev == other->dev && out->ino == other->ino)
                return op_fail(job, CODE(BAD_DESCRIPTOR), "%s: is the same file as %s, name another",
                               out->name, other->name);
        }
    return 0;
}

int descriptors_check(struct op_job *job)
{
    struct op_job_private *p = job->priv;
    for (unsigned i = 0; i < p->nroles; i++)
        if (p->roles[i].fd >= 0 && check_one(job, &p->roles[i]) < 0)
            return -1;
    return check_aliases(job);
}

void descriptors_close(struct op_job *job)
{
    struct op_job_private *p = job->priv;
    for (unsigned i = 0; i < p->nroles; i++) {
        struct role_fd *r = &p->roles[i];
        if (r->map != NULL) {
            mapping_remove(r->map);
            munmap((void *)(uintptr_t)r->map, r->size);
            r->map = NULL;
        }
        if (r->fd >= 0) {
            mapping_remove_fd(r->fd);
            close(TAKE_FD(r->fd));
        }
    }
}

int descriptors_truncate(struct op_job *job)
{
    struct op_job_private *p = job->priv;
    for (unsigned i = 0; i < p->nroles; i++) {
        const struct role_fd *r = &p->roles[i];
        int e = r->dir == PWC__ROLE_DIR__ROLE_OUT && r->fd >= 0 ? fd_resize(r->fd, 0) : 0;
        if (e < 0)
            return op_fail(job, CODE(OUTPUT), "%s: cannot be emptied: %s", r->name, strerror(-e));
    }
    return 0;
}

uint64_t descriptors_bytes_in(const struct op_job *job)
{
    const struct op_job_private *p = job->priv;
    uint64_t sum = 0;
    for (unsigned i = 0; i < p->nroles; i++)
        if (p->roles[i].dir == PWC__ROLE_DIR__ROLE_IN && p->roles[i].fd >= 0)
            sum += p->roles[i].size;
    return sum;
}

/* ---- for ops ---- */

static struct role_fd *input_of(struct op_job *job, const char *role)
{
    struct op_job_private *p = job->priv;
    for (unsigned i = 0; i < p->nroles; i++)
        if (p->roles[i].fd >= 0 && strcmp(p->roles[i].name, role) == 0)
            return &p->roles[i];
    return NULL;
}

static const void *map_of(struct role_fd *r)
{
    if (r->map == NULL) {
        void *map = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, 0);
        if (map == MAP_FAILED)
            return NULL;
        r->map = map;
        mapping_add(MAPPING_INPUT, map, r->size, r->fd);
    }
    return r->map;
}

const void *op_map_input(struct op_job *job, const char *role, uint64_t *ret_len)
{
    struct role_fd *r = input_of(job, role);
    if (r == NULL) {
        op_fail(job, CODE(BAD_DESCRIPTOR), "%s: no descriptor was given", role);
        return NULL;
    }
    if (r->size == 0) {
        op_fail(job, CODE(BAD_INPUT), "%s: is empty", role);
        return NULL;
    }
    const void *map = map_of(r);
    if (map == NULL)
        op_fail(job, CODE(BAD_DESCRIPTOR), "%s: cannot be mapped: %s", role, strerror(errno));
    *ret_len = r->size;
    return map;
}

const void *op_view_input(struct op_job *job, const char *role, uint64_t *ret_len)
{
    struct role_fd *r = input_of(job, role);
    const void *map = r != NULL && r->size > 0 ? map_of(r) : NULL;
    *ret_len = map != NULL ? r->size : 0;
    return map;
}
