/* What the C programs of the tests share: TAP, and opening what the command line names. */
#ifndef HANDLE_H
#define HANDLE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tercet.h"

static int tests, failures;

/* Of the handle that open_arguments opens; 0: the library's. */
static uint32_t keep_alive_ms;

static inline void report(int passed, const char *name) {
    printf("%sok %d - %s\n", passed ? "" : "not ", ++tests, name);
    fflush(stdout);
    failures += !passed;
}

static inline int done(void) {
    printf("1..%d\n", tests);
    return failures > 0;
}

/* Opens "namespace ADDRESS PORT NQN" or "volume MEMBERS". */
static inline int open_arguments(int count, char **arguments, uint32_t depth, struct tercet **handle, char message[256]) {
    snprintf(message, 256, "usage: namespace ADDRESS PORT NQN | volume MEMBERS");
    if (count == 4 && strcmp(arguments[0], "namespace") == 0) {
        struct tercet_options options = {
            .size = sizeof options, .address = arguments[1], .port = (uint16_t)atoi(arguments[2]),
            .subsystem_nqn = arguments[3], .depth = depth, .keep_alive_ms = keep_alive_ms};
        return tercet_open(&options, handle, message, 256);
    }
    if (count == 2 && strcmp(arguments[0], "volume") == 0) {
        struct tercet_volume_options options = {
            .size = sizeof options, .members = arguments[1], .depth = depth, .keep_alive_ms = keep_alive_ms};
        return tercet_open_volume(&options, handle, message, 256);
    }
    return -EINVAL;
}

static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Does one operation and waits for its end. */
static inline struct tercet_completion perform(struct tercet *handle, struct tercet_io io) {
    struct tercet_completion completion = {0};
    int result;
    while ((result = tercet_submit(handle, &io)) == -EAGAIN) tercet_poll(handle, &completion, 0);
    if (result) {
        completion.error = result;
        return completion;
    }
    while (tercet_poll(handle, &completion, 1) == 0) {}
    return completion;
}

static inline void fill(unsigned char *memory, size_t bytes, unsigned seed) {
    for (size_t i = 0; i < bytes; i++) memory[i] = (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16) + seed);
}

static inline int round_trip(struct tercet *handle, uint64_t offset, unsigned char *out, unsigned char *in, size_t bytes,
                             unsigned seed) {
    fill(out, bytes, seed);
    memset(in, 0, bytes);
    struct tercet_io io = {.opcode = TERCET_WRITE, .offset = offset, .length = bytes, .buffer = out};
    if (perform(handle, io).error) return 0;
    io.opcode = TERCET_READ;
    io.buffer = in;
    return perform(handle, io).error == 0 && memcmp(in, out, bytes) == 0;
}

static inline struct tercet_status status_of(struct tercet *handle) {
    struct tercet_status status = {.size = sizeof status};
    tercet_get_status(handle, &status);
    return status;
}

static inline int all_zero(const unsigned char *memory, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (memory[i]) return 0;
    return 1;
}

#endif
