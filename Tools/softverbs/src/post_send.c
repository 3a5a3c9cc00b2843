// Posting to send queues.
#include "softverbs.h"

static int append(struct sv_qp *qp, struct ibv_send_wr *wr) {
    if (qp->send_tail - qp->send_head >= qp->send_capacity) return ENOMEM;
    bool atomic = wr->opcode == IBV_WR_ATOMIC_CMP_AND_SWP || wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->cap.max_send_sge) return EINVAL;
    if (wr->opcode == IBV_WR_RDMA_READ && wr->num_sge > sv_config.max_sge_rd) return EINVAL;
    if (wr->opcode > IBV_WR_SEND_WITH_INV) return EINVAL;
    if (wr->send_flags & IBV_SEND_INLINE && (wr->opcode == IBV_WR_RDMA_READ || atomic)) return EINVAL;
    uint32_t slot = qp->send_tail & qp->send_mask;
    struct sv_send *send = &qp->sends[slot];
    uint64_t length = 0;
    for (int i = 0; i < wr->num_sge; i++) length += wr->sg_list[i].length;
    if (wr->send_flags & IBV_SEND_INLINE) {
        if (length > qp->cap.max_inline_data) return EINVAL;
        uint8_t *to = qp->send_inline + (size_t)slot * qp->cap.max_inline_data;
        for (int i = 0; i < wr->num_sge; i++) {
            memcpy(to, (void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
            to += wr->sg_list[i].length;
        }
    } else {
        if (length > 1u << 31) return EINVAL;
        if (wr->num_sge) memcpy(sv_send_elements(qp, slot), wr->sg_list, sizeof *wr->sg_list * (size_t)wr->num_sge);
    }
    *send = (struct sv_send){
        .wr_id = wr->wr_id,
        .opcode = (uint8_t)wr->opcode,
        .state = SV_SEND_POSTED,
        .flags = (uint8_t)wr->send_flags,
        .signalled = qp->signal_all || wr->send_flags & IBV_SEND_SIGNALED,
        .num_sge = (uint16_t)wr->num_sge,
        .length = (uint32_t)length,
        .immediate = wr->imm_data,
        .remote_address = atomic ? wr->wr.atomic.remote_addr : wr->wr.rdma.remote_addr,
        .key = atomic ? wr->wr.atomic.rkey : wr->wr.rdma.rkey,
    };
    if (atomic) {
        send->compare = wr->wr.atomic.compare_add;
        send->swap = wr->wr.atomic.swap;
    }
    if (wr->opcode == IBV_WR_BIND_MW) {
        if (!wr->bind_mw.mw) return EINVAL;
        send->window = wr->bind_mw.mw;
        send->key = wr->bind_mw.rkey;
        send->bind = wr->bind_mw.bind_info;
        if (send->window->type == IBV_MW_TYPE_1) send->window->rkey = send->key;
    }
    qp->send_tail++;
    return 0;
}

int sv_post_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad) {
    struct sv_qp *qp = sv_qp(base);
    int error = 0;
    pthread_mutex_lock(&qp->lock);
    bool open = base->state == IBV_QPS_RTS || base->state == IBV_QPS_SQD || base->state == IBV_QPS_ERR;
    for (; wr; wr = wr->next) {
        error = open ? append(qp, wr) : EINVAL;
        if (error == ENOMEM && qp->send_head != qp->send_issued) { // perhaps done, but not yet looked at
            sv_send_retire(qp);
            error = append(qp, wr);
        }
        if (error) {
            *bad = wr;
            break;
        }
    }
    if (base->state == IBV_QPS_ERR) sv_send_flush(qp, IBV_WC_WR_FLUSH_ERR);
    else sv_send_progress(qp);
    pthread_mutex_unlock(&qp->lock);
    return error;
}
