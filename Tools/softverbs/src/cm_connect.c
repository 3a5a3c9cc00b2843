// The librdmacm calls that make and end connections.
#include "cm.h"

#include <netdb.h>
#include <rdma/rdma_verbs.h>
#include <unistd.h>

// ---- Connections

static uint8_t at_most(uint8_t value, uint8_t all) {
    uint8_t limit = (uint8_t)sv_config.max_rd_atom;
    return value == all || value > limit ? limit : value;
}

SV_EXPORT int rdma_connect(struct rdma_cm_id *base, struct rdma_conn_param *parameters) {
    struct sv_id *id = sv_id(base);
    struct rdma_conn_param defaults = {.responder_resources = RDMA_MAX_RESP_RES,
                                       .initiator_depth = RDMA_MAX_INIT_DEPTH, .retry_count = 7, .rnr_retry_count = 7};
    struct rdma_conn_param sent = parameters ? *parameters : defaults;
    if (sent.private_data_len > SV_CM_REQUEST_PRIVATE || (sent.private_data_len && !sent.private_data))
        return sv_fail(EINVAL);
    sent.responder_resources = at_most(sent.responder_resources, RDMA_MAX_RESP_RES);
    sent.initiator_depth = at_most(sent.initiator_depth, RDMA_MAX_INIT_DEPTH);
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_ROUTE ? EINVAL : 0;
    if (!error) {
        id->retry_count = sent.retry_count & 7;
        if (sv_fault_drop_connect()) { // without an answer: unreachable in the end
            id->state = SV_CM_CONNECTING;
            id->deadline = sv_now() + (uint64_t)sv_config.cm_timeout_ms * 1000000u;
            sv_progress_tick();
        } else if (sv_fault_refuse_connect()) {
            sv_event_post_message(id, id, RDMA_CM_EVENT_REJECTED, SV_REJECT_NO_LISTENER, NULL, SV_CM_REJECT_PRIVATE);
        } else {
            error = sv_cm_request(id, &sent);
        }
    }
    pthread_mutex_unlock(&sv_cm_lock);
    if (error) return sv_fail(error);
    return id->librdmacm.sync ? sv_cm_complete(base) : 0;
}

SV_EXPORT int rdma_accept(struct rdma_cm_id *base, struct rdma_conn_param *parameters) {
    struct sv_id *id = sv_id(base);
    struct rdma_conn_param defaults = {.responder_resources = RDMA_MAX_RESP_RES,
                                       .initiator_depth = RDMA_MAX_INIT_DEPTH, .rnr_retry_count = 7};
    struct rdma_conn_param sent = parameters ? *parameters : defaults;
    if (sent.private_data_len > SV_CM_PRIVATE || (sent.private_data_len && !sent.private_data)) return sv_fail(EINVAL);
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_REQUESTED ? EINVAL : 0;
    if (!error) {
        // "All" is as much as the peer asked for.
        if (sent.responder_resources == RDMA_MAX_RESP_RES) sent.responder_resources = id->responder_resources;
        if (sent.initiator_depth == RDMA_MAX_INIT_DEPTH) sent.initiator_depth = id->initiator_depth;
        sent.responder_resources = at_most(sent.responder_resources, RDMA_MAX_RESP_RES);
        sent.initiator_depth = at_most(sent.initiator_depth, RDMA_MAX_INIT_DEPTH);
        id->responder_resources = sent.responder_resources;
        id->initiator_depth = sent.initiator_depth;
    }
    pthread_mutex_unlock(&sv_cm_lock);
    if (!error && base->qp) error = sv_cm_modify_to_connected(id); // may wait for the peer's process
    if (error) return sv_fail(error);
    pthread_mutex_lock(&sv_cm_lock);
    if (id->state != SV_CM_REQUESTED) {
        error = EINVAL; // the peer is gone
    } else {
        error = sv_cm_send(id, SV_CM_REP, &sent, 0);
        if (!error) id->state = SV_CM_ACCEPTED;
    }
    pthread_mutex_unlock(&sv_cm_lock);
    if (error) {
        sv_cm_modify_to_error(id);
        return sv_fail(error);
    }
    return id->librdmacm.sync ? sv_cm_complete(base) : 0;
}

SV_EXPORT int rdma_reject(struct rdma_cm_id *base, const void *private_data, uint8_t private_data_len) {
    struct sv_id *id = sv_id(base);
    if (private_data_len > SV_CM_REJECT_PRIVATE || (private_data_len && !private_data)) return sv_fail(EINVAL);
    struct rdma_conn_param sent = {.private_data = private_data, .private_data_len = private_data_len};
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_REQUESTED && id->state != SV_CM_RESPONDED ? EINVAL : 0;
    if (!error) {
        error = sv_cm_send(id, SV_CM_REJ, &sent, SV_REJECT_CONSUMER);
        id->state = SV_CM_DISCONNECTED;
    }
    pthread_mutex_unlock(&sv_cm_lock);
    return error ? sv_fail(error) : 0;
}

