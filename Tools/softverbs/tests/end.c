#include "end.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

const struct end_options end_defaults = {
    .send_wr = 64, .recv_wr = 64, .sge = 4, .inline_data = 128, .cqe = 512,
    .access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
    .qp_access = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
    .max_rd_atomic = 4, .max_dest_rd_atomic = 4, .rnr_retry = 7, .min_rnr_timer = 12, .timeout = 10, .retry_cnt = 3,
    .signal_all = 1, .channel = 0,
};

struct end_local {
    struct end_options options;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_qp *qp;
    struct ibv_mr *mr;
    uint8_t *memory;
};

struct ibv_qp *end_local_qp(struct end_local *local) { return local->qp; }
struct ibv_cq *end_local_cq(struct end_local *local) { return local->cq; }
struct ibv_pd *end_local_pd(struct end_local *local) { return local->pd; }
struct ibv_mr *end_local_mr(struct end_local *local) { return local->mr; }
struct ibv_context *end_local_context(struct end_local *local) { return local->context; }
struct ibv_srq *end_local_srq(struct end_local *local) { return local->srq; }

#define need(pointer, what) ({ __typeof__(pointer) need_p = (pointer); if (!need_p) bail("%s: %s", what, strerror(errno)); need_p; })

struct end_local *end_local_open(const struct end_options *options) {
    struct end_local *local = calloc(1, sizeof *local);
    local->options = *options;
    struct ibv_device **list = need(ibv_get_device_list(NULL), "device list");
    local->context = need(ibv_open_device(need(list[0], "device")), "open");
    ibv_free_device_list(list);
    fcntl(local->context->async_fd, F_SETFL, O_NONBLOCK);
    local->pd = need(ibv_alloc_pd(local->context), "PD");
    if (options->channel) {
        local->channel = need(ibv_create_comp_channel(local->context), "channel");
        fcntl(local->channel->fd, F_SETFL, O_NONBLOCK);
    }
    local->cq = need(ibv_create_cq(local->context, (int)options->cqe, local, local->channel, 0), "CQ");
    if (options->srq_wr) {
        struct ibv_srq_init_attr init = {.attr = {.max_wr = options->srq_wr, .max_sge = options->sge}};
        local->srq = need(ibv_create_srq(local->pd, &init), "SRQ");
    }
    struct ibv_qp_init_attr init = {
        .send_cq = local->cq, .recv_cq = local->cq, .srq = local->srq, .qp_type = IBV_QPT_RC,
        .sq_sig_all = options->signal_all,
        .cap = {options->send_wr, options->recv_wr, options->sge, options->sge, options->inline_data}};
    local->qp = need(ibv_create_qp(local->pd, &init), "QP");
    local->memory = mmap(NULL, END_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    local->mr = need(ibv_reg_mr(local->pd, local->memory, END_MEMORY, (int)options->access), "MR");
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_INIT, .port_num = 1, .qp_access_flags = options->qp_access};
    if (ibv_modify_qp(local->qp, &attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
        bail("INIT");
    return local;
}

static int local_close(struct end_local *local) {
    int error = ibv_destroy_qp(local->qp);
    if (local->srq) error |= ibv_destroy_srq(local->srq);
    if (local->mr) error |= ibv_dereg_mr(local->mr);
    error |= ibv_destroy_cq(local->cq);
    if (local->channel) error |= ibv_destroy_comp_channel(local->channel);
    error |= ibv_dealloc_pd(local->pd);
    error |= ibv_close_device(local->context);
    if (local->memory) munmap(local->memory, END_MEMORY);
    free(local);
    return error;
}

static int local_connect(struct end_local *local, uint32_t qp_num) {
    struct end_options *o = &local->options;
    struct ibv_qp_attr attributes = {
        .qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_4096, .dest_qp_num = qp_num, .rq_psn = 7,
        .max_dest_rd_atomic = o->max_dest_rd_atomic, .min_rnr_timer = o->min_rnr_timer,
        .ah_attr = {.port_num = 1, .is_global = 1, .grh = {.hop_limit = 1}}};
    if (ibv_query_gid(local->context, 1, 0, &attributes.ah_attr.grh.dgid)) return errno;
    int error = ibv_modify_qp(local->qp, &attributes, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                              IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    if (error) return error;
    attributes = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .sq_psn = 7, .timeout = o->timeout,
                                      .retry_cnt = o->retry_cnt, .rnr_retry = o->rnr_retry,
                                      .max_rd_atomic = o->max_rd_atomic};
    return ibv_modify_qp(local->qp, &attributes, IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                         IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

static int local_send(struct end_local *local, const struct end_request *r) {
    uint32_t pieces = r->pieces ? r->pieces : 1;
    struct ibv_sge sges[32];
    uint64_t at = (uintptr_t)local->memory + r->offset;
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t size = i + 1 < pieces ? r->length / pieces : r->length - r->length / pieces * (pieces - 1);
        sges[i] = (struct ibv_sge){at, size, r->swap == UINT64_MAX ? 0x12345 : local->mr ? local->mr->lkey : 0};
        at += size;
    }
    struct ibv_send_wr wr = {.wr_id = r->wr_id, .sg_list = sges, .num_sge = (int)pieces,
                             .opcode = (enum ibv_wr_opcode)r->opcode, .send_flags = r->flags, .imm_data = r->immediate};
    if (r->length == 0) wr.num_sge = 0;
    if (wr.opcode == IBV_WR_ATOMIC_CMP_AND_SWP || wr.opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
        wr.wr.atomic.remote_addr = r->remote;
        wr.wr.atomic.rkey = r->key;
        wr.wr.atomic.compare_add = r->compare;
        wr.wr.atomic.swap = r->swap;
    } else {
        wr.wr.rdma.remote_addr = r->remote;
        wr.wr.rdma.rkey = r->key;
    }
    struct ibv_send_wr *bad;
    return ibv_post_send(local->qp, &wr, &bad);
}

static struct end_reply local_do(struct end_local *local, const struct end_request *r) {
    struct end_reply reply = {0};
    struct ibv_qp_init_attr init;
    struct ibv_qp_attr attributes = {0};
    switch (r->command) {
    case END_CONNECT: reply.result = local_connect(local, r->qp_num); break;
    case END_RECV: {
        struct ibv_sge sge = {(uintptr_t)local->memory + r->offset, r->length, r->key ? r->key : local->mr->lkey};
        struct ibv_recv_wr wr = {.wr_id = r->wr_id, .sg_list = &sge, .num_sge = r->length ? 1 : 0}, *bad;
        reply.result = local->srq ? ibv_post_srq_recv(local->srq, &wr, &bad) : ibv_post_recv(local->qp, &wr, &bad);
        break;
    }
    case END_SEND: reply.result = local_send(local, r); break;
    case END_POLL: reply.result = ibv_poll_cq(local->cq, 1, &reply.wc); break;
    case END_MODIFY:
        attributes.qp_state = (enum ibv_qp_state)r->opcode;
        reply.result = ibv_modify_qp(local->qp, &attributes, IBV_QP_STATE);
        break;
    case END_STATE:
        reply.result = ibv_query_qp(local->qp, &attributes, IBV_QP_STATE, &init) ? -1 : (int)attributes.qp_state;
        break;
    case END_DEREG:
        reply.result = ibv_dereg_mr(local->mr);
        local->mr = NULL;
        break;
    case END_REREG:
        local->mr = ibv_reg_mr(local->pd, local->memory + r->offset, r->length, (int)r->flags);
        reply.result = local->mr ? 0 : errno;
        reply.key = local->mr ? local->mr->rkey : 0;
        break;
    case END_READ: memcpy(reply.data, local->memory + r->offset, r->length); break;
    case END_WRITE: memcpy(local->memory + r->offset, r->data, r->length); break;
    case END_ASYNC: {
        struct ibv_async_event event;
        reply.result = -1;
        if (ibv_get_async_event(local->context, &event) == 0) {
            reply.result = event.event_type;
            ibv_ack_async_event(&event);
        }
        break;
    }
    case END_NOTIFY: reply.result = ibv_req_notify_cq(local->cq, (int)r->flags); break;
    case END_EVENT: {
        struct ibv_cq *cq;
        void *context;
        reply.result = ibv_get_cq_event(local->channel, &cq, &context);
        if (!reply.result) {
            reply.result = cq == local->cq && context == local ? 0 : -2;
            ibv_ack_cq_events(cq, 1);
        }
        break;
    }
    case END_LIMIT: {
        struct ibv_srq_attr limit = {.srq_limit = r->length};
        reply.result = ibv_modify_srq(local->srq, &limit, IBV_SRQ_LIMIT);
        break;
    }
    case END_UNMAP:
        munmap(local->memory, END_MEMORY);
        local->memory = NULL;
        break;
    default: reply.result = EINVAL;
    }
    return reply;
}

static void child(int fd) {
    struct end_local *local = NULL;
    struct end_request request;
    while (recv(fd, &request, sizeof request, 0) == sizeof request) {
        struct end_reply reply = {0};
        if (request.command == END_OPEN) {
            local = end_local_open(&request.options);
            reply.qp_num = local->qp->qp_num;
            reply.key = local->mr->rkey;
            reply.memory = (uintptr_t)local->memory;
        } else if (request.command == END_EXIT) {
            reply.result = local_close(local);
            local = NULL;
        } else if (request.command == END_KILL) {
            raise(SIGKILL);
        } else {
            reply = local_do(local, &request);
        }
        send(fd, &reply, sizeof reply, MSG_NOSIGNAL);
    }
    _exit(0);
}

static int spare[64], spare_count;
static pid_t spare_pids[64];

void end_prepare(int children) {
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < children; i++) {
        int pair[2];
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
        pid_t pid = fork();
        if (pid == 0) {
            close(pair[0]);
            for (int j = 0; j < spare_count; j++) close(spare[j]);
            child(pair[1]);
        }
        close(pair[1]);
        spare_pids[spare_count] = pid;
        spare[spare_count++] = pair[0];
    }
}

void end_start(struct end *end, struct end_request request) {
    if (send(end->fd, &request, sizeof request, MSG_NOSIGNAL) < 0) bail("the child is gone");
}

struct end_reply end_finish(struct end *end) {
    struct end_reply reply = {.result = -1};
    if (recv(end->fd, &reply, sizeof reply, 0) != sizeof reply) reply.result = -1;
    return reply;
}

struct end_reply end_do(struct end *end, struct end_request request) {
    if (end->local) return local_do(end->local, &request);
    if (send(end->fd, &request, sizeof request, MSG_NOSIGNAL) < 0) return (struct end_reply){.result = -1};
    return end_finish(end);
}

void end_open(struct end *end, bool remote, const struct end_options *options) {
    *end = (struct end){.fd = -1};
    if (!remote) {
        end->local = end_local_open(options);
        end->qp_num = end->local->qp->qp_num;
        end->key = end->local->mr->rkey;
        end->memory = (uintptr_t)end->local->memory;
        return;
    }
    if (!spare_count) bail("no child left");
    end->fd = spare[--spare_count];
    end->pid = spare_pids[spare_count];
    struct end_reply reply = end_do(end, (struct end_request){.command = END_OPEN, .options = *options});
    end->qp_num = reply.qp_num;
    end->key = reply.key;
    end->memory = reply.memory;
}

void end_close(struct end *end) {
    if (end->local) {
        if (local_close(end->local)) ok(false, "the end closes");
        end->local = NULL;
        return;
    }
    if (end->fd < 0) return;
    if (end_do(end, (struct end_request){.command = END_EXIT}).result) ok(false, "the end closes");
    spare_pids[spare_count] = end->pid;
    spare[spare_count++] = end->fd;
    end->fd = -1;
}

void end_connect(struct end *one, struct end *other) {
    int first = end_do(one, (struct end_request){.command = END_CONNECT, .qp_num = other->qp_num}).result;
    int second = end_do(other, (struct end_request){.command = END_CONNECT, .qp_num = one->qp_num}).result;
    if (first || second) bail("connect: %s, %s", strerror(first), strerror(second));
}

int end_recv(struct end *end, uint64_t wr_id, uint64_t offset, uint32_t length) {
    return end_do(end, (struct end_request){.command = END_RECV, .wr_id = wr_id, .offset = offset, .length = length}).result;
}
int end_send(struct end *end, struct end_request request) {
    request.command = END_SEND;
    return end_do(end, request).result;
}
bool end_poll(struct end *end, struct ibv_wc *wc) {
    struct end_reply reply = end_do(end, (struct end_request){.command = END_POLL});
    *wc = reply.wc;
    return reply.result == 1;
}
bool end_wait(struct end *end, struct ibv_wc *wc) {
    *wc = (struct ibv_wc){.status = (enum ibv_wc_status)-1};
    return eventually(1000, end_poll(end, wc));
}
int end_state(struct end *end) { return end_do(end, (struct end_request){.command = END_STATE}).result; }
int end_modify(struct end *end, enum ibv_qp_state state) {
    return end_do(end, (struct end_request){.command = END_MODIFY, .opcode = state}).result;
}
void end_fill(struct end *end, uint64_t offset, const void *data, uint32_t length) {
    while (length > 0) {
        struct end_request request = {.command = END_WRITE, .offset = offset, .length = length < 256 ? length : 256};
        memcpy(request.data, data, request.length);
        end_do(end, request);
        offset += request.length, length -= request.length, data = (const char *)data + request.length;
    }
}
bool end_holds(struct end *end, uint64_t offset, const void *data, uint32_t length) {
    while (length > 0) {
        struct end_request request = {.command = END_READ, .offset = offset, .length = length < 256 ? length : 256};
        struct end_reply reply = end_do(end, request);
        if (memcmp(reply.data, data, request.length)) return false;
        offset += request.length, length -= request.length, data = (const char *)data + request.length;
    }
    return true;
}
int end_async(struct end *end) { return end_do(end, (struct end_request){.command = END_ASYNC}).result; }
