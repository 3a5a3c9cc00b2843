// Receive queues, and taking messages out of a queue pair's ring.
#include "softverbs.h"

enum { SPARE = 16 }; // entries beyond the capacity, for buffers that are given back

int sv_receive_queue_open(struct sv_receive_queue *queue, uint32_t capacity, uint32_t max_sge) {
    uint32_t slots = 1;
    while (slots < capacity + SPARE) slots *= 2;
    *queue = (struct sv_receive_queue){.capacity = capacity, .mask = slots - 1, .max_sge = max_sge ? max_sge : 1};
    queue->entries = calloc(slots, sizeof *queue->entries);
    queue->sges = calloc((size_t)slots * queue->max_sge, sizeof *queue->sges);
    if (queue->entries && queue->sges) return 0;
    sv_receive_queue_close(queue);
    return ENOMEM;
}

void sv_receive_queue_close(struct sv_receive_queue *queue) {
    free(queue->entries);
    free(queue->sges);
    *queue = (struct sv_receive_queue){0};
}

static void append(struct sv_receive_queue *queue, uint64_t wr_id, const struct ibv_sge *sges, int count) {
    uint32_t slot = queue->tail & queue->mask;
    queue->entries[slot] = (struct sv_recv){wr_id, count};
    if (count) memcpy(&queue->sges[(size_t)slot * queue->max_sge], sges, sizeof *sges * (size_t)count);
    queue->tail++;
}

int sv_receive_queue_push(struct sv_receive_queue *queue, const struct ibv_recv_wr *wr) {
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > queue->max_sge) return EINVAL;
    if (queue->tail - queue->head >= queue->capacity) return ENOMEM;
    append(queue, wr->wr_id, wr->sg_list, wr->num_sge);
    return 0;
}

// ---- Posting

int sv_post_recv(struct ibv_qp *base, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
    struct sv_qp *qp = sv_qp(base);
    int error = 0;
    bool wake = false;
    pthread_mutex_lock(&qp->lock);
    for (; wr && !error; wr = wr->next) {
        if (base->srq || base->state == IBV_QPS_RESET) error = EINVAL;
        else error = sv_receive_queue_push(&qp->receives, wr);
        if (error) {
            *bad = wr;
            break;
        }
    }
    if (base->state == IBV_QPS_ERR) sv_receive_flush(qp);
    else if (qp->starved) {
        wake = true;
        sv_ring(sv_process.self, qp->shared->recv_cq, qp->index);
    }
    pthread_mutex_unlock(&qp->lock);
    if (wake) sv_progress_wake();
    return error;
}

int sv_post_srq_recv(struct ibv_srq *base, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
    struct sv_srq *srq = sv_srq(base);
    int error = 0;
    pthread_mutex_lock(&srq->lock);
    for (; wr; wr = wr->next) {
        error = sv_receive_queue_push(&srq->queue, wr);
        if (error) {
            *bad = wr;
            break;
        }
    }
    pthread_mutex_unlock(&srq->lock);
    if (atomic_load(&srq->starving)) {
        atomic_store(&srq->starving, false);
        pthread_mutex_lock(&srq->list_lock);
        for (struct sv_qp *qp = srq->users; qp; qp = qp->srq_next)
            sv_ring(sv_process.self, qp->shared->recv_cq, qp->index);
        pthread_mutex_unlock(&srq->list_lock);
        sv_progress_wake();
    }
    return error;
}

// Takes the next buffer: its elements go to `sges`. False if there is none.
static bool take(struct sv_qp *qp, struct sv_recv *recv, struct ibv_sge *sges) {
    struct sv_srq *srq = qp->qp.qp_base.srq ? sv_srq(qp->qp.qp_base.srq) : NULL;
    struct sv_receive_queue *queue = srq ? &srq->queue : &qp->receives;
    bool limit_reached = false;
    if (srq) pthread_mutex_lock(&srq->lock);
    bool found = queue->head != queue->tail;
    if (found) {
        uint32_t slot = queue->head++ & queue->mask;
        *recv = queue->entries[slot];
        memcpy(sges, &queue->sges[(size_t)slot * queue->max_sge], sizeof *sges * (size_t)recv->num_sge);
        if (srq && srq->limit && queue->tail - queue->head < srq->limit) {
            srq->limit = 0;
            limit_reached = true;
        }
    } else if (srq) {
        atomic_store(&srq->starving, true);
    }
    if (srq) pthread_mutex_unlock(&srq->lock);
    if (limit_reached) sv_async_post(qp->qp.qp_base.context, IBV_EVENT_SRQ_LIMIT_REACHED, &srq->srq);
    return found;
}

// Gives a buffer back that was taken for a message which, as it turned out, never arrived.
static void give_back(struct sv_qp *qp, const struct sv_recv *recv, const struct ibv_sge *sges) {
    struct sv_srq *srq = qp->qp.qp_base.srq ? sv_srq(qp->qp.qp_base.srq) : NULL;
    struct sv_receive_queue *queue = srq ? &srq->queue : &qp->receives;
    if (srq) pthread_mutex_lock(&srq->lock);
    if (queue->tail - queue->head <= queue->mask) append(queue, recv->wr_id, sges, recv->num_sge);
    if (srq) pthread_mutex_unlock(&srq->lock);
}

