/*
 * stage.h - the life of one stage process, as the supervisor sees it.
 *
 *   SPAWNING  asked for; no pid yet             -> BOOTING
 *   BOOTING   runs, has not said Ready          -> SPARE
 *   SPARE     knows no client                   -> ENTERING
 *   ENTERING  enters its sandbox for a domain   -> IDLE
 *   IDLE      of a domain, holds nothing        -> BUSY
 *   BUSY      holds one lease, in one role      -> IDLE
 *   DYING     was sent SIGKILL, or has begun to end by itself   (from every state)
 *   gone      its pidfd was readable: the struct is freed
 *
 * stage_set_state() is the only place that changes the state, and refuses any other edge. What comes from a
 * stage is gossip: garbage kills it, and the job goes on with another.
 *
 * The stage owns its channel, its pidfd, the two mappings and, while it works, its lease. Its arena belongs
 * to the job.
 */
#ifndef PWC_STAGE_H
#define PWC_STAGE_H

#include <signal.h>

#include "daemon/assembly.h"
#include "daemon/daemon.h"
#include "daemon/ledger.h"
#include "daemon/still.h"
#include "ipc/channel.h"
#include "ipc/segment.h"

enum stage_state {
    STAGE_SPAWNING,
    STAGE_BOOTING,
    STAGE_SPARE,
    STAGE_ENTERING,
    STAGE_IDLE,
    STAGE_BUSY,
    STAGE_DYING
};
enum lease_kind {
    LEASE_NONE,
    LEASE_PLAN,
    LEASE_CHUNKS,
    LEASE_FINISH,
    LEASE_PRODUCE,
    LEASE_CONSUME,
    LEASE_KINDS
};

/* A fold state a worker sent: opaque bytes, held until it was folded into another. */
struct fold_state {
    STAILQ_ENTRY(fold_state) link;
    size_t len;
    uint8_t bytes[];
};
STAILQ_HEAD(fold_list, fold_state);

struct lease {
    enum lease_kind kind;
    uint64_t id;
    uint64_t first, end;     /* what it holds; `end` moves down when its tail is taken back */
    uint64_t given_end;      /* where it ended at first */
    uint64_t stop_least;     /* the lowest limit that its stage may have seen, and stopped at */
    uint32_t place, nplaces; /* in the stage's arena */
    bool final;
    uint64_t recalls; /* its job's, when it was sent: what is final is so without chunks recalled since */
    bool small;       /* of a small job (small.h) */
    bool shared; /* its stage broke the protocol when it held others besides: any of them may be to blame */
    uint32_t attempt; /* of the first chunk */
    uint64_t kept;    /* chunks from the first on whose results count, once it is over */
    Pwc__Code why;    /* OK, or why not all of them */
    struct mono since;
    struct fold_list handed; /* states to be folded in: back to the job if the holder dies */
    uint64_t moves;          /* watch: how often its slot was seen to move */
    uint64_t seen_lease, seen_chunk, seen_done; /* the slot when it was last looked at, since when */
    struct mono seen_since, stall_since;
    uint64_t seen_cpu; /* clock ticks, when first suspected */
    bool told_slow;    /* the log has it */
};

#define STAGE_OPEN_JOBS 8
#define STAGE_AHEAD     64u /* small leases that wait in a stage: their frames fit one read */

/* A chunk that went to others while the process that died of it was still being taken apart. */
struct handed {
    uint64_t chunk;
    uint32_t attempt, left[CAUSES]; /* which it was, and how many it would leave, by what turns out */
    char covers[PWC_NAME_MAX * 2];
    char input[];
};

struct ahead {
    struct job *job;
    uint64_t lease;
};

struct stage {
    TAILQ_ENTRY(stage) link;
    struct daemon *d;
    uint64_t id;
    pid_t pid;
    int pidfd;
    int dying_fd; /* hangs up when the process begins to end, on kernels that can tell; -1: none */
    struct chan *chan;
    struct outbox out;
    struct event *read_ev, *write_ev, *exit_ev, *dying_ev;
    enum stage_state state;
    struct mono born, since; /* since: of the present state */
    struct mono stopped;     /* since when; 0: it runs */
    uint64_t nursery;        /* which one has made it; 0: none */
    bool said_ready, describing;
    bool entered; /* its sandbox, once: from then on its death is the work's fault, not the program's */

    uint64_t domain;     /* 0: none yet */
    uint32_t uid, needs; /* whose it is, and the rights that its ops want besides */
    struct control_page *control;
    const struct segment *seg;
    char layers[128], missing[128]; /* of the sandbox */
    uint32_t required;              /* layers without which it gets no work (proto/layers.h) */

