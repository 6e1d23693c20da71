/* Preloaded: lets the N-th operation on files below a folder fail, and sets the clock back. Settings are environment
   variables, looked at in each call: FAULTS_FOLDER; FAULTS_KIND, read or write; FAULTS_AT, N from 1 on, over all
   processes; FAULTS_LASTING, if all from the N-th on fail; FAULTS_ERRNO, 0 to kill the process group; FAULTS_SHARED, a
   file of three long: the writes so far, the reads so far, and the seconds that the clock is late. */
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_below(const char *folder, const char *path) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static volatile long *shared_numbers(void) {
    static volatile long *numbers;
    const char *file = getenv("FAULTS_SHARED");
    if (!numbers && file) {
        int descriptor = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
        if (descriptor < 0) return NULL;
        void *start = mmap(NULL, 3 * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        syscall(SYS_close, descriptor);
        numbers = start == MAP_FAILED ? NULL : start;
    }
    return numbers;
}

static int fails(const char *kind, const char *path) {
    const char *folder = getenv("FAULTS_FOLDER"), *asked = getenv("FAULTS_KIND");
    volatile long *numbers = shared_numbers();
    if (!folder || !numbers || !path) return 0;
    char absolute[2 * PATH_MAX];
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(absolute, sizeof absolute, "%s/%s", here, path);
        path = absolute;
    }
    if (!is_below(folder, path)) return 0;
    long number = __sync_add_and_fetch(numbers + (strcmp(kind, "read") == 0), 1);
    if (!asked || strcmp(asked, kind)) return 0;
    long at = atol(getenv("FAULTS_AT"));
    if (number < at || (number > at && !getenv("FAULTS_LASTING"))) return 0;
    int code = atoi(getenv("FAULTS_ERRNO"));
    if (!code) kill(0, SIGKILL);
    errno = code;
    return 1;
}

static int fails_open(const char *kind, int descriptor) {
    if (!getenv("FAULTS_FOLDER")) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return path[0] == '/' && fails(kind, path); /* else a pipe or a socket */
}

static const char *at_folder(int folder, const char *path, char *whole) {
    if (path[0] == '/' || folder == AT_FDCWD) return path;
    char link[64], place[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, place, sizeof place - 1);
    if (length < 0) return NULL;
    place[length] = 0;
    snprintf(whole, 2 * PATH_MAX, "%s/%s", place, path);
    return whole;
}

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))
#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        va_list list;                                                                    \
        va_start(list, flags);                                                           \
        mode_t mode = va_arg(list, mode_t);                                              \
        va_end(list);                                                                    \
        REAL(name);                                                                      \
        return WRITES(flags) && fails("write", path) ? -1 : real(path, flags, mode);     \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                                                             \
    int name(int folder, const char *path, int flags, ...) {                                                     \
        va_list list;                                                                                            \
        va_start(list, flags);                                                                                   \
        mode_t mode = va_arg(list, mode_t);                                                                      \
        va_end(list);                                                                                            \
        REAL(name);                                                                                              \
        char whole[2 * PATH_MAX];                                                                                \
        return WRITES(flags) && fails("write", at_folder(folder, path, whole)) ? -1                              \
                                                                               : real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)
#define FOPEN(name)                                                             \
    FILE *name(const char *path, const char *mode) {                            \
        REAL(name);                                                             \
        return strpbrk(mode, "wa+") && fails("write", path) ? NULL : real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define ON_DESCRIPTOR(kind, type, name, parameters, arguments) \
    type name parameters {                                     \
        REAL(name);                                            \
        return fails_open(kind, descriptor) ? -1 : real arguments; \
    }
ON_DESCRIPTOR("write", ssize_t, write, (int descriptor, const void *b, size_t n), (descriptor, b, n))
ON_DESCRIPTOR("write", ssize_t, pwrite, (int descriptor, const void *b, size_t n, off_t o), (descriptor, b, n, o))
ON_DESCRIPTOR("write", ssize_t, pwrite64, (int descriptor, const void *b, size_t n, off64_t o), (descriptor, b, n, o))
ON_DESCRIPTOR("write", ssize_t, writev, (int descriptor, const struct iovec *v, int n), (descriptor, v, n))
ON_DESCRIPTOR("write", int, ftruncate, (int descriptor, off_t n), (descriptor, n))
ON_DESCRIPTOR("write", int, ftruncate64, (int descriptor, off64_t n), (descriptor, n))
ON_DESCRIPTOR("write", int, fsync, (int descriptor), (descriptor))
ON_DESCRIPTOR("read", ssize_t, read, (int descriptor, void *b, size_t n), (descriptor, b, n))
ON_DESCRIPTOR("read", ssize_t, pread, (int descriptor, void *b, size_t n, off_t o), (descriptor, b, n, o))
ON_DESCRIPTOR("read", ssize_t, pread64, (int descriptor, void *b, size_t n, off64_t o), (descriptor, b, n, o))
ON_DESCRIPTOR("read", ssize_t, readv, (int descriptor, const struct iovec *v, int n), (descriptor, v, n))

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) { /* stdio writes past the symbol `write` */
    REAL(fwrite);
    return fails_open("write", fileno(stream)) ? 0 : real(data, size, count, stream);
}

size_t fread(void *data, size_t size, size_t count, FILE *stream) {
    REAL(fread);
    if (!fails_open("read", fileno(stream))) return real(data, size, count, stream);
    stream->_flags |= 0x20; /* ferror */
    return 0;
}

#define ON_PATH(name, parameters, path, arguments)      \
    int name parameters {                               \
        REAL(name);                                     \
        return fails("write", path) ? -1 : real arguments; \
    }
ON_PATH(rename, (const char *from, const char *to), to, (from, to))
ON_PATH(mkdir, (const char *path, mode_t mode), path, (path, mode))

int unlink(const char *path) { /* a full disk has room for that */
    REAL(unlink);
    const char *code = getenv("FAULTS_ERRNO");
    return code && atoi(code) == EROFS && fails("write", path) ? -1 : real(path);
}

static long late_s(void) {
    volatile long *numbers = shared_numbers();
    return numbers ? numbers[2] : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int code = real(clock, now);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec -= late_s();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int code = real(now, zone);
    if (!code) now->tv_sec -= late_s();
    return code;
}

time_t time(time_t *where) {
    REAL(time);
    time_t now = real(NULL) - late_s();
    if (where) *where = now;
    return now;
}
