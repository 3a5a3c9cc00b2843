// Internal declarations. Lock order, outermost first: cm, table, queue list of a CQ, queue pair, SRQ list, SRQ, CQ,
// channel or asynchronous events. Nothing that waits for another process is done under any of them, except waiting for
// a copy that is under way to end.
#ifndef SOFTVERBS_H
#define SOFTVERBS_H

#include "shared.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#define SV_EXPORT __attribute__((visibility("default")))
#define sv_container(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

// ---- A counted queue behind a descriptor: event channels, completion channels, asynchronous events.

struct sv_signal {
    int fd; // eventfd in semaphore mode: as many as there are entries
};
int sv_signal_open(void);
void sv_signal_post(int fd);
// After entries were removed: a reader that is already under way finds one more or nothing, but none is forgotten.
void sv_signal_reset(int fd, unsigned count);
int sv_signal_wait(int fd); // 0, or -1 and errno; honours O_NONBLOCK

// ---- Configuration

struct sv_config {
    int max_sge, max_sge_rd, max_qp, max_qp_wr, max_cq, max_cqe, max_mr, max_pd, max_rd_atom, max_srq, max_srq_wr;
    int max_inline;
    int cm_timeout_ms, cm_refuse_ms;
    int removal_signal;
    int log_level;
};
extern struct sv_config sv_config;
void sv_config_load(void);
void sv_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t sv_now(void); // nanoseconds, monotonic

// ---- Faults on demand

bool sv_fault_refuse_connect(void);
bool sv_fault_drop_connect(void);
bool sv_fault_registration(void);
bool sv_fault_file_memory(const void *address);
bool sv_fault_drop_qp(uint32_t *operations); // counts one operation of a queue pair
uint64_t sv_fault_delay_ns(void);
void sv_fault_load(void);
int sv_fault_watch(void);
void sv_fault_changed(int fd);
extern bool sv_fault_active;

// ---- Process and peers

struct sv_peer {
    struct sv_peer *next;
    struct sv_segment *segment;
    uint64_t nonce;
    uint64_t serial;
    pid_t pid;
    uint32_t slot;
    int kick_fd;
    int links[4];
    int link_count;
    _Atomic bool dead;
    bool self;
    _Atomic int references;
};

struct sv_process {
    struct sv_segment *segment;
    int memfd;
    int kick_fd;
    int epoll_fd;
    int link_listener;
    uint32_t slot;
    uint64_t nonce;
    struct sv_peer *self;
    _Atomic bool ticking; // the progress thread has timers to look at
    _Atomic bool removed; // the device is gone
};
extern struct sv_process sv_process;

int sv_process_start(void); // 0 or errno; idempotent
int sv_peer_start(void);
struct sv_peer *sv_peer_get(uint32_t slot); // with a reference; NULL and errno
void sv_peer_put(struct sv_peer *peer);
void sv_peer_kick(struct sv_peer *peer);
void sv_peer_accept(void);
void sv_peer_readable(uint64_t serial);
// Waits until no peer is copying from or to the region.
void sv_peer_quiesce_region(uint32_t index);
bool sv_peer_copy(struct sv_peer *peer, const struct iovec *local, int local_count, uint64_t remote, uint64_t length,
                  bool write);
bool sv_peer_copy_parts(struct sv_peer *peer, const struct iovec *local, int local_count, const struct sv_reference *parts,
                        uint32_t count, uint64_t length, bool write);
void sv_peer_close_all(void);
void sv_spin(unsigned *round);
// Whether the peer has ended, looked up: the progress thread, which is told, may itself be the one that waits.
bool sv_peer_is_dead(struct sv_peer *peer);
void sv_peer_spin(struct sv_peer *peer, unsigned *round); // one round of waiting for something that the peer does

// ---- The progress thread

enum sv_source { SV_SOURCE_KICK = 1, SV_SOURCE_LINK_LISTENER, SV_SOURCE_LINK, SV_SOURCE_CM_LISTENER, SV_SOURCE_CM,
                 SV_SOURCE_FAULTS };
int sv_progress_start(void);
int sv_progress_watch(int fd, enum sv_source source, uint64_t serial);
void sv_progress_forget(int fd);
void sv_progress_wake(void);
void sv_progress_tick(void); // asks for ticks while something waits for time to pass

// ---- Device

struct sv_async {
    struct sv_async *next;
    struct ibv_async_event event;
};

struct sv_context {
    struct sv_context *next;
    struct sv_async *async_head, *async_tail;
    pthread_mutex_t async_lock;
    struct verbs_context verbs; // last: its own last member is the ibv_context
};
static inline struct sv_context *sv_context(struct ibv_context *context) {
    return sv_container(context, struct sv_context, verbs.context);
}
extern const struct ibv_context_ops sv_context_ops;
void sv_async_post(struct ibv_context *context, enum ibv_event_type type, void *element);
void sv_async_drop(struct ibv_context *context, void *element);
void sv_device_fatal(void);
int sv_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes, size_t length);
int sv_query_device_ex(struct ibv_context *context, const struct ibv_query_device_ex_input *input,
                       struct ibv_device_attr_ex *attributes, size_t size);