// ---- Messages

static bool sender_is_there(struct sv_qp *qp) {
    return atomic_load(&qp->remote->link) == SV_LINK_OPEN && atomic_load(&qp->remote->epoch) == qp->remote_epoch &&
           !atomic_load(&qp->peer->dead);
}

// Moves the data of a message by reference, which is still in the sender's memory: from there, or back to there for a
// READ. The sender waits for `receiving` before it gives up a message.
static bool move(struct sv_qp *qp, struct sv_slot *slot, struct iovec *pieces, int count, bool back) {
    struct sv_reference references[SV_MAX_SGE];
    uint32_t parts = slot->num_sge < SV_MAX_SGE ? slot->num_sge : SV_MAX_SGE;
    memcpy(references, slot->payload, sizeof *references * parts);
    atomic_store(&qp->shared->receiving, 1);
    bool copied = sender_is_there(qp);
    int piece = 0;
    if (copied && parts > 1 && sv_peer_copy_parts(qp->peer, pieces, count, references, parts, slot->length, back)) parts = 0;
    for (uint32_t part = 0; part < parts && copied; part++) {
        uint64_t address = references[part].address, rest = references[part].length;
        while (rest > 0 && copied && piece < count) {
            uint64_t size = pieces[piece].iov_len < rest ? pieces[piece].iov_len : rest;
            struct iovec local = {pieces[piece].iov_base, size};
            copied = sv_peer_copy(qp->peer, &local, 1, address, size, back);
            address += size, rest -= size;
            pieces[piece].iov_base = (char *)pieces[piece].iov_base + size;
            pieces[piece].iov_len -= size;
            if (pieces[piece].iov_len == 0) piece++;
        }
    }
    atomic_store_explicit(&qp->shared->receiving, 0, memory_order_release);
    return copied;
}

// Takes the data of a message. False if its sender has failed meanwhile.
bool sv_fetch(struct sv_qp *qp, struct sv_slot *slot, struct iovec *pieces, int count) {
    if (slot->flags & SV_SLOT_BY_REFERENCE) return move(qp, slot, pieces, count, false);
    const uint8_t *from = slot->payload;
    for (int i = 0; i < count; i++) {
        memcpy(pieces[i].iov_base, from, pieces[i].iov_len);
        from += pieces[i].iov_len;
    }
    return true;
}

// Answers a READ.
bool sv_store(struct sv_qp *qp, struct sv_slot *slot, uint64_t address) {
    struct iovec piece = {(void *)(uintptr_t)address, slot->length};
    return move(qp, slot, &piece, 1, true);
}

// Scatters a message into a buffer: the status of the receive.
static enum ibv_wc_status scatter(struct sv_qp *qp, struct sv_slot *slot, struct ibv_sge *sges, int count) {
    if (slot->opcode == SV_SLOT_WRITE_IMM) return IBV_WC_SUCCESS;
    struct iovec pieces[SV_MAX_SGE];
    int used = 0;
    uint32_t rest = slot->length;
    for (int i = 0; i < count && rest > 0; i++) {
        struct ibv_sge sge = sges[i];
        if (!sv_local_sge(qp->domain, &sge, IBV_ACCESS_LOCAL_WRITE)) return IBV_WC_LOC_PROT_ERR;
        uint32_t size = sge.length < rest ? sge.length : rest;
        if (!size) continue;
        pieces[used++] = (struct iovec){(void *)(uintptr_t)sge.addr, size};
        rest -= size;
    }
    if (rest > 0) return IBV_WC_LOC_LEN_ERR;
    return !slot->length || sv_fetch(qp, slot, pieces, used) ? IBV_WC_SUCCESS : IBV_WC_WR_FLUSH_ERR;
}

// What the sender hears of a receive that failed.
static enum ibv_wc_status refusal(enum ibv_wc_status status) {
    switch (status) {
    case IBV_WC_LOC_LEN_ERR: return IBV_WC_REM_INV_REQ_ERR;
    case IBV_WC_REM_INV_REQ_ERR: return IBV_WC_REM_ACCESS_ERR; // its key could not be invalidated
    default: return IBV_WC_REM_OP_ERR;
    }
}

// Whoever sends to us is known when we are ready to receive; it tells its epoch with each message.
static bool identify(struct sv_qp *qp) {
    if (qp->remote_epoch) return true;
    if (atomic_load(&qp->remote->link) == SV_LINK_CLOSED || qp->remote->destination != qp->qp.qp_base.qp_num ||
        qp->remote->destination_nonce != sv_process.nonce)
        return false;
    qp->remote_epoch = atomic_load(&qp->remote->epoch);
    return qp->remote_epoch != 0;
}

