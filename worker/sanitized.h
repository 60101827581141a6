/*
 * sanitized.h - builds with sanitizers only: what a stage does so that its faults are seen.
 *
 * Reports go where PWC_REPORTS says, a folder; a stage's stderr is a pipe of which only the end is kept. And
 * since stages end by SIGKILL or _exit, the search for leaks at exit never comes: instead they look when a
 * job was closed, inside the sandbox, whose filter has what that takes in such builds.
 */
#ifndef PWC_WORKER_SANITIZED_H
#define PWC_WORKER_SANITIZED_H

#ifdef PWC_SANITIZED
/* Before the sandbox. */
void sanitized_prepare(void);
/* A job was closed. What is found is reported; the stage goes on. */
void sanitized_look_for_leaks(void);
#else
static inline void sanitized_prepare(void)
{
}
static inline void sanitized_look_for_leaks(void)
{
}
#endif

#endif
