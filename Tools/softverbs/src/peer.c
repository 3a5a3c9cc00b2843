// Links to other processes: a socket whose end tells of the peer's death, and the peer's segment, mapped here.
#include "softverbs.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sv_peer *peers;
static uint64_t next_serial;

struct hello {
    uint64_t magic;
    uint64_t nonce;
    uint64_t size;  // of the segment: tells versions apart
    uint64_t probe; // address of a word that holds the nonce
    uint32_t slot;
};

void sv_spin(unsigned *round) {
    if (++*round < 64) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    } else if (*round < 256) {
        sched_yield();
    } else {
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

static int send_hello(int fd) {
    struct hello hello = {SV_MAGIC, sv_process.nonce, sizeof(struct sv_segment), (uintptr_t)&sv_process.nonce,
                          sv_process.slot};
    int fds[2] = {sv_process.memfd, sv_process.kick_fd};
    struct iovec part = {&hello, sizeof hello};
    union {
        char bytes[CMSG_SPACE(sizeof fds)];
        struct cmsghdr alignment;
    } control = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(header), fds, sizeof fds);
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof hello ? 0 : -1;
}

// Receives a hello with its two descriptors: 0, or -1 and errno.
static int receive_hello(int fd, struct hello *hello, int fds[2]) {
    struct iovec part = {hello, sizeof *hello};
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr alignment;
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (size < 0) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    fds[0] = fds[1] = -1;
    if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(2 * sizeof(int)))
        memcpy(fds, CMSG_DATA(header), 2 * sizeof(int));
    if (size == 0) errno = ECONNRESET;
    else if (size != sizeof *hello || hello->magic != SV_MAGIC || hello->size != sizeof(struct sv_segment) || fds[0] < 0)
        errno = EPROTO;
    else return 0;
    if (fds[0] >= 0) close(fds[0]), close(fds[1]);
    return -1;
}

static struct sv_peer *find(uint64_t nonce) {
    for (struct sv_peer *peer = peers; peer; peer = peer->next)
        if (peer->nonce == nonce) return peer;
    return NULL;
}

// Adds a link; takes the descriptors over. Returns the peer with a reference, or NULL and errno.
static struct sv_peer *adopt(int link, const struct hello *hello, int fds[2]) {
    struct ucred credentials = {0};
    socklen_t size = sizeof credentials;
    getsockopt(link, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
    pthread_mutex_lock(&lock);
    struct sv_peer *peer = find(hello->nonce);
    if (peer) {
        close(fds[0]), close(fds[1]);
        if (peer->link_count == 4 || atomic_load(&peer->dead)) {
            pthread_mutex_unlock(&lock);
            close(link);
            errno = ECONNRESET;
            return NULL;
        }
    } else {
        struct sv_segment *segment =
            mmap(NULL, sizeof *segment, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
        int error = errno;
        close(fds[0]);
        peer = segment == MAP_FAILED ? NULL : calloc(1, sizeof *peer);
        if (!peer) {
            if (segment != MAP_FAILED) munmap(segment, sizeof *segment);
            pthread_mutex_unlock(&lock);
            close(fds[1]), close(link);
            errno = error;
            return NULL;
        }
        madvise(segment, sizeof *segment, MADV_DONTDUMP);
        *peer = (struct sv_peer){.segment = segment, .nonce = hello->nonce, .serial = ++next_serial, .next = peers,
                                 .pid = credentials.pid, .slot = hello->slot, .kick_fd = fds[1]};
        atomic_store(&peer->references, 1); // of the link
        peers = peer;
    }
    peer->links[peer->link_count++] = link;
    atomic_fetch_add(&peer->references, 1);
    sv_progress_watch(link, SV_SOURCE_LINK, peer->serial);
    pthread_mutex_unlock(&lock);
    return peer;
}

// This process as its own peer: connections between its threads.
int sv_peer_start(void) {
    struct sv_peer *peer = calloc(1, sizeof *peer);
    if (!peer) return ENOMEM;
    *peer = (struct sv_peer){.segment = sv_process.segment, .nonce = sv_process.nonce, .pid = getpid(),
                             .slot = sv_process.slot, .kick_fd = sv_process.kick_fd, .self = true};
    atomic_store(&peer->references, 1);
    sv_process.self = peer;
    return 0;
}

// Connects to the process in a slot, and waits up to five seconds for its answer. Never called by a progress thread:
// two of them could wait for each other.
static struct sv_peer *link_to(uint32_t slot) {
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return NULL;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "softverbs/process/%u", slot);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    struct hello hello;
    int fds[2];
    struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); // bounds connect
    if (connect(fd, (struct sockaddr *)&name, size) < 0 || send_hello(fd) < 0) goto failed;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint64_t end = sv_now() + 5000000000ull;
    int ready;
    while ((ready = poll(&wait, 1, (int)((end - sv_now()) / 1000000) + 1)) < 0 && errno == EINTR && sv_now() < end) {}
    if (ready <= 0) {
        errno = ETIMEDOUT;
        goto failed;
    }
    if (receive_hello(fd, &hello, fds) < 0) goto failed;
    struct sv_peer *peer = adopt(fd, &hello, fds);
    if (!peer) return NULL;
    uint64_t probe = 0;
    struct iovec local = {&probe, sizeof probe}, remote = {(void *)(uintptr_t)hello.probe, sizeof probe};
    if (process_vm_readv(peer->pid, &local, 1, &remote, 1, 0) != sizeof probe || probe != peer->nonce) {
        int error = errno;
        if (error != ESRCH) // else it is gone
            sv_log("cannot reach the memory of process %d (process_vm_readv: %s): both processes need the same user, or "
               "CAP_SYS_PTRACE, and the same PID namespace or a visible one", peer->pid, strerror(error));
        sv_peer_put(peer);
        errno = error ? error : EPERM;
        return NULL;
    }
    return peer;
failed:;
    int error = errno;
    close(fd);
    errno = error;
    return NULL;
}

