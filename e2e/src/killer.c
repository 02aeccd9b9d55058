/* See killer.rs. Orders are "w N", "s N" or "a N": kill in place of the Nth write, in place of the Nth sync, or
   after the Nth sync of a file whose name ends in "-log"; or "f N": in place of the Nth write of one whose name ends
   in "-wal". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char what;
static int at, writes, folded, syncs;

static int is_named(int file, const char *end) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name);
    return length > 4 && memcmp(name + length - 4, end, 4) == 0;
}

static int is_armed(void) {
    const char *path = getenv("STEADFAST_TEST_KILLER");
    if (!what && path) {
        FILE *orders = fopen(path, "r");
        if (orders) {
            if (fscanf(orders, "%c %d", &what, &at) != 2) what = 0;
            fclose(orders);
        }
    }
    return what != 0;
}

/* Counts one call, and returns its number, or 0 where it does not count. */
static int count(int file, const char *end, int *counter) {
    if (!is_named(file, end)) return 0;
    pthread_mutex_lock(&lock);
    int number = is_armed() ? ++*counter : 0;
    pthread_mutex_unlock(&lock);
    return number;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void before_write(int file) {
    int number = count(file, "-log", &writes);
    if (number && what == 'w' && number == at) die();
    number = count(file, "-wal", &folded);
    if (number && what == 'f' && number == at) die();
}

#define REAL(type, name) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)

ssize_t write(int file, const void *bytes, size_t length) {
    typedef ssize_t (*call)(int, const void *, size_t);
    REAL(call, "write");
    before_write(file);
    return real(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    typedef ssize_t (*call)(int, const void *, size_t, off_t);
    REAL(call, "pwrite");
    before_write(file);
    return real(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    typedef ssize_t (*call)(int, const void *, size_t, off64_t);
    REAL(call, "pwrite64");
    before_write(file);
    return real(file, bytes, length, offset);
}

static int synced(int file, int (*real)(int)) {
    int number = count(file, "-log", &syncs);
    if (number && what == 's' && number == at) die();
    int result = real(file);
    if (number && what == 'a' && number == at) die();
    return result;
}

int fsync(int file) {
    typedef int (*call)(int);
    REAL(call, "fsync");
    return synced(file, real);
}

int fdatasync(int file) {
    typedef int (*call)(int);
    REAL(call, "fdatasync");
    return synced(file, real);
}
