/* Operations on memory that cannot be registered: a file that is mapped shared, for reading only and for writing too, on a
 * softverbs whose fault no_files=1 refuses both, as Linux 6.1 refuses the first and 6.12 the second; prints TAP.
 * Usage: mapped FILE namespace ADDRESS PORT NQN | volume MEMBERS */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handle.h"

enum { bytes = 3 << 20, part = 64 << 10 };

int main(int count, char **arguments) {
    char message[256] = "";
    struct tercet *handle = NULL;
    if (count < 3 || open_arguments(count - 2, arguments + 2, 16, &handle, message)) {
        printf("Bail out! %s\n", message);
        return 1;
    }
    unsigned char *expected = malloc(bytes);
    fill(expected, bytes, 5);
    int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    report(file >= 0 && write(file, expected, bytes) == bytes, "a file is written");
    unsigned char *only_read = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
    unsigned char *writable = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    report(only_read != MAP_FAILED && writable != MAP_FAILED, "it is mapped");

    struct tercet_io io = {.opcode = TERCET_WRITE, .offset = 8192, .length = bytes, .buffer = only_read};
    report(perform(handle, io).error == 0, "a long write from a file that is mapped for reading only");
    memset(writable, 0, bytes);
    io = (struct tercet_io){.opcode = TERCET_READ, .offset = 8192, .length = bytes, .buffer = writable};
    report(perform(handle, io).error == 0 && memcmp(writable, expected, bytes) == 0, "a read into a file that is mapped");

    /* Several at once, each with a place of its own in what they are copied through. */
    memset(writable, 0, bytes);
    int begun = 0, ended = 0, good = 1;
    for (; begun < 16; begun++) {
        io = (struct tercet_io){.opcode = TERCET_READ, .offset = 8192 + (uint64_t)begun * part, .length = part,
                                .buffer = writable + (size_t)begun * part};
        good &= tercet_submit(handle, &io) == 0;
    }
    while (good && ended < begun) {
        struct tercet_completion completions[16];
        int found = tercet_poll(handle, completions, 16);
        for (int i = 0; i < found; i++) good &= completions[i].error == 0;
        ended += found;
    }
    report(good && memcmp(writable, expected, (size_t)begun * part) == 0, "16 reads at once");
    report(status_of(handle).pinned_bytes == 0, "nothing of the file is registered");

    io = (struct tercet_io){.opcode = TERCET_READ, .offset = 8192, .length = part, .buffer = only_read};
    report(perform(handle, io).error == -EFAULT, "a read into memory that is not to be written is refused, and not a crash");
    unsigned char *gone = mmap(NULL, part, PROT_READ, MAP_SHARED, file, 0);
    report(ftruncate(file, 0) == 0, "the file is cut off");
    io = (struct tercet_io){.opcode = TERCET_WRITE, .offset = 8192, .length = part, .buffer = gone};
    report(perform(handle, io).error == -ENOMEM, "a write from a file that has been cut off is refused, and not a crash");
    report(tercet_close(handle) == 0, "the handle is closed in order");
    return done();
}
