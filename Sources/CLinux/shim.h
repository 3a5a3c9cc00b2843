// What Glibc's Swift module leaves out: it is built without _GNU_SOURCE, so thread affinity, O_DIRECT, eventfd,
// timerfd and fallocate are missing, and the ioctl requests made by _IOR-style macros never import.
#ifndef TERCET_CLINUX_SHIM_H
#define TERCET_CLINUX_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

// `fd_set` names its member differently under X/Open rules, which _GNU_SOURCE turns on: the compiler then sees two
// definitions of one type, Glibc's and this module's, and refuses both. It is read here under Glibc's rules.
#include <features.h>
#undef __USE_XOPEN
#include <sys/select.h>
#define __USE_XOPEN 1

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <stddef.h>
#include <sys/un.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "userfaultfd.h"

static const unsigned long tercet_BLKGETSIZE64 = BLKGETSIZE64;
static const unsigned long tercet_BLKSSZGET = BLKSSZGET;
static const unsigned long tercet_BLKPBSZGET = BLKPBSZGET;
static const unsigned long tercet_BLKIOOPT = BLKIOOPT;
static const unsigned long tercet_BLKDISCARD = BLKDISCARD;
static const unsigned long tercet_BLKZEROOUT = BLKZEROOUT;
static const int tercet_O_DIRECT = O_DIRECT;
/// Advice to give memory now, as if it were written to; Linux 5.14. Not every C library's header has it.
static const int tercet_MADV_POPULATE_WRITE = 23;

/// Makes file access of the calling thread that of another user; returns the user before.
static inline int tercet_set_file_user(unsigned user) { return setfsuid(user); }

/// PR_SET_IO_FLUSHER for the calling thread, which not every C library's header has. Returns 0 or an errno value.
static inline int tercet_set_io_flusher(void) { return prctl(57, 1UL, 0UL, 0UL, 0UL) == 0 ? 0 : errno; }

/// Pins the calling thread to one processor. Returns 0 or an errno value.
static inline int tercet_pin_to_processor(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/// `mremap` to a given address, which is variadic in the C library.
static inline void *tercet_mremap(void *old, size_t old_size, size_t new_size, int flags, void *address) {
    return mremap(old, old_size, new_size, flags, address);
}

/// Makes reads and writes of a descriptor return at once instead of waiting. Returns 0 or an errno value. `fcntl` is
/// variadic, which Swift cannot call.
static inline int tercet_set_nonblocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    return flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0 ? errno : 0;
}

/// Lets a descriptor be closed by exec. Returns 0 or an errno value.
static inline int tercet_set_close_on_exec(int descriptor) {
    return fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0 ? errno : 0;
}

/// A datagram socket that is connected to a Unix socket's path, or to an abstract name that begins with @; -1 with errno.
static inline int tercet_connect_datagram(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path) { errno = EINVAL; return -1; }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = 0;
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 &&
        connect(descriptor, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) != 0) {
        int problem = errno;
        close(descriptor);
        errno = problem;
        return -1;
    }
    return descriptor;
}

/// Accepts a connection whose descriptor does not block and is closed by exec; -1 with errno.
static inline int tercet_accept(int listener) {
    return (int)syscall(SYS_accept4, (long)listener, 0L, 0L, (long)(O_NONBLOCK | O_CLOEXEC));
}

/// Sends bytes with open descriptors (SCM_RIGHTS), two at the most. Returns 0, or -1.
static inline int tercet_send_descriptors(int socket, const void *bytes, size_t length, const int *descriptors, int count) {
    char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec vector = {(void *)bytes, length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (count < 0 || count > 2) return -1;
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, (size_t)count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)length ? 0 : -1;
}

/// Receives so many bytes, and up to `capacity` (two at the most) descriptors that came with them; the others stay as they are.
/// Returns 0, or -1.
static inline int tercet_receive_descriptors(int socket, void *bytes, size_t length, int *descriptors, int capacity) {
    char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec vector = {bytes, length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != (ssize_t)length) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(descriptors, CMSG_DATA(header), (size_t)(count < capacity ? count : capacity) * sizeof(int));
    }
    return 0;
}

/// The processor with the given ordinal among those that this process may run on, or -1. Below 0 it is counted from the last: -1.
static inline int tercet_allowed_processor(int ordinal) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return -1;
    if (ordinal < 0 && (ordinal += CPU_COUNT(&set)) < 0) return -1;
    for (int processor = 0; processor < CPU_SETSIZE; processor++)
        if (CPU_ISSET(processor, &set) && ordinal-- == 0) return processor;
    return -1;
}

/* Copy between memory of this process's that is there and memory that may not be there, or not to be written: 0, or -1 with
 * errno EFAULT. (process_vm_readv(2), which does not raise SIGSEGV or SIGBUS.) */
static inline int tercet_move_own(long call, void *ours, void *theirs, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        struct iovec local = {(char *)ours + done, bytes - done}, remote = {(char *)theirs + done, bytes - done};
        long moved = syscall(call, (long)getpid(), &local, 1L, &remote, 1L, 0L);
        if (moved <= 0) return -1;
        done += (size_t)moved;
    }
    return 0;
}
static inline int tercet_copy_in(void *ours, void *theirs, size_t bytes) {
    return tercet_move_own(SYS_process_vm_readv, ours, theirs, bytes);
}
static inline int tercet_copy_out(void *theirs, void *ours, size_t bytes) {
    return tercet_move_own(SYS_process_vm_writev, ours, theirs, bytes);
}

#endif
