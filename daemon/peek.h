/*
 * peek.h - reads small files of /proc and of cgroups, also when pwcd has no descriptor left: one is kept for
 * that. What cannot be read all the same is unknown, which is not the same as empty.
 */
#ifndef PWC_PEEK_H
#define PWC_PEEK_H

#include "ipc/base.h"

/* The beginning of a file, terminated; "" if it fails. 0 or -errno. dir: as of openat(2). */
int peek(int dir, const char *path, char *text, size_t size);
/* It was no failure: a process, or a file of its, that is not there any more. */
bool peek_is_gone(int r);

/* As peek does it: a descriptor or -errno. When it is closed again, peek_done: before anything else is
 * opened. */
int peek_open(int dir, const char *path, int flags);
void peek_done(void);

#endif
