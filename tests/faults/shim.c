/* Loaded before libc into a command under test: counts what the command does to files below a folder, and at a given
 * count does what a killed process, a full disk or a failing one would do. `faults/__init__.py` says how it is asked.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Shared by all processes of a command; `State` of __init__.py reads it. */
struct state {
    long count;
    long fired;
    long main_pid;
    char what[232];
};

enum kind { MAKE = 1, WRITE = 2, NAME = 4, REMOVE = 8, SYNC = 16, READ = 32 };

static struct state *state;
static char mode[16], below[PATH_MAX];
static long at;
static __thread int inside;

/* AUDIORNN_FAULT is MODE:AT:FOLDER, AUDIORNN_FAULT_STATE the file that holds the state. */
__attribute__((constructor)) void fault_arm(void)
{
    const char *asked = getenv("AUDIORNN_FAULT"), *file = getenv("AUDIORNN_FAULT_STATE");
    state = NULL;
    if (!asked || !file || sscanf(asked, "%15[^:]:%ld:%4095[^\n]", mode, &at, below) != 3)
        return;
    inside = 1;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    inside = 0;
    if (found != MAP_FAILED)
        state = found;
}

static int is_below(const char *path)
{
    size_t length = strlen(below);
    return strncmp(path, below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void whole_path(int folder, const char *path, char *whole)
{
    char link[64], start[PATH_MAX] = "";
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(start, sizeof start))
                start[0] = 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t length = readlink(link, start, sizeof start - 1);
            start[length < 0 ? 0 : length] = 0;
        }
    }
    snprintf(whole, PATH_MAX, "%s%s%s", start, start[0] ? "/" : "", path);
}

static void note(const char *name, const char *path)
{
    if (__atomic_exchange_n(&state->fired, 1, __ATOMIC_SEQ_CST) == 0)
        snprintf(state->what, sizeof state->what, "%s %s", name, path + strlen(below));
}

/* Small objects of the interpreter still find room, as they would on a machine that runs short. */
#define MORE_BYTES (2 << 20)

/* From here on this process gets little more memory than it has. */
static void no_more_memory(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%ld", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    struct rlimit limit;
    if (pages && getrlimit(RLIMIT_AS, &limit) == 0) {
        limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + MORE_BYTES;
        setrlimit(RLIMIT_AS, &limit);
    }
}

/* 0, or the error that the call is to fail with; -1 for a write that is to stop half way. */
static int verdict(enum kind kind, const char *name, const char *path)
{
    if (!is_below(path))
        return 0;
    if (!strcmp(mode, "gone")) {
        const char *end = strrchr(path, '.');
        if (kind != READ || !end || strcmp(end, ".wav"))
            return 0;
        if (__atomic_add_fetch(&state->count, 1, __ATOMIC_SEQ_CST) == at) {
            note(name, path);
            remove(path);
        }
        return 0;
    }
    if (kind == READ && strcmp(mode, "memory"))
        return 0;
    long count = __atomic_add_fetch(&state->count, 1, __ATOMIC_SEQ_CST);
    if (count < at)
        return 0;
    if (!strcmp(mode, "full") && kind & (MAKE | WRITE)) {
        int first = __atomic_load_n(&state->fired, __ATOMIC_SEQ_CST) == 0;
        note(name, path);
        return first && kind == WRITE ? -1 : ENOSPC;
    }
    if (!strcmp(mode, "readonly")) {
        note(name, path);
        return EROFS;
    }
    if (count > at)
        return 0;
    if (!strcmp(mode, "memory")) {
        note(name, path);
        no_more_memory();
        return 0;
    }
    if (!strcmp(mode, "io") && kind != REMOVE) {
        note(name, path);
        return EIO;
    }
    if (!strcmp(mode, "kill")) {
        note(name, path);
        return -1; /* `die` comes when half is written */
    }
    if (!strcmp(mode, "term") || !strcmp(mode, "int")) {
        note(name, path);
        kill(state->main_pid, mode[0] == 't' ? SIGTERM : SIGINT);
    }
    return 0;
}

