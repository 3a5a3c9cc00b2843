// SPDX-License-Identifier: GPL-2.0-only
// A libtercet that does nothing: each operation completes with the next poll. What is left when fio runs on it is what fio
// and the engine cost.
#include <stdlib.h>

#include "tercet.h"

struct tercet {
    void *waiting[1024];
    unsigned int head, tail;
};

static int open_nothing(struct tercet **handle) {
    *handle = calloc(1, sizeof **handle);
    return 0;
}

int tercet_open(const struct tercet_options *options, struct tercet **handle, char *message, size_t size) {
    (void)options, (void)message, (void)size;
    return open_nothing(handle);
}

int tercet_open_volume(const struct tercet_volume_options *options, struct tercet **handle, char *message, size_t size) {
    (void)options, (void)message, (void)size;
    return open_nothing(handle);
}

int tercet_close(struct tercet *handle) {
    free(handle);
    return 0;
}

uint32_t tercet_block_size(const struct tercet *handle) { return handle ? 512 : 0; }
uint64_t tercet_block_count(const struct tercet *handle) { return handle ? 1 << 21 : 0; }
int tercet_get_status(const struct tercet *handle, struct tercet_status *status) { return handle && status ? -1 : 0; }
void *tercet_alloc(struct tercet *handle, size_t bytes) { return handle ? calloc(1, bytes) : NULL; }

void tercet_free(struct tercet *handle, void *memory) {
    (void)handle;
    free(memory);
}

int tercet_submit(struct tercet *handle, const struct tercet_io *io) {
    handle->waiting[handle->tail++ % 1024] = io->user_data;
    return 0;
}

int tercet_poll(struct tercet *handle, struct tercet_completion *completions, int max) {
    int count = 0;
    for (; count < max && handle->head != handle->tail; count++)
        completions[count] = (struct tercet_completion){.user_data = handle->waiting[handle->head++ % 1024]};
    return count;
}