int sv_query_rt_values(struct ibv_context *context, struct ibv_values_ex *values);
extern struct ibv_device sv_device;
bool sv_gid_is_local(const union ibv_gid *gid);

// ---- Memory

struct sv_pd {
    struct ibv_pd pd;
    _Atomic int users;
};

// Checks one local element and rewrites its address to the one in this process.
bool sv_local_sge(uint32_t domain, struct ibv_sge *sge, uint32_t access);

int sv_window_bind(uint32_t queue_pair, uint32_t domain, struct ibv_mw *window, uint32_t key,
                   const struct ibv_mw_bind_info *info); // 0 or EINVAL
int sv_key_invalidate(uint32_t queue_pair, uint32_t domain, uint32_t key);
struct ibv_mw *sv_alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type);
int sv_dealloc_mw(struct ibv_mw *mw);
int sv_bind_mw(struct ibv_qp *qp, struct ibv_mw *mw, struct ibv_mw_bind *bind);

// ---- Completion queues

struct sv_qp;

struct sv_channel {
    struct ibv_comp_channel channel;
    pthread_mutex_t lock;
    struct sv_cq *head, *tail; // completion queues with an event that has not been taken
};

struct sv_cq_link { // membership of a queue pair in a group of a completion queue
    struct sv_cq_link *next;
    struct sv_qp *qp;
};

struct sv_cq {
    struct ibv_cq_ex cq;
    uint32_t index;
    struct sv_cq_shared *shared;
    pthread_mutex_t list_lock;
    struct sv_cq_link *groups[64];
    _Atomic int waiting; // queue pairs that sent what their peers have not answered
    alignas(SV_CACHE_LINE) pthread_mutex_t lock;
    struct ibv_wc *entries;
    uint32_t capacity, size; // power of two; what was asked for
    _Atomic uint32_t head, tail;
    int armed; // 0, 1 next completion, 2 next solicited one
    bool overrun;
    struct ibv_wc current; // start_poll
    struct sv_cq *next_event;
    uint32_t queued_events, reported_events;
    uint32_t reported_async;
    uint32_t empty_polls;
    uint64_t stall_since;
    _Atomic int users;
};
static inline struct sv_cq *sv_cq(struct ibv_cq *cq) { return (struct sv_cq *)cq; }
// Tells the channel, if there is one, that a completion has come.
void sv_channel_notify(struct sv_cq *cq);
uint32_t sv_channel_forget(struct sv_cq *cq); // when it is destroyed; how many events were handed out
void sv_cq_push(struct sv_cq *cq, const struct ibv_wc *wc, bool solicited);
void sv_cq_attach(struct sv_cq *cq, struct sv_cq_link *link, struct sv_qp *qp);
void sv_cq_detach(struct sv_cq *cq, struct sv_qp *qp);
void sv_cq_purge(struct sv_cq *cq, uint32_t queue_pair);
void sv_cq_progress_all(void); // progress thread
int sv_poll_cq(struct ibv_cq *cq, int count, struct ibv_wc *wc);
int sv_req_notify_cq(struct ibv_cq *cq, int solicited_only);
struct ibv_cq_ex *sv_create_cq_ex(struct ibv_context *context, struct ibv_cq_init_attr_ex *attributes);
int sv_modify_cq(struct ibv_cq *cq, struct ibv_modify_cq_attr *attributes);
static inline void sv_ring(struct sv_peer *peer, uint32_t cq, uint32_t queue_pair) {
    struct sv_cq_shared *shared = &peer->segment->cqs[cq % SV_MAX_CQ];
    atomic_fetch_or(&shared->doorbell, 1ull << (queue_pair % 64));
    if (atomic_load(&shared->kick_wanted) && atomic_exchange(&shared->kick_wanted, 0)) sv_peer_kick(peer);
}

// ---- Receive queues

struct sv_recv {
    uint64_t wr_id;
    int num_sge;
};

struct sv_receive_queue { // of a queue pair or shared; guarded by its owner's lock
    struct sv_recv *entries;
    struct ibv_sge *sges; // max_sge per entry
    uint32_t capacity, mask, max_sge;
    uint32_t head, tail;
};
int sv_receive_queue_open(struct sv_receive_queue *queue, uint32_t capacity, uint32_t max_sge);
void sv_receive_queue_close(struct sv_receive_queue *queue);
int sv_receive_queue_push(struct sv_receive_queue *queue, const struct ibv_recv_wr *wr);

struct sv_srq {
    struct ibv_srq srq;
    pthread_mutex_t list_lock;
    struct sv_qp *users;
    pthread_mutex_t lock;
    struct sv_receive_queue queue;
    uint32_t limit;
    uint32_t reported_async;
    uint32_t number;
    _Atomic bool starving;
};
static inline struct sv_srq *sv_srq(struct ibv_srq *srq) { return (struct sv_srq *)srq; }
int sv_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
struct ibv_srq *sv_create_srq_ex(struct ibv_context *context, struct ibv_srq_init_attr_ex *attributes);
int sv_get_srq_num(struct ibv_srq *srq, uint32_t *number);

