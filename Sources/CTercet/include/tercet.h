/* libtercet: block I/O to one namespace of an NVMe-oF target over RDMA, for programs in C and in any language that can call
 * C. Stable: fields are only added at the end of structures, whose size the caller gives.
 *
 * A handle belongs to one thread at a time, which does all its work: nothing happens between calls. Call tercet_poll at
 * least twice in each keep-alive time, also when there is no I/O; a handle that is not polled for longer loses its
 * connection, and makes a new one when it is polled again. */
#ifndef TERCET_H
#define TERCET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A namespace that is open. */
struct tercet;

/* Which namespace, and how. Zero means the default. */
struct tercet_options {
    size_t size;               /* sizeof(struct tercet_options) */
    const char *address;       /* IPv4 or IPv6, numeric */
    uint16_t port;             /* 4420 */
    const char *subsystem_nqn;
    const char *host_nqn;      /* a name made for this process */
    const char *host_id;       /* a UUID; made for this process */
    uint32_t nsid;             /* the only namespace */
    uint32_t depth;            /* operations at once: 128 */
    uint32_t keep_alive_ms;    /* 5000 */
    uint32_t io_timeout_ms;    /* 30000 */
    uint32_t fast_io_fail_ms;  /* operations wait so long for a lost connection: 10000; UINT32_MAX: they fail at once */
    uint64_t pinned_bytes;     /* limit of the caller's own memory that stays registered: 1 GiB */
};

enum tercet_opcode {
    TERCET_READ = 0,
    TERCET_WRITE = 1,
    TERCET_FLUSH = 2,
    TERCET_WRITE_ZEROES = 3,
    TERCET_TRIM = 4,           /* deallocate; what is read afterwards is not said */
};

enum tercet_flags {
    TERCET_FUA = 1,            /* a write is on stable media when it completes */
};

/* An operation. Offset and length are bytes, whole blocks; the buffer is the caller's until the completion. */
struct tercet_io {
    uint32_t opcode;
    uint32_t flags;
    uint64_t offset;
    uint64_t length;
    void *buffer;              /* any memory; that of tercet_alloc costs nothing to use */
    void *user_data;           /* comes back */
};

enum tercet_outcome {
    TERCET_DONE = 0,           /* the target answered; `status` says what */
    TERCET_NOT_DONE = 1,       /* had no effect, and never will have */
    TERCET_UNKNOWN = 2,        /* the connection was lost: perhaps done, wholly or in part, perhaps still to be done */
};

struct tercet_completion {
    void *user_data;
    int32_t error;             /* 0, or a negative errno: -EIO, -ETIMEDOUT, -ENOTCONN, -ENOSPC ... */
    uint16_t status;           /* NVMe status as Linux prints it: type in bits 10:8, code in bits 7:0, 4000h do not retry */
    uint16_t outcome;          /* enum tercet_outcome */
};

/* Opens a namespace. Returns 0, or a negative errno with a message in `message`, cut to `message_size` with its end. */
int tercet_open(const struct tercet_options *options, struct tercet **handle, char *message, size_t message_size);

/* Ends everything: operations that have not completed never will; their buffers are the caller's again. */
void tercet_close(struct tercet *handle);

uint32_t tercet_block_size(const struct tercet *handle);
uint64_t tercet_block_count(const struct tercet *handle);

/* Memory that is registered for as long as it is not freed, aligned to 4096 bytes; NULL when there is none. */
void *tercet_alloc(struct tercet *handle, size_t bytes);
void tercet_free(struct tercet *handle, void *memory);

/* Tells that memory which operations have used is about to be unmapped or remapped. Needed only where the kernel does not
 * tell of itself (userfaultfd is refused); without harm elsewhere. */
void tercet_invalidate(struct tercet *handle, void *memory, size_t bytes);

/* Takes an operation. Returns 0; -EAGAIN when there are as many as `depth`; -ENOTCONN; -EINVAL. It leaves with the next
 * tercet_poll, all that were submitted together. */
int tercet_submit(struct tercet *handle, const struct tercet_io *io);

/* Does all the work there is, without waiting; returns how many completions it has written, `max` at most. */
int tercet_poll(struct tercet *handle, struct tercet_completion *completions, int max);

#ifdef __cplusplus
}
#endif

#endif
