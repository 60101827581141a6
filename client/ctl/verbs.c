/* verbs.c - the table of verbs with their help. */
#include <string.h>

#include "client/ctl/ctl.h"

const struct verb verbs[] = {
    {"run", NULL, "OP [NAME=VALUE...] INPUT... [-o OUTPUT]", "do a job and follow it to its end",
     "A word NAME=VALUE whose name holds no slash is a parameter of the op. The word after the input is the "
     "output\n"
     "where the op has one of each. - is stdin or stdout; FILE[NAME=VALUE,...] carries load or save options. "
     "With\n"
     "--out-dir each input is an item of a batch. ^C cancels and leaves no output, but a batch's files\n"
     "that were done.\n"
     "\n"
     "  pwcctl run image.gaussblur sigma=8 photo.jpg out.png\n"
     "  pwcctl run image.thumbnail width=256 --out-dir small *.jpg\n"
     "  pwcctl run array.sum type=int32 numbers.bin\n",
     GROUP_RUN | GROUP_JSON | GROUP_TIMEOUT, verb_run},
    {"submit", "add", "OP [NAME=VALUE...] INPUT... [-o OUTPUT]", "run --detach: print the job's number",
     "A process in the background publishes the output when the job is done; 'pwcctl wait JOB' waits for "
     "that too.\n",
     GROUP_RUN | GROUP_JSON | GROUP_TIMEOUT, verb_submit},
    {"ops", NULL, "[PART]", "list the ops, or those whose names contain PART", "", GROUP_JSON, verb_ops},
    {"help", NULL, "[VERB | OP]", "explain a verb, or an op with its parameters", "", GROUP_JSON,
     verb_help_verb},
    {"status", NULL, "", "the daemon and the jobs that are not over", "", GROUP_JSON, verb_status},
    {"jobs", "ls", "", "list jobs, also those that are over", "", GROUP_JSON, verb_jobs},
    {"show", NULL, "JOB[.CHUNK]", "all about a job, with the deaths in it (or in one chunk)", "", GROUP_JSON,
     verb_show},
    {"wait", NULL, "JOB...", "until the jobs have ended; prints their results",
     "The exit status is that of the first job that failed, as 'run' would have ended.\n",
     GROUP_JSON | GROUP_TIMEOUT, verb_wait},
    {"cancel", NULL, "JOB...", "end jobs", "", GROUP_JSON, verb_cancel},
    {"workers", NULL, "", "list the processes that compute", "", GROUP_JSON, verb_workers},
    {"deaths", NULL, "[JOB[.CHUNK]]", "list attempts that ended badly; -v with all that is known", "",
     GROUP_JSON, verb_deaths},
    {"quarantine", NULL, "[ls | show | retry | drop] [JOB[.CHUNK]...]", "chunks that were given up",
     "ls lists them, of all jobs or of these; show tells all about them. retry tries them again, which a job "
     "that\n"
     "runs can do where nothing was written in their place yet; else it says what to do instead. drop "
     "forgets them.\n",
     GROUP_JSON, verb_quarantine},
    {"trace", NULL, "FILE", "account for the time in a trace that 'run --trace FILE' wrote",
     "What the seats did, what each death cost, and how soon its chunk was begun elsewhere; - is stdin.\n",
     GROUP_JSON, verb_trace},
    {"ping", NULL, "", "is a daemon there?", "", GROUP_JSON, verb_ping},
    {"doctor", NULL, "", "what the daemon has: processors, sandbox, limits, health",
     "Runs a job of one chunk. Exit status 1 if it is not well.\n", GROUP_JSON, verb_doctor},
    {"completion", NULL, "bash", "print a completion script: source <(pwcctl completion bash)", "", 0,
     verb_completion},
    {"version", NULL, "", "show versions", "", GROUP_JSON, verb_version},
};
const size_t nverbs = COUNT(verbs);

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < nverbs; i++)
        if (strcmp(verbs[i].name, name) == 0 || (verbs[i].alias != NULL && strcmp(verbs[i].alias, name) == 0))
            return &verbs[i];
    return NULL;
}

static void general_help(void)
{
    puts("Usage: pwcctl VERB [OPTION | WORD]...\n"
         "Chunked work on every core, through the daemon pwcd.\n");
    for (size_t i = 0; i < nverbs; i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    puts("\nOptions may stand anywhere before --; after it all words are files.");
    options_help(stdout, GROUP_COMMON);
    puts("\n'pwcctl help VERB' tells a verb's options, 'pwcctl help OP' an op's parameters.\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such job, 4 cancelled, 5 partly done,\n"
         "69 no daemon, 70 internal error, 75 busy, 76 wrong protocol, 77 denied, 124 timed out, 130 ^C.");
}

void verb_help(const struct verb *verb)
{
    if (verb == NULL) {
        general_help();
        return;
    }
    printf("Usage: pwcctl %s%s%s\n", verb->name, verb->args[0] != '\0' ? " " : "", verb->args);
    printf("%s", verb->summary);
    if (verb->alias != NULL)
        printf(" (also: %s)", verb->alias);
    printf("\n\n%s%s", verb->details, verb->details[0] != '\0' ? "\n" : "");
    options_help(stdout, verb->groups);
    options_help(stdout, GROUP_COMMON);
}

int verb_unknown(const char *name)
{
    const char *names[2 * COUNT(verbs)];
    for (size_t i = 0; i < nverbs; i++) {
        names[2 * i] = verbs[i].name;
        names[2 * i + 1] = verbs[i].alias;
    }
    const char *near = nearest(name, names, COUNT(names));
    if (near != NULL)
        return complain(EXIT_USAGE, "unknown verb '%s': did you mean '%s'?", name, near);
    return complain(EXIT_USAGE, "unknown verb '%s': 'pwcctl --help' lists them", name);
}