// ---- Queue pairs

enum sv_send_state { SV_SEND_POSTED, SV_SEND_IN_RING, SV_SEND_DONE };

struct sv_send {
    uint64_t wr_id;
    uint64_t remote_address;
    uint64_t compare, swap;
    uint32_t key;
    uint32_t immediate;
    uint32_t length;
    uint32_t sequence; // of the message in the ring
    uint8_t opcode;    // enum ibv_wr_opcode
    uint8_t state;
    uint8_t flags; // enum ibv_send_flags
    bool signalled;
    uint16_t num_sge;
    struct ibv_mw *window;
    struct ibv_mw_bind_info bind;
};

struct sv_qp {
    struct ibv_qp_ex qp;
    uint32_t index;
    uint32_t domain;
    struct sv_qp_shared *shared;
    struct sv_slot *ring; // what the peer sends
    struct ibv_qp_cap cap;
    bool signal_all;
    bool extended;
    struct ibv_qp_attr attributes;
    pthread_mutex_t lock;
    struct sv_cq_link send_link, recv_link;

    // the peer
    struct sv_peer *peer;
    uint32_t peer_index;
    struct sv_qp_shared *remote;
    struct sv_slot *remote_ring;
    uint32_t remote_epoch; // 0 until the peer was seen ready
    uint32_t epoch;

    // send queue
    struct sv_send *sends;
    struct ibv_sge *send_sges;
    uint8_t *send_inline;
    uint32_t send_mask, send_capacity;
    uint32_t send_head, send_issued, send_tail;
    bool is_counted; // among those of the completion queue that wait for a peer
    uint32_t sent; // messages put into the peer's ring
    uint32_t last_reference; // of them, the last by reference
    uint32_t last_read; // of them, the last that brings data back
    uint64_t deadline; // of the peer's answer, 0 for none
    uint64_t delay_until;
    bool deadline_is_rnr;
    uint32_t operations;
    uint32_t awaited; // what was acknowledged at the last tick

    // receive queue
    struct sv_receive_queue receives;
    uint32_t received; // messages taken from our ring
    uint32_t announced;
    bool starved; // the message at the head waits for a buffer
    struct sv_qp *srq_next;

    // ibv_wr_*
    struct sv_wr_builder *builder;
    uint32_t reported_async;
    bool last_wqe_reported;
    struct sv_qp *next_in_table;
};
static inline struct sv_qp *sv_qp(struct ibv_qp *qp) { return (struct sv_qp *)qp; }

bool sv_qp_take_index(struct sv_qp *qp); // false if the device has no more
void sv_qp_return_index(struct sv_qp *qp);
void sv_qp_progress(struct sv_qp *qp);
void sv_qp_progress_locked(struct sv_qp *qp);
void sv_qp_error_locked(struct sv_qp *qp, enum ibv_wc_status first);
void sv_qp_peer_died(struct sv_peer *peer);
bool sv_qp_tick_all(uint64_t now); // true while anything still waits for time to pass
bool sv_qp_awaits_peer(struct sv_qp *qp);
void sv_qp_all_fatal(void);
void sv_send_progress(struct sv_qp *qp);
void sv_send_retire(struct sv_qp *qp);
void sv_send_linger(struct sv_qp *qp);
void sv_send_flush(struct sv_qp *qp, enum ibv_wc_status first);
void sv_send_note(struct sv_qp *qp);
void sv_receive_progress(struct sv_qp *qp);
void sv_receive_flush(struct sv_qp *qp);
void sv_receive_lost(struct sv_qp *qp);
void sv_receive_refuse(struct sv_qp *qp, enum ibv_wc_status status);
static inline struct ibv_sge *sv_send_elements(struct sv_qp *qp, uint32_t slot) {
    return &qp->send_sges[(size_t)slot * qp->cap.max_send_sge];
}
// Finds the memory of a remote access. To be called with the hazard up, which keeps the region from being closed.
uint64_t sv_remote_memory(struct sv_mr_shared *entry, uint32_t key, uint32_t domain, uint32_t queue_pair, uint32_t access,
                          uint64_t address, uint64_t length, bool *allowed);
bool sv_respond(struct sv_qp *qp, struct sv_slot *slot);
bool sv_fetch(struct sv_qp *qp, struct sv_slot *slot, struct iovec *pieces, int count);
bool sv_store(struct sv_qp *qp, struct sv_slot *slot, uint64_t address);
int sv_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
int sv_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
struct ibv_qp *sv_create_qp_ex(struct ibv_context *context, struct ibv_qp_init_attr_ex *attributes);
int sv_wr_open(struct sv_qp *qp, uint64_t operations);
void sv_wr_close(struct sv_qp *qp);

// ---- Connection manager

void sv_cm_listener_readable(uint64_t serial);
void sv_cm_readable(uint64_t serial);
bool sv_cm_tick(uint64_t now);
void sv_cm_device_removed(void);
void sv_cm_close_all(void);

#endif
