/*
 * sim.h - a simulated world for the supervisor's decision code.
 *
 * Everything of pwcd but its main(), listener, service manager glue and closer is linked as it is. What lies
 * below it is replaced at link time: libevent and the clock (loop.c), channels (channel.c), descriptors,
 * processes and memory objects (kernel.c), malloc (memory.c). Above them live simulated peers: stages and the
 * nursery (proc.c, nursery.c, lease.c, roles.c), clients (client.c). One seed makes one world, runs it until
 * every job has ended and nothing moves any more, and takes it apart; check.c looks at the supervisor's
 * tables after every step.
 *
 * One thing happens at a time: a `due` with a time, out of one queue; equal times in the order they were set.
 * Nothing reads the real clock, an address or uninitialised memory, so a seed replays exactly.
 *
 * sim_fail() ends the process: a batch of seeds is a process of its own (main.c).
 */
#ifndef PWC_TESTS_SIM_H
#define PWC_TESTS_SIM_H

#include <event2/event.h>
#include <signal.h>

#include "daemon/daemon.h"
#include "daemon/job.h"
#include "daemon/pool.h"
#include "ipc/channel.h"
#include "ipc/segment.h"

#define SIM_CHUNKS_MAX  64u
#define SIM_JOBS_MAX    24u
#define SIM_CLIENTS_MAX 6u
#define SIM_POISONS     3u
#define STRANGERS       10000u   /* their uids; clients' are below */
#define SIM_HOLE        0xf111u  /* stands in for the value of a chunk that was given up */
#define HOG_NS          NS_PER_S /* a chunk that takes as long is a hog */

/* ---- chance ---- */
uint64_t sim_rnd(uint64_t below);
bool sim_chance(unsigned permille);
/* The same, but spends one of the faults this world may see. */
bool sim_fault(unsigned permille);
uint64_t sim_mix(uint64_t a, uint64_t b); /* pure: for chunk values */

/* ---- saying ---- */
extern bool sim_verbose;
void sim_log_line(const char *fmt, ...) PRINTF(1, 2);
#define sim_log(...)                                                                                         \
    do {                                                                                                     \
        if (sim_verbose)                                                                                     \
            sim_log_line(__VA_ARGS__);                                                                       \
    } while (0)
/* What all worlds have seen: counted across processes. */
struct tally {
    _Atomic uint64_t seeds, steps, faults, jobs, deaths, steals, dropped, quarantined, retried, failed_calls,
        lost, ahead, recalled, traces, lent, on_top, solo, repeats, sick, cursed;
};
extern struct tally *sim_tally;
void sim_fail(const char *fmt, ...) PRINTF(1, 2) __attribute__((noreturn));
#define SIM_CHECK(cond, ...)                                                                                 \
    do {                                                                                                     \
        if (__builtin_expect(!(cond), 0))                                                                    \
            sim_fail(__VA_ARGS__);                                                                           \
    } while (0)
typedef unsigned long ul;

/* ---- loop.c: time and what is due ---- */
struct due {
    int64_t at;
    uint64_t order;
    uint32_t place; /* in the queue, from 1; 0: not there */
    bool timer;     /* one of the supervisor's: nothing that happens by itself */
    void (*fire)(struct due *);
};
void due_in(struct due *d, int64_t ns); /* from now; replaces an earlier time */
void due_drop(struct due *d);
int64_t sim_now(void);
bool loop_step(bool *ret_timer); /* false: nothing is due, ever */
void loop_reset(void);
size_t loop_pending(void);
/* What a process or the supervisor's loop may be late by: microseconds, now and then much more. */
int64_t sim_delay(void);

/* ---- kernel.c: descriptors, memory, processes ---- */
#define SIM_FD_BASE 1000000

