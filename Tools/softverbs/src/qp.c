// Queue pairs: life, states, errors.
#include "softverbs.h"

static _Atomic uint32_t next_epoch;

static void release_memory(struct sv_qp *qp) {
    sv_wr_close(qp);
    sv_receive_queue_close(&qp->receives);
    free(qp->sends);
    free(qp->send_sges);
    free(qp->send_inline);
    free(qp);
}

static int check(const struct ibv_qp_init_attr_ex *init) {
    const struct ibv_qp_cap *cap = &init->cap;
    if (init->qp_type != IBV_QPT_RC) return EOPNOTSUPP;
    if (!(init->comp_mask & IBV_QP_INIT_ATTR_PD) || !init->pd || !init->send_cq || !init->recv_cq) return EINVAL;
    if (init->comp_mask & ~(uint32_t)(IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS)) return EOPNOTSUPP;
    if (cap->max_send_wr > (uint32_t)sv_config.max_qp_wr || cap->max_send_sge > (uint32_t)sv_config.max_sge ||
        cap->max_inline_data > (uint32_t)sv_config.max_inline)
        return EINVAL;
    if (!init->srq && (cap->max_recv_wr > (uint32_t)sv_config.max_qp_wr ||
                       cap->max_recv_sge > (uint32_t)sv_config.max_sge))
        return EINVAL;
    return 0;
}

struct ibv_qp *sv_create_qp_ex(struct ibv_context *context, struct ibv_qp_init_attr_ex *init) {
    int error = check(init);
    struct sv_qp *qp = error ? NULL : calloc(1, sizeof *qp);
    if (!qp) {
        errno = error ? error : ENOMEM;
        return NULL;
    }
    qp->cap = init->cap;
    if (!qp->cap.max_send_sge) qp->cap.max_send_sge = 1;
    uint32_t slots = 1;
    while (slots < qp->cap.max_send_wr) slots *= 2;
    qp->send_capacity = qp->cap.max_send_wr ? qp->cap.max_send_wr : 1;
    qp->send_mask = slots - 1;
    qp->sends = calloc(slots, sizeof *qp->sends);
    qp->send_sges = calloc((size_t)slots * qp->cap.max_send_sge, sizeof *qp->send_sges);
    qp->send_inline = calloc(slots, qp->cap.max_inline_data ? qp->cap.max_inline_data : 1);
    if (init->srq) qp->cap.max_recv_wr = qp->cap.max_recv_sge = 0;
    error = !qp->sends || !qp->send_sges || !qp->send_inline ? ENOMEM : 0;
    if (!error) error = sv_receive_queue_open(&qp->receives, qp->cap.max_recv_wr, qp->cap.max_recv_sge);
    if (!error && init->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) error = sv_wr_open(qp, init->send_ops_flags);

    struct ibv_qp *base = &qp->qp.qp_base;
    *base = (struct ibv_qp){.context = context, .qp_context = init->qp_context, .pd = init->pd,
                            .send_cq = init->send_cq, .recv_cq = init->recv_cq, .srq = init->srq,
                            .state = IBV_QPS_RESET, .qp_type = init->qp_type};
    pthread_mutex_init(&base->mutex, NULL);
    pthread_cond_init(&base->cond, NULL);
    pthread_mutex_init(&qp->lock, NULL);
    qp->domain = init->pd->handle;
    qp->signal_all = init->sq_sig_all;
    // The progress thread may look at it from here on, and finds it in RESET.
    if (!error && !sv_qp_take_index(qp)) error = ENOMEM;
    if (error) {
        release_memory(qp);
        errno = error;
        return NULL;
    }
    base->handle = qp->index;
    base->qp_num = sv_process.slot << SV_QP_BITS | qp->index;
    atomic_store(&qp->shared->link, SV_LINK_CLOSED);
    qp->shared->number = base->qp_num;
    qp->shared->domain = qp->domain;
    qp->shared->send_cq = (uint16_t)sv_cq(base->send_cq)->index;
    qp->shared->recv_cq = (uint16_t)sv_cq(base->recv_cq)->index;
    qp->attributes.qp_state = IBV_QPS_RESET;
    qp->attributes.cap = qp->cap;
    init->cap = qp->cap;
    sv_cq_attach(sv_cq(base->send_cq), &qp->send_link, qp);
    if (base->recv_cq != base->send_cq) sv_cq_attach(sv_cq(base->recv_cq), &qp->recv_link, qp);
    if (base->srq) {
        struct sv_srq *srq = sv_srq(base->srq);
        pthread_mutex_lock(&srq->list_lock);
        qp->srq_next = srq->users;
        srq->users = qp;
        pthread_mutex_unlock(&srq->list_lock);
    }
    atomic_fetch_add(&((struct sv_pd *)init->pd)->users, 1);
    return base;
}

