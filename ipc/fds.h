/* fds.h - descriptors: flags, memfds, seals. All are close-on-exec from birth. */
#ifndef PWC_FDS_H
#define PWC_FDS_H

#include "ipc/base.h"

int fd_set_nonblock(int fd, bool on);
int fd_dup(int fd); /* close-on-exec duplicate at 3 or above */

/* A memfd of fixed size: sealed SHRINK|GROW|SEAL; pages are not reserved. */
int memfd_sized(const char *name, uint64_t bytes, int *ret_fd);
/* An empty one, as it were, that somebody else may fill: of `most` bytes, none of them written, sealed GROW.
 */
int memfd_blank(const char *name, uint64_t most, int *ret_fd);
/* It becomes a copy of data, sealed against every change. */
int memfd_fill(int fd, const void *data, size_t len);
/* A memfd that holds a copy of data, sealed against every change. */
int memfd_sealed_copy(const char *name, const void *data, size_t len, int *ret_fd);
/* True if fd is a memory file that can neither shrink nor (if `write`) be written. */
bool memfd_is_sealed(int fd, bool write);
/* A second, read-only open file description of the same object. Needs /proc. */
int fd_reopen_ro(int fd, int *ret_fd);

/* Gives the file this size; fd_reserve also its pages or blocks, where the file system can. Unlike the calls
 * beneath they are not interrupted: whoever attaches to a process or continues it sends signals through them.
 * 0 or -errno. */
int fd_resize(int fd, uint64_t bytes);
int fd_reserve(int fd, uint64_t bytes);

int write_all(int fd, const void *data, size_t len);
int pread_all(int fd, void *data, size_t len, uint64_t offset); /* -ENODATA at an early end */

#endif
