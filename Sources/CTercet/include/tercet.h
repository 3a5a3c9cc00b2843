/* libtercet: block I/O to one namespace of an NVMe-oF target over RDMA, or to a volume that is replicated over three of
 * them, for programs in C and in any language that can call C. Stable: fields are only added at the end of structures
 * that begin with `size`, which the caller sets. A caller that was built with an older header has what the fields that it
 * does not know do when they are zero.
 *
 * Threads. A handle belongs to one thread at a time, which does all its work: there is no lock, and nothing happens
 * between calls. A process may have many handles, each thread its own, with a queue of its own; what is said of a handle
 * is independent of the others. (Threads of the library only watch the process's address space, for the cache of
 * registrations; none is started before the first handle is open.)
 *
 * Time. Call tercet_poll at least twice in each keep-alive time, also when there is no I/O; a handle that is not polled for
 * longer loses its connections, and makes new ones when it is polled again.
 *
 * Processes. fork() before the first handle is opened: each child then opens its own. In a child of a process that has
 * opened one, whether it was closed again or not, opening fails with -ENOTSUP: the libraries of RDMA cannot be forked.
 *
 * Errors are negative errno values; completions carry the NVMe status too, and tercet_describe makes text of them. */
#ifndef TERCET_H
#define TERCET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A namespace or a volume that is open. All calls below take either. */
struct tercet;

/* Which namespace, and how. Zero means the default, which is given behind each field. */
struct tercet_options {
    size_t size;               /* sizeof(struct tercet_options) */
    const char *address;       /* IPv4 or IPv6, numeric */
    uint16_t port;             /* 4420 */
    const char *subsystem_nqn;
    const char *host_nqn;      /* a name made for this handle */
    const char *host_id;       /* a UUID; made for this handle */
    uint32_t nsid;             /* the only namespace */
    uint32_t depth;            /* operations at once: 128; at most 1023 */
    uint32_t keep_alive_ms;    /* 5000 */
    uint32_t io_timeout_ms;    /* deadline of an operation that has none of its own: 30000 */
    uint32_t fast_io_fail_ms;  /* operations wait so long for a lost connection: 10000; UINT32_MAX: they fail at once */
    uint64_t pinned_bytes;     /* limit of the caller's own memory that stays registered: 1 GiB */
    uint32_t connect_timeout_ms; /* time for the first connection to be made, and again for each Connect to be answered:
                                  30000. An address that nobody answers for is given up after 3 s */
    uint32_t reserved;         /* 0 */
    const char *host_key;      /* for targets that want this host to authenticate: a key "DHHC-1:...", or the path of a file with
                                  one, or of a folder with one for each subsystem, under its NQN. Files are read again for each
                                  connection. Default: the environment's TERCET_KEY_FILE, or none */
    const char *controller_key; /* by which the target has to show who it is; likewise: TERCET_CONTROLLER_KEY_FILE */
};

/* Which volume, and how. */
struct tercet_volume_options {
    size_t size;               /* sizeof(struct tercet_volume_options) */
    const char *members;       /* three, in their order: "ADDRESS:PORT/SUBNQN/NSID,ADDRESS:PORT/SUBNQN/NSID,..."; an IPv6
                                  address is in brackets, ":PORT" may be left out for 4420 */
    const char *host_nqn;      /* a name made for this handle; the host identifier is fresh for each handle */
    uint32_t depth;            /* operations at once: 128; at most 1023 */
    uint32_t keep_alive_ms;    /* 2000 */
    uint32_t io_timeout_ms;    /* a member that takes longer for a command is given up: 5000 */
    uint32_t attach_timeout_ms;/* opening fails when the volume cannot be served within: 30000 */
    uint32_t fails_when_suspended; /* 0: operations wait while too few members can be reached; 1: they fail, -ENOLINK */
    uint64_t pinned_bytes;     /* limit of the caller's own memory that stays registered: 1 GiB */
    uint32_t take_over;        /* 0: opening fails with -EBUSY while another host has the volume attached; 1: that host is
                                  fenced: it stops, and its operations fail with -EBADE */
    uint32_t reserved;         /* 0 */
    const char *host_key;      /* as in tercet_options, for all members */
    const char *controller_key;
};

enum tercet_opcode {
    TERCET_READ = 0,
    TERCET_WRITE = 1,
    TERCET_FLUSH = 2,          /* what was completed before is on stable media when this completes */
    TERCET_WRITE_ZEROES = 3,
    TERCET_TRIM = 4,           /* deallocate. A namespace does not say what is read afterwards; a volume reads as zeroes */
};

enum tercet_flags {
    TERCET_FUA = 1,            /* a write is on stable media when it completes */
};

/* An operation. Offset and length are bytes, whole blocks, and the length is not limited: long operations are split. The
 * buffer is the caller's until the completion; a write's contents do not change meanwhile. */
struct tercet_io {
    uint32_t opcode;           /* enum tercet_opcode */
    uint32_t flags;            /* of enum tercet_flags */
    uint64_t offset;
    uint64_t length;           /* ignored for a flush */
    void *buffer;              /* any memory; that of tercet_alloc costs nothing to use. What cannot be registered, as
                                  files that are mapped shared cannot with many kernels, is copied through memory of the
                                  handle: each operation costs a copy and the registration that fails. The copies are
                                  within pinned_bytes, and stay for the next ones */
    void *user_data;           /* comes back */
    uint32_t timeout_ms;       /* deadline: the operation's association is ended when it is over, and the operation with it,
                                  -ETIMEDOUT. 0: io_timeout_ms. A volume has deadlines for its members only: 0 there */
    uint32_t reserved;         /* 0 */
};

