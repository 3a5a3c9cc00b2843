/* Writes patterns through libtercet from memory of its own and from any memory, reads them back, and compares; prints TAP.
 * Usage: roundtrip ADDRESS PORT NQN */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tercet.h"

static int tests, failures;

static void report(int passed, const char *name) {
    printf("%sok %d - %s\n", passed ? "" : "not ", ++tests, name);
    failures += !passed;
}

static void fill(unsigned char *memory, size_t bytes, unsigned seed) {
    for (size_t i = 0; i < bytes; i++) memory[i] = (unsigned char)(i * 31 + (i >> 8) + seed);
}

/* Does one operation and waits for its end. */
static struct tercet_completion perform(struct tercet *handle, struct tercet_io io) {
    struct tercet_completion completion;
    int result;
    while ((result = tercet_submit(handle, &io)) == -EAGAIN) tercet_poll(handle, &completion, 0);
    if (result) {
        completion.error = result;
        return completion;
    }
    while (tercet_poll(handle, &completion, 1) == 0) {}
    return completion;
}

static int round_trip(struct tercet *handle, unsigned char *out, unsigned char *in, size_t bytes, unsigned seed) {
    fill(out, bytes, seed);
    memset(in, 0, bytes);
    struct tercet_io io = {.opcode = TERCET_WRITE, .offset = 8192, .length = bytes, .buffer = out};
    if (perform(handle, io).error) return 0;
    io.opcode = TERCET_READ;
    io.buffer = in;
    return perform(handle, io).error == 0 && memcmp(in, out, bytes) == 0;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    char message[256];
    struct tercet *handle = NULL;
    struct tercet_options options = {
        .size = sizeof options, .address = arguments[1], .port = (uint16_t)atoi(arguments[2]),
        .subsystem_nqn = arguments[3], .depth = 32};

    struct tercet_options wrong = options;
    wrong.nsid = 99;
    report(tercet_open(&wrong, &handle, message, sizeof message) == -ENXIO, "a namespace that is not there is not opened");
    wrong = options;
    wrong.address = "nowhere";
    report(tercet_open(&wrong, &handle, message, sizeof message) == -EINVAL && strstr(message, "nowhere"),
           "the message names what is wrong");

    int result = tercet_open(&options, &handle, message, sizeof message);
    report(result == 0, "the namespace is opened");
    if (result) {
        printf("# %d: %s\n", result, message);
        return 1;
    }
    report(tercet_block_size(handle) == 512 && tercet_block_count(handle) == 131072, "its geometry is known");

    const size_t bytes = 300 * 512;
    unsigned char *out = tercet_alloc(handle, bytes), *in = tercet_alloc(handle, bytes);
    report(out && in && round_trip(handle, out, in, bytes, 1), "memory of tercet_alloc makes the round trip");

    unsigned char *heap_out = malloc(bytes + 3), *heap_in = malloc(bytes + 3);
    report(round_trip(handle, heap_out + 3, heap_in + 3, bytes, 2), "so does memory of malloc, at any alignment");

    /* The same addresses with other memory behind them: a stale registration would read the old bytes. */
    int same = 1;
    for (unsigned round = 0; round < 100; round++) {
        unsigned char *page = mmap((void *)0x7e0000000000, 65536, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        same = same && page != MAP_FAILED && round_trip(handle, page, in, 65536, round);
        munmap(page, 65536);
    }
    report(same, "memory that is mapped again at its address is sent as it is now");

    struct tercet_completion completion = perform(handle, (struct tercet_io){.opcode = TERCET_FLUSH});
    report(completion.error == 0, "flush");
    completion = perform(handle, (struct tercet_io){.opcode = TERCET_WRITE_ZEROES, .offset = 8192, .length = 512});
    struct tercet_io read = {.opcode = TERCET_READ, .offset = 8192, .length = 512, .buffer = in, .user_data = &failures};
    report(completion.error == 0 && perform(handle, read).error == 0 && in[0] == 0 && in[511] == 0, "write zeroes");
    completion = perform(handle, (struct tercet_io){.opcode = TERCET_TRIM, .offset = 8192, .length = 4096});
    report(completion.error == 0, "trim");
    read.offset = 131072ull * 512;
    completion = perform(handle, read);
    report(completion.error == -EINVAL && completion.status == 0x4080 && completion.outcome == TERCET_DONE &&
               completion.user_data == &failures,
           "a read beyond the end has the target's status and its user data");
    read.offset = 100;
    report(tercet_submit(handle, &read) == -EINVAL, "half a block is refused");

    /* As many at once as the depth has, all of them answered. */
    int submitted = 0, answered = 0;
    read.offset = 0;
    while (tercet_submit(handle, &read) == 0) submitted++;
    struct tercet_completion batch[8];
    while (answered < submitted) {
        int some = tercet_poll(handle, batch, 8);
        for (int i = 0; i < some; i++) answered += batch[i].error == 0;
        if (some < 0) break;
    }
    report(submitted == 32 && answered == 32, "32 operations at once, and not one more");

    tercet_free(handle, out);
    tercet_free(handle, in);
    tercet_close(handle);
    printf("1..%d\n", tests);
    return failures > 0;
}
