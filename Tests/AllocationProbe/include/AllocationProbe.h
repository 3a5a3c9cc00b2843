// Counts allocations of the calling thread, so that a test can show that a hot path makes none.
#ifndef TERCET_ALLOCATION_PROBE_H
#define TERCET_ALLOCATION_PROBE_H

#include <stdbool.h>
#include <stdint.h>

/// Whether allocations are counted: false under a sanitizer, which brings its own allocator.
bool allocationProbeIsActive(void);

/// How many allocations (malloc, calloc, realloc, posix_memalign, aligned_alloc, memalign) this thread has made.
uint64_t allocationsOfThread(void);

#endif
