/* main.c - pwcctl: finds the verb, checks that it takes the options given, and runs it. */
#include <errno.h>
#include <string.h>

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
        r = complain(EXIT_USAGE, "'%s' is one word too many: pwcctl %s %s", args->words[most_words(verb)],
                     verb->name, verb->args);
    return r != 0 ? r : verb->run(args);
}

int main(int argc, char **argv)
{
    struct args args;
    int r = options_parse(argc, argv, &args);
    util_setup(&args.o);
    if (r == 0) {
        signals_setup();
        r = run_verb(&args);
    }
    if (fflush(stdout) != 0 && r == 0) /* a reader that has seen enough, as head, is no news */
        r = errno == EPIPE ? EXIT_FAILED
                           : complain(EXIT_FAILED, "cannot write to stdout: %s", strerror(errno));
    options_free(&args);
    return r;
}
