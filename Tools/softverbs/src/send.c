// Send queues: execution in order, completion in order.
//
// RDMA READs and WRITEs are executed by the requester, on the peer's memory, after checking the key in the peer's table.
// SENDs, WRITEs' immediates and atomics are messages in the peer's ring, and complete when the peer acknowledges them.
// While such messages are unacknowledged, READs and WRITEs follow them through the ring, so that nothing overtakes.
#include "softverbs.h"

enum readiness { READY, NOT_YET, GONE };

// Whether the peer's queue pair takes packets from this one.
static enum readiness readiness(struct sv_qp *qp) {
    if (!qp->peer || !qp->remote) return GONE;
    uint32_t link = atomic_load(&qp->remote->link), epoch = atomic_load(&qp->remote->epoch);
    if (qp->remote_epoch) return link == SV_LINK_OPEN && epoch == qp->remote_epoch ? READY : GONE;
    if (link != SV_LINK_OPEN || qp->remote->number != qp->attributes.dest_qp_num ||
        qp->remote->destination != qp->qp.qp_base.qp_num || qp->remote->destination_nonce != sv_process.nonce)
        return NOT_YET;
    qp->remote_epoch = epoch;
    return READY;
}

static uint32_t acknowledged(struct sv_qp *qp) {
    uint64_t value = atomic_load_explicit(&qp->shared->acknowledged, memory_order_acquire);
    return value >> 32 == qp->epoch ? (uint32_t)value : 0;
}

static bool is_atomic(const struct sv_send *send) {
    return send->opcode == IBV_WR_ATOMIC_CMP_AND_SWP || send->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
}

static enum ibv_wc_opcode completion_opcode(const struct sv_send *send) {
    switch (send->opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_WRITE_WITH_IMM: return IBV_WC_RDMA_WRITE;
    case IBV_WR_RDMA_READ: return IBV_WC_RDMA_READ;
    case IBV_WR_ATOMIC_CMP_AND_SWP: return IBV_WC_COMP_SWAP;
    case IBV_WR_ATOMIC_FETCH_AND_ADD: return IBV_WC_FETCH_ADD;
    case IBV_WR_LOCAL_INV: return IBV_WC_LOCAL_INV;
    case IBV_WR_BIND_MW: return IBV_WC_BIND_MW;
    default: return IBV_WC_SEND;
    }
}

static void complete(struct sv_qp *qp, struct sv_send *send, enum ibv_wc_status status) {
    if (status == IBV_WC_SUCCESS && !send->signalled) return;
    struct ibv_wc wc = {.wr_id = send->wr_id, .status = status, .opcode = completion_opcode(send),
                        .byte_len = send->length, .qp_num = qp->qp.qp_base.qp_num,
                        .src_qp = qp->attributes.dest_qp_num};
    sv_cq_push(sv_cq(qp->qp.qp_base.send_cq), &wc, true);
}

// ---- Local data

// The local pieces of a request; -1 if a key does not allow the access.
static int pieces_of(struct sv_qp *qp, uint32_t slot, uint32_t access, struct iovec *pieces) {
    struct sv_send *send = &qp->sends[slot];
    if (send->flags & IBV_SEND_INLINE) {
        pieces[0] = (struct iovec){qp->send_inline + (size_t)slot * qp->cap.max_inline_data, send->length};
        return send->length ? 1 : 0;
    }
    int count = 0;
    for (uint32_t i = 0; i < send->num_sge; i++) {
        struct ibv_sge sge = sv_send_elements(qp, slot)[i];
        if (!sv_local_sge(qp->domain, &sge, access)) return -1;
        if (sge.length) pieces[count++] = (struct iovec){(void *)(uintptr_t)sge.addr, sge.length};
    }
    return count;
}

// ---- One-sided access

