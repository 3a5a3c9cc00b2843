// Connection manager: identifiers, events, and the messages between processes.
//
// A bound address is a socket name in the abstract namespace, taken as long as its identifier lives. A connection is a
// socket between two identifiers: its end is the disconnect. All of it is under one lock; nothing waits under it.
#ifndef SOFTVERBS_CM_H
#define SOFTVERBS_CM_H

#include "softverbs.h"

#include <netinet/in.h>
#include <rdma/rdma_cma.h>

enum { SV_CM_PRIVATE = 196, SV_CM_REQUEST_PRIVATE = 56, SV_CM_REJECT_PRIVATE = 148 };
enum { SV_REJECT_TIMEOUT = 4, SV_REJECT_NO_LISTENER = 8, SV_REJECT_CONSUMER = 28 }; // IBA 12.6.7.2
enum { SV_ACK_TIMEOUT = 14, SV_TIMEWAIT_MS = 20 };

enum sv_cm_state {
    SV_CM_IDLE,
    SV_CM_BOUND,
    SV_CM_ADDRESS,   // resolved
    SV_CM_ROUTE,     // resolved
    SV_CM_LISTENING,
    SV_CM_CONNECTING, // active: request sent
    SV_CM_RESPONDED,  // active: the peer accepted
    SV_CM_INCOMING,   // passive: a socket, no request yet
    SV_CM_REQUESTED,  // passive: the application has to answer
    SV_CM_ACCEPTED,   // passive: waits for the peer to be ready
    SV_CM_CONNECTED,
    SV_CM_DISCONNECTING,
    SV_CM_DISCONNECTED,
};

enum sv_cm_type { SV_CM_REQ = 1, SV_CM_REP, SV_CM_REJ, SV_CM_RTU, SV_CM_DREQ, SV_CM_DREP };

struct sv_cm_message {
    uint64_t magic;
    uint32_t type;
    uint32_t qp_num;
    uint8_t responder_resources, initiator_depth, flow_control, retry_count, rnr_retry_count, srq;
    uint8_t reason;
    uint8_t private_length;
    struct sockaddr_storage source, destination; // of a request
    uint8_t private_data[SV_CM_PRIVATE];
};

struct sv_id;

struct sv_event {
    struct rdma_cm_event event;
    struct sv_event *next;
    struct sv_id *counted; // the identifier that waits for the acknowledgement before it is destroyed
    uint8_t private_data[256];
};

struct sv_event_channel {
    struct rdma_event_channel channel;
    struct sv_event *head, *tail;
};

struct sv_id {
    struct rdma_cm_id id;
    // rsockets are part of librdmacm and look into what follows there (struct cma_id_private of rdma-core 44): no device,
    // nothing sent along, and whether the identifier is synchronous.
    struct {
        void *device, *connect;
        size_t connect_length;
        int events_completed, connect_error, sync;
    } librdmacm;
    struct sv_id *next;
    uint64_t serial;
    enum sv_cm_state state;
    int name_fd;   // holds the bound address
    int socket_fd; // to the peer
    bool afonly;
    uint8_t ack_timeout;
    int backlog, pending;
    struct sv_id *listener; // of a request that has not been taken
    struct ibv_qp_init_attr *ep_attributes;
    bool ep_pd_given;
    // what was agreed
    uint32_t remote_qp;
    uint8_t responder_resources, initiator_depth, retry_count, rnr_retry_count;
    uint64_t deadline, timewait;
    struct sv_cm_message *request; // that has not found its listener yet
    uint64_t refused_at;           // when it is given up
    uint32_t events_reported, events_completed;
    pthread_cond_t acknowledged;
};
static inline struct sv_id *sv_id(struct rdma_cm_id *id) { return (struct sv_id *)id; }

extern pthread_mutex_t sv_cm_lock;
extern struct sv_id *sv_cm_ids;

int sv_cm_start(void);                    // 0 or errno
struct ibv_context *sv_cm_context(void);  // shared by all identifiers
struct ibv_pd *sv_cm_domain(void);
struct sv_id *sv_id_create(struct rdma_event_channel *channel, void *context, enum rdma_port_space space);
void sv_id_free(struct sv_id *id); // with the lock held
void sv_id_use_device(struct sv_id *id);

// With the lock held.
struct sv_event *sv_event_post(struct sv_id *id, enum rdma_cm_event_type type, int status);
struct sv_event *sv_event_post_message(struct sv_id *id, struct sv_id *counted, enum rdma_cm_event_type type, int status,
                                       const struct sv_cm_message *message, uint8_t private_length);
void sv_event_drop(struct sv_id *id);

int sv_cm_send(struct sv_id *id, enum sv_cm_type type, const struct rdma_conn_param *parameters, uint8_t reason);
int sv_cm_request(struct sv_id *id, const struct rdma_conn_param *parameters); // 0 or errno; what follows is an event
void sv_cm_try_request(struct sv_id *id);
int sv_cm_bind_name(struct sv_id *id, struct sockaddr *address); // 0 or errno; sets the port
void sv_cm_finish(struct sv_id *id, int status); // reports the disconnect once

// Waits for the event of a synchronous identifier.
int sv_cm_complete(struct rdma_cm_id *id);
int sv_cm_modify_to_connected(struct sv_id *id);
void sv_cm_modify_to_error(struct sv_id *id);

static inline int sv_fail(int error) {
    errno = error;
    return -1;
}
static inline socklen_t sv_address_length(const struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}
static inline __be16 *sv_port_of(struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)address)->sin6_port
                                          : &((struct sockaddr_in *)address)->sin_port;
}
bool sv_address_is_any(const struct sockaddr *address);

#endif
