/* Uses every call of libtercet on a namespace or a volume of at least 32 MiB, and compares what comes back; prints TAP.
 * Usage: roundtrip namespace ADDRESS PORT NQN | volume MEMBERS */
#include <limits.h>
#include <sys/mman.h>

#include "handle.h"

static char message[256];

/* What cannot be opened. */
static void check_refusals(char **arguments) {
    struct tercet *handle = NULL;
    if (strcmp(arguments[0], "namespace") == 0) {
        struct tercet_options options = {
            .size = sizeof options, .address = arguments[1], .port = (uint16_t)atoi(arguments[2]),
            .subsystem_nqn = arguments[3]};
        struct tercet_options wrong = options;
        wrong.nsid = 99;
        report(tercet_open(&wrong, &handle, message, sizeof message) == -ENXIO, "a namespace that is not there is not opened");
        wrong = options;
        wrong.address = "nowhere";
        report(tercet_open(&wrong, &handle, message, sizeof message) == -EINVAL && strstr(message, "nowhere"),
               "the message names what is wrong");
        wrong = options;
        wrong.size = 0;
        report(tercet_open(&wrong, &handle, message, 4) == -EINVAL && strlen(message) == 3,
               "options without their size are refused, and the message is cut");
        wrong = options;
        wrong.depth = 4096;
        report(tercet_open(&wrong, &handle, NULL, 0) == -EINVAL, "a depth that is too great is refused");
    } else {
        struct tercet_volume_options wrong = {.size = sizeof wrong, .members = "127.0.0.1:1/nqn.2026-11.io.tercet:a/1"};
        report(tercet_open_volume(&wrong, &handle, message, sizeof message) == -EINVAL && strstr(message, "1 members"),
               "a volume has three members");
        wrong.members = "127.0.0.1:1/nqn.2026-11.io.tercet:a/1,here,there";
        report(tercet_open_volume(&wrong, &handle, message, sizeof message) == -EINVAL && strstr(message, "\"here\""),
               "the message names the member that is none");
        wrong.members =
            "127.0.0.1:1/nqn.2026-11.io.tercet:a/1,127.0.0.1:1/nqn.2026-11.io.tercet:b/1,127.0.0.1:1/"
            "nqn.2026-11.io.tercet:c/1";
        report(tercet_open_volume(&wrong, &handle, message, sizeof message) == -ENODEV,
               "a volume of whose members none is there is not opened");
    }
    report(handle == NULL, "what was not opened has no handle");
    report(tercet_open(NULL, &handle, message, sizeof message) == -EINVAL &&
               tercet_open_volume(NULL, &handle, message, sizeof message) == -EINVAL && tercet_close(NULL) == 0,
           "nothing is no handle");
}