struct sv_peer *sv_peer_get(uint32_t slot) {
    if (slot == sv_process.slot) {
        atomic_fetch_add(&sv_process.self->references, 1);
        return sv_process.self;
    }
    pthread_mutex_lock(&lock);
    for (struct sv_peer *peer = peers; peer; peer = peer->next)
        if (peer->slot == slot && !atomic_load(&peer->dead)) {
            atomic_fetch_add(&peer->references, 1);
            pthread_mutex_unlock(&lock);
            return peer;
        }
    pthread_mutex_unlock(&lock);
    return link_to(slot);
}

void sv_peer_put(struct sv_peer *peer) {
    if (!peer || atomic_fetch_sub(&peer->references, 1) > 1) return;
    pthread_mutex_lock(&lock);
    for (struct sv_peer **place = &peers; *place; place = &(*place)->next)
        if (*place == peer) {
            *place = peer->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    munmap(peer->segment, sizeof *peer->segment);
    close(peer->kick_fd);
    free(peer);
}

void sv_peer_kick(struct sv_peer *peer) {
    uint64_t one = 1;
    while (write(peer->kick_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

// Progress thread: somebody connects.
void sv_peer_accept(void) {
    int fd = accept4(sv_process.link_listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    struct hello hello;
    int fds[2];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 1000) != 1 || receive_hello(fd, &hello, fds) < 0) {
        close(fd);
        return;
    }
    // The link is in place before the answer: the connector may use it at once.
    struct sv_peer *peer = adopt(fd, &hello, fds);
    if (!peer) return;
    send_hello(fd);
    sv_peer_put(peer);
}

// Progress thread: nothing is ever sent after the hello, so this is the end of the peer.
void sv_peer_readable(uint64_t serial) {
    pthread_mutex_lock(&lock);
    struct sv_peer *peer = peers;
    while (peer && peer->serial != serial) peer = peer->next;
    if (!peer) {
        pthread_mutex_unlock(&lock);
        return;
    }
    bool ended = false;
    for (int i = 0; i < peer->link_count; i++) {
        char byte;
        ssize_t size = recv(peer->links[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        ended |= size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
    }
    if (!ended) {
        pthread_mutex_unlock(&lock);
        return;
    }
    atomic_store(&peer->dead, true);
    for (int i = 0; i < peer->link_count; i++) {
        sv_progress_forget(peer->links[i]);
        close(peer->links[i]);
    }
    peer->link_count = 0;
    pthread_mutex_unlock(&lock);
    sv_qp_peer_died(peer);
    sv_peer_put(peer);
}

bool sv_peer_is_dead(struct sv_peer *peer) {
    if (peer->self) return false;
    bool dead = atomic_load(&peer->dead);
    if (dead) return true;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < peer->link_count && !dead; i++) {
        char byte;
        ssize_t size = recv(peer->links[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        dead = size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
    }
    pthread_mutex_unlock(&lock);
    if (dead) atomic_store(&peer->dead, true);
    return dead;
}

void sv_peer_spin(struct sv_peer *peer, unsigned *round) {
    sv_spin(round);
    if (*round % 64 == 0) sv_peer_is_dead(peer);
}

static void quiesce(struct sv_peer *peer, uint32_t index) {
    uint32_t limit = atomic_load(&peer->segment->qp_limit);
    for (uint32_t i = 0; i < limit && i < SV_MAX_QP; i++) {
        struct sv_qp_shared *qp = &peer->segment->qps[i];
        unsigned round = 0;
        while (atomic_load(&qp->hazard) == (SV_HAZARD | index) &&
               qp->destination >> SV_QP_BITS == sv_process.slot && !atomic_load(&peer->dead))
            sv_peer_spin(peer, &round);
        while (peer->self && atomic_load(&qp->own_hazard) == (SV_HAZARD | index)) sv_spin(&round);
    }
}

void sv_peer_quiesce_region(uint32_t index) {
    quiesce(sv_process.self, index);
    for (uint64_t after = UINT64_MAX;;) { // the list may change while we wait: newest first, by serial number
        pthread_mutex_lock(&lock);
        struct sv_peer *peer = peers;
        while (peer && (peer->serial >= after || atomic_load(&peer->dead))) peer = peer->next;
        if (peer) {
            after = peer->serial;
            atomic_fetch_add(&peer->references, 1);
        }
        pthread_mutex_unlock(&lock);
        if (!peer) return;
        quiesce(peer, index);
        sv_peer_put(peer);
    }
}

// Copies between local pieces and one contiguous range of the peer.
bool sv_peer_copy(struct sv_peer *peer, const struct iovec *local, int local_count, uint64_t remote, uint64_t length,
                  bool write) {
    if (peer->self) {
        for (int i = 0; i < local_count; i++) {
            if (write) memmove((void *)(uintptr_t)remote, local[i].iov_base, local[i].iov_len);
            else memmove(local[i].iov_base, (void *)(uintptr_t)remote, local[i].iov_len);
            remote += local[i].iov_len;
        }
        return true;
    }
    struct iovec rest[SV_MAX_SGE];
    memcpy(rest, local, sizeof *local * (size_t)local_count);
    struct iovec *next = rest;
    while (length > 0) {
        struct iovec range = {(void *)(uintptr_t)remote, length};
        ssize_t size = write ? process_vm_writev(peer->pid, next, (unsigned long)local_count, &range, 1, 0)
                             : process_vm_readv(peer->pid, next, (unsigned long)local_count, &range, 1, 0);
        if (size <= 0) return false;
        length -= (uint64_t)size; // one call moves at most 2 GiB
        remote += (uint64_t)size;
        while (local_count > 0 && (size_t)size >= next->iov_len) {
            size -= (ssize_t)next->iov_len;
            next++, local_count--;
        }
        if (local_count > 0 && size > 0) {
            next->iov_base = (char *)next->iov_base + size;
            next->iov_len -= (size_t)size;
        }
    }
    return true;
}

// Copies between local pieces and several ranges of the peer with one call, which costs more than what it copies as a rule.
// False if that was not enough: then it has to be done piece by piece.
bool sv_peer_copy_parts(struct sv_peer *peer, const struct iovec *local, int local_count, const struct sv_reference *parts,
                        uint32_t count, uint64_t length, bool write) {
    if (peer->self) return false;
    struct iovec ranges[SV_MAX_SGE];
    for (uint32_t i = 0; i < count; i++)
        ranges[i] = (struct iovec){(void *)(uintptr_t)parts[i].address, parts[i].length};
    ssize_t size = write ? process_vm_writev(peer->pid, local, (unsigned long)local_count, ranges, count, 0)
                         : process_vm_readv(peer->pid, local, (unsigned long)local_count, ranges, count, 0);
    return size >= 0 && (uint64_t)size == length;
}

void sv_peer_close_all(void) {
    for (struct sv_peer *peer = peers; peer; peer = peer->next) {
        for (int i = 0; i < peer->link_count; i++) close(peer->links[i]);
        close(peer->kick_fd);
    }
}