SV_EXPORT struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init) {
    struct ibv_qp_init_attr_ex extended = {.comp_mask = IBV_QP_INIT_ATTR_PD, .pd = pd};
    memcpy(&extended, init, sizeof *init); // it begins alike
    extended.comp_mask = IBV_QP_INIT_ATTR_PD;
    struct ibv_qp *qp = sv_create_qp_ex(pd->context, &extended);
    if (qp) init->cap = extended.cap;
    return qp;
}

// ---- Errors

static void wait_for_accesses(struct sv_qp *qp) {
    if (!qp->remote) return;
    unsigned round = 0;
    while (((atomic_load(&qp->remote->hazard) && qp->remote->destination == qp->qp.qp_base.qp_num) ||
            atomic_load(&qp->remote->receiving)) && !atomic_load(&qp->peer->dead))
        sv_peer_spin(qp->peer, &round);
}

void sv_qp_error_locked(struct sv_qp *qp, enum ibv_wc_status first) {
    struct ibv_qp *base = &qp->qp.qp_base;
    if (base->state == IBV_QPS_ERR) return;
    if (base->state == IBV_QPS_RTS || base->state == IBV_QPS_SQD) sv_send_retire(qp);
    atomic_store(&qp->shared->link, SV_LINK_ERROR);
    base->state = IBV_QPS_ERR;
    qp->attributes.qp_state = IBV_QPS_ERR;
    // The application may use its memory again as soon as it sees the completions.
    wait_for_accesses(qp);
    sv_send_flush(qp, first);
    sv_receive_flush(qp);
    if (qp->remote && qp->remote_epoch) sv_ring(qp->peer, qp->remote->send_cq, qp->peer_index);
}

void sv_qp_progress_locked(struct sv_qp *qp) {
    if (qp->qp.qp_base.state < IBV_QPS_RTR || qp->qp.qp_base.state == IBV_QPS_ERR) return;
    sv_receive_progress(qp);
    uint64_t fatal = atomic_load_explicit(&qp->shared->fatal, memory_order_relaxed);
    if (fatal && fatal >> 32 == qp->epoch && qp->qp.qp_base.state != IBV_QPS_ERR) {
        sv_receive_progress(qp); // all that came before
        sv_async_post(qp->qp.qp_base.context, (enum ibv_event_type)((uint32_t)fatal - 1), &qp->qp.qp_base);
        sv_qp_error_locked(qp, IBV_WC_WR_FLUSH_ERR);
        return;
    }
    sv_send_progress(qp);
}

void sv_qp_progress(struct sv_qp *qp) {
    pthread_mutex_lock(&qp->lock);
    sv_qp_progress_locked(qp);
    pthread_mutex_unlock(&qp->lock);
}

bool sv_qp_awaits_peer(struct sv_qp *qp) {
    // Most have nothing to wait for: a lock for each would cost an idle process of a thousand queue pairs half a millisecond.
    if (__atomic_load_n(&qp->send_head, __ATOMIC_RELAXED) == __atomic_load_n(&qp->send_issued, __ATOMIC_RELAXED))
        return false;
    if (pthread_mutex_trylock(&qp->lock)) return false;
    bool waits = qp->send_head != qp->send_issued && qp->remote_epoch && !atomic_load(&qp->peer->dead);
    if (waits) {
        uint64_t value = atomic_load(&qp->shared->acknowledged);
        uint32_t count = value >> 32 == qp->epoch ? (uint32_t)value : 0;
        waits = atomic_load(&qp->remote_ring[count % SV_RING_SLOTS].wait) != SV_WAIT_RNR;
    }
    pthread_mutex_unlock(&qp->lock);
    return waits;
}

// ---- States

static void disconnect(struct sv_qp *qp) {
    if (qp->peer) {
        wait_for_accesses(qp);
        if (qp->remote_epoch) sv_ring(qp->peer, qp->remote->send_cq, qp->peer_index);
    }
    sv_peer_put(qp->peer);
    qp->peer = NULL;
    qp->remote = NULL;
    qp->remote_ring = NULL;
    qp->remote_epoch = 0;
}