    struct job *job; /* BUSY: whose lease */
    struct lease lease;
    bool seat; /* its lease occupies one */
    bool lent; /* which others have, because it stands still; its user has the place all the same */
    struct still still;
    struct mono seat_since;
    struct ahead ahead[STAGE_AHEAD]; /* small.h: held besides `lease` */
    unsigned nahead;
    struct {
        uint64_t job;
        Stage__Role role;
    } open[STAGE_OPEN_JOBS];
    struct arena *arena;
    struct job *arena_job;
    struct {
        uint64_t id, bytes;
        int fd; /* -1: none */
    } kept; /* the arena of a job that is over: the stage has it mapped still, and it serves the next job */
    uint64_t chunks, leases; /* computed and held in its life */

    /* while it holds a lease of a job that is traced */
    uint32_t trace_seat; /* number within the job; 0 none */
    uint64_t trace_ring; /* where to read on in its ring */
    int64_t trace_at;    /* when the last chunk that it told of was over */

    struct cgroup *cgroup;     /* its own; NULL: its memory is watched */
    uint64_t holds_most;       /* bytes, when it was idle or by its job's limit; 0: not known */
    struct tail *tail;         /* the last it wrote on stderr */
    uint64_t cpu_ns, rss_peak; /* by the kernel's account, once it is dead */
    Pwc__Code doom_code; /* asked for its stack; killed for this at the next tick unless it gets on before */
    const char *doom_reason;
    bool stays;            /* and, because it was stopped, told to stay there: killed then whatever it does */
    bool ends;             /* DYING by itself: what it held is taken apart when it is known of what */
    struct handed *handed; /* except this; NULL: nothing was handed over */
    bool written_off;      /* taken for dead, though its process is not gone */
    bool lacked;           /* pool_lacks_for() */
    uint64_t may_write;    /* then: the job whose output it may be writing to; 0: none */
    Pwc__Code kill_code;   /* DYING: why we killed it; OK: it was retired, unless it ends */
    const char *kill_reason;
};

const char *stage_state_name(enum stage_state s);
const char *stage_role_name(const struct stage *s);
void stage_set_state(struct stage *s, enum stage_state to);

struct stage *stage_new(struct daemon *d, uint64_t id, int channel_fd);
/* Before it has a process. 0 or -ENOMEM: the loop has no room for it. */
int stage_listen(struct stage *s);
void stage_got_process(struct stage *s, pid_t pid, int pidfd);
/* Takes the descriptor that came with Entered. */
void stage_watch_end(struct stage *s, int fd);
/* It is dying because nobody needed it any more. */
bool stage_retired(const struct stage *s);
/* It is dying, and its start has failed; that counts only when the process is gone, or cannot be ended. */
bool stage_failed_to_start(const struct stage *s);
/* Who has not ended so long after SIGKILL is given up. */
#define WRITE_OFF_NS (3 * NS_PER_S)
/* SIGKILL does not end it: it waits in the kernel for something that may never come. */
bool stage_unkillable(const struct stage *s);
/* Creates control page and segment and sends Enter. 0 or -errno: the stage is a spare still, where that
 * passes (lack.h), else killed. */
int stage_enter(struct stage *s, const struct job *j);

/* Sends; on failure kills the stage. Descriptors are borrowed. */
void stage_send(struct stage *s, uint16_t type, const ProtobufCMessage *msg);
void stage_send_full(struct stage *s, uint16_t type, const ProtobufCMessage *msg, const void *tail,
                     size_t tail_len, const int *fds, unsigned nfds);

/* SIGKILL. code OK: retired, nobody's fault. */
void stage_kill(struct stage *s, Pwc__Code code, const char *reason);
/* Past its time: first asked for its stack (SIGUSR1), then killed by stage_carry_out at the next tick. */
void stage_doom(struct stage *s, Pwc__Code code, const char *reason);
/* The same of one that was stopped for too long, if it is at something; else it is killed at once. */
void stage_doom_stopped(struct stage *s);
void stage_carry_out(struct stage *s);
/* A stage broke the protocol: logged and killed. */
void stage_garbage(struct stage *s, const char *what);
/* Takes its exit status and usage; false: it lives. */
bool stage_reap(struct stage *s, siginfo_t *ret_info);
/* Frees a stage whose process is gone or never was. */
void stage_free(struct stage *s);

bool stage_has_open(const struct stage *s, uint64_t job, Stage__Role role);
/* What the slot says now. */
uint64_t stage_slot_chunk(const struct stage *s);
uint64_t stage_slot_lease(const struct stage *s);
uint64_t stage_slot_done(const struct stage *s);
/* It says something else than when the tick looked last. */
bool stage_has_moved(const struct stage *s);
/* Killed for the time of a chunk that it had left before the signal came: the one it was at then is not to
 * blame. */
bool stage_went_on(const struct stage *s);
/* It has done all it still holds and is at what was taken back: none of its chunks is to blame. */
bool stage_slot_past(const struct stage *s);
/* Its chunks are done, and it makes results of the states. */
bool stage_slot_finishes(const struct stage *s);

#endif
