// userfaultfd as a watch on changes of the address space. Its ioctl requests are macros that do not import, its events a
// packed union.
#ifndef TERCET_CLINUX_USERFAULTFD_H
#define TERCET_CLINUX_USERFAULTFD_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than some distributions' headers.
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/// Opens a userfaultfd that reports unmapping, remapping and discarding, and nothing else. It is allowed without
/// privilege, as no page fault of the kernel ever waits for it. Returns the descriptor, non-blocking, or -errno.
static inline int tercet_userfaultfd_open(void) {
    int descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (descriptor < 0) return -errno;
    struct uffdio_api api = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE
            | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
    };
    if (ioctl(descriptor, UFFDIO_API, &api) != 0) {
        int code = errno;
        close(descriptor);
        return -code;
    }
    return descriptor;
}

/// Watches a range of whole pages. Registered for write protection, which is never applied: unlike the mode for missing
/// pages it makes no fault wait. Returns 0 or an errno value: EINVAL for memory that cannot be watched (most files).
static inline int tercet_userfaultfd_watch(int descriptor, uint64_t start, uint64_t length) {
    struct uffdio_register request = { .range = { start, length }, .mode = UFFDIO_REGISTER_MODE_WP };
    return ioctl(descriptor, UFFDIO_REGISTER, &request) == 0 ? 0 : errno;
}

static inline int tercet_userfaultfd_unwatch(int descriptor, uint64_t start, uint64_t length) {
    struct uffdio_range range = { start, length };
    return ioctl(descriptor, UFFDIO_UNREGISTER, &range) == 0 ? 0 : errno;
}

/// Whether a change of watched memory has begun that has not been read as an event: the kernel then refuses to fill
/// pages with EAGAIN, before it looks at which (mm/userfaultfd.c, `mmap_changing`). The range asked for is never valid.
static inline int tercet_userfaultfd_is_changing(int descriptor) {
    struct uffdio_zeropage request = { .range = { 1, 1 } };
    return ioctl(descriptor, UFFDIO_ZEROPAGE, &request) != 0 && errno == EAGAIN;
}

/// Takes one event: the range that is no longer what it was. Returns 1, or 0 where there is none.
static inline int tercet_userfaultfd_next(int descriptor, uint64_t *start, uint64_t *end) {
    struct uffd_msg message;
    for (;;) {
        ssize_t size = read(descriptor, &message, sizeof message);
        if (size < 0 && errno == EINTR) continue;
        if (size != (ssize_t)sizeof message) return 0;
        switch (message.event) {
        case UFFD_EVENT_UNMAP:
        case UFFD_EVENT_REMOVE:
            *start = message.arg.remove.start;
            *end = message.arg.remove.end;
            return 1;
        case UFFD_EVENT_REMAP:
            *start = message.arg.remap.from;
            *end = message.arg.remap.from + message.arg.remap.len;
            return 1;
        default:
            continue;
        }
    }
}

#endif
