/*
 * fakepeer.c - a listening socket that is not pwcd's, for the tests of what clients make of it.
 *
 *   fakepeer PATH MODE      MODE: text (greets like a mail server), silent, close, bytes (0xff without end)
 *
 * Prints "listening" when a client may come. Ends when its standard input does.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/base.h"

enum mode { TEXT, SILENT, CLOSE, BYTES };

#define PEERS_MAX 16u /* connections held open at once; a test makes one or two */

static int parse_mode(const char *word)
{
    static const char *const names[] = {
        [TEXT] = "text", [SILENT] = "silent", [CLOSE] = "close", [BYTES] = "bytes"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(word, names[i]) == 0)
            return (int)i;
    return -1;
}

static int listen_at(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path)
        return -ENAMETOOLONG;
    strcpy(sa.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(fd, 8) < 0)
        return -errno;
    return fd;
}

static void greet(int fd, int mode)
{
    static const char hello[] = "220 mail.example ESMTP\r\n";
    char bytes[4096];
    memset(bytes, 0xff, sizeof bytes);
    if (mode == TEXT)
        (void)!write(fd, hello, sizeof hello - 1);
    if (mode == BYTES)
        while (write(fd, bytes, sizeof bytes) > 0)
            ;
    if (mode == CLOSE || mode == BYTES)
        close(fd);
}

static int serve(int listener, int mode)
{
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
    for (unsigned peers = 0;;) {
        if (poll(p, 2, -1) < 0)
            return 1;
        if (p[0].revents != 0)
            return 0;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || ++peers > PEERS_MAX)
            return 1;
        greet(fd, mode);
    }
}

int main(int argc, char **argv)
{
    int mode = argc == 3 ? parse_mode(argv[2]) : -1;
    if (mode < 0)
        return fputs("usage: fakepeer PATH text|silent|close|bytes\n", stderr), 64;
    signal(SIGPIPE, SIG_IGN);
    int fd = listen_at(argv[1]);
    if (fd < 0)
        return fprintf(stderr, "fakepeer: %s: %s\n", argv[1], strerror(-fd)), 70;
    puts("listening");
    fflush(stdout);
    int r = serve(fd, mode);
    unlink(argv[1]);
    return r;
}
