// The librdmacm calls for the queue pairs of identifiers.
#include "cm.h"

SV_EXPORT int rdma_init_qp_attr(struct rdma_cm_id *base, struct ibv_qp_attr *attributes, int *mask) {
    struct sv_id *id = sv_id(base);
    if (!base->verbs) return sv_fail(EINVAL);
    switch (attributes->qp_state) {
    case IBV_QPS_INIT:
        attributes->port_num = 1;
        attributes->pkey_index = 0;
        attributes->qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
        if (id->responder_resources) attributes->qp_access_flags |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
        *mask = IBV_QP_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX | IBV_QP_PORT;
        return 0;
    case IBV_QPS_RTR:
        attributes->ah_attr = (struct ibv_ah_attr){.is_global = 1, .port_num = 1, .grh = {.hop_limit = 1}};
        memset(attributes->ah_attr.grh.dgid.raw, 0, 16);
        if (base->route.addr.dst_addr.sa_family == AF_INET6) {
            memcpy(attributes->ah_attr.grh.dgid.raw, &base->route.addr.dst_sin6.sin6_addr, 16);
        } else {
            attributes->ah_attr.grh.dgid.raw[10] = attributes->ah_attr.grh.dgid.raw[11] = 0xff;
            memcpy(attributes->ah_attr.grh.dgid.raw + 12, &base->route.addr.dst_sin.sin_addr, 4);
        }
        attributes->path_mtu = IBV_MTU_4096;
        attributes->dest_qp_num = id->remote_qp;
        attributes->rq_psn = 0;
        attributes->max_dest_rd_atomic = id->responder_resources;
        attributes->min_rnr_timer = 12; // 0.64 ms
        *mask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
        return 0;
    case IBV_QPS_RTS:
        attributes->sq_psn = 0;
        attributes->retry_cnt = id->retry_count;
        attributes->rnr_retry = id->rnr_retry_count;
        attributes->timeout = id->ack_timeout;
        attributes->max_rd_atomic = id->initiator_depth;
        *mask = IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_TIMEOUT |
                IBV_QP_MAX_QP_RD_ATOMIC;
        return 0;
    default: return sv_fail(EINVAL);
    }
}

static int modify(struct sv_id *id, enum ibv_qp_state state) {
    struct ibv_qp_attr attributes = {.qp_state = state};
    int mask;
    if (rdma_init_qp_attr(&id->id, &attributes, &mask)) return errno;
    return ibv_modify_qp(id->id.qp, &attributes, mask);
}

int sv_cm_modify_to_connected(struct sv_id *id) {
    uint8_t limit = (uint8_t)sv_config.max_rd_atom;
    if (id->responder_resources > limit) id->responder_resources = limit;
    if (id->initiator_depth > limit) id->initiator_depth = limit;
    int error = modify(id, IBV_QPS_INIT); // again: what the peer may do is known now
    if (!error) error = modify(id, IBV_QPS_RTR);
    if (!error) error = modify(id, IBV_QPS_RTS);
    return error;
}

void sv_cm_modify_to_error(struct sv_id *id) {
    if (!id->id.qp) return;
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    ibv_modify_qp(id->id.qp, &attributes, IBV_QP_STATE);
}

static int own_queue(struct rdma_cm_id *id, uint32_t size, struct ibv_comp_channel **channel, struct ibv_cq **cq) {
    *channel = ibv_create_comp_channel(id->verbs);
    if (!*channel) return -1;
    *cq = ibv_create_cq(id->verbs, (int)(size ? size : 1), id, *channel, 0);
    return *cq ? 0 : -1;
}

