/*
 * sanitized.c - see sanitized.h.
 *
 * The run-time knows threads by the id they were made with. A stage is a copy of the nursery under another
 * id, so its only stack would not be searched for pointers: it is named as a root.
 */
#include "worker/sanitized.h"

#ifdef PWC_SANITIZED
#include <dlfcn.h>
#include <pthread.h>
#include <sanitizer/lsan_interface.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BELOW (64u << 10) /* registers of the check's caller are saved in frames below ours */

static char *stack_end;
static unsigned closed;

static void find_stack(void)
{
    pthread_attr_t attr;
    void *base;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attr) != 0)
        return;
    if (pthread_attr_getstack(&attr, &base, &size) == 0)
        stack_end = (char *)base + size;
    pthread_attr_destroy(&attr);
}

/* gcc's run-time for undefined behaviour is a library of its own, which beside that for addresses reads no
 * options. */
static void name_reports(void)
{
    const char *dir = getenv("PWC_REPORTS");
    void *lib = dir != NULL ? dlopen("libubsan.so.1", RTLD_NOW | RTLD_NOLOAD) : NULL;
    void (*set)(const char *) = NULL;
    if (lib != NULL)
        *(void **)&set = dlsym(lib, "__sanitizer_set_report_path");
    char path[512];
    if (set != NULL && snprintf(path, sizeof path, "%s/undefined", dir) < (int)sizeof path)
        set(path);
}

void sanitized_prepare(void)
{
    find_stack();
    name_reports();
}

/* What leaks stays: the first, second, fourth, eighth job and so on find all of it, and a thousand small jobs
 * stay quick. */
void sanitized_look_for_leaks(void)
{
    char *here = __builtin_frame_address(0);
    closed++;
    if (stack_end == NULL || (closed & (closed - 1)) != 0)
        return;
    size_t bytes = (size_t)(stack_end - here) + BELOW;
    __lsan_register_root_region(here - BELOW, bytes);
    __lsan_do_recoverable_leak_check();
    __lsan_unregister_root_region(here - BELOW, bytes);
}
#endif
