/*
 * main.c - pwc-stage: the program of the nursery and of stages. People start it only to look at its ops.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/log.h"
#include "worker/nursery.h"
#include "worker/stage.h"

static struct optable ops;

static const char usage[] = "usage: pwc-stage --nursery | --stage | --catalogue | --version | --help\n"
                            "Runs ops for pwcd, which starts it; descriptor 3 is the channel between them.\n"
                            "  --nursery       make stages on request\n"
                            "  --stage         be one stage\n"
                            "  --cgroup        descriptor 4 is cgroup.procs of the cgroup to join\n"
                            "  --catalogue     print the ops this program has, with their parameters\n"
                            "  --version, --help\n";

/* Without a channel there is nothing to do: most likely a person typed it. */
static bool channel_is_there(void)
{
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(STAGE_CHANNEL, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* stdin and stdout lead nowhere; stderr is the log's. Everything else pwcd may have left open is closed. */
static void keep_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (fcntl(STDERR_FILENO, F_GETFD) < 0)
            dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO) /* else it is one of them, which pwcd was started without */
            close(null);
    }
    fcntl(STAGE_CHANNEL, F_SETFD, FD_CLOEXEC);
    close_range(STAGE_CHANNEL + 1, ~0u, 0);
}

/* Bound twice: what prepares takes longest, and gives up rights at its end. */
static int serve(bool nursery, bool cgroup)
{
    if (!channel_is_there()) {
        fprintf(stderr,
                "pwc-stage: descriptor %d is not a socket; pwcd starts this program, try --catalogue\n",
                STAGE_CHANNEL);
        return 64; /* EX_USAGE */
    }
    if (!process_bind())
        return EXIT_SUCCESS;
    int cgroup_error = process_join(cgroup ? STAGE_CGROUP : -1);
    keep_descriptors();
    process_prepare(&ops);
    if (!process_bind())
        return EXIT_SUCCESS;
    if (nursery)
        nursery_main(STAGE_CHANNEL, &ops);
    stage_main(STAGE_CHANNEL, &ops, cgroup_error);
}

static int catalogue(void)
{
#ifdef HAVE_VIPS
    ops_image_start();
#endif
    optable_load(&ops);
    catalogue_print(&ops, stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    enum { OPT_NURSERY = 256, OPT_STAGE, OPT_CATALOGUE, OPT_CGROUP, OPT_VERSION, OPT_HELP };
    static const struct option options[] = {{"nursery", no_argument, NULL, OPT_NURSERY},
                                            {"stage", no_argument, NULL, OPT_STAGE},
                                            {"catalogue", no_argument, NULL, OPT_CATALOGUE},
                                            {"cgroup", no_argument, NULL, OPT_CGROUP},
                                            {"version", no_argument, NULL, OPT_VERSION},
                                            {"help", no_argument, NULL, OPT_HELP},
                                            {NULL, 0, NULL, 0}};
    int mode = 0, c;
    bool cgroup = false;
    log_open("pwc-stage", LOG_INFO, getenv("JOURNAL_STREAM") != NULL);
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == OPT_CGROUP)
            cgroup = true;
        else
            mode = c;
    }
    if (mode == OPT_NURSERY || mode == OPT_STAGE)
        return serve(mode == OPT_NURSERY, cgroup);
    if (mode == OPT_CATALOGUE)
        return catalogue();
    if (mode == OPT_VERSION)
        return puts("pwc-stage " PACKAGE_VERSION) < 0;
    fputs(usage, mode == OPT_HELP ? stdout : stderr);
    return mode == OPT_HELP ? EXIT_SUCCESS : 64;
}