struct proc;
struct end; /* channel.c: one end of a socket pair */
enum memory_kind { MEM_CONTROL, MEM_SEGMENT, MEM_ARENA, MEM_PLAN, MEM_CATALOGUE, MEM_SCRATCH, MEM_CLIENT };
enum file_kind { FILE_SOCKET, FILE_PIDFD, FILE_DYING, FILE_MEMORY };
struct file {
    enum file_kind kind;
    uint32_t refs;
    struct event *events[2]; /* read, write */
    struct end *end;
    struct proc *proc;
    struct {
        enum memory_kind kind;
        uint64_t bytes, id;
        void *pages; /* CONTROL, SEGMENT */
        uint64_t
            *values; /* ARENA: what lies at each place of result_bytes; SCRATCH: what a chunk's rows hold */
        uint64_t place_bytes;
        bool read_only;
    } mem;
    struct due wake;
    int fd; /* the last number it had in the supervisor */
};
struct file *file_new(enum file_kind kind);
struct file *file_memory(enum memory_kind kind, uint64_t bytes);
struct file *file_ref(struct file *f);
void file_drop(struct file **f);
int fd_install(struct file *f);  /* takes the reference */
struct file *fd_file(int fd);    /* borrowed; fails the seed when the number is not open */
bool kernel_no_room(uint32_t n); /* for so many descriptors that arrive */
bool kernel_fails(void); /* now and then a call does, for want of something: by itself, no job ends of that */
void kernel_scarce_begin(void); /* from now on few more descriptors can be made; received they can be */
uint32_t kernel_open_fds(void);
void kernel_reset(void);
void kernel_check_empty(void);
/* Something can be read from it, from now on. */
void file_wake(struct file *f, int64_t delay);

/* ---- channel.c ---- */
struct packet {
    struct packet *next;
    uint16_t type;
    bool garbage; /* not even a frame */
    uint64_t tag;
    unsigned nfiles;
    uint32_t body_len, tail_len;
    struct file *files[PWC_FDS_MAX];
    uint8_t bytes[];
};
struct end {
    struct end *other; /* NULL: it is closed */
    struct packet *head, **tail;
    size_t bytes;       /* in the queue */
    bool eof;           /* the other side sends no more */
    struct file *file;  /* the supervisor's side: whose event to fire */
    struct due *reader; /* a peer's side: what to fire */
    bool stalled;       /* a peer that does not read: the supervisor's queue grows */
    bool holds;         /* a peer that gathers: what it sends waits in `held`, and is lost when it dies */
    struct packet *held;
};
void end_pair(struct file *ret[2]);
void end_close(struct end *e);
/* A peer sends. files: references are taken over. */
void end_send(struct end *e, uint16_t type, uint64_t tag, const ProtobufCMessage *m, const void *tail,
              size_t tail_len, struct file **files, unsigned nfiles);
void end_send_garbage(struct end *e);
struct packet *end_take(struct end *e); /* NULL: nothing is there */
ProtobufCMessage *packet_message(const struct packet *p);
void packet_free(struct packet *p);

/* ---- what a job is, for those who compute it ---- */
enum op_kind { OP_COUNT, OP_COUNT_FOLD, OP_FOLD, OP_SERIAL, OP_PLACED, OP_BATCH, OP_KINDS };
enum poison_kind {
    POISON_CRASH,
    POISON_EXIT,
    POISON_ERROR,
    POISON_OOM,
    POISON_HANG,
    POISON_SHRANK,
    POISON_STARVE,
    POISON_LATE,
    POISON_KINDS
};
struct poison {
    uint64_t chunk;
    enum poison_kind kind;
    uint32_t times, done;
};
struct client;
struct spec {
    uint32_t index;
    uint64_t salt;
    enum op_kind op;
    struct client *client;
    uint64_t id; /* the supervisor's number for it; 0: not accepted yet */
    uint64_t chunks, result_bytes;
    bool whole, producer, raster, windowed, bad_finish, uneven; /* no raster: workers read the input */
    uint32_t window;                                            /* windowed: chunks the raster holds */
    uint32_t state_bytes;                                       /* of its fold states */
    int64_t chunk_ns;                                           /* what one takes */
    int64_t take_ns, strip_ns; /* its consumer; its producer; 0: much less, as much */
    uint64_t long_chunk;       /* takes long_ns, if that is not 0 */
    int64_t long_ns;
    uint32_t plan_errors; /* so often its planner reports an error */
    struct poison poison[SIM_POISONS];
    unsigned npoison;
    Pwc__Isolation isolation;
    bool records;

