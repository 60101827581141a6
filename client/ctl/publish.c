/*
 * publish.c - outputs appear whole or not at all.
 *
 * A new file is an O_TMPFILE in its directory, linked to its name when the job is done. An existing regular
 * file is replaced: the new one gets its mode (and owner, where we may), a temporary name beside it, and is
 * renamed over it; symbolic links are followed first. Where O_TMPFILE is not supported the file has a
 * temporary name from the start. FIFOs, devices and stdout get the bytes of an anonymous file when all of
 * them are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/ctl/ctl.h"

static int failed(char *why, size_t size, const char *what)
{
    int err = errno;
    snprintf(why, size, "%s%s%s", what, what[0] != '\0' ? ": " : "", strerror(err));
    errno = err;
    return EXIT_FAILED;
}

static int refuse(char *why, size_t size, const char *what)
{
    snprintf(why, size, "%s", what);
    return EXIT_FAILED;
}

/* ---- names ---- */

/* Directory of a path, as a new string. */
static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return text(".");
    return slash == path ? text("/") : must(strndup(path, (size_t)(slash - path)));
}

/* A name beside target that nobody else will take: hidden, so that globs pass it by. */
static char *name_beside(const char *target)
{
    uint64_t r;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) != sizeof r)
        r = (uint64_t)getpid();
    char *dir = dir_of(target);
    char *name = text("%s/.%.200s.%08x", dir, base_name(target), (unsigned)r);
    free(dir);
    return name;
}

/* ---- preparing ---- */

/* It can be opened while the job runs. What replaces a file gets that one's mode when it takes its place;
 * until then nobody else reads what may be private. */
static int temp_named(struct output *out, char *why, size_t size)
{
    mode_t mode = out->kind == OUTPUT_REPLACE ? 0600 : 0666;
    for (int i = 0; i < 16; i++) {
        out->temp = name_beside(out->target);
        out->fd = open(out->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (out->fd >= 0)
            return 0;
        int saved = errno;
        free(out->temp);
        out->temp = NULL;
        errno = saved;
        if (errno != EEXIST)
            break;
    }
    return failed(why, size, "");
}

static int temp_in_dir(struct output *out, char *why, size_t size)
{
    char *dir = dir_of(out->target);
    out->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    int saved = errno;
    free(dir);
    errno = saved;
    if (out->fd >= 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)
        return temp_named(out, why, size);
    return failed(why, size, "");
}

static int stream_to(struct output *out, char *why, size_t size)
{
    out->kind = OUTPUT_STREAM;
    out->fd = anonymous_file();
    return out->fd >= 0 ? 0 : failed(why, size, "cannot make a temporary file");
}

static int replace(struct output *out, const char *name, char *why, size_t size)
{
    out->kind = OUTPUT_REPLACE;
    out->target = realpath(name, NULL);
    if (out->target == NULL || access(out->target, W_OK) < 0)
        return failed(why, size, "");
    return temp_in_dir(out, why, size);
}

/* Of what need not be there yet, through as many symbolic links as there are. 0, or -1 and errno. */
static int follow_links(char **path)
{
    struct stat st;
    for (int links = 0; lstat(*path, &st) == 0 && S_ISLNK(st.st_mode); links++) {
        char to[PATH_MAX];
        ssize_t n = readlink(*path, to, sizeof to - 1);
        if (n <= 0 || links == 40) {
            errno = n < 0 ? errno : ELOOP;
            return -1;
        }
        to[n] = '\0';
        char *dir = dir_of(*path);
        char *next = to[0] == '/' ? text("%s", to) : text("%s/%s", dir, to);
        free(dir);
        free(*path);
        *path = next;
    }
    return 0;
}

char *output_place(const char *name)
{
    char *path = realpath(name, NULL);
    if (path != NULL)
        return path;
    path = text("%s", name);
    char *place = NULL;
    if (follow_links(&path) == 0) {
        char *dir = dir_of(path), *real = realpath(dir, NULL);
        if (real != NULL)
            place = text("%s/%s", real, base_name(path));
        free(dir);
        free(real);
    }
    free(path);
    return place;
}

/* A new file; the links that lead there stay. */
static int create(struct output *out, char *why, size_t size)
{
    if (follow_links(&out->target) < 0)
        return failed(why, size, "");
    if (base_name(out->target)[0] == '\0')
        return refuse(why, size, "there is no such directory");
    int r = temp_in_dir(out, why, size);
    if (r != 0 && strcmp(out->name, out->target) != 0)
        snprintf(why, size, "it is a symbolic link to '%s': %s", out->target, strerror(errno));
    return r;
}

int output_open(const char *name, struct output *out, char *why, size_t size)
{
    *out = (struct output){.name = must(strdup(name)), .fd = -1};
    if (strcmp(name, "-") == 0) {
        if (isatty(STDOUT_FILENO))
            return refuse(why, size, "it is a terminal: a pipe or a file takes bytes");
        return stream_to(out, why, size);
    }
    if (stat(name, &out->old) < 0) {
        if (errno != ENOENT)
            return failed(why, size, "");
        out->target = must(strdup(name));
        return create(out, why, size);
    }
    if (S_ISREG(out->old.st_mode))
        return replace(out, name, why, size);
    if (S_ISDIR(out->old.st_mode))
        return refuse(why, size, "it is a directory");
    out->target = must(strdup(name));
    return access(name, W_OK) < 0 ? failed(why, size, "") : stream_to(out, why, size);
}

bool output_is(const struct output *out, const struct stat *st)
{
    return out->kind == OUTPUT_REPLACE && out->old.st_dev == st->st_dev && out->old.st_ino == st->st_ino;
}

bool output_takes(const struct output *out, const char *name)
{
    struct stat st;
    if (out->kind == OUTPUT_REPLACE)
        return stat(name, &st) == 0 && output_is(out, &st);
    if (out->kind != OUTPUT_NEW)
        return false;
    char *ours = output_place(out->target), *theirs = output_place(name);
    bool same = ours != NULL && theirs != NULL && strcmp(ours, theirs) == 0;
    free(ours);
    free(theirs);
    return same;
}

/* ---- publishing ---- */

static int link_as(int fd, const char *name)
{
    char self[32];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno != ENOENT)
        return -1;
    return linkat(fd, "", AT_FDCWD, name, AT_EMPTY_PATH); /* without /proc; needs a capability */
}

