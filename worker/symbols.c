/*
 * symbols.c - see symbols.h. The functions of each .symtab are copied into one sorted array and one heap of
 * names: pages of the file itself could vanish under a handler when a package is upgraded in place. What a
 * file says about its own layout is checked before it is followed.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "worker/symbols.h"

#define OBJECTS       64      /* unstripped ones; a distribution strips all but our own */
#define FUNCTIONS     200000u /* 5 MB: debug builds of libraries have some ten thousand */
#define NAMES         (16u << 20)
#define SECTIONS      512u /* of one file */
#define SYMTAB_BYTES  (64u << 20)
#define ROOM_AT_FIRST 4096u

struct function {
    uintptr_t start, end;
    uint32_t name; /* in names */
    uint32_t object;
};

static struct {
    struct function *functions;
    size_t n, room;
    char *names;
    size_t names_len, names_room;
    char objects[OBJECTS][48];
    uint32_t nobjects;
} all;

/* ---- reading ---- */

struct table {
    ElfW(Sym) * syms;
    size_t n;
    char *strings;
    size_t strings_len;
};

/* A section's bytes on the heap, with a zero behind them. */
static int read_section(int fd, const ElfW(Shdr) * sh, uint64_t file_size, void *ret_bytes)
{
    if (sh->sh_size > SYMTAB_BYTES || sh->sh_offset > file_size || sh->sh_size > file_size - sh->sh_offset)
        return -EINVAL;
    char *bytes = xcalloc(1, sh->sh_size + 1);
    int r = pread_all(fd, bytes, sh->sh_size, sh->sh_offset);
    if (r < 0)
        free(bytes);
    else
        *(char **)ret_bytes = bytes;
    return r;
}

static int read_header(int fd, ElfW(Ehdr) * ret)
{
    int r = pread_all(fd, ret, sizeof *ret, 0);
    if (r < 0)
        return r;
    bool ours = memcmp(ret->e_ident, ELFMAG, SELFMAG) == 0 && ret->e_shentsize == sizeof(ElfW(Shdr)) &&
                ret->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32);
    return ours && ret->e_shnum > 0 && ret->e_shnum <= SECTIONS ? 0 : -EINVAL;
}

static int read_table(int fd, struct table *ret)
{
    ElfW(Ehdr) head;
    ElfW(Shdr) sections[SECTIONS];
    struct stat st;
    int r = fstat(fd, &st) < 0 ? -errno : read_header(fd, &head);
    if (r == 0)
        r = pread_all(fd, sections, head.e_shnum * sizeof sections[0], head.e_shoff);
    if (r < 0)
        return r;
    for (size_t i = 0; i < head.e_shnum; i++) {
        const ElfW(Shdr) *sh = &sections[i];
        if (sh->sh_type != SHT_SYMTAB || sh->sh_link >= head.e_shnum)
            continue;
        struct table t = {.n = sh->sh_size / sizeof(ElfW(Sym)), .strings_len = sections[sh->sh_link].sh_size};
        if ((r = read_section(fd, sh, (uint64_t)st.st_size, &t.syms)) < 0)
            return r;
        if ((r = read_section(fd, &sections[sh->sh_link], (uint64_t)st.st_size, &t.strings)) < 0)
            free(t.syms);
        else
            *ret = t;
        return r;
    }
    return -ENOENT;
}

/* ---- keeping ---- */

static bool keep_name(const char *name, uint32_t *ret)
{
    size_t len = strlen(name) + 1;
    if (len > NAMES - all.names_len)
        return false;
    if (all.names_len + len > all.names_room) {
        all.names_room = MAX(all.names_room * 2, all.names_len + len + 64u * ROOM_AT_FIRST);
        all.names = xrealloc(all.names, all.names_room, 1);
    }
    memcpy(all.names + all.names_len, name, len);
    *ret = (uint32_t)all.names_len;
    all.names_len += len;
    return true;
}

static void keep_function(const struct table *t, const ElfW(Sym) * sym, uintptr_t bias, uint32_t object)
{
    struct function f = {.start = bias + sym->st_value, .object = object};
    f.end = f.start + sym->st_size;
    /* The type's macro is the same for both classes. */
    if (ELF64_ST_TYPE(sym->st_info) != STT_FUNC || sym->st_shndx == SHN_UNDEF || f.end <= f.start ||
        sym->st_name >= t->strings_len || all.n >= FUNCTIONS ||
        !keep_name(t->strings + sym->st_name, &f.name))
        return;
    if (all.n == all.room) {
        all.room = MAX(all.room * 2, ROOM_AT_FIRST);
        all.functions = xrealloc(all.functions, all.room, sizeof f);
    }
    all.functions[all.n++] = f;
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static int add_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    char self[256] = "";
    const char *path = info->dlpi_name;
    if (path == NULL || path[0] == '\0') {
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        self[MAX(n, 0)] = '\0';
        path = "/proc/self/exe"; /* opens even what was replaced meanwhile */
    }
    AUTO_FD int fd = all.nobjects < OBJECTS ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct table t;
    if (fd < 0 || read_table(fd, &t) < 0)
        return 0;
    snprintf(all.objects[all.nobjects], sizeof all.objects[0], "%.*s", (int)sizeof all.objects[0] - 1,
             file_name(self[0] != '\0' ? self : path));
    for (size_t i = 0; i < t.n; i++)
        keep_function(&t, &t.syms[i], info->dlpi_addr, all.nobjects);
    all.nobjects++;
    free(t.syms);
    free(t.strings);
    return 0;
}

static int by_start(const void *a, const void *b)
{
    const struct function *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

void symbols_load(void)
{
    dl_iterate_phdr(add_object, NULL);
    if (all.n > 0)
        qsort(all.functions, all.n, sizeof all.functions[0], by_start);
}

/* ---- finding ---- */

bool symbols_find(uintptr_t pc, struct symbol *ret)
{
    size_t low = 0, high = all.n; /* the first function that starts past pc */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all.functions[middle].start <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || pc >= all.functions[low - 1].end)
        return false;
    const struct function *f = &all.functions[low - 1];
    *ret = (struct symbol){.name = all.names + f->name, .object = all.objects[f->object], .start = f->start};
    return true;
}