static void destroy_own_queues(struct rdma_cm_id *id) {
    // rsockets make one queue serve both directions.
    if (id->send_cq && id->send_cq != id->recv_cq) ibv_destroy_cq(id->send_cq);
    if (id->recv_cq) ibv_destroy_cq(id->recv_cq);
    if (id->send_cq_channel && id->send_cq_channel != id->recv_cq_channel) ibv_destroy_comp_channel(id->send_cq_channel);
    if (id->recv_cq_channel) ibv_destroy_comp_channel(id->recv_cq_channel);
    id->send_cq = id->recv_cq = NULL;
    id->send_cq_channel = id->recv_cq_channel = NULL;
}

SV_EXPORT int rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *init) {
    if (id->qp || !id->verbs) return sv_fail(EINVAL);
    if (!(init->comp_mask & IBV_QP_INIT_ATTR_PD)) {
        init->comp_mask |= IBV_QP_INIT_ATTR_PD;
        init->pd = id->pd;
    } else if (id->verbs != init->pd->context) {
        return sv_fail(EINVAL);
    }
    if (!init->srq) init->srq = id->srq;
    if (!init->send_cq && !id->send_cq &&
        own_queue(id, init->cap.max_send_wr, &id->send_cq_channel, &id->send_cq)) goto failed;
    if (!init->recv_cq && !id->recv_cq &&
        own_queue(id, init->srq ? init->cap.max_recv_wr + 64 : init->cap.max_recv_wr, &id->recv_cq_channel,
                  &id->recv_cq)) goto failed;
    if (!init->send_cq) init->send_cq = id->send_cq;
    if (!init->recv_cq) init->recv_cq = id->recv_cq;
    id->qp = sv_create_qp_ex(id->verbs, init);
    if (!id->qp) goto failed;
    int error = modify(sv_id(id), IBV_QPS_INIT);
    if (error) {
        ibv_destroy_qp(id->qp);
        id->qp = NULL;
        errno = error;
        goto failed;
    }
    id->pd = init->pd;
    return 0;
failed:
    error = errno;
    destroy_own_queues(id);
    return sv_fail(error);
}

SV_EXPORT int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *init) {
    struct ibv_qp_init_attr_ex extended = {0};
    memcpy(&extended, init, sizeof *init); // it begins alike
    extended.comp_mask = pd ? IBV_QP_INIT_ATTR_PD : 0;
    extended.pd = pd;
    int result = rdma_create_qp_ex(id, &extended);
    if (!result) memcpy(init, &extended, sizeof *init);
    return result;
}

SV_EXPORT void rdma_destroy_qp(struct rdma_cm_id *id) {
    if (id->qp) ibv_destroy_qp(id->qp);
    id->qp = NULL;
    destroy_own_queues(id);
}

SV_EXPORT int rdma_create_srq_ex(struct rdma_cm_id *id, struct ibv_srq_init_attr_ex *init) {
    if (id->srq || !id->verbs) return sv_fail(EINVAL);
    if (init->comp_mask & IBV_SRQ_INIT_ATTR_TYPE && init->srq_type != IBV_SRQT_BASIC) return sv_fail(EOPNOTSUPP);
    struct ibv_pd *pd = init->comp_mask & IBV_SRQ_INIT_ATTR_PD && init->pd ? init->pd : id->pd;
    struct ibv_srq_init_attr basic = {.srq_context = init->srq_context, .attr = init->attr};
    id->srq = ibv_create_srq(pd, &basic);
    if (!id->srq) return -1;
    init->attr = basic.attr;
    if (!id->pd) id->pd = pd;
    return 0;
}

SV_EXPORT int rdma_create_srq(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_srq_init_attr *init) {
    struct ibv_srq_init_attr_ex extended = {.srq_context = init->srq_context, .attr = init->attr, .pd = pd,
                                            .comp_mask = pd ? IBV_SRQ_INIT_ATTR_PD : 0};
    int result = rdma_create_srq_ex(id, &extended);
    if (!result) init->attr = extended.attr;
    return result;
}

SV_EXPORT void rdma_destroy_srq(struct rdma_cm_id *id) {
    if (id->srq) ibv_destroy_srq(id->srq);
    id->srq = NULL;
}
