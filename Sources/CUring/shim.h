// liburing, the interface of Linux's ublk driver, and what the headers of Linux 6.1 lack of it: data that is copied by read and
// write calls (6.5), and commands that are numbers of ioctl (6.4).
#ifndef TERCET_CURING_SHIM_H
#define TERCET_CURING_SHIM_H

#include <errno.h>
// The system's own comes first: swift-system has it too, and liburing's differs from it in the name of a type.
#include <linux/io_uring.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

/// `ublksrv_ctrl_dev_info.flags`: commands are numbers of ioctl; data is copied by pread and pwrite (linux/ublk_cmd.h of 6.5).
static const uint64_t tercet_UBLK_F_CMD_IOCTL_ENCODE = 1ull << 6;
static const uint64_t tercet_UBLK_F_USER_COPY = 1ull << 7;
static const uint64_t tercet_UBLK_F_USER_RECOVERY = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;

_Static_assert(sizeof(struct ublksrv_ctrl_cmd) == 32, "a control command has 32 bytes");
_Static_assert(sizeof(struct ublksrv_io_cmd) == 16, "an I/O command has 16 bytes");
_Static_assert(sizeof(struct ublksrv_ctrl_dev_info) == 64, "what is told of a device has 64 bytes");
_Static_assert(sizeof(struct ublksrv_io_desc) == 24, "a request has 24 bytes");

/// Makes a ring for control commands, whose entries have 128 bytes. Returns a negative errno value where it cannot be had.
static inline int tercet_uring_control(struct io_uring *ring) { return io_uring_queue_init(4, ring, IORING_SETUP_SQE128); }

/// Makes a control command and waits for its end; returns its result, a negative errno value where it has failed. `reads`: the
/// command tells something, and changes nothing.
static inline int tercet_ublk_control(
    struct io_uring *ring, int descriptor, unsigned number, int reads, uint32_t device, void *buffer, uint16_t length,
    uint64_t data) {
    struct ublksrv_ctrl_cmd command = {
        .dev_id = device, .queue_id = UINT16_MAX, .len = length, .addr = (uint64_t)(uintptr_t)buffer, .data = {data, 0}};
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    struct io_uring_cqe *end = NULL;
    int result;
    if (!entry) return -EBUSY;
    memset(entry, 0, 2 * sizeof *entry);
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = descriptor;
    entry->cmd_op = (uint32_t)(reads ? _IOR('u', number, struct ublksrv_ctrl_cmd) : _IOWR('u', number, struct ublksrv_ctrl_cmd));
    memcpy((uint8_t *)entry + offsetof(struct io_uring_sqe, cmd), &command, sizeof command);
    result = io_uring_submit(ring);
    if (result < 0) return result;
    do result = io_uring_wait_cqe(ring, &end);
    while (result == -EINTR);
    if (result < 0) return result;
    result = end->res;
    io_uring_cqe_seen(ring, end);
    return result;
}

/// Prepares the fetch of a queue's request, or its answer and the next fetch. Returns 0 where the ring has no entry left.
static inline int tercet_ublk_io(
    struct io_uring *ring, int descriptor, int is_answer, uint16_t queue, uint16_t tag, int32_t result) {
    struct ublksrv_io_cmd command = {.q_id = queue, .tag = tag, .result = result, .addr = 0};
    struct io_uring_sqe *entry = io_uring_get_sqe(ring);
    if (!entry) return 0;
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = descriptor;
    entry->cmd_op = (uint32_t)_IOWR(
        'u', is_answer ? UBLK_IO_COMMIT_AND_FETCH_REQ : UBLK_IO_FETCH_REQ, struct ublksrv_io_cmd);
    entry->user_data = tag;
    memcpy((uint8_t *)entry + offsetof(struct io_uring_sqe, cmd), &command, sizeof command);
    return 1;
}

/// The tag and the result of the next end of a command; 0 where there is none.
static inline int tercet_uring_take(struct io_uring *ring, uint16_t *tag, int32_t *result) {
    struct io_uring_cqe *end;
    if (io_uring_cq_ready(ring) == 0 || io_uring_peek_cqe(ring, &end) != 0) return 0;
    *tag = (uint16_t)end->user_data;
    *result = end->res;
    io_uring_cqe_seen(ring, end);
    return 1;
}

/// The position of a request's data in its device's file (UBLKSRV_IO_BUF_OFFSET; 25 bits of offset, 16 of tag).
static inline off_t tercet_ublk_position(uint16_t queue, uint16_t tag) {
    return (off_t)UBLKSRV_IO_BUF_OFFSET + ((off_t)queue << 41) + ((off_t)tag << 25);
}

#endif