SV_EXPORT int rdma_reject_ece(struct rdma_cm_id *id, const void *private_data, uint8_t private_data_len) {
    return rdma_reject(id, private_data, private_data_len);
}

SV_EXPORT int rdma_establish(struct rdma_cm_id *base) {
    struct sv_id *id = sv_id(base);
    if (base->qp) return sv_fail(EINVAL); // librdmacm does it for queue pairs that it knows
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_RESPONDED ? EINVAL : sv_cm_send(id, SV_CM_RTU, NULL, 0);
    if (!error) id->state = SV_CM_CONNECTED;
    pthread_mutex_unlock(&sv_cm_lock);
    return error ? sv_fail(error) : 0;
}

SV_EXPORT int rdma_notify(struct rdma_cm_id *base, enum ibv_event_type event) {
    struct sv_id *id = sv_id(base);
    if (event != IBV_EVENT_COMM_EST) return 0;
    pthread_mutex_lock(&sv_cm_lock);
    if (id->state == SV_CM_ACCEPTED) {
        id->state = SV_CM_CONNECTED;
        sv_event_post(id, RDMA_CM_EVENT_ESTABLISHED, 0);
    }
    pthread_mutex_unlock(&sv_cm_lock);
    return 0;
}

SV_EXPORT int rdma_disconnect(struct rdma_cm_id *base) {
    struct sv_id *id = sv_id(base);
    int error = 0;
    pthread_mutex_lock(&sv_cm_lock);
    enum sv_cm_state state = id->state;
    pthread_mutex_unlock(&sv_cm_lock);
    if (state < SV_CM_CONNECTING || state == SV_CM_CONNECTING || state == SV_CM_REQUESTED) return sv_fail(EINVAL);
    sv_cm_modify_to_error(id);
    pthread_mutex_lock(&sv_cm_lock);
    switch (id->state) {
    case SV_CM_RESPONDED:
    case SV_CM_ACCEPTED:
    case SV_CM_CONNECTED:
        if (sv_cm_send(id, SV_CM_DREQ, NULL, 0)) {
            sv_cm_finish(id, 0); // the peer is gone
        } else {
            id->state = SV_CM_DISCONNECTING;
            id->deadline = sv_now() + 1000000000u;
            sv_progress_tick();
        }
        break;
    case SV_CM_DISCONNECTING:
    case SV_CM_DISCONNECTED: break;
    default: error = EINVAL;
    }
    pthread_mutex_unlock(&sv_cm_lock);
    if (error) return sv_fail(error);
    return id->librdmacm.sync ? sv_cm_complete(base) : 0;
}

// ---- Synchronous identifiers and end points

int sv_cm_complete(struct rdma_cm_id *id) {
    if (id->event) {
        rdma_ack_cm_event(id->event);
        id->event = NULL;
    }
    if (rdma_get_cm_event(id->channel, &id->event)) return -1;
    while (id->event->event == RDMA_CM_EVENT_TIMEWAIT_EXIT) {
        rdma_ack_cm_event(id->event);
        id->event = NULL;
        if (rdma_get_cm_event(id->channel, &id->event)) return -1;
    }
    if (!id->event->status) return 0;
    if (id->event->event == RDMA_CM_EVENT_REJECTED) return sv_fail(ECONNREFUSED);
    return sv_fail(id->event->status < 0 ? -id->event->status : id->event->status);
}

SV_EXPORT int rdma_create_ep(struct rdma_cm_id **result, struct rdma_addrinfo *info, struct ibv_pd *pd,
                             struct ibv_qp_init_attr *init) {
    struct rdma_cm_id *id;
    if (info->ai_qp_type && info->ai_qp_type != IBV_QPT_RC) return sv_fail(EOPNOTSUPP);
    if (rdma_create_id(NULL, &id, NULL, (enum rdma_port_space)info->ai_port_space)) return -1;
    int error = 0;
    if (info->ai_flags & RAI_PASSIVE) {
        if (rdma_bind_addr(id, info->ai_src_addr)) error = errno;
        if (!error && pd) id->pd = pd;
        if (!error && init) {
            sv_id(id)->ep_attributes = malloc(sizeof *init);
            if (sv_id(id)->ep_attributes) *sv_id(id)->ep_attributes = *init;
            else error = ENOMEM;
        }
    } else {
        if (rdma_resolve_addr(id, info->ai_src_addr, info->ai_dst_addr, 2000) || rdma_resolve_route(id, 2000))
            error = errno;
        if (!error && init) {
            init->qp_type = IBV_QPT_RC;
            if (rdma_create_qp(id, pd, init)) error = errno;
        }
    }
    if (error) {
        rdma_destroy_ep(id);
        return sv_fail(error);
    }
    *result = id;
    return 0;
}

SV_EXPORT void rdma_destroy_ep(struct rdma_cm_id *id) {
    rdma_destroy_qp(id);
    rdma_destroy_srq(id);
    rdma_destroy_id(id);
}

