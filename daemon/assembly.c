/* assembly.c - see assembly.h. */
#include <unistd.h>

#include "daemon/assembly.h"
#include "ipc/log.h"

static uint64_t mask(uint32_t place, uint32_t n)
{
    uint64_t bits = n >= 64 ? UINT64_MAX : (1ull << n) - 1;
    return bits << place;
}

void assembly_init(struct assembly *a, uint64_t result_bytes)
{
    *a = (struct assembly){.result_bytes = result_bytes};
}

static void arena_free(struct assembly *a, struct arena *arena)
{
    a->bytes -= arena->bytes;
    LIST_REMOVE(arena, link);
    if (arena->fd >= 0)
        close(arena->fd);
    free(arena);
}

static void arena_drop(struct assembly *a, struct arena *arena)
{
    if (!arena->known) {
        arena_free(a, arena);
        return;
    }
    LIST_REMOVE(arena, link);
    LIST_INSERT_HEAD(&a->gone, arena, link);
    close(arena->fd);
    arena->fd = -1;
}

int arena_take_fd(struct assembly *a, struct arena *arena)
{
    int fd = arena->fd;
    BUG_ON(arena->taken != 0);
    arena->fd = -1;
    arena_free(a, arena); /* the job is over, for its consumer too */
    return fd;
}

static void result_drop(struct assembly *a, struct result *r)
{
    if (r->arena != NULL)
        arena_free_places(r->arena, r->place, (uint32_t)r->n);
    if (r->arena != NULL && r->arena->orphan && r->arena->taken == 0)
        arena_drop(a, r->arena);
    LIST_REMOVE(r, link);
    free(r);
}

static void drop_all(struct assembly *a)
{
    while (!LIST_EMPTY(&a->results))
        result_drop(a, LIST_FIRST(&a->results));
}

static void forget_gone(struct assembly *a)
{
    while (!LIST_EMPTY(&a->gone))
        arena_free(a, LIST_FIRST(&a->gone));
}

void assembly_free(struct assembly *a)
{
    drop_all(a);
    while (!LIST_EMPTY(&a->arenas))
        arena_free(a, LIST_FIRST(&a->arenas));
    forget_gone(a);
}

struct arena *arena_new(struct assembly *a, uint64_t id, int fd, uint64_t bytes)
{
    struct arena *arena = xcalloc(1, sizeof *arena);
    uint64_t places = a->result_bytes > 0 ? bytes / a->result_bytes : 0;
    *arena =
        (struct arena){.id = id, .fd = fd, .bytes = bytes, .places = (uint32_t)MIN(places, ARENA_PLACES)};
    LIST_INSERT_HEAD(&a->arenas, arena, link);
    a->bytes += bytes;
    return arena;
}

void arena_release(struct assembly *a, struct arena *arena)
{
    if (arena == NULL)
        return;
    arena->orphan = true;
    if (arena->taken == 0)
        arena_drop(a, arena);
}

/* The longest run of free places up to `most`, first fit. */
static uint32_t free_run(const struct arena *arena, uint32_t most, uint32_t *ret_place)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < arena->places && best < most;) {
        uint32_t n = 0;
        while (i + n < arena->places && n < most && (arena->taken >> (i + n) & 1) == 0)
            n++;
        if (n > best) {
            best = n;
            *ret_place = i;
        }
        i += n + 1;
    }
    return best;
}

bool arena_has_room(const struct assembly *a, const struct arena *arena, uint64_t first)
{
    uint32_t reserve = first == a->absorbed ? 0 : 1;
    return (uint32_t)__builtin_popcountll(arena->taken) + reserve < arena->places;
}

uint32_t arena_take(const struct assembly *a, struct arena *arena, uint64_t first, uint32_t most,
                    uint32_t *ret_place)
{
    if (!arena_has_room(a, arena, first))
        return 0;
    uint32_t used = (uint32_t)__builtin_popcountll(arena->taken), reserve = first == a->absorbed ? 0 : 1;
    uint32_t n = free_run(arena, MIN(most, arena->places - used - reserve), ret_place);
    if (n > 0)
        arena->taken |= mask(*ret_place, n);
    return n;
}

void arena_free_places(struct arena *arena, uint32_t place, uint32_t n)
{
    BUG_ON((arena->taken & mask(place, n)) != mask(place, n));
    arena->taken &= ~mask(place, n);
}