static void check_memory(struct tercet *handle) {
    const size_t bytes = 300 * 512;
    unsigned char *out = tercet_alloc(handle, bytes), *in = tercet_alloc(handle, bytes);
    report(out && in && (uintptr_t)out % 4096 == 0 && all_zero(out, bytes), "tercet_alloc gives zeroed pages");
    report(out && in && round_trip(handle, 8192, out, in, bytes, 1), "memory of tercet_alloc makes the round trip");
    struct tercet_status status = {.size = sizeof status};
    report(tercet_get_status(handle, &status) == 0 && status.cache_hits + status.cache_misses == 0 && status.pinned_bytes == 0,
           "it costs no registration");

    unsigned char *heap_out = malloc(bytes + 3), *heap_in = malloc(bytes + 3);
    report(round_trip(handle, 8192, heap_out + 3, heap_in + 3, bytes, 2), "so does memory of malloc, at any alignment");
    report(tercet_get_status(handle, &status) == 0 && status.cache_misses >= 2 && status.pinned_bytes >= 2 * bytes,
           "it is registered through the cache");

    /* The same addresses with other memory behind them: a stale registration would read the old bytes. */
    int same = 1;
    for (unsigned round = 0; round < 100; round++) {
        unsigned char *page = mmap((void *)0x7e0000000000, 65536, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        same = same && page != MAP_FAILED && round_trip(handle, 65536, page, in, 65536, round);
        if (round % 2) tercet_invalidate(handle, page, 65536);
        munmap(page, 65536);
    }
    report(same, "memory that is mapped again at its address is sent as it is now");

    const size_t most = 9 << 20;
    unsigned char *large_out = malloc(most), *large_in = tercet_alloc(handle, most);
    report(round_trip(handle, 1 << 20, large_out, large_in, most, 3), "9 MiB in one operation");

    tercet_free(handle, large_in);
    free(large_out);
    free(heap_out);
    free(heap_in);
    tercet_free(handle, out);
    tercet_free(handle, in);
}

/* A handle that may register less of its caller's memory than an operation has. */
static void check_limit(char **arguments) {
    struct tercet *handle = NULL;
    struct tercet_options options = {
        .size = sizeof options, .address = arguments[1], .port = (uint16_t)atoi(arguments[2]),
        .subsystem_nqn = arguments[3], .pinned_bytes = 65536};
    unsigned char *memory = malloc(1 << 20);
    int result = tercet_open(&options, &handle, message, sizeof message);
    struct tercet_io io = {.opcode = TERCET_READ, .length = 1 << 20, .buffer = memory};
    report(result == 0 && tercet_submit(handle, &io) == -ENOMEM, "more memory than may be registered is refused");
    io.length = 4096;
    report(result == 0 && perform(handle, io).error == 0, "and the handle goes on");
    tercet_close(handle);
    free(memory);
}

static void check_commands(struct tercet *handle, int is_volume) {
    unsigned char *memory = tercet_alloc(handle, 65536);
    const uint64_t end = tercet_block_count(handle) * tercet_block_size(handle);
    struct tercet_io write = {.opcode = TERCET_WRITE, .flags = TERCET_FUA, .offset = 65536, .length = 65536, .buffer = memory};
    fill(memory, 65536, 9);
    report(perform(handle, write).error == 0, "a write with FUA");
    report(perform(handle, (struct tercet_io){.opcode = TERCET_FLUSH}).error == 0, "flush");

    struct tercet_io zero = {.opcode = TERCET_WRITE_ZEROES, .offset = 65536, .length = 4096};
    struct tercet_io read = {
        .opcode = TERCET_READ, .offset = 65536, .length = 65536, .buffer = memory, .user_data = &failures};
    report(perform(handle, zero).error == 0 && perform(handle, read).error == 0 && all_zero(memory, 4096) && memory[4097],
           "write zeroes");
    struct tercet_io trim = {.opcode = TERCET_TRIM, .offset = 65536 + 4096, .length = 8192};
    report(perform(handle, trim).error == 0 && perform(handle, read).error == 0 &&
               (!is_volume || (all_zero(memory, 12288) && memory[12289])),
           is_volume ? "trim reads as zeroes" : "trim");
    trim.offset = 1 << 20;
    trim.length = 5 << 20;
    report(perform(handle, trim).error == 0, "a long trim");

    read.offset = end;
    struct tercet_completion completion = perform(handle, read);
    char text[64];
    tercet_describe(&completion, text, sizeof text);
    report(completion.error == -EINVAL && completion.status == 0x4080 && completion.outcome == TERCET_DONE &&
               completion.user_data == &failures,
           "a read beyond the end has its status and its user data");
    report(strstr(text, "LBA") != NULL, "the status has a name");
    printf("# %s\n", text);
    read.offset = 100;
    report(tercet_submit(handle, &read) == -EINVAL, "half a block is refused");
    read.offset = 0;
    read.opcode = 77;
    report(tercet_submit(handle, &read) == -EINVAL, "an operation that there is not is refused");
    read.opcode = TERCET_READ;
    read.timeout_ms = 20000;
    completion = perform(handle, read);
    report(is_volume ? completion.error == -EINVAL : completion.error == 0,
           is_volume ? "a deadline is refused on a volume" : "a deadline that is kept");
    read.timeout_ms = 0;

    /* As many at once as the depth has, all of them answered. */
    int submitted = 0, answered = 0;
    read.length = 512;
    while (tercet_submit(handle, &read) == 0) submitted++;
    struct tercet_completion batch[8];
    while (answered < submitted) {
        int some = tercet_poll(handle, batch, 8);
        if (some < 0) break;
        for (int i = 0; i < some; i++) answered += batch[i].error == 0;
    }
    report(submitted == 32 && answered == 32, "32 operations at once, and not one more");
    tercet_free(handle, memory);
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    int is_volume = strcmp(arguments[1], "volume") == 0;
    check_refusals(arguments + 1);

    struct tercet *handle = NULL;
    int result = open_arguments(count - 1, arguments + 1, 32, &handle, message);
    report(result == 0, is_volume ? "the volume is attached" : "the namespace is opened");
    if (result) {
        printf("# %d: %s\n", result, message);
        return 1;
    }
    report(tercet_block_size(handle) == 512 && tercet_block_count(handle) > 60000, "its geometry is known");
    struct tercet_status status = {.size = sizeof status};
    int known = tercet_get_status(handle, &status) == 0 && status.state == TERCET_SERVING &&
                status.members == (is_volume ? 3 : 1) && status.losses == 0;
    /* The third member may come a moment after the volume is served. */
    for (double limit = seconds() + 20; is_volume && seconds() < limit;) {
        struct tercet_completion none;
        tercet_poll(handle, &none, 0);
        tercet_get_status(handle, &status);
        if (status.member[0].state + status.member[1].state + status.member[2].state == TERCET_MEMBER_IN_SYNC) break;
    }
    for (unsigned i = 0; i < status.members; i++)
        known = known && status.member[i].state == TERCET_MEMBER_IN_SYNC && status.member[i].behind_bytes == 0;
    report(known, "its status: all members are in sync");
    struct {
        size_t size;
        uint32_t state;
        uint32_t guard;
    } old = {.size = 12, .guard = 77};
    report(tercet_get_status(handle, (struct tercet_status *)&old) == 0 && old.state == TERCET_SERVING && old.guard == 77,
           "a caller with an older header gets what it has room for");
    struct tercet_completion negative;
    report(tercet_poll(handle, &negative, -1) == -EINVAL && tercet_poll(handle, &negative, INT_MIN) == -EINVAL,
           "room for less than no completion is refused");

    check_memory(handle);
    if (!is_volume) check_limit(arguments + 1);
    check_commands(handle, is_volume);
    report(tercet_close(handle) == 0, is_volume ? "the volume is detached clean" : "the namespace is closed");
    return done();
}
