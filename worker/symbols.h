/*
 * symbols.h - names for addresses of code, static functions too, in a process that may open nothing any more.
 *
 * The nursery reads the symbol tables of all objects that are loaded, once, while files can be opened; stages
 * inherit what it found, read-only. An object without a table (stripped) is not in it: its exported names are
 * the loader's to tell.
 */
#ifndef PWC_WORKER_SYMBOLS_H
#define PWC_WORKER_SYMBOLS_H

#include "ipc/base.h"

struct symbol {
    const char *name;
    const char *object; /* the file's name without its folder */
    uintptr_t start;
};

/* After everything is loaded. What cannot be read stays nameless. */
void symbols_load(void);
/* Async-signal-safe. False: not in a function it knows. */
bool symbols_find(uintptr_t pc, struct symbol *ret);

#endif
