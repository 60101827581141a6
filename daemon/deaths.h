/* deaths.h - the record of each attempt that ended badly, bounded in number; newest last. */
#ifndef PWC_DEATHS_H
#define PWC_DEATHS_H

#include <signal.h>

#include "daemon/job.h"
#include "daemon/tail.h"

struct death {
    TAILQ_ENTRY(death) link;
    uint64_t job, stage, chunk;
    uint32_t pid, uid;
    const char *role;
    bool in_chunk;
    char covers[PWC_NAME_MAX * 3];
    uint32_t attempt, attempts_max;
    Pwc__Code code;
    int signal, exit_status;
    char reason[PWC_TEXT_MAX];
    char stack[OBITUARY_TEXT];
    char stderr_tail[TAIL_BYTES];
    char syscall[32];
    char layers[128];
    int64_t at_ns;
    uint64_t cpu_ns, elapsed_ns, rss_peak;
};

/* A stage that held a lease died: writes its record, which the job's last_death then points to. */
struct death *deaths_record(struct stage *s, const siginfo_t *info);
/* An op's error at a chunk, with the stage alive. */
struct death *deaths_error(struct stage *s, uint64_t chunk, Pwc__Code code, const char *reason);
void deaths_pack(const struct death *x, Pwc__Death *ret); /* borrows from x */
void deaths_free_all(struct daemon *d);
/* Is this the code of a death that the budget for crashes, time-outs, ... counts? */
enum cause cause_of(Pwc__Code code);
const char *code_name(Pwc__Code code);

#endif
