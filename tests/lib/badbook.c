/*
 * badbook.c - a stage program whose catalogue is refused: sealed, as long as it says, and no list of ops in
 * it. As
 * `--nursery` it ends at once, so pwcd executes it as `--stage`, which says Ready, answers Describe, and
 * waits for its end.
 */
#include <string.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "ipc/fds.h"

#define CHANNEL 3

static int describe(struct chan *c)
{
    static const char book[] = "this is no list of ops";
    int fd;
    if (memfd_sealed_copy("badbook", book, sizeof book, &fd) < 0)
        return -1;
    Stage__Catalogue m = STAGE__CATALOGUE__INIT;
    m.bytes = sizeof book;
    m.ops = 1;
    int r = chan_send_full(c, PWC_MSG_CATALOGUE, 0, &m.base, NULL, 0, &fd, 1);
    close(fd);
    return r;
}

int main(int argc, char **argv)
{
    if (argc != 2 || strcmp(argv[1], "--stage") != 0)
        return 5;
    struct chan *c = chan_new(CHANNEL, MSG_FROM_SUPER, NULL);
    Stage__Ready ready = STAGE__READY__INIT;
    ready.pid = (uint32_t)getpid();
    if (chan_send(c, PWC_MSG_READY, 0, &ready.base) < 0)
        return 6;
    while (chan_wait(c, -1) > 0 && chan_fill(c) > 0) {
        struct frame f;
        while (chan_next(c, &f) > 0) {
            if (f.type == PWC_MSG_DESCRIBE && describe(c) < 0)
                return 7;
            frame_close(c, &f);
        }
    }
    return 0;
}