    /* what became of it, as the world saw it */
    uint32_t accepted, rejected, finished;
    Pwc__JobState end_state;
    uint32_t trouble;                                /* faults that hit it: without any it must end well */
    int64_t moved;                                   /* when something was last done of it */
    bool cancelled, client_gone, item_refused, lost; /* lost: the client left before it was accepted */
    bool item_lost;                                  /* there was no room for its descriptors */
    bool resubmitted;                                /* the client came back and has asked for it once more */
    bool detached;                                   /* and has let go of it again */
    uint32_t told;                  /* so often its client was told on this connection that it is accepted */
    uint64_t computed;              /* bit a chunk: somebody went through it */
    uint64_t bad;                   /* bit a chunk: given up */
    uint32_t blame[SIM_CHUNKS_MAX]; /* times it was seen to end badly */
    uint32_t charged[SIM_CHUNKS_MAX]; /* times the supervisor held it responsible */
    uint64_t blanked;                 /* bit a chunk: filled in the output */
    uint64_t again;                   /* bit a chunk: it was given up, and recalled */
    unsigned asked_again;             /* so often its client wanted that */
    uint64_t item_done, item_bad, recorded;
    uint64_t last_seq;
    uint32_t terminals;
    struct {                     /* what its trace says so far */
        uint64_t kept, absorbed; /* a bit a chunk */
        uint64_t dropped;
        bool restarted, over;
    } trace;
    struct pace {     /* waits.c: how quick it was seen to be, */
        int64_t from; /* its consumer has had something to take since */
        uint64_t sent, absorbed;
        uint32_t takes;
        int64_t take_most, lease_least, lease_most; /* a chunk */
        uint64_t step;                              /* when it was looked at */
        int64_t waits_since;                        /* something could be done and was not */
    } pace;
};
uint64_t spec_value(const struct spec *s, uint64_t chunk);
/* A fold state: a sum and how many chunks it is of, with as much behind them as the op's states have. */
void spec_put_state(const struct spec *s, const uint64_t v[2], uint8_t *bytes);
void spec_get_state(const struct spec *s, const uint8_t *bytes, size_t len, uint64_t v[2]);
struct spec *spec_of_job(uint64_t job); /* NULL: not one of this world's */

/* ---- proc.c, nursery.c, lease.c, roles.c: the nursery and stages ---- */
enum where { /* the moments in which something may happen to a process */
             AT_BOOT,
             AT_READY,
             AT_DESCRIBE,
             AT_ENTER,
             AT_PARKED,
             AT_OPEN,
             AT_LEASE,
             AT_SLOT,
             AT_CHUNK,
             AT_BETWEEN,
             AT_FINISH,
             AT_REPORT,
             AT_REPORTED,
             AT_PLAN,
             AT_PRODUCE,
             AT_CONSUME,
             AT_NURSERY,
             AT_WHERES
};
enum sickness { WELL, SICK_AT_BOOT, SICK_AT_ENTER }; /* where the stages die */
enum proc_state { PROC_RUNS, PROC_ZOMBIE, PROC_REAPED };
enum proc_phase {
    PHASE_BOOT,
    PHASE_LOOP,
    PHASE_ENTER,
    PHASE_LEASE,
    PHASE_PLAN,
    PHASE_PRODUCE,
    PHASE_CONSUME
};

