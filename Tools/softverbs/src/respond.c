// Remote access to memory: finding it, and the responder of what comes through the ring.
#include "softverbs.h"

uint64_t sv_remote_memory(struct sv_mr_shared *entry, uint32_t key, uint32_t domain, uint32_t queue_pair,
                          uint32_t access, uint64_t address, uint64_t length, bool *allowed) {
    *allowed = false;
    if (!key || atomic_load(&entry->key) != key || entry->domain != domain || (entry->access & access) != access) return 0;
    uint32_t bound = atomic_load(&entry->owner_qp);
    if (bound && bound != queue_pair) return 0;
    uint64_t offset = address - entry->iova;
    if (offset > entry->length || length > entry->length - offset) return 0;
    *allowed = true;
    return entry->address + offset;
}

// Does an atomic with the responder's own processor, so that it is atomic towards everybody.
static enum ibv_wc_status do_atomic(struct sv_slot *slot, uint64_t address) {
    struct sv_atomic request;
    memcpy(&request, slot->payload, sizeof request);
    _Atomic uint64_t *word = (_Atomic uint64_t *)(uintptr_t)address;
    uint64_t found = request.compare;
    if (request.is_add) found = atomic_fetch_add(word, request.compare);
    else atomic_compare_exchange_strong(word, &found, request.swap);
    request.compare = found;
    memcpy(slot->payload, &request, sizeof request);
    return IBV_WC_SUCCESS;
}

// Responder of READs, WRITEs and atomics that came through the ring. False if that failed.
bool sv_respond(struct sv_qp *qp, struct sv_slot *slot) {
    static const uint32_t needs[] = {[SV_SLOT_ATOMIC] = IBV_ACCESS_REMOTE_ATOMIC, [SV_SLOT_WRITE] = IBV_ACCESS_REMOTE_WRITE,
                                     [SV_SLOT_READ] = IBV_ACCESS_REMOTE_READ};
    if (slot->opcode > SV_SLOT_READ) return false;
    uint32_t access = needs[slot->opcode], key = slot->immediate, index = sv_key_index(key);
    uint64_t length = slot->opcode == SV_SLOT_ATOMIC ? 8 : slot->length;
    enum ibv_wc_status status = IBV_WC_SUCCESS;
    bool writes = slot->opcode == SV_SLOT_WRITE;
    if (!(qp->shared->access & access)) status = writes ? IBV_WC_REM_ACCESS_ERR : IBV_WC_REM_INV_REQ_ERR;
    else if (!writes && !qp->shared->max_dest_rd_atomic) status = IBV_WC_REM_INV_REQ_ERR;
    else if (slot->opcode == SV_SLOT_ATOMIC && slot->address % 8) status = IBV_WC_REM_INV_REQ_ERR;
    bool gone = false;
    if (status == IBV_WC_SUCCESS && length > 0) {
        bool allowed;
        atomic_store(&qp->shared->own_hazard, SV_HAZARD | index);
        uint64_t address = sv_remote_memory(&sv_process.segment->mrs[index], key, qp->domain, qp->qp.qp_base.qp_num, access,
                                         slot->address, length, &allowed);
        struct iovec piece = {(void *)(uintptr_t)address, length};
        if (!allowed) status = IBV_WC_REM_ACCESS_ERR;
        else if (slot->opcode == SV_SLOT_ATOMIC) status = do_atomic(slot, address);
        else gone = writes ? !sv_fetch(qp, slot, &piece, 1) : !sv_store(qp, slot, address);
        atomic_store_explicit(&qp->shared->own_hazard, 0, memory_order_release);
    }
    if (status == IBV_WC_SUCCESS && !gone) {
        qp->received++;
        return true;
    }
    if (gone) {
        sv_receive_lost(qp);
        return false;
    }
    sv_receive_refuse(qp, status);
    sv_async_post(qp->qp.qp_base.context, status == IBV_WC_REM_ACCESS_ERR ? IBV_EVENT_QP_ACCESS_ERR
                  : IBV_EVENT_QP_REQ_ERR, &qp->qp.qp_base);
    sv_qp_error_locked(qp, IBV_WC_WR_FLUSH_ERR);
    return false;
}
