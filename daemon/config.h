/*
 * config.h - every setting of pwcd: its default, the file's word, the flag's word; the last one wins.
 *
 * config.def is the one list of keys: name, type, limits, default, whether SIGHUP may change it. Each value
 * remembers where it came from ("default", "/etc/pwcd/pwcd.conf:12", "--workers"), and `pwcd -n` prints a
 * file with these origins as comments, which pwcd reads again.
 *
 * Ownership: struct config owns its strings; argv is borrowed (main's lives as long as the process).
 */
#ifndef PWC_DAEMON_CONFIG_H
#define PWC_DAEMON_CONFIG_H

#include <stdio.h>
#include <sys/types.h>

#include "daemon/cpus.h"
#include "ipc/base.h"
#include "ipc/log.h"
#include "proto/pwc.pb-c.h"

#define CONFIG_FILE "/etc/pwcd/pwcd.conf"

enum config_key {
#define CONFIG_KEY(name, ...) CFG_##name,
#include "daemon/config.def"
    CFG_COUNT
};

struct config {
    char *socket;                   /* "": none; enough when the service manager hands us one */
    mode_t socket_mode;             /* of the socket's file */
    char *socket_group;             /* name or number; "": the process's own */
    uint32_t workers;               /* seats; 0: as many as usable CPUs */
    uint32_t stages_max;            /* stage processes; 0: config_stages_max() decides */
    char *scratch;                  /* directory for rasters, absolute */
    char *stage_program;            /* pwc-stage, absolute */
    uint64_t max_pixels, max_bytes; /* of one input, as its header claims */
    uint32_t max_frames;
    uint32_t jobs_max, jobs_per_user; /* not yet ended */
    uint32_t clients_max, clients_per_user;
    int64_t shutdown_grace, ready_timeout, cancel_grace;                 /* ns */
    uint32_t retries_error, retries_crash, retries_oom, retries_timeout; /* attempts after the first */
    int64_t chunk_timeout, stall_timeout;                                /* ns; 0: none */
    uint64_t memory;                                                     /* bytes a worker; 0: no limit */
    uint32_t history;                                                    /* ended jobs remembered */
    uint32_t deaths_kept;                                                /* obituaries remembered */
    uint32_t quarantine_kept;                                            /* chunks given up remembered */
    Pwc__Isolation isolation; /* at least this much, whatever a job asks for */
    bool require_sandbox;     /* stages without every sandbox layer are not used */
    bool cgroups;             /* each stage in a memory cgroup of its own, where one is delegated */
    enum log_level log_level;
    int64_t idle_stage_timeout; /* ns a parked stage may wait for work of its domain */

    char *file;      /* the configuration file; "" none was there */
    bool check_only; /* -n */
    bool debug;      /* -d */
    char *origin[CFG_COUNT];
    int argc; /* borrowed, for config_reload */
    char **argv;
};

enum config_result { CONFIG_RUN, CONFIG_EXIT }; /* EXIT: --help or --version was printed */

/*
 * Defaults, then the file, then the flags. An enum config_result, or -EINVAL (wrong: exit 78 is right) or
 * another -errno (the file cannot be read) with one line in *ret_error, to be freed by the caller.
 */
int config_parse(struct config *c, int argc, char **argv, char **ret_error);

/*
 * For SIGHUP: parses everything again. *ret_new then holds the new values of keys that may change and the
 * running ones of keys that may not; *ret_note, unless NULL, names the latter ("workers: 8 needs a restart").
 * On failure the running configuration stays and *ret_error says why.
 */
int config_reload(const struct config *running, struct config *ret_new, char **ret_note, char **ret_error);

/* Do the things named exist: scratch directory, stage program? Touches the file system. 0 or -errno. */
int config_check_paths(const struct config *c, char **ret_error);

/* Parts of config_parse, for tests. */
void config_defaults(struct config *c);
int config_load_file(struct config *c, const char *path, char **ret_error);
/* `origin` as it shall be shown: "--set", "file:12". */
int config_set(struct config *c, const char *key, const char *value, const char *origin, char **ret_error);

/* As a file: "key = value  # origin". cpus: what workers = auto comes to; may be NULL. */
void config_print(const struct config *c, const struct cpus *cpus, FILE *f);
void config_print_keys(FILE *f); /* the list of settings, for --help */
void config_free(struct config *c);

/* Never below a job's consumer, its producer and one worker. Of itself as many as all jobs of one user that
 * have a turn can have at work (jobs_turns(), a producer and a consumer each), and two of somebody else's. */
static inline uint32_t config_stages_max(const struct config *c, uint32_t seats)
{
    return c->stages_max > 0 ? MAX(c->stages_max, 3u) : 5 * seats + 8;
}

#endif
