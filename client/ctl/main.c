/* main.c - pwcctl: finds the verb, checks that it takes the options given, and runs it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

static const char completion_bash[] =
#include "client/ctl/completion.inc"
    ;

int verb_completion(const struct args *args)
{
    if (args->n == 3 && strcmp(args->words[1], "words") == 0) { /* for the script itself */
        const struct verb *verb = verb_find(args->words[2]);
        options_names(stdout, GROUP_COMMON | (verb != NULL ? verb->groups : 0));
        for (size_t i = 0; verb == NULL && i < nverbs; i++)
            puts(verbs[i].name);
        return 0;
    }
    if (args->n != 2 || strcmp(args->words[1], "bash") != 0)
        return complain(EXIT_USAGE, "completion for which shell? 'pwcctl completion bash'");
    fputs(completion_bash, stdout);
    return 0;
}

static size_t most_words(const struct verb *verb)
{
    if (verb->args[0] == '\0')
        return 1;
    return strstr(verb->args, "...") != NULL || strcmp(verb->name, "completion") == 0 ? SIZE_MAX : 2;
}

static int run_verb(const struct args *args)
{
    if (args->o.version)
        return verb_version(args);
    if (args->n == 0 && args->o.help) {
        verb_help(NULL);
        return 0;
    }
    if (args->n == 0)
        return complain(EXIT_USAGE, "what to do? 'pwcctl --help' lists the verbs");
    const struct verb *verb = verb_find(args->words[0]);
    if (verb == NULL)
        return verb_unknown(args->words[0]);
    if (args->o.help) {
        verb_help(verb);
        return 0;
    }
    int r = options_check(args, verb->groups);
    if (r == 0 && args->n > most_words(verb))
        r = complain(EXIT_USAGE, "'%s' is one word too many: pwcctl %s%s%s", args->words[most_words(verb)],
                     verb->name, verb->args[0] != '\0' ? " " : "", verb->args);
    return r != 0 ? r : verb->run(args);
}

/*
 * Descriptors 0 to 2 that were closed: else the first files or sockets opened would become stdin and stdout.
 * What takes their place cannot be used the way they would be, so that their use still fails.
 */
static void fill_standard(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd >= 0)
        close(fd);
}

/* Has everything that was to be printed gone out? An earlier flush may have failed, and taken its errno with
 * it. */
static int finish_stdout(int r)
{
    bool failed = ferror(stdout) != 0;
    int error = fflush(stdout) != 0 ? errno : 0;
    if (r != 0 || (!failed && error == 0))
        return r;
    struct pollfd p = {.fd = STDOUT_FILENO};
    if (error == EPIPE || (poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0))
        return EXIT_FAILED; /* a reader that has seen enough, as head, is no news */
    return complain(EXIT_FAILED, "cannot write to stdout%s%s", error != 0 ? ": " : "",
                    error != 0 ? strerror(error) : "");
}

int main(int argc, char **argv)
{
    struct args args;
    fill_standard();
    util_setup(&(struct options){.json = options_ask_json(argv)});
    int r = options_parse(argc, argv, &args);
    util_setup(&args.o);
    if (r == 0) {
        signals_setup();
        r = run_verb(&args);
    }
    r = finish_stdout(r);
    options_free(&args);
    return r;
}
