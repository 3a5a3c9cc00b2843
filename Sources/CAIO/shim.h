// libaio, and the completion ring that the kernel maps into the process: completions are taken from it without a system
// call, as libaio's own io_getevents does.
#ifndef TERCET_CAIO_SHIM_H
#define TERCET_CAIO_SHIM_H

#include <errno.h>
#include <libaio.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/// Per-I/O flag: the data is on stable media at completion (linux/fs.h, RWF_DSYNC).
static const int tercet_RWF_DSYNC = 0x00000002;
/// `iocb.flags`: add 1 to the event descriptor at completion (linux/aio_abi.h, IOCB_FLAG_RESFD).
static const unsigned tercet_IOCB_FLAG_RESFD = 1u << 0;

/// The head of the ring that `io_context_t` points to (the kernel's fs/aio.c, struct aio_ring).
struct tercet_aio_ring {
    unsigned id;
    unsigned nr;
    unsigned head;
    unsigned tail;
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;
    struct io_event events[];
};
_Static_assert(sizeof(struct tercet_aio_ring) == 32, "the kernel's ring header has 32 bytes");
_Static_assert(sizeof(struct io_event) == 32, "an event has 32 bytes");
_Static_assert(sizeof(struct iocb) == 64, "an iocb has 64 bytes");

/// Whether the context's ring has the layout that `tercet_aio_reap` knows.
static inline int tercet_aio_ring_is_known(io_context_t context) {
    const struct tercet_aio_ring *ring = (const struct tercet_aio_ring *)context;
    return ring->magic == 0xa10a10a1u && ring->incompat_features == 0 && ring->header_length == sizeof *ring;
}

/// Moves up to `capacity` events out of the ring; returns how many. The context belongs to one thread.
static inline int tercet_aio_reap(io_context_t context, struct io_event *events, int capacity) {
    struct tercet_aio_ring *ring = (struct tercet_aio_ring *)context;
    unsigned head = ring->head;
    unsigned tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    int count = 0;
    while (count < capacity && head != tail) {
        events[count++] = ring->events[head];
        head = head + 1 == ring->nr ? 0 : head + 1;
    }
    if (count > 0) __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
    return count;
}

/// The same through the system call, for a kernel whose ring has another layout.
static inline int tercet_aio_reap_by_call(io_context_t context, struct io_event *events, int capacity) {
    struct tercet_timespec {
        long seconds, nanoseconds;
    } zero = {0, 0};
    int count = io_getevents(context, 0, capacity, events, (void *)&zero);
    return count < 0 ? 0 : count;
}

/// Fills an iocb; `index` comes back as the event's `data`.
static inline void tercet_aio_prepare(
    struct iocb *iocb, int opcode, int descriptor, int event_descriptor, uint32_t index, void *buffer, size_t length,
    uint64_t offset, int rw_flags) {
    memset(iocb, 0, sizeof *iocb);
    iocb->data = (void *)(uintptr_t)index;
    iocb->aio_lio_opcode = (short)opcode;
    iocb->aio_fildes = descriptor;
    iocb->aio_rw_flags = (unsigned)rw_flags;
    iocb->u.c.buf = buffer;
    iocb->u.c.nbytes = length;
    iocb->u.c.offset = (long long)offset;
    iocb->u.c.flags = tercet_IOCB_FLAG_RESFD;
    iocb->u.c.resfd = (unsigned)event_descriptor;
}

/// The slot that an event belongs to.
static inline uint32_t tercet_aio_index(const struct io_event *event) { return (uint32_t)(uintptr_t)event->data; }

/// Bytes moved, or a negative errno value.
static inline int64_t tercet_aio_result(const struct io_event *event) { return (int64_t)event->res; }

#endif