static void reset(struct sv_qp *qp) {
    struct ibv_qp *base = &qp->qp.qp_base;
    atomic_store(&qp->shared->link, SV_LINK_CLOSED);
    disconnect(qp);
    qp->send_head = qp->send_issued = qp->send_tail = 0;
    sv_send_note(qp);
    qp->receives.head = qp->receives.tail = 0;
    qp->deadline = qp->delay_until = 0;
    qp->starved = qp->last_wqe_reported = false;
    base->state = IBV_QPS_RESET;
    qp->attributes = (struct ibv_qp_attr){.qp_state = IBV_QPS_RESET, .cap = qp->cap};
    sv_cq_purge(sv_cq(base->send_cq), base->qp_num);
    if (base->recv_cq != base->send_cq) sv_cq_purge(sv_cq(base->recv_cq), base->qp_num);
}

enum {
    INIT_NEEDS = IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
    RTR_NEEDS = IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
                IBV_QP_MIN_RNR_TIMER,
    RTS_NEEDS = IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
};

static int allowed(enum ibv_qp_state from, enum ibv_qp_state to, int mask) {
    if (to == IBV_QPS_RESET || to == IBV_QPS_ERR) return 0;
    int needs = 0;
    if (from == IBV_QPS_RESET && to == IBV_QPS_INIT) needs = INIT_NEEDS;
    else if (from == IBV_QPS_INIT && to == IBV_QPS_INIT) needs = 0;
    else if (from == IBV_QPS_INIT && to == IBV_QPS_RTR) needs = RTR_NEEDS;
    else if (from == IBV_QPS_RTR && to == IBV_QPS_RTS) needs = RTS_NEEDS;
    else if (from == IBV_QPS_RTS && (to == IBV_QPS_RTS || to == IBV_QPS_SQD)) needs = 0;
    else if (from == IBV_QPS_SQD && (to == IBV_QPS_RTS || to == IBV_QPS_SQD)) needs = 0;
    else return EINVAL;
    return (mask & needs) == needs ? 0 : EINVAL;
}

static void take_attributes(struct sv_qp *qp, const struct ibv_qp_attr *from, int mask) {
    struct ibv_qp_attr *to = &qp->attributes;
    if (mask & IBV_QP_ACCESS_FLAGS) to->qp_access_flags = from->qp_access_flags;
    if (mask & IBV_QP_PKEY_INDEX) to->pkey_index = from->pkey_index;
    if (mask & IBV_QP_PORT) to->port_num = from->port_num;
    if (mask & IBV_QP_QKEY) to->qkey = from->qkey;
    if (mask & IBV_QP_AV) to->ah_attr = from->ah_attr;
    if (mask & IBV_QP_PATH_MTU) to->path_mtu = from->path_mtu;
    if (mask & IBV_QP_TIMEOUT) to->timeout = from->timeout;
    if (mask & IBV_QP_RETRY_CNT) to->retry_cnt = from->retry_cnt;
    if (mask & IBV_QP_RNR_RETRY) to->rnr_retry = from->rnr_retry;
    if (mask & IBV_QP_RQ_PSN) to->rq_psn = from->rq_psn;
    if (mask & IBV_QP_SQ_PSN) to->sq_psn = from->sq_psn;
    if (mask & IBV_QP_MAX_QP_RD_ATOMIC) to->max_rd_atomic = from->max_rd_atomic;
    if (mask & IBV_QP_MAX_DEST_RD_ATOMIC) to->max_dest_rd_atomic = from->max_dest_rd_atomic;
    if (mask & IBV_QP_MIN_RNR_TIMER) to->min_rnr_timer = from->min_rnr_timer;
    if (mask & IBV_QP_DEST_QPN) to->dest_qp_num = from->dest_qp_num;
    qp->shared->access = to->qp_access_flags;
    qp->shared->min_rnr_timer = to->min_rnr_timer;
    qp->shared->max_dest_rd_atomic = to->max_dest_rd_atomic;
}

