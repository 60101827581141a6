/* backlog.c - see backlog.h. */
#include "daemon/backlog.h"

#define BUFFERED   4u    /* results in a row that a saver may take into its buffers */
#define STARVED_NS 100e6 /* for so long a consumer that is the slowest of a job has something to take */

void backlog_begins(struct backlog *b, uint64_t now)
{
    b->since = now;
}

void backlog_fed(struct backlog *b, uint64_t now)
{
    b->since = now;
    b->idled = true;
}

void backlog_taken(struct backlog *b, uint64_t chunks, uint64_t now)
{
    if (chunks == 0)
        return;
    double took = (double)(now > b->since ? now - b->since : 0) / (double)chunks;
    if (took > b->take_ns)
        b->take_ns = b->take_ns > 0 ? 0.3 * b->take_ns + 0.7 * took : took;
    else if (!b->idled || b->idles > BUFFERED)
        b->take_ns = 0.7 * b->take_ns + 0.3 * took;
    b->idles = b->idled ? b->idles + 1 : 0;
    b->idled = false;
    b->since = now;
    b->samples++;
}

uint32_t backlog_workers(const struct backlog *b, uint64_t waiting, double lease_ns, bool producing,
                         uint32_t seats)
{
    bool known = b->samples >= 2;
    if (known && (double)(waiting + 1) * b->take_ns < lease_ns)
        return seats;
    uint32_t others = (producing ? 1u : 0u) + (known || waiting > 0 ? 1u : 0u);
    uint32_t n = seats > others ? seats - others : 0;
    return waiting > 0 ? n : MAX(n, 1u);
}

bool backlog_starves(const struct backlog *b, uint64_t waiting, double lease_ns, uint64_t now)
{
    return waiting == 0 && now > b->since && (double)(now - b->since) > STARVED_NS + b->take_ns + lease_ns;
}
