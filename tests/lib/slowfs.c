/*
 * slowfs.c - a FUSE file system whose server can be told to stop answering, the trap of DESIGN 3.2, or to
 * fail as a disk does.
 *
 *   slowfs DIRECTORY FILE
 *
 * DIRECTORY gets one file, "slow", with the bytes of FILE. Lines on standard input, each answered by "ok":
 *
 *   shut NAME...    requests of these kinds wait: getattr read flush
 *   direct          what is opened from now on is read past the cache: who waits for such a read cannot be
 *                   killed
 *   spoil AT        reads that reach the byte AT fail with EIO; without AT, none
 *   full            whoever closes a file that was made here is told that it could not be written
 *   open            all go on
 *
 * One file can be made there, written and renamed, as on a file system that does not know O_TMPFILE.
 *
 * "ready" on standard output says that it is mounted, "waiting NAME" that a request has come to a shut gate.
 * At the end of standard input the gates open, and the file system is unmounted.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base.h"

#ifdef __SANITIZE_ADDRESS__
/* A thread of libfuse's that is ended in the middle leaves a request behind. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfuse3.so";
}
#endif

enum gate { GETATTR, READ, FLUSH, GATES };
static const char *const gate_names[GATES] = {"getattr", "read", "flush"};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool shut[GATES], direct;
    off_t spoilt;
    int fd;
    atomic_bool full;
    char made[256]; /* path of the file that was made here; empty: none */
    int made_fd;
    struct fuse *fuse;
} fs = {.lock = PTHREAD_MUTEX_INITIALIZER,
        .opened = PTHREAD_COND_INITIALIZER,
        .spoilt = INT64_MAX,
        .fd = -1,
        .made_fd = -1};

/* Under the lock: the bytes of that path, -1: there are none. */
static int fd_of(const char *path)
{
    pthread_mutex_lock(&fs.lock);
    int fd = strcmp(path, "/slow") == 0                         ? fs.fd
             : fs.made[0] != '\0' && strcmp(path, fs.made) == 0 ? fs.made_fd
                                                                : -1;
    pthread_mutex_unlock(&fs.lock);
    return fd;
}

static void pass(enum gate g)
{
    pthread_mutex_lock(&fs.lock);
    if (fs.shut[g]) {
        printf("waiting %s\n", gate_names[g]);
        fflush(stdout);
    }
    while (fs.shut[g])
        pthread_cond_wait(&fs.opened, &fs.lock);
    pthread_mutex_unlock(&fs.lock);
}

static int slow_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    (void)fi;
    memset(st, 0, sizeof *st);
    if (strcmp(path, "/") == 0) {
        st->st_mode = S_IFDIR | 0755;
        st->st_nlink = 2;
        return 0;
    }
    int fd = fd_of(path);
    if (fd < 0)
        return -ENOENT;
    pass(GETATTR);
    if (fstat(fd, st) < 0)
        return -errno;
    st->st_mode = S_IFREG | 0644;
    return 0;
}

static int slow_open(const char *path, struct fuse_file_info *fi)
{
    if (fd_of(path) < 0)
        return -ENOENT;
    fi->direct_io = fs.direct;
    return (fi->flags & O_ACCMODE) == O_RDONLY ? 0 : -EACCES;
}

static off_t first_spoilt(void)
{
    pthread_mutex_lock(&fs.lock);
    off_t at = fs.spoilt;
    pthread_mutex_unlock(&fs.lock);
    return at;
}

static int slow_read(const char *path, char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)fi;
    pass(READ);
    if (offset + (off_t)size > first_spoilt())
        return -EIO;
    ssize_t n = pread(fd_of(path), buf, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int slow_flush(const char *path, struct fuse_file_info *fi)
{
    (void)fi;
    pass(FLUSH);
    return fs.full && strcmp(path, "/slow") != 0 ? -ENOSPC : 0;
}

/* ---- the file that is made here ---- */

static int slow_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)mode;
    (void)fi;
    pthread_mutex_lock(&fs.lock);
    bool room = fs.made[0] == '\0';
    if (room) {
        fs.made_fd = memfd_create("made", MFD_CLOEXEC);
        snprintf(fs.made, sizeof fs.made, "%s", path);
    }
    pthread_mutex_unlock(&fs.lock);
    return room ? 0 : -EBUSY;
}