// Takes one message. False if it has to wait or the queue pair failed.
static bool receive(struct sv_qp *qp, struct sv_slot *slot) {
    struct ibv_qp *base = &qp->qp.qp_base;
    if (slot->opcode >= SV_SLOT_ATOMIC) return sv_respond(qp, slot);
    // Its data went with the sender: it never arrived.
    if (slot->flags & SV_SLOT_BY_REFERENCE && !sender_is_there(qp)) return false;
    // A message that waited belongs to whoever changes its mark first: us, or its sender, who has lost patience.
    uint32_t waiting = SV_WAIT_RNR;
    if (atomic_load(&slot->wait) != SV_WAIT_NONE && !atomic_compare_exchange_strong(&slot->wait, &waiting, SV_WAIT_TAKEN))
        return false;
    struct sv_recv recv;
    struct ibv_sge sges[SV_MAX_SGE];
    if (!take(qp, &recv, sges)) {
        bool first = atomic_exchange(&slot->wait, SV_WAIT_RNR) == SV_WAIT_NONE;
        qp->starved = true;
        if (first) {
            sv_ring(qp->peer, qp->remote->send_cq, qp->peer_index); // its clock for receiver not ready starts
            sv_peer_kick(qp->peer);
        }
        return false;
    }
    qp->starved = false;
    struct ibv_wc wc = {.wr_id = recv.wr_id, .opcode = IBV_WC_RECV, .byte_len = slot->length, .qp_num = base->qp_num,
                        .src_qp = qp->attributes.dest_qp_num,
                        .status = scatter(qp, slot, sges, recv.num_sge)};
    if (wc.status == IBV_WC_SUCCESS) {
        switch ((enum sv_slot_opcode)slot->opcode) {
        default: break;
        case SV_SLOT_WRITE_IMM:
            wc.opcode = IBV_WC_RECV_RDMA_WITH_IMM;
            wc.wc_flags = IBV_WC_WITH_IMM;
            wc.imm_data = slot->immediate;
            break;
        case SV_SLOT_SEND_IMM:
            wc.wc_flags = IBV_WC_WITH_IMM;
            wc.imm_data = slot->immediate;
            break;
        case SV_SLOT_SEND_INV:
            if (sv_key_invalidate(base->qp_num, qp->domain, slot->immediate)) {
                wc.status = IBV_WC_REM_INV_REQ_ERR;
            } else {
                wc.wc_flags = IBV_WC_WITH_INV;
                wc.invalidated_rkey = slot->immediate;
            }
            break;
        }
    }
    bool solicited = slot->flags & SV_SLOT_SOLICITED;
    if (wc.status == IBV_WC_SUCCESS) {
        qp->received++;
        sv_cq_push(sv_cq(base->recv_cq), &wc, solicited);
        return true;
    }
    if (wc.status == IBV_WC_WR_FLUSH_ERR) {
        give_back(qp, &recv, sges);
        sv_receive_lost(qp);
        return false;
    }
    sv_cq_push(sv_cq(base->recv_cq), &wc, true);
    sv_receive_refuse(qp, refusal(wc.status));
    sv_qp_error_locked(qp, IBV_WC_WR_FLUSH_ERR);
    return false;
}

// The sender's memory could not be read or written: it is gone, or it has unmapped what it registered.
void sv_receive_lost(struct sv_qp *qp) {
    if (sender_is_there(qp)) sv_receive_refuse(qp, IBV_WC_LOC_PROT_ERR);
}

// Tells the sender that the message at the head of our ring failed.
void sv_receive_refuse(struct sv_qp *qp, enum ibv_wc_status status) {
    qp->announced = qp->received;
    atomic_store(&qp->remote->acknowledged, sv_tag(qp->remote_epoch, qp->received));
    atomic_store(&qp->remote->refused, sv_tag(qp->remote_epoch, (uint32_t)status + 1));
    sv_ring(qp->peer, qp->remote->send_cq, qp->peer_index);
}

void sv_receive_progress(struct sv_qp *qp) {
    if (!qp->peer || qp->shared->link != SV_LINK_OPEN) return;
    for (;;) {
        struct sv_slot *slot = &qp->ring[qp->received % SV_RING_SLOTS];
        uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire);
        if (tag != sv_tag(qp->epoch, qp->received + 1) || !identify(qp)) break;
        if (!receive(qp, slot)) break;
    }
    if (qp->received != qp->announced && qp->shared->link == SV_LINK_OPEN) {
        qp->announced = qp->received;
        atomic_store_explicit(&qp->remote->acknowledged, sv_tag(qp->remote_epoch, qp->received), memory_order_release);
        sv_ring(qp->peer, qp->remote->send_cq, qp->peer_index);
    }
}

void sv_receive_flush(struct sv_qp *qp) {
    struct ibv_qp *base = &qp->qp.qp_base;
    if (!base->srq) {
        while (qp->receives.head != qp->receives.tail) {
            struct ibv_wc wc = {.wr_id = qp->receives.entries[qp->receives.head++ & qp->receives.mask].wr_id,
                                .status = IBV_WC_WR_FLUSH_ERR, .opcode = IBV_WC_RECV, .qp_num = base->qp_num};
            sv_cq_push(sv_cq(base->recv_cq), &wc, true);
        }
    } else if (!qp->last_wqe_reported) {
        qp->last_wqe_reported = true;
        sv_async_post(base->context, IBV_EVENT_QP_LAST_WQE_REACHED, base);
    }
}