struct opened {
    uint64_t job;
    struct spec *spec;
    Stage__Role role;
    struct file *raster;
    uint64_t result_bytes, chunks;
    bool once; /* came with a lease, goes with its report */
};
struct absorb {
    uint64_t first, n, arena, offset;
    bool hole;
};
struct proc {
    struct proc *next;
    bool nursery;
    pid_t pid;
    enum proc_state state;
    siginfo_t info;
    struct file *pidfd; /* borrowed: the first description of it, to wake it */
    struct file *dying; /* borrowed, too; NULL: its kernel has no such thing */
    struct file *sock;
    struct due step, die, reader, resume;
    bool hung, stopped, struck, starved, had_step;
    enum sickness sick;       /* of a nursery, and from there of its stages */
    int64_t went_at;          /* when it was last seen neither hung nor stopped */
    uint64_t lent;            /* the last lease of which others had the seat */
    uint64_t on_top;          /* the last lease whose seat was one more than there are */
    int64_t on_top_since;     /* of small ones several in a row have the same seat */
    uint64_t seen;            /* the last lease, of those with a seat, that it was found with */
    uint64_t solo, solo_from; /* the lease that was to be the only one, and the last there was by then */
    int stop_news;            /* CLD_STOPPED, CLD_CONTINUED: not yet told */
    enum proc_phase phase;

    uint64_t number, domain; /* of the stage, as Enter said */
    struct spec *domain_spec;
    struct file *control, *segment, *arena;
    uint64_t arena_id;
    struct opened open[8];
    bool liar;
    bool bare; /* it lacks a layer of its sandbox */
    uint64_t leases_seen;

    /* the lease, plan or role it is at */
    struct opened *job;
    uint64_t lease, first, n, at, offset, began;
    bool final, blank, in_chunk, slot_set, broken;
    uint64_t sum, count; /* fold */
    bool had_states;
    Pwc__Code code;
    uint64_t done_ever, blamed;
    uint64_t asked_lease, asked; /* where it was when it was asked for its stack */
    bool late, was_late;         /* killed for its time; at a chunk that takes far too long */

    /* producer */
    uint64_t announced, released;
    /* consumer */
    struct absorb *queue;
    size_t nqueue, room;
    uint64_t merged, told, hash, expected;
    int64_t busy_until; /* with what it took last */
    struct {
        uint64_t id;
        struct file *file;
    } arenas[64];
    unsigned narenas;
};
extern struct proc *procs;
void proc_spawn(bool nursery, struct file *sock, pid_t *ret_pid);
struct proc *proc_of_pid(pid_t pid);
/* Ends by itself, now. */
void proc_die(struct proc *p, bool exited, int status);
/* A process that SIGKILL has not ended is at a chunk that was filled. */
bool proc_may_write(const struct spec *s);
/* The kernel kills it for want of memory, which it counts at once. */
void proc_starve(struct proc *p);
void proc_signal(struct proc *p, int sig);
void proc_reaped(struct proc *p);
void proc_end_now(struct proc *p); /* whatever was on its way to it has arrived */
struct proc *proc_any_zombie(void);
void proc_stop_news(siginfo_t *ret);
void procs_reset(void);
bool proc_fault(struct proc *p, enum where where); /* true: p is dead or hangs */
void proc_send(struct proc *p, uint16_t type, const ProtobufCMessage *m, const void *tail, size_t len,
               struct file *f);
void proc_loop(struct proc *p); /* ready for the next message */
struct opened *proc_open_job(struct proc *p, uint64_t job);
struct segment_slot *proc_slot(struct proc *p);
void proc_slot_set(struct proc *p, uint64_t lease, uint64_t chunk);
/* nursery.c */
void nursery_step(struct proc *p);
/* lease.c */
void lease_start(struct proc *p, const Stage__Lease *m, const struct packet *in);
void lease_step(struct proc *p);
void lease_asked(struct proc *p);   /* for its stack */
bool lease_is_late(struct proc *p); /* it is killed for its time */
bool lease_left(struct proc *p);    /* it was, and had gone on from where it was asked */
/* roles.c */
void plan_start(struct proc *p, const Stage__Plan *m);
void plan_step(struct proc *p);
void produce_start(struct proc *p, const Stage__Produce *m);
void produce_step(struct proc *p);
void produce_released(struct proc *p, const Stage__Release *m);
void consume_start(struct proc *p, const Stage__Consume *m);
void consume_take(struct proc *p, const Stage__Absorb *m, struct packet *in);
void consume_gone(struct proc *p, const Stage__ArenaGone *m);
void consume_step(struct proc *p);
void consume_forget(struct proc *p);
bool proc_lies(struct proc *p); /* sends something it should not; true: it did */