/* Gives the file its own name beside the target, then that of the target. */
static int rename_over(struct output *out)
{
    for (int i = 0; out->temp == NULL && i < 16; i++) {
        char *name = name_beside(out->target);
        if (link_as(out->fd, name) == 0) {
            out->temp = name;
            break;
        }
        int saved = errno;
        free(name);
        errno = saved;
        if (errno != EEXIST)
            return -1;
    }
    if (out->temp == NULL || rename(out->temp, out->target) < 0)
        return -1;
    free(out->temp);
    out->temp = NULL;
    return 0;
}

/* What was private stays so: who may read the new one must be certain. */
static int keep_attributes(const struct output *out)
{
    struct stat st;
    if (fstat(out->fd, &st) < 0)
        return -1;
    if (st.st_uid != out->old.st_uid || st.st_gid != out->old.st_gid)
        if (fchown(out->fd, out->old.st_uid, out->old.st_gid) <
            0) /* not root: then it is ours, as cp -p has it */
            (void)!fchown(out->fd, (uid_t)-1, out->old.st_gid);
    return (st.st_mode & 0777) == (out->old.st_mode & 0777) ? 0 : fchmod(out->fd, out->old.st_mode & 0777);
}

/* Some file systems write when somebody closes, and only then say that they cannot (NFS: close(2)). What the
 * stages were told nobody has heard. */
static int written(int fd)
{
    int again = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return again < 0 ? -1 : close(again);
}

static int stream(const struct output *out)
{
    int to = out->target == NULL ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                                 : open(out->target, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (to < 0)
        return -1;
    int r = lseek(out->fd, 0, SEEK_SET) == 0 ? copy_bytes(out->fd, to) : -1;
    int saved = errno;
    if (close(to) < 0 && r == 0) {
        r = -1;
        saved = errno;
    }
    errno = saved;
    return r;
}

int output_publish(struct output *out, char *why, size_t size)
{
    int r;
    if (out->kind == OUTPUT_STREAM) {
        r = stream(out);
    } else if (written(out->fd) < 0) {
        r = -1;
    } else if (out->kind == OUTPUT_REPLACE) {
        r = keep_attributes(out) == 0 ? rename_over(out) : -1;
    } else {
        r = out->temp != NULL ? rename_over(out) : link_as(out->fd, out->target);
        if (r < 0 && errno == EEXIST)
            r = rename_over(out); /* made by somebody else meanwhile */
    }
    return r == 0 ? 0 : failed(why, size, "");
}

void output_drop(struct output *out)
{
    if (out->temp != NULL)
        unlink(out->temp);
    if (out->fd >= 0)
        close(out->fd);
    free(out->temp);
    free(out->target);
    free(out->name);
    *out = (struct output){.fd = -1};
}