/* Looks for its place from `before` on, one that is in front of it; NULL: from the first. Returns it. */
static struct result *insert(struct assembly *a, struct result *before, struct result what)
{
    struct result *r = xcalloc(1, sizeof *r);
    struct result *at = before != NULL ? LIST_NEXT(before, link) : LIST_FIRST(&a->results);
    *r = what;
    for (; at != NULL && at->first <= r->first; at = LIST_NEXT(at, link))
        before = at;
    if (before == NULL)
        LIST_INSERT_HEAD(&a->results, r, link);
    else
        LIST_INSERT_AFTER(before, r, link);
    return r;
}

void assembly_add(struct assembly *a, struct arena *arena, uint64_t first, uint64_t n, uint32_t place)
{
    insert(a, NULL, (struct result){.first = first, .n = n, .arena = arena, .place = place});
}

void assembly_add_hole(struct assembly *a, uint64_t chunk)
{
    assembly_add(a, NULL, chunk, 1, 0);
}

static void add_holes(struct assembly *a, const struct iset *bad, uint64_t upto)
{
    struct result *last = NULL;
    for (size_t i = 0; i < bad->n; i++)
        for (uint64_t c = bad->ranges[i].from; c < MIN(bad->ranges[i].to, upto); c++)
            last = insert(a, last, (struct result){.first = c, .n = 1});
}

static const struct result *result_at(const struct assembly *a, uint64_t chunk)
{
    const struct result *r;
    LIST_FOREACH(r, &a->results, link)
    {
        if (chunk >= r->first && chunk < r->first + r->n)
            return r;
    }
    return NULL;
}

void assembly_remove_hole(struct assembly *a, uint64_t chunk)
{
    struct result *r = LIST_FIRST(&a->results);
    while (r != NULL && r->first < chunk)
        r = LIST_NEXT(r, link);
    BUG_ON(r == NULL || r->first != chunk || r->arena != NULL || chunk < a->sent);
    result_drop(a, r);
}

const struct result *assembly_next(struct assembly *a, uint64_t *ret_first, uint64_t *ret_n)
{
    const struct result *r = result_at(a, a->sent);
    if (r == NULL)
        return NULL;
    *ret_first = a->sent;
    *ret_n = r->first + r->n - a->sent;
    a->sent = r->first + r->n;
    return r;
}

bool assembly_absorbed(struct assembly *a, uint64_t upto)
{
    if (upto > a->sent || upto < a->absorbed)
        return false;
    a->absorbed = upto;
    struct result *r = LIST_FIRST(&a->results);
    while (r != NULL && r->first + r->n <= upto) {
        struct result *next = LIST_NEXT(r, link);
        result_drop(a, r);
        r = next;
    }
    return true;
}

static void begin_again(struct assembly *a)
{
    struct arena *arena;
    LIST_FOREACH(arena, &a->arenas, link)
    {
        arena->known = false;
    }
    forget_gone(a);
    a->sent = a->absorbed = 0;
}

/* By ranges: how many chunks there are is a stage's word. */
void assembly_restart(struct assembly *a, struct ledger *l)
{
    uint64_t at = 0, upto = a->absorbed;
    const struct result *r;
    begin_again(a);
    LIST_FOREACH(r, &a->results, link)
    {
        if (r->first >= upto)
            break;
        ledger_forget(l, at, r->first);
        at = r->first + r->n;
    }
    ledger_forget(l, at, upto);
    add_holes(a, &l->bad, upto);
}

void assembly_rewind(struct assembly *a, struct ledger *l)
{
    begin_again(a);
    drop_all(a);
    ledger_rewind(l);
    add_holes(a, &l->bad, l->total);
}

bool assembly_full(const struct assembly *a, uint32_t seats)
{
    const struct arena *arena;
    uint32_t orphans = 0;
    LIST_FOREACH(arena, &a->arenas, link)
    {
        orphans += arena->orphan;
    }
    return orphans >= seats * ORPHANS_A_SEAT;
}

uint32_t assembly_arenas(const struct assembly *a)
{
    const struct arena *arena;
    uint32_t n = 0;
    LIST_FOREACH(arena, &a->arenas, link)
    {
        n++;
    }
    return n;
}

bool assembly_gone(struct assembly *a, uint64_t *ret_arena)
{
    struct arena *arena = LIST_FIRST(&a->gone);
    if (arena == NULL)
        return false;
    *ret_arena = arena->id;
    arena_free(a, arena);
    return true;
}

bool assembly_holds(const struct assembly *a, uint64_t chunk)
{
    return result_at(a, chunk) != NULL;
}