static void open_link(struct sv_qp *qp, struct sv_peer *peer) {
    uint32_t destination = qp->attributes.dest_qp_num;
    do {
        qp->epoch = (uint32_t)sv_process.nonce + atomic_fetch_add(&next_epoch, 1);
    } while (!qp->epoch);
    qp->peer = peer;
    qp->remote_epoch = 0;
    if (peer) {
        qp->peer_index = destination % SV_MAX_QP;
        qp->remote = &peer->segment->qps[qp->peer_index];
        qp->remote_ring = peer->segment->rings[qp->peer_index];
    }
    qp->sent = qp->received = qp->announced = qp->last_read = qp->last_reference = 0;
    qp->starved = false;
    struct sv_qp_shared *shared = qp->shared;
    shared->destination = destination;
    shared->destination_nonce = peer ? peer->nonce : 0;
    atomic_store(&shared->acknowledged, 0);
    atomic_store(&shared->refused, 0);
    atomic_store(&shared->fatal, 0);
    atomic_store(&shared->epoch, qp->epoch);
    atomic_store(&shared->link, SV_LINK_OPEN);
}

SV_EXPORT int ibv_modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attributes, int mask) {
    struct sv_qp *qp = sv_qp(base);
    struct sv_peer *peer = NULL;
    enum ibv_qp_state to = mask & IBV_QP_STATE ? attributes->qp_state : base->state;
    if (mask & IBV_QP_PORT && attributes->port_num != 1) return EINVAL;
    if (mask & IBV_QP_PKEY_INDEX && attributes->pkey_index != 0) return EINVAL;
    if (mask & IBV_QP_MAX_QP_RD_ATOMIC && attributes->max_rd_atomic > sv_config.max_rd_atom) return EINVAL;
    if (mask & IBV_QP_MAX_DEST_RD_ATOMIC && attributes->max_dest_rd_atomic > sv_config.max_rd_atom) return EINVAL;
    if (atomic_load(&sv_process.removed) && to != IBV_QPS_ERR && to != IBV_QPS_RESET) return EIO;
    if (base->state == IBV_QPS_INIT && to == IBV_QPS_RTR && !allowed(base->state, to, mask)) {
        // Looking the peer up may wait for its process: before the lock is taken.
        bool elsewhere = attributes->ah_attr.is_global && !sv_gid_is_local(&attributes->ah_attr.grh.dgid);
        if (!elsewhere) peer = sv_peer_get(attributes->dest_qp_num >> SV_QP_BITS & (SV_MAX_PROCESS - 1));
        if (!elsewhere && !peer && errno != ECONNREFUSED && errno != ECONNRESET) return errno;
        // A peer that does not exist: nothing will be acknowledged.
    }
    if (to == IBV_QPS_ERR || to == IBV_QPS_RESET) sv_send_linger(qp);
    pthread_mutex_lock(&qp->lock);
    int error = mask & IBV_QP_CUR_STATE && attributes->cur_qp_state != base->state ? EINVAL : 0;
    if (!error) error = allowed(base->state, to, mask);
    if (error) {
        pthread_mutex_unlock(&qp->lock);
        sv_peer_put(peer);
        return error;
    }
    enum ibv_qp_state from = base->state;
    if (to == IBV_QPS_RESET) {
        reset(qp);
    } else if (to == IBV_QPS_ERR) {
        sv_qp_error_locked(qp, IBV_WC_WR_FLUSH_ERR);
    } else {
        take_attributes(qp, attributes, mask);
        if (from == IBV_QPS_INIT && to == IBV_QPS_RTR) open_link(qp, peer);
        base->state = to;
        qp->attributes.qp_state = to;
        if (peer && atomic_load(&peer->dead)) sv_qp_error_locked(qp, IBV_WC_RETRY_EXC_ERR);
        else if (to >= IBV_QPS_RTR) sv_qp_progress_locked(qp);
        if (to == IBV_QPS_SQD && from == IBV_QPS_RTS && attributes->en_sqd_async_notify &&
            mask & IBV_QP_EN_SQD_ASYNC_NOTIFY)
            sv_async_post(base->context, IBV_EVENT_SQ_DRAINED, base);
    }
    pthread_mutex_unlock(&qp->lock);
    return 0;
}

