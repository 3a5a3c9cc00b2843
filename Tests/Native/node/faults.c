// Faults of a host, for the programs that the node agent runs and for the agent itself. Preloaded, it does nothing but in the programs
// that FAULT_PROGRAMS names, with blanks between.
//
// FAULT_READS is "KIND SKIP COUNT LEAST PLACE": of the reads of a block device for at least LEAST bytes at PLACE or behind it, SKIP
// pass, and COUNT after them fail with EIO (fail), find the device's end (short), come FAULT_MILLISECONDS late (late), or give zeroes
// (zero).
//
// FAULT_KILL is the number of the step before which the program is killed: a step is a call that changes a file, starts a program or
// reaches a socket. FAULT_STEPS is a file that is told at the end how many there were.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int is_chosen;
static enum { none, failing, empty, late, zeroed } kind;
static long skip, count, least, first, milliseconds, kill_at;
static atomic_long reads, steps;

static void choose_reads(const char *text) {
    char word[8];
    if (sscanf(text, "%7s %ld %ld %ld %ld", word, &skip, &count, &least, &first) != 5) abort();
    if (strcmp(word, "fail") == 0) kind = failing;
    else if (strcmp(word, "short") == 0) kind = empty;
    else if (strcmp(word, "late") == 0) kind = late;
    else if (strcmp(word, "zero") == 0) kind = zeroed;
    else abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *programs = getenv("FAULT_PROGRAMS"), *text;
    char names[256], *rest = names;
    if (programs == NULL || strlen(programs) >= sizeof names) return;
    strcpy(names, programs);
    for (char *name; (name = strsep(&rest, " ")) != NULL;) {
        if (strcmp(name, program_invocation_short_name) != 0) continue;
        is_chosen = 1;
        if ((text = getenv("FAULT_READS")) != NULL) choose_reads(text);
        if ((text = getenv("FAULT_MILLISECONDS")) != NULL) milliseconds = atol(text);
        if ((text = getenv("FAULT_KILL")) != NULL) kill_at = atol(text);
        return;
    }
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAULT_STEPS");
    FILE *file = path != NULL && is_chosen ? fopen(path, "w") : NULL;
    if (file != NULL) fprintf(file, "%ld\n", (long)steps), fclose(file);
}

// The function of that name behind this library.
#define BEHIND(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_faulty(int descriptor, size_t length, off_t place) {
    struct stat state;
    if (kind == none || (long)length < least || place < first || fstat(descriptor, &state) != 0 || !S_ISBLK(state.st_mode)) return 0;
    long number = reads++;
    return number >= skip && number < skip + count;
}

// Does what the fault is to a read that would give `result`.
static ssize_t spoil(void *buffer, ssize_t result) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    switch (kind) {
    case failing: errno = EIO; return -1;
    case empty: return 0;
    case late: nanosleep(&time, NULL); return result;
    case zeroed: if (result > 0) memset(buffer, 0, result); return result;
    default: return result;
    }
}

ssize_t read(int descriptor, void *buffer, size_t length) {
    off_t place = kind == none ? 0 : lseek(descriptor, 0, SEEK_CUR);
    ssize_t result = BEHIND(read)(descriptor, buffer, length);
    return is_faulty(descriptor, length, place) ? spoil(buffer, result) : result;
}

ssize_t pread(int descriptor, void *buffer, size_t length, off_t place) {
    ssize_t result = BEHIND(pread)(descriptor, buffer, length, place);
    return is_faulty(descriptor, length, place) ? spoil(buffer, result) : result;
}

ssize_t pread64(int descriptor, void *buffer, size_t length, off64_t place) { return pread(descriptor, buffer, length, place); }
ssize_t __read_chk(int descriptor, void *buffer, size_t length, size_t room) { (void)room; return read(descriptor, buffer, length); }
ssize_t __pread_chk(int descriptor, void *buffer, size_t length, off_t place, size_t room) {
    (void)room;
    return pread(descriptor, buffer, length, place);
}
ssize_t __pread64_chk(int descriptor, void *buffer, size_t length, off64_t place, size_t room) {
    (void)room;
    return pread(descriptor, buffer, length, place);
}

static void step(void) {
    if (++steps == kill_at) kill(getpid(), SIGKILL);
}

int fsync(int descriptor) { return step(), BEHIND(fsync)(descriptor); }
int rename(const char *from, const char *to) { return step(), BEHIND(rename)(from, to); }
int unlink(const char *path) { return step(), BEHIND(unlink)(path); }
int rmdir(const char *path) { return step(), BEHIND(rmdir)(path); }
int connect(int descriptor, const struct sockaddr *to, socklen_t length) { return step(), BEHIND(connect)(descriptor, to, length); }
pid_t fork(void) { return step(), BEHIND(fork)(); }
int posix_spawn(
    pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
    char *const arguments[], char *const environment[]) {
    return step(), BEHIND(posix_spawn)(pid, path, actions, attributes, arguments, environment);
}
