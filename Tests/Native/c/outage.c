/* What a caller sees when a target stops or dies under it; prints TAP.
 * Usage: outage PID namespace ADDRESS PORT NQN | PID volume MEMBERS
 * Of a namespace the target with the PID is stopped and continued; of a volume it is killed, and the caller of this program
 * starts it again when it has read a line that begins with "# start". */
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include "handle.h"

static char message[256];

/* Whether no thread of a process runs. */
static int stands_still(pid_t process) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *threads = opendir(path);
    if (!threads) return 1;
    int running = 0;
    for (struct dirent *entry; (entry = readdir(threads));) {
        char stat[512], state = 'T';
        if (entry->d_name[0] == '.') continue;
        snprintf(stat, sizeof stat, "%s/%s/stat", path, entry->d_name);
        FILE *file = fopen(stat, "r");
        if (!file) continue;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1) running += state != 'T';
        fclose(file);
    }
    closedir(threads);
    return !running;
}

/* Stops a process; on a busy machine that takes until each of its threads has had a processor. */
static void stop(pid_t process) {
    kill(process, SIGSTOP);
    for (double limit = seconds() + 10; !stands_still(process) && seconds() < limit;) usleep(1000);
}

static void check_deadline(struct tercet *handle, pid_t target) {
    unsigned char *memory = tercet_alloc(handle, 8192);
    report(round_trip(handle, 0, memory, memory + 4096, 4096, 1), "a round trip");
    stop(target);
    struct tercet_io write = {.opcode = TERCET_WRITE, .length = 4096, .buffer = memory, .timeout_ms = 500};
    double start = seconds();
    struct tercet_completion completion = perform(handle, write);
    double took = seconds() - start;
    char text[128];
    printf("# after %.3f s: %s\n", took, tercet_describe(&completion, text, sizeof text));
    report(completion.error == -ETIMEDOUT && completion.outcome == TERCET_UNKNOWN && completion.status == 0,
           "a write that the target does not answer ends with its deadline, and its outcome is not known");
    report(took >= 0.5, "and not before it");
    struct tercet_status status = status_of(handle);
    for (double limit = seconds() + 5; status.losses == 0 && seconds() < limit; status = status_of(handle))
        tercet_poll(handle, &completion, 0);
    report(status.state == TERCET_WAITING && status.losses == 1 && status.message[0], "the status says so");
    printf("# %s\n", status.message);
    kill(target, SIGCONT);
    report(round_trip(handle, 0, memory, memory + 4096, 4096, 2), "operations wait for the target to return");
    report(status_of(handle).state == TERCET_SERVING, "and the status says that it has");
    stop(target);
    struct tercet_io read = {.opcode = TERCET_READ, .length = 4096, .buffer = memory};
    report(tercet_submit(handle, &read) == 0 && tercet_close(handle) == 0, "a handle is closed under an operation");
    kill(target, SIGCONT);
}

static void check_member(struct tercet *handle, pid_t target) {
    unsigned char *memory = malloc(1 << 20), *other = malloc(1 << 20);
    kill(target, SIGKILL);
    int same = 1;
    for (unsigned i = 0; i < 16; i++) same = same && round_trip(handle, (uint64_t)i << 20, memory, other, 1 << 20, i);
    report(same, "a volume goes on without one of its members");
    struct tercet_status status = status_of(handle);
    int away = 0, in_sync = 0;
    for (int i = 0; i < 3; i++) {
        away += status.member[i].state == TERCET_MEMBER_AWAY && status.member[i].behind_bytes > 0;
        in_sync += status.member[i].state == TERCET_MEMBER_IN_SYNC;
    }
    report(status.state == TERCET_SERVING && away == 1 && in_sync == 2 && status.losses >= 1 && status.message[0],
           "the status says which, and what it lacks");
    printf("# %s\n# start\n", status.message);
    fflush(stdout);
    for (double limit = seconds() + 60; in_sync < 3 && seconds() < limit;) {
        same = same && round_trip(handle, 20 << 20, memory, other, 65536, (unsigned)seconds());
        status = status_of(handle);
        in_sync = 0;
        for (int i = 0; i < 3; i++)
            in_sync += status.member[i].state == TERCET_MEMBER_IN_SYNC && status.member[i].behind_bytes == 0;
    }
    report(same && in_sync == 3, "it is brought up to date when it returns");
    report(tercet_close(handle) == 0, "the volume is detached clean");
    free(memory);
    free(other);
}

int main(int count, char **arguments) {
    if (count < 4) return 2;
    pid_t target = (pid_t)atoi(arguments[1]);
    struct tercet *handle = NULL;
    int result = open_arguments(count - 2, arguments + 2, 16, &handle, message);
    report(result == 0, "it is opened");
    if (result) {
        printf("# %d: %s\n", result, message);
        return 1;
    }
    if (strcmp(arguments[2], "namespace") == 0)
        check_deadline(handle, target);
    else
        check_member(handle, target);
    return done();
}
