/*
 * test_descriptors.c - clients that send the wrong numbers of descriptors, some whose file changes or never
 * ends, or whose close hangs, to a real pwcd: their job fails with a reason, nobody waits, and pwcd holds
 * none of them afterwards. Wrong kinds are test_kinds.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/hostile/descriptors.h"
#include "tests/hostile/picture.h"
#include "tests/unit/runner.h"

/* ---- numbers ---- */

START_TEST(too_few_and_too_many)
{
    for (unsigned n = 0; n <= PWC_ROLES_MAX; n++) {
        int fds[PWC_ROLES_MAX];
        for (unsigned i = 0; i < n; i++)
            fds[i] = memfd_of("x", 1);
        Pwc__Finished *m = finish_job(&sum, fds, n);
        ck_assert_int_eq(m->code, n == 1 ? PWC__CODE__CODE_OK : PWC__CODE__CODE_BAD_DESCRIPTOR);
        msg_free(&m->base);
    }
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* As many as a frame may have and more, up to the kernel's 253, whatever the header says. */
START_TEST(up_to_253)
{
    static const unsigned numbers[] = {9, 15, 16, 17, 31, 32, 33, 64, 252, 253};
    static const unsigned said[] = {0, 1, 8, 9, 16, 17, 253, UINT16_MAX};
    int fds[253];
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = memfd_of("x", 1);
    for (unsigned i = 0; i < ARRAY_LEN(numbers) * ARRAY_LEN(said); i++) {
        uint8_t bytes[64];
        Pwc__Item m = PWC__ITEM__INIT;
        struct peer p = peer_open(&v);
        size_t len = frame_of(bytes, PWC_MSG_ITEM, 1, &m, said[i % ARRAY_LEN(said)]);
        ck_assert(peer_send(&p, bytes, len, fds, numbers[i / ARRAY_LEN(said)]));
        ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_MALFORMED); /* who made a mistake is told */
        ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "%u descriptors, %u said",
                      numbers[i / ARRAY_LEN(said)], said[i % ARRAY_LEN(said)]);
        peer_free(&p);
    }
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* In pieces of a header, each with as many as a whole frame may have: the kernel cuts none of them off. */
START_TEST(more_than_there_is_room_for)
{
    int fds[PWC_FDS_MAX + 4];
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = memfd_of("x", 1);
    for (int i = 0; i < 40; i++) {
        uint8_t bytes[64];
        Pwc__Item m = PWC__ITEM__INIT;
        struct peer p = peer_open(&v);
        frame_of(bytes, PWC_MSG_ITEM, 1, &m, PWC_FDS_MAX);
        ck_assert(peer_send(&p, bytes, 10, fds, PWC_FDS_MAX));
        ck_assert(peer_send(&p, bytes + 10, 2, fds, ARRAY_LEN(fds)));
        ck_assert_int_eq(peer_code(&p), PWC__CODE__CODE_MALFORMED);
        ck_assert(peer_is_closed(&p, PATIENCE_MS));
        peer_free(&p);
    }
    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* With a request that takes none, and with one that nobody knows. */
START_TEST(with_messages_that_take_none)
{
    uint8_t bytes[PWC_HEADER_BYTES];
    int fd = memfd_of("x", 1), fds[PWC_FDS_MAX];
    for (unsigned i = 0; i < PWC_FDS_MAX; i++)
        fds[i] = fd;
    for (size_t i = 0; i < msg_table_len; i++) {
        const struct frame_head h = {16, msg_table[i].type, 1, 1, 0};
        if (msg_table[i].fds_max > 0)
            continue;
        struct peer p = peer_open(&v);
        frame_put(bytes, &h);
        peer_send(&p, bytes, sizeof bytes, fds, 1);
        ck_assert_msg(peer_is_closed(&p, PATIENCE_MS), "%s with a descriptor", msg_table[i].name);
        peer_free(&p);
    }
    struct peer p = peer_open(&v);
    for (unsigned i = 0; i < 2000; i++) {
        const struct frame_head h = {16, 200, PWC_FDS_MAX, 1, 0};
        frame_put(bytes, &h);
        if (!peer_send(&p, bytes, sizeof bytes, fds, PWC_FDS_MAX))
            break;
    }
    peer_free(&p);
    close(fd);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* ---- contents ---- */

struct shrinker {
    int fd;
    size_t len;
    _Atomic bool stop;
};

static void *shrink_and_grow(void *arg)
{
    struct shrinker *s = arg;
    for (size_t i = 0; !s->stop; i++)
        if (ftruncate(s->fd, (off_t)(i % 2 == 0 ? s->len / 2 : s->len)) < 0)
            break;
    return NULL;
}

static void while_it_shrinks(const struct job_spec *spec, int in, int out)
{
    pthread_t t;
    struct stat st;
    fstat(in, &st);
    struct shrinker s = {.fd = dup(in), .len = (size_t)st.st_size};
    ck_assert_int_eq(pthread_create(&t, NULL, shrink_and_grow, &s), 0);
    int fds[] = {in, out};
    Pwc__Finished *m = finish_job(spec, fds, out >= 0 ? 2 : 1);
    s.stop = true;
    pthread_join(t, NULL);
    close(s.fd);
    /* It may be lucky; else the input is to blame. */
    bool blamed = m->code == PWC__CODE__CODE_INPUT_SHRANK || m->code == PWC__CODE__CODE_BAD_INPUT ||
                  m->code == PWC__CODE__CODE_INPUT_IO || m->code == PWC__CODE__CODE_OP;
    ck_assert_msg(m->state == PWC__JOB_STATE__JOB_DONE || (m->state == PWC__JOB_STATE__JOB_FAILED && blamed),
                  "%d: %s", m->code, m->reason);
    msg_free(&m->base);
}

/* It may be lucky, too; and it may have grown again when it is looked at. */
static void check_shrunk(const struct batch_item *it)
{
    const bool blamed = it->code == PWC__CODE__CODE_INPUT_SHRANK || it->code == PWC__CODE__CODE_INPUT_IO;
    ck_assert_msg(it->code == PWC__CODE__CODE_OK || (blamed && strstr(it->reason, it->name) != NULL),
                  "%d: %s", it->code, it->reason);
}

/* One item of a batch, between others whose files stay as they are. */
static void one_item_shrinks(void)
{
    static const struct job_spec batch = {
        .op = "fault.bus", .items = 5, .batch = true, .roles = {"in"}, .max_failures = 5};
    struct shrinker s = {.fd = memfd_create("shrinks", MFD_CLOEXEC), .len = 64 << 20};
    struct batch_item items[5];
    pthread_t t;
    ck_assert_int_eq(ftruncate(s.fd, (off_t)s.len), 0);
    for (unsigned i = 0; i < ARRAY_LEN(items); i++)
        items[i] = (struct batch_item){.name = "good", .fds = {memfd_of("some bytes", 10)}};
    close(items[2].fds[0]);
    items[2] = (struct batch_item){.name = "the one that shrinks", .fds = {s.fd}};
    ck_assert_int_eq(pthread_create(&t, NULL, shrink_and_grow, &s), 0);
    finish_batch(&batch, items);
    s.stop = true;
    pthread_join(t, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(items); i++) {
        close(items[i].fds[0]);
        if (i == 2)
            check_shrunk(&items[i]);
        else
            ck_assert_msg(items[i].code == PWC__CODE__CODE_OK, "item %u: %s", i, items[i].reason);
    }
}

START_TEST(an_item_that_shrinks_while_it_is_read)
{
    for (int i = 0; i < 8 / SLOWER + 1; i++)
        one_item_shrinks();
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

START_TEST(a_memfd_that_shrinks_while_it_is_read)
{
    for (int i = 0; i < 8 / SLOWER + 1; i++) {
        int fd = memfd_create("shrinks", MFD_CLOEXEC);
        ck_assert_int_eq(ftruncate(fd, 64 << 20), 0);
        ck_assert_int_eq(fallocate(fd, 0, 0, 64 << 20), 0);
        while_it_shrinks(&sum, fd, -1);
        struct job_spec spec = invert;
        spec.format = "raw";
        while_it_shrinks(&spec, picture(2000, 2000, 3), memfd_of("", 0));
    }
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* Two exabytes of nothing: reading them must not make memory of them. */
START_TEST(a_huge_sparse_file)
{
    for (int i = 0; i < 2; i++) {
        struct stat st;
        int fd = i == 0 ? memfd_create("sparse", MFD_CLOEXEC) : file_with("", O_RDWR), kept = dup(fd);
        off_t size = 1ll << 61;
        while (ftruncate(fd, size) < 0)
            size /= 2;
        struct job_spec spec = sum;
        spec.job_timeout_ms = 1000 * SLOWER;
        Pwc__Finished *m = finish_job(&spec, &fd, 1);
        ck_assert_msg(m->code == PWC__CODE__CODE_TIMEOUT || m->code == PWC__CODE__CODE_BUDGET, "%d: %s",
                      m->code, m->reason);
        msg_free(&m->base);
        ck_assert_int_eq(fstat(kept, &st), 0);
        ck_assert_msg(st.st_blocks < (64 << 20) / 512, "%lld blocks were made of holes",
                      (long long)st.st_blocks);
        close(kept);
    }
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* The same as a picture: whoever looks for the end of its first line looks for hours. */
START_TEST(a_huge_sparse_picture)
{
    int fds[] = {memfd_create("sparse", MFD_CLOEXEC), memfd_of("", 0)};
    ck_assert_int_eq(ftruncate(fds[0], 1ll << 40), 0);
    Pwc__Finished *m = finish_job(&invert, fds, 2);
    ck_assert_msg(m->code == PWC__CODE__CODE_BAD_INPUT, "%d: %s", m->code, m->reason);
    msg_free(&m->base);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* ---- at the limit ---- */

/* pwcd may open `more` descriptors beyond those it has. */
static void limit_descriptors(size_t more)
{
    struct rlimit was, now;
    ck_assert_int_eq(prlimit(v.pid, RLIMIT_NOFILE, NULL, &was), 0);
    now = was;
    now.rlim_cur = more == SIZE_MAX ? was.rlim_max : victim_fds(&v) + more;
    ck_assert_int_eq(prlimit(v.pid, RLIMIT_NOFILE, &now, NULL), 0);
}

START_TEST(descriptors_while_there_is_no_room)
{
    int fds[PWC_ROLES_MAX], in = memfd_of("some bytes", 10);
    for (unsigned i = 0; i < PWC_ROLES_MAX; i++)
        fds[i] = in;
    for (size_t more = 0; more < 6; more++) {
        struct peer p = peer_open(&v), q = peer_open(&v);
        for (uint64_t i = 0; i < 4; i++)
            peer_submit(&p, i, &sum);
        msg_free(peer_await(&p, PWC_MSG_WANT));
        limit_descriptors(more);
        for (uint64_t job = 0; job < 4; job++)
            peer_item(&q, job, 0, fds, PWC_ROLES_MAX);
        for (int i = 0; i < 20; i++) {
            int fd = peer_socket(&v);
            struct peer r = {fd, fd >= 0 ? chan_new(fd, MSG_FROM_DAEMON, NULL) : NULL};
            if (fd >= 0)
                peer_is_closed(&r, 20); /* let in or turned away: it must only not hurt */
            peer_free(&r);
        }
        limit_descriptors(SIZE_MAX);
        peer_free(&p);
        peer_free(&q);
        victim_is_well(&v, GROWS_KIB);
    }
    close(in);
}
END_TEST

/* Not one more, wherever those are that it has. */
static void let_none_in(void)
{
    struct rlimit few;
    ck_assert_int_eq(prlimit(v.pid, RLIMIT_NOFILE, NULL, &few), 0);
    few.rlim_cur = 3;
    ck_assert_int_eq(prlimit(v.pid, RLIMIT_NOFILE, &few, NULL), 0);
}

static void send_wanted(const struct peer *p, const Pwc__Want *w, int fd)
{
    for (uint64_t i = w->first; i < w->first + w->n; i++)
        peer_item(p, w->job, i, &fd, 1);
}

/* Whatever is wanted, until so many are done. */
static void send_all(struct peer *p, int fd, uint64_t items)
{
    struct frame f;
    for (uint64_t done = 0; done < items;) {
        ck_assert_int_eq(peer_hear(p, &f, PATIENCE_MS), 1);
        ck_assert(f.type == PWC_MSG_WANT || f.type == PWC_MSG_ITEM_DONE || f.type == PWC_MSG_EVENT);
        ProtobufCMessage *m = msg_unpack(f.desc, f.body, f.body_len);
        ck_assert_ptr_nonnull(m);
        if (f.type == PWC_MSG_ITEM_DONE) {
            ck_assert_int_eq(((Pwc__ItemDone *)m)->code, PWC__CODE__CODE_OK);
            done++;
        } else if (f.type == PWC_MSG_WANT) {
            send_wanted(p, (Pwc__Want *)m, fd);
        }
        msg_free(m);
    }
}

/* Its client did nothing wrong: the connection stays, and the next job goes well. */
START_TEST(an_item_for_which_there_is_no_room)
{
    int fd = memfd_of("\1\0\0\0", 4);
    struct peer p = peer_open(&v);
    for (int round = 0; round < 2; round++) {
        peer_submit(&p, 1, &sum);
        Pwc__Want *w = peer_await(&p, PWC_MSG_WANT);
        if (round == 0)
            let_none_in();
        peer_item(&p, w->job, 0, &fd, 1);
        Pwc__Finished *m = peer_await(&p, PWC_MSG_FINISHED);
        limit_descriptors(SIZE_MAX);
        ck_assert_msg(m->code == (round == 0 ? PWC__CODE__CODE_NO_MEMORY : PWC__CODE__CODE_OK), "%d: %s",
                      m->code, m->reason);
        if (round == 0)
            ck_assert_str_eq(m->reason,
                             "pwcd cannot make room for the descriptors of a client: Too many open files");
        msg_free(&m->base);
        msg_free(&w->base);
    }
    peer_free(&p);
    close(fd);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* They are asked for again until there is room. */
START_TEST(items_of_a_batch_for_which_there_is_no_room)
{
    static const struct job_spec batch = {.op = "fault.bus", .items = 40, .batch = true, .roles = {"in"}};
    int fd = memfd_of("some bytes", 10);
    struct peer p = peer_open(&v);
    peer_submit(&p, 1, &batch);
    Pwc__Want *w = peer_await(&p, PWC_MSG_WANT);
    let_none_in();
    send_wanted(&p, w, fd);
    for (int again = 0; again < 2; again += w->first == 0) { /* the first of them, twice */
        msg_free(&w->base);
        w = peer_await(&p, PWC_MSG_WANT);
        send_wanted(&p, w, fd);
    }
    limit_descriptors(SIZE_MAX);
    msg_free(&w->base);
    send_all(&p, fd, batch.items);
    peer_free(&p);
    close(fd);
    victim_is_well(&v, GROWS_KIB);
}
END_TEST

/* ---- descriptors whose close hangs ---- */

#define HELD_MOST 300u /* descriptors one user may have pwcd hold for a moment */

struct slowfs {
    pid_t pid;
    FILE *orders, *answers;
    char mount[128];
};

/* False: there is no FUSE here. */
static bool slowfs_start(struct slowfs *s)
{
    int in[2], out[2];
    char line[64];
    snprintf(s->mount, sizeof s->mount, "%s", path_of("mnt"));
    ck_assert_int_eq(mkdir(s->mount, 0755), 0);
    FILE *bytes = fopen(path_of("bytes"), "we");
    fputs("bytes of a slow file", bytes);
    fclose(bytes);
    ck_assert_int_eq(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    s->pid = fork();
    if (s->pid == 0) {
        alarm(30 * SLOWER); /* if we fail we hang in the close of its file, until it is gone */
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl(built("tests/lib/slowfs"), "slowfs", s->mount, path_of("bytes"), NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    s->orders = fdopen(in[1], "w");
    s->answers = fdopen(out[0], "r");
    return fgets(line, sizeof line, s->answers) != NULL;
}

static void slowfs_order(const struct slowfs *s, const char *order)
{
    char line[64];
    fprintf(s->orders, "%s\n", order);
    fflush(s->orders);
    while (fgets(line, sizeof line, s->answers) != NULL && strcmp(line, "ok\n") != 0)
        ;
}

static void slowfs_stop(struct slowfs *s)
{
    slowfs_order(s, "open");
    fclose(s->orders);
    waitpid(s->pid, NULL, 0);
    fclose(s->answers);
    rmdir(s->mount);
    unlink(path_of("bytes"));
}

/* Sixteen a frame, with a request nobody knows and as items of no job, on several connections. */
static void flood_with(int fd, uint16_t type, unsigned nfds)
{
    int fds[PWC_FDS_MAX];
    uint8_t bytes[64];
    Pwc__Item m = PWC__ITEM__INIT;
    m.job = 1u << 30;
    for (unsigned i = 0; i < nfds; i++)
        fds[i] = fd;
    size_t len = frame_of(bytes, type, 1, &m, nfds);
    for (int k = 0; k < 4; k++) {
        become(65534);
        struct peer p = peer_new(&v);
        become(0);
        Pwc__Hello hello = PWC__HELLO__INIT;
        hello.version_min = hello.version_max = 1;
        peer_say(&p, PWC_MSG_HELLO, 0, &hello); /* the answer may have to wait until the closes are done */
        fcntl(p.fd, F_SETFL, O_NONBLOCK);
        for (unsigned i = 0; i < 2000 && peer_send(&p, bytes, len, fds, nfds); i++)
            ck_assert_uint_le(victim_fds(&v), v.fds + HELD_MOST);
        shutdown(p.fd, SHUT_WR);
        peer_free(&p);
    }
}

START_TEST(closes_that_hang)
{
    struct slowfs s;
    if (geteuid() != 0 || access(built("tests/lib/slowfs"), X_OK) < 0 || access("/dev/fuse", W_OK) < 0)
        return;
    if (!slowfs_start(&s)) {
        printf("no FUSE here\n");
        return;
    }
    char path[160];
    snprintf(path, sizeof path, "%s/slow", s.mount);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    slowfs_order(&s, "shut flush");
    flood_with(fd, 200, PWC_FDS_MAX);
    flood_with(fd, PWC_MSG_ITEM, PWC_ROLES_MAX);
    victim_serves(&v);
    slowfs_order(&s, "open");
    victim_is_well(&v, GROWS_KIB);
    close(fd);
    slowfs_stop(&s);
}
END_TEST

int main(void)
{
    setbuf(stdout, NULL);
    Suite *s = suite_create("hostile descriptors");
    TCase *t = tcase_create("descriptors");
    tcase_set_timeout(t, 0);
    tcase_add_unchecked_fixture(t, descriptors_start, descriptors_stop);
    tcase_add_test(t, an_item_that_shrinks_while_it_is_read);
#ifdef HAVE_VIPS
    tcase_add_test(t, a_memfd_that_shrinks_while_it_is_read);
    tcase_add_test(t, a_huge_sparse_picture);
#else
    (void)a_memfd_that_shrinks_while_it_is_read;
    (void)a_huge_sparse_picture;
#endif
    tcase_add_test(t, too_few_and_too_many);
    tcase_add_test(t, up_to_253);
    tcase_add_test(t, more_than_there_is_room_for);
    tcase_add_test(t, with_messages_that_take_none);
    tcase_add_test(t, a_huge_sparse_file);
    tcase_add_test(t, descriptors_while_there_is_no_room);
    tcase_add_test(t, an_item_for_which_there_is_no_room);
    tcase_add_test(t, items_of_a_batch_for_which_there_is_no_room);
    tcase_add_test(t, closes_that_hang);
    suite_add_tcase(s, t);
    return run_suite(s);
}