static int slow_write(const char *path, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)fi;
    ssize_t n = pwrite(fd_of(path), buf, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int slow_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    (void)fi;
    return ftruncate(fd_of(path), size) < 0 ? -errno : 0;
}

static int slow_rename(const char *from, const char *to, unsigned flags)
{
    (void)from;
    (void)flags;
    pthread_mutex_lock(&fs.lock);
    snprintf(fs.made, sizeof fs.made, "%s", to);
    pthread_mutex_unlock(&fs.lock);
    return 0;
}

static int slow_unlink(const char *path)
{
    (void)path;
    pthread_mutex_lock(&fs.lock);
    if (fs.made[0] != '\0')
        close(fs.made_fd);
    fs.made[0] = '\0';
    pthread_mutex_unlock(&fs.lock);
    return 0;
}

/* Nothing is cached: each fstat of a client comes to the gate. */
static void *slow_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    (void)conn;
    cfg->attr_timeout = 0;
    cfg->entry_timeout = 0;
    puts("ready");
    fflush(stdout);
    return NULL;
}

static const struct fuse_operations operations = {.getattr = slow_getattr,
                                                  .open = slow_open,
                                                  .read = slow_read,
                                                  .flush = slow_flush,
                                                  .init = slow_init,
                                                  .create = slow_create,
                                                  .write = slow_write,
                                                  .truncate = slow_truncate,
                                                  .rename = slow_rename,
                                                  .unlink = slow_unlink};

static void obey(char *line)
{
    pthread_mutex_lock(&fs.lock);
    char *save = NULL, *word = strtok_r(line, " \n", &save);
    bool shut = word != NULL && strcmp(word, "shut") == 0, spoil = word != NULL && strcmp(word, "spoil") == 0;
    bool direct = word != NULL && strcmp(word, "direct") == 0,
         full = word != NULL && strcmp(word, "full") == 0;
    fs.direct |= direct;
    fs.full |= full;
    if (spoil)
        fs.spoilt = (word = strtok_r(NULL, " \n", &save)) != NULL ? strtoll(word, NULL, 10) : INT64_MAX;
    else if (!shut && !direct && !full)
        memset(fs.shut, 0, sizeof fs.shut);
    while (shut && (word = strtok_r(NULL, " \n", &save)) != NULL)
        for (size_t i = 0; i < GATES; i++)
            if (strcmp(word, gate_names[i]) == 0)
                fs.shut[i] = true;
    pthread_cond_broadcast(&fs.opened);
    puts("ok");
    fflush(stdout);
    pthread_mutex_unlock(&fs.lock);
}

static void *control(void *arg)
{
    char line[256], open[] = "open";
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line);
    obey(open);
    /* The session loop waits for a request; unmounting ends it. */
    fuse_exit(fs.fuse);
    fuse_unmount(fs.fuse);
    return arg;
}

int main(int argc, char **argv)
{
    if (argc != 3 || (fs.fd = open(argv[2], O_RDONLY | O_CLOEXEC)) < 0)
        return fputs("usage: slowfs DIRECTORY FILE\n", stderr), 64;
    char opts[] = "-osubtype=slowfs,fsname=slowfs", allow[] = "-oallow_other";
    char *av[] = {argv[0], opts, geteuid() == 0 ? allow : opts, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, av);
    fs.fuse = fuse_new(&args, &operations, sizeof operations, NULL);
    fuse_opt_free_args(&args); /* the library may have added some */
    if (fs.fuse == NULL || fuse_mount(fs.fuse, argv[1]) < 0)
        return fputs("slowfs: cannot mount\n", stderr), 70;
    pthread_t thread;
    if (pthread_create(&thread, NULL, control, NULL) != 0)
        return 70;
    fuse_loop_mt(fs.fuse, 0);
    pthread_join(thread, NULL);
    fuse_destroy(fs.fuse);
    return 0;
}
