/*
 * test_client_fake.h - a daemon of a few hundred lines for the client's tests: it speaks the real protocol
 * over a real socket, does the work of a job itself, and misbehaves on request. What a job does is said by
 * its op:
 *
 *   echo     results: each parameter back, typed; bytes: the size of the "in" descriptor. Copies in to out.
 *   refuse   Rejected BAD_PARAM on params.sigma
 *   fail     BAD_INPUT     partial  PARTIAL with one failed    crash  two deaths, the second final
 *   hang     runs until cancelled
 *   late     wants its items only when the same request comes again
 *   lose     the connection ends after Accepted
 *   garbage  bytes that are no frame after Accepted
 *   shutdown Error{SHUTDOWN} and the end of the connection
 *   unread   shutdown as soon as there is more to read, which is not read
 *   slow     progress events until cancelled
 *   deaf     like slow, but cancelling does not end it
 *   stall    takes its item, says progress and never ends
 *   overtaken  like stall, but who cancels it comes too late: it is done
 *   records  ten ChunkDone, never more than the credit
 *   tiny     like echo, but every frame is sent byte by byte
 *   batch    wants its items in windows of `window`; item i fails if its file says "bad"; else in to out
 *
 * Its instance is "fake PID", as there may be more on the machine.
 *
 * A request with a key that was seen before gives the same job: on the connection that has it, it goes on;
 * when it is over, its end is told; else its connection is gone, and it is taken up here and ends well.
 */
#ifndef PWC_TESTS_FAKE_H
#define PWC_TESTS_FAKE_H

#include <stdbool.h>
#include <stddef.h>

struct fake;

/* What the input of job 901 is called. */
#define ODD_NAME "holiday\n\"1\".tif"

enum fake_greeting {
    FAKE_WELCOME,
    FAKE_SILENT,  /* accepts and says nothing */
    FAKE_CLOSES,  /* closes at once */
    FAKE_ENDS,    /* listens no more, and closes */
    FAKE_HTTP,    /* something else's greeting */
    FAKE_VERSION, /* Error{VERSION} */
    FAKE_BUSY,    /* Error{BUSY} */
    FAKE_NEWER,   /* a Welcome with a version nobody offered */
};

/* Listens on PATH in a thread of its own. Aborts on failure: it is a test. */
struct fake *fake_start(const char *path, enum fake_greeting greeting);
/* Ends all connections and the thread. */
void fake_stop(struct fake *f);
/* Returns once at most N connections are left, and what the others held is closed. */
void fake_wait_connections(struct fake *f, unsigned n);
/* Most descriptors of items held at one time by any batch; most items wanted and not answered. */
unsigned fake_most_items(const struct fake *f);
/* What the item that came last was called. */
void fake_item_name(struct fake *f, char *ret_name, size_t size);
unsigned fake_cancels(const struct fake *f); /* that came so far */

#endif