SV_EXPORT int ibv_query_qp(struct ibv_qp *base, struct ibv_qp_attr *attributes, int mask,
                           struct ibv_qp_init_attr *init) {
    struct sv_qp *qp = sv_qp(base);
    (void)mask;
    pthread_mutex_lock(&qp->lock);
    *attributes = qp->attributes;
    attributes->cur_qp_state = attributes->qp_state = base->state;
    attributes->cap = qp->cap;
    attributes->path_mig_state = IBV_MIG_MIGRATED;
    *init = (struct ibv_qp_init_attr){.qp_context = base->qp_context, .send_cq = base->send_cq,
                                      .recv_cq = base->recv_cq, .srq = base->srq, .cap = qp->cap,
                                      .qp_type = base->qp_type, .sq_sig_all = qp->signal_all};
    pthread_mutex_unlock(&qp->lock);
    return 0;
}

SV_EXPORT int ibv_destroy_qp(struct ibv_qp *base) {
    struct sv_qp *qp = sv_qp(base);
    sv_send_linger(qp);
    // From the outside in: after this nobody else can find it.
    sv_cq_detach(sv_cq(base->send_cq), qp);
    if (base->recv_cq != base->send_cq) sv_cq_detach(sv_cq(base->recv_cq), qp);
    if (base->srq) {
        struct sv_srq *srq = sv_srq(base->srq);
        pthread_mutex_lock(&srq->list_lock);
        for (struct sv_qp **place = &srq->users; *place; place = &(*place)->srq_next)
            if (*place == qp) {
                *place = qp->srq_next;
                break;
            }
        pthread_mutex_unlock(&srq->list_lock);
    }
    pthread_mutex_lock(&qp->lock);
    reset(qp);
    pthread_mutex_unlock(&qp->lock);
    sv_qp_return_index(qp);
    sv_async_drop(base->context, base);
    pthread_mutex_lock(&base->mutex);
    while (base->events_completed != qp->reported_async) pthread_cond_wait(&base->cond, &base->mutex);
    pthread_mutex_unlock(&base->mutex);
    atomic_fetch_sub(&((struct sv_pd *)base->pd)->users, 1);
    release_memory(qp);
    return 0;
}

SV_EXPORT int ibv_query_qp_data_in_order(struct ibv_qp *qp, enum ibv_wr_opcode opcode, uint32_t flags) {
    (void)qp, (void)opcode, (void)flags;
    return 0;
}

SV_EXPORT int ibv_query_ece(struct ibv_qp *qp, struct ibv_ece *ece) {
    (void)qp;
    *ece = (struct ibv_ece){0};
    return 0;
}

SV_EXPORT int ibv_set_ece(struct ibv_qp *qp, struct ibv_ece *ece) {
    (void)qp, (void)ece;
    return EOPNOTSUPP;
}

// ---- What is for other transports

SV_EXPORT struct ibv_ah *ibv_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attributes) {
    (void)pd, (void)attributes;
    errno = EOPNOTSUPP;
    return NULL;
}
SV_EXPORT int ibv_init_ah_from_wc(struct ibv_context *context, uint8_t port, struct ibv_wc *wc, struct ibv_grh *grh,
                                  struct ibv_ah_attr *attributes) {
    (void)context, (void)port, (void)wc, (void)grh, (void)attributes;
    return EOPNOTSUPP;
}
SV_EXPORT struct ibv_ah *ibv_create_ah_from_wc(struct ibv_pd *pd, struct ibv_wc *wc, struct ibv_grh *grh, uint8_t port) {
    (void)pd, (void)wc, (void)grh, (void)port;
    errno = EOPNOTSUPP;
    return NULL;
}
SV_EXPORT int ibv_destroy_ah(struct ibv_ah *ah) {
    (void)ah;
    return EOPNOTSUPP;
}
SV_EXPORT int ibv_attach_mcast(struct ibv_qp *qp, const union ibv_gid *gid, uint16_t lid) {
    (void)qp, (void)gid, (void)lid;
    return EOPNOTSUPP;
}
SV_EXPORT int ibv_detach_mcast(struct ibv_qp *qp, const union ibv_gid *gid, uint16_t lid) {
    (void)qp, (void)gid, (void)lid;
    return EOPNOTSUPP;
}
SV_EXPORT int ibv_resolve_eth_l2_from_gid(struct ibv_context *context, struct ibv_ah_attr *attributes,
                                          uint8_t mac[ETHERNET_LL_SIZE], uint16_t *vlan) {
    (void)context, (void)attributes;
    memset(mac, 0, ETHERNET_LL_SIZE);
    if (vlan) *vlan = 0xffff;
    return 0;
}
