// The thread that works while the application sleeps: connections, deaths of peers, timers, and messages that arrive at
// a completion queue whose owner waits on its channel. It sleeps in epoll whenever there is nothing to do.
#include "softverbs.h"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { TICK_MS = 1 };

int sv_progress_watch(int fd, enum sv_source source, uint64_t serial) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = (uint64_t)source << 56 | serial};
    return epoll_ctl(sv_process.epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void sv_progress_forget(int fd) { epoll_ctl(sv_process.epoll_fd, EPOLL_CTL_DEL, fd, NULL); }

void sv_progress_wake(void) {
    uint64_t one = 1;
    while (write(sv_process.kick_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void sv_progress_tick(void) {
    if (!atomic_load(&sv_process.ticking) && !atomic_exchange(&sv_process.ticking, true)) sv_progress_wake();
}

static _Atomic bool removal_asked;

static void removal_handler(int number) {
    (void)number;
    int error = errno;
    atomic_store(&removal_asked, true);
    sv_progress_wake();
    errno = error;
}

static void remove_device(void) {
    if (!atomic_exchange(&removal_asked, false) || atomic_exchange(&sv_process.removed, true)) return;
    sv_log("the device is removed");
    sv_qp_all_fatal();
    sv_device_fatal();
    sv_cm_device_removed();
}

static void *run(void *argument) {
    (void)argument;
    for (;;) {
        struct epoll_event event;
        int count = epoll_wait(sv_process.epoll_fd, &event, 1, atomic_load(&sv_process.ticking) ? TICK_MS : -1);
        if (count < 0 && errno != EINTR) return NULL;
        if (count == 1) {
            uint64_t serial = event.data.u64 & 0xffffffffffffffull;
            switch ((enum sv_source)(event.data.u64 >> 56)) {
            case SV_SOURCE_KICK: {
                uint64_t value;
                if (read(sv_process.kick_fd, &value, sizeof value) == sizeof value) sv_cq_progress_all();
                remove_device();
                break;
            }
            case SV_SOURCE_LINK_LISTENER: sv_peer_accept(); break;
            case SV_SOURCE_LINK: sv_peer_readable(serial); break;
            case SV_SOURCE_CM_LISTENER: sv_cm_listener_readable(serial); break;
            case SV_SOURCE_CM: sv_cm_readable(serial); break;
            case SV_SOURCE_FAULTS: sv_fault_changed((int)serial); break;
            }
        }
        if (atomic_load(&sv_process.ticking)) {
            static uint64_t last;
            uint64_t now = sv_now();
            if (now - last < TICK_MS * 1000000ull) continue;
            last = now;
            // Cleared first: what begins to wait during the look asks again.
            atomic_store(&sv_process.ticking, false);
            bool more = sv_qp_tick_all(now);
            more |= sv_cm_tick(now);
            if (more) atomic_store(&sv_process.ticking, true);
        }
    }
}

int sv_progress_start(void) {
    sv_process.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (sv_process.epoll_fd < 0) return errno;
    if (sv_progress_watch(sv_process.kick_fd, SV_SOURCE_KICK, 0) < 0 ||
        sv_progress_watch(sv_process.link_listener, SV_SOURCE_LINK_LISTENER, 0) < 0)
        return errno;
    int faults = sv_fault_watch();
    if (faults >= 0) sv_progress_watch(faults, SV_SOURCE_FAULTS, (uint64_t)faults);
    if (sv_config.removal_signal > 0) {
        struct sigaction action = {.sa_handler = removal_handler, .sa_flags = SA_RESTART};
        sigaction(sv_config.removal_signal, &action, NULL);
    }
    // Signals are for the application's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) return error;
    pthread_setname_np(thread, "softverbs");
    pthread_detach(thread);
    return 0;
}