static enum ibv_wc_status transfer(struct sv_qp *qp, struct sv_send *send, const struct iovec *pieces, int count,
                                   bool write) {
    uint32_t access = write ? IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ, index = sv_key_index(send->key);
    if (!(qp->remote->access & access)) return write ? IBV_WC_REM_ACCESS_ERR : IBV_WC_REM_INV_REQ_ERR;
    if (!write && qp->remote->max_dest_rd_atomic == 0) return IBV_WC_REM_INV_REQ_ERR;
    if (send->length == 0) return IBV_WC_SUCCESS; // the key does not matter
    atomic_store(&qp->shared->hazard, SV_HAZARD | index);
    enum ibv_wc_status status = IBV_WC_REM_ACCESS_ERR;
    if (readiness(qp) != READY) {
        status = IBV_WC_GENERAL_ERR; // closed at this moment
    } else {
        bool allowed;
        uint64_t address = sv_remote_memory(&qp->peer->segment->mrs[index], send->key, qp->remote->domain,
                                         qp->attributes.dest_qp_num, access, send->remote_address, send->length, &allowed);
        if (allowed && sv_peer_copy(qp->peer, pieces, count, address, send->length, write)) status = IBV_WC_SUCCESS;
        else if (allowed && atomic_load(&qp->peer->dead)) status = IBV_WC_GENERAL_ERR;
    }
    atomic_store_explicit(&qp->shared->hazard, 0, memory_order_release);
    return status;
}

// ---- Messages

static uint32_t room(struct sv_qp *qp) { return SV_RING_SLOTS - (qp->sent - acknowledged(qp)); }

// Puts one message into the peer's ring, which has room for it.
static void put_message(struct sv_qp *qp, struct sv_send *send, enum sv_slot_opcode opcode, const struct iovec *pieces,
                        int count) {
    struct sv_slot *slot = &qp->remote_ring[qp->sent % SV_RING_SLOTS];
    atomic_store_explicit(&slot->wait, SV_WAIT_NONE, memory_order_relaxed);
    slot->opcode = (uint8_t)opcode;
    slot->length = send->length;
    slot->immediate = send->immediate;
    slot->flags = send->flags & IBV_SEND_SOLICITED ? SV_SLOT_SOLICITED : 0;
    slot->num_sge = (uint16_t)count;
    if (opcode >= SV_SLOT_ATOMIC) {
        slot->immediate = send->key;
        slot->address = send->remote_address;
    }
    if (opcode == SV_SLOT_ATOMIC) {
        struct sv_atomic request = {send->compare, send->swap, send->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD};
        memcpy(slot->payload, &request, sizeof request);
    } else if (opcode == SV_SLOT_READ || (opcode != SV_SLOT_WRITE_IMM && send->length > SV_SLOT_PAYLOAD)) {
        struct sv_reference *to = (struct sv_reference *)(void *)slot->payload;
        for (int i = 0; i < count; i++)
            to[i] = (struct sv_reference){(uintptr_t)pieces[i].iov_base, pieces[i].iov_len};
        slot->flags |= SV_SLOT_BY_REFERENCE;
        qp->last_reference = qp->sent + 1;
    } else if (opcode != SV_SLOT_WRITE_IMM) {
        uint8_t *to = slot->payload;
        for (int i = 0; i < count; i++) {
            memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
            to += pieces[i].iov_len;
        }
    }
    send->sequence = ++qp->sent;
    send->state = SV_SEND_IN_RING;
    if (opcode == SV_SLOT_ATOMIC || opcode == SV_SLOT_READ) qp->last_read = qp->sent;
    atomic_store_explicit(&slot->tag, sv_tag(qp->remote_epoch, qp->sent), memory_order_release);
    sv_ring(qp->peer, qp->remote->recv_cq, qp->peer_index);
    if (opcode == SV_SLOT_ATOMIC) sv_peer_kick(qp->peer); // its application need not be polling
}

