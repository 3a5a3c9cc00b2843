// Test Anything Protocol, and waiting with a limit.
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int tap_count, tap_failures;
static const char *tap_prefix = "";

static inline bool tap_check(bool passed, const char *file, int line, const char *format, ...) {
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    printf("%sok %d - %s%s\n", passed ? "" : "not ", ++tap_count, tap_prefix, name);
    if (!passed) {
        tap_failures++;
        printf("# failed at %s:%d\n", file, line);
    }
    fflush(stdout);
    return passed;
}
#define ok(condition, ...) tap_check(condition, __FILE__, __LINE__, __VA_ARGS__)
#define is(got, expected, ...)                                                                                         \
    ({                                                                                                                 \
        long long tap_got = (long long)(got), tap_expected = (long long)(expected);                                    \
        if (!ok(tap_got == tap_expected, __VA_ARGS__))                                                                 \
            printf("# got %lld, expected %lld\n", tap_got, tap_expected);                                              \
        tap_got == tap_expected;                                                                                       \
    })
#define diag(format, ...) (printf("# " format "\n", ##__VA_ARGS__), fflush(stdout))
#define bail(...) (printf("Bail out! " __VA_ARGS__), printf("\n"), fflush(stdout), exit(1))

static inline int tap_done(void) {
    printf("1..%d\n", tap_count);
    fflush(stdout);
    return tap_failures ? 1 : 0;
}

static inline uint64_t tap_now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// Until the condition holds, for at most so many milliseconds.
#define eventually(milliseconds, condition)                                                                            \
    ({                                                                                                                 \
        uint64_t tap_end = tap_now_ns() + (uint64_t)(milliseconds) * 1000000u;                                         \
        bool tap_holds;                                                                                                \
        while (!(tap_holds = (condition)) && tap_now_ns() < tap_end) nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL); \
        tap_holds;                                                                                                     \
    })

#endif
