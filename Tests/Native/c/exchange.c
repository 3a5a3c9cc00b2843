/* Another namespace comes in the place of a member's, while nothing is asked of the volume; prints TAP.
 * Usage: exchange volume MEMBERS. The caller makes member 0 another namespace when it has read a line that begins with
 * "# exchange". */
#include <unistd.h>

#include "handle.h"

static char message[256];

int main(int count, char **arguments) {
    enum { bytes = 4096, blocks = 64 };
    struct tercet *handle = NULL;
    static unsigned char memory[bytes], expected[bytes];
    report(open_arguments(count - 1, arguments + 1, 8, &handle, message) == 0, "the volume is attached");
    if (!handle) return printf("# %s\n", message), 1;
    int good = 1;
    for (unsigned block = 0; block < blocks; block++) {
        fill(expected, bytes, block);
        good &= round_trip(handle, (uint64_t)block * bytes, expected, memory, bytes, block);
    }
    report(good, "it is written, and reads back");
    struct tercet_completion completion;
    struct tercet_status status = status_of(handle);
    for (double limit = seconds() + 20; status.member[0].state != TERCET_MEMBER_IN_SYNC && seconds() < limit;) {
        tercet_poll(handle, &completion, 0);
        status = status_of(handle);
    }
    report(status.member[0].state == TERCET_MEMBER_IN_SYNC, "the member is in sync");
    uint64_t losses = status.losses;
    printf("# exchange\n");
    fflush(stdout);
    for (double limit = seconds() + 60; status.losses == losses && seconds() < limit; status = status_of(handle)) {
        tercet_poll(handle, &completion, 0);
        usleep(1000);
    }
    printf("# %s\n", status.message);
    report(status.losses > losses, "its place has been taken: the connection is given up");
    int wrong = 0;
    for (unsigned turn = 0; turn < 4; turn++)
        for (unsigned block = 0; block < blocks; block++) {
            struct tercet_io io = {
                .opcode = TERCET_READ, .offset = (uint64_t)block * bytes, .length = bytes, .buffer = memory};
            fill(expected, bytes, block);
            wrong += perform(handle, io).error != 0 || memcmp(memory, expected, bytes) != 0;
        }
    printf("# %d of %d reads wrong\n", wrong, 4 * blocks);
    report(wrong == 0, "all that was written reads back");
    report(status_of(handle).member[0].state == TERCET_MEMBER_AWAY, "the other namespace is no member");
    report(tercet_close(handle) == 0, "the volume is detached");
    return done();
}