// The peer learns of an error that ends its queue pair too.
static void fail_remote(struct sv_qp *qp, enum ibv_event_type event) {
    atomic_store(&qp->remote->fatal, sv_tag(qp->remote_epoch, (uint32_t)event + 1));
    sv_ring(qp->peer, qp->remote->recv_cq, qp->peer_index);
    sv_peer_kick(qp->peer);
}

// Executes one request: SUCCESS, an error, or GENERAL_ERR if it has to be tried again. There is room for two messages.
static enum ibv_wc_status execute(struct sv_qp *qp, uint32_t slot, bool outstanding) {
    struct sv_send *send = &qp->sends[slot];
    struct iovec pieces[SV_MAX_SGE + 1];
    bool reads = send->opcode == IBV_WR_RDMA_READ || is_atomic(send);
    int count = pieces_of(qp, slot, reads ? IBV_ACCESS_LOCAL_WRITE : 0, pieces);
    if (count < 0) return IBV_WC_LOC_PROT_ERR;
    if (reads && qp->attributes.max_rd_atomic == 0) return IBV_WC_LOC_QP_OP_ERR;
    enum ibv_wc_status status = IBV_WC_SUCCESS;
    switch ((enum ibv_wr_opcode)send->opcode) {
    case IBV_WR_RDMA_READ:
    case IBV_WR_RDMA_WRITE:
        if (outstanding) {
            put_message(qp, send, reads ? SV_SLOT_READ : SV_SLOT_WRITE, pieces, count);
        } else {
            send->state = SV_SEND_DONE;
            status = transfer(qp, send, pieces, count, !reads);
        }
        break;
    case IBV_WR_RDMA_WRITE_WITH_IMM:
        if (outstanding) put_message(qp, send, SV_SLOT_WRITE, pieces, count);
        else status = transfer(qp, send, pieces, count, true);
        if (status == IBV_WC_SUCCESS) put_message(qp, send, SV_SLOT_WRITE_IMM, pieces, count);
        break;
    case IBV_WR_ATOMIC_CMP_AND_SWP:
    case IBV_WR_ATOMIC_FETCH_AND_ADD:
        if (send->length != 8) return IBV_WC_LOC_LEN_ERR;
        put_message(qp, send, SV_SLOT_ATOMIC, pieces, count);
        break;
    case IBV_WR_LOCAL_INV:
        send->state = SV_SEND_DONE;
        if (sv_key_invalidate(qp->qp.qp_base.qp_num, qp->domain, send->immediate)) status = IBV_WC_LOC_QP_OP_ERR;
        break;
    case IBV_WR_BIND_MW:
        send->state = SV_SEND_DONE;
        if (sv_window_bind(qp->qp.qp_base.qp_num, qp->domain, send->window, send->key, &send->bind))
            status = IBV_WC_MW_BIND_ERR;
        break;
    case IBV_WR_SEND_WITH_IMM: put_message(qp, send, SV_SLOT_SEND_IMM, pieces, count); break;
    case IBV_WR_SEND_WITH_INV: put_message(qp, send, SV_SLOT_SEND_INV, pieces, count); break;
    default: put_message(qp, send, SV_SLOT_SEND, pieces, count);
    }
    return status;
}

// ---- Progress

// Completes, in order, what is done.
void sv_send_retire(struct sv_qp *qp) {
    uint32_t count = acknowledged(qp);
    while (qp->send_head != qp->send_issued) {
        uint32_t index = qp->send_head & qp->send_mask;
        struct sv_send *send = &qp->sends[index];
        if (send->state == SV_SEND_IN_RING) {
            if ((int32_t)(count - send->sequence) < 0) break;
            if (is_atomic(send)) {
                struct sv_atomic answer;
                memcpy(&answer, qp->remote_ring[(send->sequence - 1) % SV_RING_SLOTS].payload, sizeof answer);
                struct iovec pieces[SV_MAX_SGE + 1];
                int pieces_count = pieces_of(qp, index, IBV_ACCESS_LOCAL_WRITE, pieces);
                const uint8_t *from = (const uint8_t *)&answer.compare;
                for (int i = 0; i < pieces_count; from += pieces[i++].iov_len)
                    memcpy(pieces[i].iov_base, from, pieces[i].iov_len);
            }
        }
        qp->deadline = 0;
        qp->send_head++;
        complete(qp, send, IBV_WC_SUCCESS);
    }
}

