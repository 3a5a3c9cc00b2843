// The ibv_wr_* interface: collects requests between wr_start and wr_complete, then posts them.
#include "softverbs.h"

struct sv_wr_builder {
    struct ibv_send_wr *requests;
    struct ibv_sge *sges; // max_sge per request
    uint8_t *inline_data; // max_inline per request
    uint32_t capacity, count, max_sge, max_inline;
    int error;
    uint64_t operations;
};

static struct sv_wr_builder *builder(struct ibv_qp_ex *qp) { return sv_qp(&qp->qp_base)->builder; }

static struct ibv_send_wr *begin(struct ibv_qp_ex *qp, enum ibv_wr_opcode opcode) {
    static _Thread_local struct ibv_send_wr discarded;
    struct sv_wr_builder *b = builder(qp);
    if (b->count == b->capacity) {
        b->error = ENOMEM;
        return &discarded;
    }
    struct ibv_send_wr *wr = &b->requests[b->count];
    *wr = (struct ibv_send_wr){.wr_id = qp->wr_id, .opcode = opcode, .send_flags = qp->wr_flags,
                               .sg_list = &b->sges[(size_t)b->count * b->max_sge]};
    b->count++;
    return wr;
}

static struct ibv_send_wr *last(struct ibv_qp_ex *qp) {
    struct sv_wr_builder *b = builder(qp);
    if (b->count == 0) {
        b->error = EINVAL;
        return NULL;
    }
    return &b->requests[b->count - 1];
}

static void wr_start(struct ibv_qp_ex *qp) {
    builder(qp)->count = 0;
    builder(qp)->error = 0;
}
static void wr_abort(struct ibv_qp_ex *qp) { builder(qp)->count = 0; }
static int wr_complete(struct ibv_qp_ex *qp) {
    struct sv_wr_builder *b = builder(qp);
    if (b->error || b->count == 0) return b->error;
    for (uint32_t i = 0; i + 1 < b->count; i++) b->requests[i].next = &b->requests[i + 1];
    struct ibv_send_wr *bad;
    int error = ibv_post_send(&qp->qp_base, b->requests, &bad);
    b->count = 0;
    return error;
}

static void wr_send(struct ibv_qp_ex *qp) { begin(qp, IBV_WR_SEND); }
static void wr_send_imm(struct ibv_qp_ex *qp, __be32 data) { begin(qp, IBV_WR_SEND_WITH_IMM)->imm_data = data; }
static void wr_send_inv(struct ibv_qp_ex *qp, uint32_t key) { begin(qp, IBV_WR_SEND_WITH_INV)->invalidate_rkey = key; }
static void wr_local_inv(struct ibv_qp_ex *qp, uint32_t key) { begin(qp, IBV_WR_LOCAL_INV)->invalidate_rkey = key; }
static struct ibv_send_wr *rdma(struct ibv_qp_ex *qp, enum ibv_wr_opcode opcode, uint32_t key, uint64_t address) {
    struct ibv_send_wr *wr = begin(qp, opcode);
    wr->wr.rdma.rkey = key;
    wr->wr.rdma.remote_addr = address;
    return wr;
}
static void wr_rdma_read(struct ibv_qp_ex *qp, uint32_t key, uint64_t address) {
    rdma(qp, IBV_WR_RDMA_READ, key, address);
}
static void wr_rdma_write(struct ibv_qp_ex *qp, uint32_t key, uint64_t address) {
    rdma(qp, IBV_WR_RDMA_WRITE, key, address);
}
static void wr_rdma_write_imm(struct ibv_qp_ex *qp, uint32_t key, uint64_t address, __be32 data) {
    rdma(qp, IBV_WR_RDMA_WRITE_WITH_IMM, key, address)->imm_data = data;
}
static void wr_atomic(struct ibv_qp_ex *qp, enum ibv_wr_opcode opcode, uint32_t key, uint64_t address, uint64_t compare,
                      uint64_t swap) {
    struct ibv_send_wr *wr = begin(qp, opcode);
    wr->wr.atomic.rkey = key;
    wr->wr.atomic.remote_addr = address;
    wr->wr.atomic.compare_add = compare;
    wr->wr.atomic.swap = swap;
}
static void wr_atomic_cmp_swp(struct ibv_qp_ex *qp, uint32_t key, uint64_t address, uint64_t compare, uint64_t swap) {
    wr_atomic(qp, IBV_WR_ATOMIC_CMP_AND_SWP, key, address, compare, swap);
}
static void wr_atomic_fetch_add(struct ibv_qp_ex *qp, uint32_t key, uint64_t address, uint64_t add) {
    wr_atomic(qp, IBV_WR_ATOMIC_FETCH_AND_ADD, key, address, add, 0);
}
static void wr_bind_mw(struct ibv_qp_ex *qp, struct ibv_mw *mw, uint32_t key, const struct ibv_mw_bind_info *info) {
    struct ibv_send_wr *wr = begin(qp, IBV_WR_BIND_MW);
    wr->bind_mw.mw = mw;
    wr->bind_mw.rkey = key;
    wr->bind_mw.bind_info = *info;
}

