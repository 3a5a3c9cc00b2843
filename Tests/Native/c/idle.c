/* A caller that has nothing to do and polls two and a half times in each keep-alive time keeps its connections; prints TAP.
 * Usage: idle namespace ADDRESS PORT NQN | volume MEMBERS */
#include "handle.h"

static const double keep_alive = 2, idle_time = 8;

/* Polls so seldom for the idle time; the longest time between two polls. */
static double idle(struct tercet *handle) {
    struct timespec pause = {.tv_nsec = (long)(keep_alive / 2.5 * 1e9)};
    double start = seconds(), last = start, longest = 0;
    while (last - start < idle_time) {
        nanosleep(&pause, NULL);
        struct tercet_completion completion;
        tercet_poll(handle, &completion, 1);
        double now = seconds();
        if (now - last > longest) longest = now - last;
        last = now;
    }
    return longest;
}

int main(int count, char **arguments) {
    char message[256];
    struct tercet *handle = NULL;
    keep_alive_ms = (uint32_t)(keep_alive * 1000);
    int result = open_arguments(count - 1, arguments + 1, 16, &handle, message);
    report(result == 0, "it is opened");
    if (result) {
        printf("# %d: %s\n", result, message);
        return 1;
    }
    unsigned char *memory = tercet_alloc(handle, 8192);
    report(round_trip(handle, 0, memory, memory + 4096, 4096, 1), "a round trip");
    double longest = idle(handle);
    struct tercet_status status = status_of(handle);
    int in_sync = 0;
    for (uint32_t i = 0; i < status.members; i++) in_sync += status.member[i].state == TERCET_MEMBER_IN_SYNC;
    printf("# %.3f s between two polls at most; %d members in sync, %d losses: %s\n", longest, in_sync, (int)status.losses,
           status.message);
    report(status.state == TERCET_SERVING && status.losses == 0 && in_sync == (int)status.members,
           "after some idle time no connection has been lost");
    report(round_trip(handle, 8192, memory, memory + 4096, 4096, 2), "a round trip");
    tercet_free(handle, memory);
    report(tercet_close(handle) == 0, "it is closed");
    return done();
}
