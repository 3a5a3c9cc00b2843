// Faults on demand, from SOFTVERBS_FAULT or from the file that SOFTVERBS_FAULT_FILE names, which is read again when it
// changes. Both hold words of the form name=value:
//
//   seed=N           of the random choices; each process uses it from its start (default: 1)
//   delay_us=N       each request of a send queue waits for up to N microseconds, at random
//   drop_after=N     a queue pair is cut off, as by a pulled cable, when it has executed N requests
//   drop_rate=P      each request cuts its queue pair off with a probability of P in a million
//   reg_fail_after=N registrations succeed N times, then fail with ENOMEM
//   no_files=1       memory that is mapped from a file, and shared, cannot be registered (EFAULT), as with some kernels
//   refuse=P         connection requests are refused with a probability of P in a million
//   lose=P           connection requests are lost: unreachable after the time limit; P in a million
#include "softverbs.h"

#include <inttypes.h>
#include <libgen.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

bool sv_fault_active;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint64_t delay_us, drop_after, drop_rate, refuse, lose, reg_fail_after;
    bool drops, fails_registration, refuses_files;
} faults;
static uint64_t state = 1;
static _Atomic uint64_t registrations;
static struct timespec file_time;

static uint64_t random_number(void) { // splitmix64
    pthread_mutex_lock(&lock);
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    pthread_mutex_unlock(&lock);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static void parse(char *text) {
    memset(&faults, 0, sizeof faults);
    char *rest, *word = strtok_r(text, " ,\n\t", &rest);
    for (; word; word = strtok_r(NULL, " ,\n\t", &rest)) {
        char name[32];
        unsigned long long value;
        if (sscanf(word, "%31[a-z_]=%llu", name, &value) != 2) sv_log("not a fault: %s", word);
        else if (!strcmp(name, "seed")) state = value;
        else if (!strcmp(name, "delay_us")) faults.delay_us = value;
        else if (!strcmp(name, "drop_after")) faults.drop_after = value, faults.drops = true;
        else if (!strcmp(name, "drop_rate")) faults.drop_rate = value;
        else if (!strcmp(name, "reg_fail_after")) faults.reg_fail_after = value, faults.fails_registration = true;
        else if (!strcmp(name, "no_files")) faults.refuses_files = value;
        else if (!strcmp(name, "refuse")) faults.refuse = value;
        else if (!strcmp(name, "lose")) faults.lose = value;
        else sv_log("not a fault: %s", word);
    }
    sv_fault_active = faults.delay_us || faults.drops || faults.drop_rate;
}

static const char *file_name(void) { return getenv("SOFTVERBS_FAULT_FILE"); }

static void read_file(void) {
    const char *name = file_name();
    struct stat status;
    if (!name || stat(name, &status) < 0) return;
    if (status.st_mtim.tv_sec == file_time.tv_sec && status.st_mtim.tv_nsec == file_time.tv_nsec) return;
    char text[1024] = "";
    FILE *file = fopen(name, "re");
    if (!file) return;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    file_time = status.st_mtim;
    atomic_store(&registrations, 0);
    parse(text);
}

// A descriptor that is readable when a file appears or changes beside the control file; -1 without one.
int sv_fault_watch(void) {
    const char *name = file_name();
    char *copy = name ? strdup(name) : NULL;
    if (!copy) return -1;
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd >= 0 && inotify_add_watch(fd, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
        sv_log("%s: %s", name, strerror(errno));
        close(fd);
        fd = -1;
    }
    free(copy);
    return fd;
}

void sv_fault_changed(int fd) {
    char events[4096];
    while (read(fd, events, sizeof events) > 0) {}
    read_file();
}

void sv_fault_load(void) {
    const char *value = getenv("SOFTVERBS_FAULT");
    if (value) {
        char *copy = strdup(value);
        if (copy) parse(copy);
        free(copy);
    }
    read_file();
}

static bool chance(uint64_t per_million) { return per_million && random_number() % 1000000 < per_million; }

bool sv_fault_refuse_connect(void) { return chance(faults.refuse); }
bool sv_fault_drop_connect(void) { return chance(faults.lose); }
bool sv_fault_registration(void) {
    return faults.fails_registration && atomic_fetch_add(&registrations, 1) >= faults.reg_fail_after;
}

// Whether the memory is one that the fault `no_files` concerns.
bool sv_fault_file_memory(const void *address) {
    if (!faults.refuses_files) return false;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return false;
    char line[512];
    bool is_file = false;
    while (fgets(line, sizeof line, maps)) {
        uintptr_t start, end;
        char access[5], path[256] = "";
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %255s", &start, &end, access, path) < 3) continue;
        if ((uintptr_t)address < start || (uintptr_t)address >= end) continue;
        is_file = access[3] == 's' && path[0] == '/';
        break;
    }
    fclose(maps);
    return is_file;
}
bool sv_fault_drop_qp(uint32_t *operations) {
    if (faults.drops && ++*operations > faults.drop_after) return true;
    return chance(faults.drop_rate);
}
uint64_t sv_fault_delay_ns(void) { return faults.delay_us ? random_number() % (faults.delay_us * 1000 + 1) : 0; }