static void wr_set_sge_list(struct ibv_qp_ex *qp, size_t count, const struct ibv_sge *list) {
    struct ibv_send_wr *wr = last(qp);
    if (!wr) return;
    if (count > builder(qp)->max_sge) {
        builder(qp)->error = EINVAL;
        return;
    }
    memcpy(wr->sg_list, list, count * sizeof *list);
    wr->num_sge = (int)count;
}
static void wr_set_sge(struct ibv_qp_ex *qp, uint32_t key, uint64_t address, uint32_t length) {
    struct ibv_sge sge = {address, length, key};
    wr_set_sge_list(qp, 1, &sge);
}
static void wr_set_inline_data_list(struct ibv_qp_ex *qp, size_t count, const struct ibv_data_buf *list) {
    struct sv_wr_builder *b = builder(qp);
    struct ibv_send_wr *wr = last(qp);
    if (!wr) return;
    uint8_t *start = b->inline_data + (size_t)(b->count - 1) * b->max_inline;
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        if (list[i].length > b->max_inline - length) {
            b->error = EINVAL;
            return;
        }
        memcpy(start + length, list[i].addr, list[i].length);
        length += list[i].length;
    }
    wr->sg_list[0] = (struct ibv_sge){(uintptr_t)start, (uint32_t)length, 0};
    wr->num_sge = 1;
    wr->send_flags |= IBV_SEND_INLINE;
}
static void wr_set_inline_data(struct ibv_qp_ex *qp, void *address, size_t length) {
    struct ibv_data_buf data = {address, length};
    wr_set_inline_data_list(qp, 1, &data);
}

void sv_wr_close(struct sv_qp *qp) {
    if (!qp->builder) return;
    free(qp->builder->requests);
    free(qp->builder->sges);
    free(qp->builder->inline_data);
    free(qp->builder);
    qp->builder = NULL;
}

int sv_wr_open(struct sv_qp *qp, uint64_t operations) {
    uint64_t known = IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | IBV_QP_EX_WITH_SEND |
                     IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP |
                     IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD | IBV_QP_EX_WITH_LOCAL_INV | IBV_QP_EX_WITH_BIND_MW |
                     IBV_QP_EX_WITH_SEND_WITH_INV;
    if (operations & ~known) return EOPNOTSUPP;
    struct sv_wr_builder *b = qp->builder = calloc(1, sizeof *b);
    if (!b) return ENOMEM;
    b->capacity = qp->send_capacity;
    b->max_sge = qp->cap.max_send_sge;
    b->max_inline = qp->cap.max_inline_data;
    b->operations = operations;
    b->requests = calloc(b->capacity, sizeof *b->requests);
    b->sges = calloc((size_t)b->capacity * b->max_sge, sizeof *b->sges);
    b->inline_data = calloc(b->capacity, b->max_inline ? b->max_inline : 1);
    if (!b->requests || !b->sges || !b->inline_data) {
        sv_wr_close(qp);
        return ENOMEM;
    }
    struct ibv_qp_ex *ex = &qp->qp;
    ex->wr_start = wr_start;
    ex->wr_complete = wr_complete;
    ex->wr_abort = wr_abort;
    ex->wr_send = wr_send;
    ex->wr_send_imm = wr_send_imm;
    ex->wr_send_inv = wr_send_inv;
    ex->wr_local_inv = wr_local_inv;
    ex->wr_rdma_read = wr_rdma_read;
    ex->wr_rdma_write = wr_rdma_write;
    ex->wr_rdma_write_imm = wr_rdma_write_imm;
    ex->wr_atomic_cmp_swp = wr_atomic_cmp_swp;
    ex->wr_atomic_fetch_add = wr_atomic_fetch_add;
    ex->wr_bind_mw = wr_bind_mw;
    ex->wr_set_sge = wr_set_sge;
    ex->wr_set_sge_list = wr_set_sge_list;
    ex->wr_set_inline_data = wr_set_inline_data;
    ex->wr_set_inline_data_list = wr_set_inline_data_list;
    return 0;
}

SV_EXPORT struct ibv_qp_ex *ibv_qp_to_qp_ex(struct ibv_qp *qp) {
    return sv_qp(qp)->builder ? &sv_qp(qp)->qp : NULL;
}
