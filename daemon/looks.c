/* looks.c - see looks.h. */
#include "daemon/looks.h"

static void next_one(struct looks *l, struct mono now)
{
    if (l->back.ns == 0) /* beside others */
        return;
    if (mono_since(now, l->back) < LOOKS_SOON)
        l->hold -= l->hold > 0;
    else if (l->hold == 0)
        l->hold = LOOKS_HOLD;
    l->back.ns = 0;
}

bool looks_on(struct looks *l, uint64_t flown, uint32_t flying, uint32_t seats, struct mono now)
{
    l->left -= l->left > 0;
    if (flown != l->flown) {
        next_one(l, now);
        l->flown = flown;
        l->left = LOOKS_MOST;
    }
    if (flying == 0 && l->back.ns == 0)
        l->back = now;
    return l->left > 0 && flying <= seats && (flying > 0 || l->hold == 0);
}