static uint64_t rnr_timer_ns(uint8_t encoded) {
    static const uint32_t hundredths_of_ms[32] = {65536, 1,   2,   3,   4,   6,   8,   12,   16,   24,   32,
                                                  48,    64,  96,  128, 192, 256, 384, 512,  768,  1024, 1536,
                                                  2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};
    return (uint64_t)hundredths_of_ms[encoded & 31] * 10000;
}

// Nothing moves: decides what the queue pair waits for. True if it has waited too long, and failed.
static bool wait_for_peer(struct sv_qp *qp, enum readiness ready) {
    uint32_t count = acknowledged(qp);
    struct sv_slot *oldest = qp->remote_ring ? &qp->remote_ring[count % SV_RING_SLOTS] : NULL;
    bool outstanding = qp->sent != count;
    uint64_t patience = 0;
    bool rnr = ready == READY && outstanding && atomic_load(&oldest->wait) == SV_WAIT_RNR;
    if (rnr) {
        if (qp->attributes.rnr_retry == 7) return false;
        patience = rnr_timer_ns(qp->remote->min_rnr_timer) * qp->attributes.rnr_retry + 1;
    } else if (ready != READY) {
        if (qp->attributes.timeout == 0) return false; // for ever
        patience = (4096ull << (qp->attributes.timeout & 31)) * (qp->attributes.retry_cnt + 1u);
    } else {
        qp->deadline = 0; // the peer is there, and will take the message
        return false;
    }
    uint64_t now = sv_now();
    if (!qp->deadline || qp->deadline_is_rnr != rnr) {
        qp->deadline = now + patience;
        qp->deadline_is_rnr = rnr;
    }
    if (now < qp->deadline) {
        sv_progress_tick();
        return false;
    }
    if (rnr) {
        uint32_t waiting = SV_WAIT_RNR;
        if (!atomic_compare_exchange_strong(&oldest->wait, &waiting, SV_WAIT_CANCELLED)) return false;
    }
    sv_qp_error_locked(qp, rnr ? IBV_WC_RNR_RETRY_EXC_ERR : IBV_WC_RETRY_EXC_ERR);
    return true;
}

static bool delayed(struct sv_qp *qp) {
    uint64_t now = sv_now();
    if (!qp->delay_until) {
        uint64_t delay = sv_fault_delay_ns();
        if (!delay) return false;
        qp->delay_until = now + delay;
    }
    if (now >= qp->delay_until) {
        qp->delay_until = 0;
        return false;
    }
    sv_progress_tick();
    return true;
}

// Whether a request has to wait for data that earlier ones bring: with a fence, and where it takes effect here at once.
static bool must_wait(struct sv_qp *qp, const struct sv_send *send, uint32_t count) {
    bool immediate = send->opcode == IBV_WR_LOCAL_INV || send->opcode == IBV_WR_BIND_MW;
    return (immediate || send->flags & IBV_SEND_FENCE) && (int32_t)(qp->last_read - count) > 0;
}

// Keeps count of the queue pairs of a completion queue that wait for a peer: who sleeps would else look at each of a thousand.
void sv_send_note(struct sv_qp *qp) {
    bool waits = qp->send_head != qp->send_issued;
    if (waits == qp->is_counted) return;
    qp->is_counted = waits;
    atomic_fetch_add(&sv_cq(qp->qp.qp_base.send_cq)->waiting, waits ? 1 : -1);
}

