/* descriptors.c - see descriptors.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/fds.h"
#include "tests/hostile/descriptors.h"
#include "tests/unit/runner.h"

#define JOB_TIMEOUT_MS (4000 * SLOWER)

struct victim v;

const struct job_spec sum = {.op = "array.sum",
                             .params = {"type", "uint8"},
                             .items = 1,
                             .roles = {"in"},
                             .job_timeout_ms = JOB_TIMEOUT_MS};
const struct job_spec invert = {.op = "image.invert",
                                .items = 1,
                                .roles = {"in", "out"},
                                .format = "png",
                                .job_timeout_ms = JOB_TIMEOUT_MS};

void descriptors_start(void)
{
    victim_start(&v, (const char *const[]){"--set", "retries_crash=0", "--set", "retries_oom=0", NULL});
}

void descriptors_stop(void)
{
    victim_stop(&v);
}

const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", v.dir, name);
    return path;
}

int file_with(const char *bytes, int flags)
{
    const char *path = path_of("file");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_eq(write_all(fd, bytes, strlen(bytes)), 0);
    close(fd);
    fd = open(path, flags | O_CLOEXEC);
    ck_assert_int_eq(unlink(path), 0);
    return fd;
}

static void send_wanted(const struct peer *p, const struct job_spec *spec, const struct batch_item *items,
                        const Pwc__Want *w)
{
    for (uint64_t i = w->first; i < w->first + w->n; i++)
        peer_item_named(p, w->job, i, items[i].name, items[i].fds, spec->roles[1] != NULL ? 2 : 1);
}

static void take_done(const struct job_spec *spec, struct batch_item *items, const Pwc__ItemDone *m)
{
    ck_assert_uint_lt(m->index, spec->items);
    struct batch_item *it = &items[m->index];
    ck_assert_msg(!it->done, "item %lu ended twice", (unsigned long)m->index);
    it->done = true;
    it->code = m->code;
    snprintf(it->reason, sizeof it->reason, "%s", m->reason);
}

/* All of it is done, or some items failed: nothing else ends a batch. */
static void check_end(const Pwc__Finished *m)
{
    ck_assert_msg(m->state == PWC__JOB_STATE__JOB_DONE || strstr(m->reason, " items failed") != NULL, "%s",
                  m->reason);
}

/* False: that was the job's end. */
static bool take_frame(const struct peer *p, const struct job_spec *spec, struct batch_item *items,
                       const struct frame *f)
{
    ProtobufCMessage *m = msg_unpack(f->desc, f->body, f->body_len);
    ck_assert_ptr_nonnull(m);
    if (f->type == PWC_MSG_WANT)
        send_wanted(p, spec, items, (Pwc__Want *)m);
    else if (f->type == PWC_MSG_ITEM_DONE)
        take_done(spec, items, (Pwc__ItemDone *)m);
    else if (f->type == PWC_MSG_FINISHED)
        check_end((Pwc__Finished *)m);
    else
        ck_assert_msg(f->type == PWC_MSG_ACCEPTED || f->type == PWC_MSG_EVENT, "%s", msg_name(f->type));
    msg_free(m);
    return f->type != PWC_MSG_FINISHED;
}

void finish_batch(const struct job_spec *spec, struct batch_item *items)
{
    struct frame f;
    struct peer p = peer_open(&v);
    peer_submit(&p, 1, spec);
    do
        ck_assert_int_eq(peer_hear(&p, &f, PATIENCE_MS), 1);
    while (take_frame(&p, spec, items, &f));
    peer_free(&p);
    for (uint64_t i = 0; i < spec->items; i++)
        ck_assert_msg(items[i].done, "nobody said what became of item %lu", (unsigned long)i);
}

Pwc__Finished *finish_job(const struct job_spec *spec, int *fds, unsigned nfds)
{
    struct peer p = peer_open(&v);
    peer_submit(&p, 1, spec);
    Pwc__Want *want = peer_await(&p, PWC_MSG_WANT);
    peer_item(&p, want->job, 0, fds, nfds);
    msg_free(&want->base);
    Pwc__Finished *m = peer_await(&p, PWC_MSG_FINISHED);
    peer_free(&p);
    for (unsigned i = 0; i < nfds; i++)
        close(fds[i]);
    return m;
}