/* ---- client.c ---- */
struct client {
    unsigned index;
    uid_t uid;
    struct file *sock;
    struct due step, reader, leave, cancel, retry, again;
    uint64_t retry_job;
    struct spec *again_spec;
    bool gone, lingering, back;
    uint32_t todo; /* bit a job: to be submitted */
    struct want {
        uint64_t job, at, end;
    } wants[SIM_JOBS_MAX];
    unsigned nwants;
};
/* A second connection of it, on which it says again what it has said, and is told the same. */
struct twin {
    struct client c; /* first: its `due` lead here */
    struct spec *spec;
    uint64_t last_seq;
    bool accepted, finished;
};
/* False: who may leave, or reads so slowly that he is cut off, may take the job with him, and the same
 * request is a new one then. */
bool twin_begin(struct client *c, struct spec *s);
void client_begin(struct client *c);
void client_hello(struct client *c);
void client_submit(struct client *c, struct spec *s);
void client_end(struct client *c);

/* ---- check.c, check_job.c, waits.c, ended.c ---- */
uint64_t chunk_bits(uint64_t from, uint64_t to);      /* a bit a chunk */
uint32_t check_job(const struct job *j, bool active); /* active: the list it is in; how many seats it has */
uint32_t job_fds(const struct job *j);                /* that are open for it */
void check_waits(const struct daemon *d);
void check_step(void);
void check_end(void);
void check_reset(void);

/* ---- memory.c ---- */
void memory_begin(void);
void memory_check_empty(void);

/* ---- world.c ---- */
struct world {
    uint64_t seed;
    struct daemon d;
    struct spec specs[SIM_JOBS_MAX];
    unsigned nspecs;
    struct client clients[SIM_CLIENTS_MAX];
    struct twin twins[SIM_CLIENTS_MAX];
    unsigned nclients;
    uint32_t faults_left;
    unsigned p_at[AT_WHERES]; /* per mille: a process comes to harm there */
    unsigned p_lie, p_kernel, p_slow, p_start, p_client, p_memory, p_broken, p_steal_race;
    int64_t kernel_failed; /* when: what could have been done may wait for the next tick */
    bool no_pidfds;        /* then: none at all for a process that is there */
    bool scarce;           /* some time in it few descriptors can be made */
    struct due scarce_from, scarce_to;
    int64_t no_segment[2];   /* when there was none to be had, the last times */
    uint32_t fds_most;       /* 0: any number */
    uint64_t oom_kills;      /* by the kernel, so far */
    uint32_t start_troubles; /* stages or the nursery that did not get ready */
    unsigned p_sick;         /* per mille: a nursery makes only stages that die, from then on */
    uint32_t sick;           /* so many did: no job ends of that */
    uid_t cursed;            /* 0: nobody; his stages with these rights die while they enter, and only */
    uint32_t cursed_needs;   /* his jobs that want them end of it */
    bool crowded, swarm, wide, nosy, halts, strangers, ending, ended_early; /* wide: many seats, large fold
                                                                               states */
    bool repeats;                                                           /* clients say things twice */
    bool thieves;          /* batches of long items, whose tails are taken back again and again */
    struct due child_news; /* SIGCHLD */
    uint64_t steps;
};
extern struct world W;
void world_run(uint64_t seed);

#endif
