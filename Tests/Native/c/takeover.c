/* Two handles want one volume: the later one is refused unless it says take_over; then the earlier one is of no more use.
 * Prints TAP. Usage: takeover volume MEMBERS */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "handle.h"

static char message[256];
static atomic_int is_over;

/* Keeps a handle's connections, while the thread that owns it waits. */
static void *keep(void *handle) {
    struct tercet_completion completion;
    while (!atomic_load(&is_over)) {
        tercet_poll(handle, &completion, 0);
        usleep(1000);
    }
    return NULL;
}

/* Opens the volume while another handle is polled by a thread. */
static int open_beside(struct tercet *other, const struct tercet_volume_options *options, struct tercet **handle) {
    pthread_t keeper;
    atomic_store(&is_over, 0);
    pthread_create(&keeper, NULL, keep, other);
    int result = tercet_open_volume(options, handle, message, sizeof message);
    atomic_store(&is_over, 1);
    pthread_join(keeper, NULL);
    printf("# %d: %s\n", result, result ? message : "open");
    return result;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    struct tercet *first = NULL, *second = NULL;
    unsigned char memory[8192];
    struct tercet_volume_options options = {.size = sizeof options, .members = arguments[2], .depth = 8};
    report(tercet_open_volume(&options, &first, message, sizeof message) == 0, "a handle has the volume");
    report(round_trip(first, 0, memory, memory + 4096, 4096, 1), "a round trip");

    report(open_beside(first, &options, &second) == -EBUSY, "another one is refused");
    report(strstr(message, "has the volume attached") && strstr(message, "take_over"), "... and is told by whom, and what to do");
    report(round_trip(first, 0, memory, memory + 4096, 4096, 2), "the first one goes on");

    /* Built with a header that does not know take_over: what lies behind its structure says nothing. */
    options.size = offsetof(struct tercet_volume_options, take_over);
    options.take_over = 1;
    report(open_beside(first, &options, &second) == -EBUSY, "a caller with an older header is refused");
    report(round_trip(first, 0, memory, memory + 4096, 4096, 3), "the first one goes on");

    options.size = sizeof options;
    report(open_beside(first, &options, &second) == 0, "with take_over the volume is attached");
    report(second && round_trip(second, 4096, memory, memory + 4096, 4096, 4), "... and works");
    struct tercet_completion write = perform(
        first, (struct tercet_io){.opcode = TERCET_WRITE, .length = 4096, .buffer = memory});
    report(write.error == -EBADE, "the first one's writes fail with -EBADE");
    struct tercet_status status = {.size = sizeof status};
    tercet_get_status(first, &status);
    report(status.state == TERCET_DEPOSED, "... and it says that it is deposed");
    report(tercet_close(first) == -EBADE, "... also when it is closed");
    report(tercet_close(second) == 0, "the second one is detached in good order");

    options.take_over = 0;
    report(tercet_open_volume(&options, &first, message, sizeof message) == 0, "a volume that nobody has is nobody's to take over");
    report(tercet_close(first) == 0, "... and is detached");
    return done();
}