static void die(void)
{
    kill(state->main_pid, SIGKILL);
    raise(SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Before a call that has a path: leaves it with FAILED where it is not to be made. */
#define PATH_CALL(kind, folder, path, FAILED)                                                                        \
    if (state && !inside && (path)) {                                                                                  \
        char whole[PATH_MAX];                                                                                          \
        inside = 1;                                                                                                    \
        whole_path(folder, path, whole);                                                                               \
        int told = verdict(kind, __func__, whole);                                                                     \
        inside = 0;                                                                                                    \
        if (told == -1)                                                                                                \
            die();                                                                                                     \
        if (told) {                                                                                                    \
            errno = told;                                                                                              \
            return FAILED;                                                                                             \
        }                                                                                                              \
    }

static int told_of(int fd, enum kind kind, const char *name)
{
    if (!state || inside)
        return 0;
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    inside = 1;
    int told = verdict(kind, name, path);
    inside = 0;
    errno = before;
    return told;
}

static enum kind kind_of_open(int flags)
{
    return flags & (O_CREAT | O_TRUNC) ? MAKE : (flags & O_ACCMODE) == O_RDONLY ? READ : 0;
}

static int is_directory(int folder, const char *path)
{
    struct stat found;
    return fstatat(folder, path, &found, 0) == 0 && S_ISDIR(found.st_mode);
}

#define OPEN(NAME, ...)                                                                                                \
    int NAME(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        if (kind_of_open(flags) && !is_directory(AT_FDCWD, path))                                                      \
            PATH_CALL(kind_of_open(flags), AT_FDCWD, path, -1)                                                         \
        return REAL(NAME)(path, flags, bits);                                                                          \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(NAME)                                                                                                   \
    int NAME(int folder, const char *path, int flags, ...)                                                             \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        if (kind_of_open(flags) && !is_directory(folder, path))                                                        \
            PATH_CALL(kind_of_open(flags), folder, path, -1)                                                           \
        return REAL(NAME)(folder, path, flags, bits);                                                                  \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(NAME)                                                                                                    \
    FILE *NAME(const char *path, const char *how)                                                                      \
    {                                                                                                                  \
        PATH_CALL(strpbrk(how, "wa") ? MAKE : READ, AT_FDCWD, path, NULL)                                              \
        return REAL(NAME)(path, how);                                                                                  \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int fd, const void *bytes, size_t size)
{
    int told = told_of(fd, WRITE, "write");
    if (told == -1) {
        ssize_t half = REAL(write)(fd, bytes, size / 2);
        if (!strcmp(mode, "kill"))
            die();
        if (half > 0)
            return half;
        told = ENOSPC;
    }
    if (told) {
        errno = told;
        return -1;
    }
    return REAL(write)(fd, bytes, size);
}

/* Of a write in other forms nothing is done where it fails. */
#define WHOLE_WRITE(fd)                                                                                                \
    int told = told_of(fd, WRITE, __func__);                                                                           \
    if (told == -1 && !strcmp(mode, "kill"))                                                                           \
        die();                                                                                                         \
    if (told) {                                                                                                        \
        errno = told == -1 ? ENOSPC : told;                                                                            \
        return -1;                                                                                                     \
    }

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t place)
{
    WHOLE_WRITE(fd)
    return REAL(pwrite)(fd, bytes, size, place);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t place)
{
    WHOLE_WRITE(fd)
    return REAL(pwrite64)(fd, bytes, size, place);
}

ssize_t writev(int fd, const struct iovec *parts, int number)
{
    WHOLE_WRITE(fd)
    return REAL(writev)(fd, parts, number);
}

ssize_t sendfile(int fd, int from, off_t *place, size_t size);
ssize_t sendfile(int fd, int from, off_t *place, size_t size)
{
    WHOLE_WRITE(fd)
    return REAL(sendfile)(fd, from, place, size);
}

ssize_t sendfile64(int fd, int from, off64_t *place, size_t size);
ssize_t sendfile64(int fd, int from, off64_t *place, size_t size)
{
    WHOLE_WRITE(fd)
    return REAL(sendfile64)(fd, from, place, size);
}

ssize_t copy_file_range(int from, off64_t *first, int fd, off64_t *place, size_t size, unsigned flags)
{
    WHOLE_WRITE(fd)
    return REAL(copy_file_range)(from, first, fd, place, size, flags);
}

#define SYNC_CALL(NAME)                                                                                                \
    int NAME(int fd)                                                                                                   \
    {                                                                                                                  \
        int told = told_of(fd, SYNC, #NAME);                                                                           \
        if (told == -1)                                                                                                \
            die();                                                                                                     \
        if (told) {                                                                                                    \
            errno = told;                                                                                              \
            return -1;                                                                                                 \
        }                                                                                                              \
        return REAL(NAME)(fd);                                                                                         \
    }
SYNC_CALL(fsync)
SYNC_CALL(fdatasync)

int rename(const char *from, const char *to)
{
    PATH_CALL(NAME, AT_FDCWD, to, -1)
    return REAL(rename)(from, to);
}

int renameat(int one, const char *from, int other, const char *to)
{
    PATH_CALL(NAME, other, to, -1)
    return REAL(renameat)(one, from, other, to);
}

int link(const char *from, const char *to)
{
    PATH_CALL(MAKE, AT_FDCWD, to, -1)
    return REAL(link)(from, to);
}

int symlink(const char *from, const char *to)
{
    PATH_CALL(MAKE, AT_FDCWD, to, -1)
    return REAL(symlink)(from, to);
}

int mkdir(const char *path, mode_t bits)
{
    PATH_CALL(MAKE, AT_FDCWD, path, -1)
    return REAL(mkdir)(path, bits);
}

int mkdirat(int folder, const char *path, mode_t bits)
{
    PATH_CALL(MAKE, folder, path, -1)
    return REAL(mkdirat)(folder, path, bits);
}

int unlink(const char *path)
{
    PATH_CALL(REMOVE, AT_FDCWD, path, -1)
    return REAL(unlink)(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    PATH_CALL(REMOVE, folder, path, -1)
    return REAL(unlinkat)(folder, path, flags);
}

int rmdir(const char *path)
{
    PATH_CALL(REMOVE, AT_FDCWD, path, -1)
    return REAL(rmdir)(path);
}

/* From the given count on, a clock that someone has set back by a day. */
int clock_gettime(clockid_t which, struct timespec *found)
{
    int done = REAL(clock_gettime)(which, found);
    if (state && which == CLOCK_REALTIME && !strcmp(mode, "clock") && state->count >= at) {
        if (!inside)
            note("clock_gettime", below);
        found->tv_sec -= 24 * 3600;
    }
    return done;
}