SV_EXPORT int rdma_get_request(struct rdma_cm_id *listener, struct rdma_cm_id **result) {
    if (!sv_id(listener)->librdmacm.sync) return sv_fail(EINVAL);
    if (listener->event) {
        rdma_ack_cm_event(listener->event);
        listener->event = NULL;
    }
    struct rdma_cm_event *event;
    if (rdma_get_cm_event(listener->channel, &event)) return -1;
    int error = event->status < 0 ? -event->status : event->status;
    if (!error && event->event != RDMA_CM_EVENT_CONNECT_REQUEST) error = EINVAL;
    if (!error && sv_id(listener)->ep_attributes) {
        struct ibv_qp_init_attr init = *sv_id(listener)->ep_attributes;
        init.qp_type = IBV_QPT_RC;
        if (rdma_create_qp(event->id, listener->pd, &init)) {
            error = errno;
            rdma_reject(event->id, NULL, 0);
        }
    }
    if (error) {
        listener->event = event;
        return sv_fail(error);
    }
    *result = event->id;
    event->id->event = event;
    return 0;
}

SV_EXPORT int rdma_set_local_ece(struct rdma_cm_id *id, struct ibv_ece *ece) {
    (void)id, (void)ece;
    return sv_fail(EOPNOTSUPP);
}
SV_EXPORT int rdma_get_remote_ece(struct rdma_cm_id *id, struct ibv_ece *ece) {
    (void)id, (void)ece;
    return sv_fail(EOPNOTSUPP);
}
SV_EXPORT int rdma_join_multicast(struct rdma_cm_id *id, struct sockaddr *address, void *context) {
    (void)id, (void)address, (void)context;
    return sv_fail(EOPNOTSUPP);
}
SV_EXPORT int rdma_join_multicast_ex(struct rdma_cm_id *id, struct rdma_cm_join_mc_attr_ex *attributes, void *context) {
    (void)id, (void)attributes, (void)context;
    return sv_fail(EOPNOTSUPP);
}
SV_EXPORT int rdma_leave_multicast(struct rdma_cm_id *id, struct sockaddr *address) {
    (void)id, (void)address;
    return sv_fail(EOPNOTSUPP);
}

// ---- Names

static struct sockaddr *copy_address(const struct sockaddr *address, socklen_t length) {
    struct sockaddr *copy = calloc(1, sizeof(struct sockaddr_storage));
    if (copy) memcpy(copy, address, length);
    return copy;
}

SV_EXPORT void rdma_freeaddrinfo(struct rdma_addrinfo *info) {
    while (info) {
        struct rdma_addrinfo *next = info->ai_next;
        free(info->ai_src_addr);
        free(info->ai_dst_addr);
        free(info->ai_src_canonname);
        free(info->ai_dst_canonname);
        free(info);
        info = next;
    }
}

SV_EXPORT int rdma_getaddrinfo(const char *node, const char *service, const struct rdma_addrinfo *hints,
                               struct rdma_addrinfo **result) {
    int flags = hints ? hints->ai_flags : 0;
    if (!node && !service && !(hints && (hints->ai_src_len || hints->ai_dst_len))) return sv_fail(EINVAL);
    struct rdma_addrinfo *info = calloc(1, sizeof *info);
    if (!info) return sv_fail(ENOMEM);
    info->ai_flags = flags;
    info->ai_qp_type = hints && hints->ai_qp_type ? hints->ai_qp_type : IBV_QPT_RC;
    info->ai_port_space = hints && hints->ai_port_space ? hints->ai_port_space : RDMA_PS_TCP;
    if (node || service) {
        struct addrinfo ask = {.ai_socktype = SOCK_STREAM}, *found;
        if (hints && flags & RAI_FAMILY) ask.ai_family = hints->ai_family;
        if (flags & RAI_NUMERICHOST) ask.ai_flags |= AI_NUMERICHOST;
        if (flags & RAI_PASSIVE) ask.ai_flags |= AI_PASSIVE;
        int error = getaddrinfo(node, service, &ask, &found);
        if (error) {
            free(info);
            return error;
        }
        struct sockaddr *address = copy_address(found->ai_addr, found->ai_addrlen);
        info->ai_family = found->ai_family;
        if (flags & RAI_PASSIVE) info->ai_src_addr = address, info->ai_src_len = found->ai_addrlen;
        else info->ai_dst_addr = address, info->ai_dst_len = found->ai_addrlen;
        freeaddrinfo(found);
    } else {
        info->ai_family = hints->ai_family;
    }
    if (hints && hints->ai_src_len && !info->ai_src_addr) {
        info->ai_src_addr = copy_address(hints->ai_src_addr, hints->ai_src_len);
        info->ai_src_len = hints->ai_src_len;
    }
    if (hints && hints->ai_dst_len && !info->ai_dst_addr) {
        info->ai_dst_addr = copy_address(hints->ai_dst_addr, hints->ai_dst_len);
        info->ai_dst_len = hints->ai_dst_len;
    }
    *result = info;
    return 0;
}
