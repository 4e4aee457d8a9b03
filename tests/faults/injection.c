/* Preloaded into the server under test: lets its writes and syncs fail on demand, and shifts its clock.
 *
 * The test controls it through a file that both map: counters of the calls on files under FAULTS_FOLDER, and the range
 * of calls that fail. Other files, such as the log, are not affected.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_offset_ns;
    int64_t writes, first_failing_write, last_failing_write;
    int64_t syncs, first_failing_sync, last_failing_sync;
    int64_t error;
    int64_t free_bytes; /* negative: what the disk reports */
    int64_t stalls;     /* syncs block while this is not 0 */
};

static struct control *control;
static const char *folder;
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CONTROL");
    folder = getenv("FAULTS_FOLDER");
    if (!path || !folder) return;
    folder_length = strlen(folder);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) abort();
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (control == MAP_FAILED) abort();
    close(descriptor);
}

static int is_under_test(int descriptor) {
    char link[64], path[4096];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < (ssize_t)folder_length) return 0;
    return !strncmp(path, folder, folder_length);
}

static int fails(int64_t *count, int64_t first, int64_t last) {
    int64_t number = __sync_add_and_fetch(count, 1);
    if (number < first || number > last) return 0;
    errno = (int)control->error;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITE_FAILS(descriptor) \
    (is_under_test(descriptor) && \
     fails(&control->writes, control->first_failing_write, control->last_failing_write))
#define SYNC_FAILS(descriptor) \
    (is_under_test(descriptor) && fails(&control->syncs, control->first_failing_sync, control->last_failing_sync))

ssize_t write(int fd, const void *data, size_t size) { return WRITE_FAILS(fd) ? -1 : NEXT(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return WRITE_FAILS(fd) ? -1 : NEXT(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return WRITE_FAILS(fd) ? -1 : NEXT(pwrite64)(fd, data, size, at);
}

static void stall(int descriptor) {
    while (control && *(volatile int64_t *)&control->stalls && is_under_test(descriptor)) usleep(10000);
}

int fsync(int fd) {
    stall(fd);
    return SYNC_FAILS(fd) ? -1 : NEXT(fsync)(fd);
}
int fdatasync(int fd) {
    stall(fd);
    return SYNC_FAILS(fd) ? -1 : NEXT(fdatasync)(fd);
}

int statvfs(const char *path, struct statvfs *told) {
    int result = NEXT(statvfs)(path, told);
    if (!result && control && control->free_bytes >= 0) told->f_bavail = control->free_bytes / told->f_frsize;
    return result;
}
int statvfs64(const char *path, struct statvfs64 *told) {
    int result = NEXT(statvfs64)(path, told);
    if (!result && control && control->free_bytes >= 0) told->f_bavail = control->free_bytes / told->f_frsize;
    return result;
}

static void shift(struct timespec *now) {
    int64_t total = now->tv_nsec + control->clock_offset_ns;
    int64_t seconds = total / 1000000000, rest = total % 1000000000;
    if (rest < 0) rest += 1000000000, seconds -= 1;
    now->tv_sec += seconds;
    now->tv_nsec = rest;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = NEXT(clock_gettime)(clock, now);
    if (!result && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) shift(now);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec told;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &told);
    now->tv_sec = told.tv_sec;
    now->tv_usec = told.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec told;
    clock_gettime(CLOCK_REALTIME, &told);
    if (now) *now = told.tv_sec;
    return told.tv_sec;
}
