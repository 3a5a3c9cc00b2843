// This process: its segment, its slot (an abstract socket name, so that it is free again the moment the process ends),
// and what happens to all that in a forked child.
#include "softverbs.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct sv_process sv_process = {.memfd = -1, .kick_fd = -1, .epoll_fd = -1, .link_listener = -1};
static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool started;

// A name in the abstract namespace for each slot: taken as long as its process lives.
static int take_slot(uint64_t nonce) {
    for (uint32_t round = 0; round < SV_MAX_PROCESS; round++) {
        uint32_t slot = (uint32_t)(nonce + round) % SV_MAX_PROCESS;
        if (slot == 0) continue;
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) return -1;
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "softverbs/process/%u", slot);
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
        if (bind(fd, (struct sockaddr *)&name, size) == 0 && listen(fd, 1024) == 0) {
            sv_process.link_listener = fd;
            sv_process.slot = slot;
            return 0;
        }
        int error = errno;
        close(fd);
        if (error != EADDRINUSE) {
            errno = error;
            return -1;
        }
    }
    errno = EAGAIN;
    return -1;
}

static int make_segment(uint64_t nonce) {
    int fd = memfd_create("softverbs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (ftruncate(fd, sizeof(struct sv_segment)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        close(fd);
        return -1;
    }
    struct sv_segment *segment = mmap(NULL, sizeof *segment, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (segment == MAP_FAILED) {
        close(fd);
        return -1;
    }
    madvise(segment, sizeof *segment, MADV_DONTDUMP);
    segment->magic = SV_MAGIC;
    segment->nonce = nonce;
    segment->pid = getpid();
    segment->slot = sv_process.slot;
    sv_process.segment = segment;
    sv_process.memfd = fd;
    return 0;
}

// A forked child has no progress thread and is nobody's peer: it gives back every descriptor, so that peers notice the
// death of its parent.
static void forked_child(void) {
    if (!started) return;
    sv_cm_close_all();
    sv_peer_close_all();
    close(sv_process.link_listener);
    close(sv_process.epoll_fd);
    close(sv_process.kick_fd);
    close(sv_process.memfd);
    sv_process.link_listener = sv_process.epoll_fd = sv_process.kick_fd = sv_process.memfd = -1;
}

int sv_process_start(void) {
    static _Atomic int state; // fast path
    if (atomic_load_explicit(&state, memory_order_acquire)) return 0;
    pthread_mutex_lock(&start_lock);
    int error = 0;
    if (!started) {
        sv_config_load();
        sv_fault_load();
        // Peers reach our memory with process_vm_readv and process_vm_writev; Yama would otherwise forbid it.
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
        uint64_t nonce = 0;
        if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce) nonce = sv_now() * 0x9e3779b97f4a7c15ull;
        nonce |= 1;
        sv_process.nonce = nonce;
        sv_process.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (sv_process.kick_fd < 0 || take_slot(nonce) < 0 || make_segment(nonce) < 0) error = errno;
        if (!error) error = sv_peer_start();
        if (!error) error = sv_progress_start();
        if (!error) {
            pthread_atfork(NULL, NULL, forked_child);
            started = true;
            atomic_store_explicit(&state, 1, memory_order_release);
        } else {
            sv_log("cannot start: %s", strerror(error));
        }
    }
    pthread_mutex_unlock(&start_lock);
    return error;
}