static void send_progress(struct sv_qp *qp) {
    if (qp->qp.qp_base.state != IBV_QPS_RTS && qp->qp.qp_base.state != IBV_QPS_SQD) return;
    if (qp->send_head == qp->send_tail) return;
    if (qp->send_head != qp->send_issued) sv_send_retire(qp);
    uint64_t refused = atomic_load_explicit(&qp->shared->refused, memory_order_acquire);
    if (refused && refused >> 32 == qp->epoch) {
        sv_send_retire(qp); // everything before it was acknowledged
        sv_qp_error_locked(qp, (enum ibv_wc_status)((uint32_t)refused - 1));
        return;
    }
    enum readiness ready = readiness(qp);
    while (qp->qp.qp_base.state == IBV_QPS_RTS && qp->send_issued != qp->send_tail && ready == READY) {
        uint32_t slot = qp->send_issued & qp->send_mask;
        struct sv_send *send = &qp->sends[slot];
        uint32_t count = acknowledged(qp);
        bool outstanding = qp->sent != count;
        if (room(qp) < 2) break;
        if (outstanding && must_wait(qp, send, count)) break;
        if (sv_fault_active) {
            if (delayed(qp)) break;
            if (sv_fault_drop_qp(&qp->operations)) {
                sv_qp_error_locked(qp, IBV_WC_RETRY_EXC_ERR);
                return;
            }
        }
        enum ibv_wc_status status = execute(qp, slot, outstanding);
        if (status == IBV_WC_GENERAL_ERR) {
            ready = readiness(qp);
            break;
        }
        if (status != IBV_WC_SUCCESS) {
            if (outstanding) break; // earlier messages come first: looked at again when they are acknowledged
            if (status == IBV_WC_REM_ACCESS_ERR) fail_remote(qp, IBV_EVENT_QP_ACCESS_ERR);
            if (status == IBV_WC_REM_INV_REQ_ERR) fail_remote(qp, IBV_EVENT_QP_REQ_ERR);
            sv_qp_error_locked(qp, status);
            return;
        }
        qp->send_issued++;
        if (send->state == SV_SEND_DONE && qp->send_head + 1 == qp->send_issued) {
            qp->send_head++;
            complete(qp, send, IBV_WC_SUCCESS);
        }
    }
    if (qp->send_head != qp->send_tail) wait_for_peer(qp, ready);
}

void sv_send_progress(struct sv_qp *qp) {
    send_progress(qp);
    sv_send_note(qp);
}

// All that is left, in order; the first with the reason.
void sv_send_flush(struct sv_qp *qp, enum ibv_wc_status first) {
    while (qp->send_head != qp->send_tail) {
        struct sv_send *send = &qp->sends[qp->send_head++ & qp->send_mask];
        complete(qp, send, first);
        first = IBV_WC_WR_FLUSH_ERR;
    }
    qp->send_issued = qp->send_head;
    sv_send_note(qp);
}

// Messages whose data is still in this process would be lost if the queue pair closed now. An adapter would have sent
// them long ago: lets the peer take them, unless it is not ready or does not react. Without locks.
void sv_send_linger(struct sv_qp *qp) {
    enum { LINGER_NS = 10000000 };
    bool kicked = false;
    unsigned round = 0;
    for (uint64_t end = sv_now() + LINGER_NS; sv_now() < end; sv_spin(&round)) {
        pthread_mutex_lock(&qp->lock);
        bool open = qp->qp.qp_base.state == IBV_QPS_RTS && qp->send_head != qp->send_issued && readiness(qp) == READY &&
                    !atomic_load(&qp->peer->dead);
        uint32_t count = open ? acknowledged(qp) : 0;
        bool wanted = open && (int32_t)(qp->last_reference - count) > 0 &&
                      atomic_load(&qp->remote_ring[count % SV_RING_SLOTS].wait) != SV_WAIT_RNR;
        if (wanted && !kicked) sv_peer_kick(qp->peer);
        pthread_mutex_unlock(&qp->lock);
        if (!wanted) return;
        kicked = true;
    }
}