enum tercet_outcome {
    TERCET_DONE = 0,           /* the target answered; `error` and `status` say what */
    TERCET_NOT_DONE = 1,       /* had no effect, and never will have */
    TERCET_UNKNOWN = 2,        /* the connection was lost: perhaps done, wholly or in part, perhaps still to be done */
};

/* How an operation ended. Errors:
 *   -EIO         media error, or what no other errno says; `status` tells
 *   -EINVAL      beyond the end
 *   -ENOSPC      Capacity Exceeded
 *   -EROFS       Namespace is Write Protected
 *   -EOPNOTSUPP  the target does not have the command
 *   -EBADE       Reservation Conflict; of a volume: another host has attached it, and it is of no more use here
 *   -ENOMEM      the buffer can be neither registered nor copied: see pinned_bytes
 *   -EFAULT      of a read: the buffer could not be registered, and is not to be written either
 *   -ETIMEDOUT   the deadline was over
 *   -ENOTCONN    the connection was lost, and not back in time
 *   -ENOLINK     of a volume with fails_when_suspended: too few members can be reached
 *   -ESHUTDOWN   the handle is being closed */
struct tercet_completion {
    void *user_data;
    int32_t error;             /* 0, or a negative errno */
    uint16_t status;           /* NVMe status as Linux prints it: type in bits 10:8, code in bits 7:0, 4000h do not retry;
                                  0 where no target's answer decided. Of a volume: the status that its error stands for */
    uint16_t outcome;          /* enum tercet_outcome */
};

enum tercet_state {
    TERCET_SERVING = 0,
    TERCET_WAITING = 1,        /* the connection, or too many members, are away; operations wait */
    TERCET_LOST = 2,           /* given up; operations fail */
    TERCET_DEPOSED = 3,        /* another host has attached the volume; operations fail */
};

enum tercet_member_state {
    TERCET_MEMBER_IN_SYNC = 0,
    TERCET_MEMBER_BEHIND = 1,  /* connected, lacks writes, and is brought up to date */
    TERCET_MEMBER_AWAY = 2,    /* not reachable, or not taken in yet */
};

struct tercet_member_status {
    uint32_t state;            /* enum tercet_member_state */
    uint32_t reserved;
    uint64_t behind_bytes;     /* still to be copied to it, in whole regions */
};

struct tercet_status {
    size_t size;               /* sizeof(struct tercet_status), set by the caller */
    uint32_t state;            /* enum tercet_state */
    uint32_t members;          /* 1 for a namespace, which is its own only member; 3 for a volume */
    struct tercet_member_status member[3];
    uint64_t losses;           /* connections lost so far; of a volume, those of its members */
    uint64_t cache_hits;       /* of the cache of registrations */
    uint64_t cache_misses;
    uint64_t cache_evictions;
    uint64_t pinned_bytes;     /* of the caller's memory, registered now */
    char message[128];         /* the last thing that went wrong with a connection, for people; "" where nothing has */
};

/* Opens a namespace. Returns 0, or a negative errno with a message in `message`, cut to `message_size` with its end; -EACCES: this
 * host or the target has not shown who it is. */
int tercet_open(const struct tercet_options *options, struct tercet **handle, char *message, size_t message_size);

/* Attaches a replicated volume, and returns when it can be served: from then on no other host writes to it. One or two
 * members may be away, as far as the volume's state allows. Returns as tercet_open does; -ETIMEDOUT: the message names the
 * members awaited; -EBUSY: another host, or another handle, has the volume attached, the message names it, and `take_over`
 * is 0. That is asked for 3 s, in which a host that died with a keep-alive time of 2 s is forgotten; members without
 * reservations do not tell. */
int tercet_open_volume(const struct tercet_volume_options *options, struct tercet **handle, char *message,
                       size_t message_size);

/* Ends everything: operations that have not completed never will; their buffers are the caller's again. A volume is
 * detached first: it completes what it has, flushes and is marked clean, for up to 10 s.
 * Returns 0, or -ETIMEDOUT, -EBADE where a volume was not left clean: the next attach reconciles it. */
int tercet_close(struct tercet *handle);

uint32_t tercet_block_size(const struct tercet *handle);
/* The present size; it may change while the handle is open. */
uint64_t tercet_block_count(const struct tercet *handle);

/* Fills in what `status->size` has room for. Returns 0 or -EINVAL. Not for each operation: it counts. */
int tercet_get_status(const struct tercet *handle, struct tercet_status *status);

/* Memory that is registered for as long as it is not freed, aligned to 4096 bytes, zeroed; NULL when there is none. For
 * operations of this handle; any others may use it too, as any memory. No operation may be using it when it is freed. */
void *tercet_alloc(struct tercet *handle, size_t bytes);
void tercet_free(struct tercet *handle, void *memory);

/* Tells that memory which operations have used is about to be unmapped or remapped. Needed only where the kernel does not
 * tell of itself (userfaultfd is refused); without harm elsewhere. */
void tercet_invalidate(struct tercet *handle, void *memory, size_t bytes);

/* Takes an operation. Returns 0 when a completion will follow; -EAGAIN when there are as many as `depth`; -ENOTCONN;
 * -ENOMEM when the buffer can be neither registered nor copied; -EINVAL for what is no operation. It leaves with the next tercet_poll, all
 * that were submitted together. */
int tercet_submit(struct tercet *handle, const struct tercet_io *io);

/* Does all the work there is, without waiting; returns how many completions it has written, `max` at most. -EINVAL, and
 * nothing is done, where `max` is negative. */
int tercet_poll(struct tercet *handle, struct tercet_completion *completions, int max);

/* Writes what a completion says as text, for people, cut to `text_size` with its end: "Reservation Conflict (083h)".
 * Returns `text`. */
const char *tercet_describe(const struct tercet_completion *completion, char *text, size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
