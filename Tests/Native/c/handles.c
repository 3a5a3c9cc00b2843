/* Several handles in one process, a thread each, and handles of a child process; prints TAP.
 * Usage: handles namespace ADDRESS PORT NQN */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handle.h"

enum { threads = 4, operations = 400, bytes = 16384 };

static int argument_count;
static char **arguments;

struct job {
    unsigned number;
    int errors;
};

/* Opens a handle, and writes and reads parts of the namespace that are the thread's own, through the same memory as other
 * threads and through its own. */
static void *work(void *pointer) {
    struct job *job = pointer;
    char message[256];
    struct tercet *handle = NULL;
    if (open_arguments(argument_count, arguments, 8, &handle, message)) {
        job->errors = operations;
        return NULL;
    }
    unsigned char *registered = tercet_alloc(handle, bytes), *heap = malloc(bytes);
    uint64_t base = (uint64_t)job->number << 20;
    for (unsigned i = 0; i < operations; i++)
        job->errors += !round_trip(handle, base + i % 32 * bytes, i % 2 ? registered : heap, i % 2 ? heap : registered, bytes,
                                   job->number * 1000 + i);
    free(heap);
    tercet_free(handle, registered);
    tercet_close(handle);
    return NULL;
}

static int all_work(unsigned first) {
    pthread_t thread[threads];
    struct job job[threads];
    int errors = 0;
    for (unsigned i = 0; i < threads; i++) {
        job[i] = (struct job){.number = first + i};
        pthread_create(&thread[i], NULL, work, &job[i]);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        errors += job[i].errors;
    }
    return errors;
}

/* The exit status of a child that does the work. */
static int child_work(unsigned first) {
    pid_t child = fork();
    if (child == 0) _exit(all_work(first) != 0);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

/* Whether a child is told that it cannot open a handle. */
static int child_is_refused(void) {
    pid_t child = fork();
    if (child == 0) {
        char message[256] = "";
        struct tercet *handle = NULL;
        _exit(open_arguments(argument_count, arguments, 8, &handle, message) != -ENOTSUP || !strstr(message, "fork"));
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status == 0;
}

int main(int count, char **values) {
    if (count < 3) return 2;
    argument_count = count - 1;
    arguments = values + 1;
    report(child_work(0) == 0, "a child of a process that has opened nothing opens four handles");
    report(all_work(0) == 0, "four handles of one process, a thread each");
    report(child_is_refused(), "a child of a process that has opened handles cannot");

    char message[256];
    struct tercet *handle = NULL;
    int result = open_arguments(argument_count, arguments, 8, &handle, message);
    unsigned char *memory = malloc(2 * bytes);
    report(result == 0 && round_trip(handle, 0, memory, memory + bytes, bytes, 1), "a handle is open and has used the cache");
    report(child_is_refused(), "nor while its parent has one");
    report(result == 0 && round_trip(handle, 0, memory, memory + bytes, bytes, 2), "the parent's goes on");
    tercet_close(handle);

    int opened = 0;
    struct tercet *many[20];
    while (opened < 20 && open_arguments(argument_count, arguments, 2, &many[opened], message) == 0) opened++;
    report(opened == 20, "20 handles in one thread");
    int same = 1;
    for (int i = 0; i < opened; i++)
        same = same && round_trip(many[i], (uint64_t)i * bytes, memory, memory + bytes, bytes, (unsigned)i);
    report(same, "all of them work");
    for (int i = 0; i < opened; i++) tercet_close(many[i]);
    free(memory);
    return done();
}
