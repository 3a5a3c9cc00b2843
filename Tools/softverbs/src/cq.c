// Completion queues.
//
// Messages and acknowledgements wait in the shared rings of the queue pairs until somebody takes them: whoever polls the
// queue, or, once it is armed, the progress thread. The doorbell tells which queue pairs have something.
#include "softverbs.h"

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sv_cq *table[SV_MAX_CQ];
static uint32_t next_index, in_use;

enum {
    POLLS_BEFORE_STALL_CHECK = 512,
    STALL_NS = 200000, // a message that the peer has not taken for so long: its progress thread is asked
};

// ---- Creation

static uint32_t power_of_two(uint32_t value) {
    uint32_t power = 1;
    while (power < value) power *= 2;
    return power;
}

static struct sv_cq *create(struct ibv_context *context, uint32_t size, void *cq_context,
                            struct ibv_comp_channel *channel, int vector) {
    int error = 0;
    if (size < 1 || size > (uint32_t)sv_config.max_cqe || vector < 0 || vector >= context->num_comp_vectors)
        error = EINVAL;
    struct sv_cq *cq = error ? NULL : aligned_alloc(alignof(struct sv_cq), sizeof *cq);
    if (cq) {
        memset(cq, 0, sizeof *cq);
        cq->size = size;
        cq->capacity = power_of_two(size);
        cq->entries = calloc(cq->capacity, sizeof *cq->entries);
    }
    if (!cq || !cq->entries) {
        free(cq);
        errno = error ? error : ENOMEM;
        return NULL;
    }
    cq->cq.context = context;
    cq->cq.channel = channel;
    cq->cq.cq_context = cq_context;
    cq->cq.cqe = (int)size;
    pthread_mutex_init(&cq->cq.mutex, NULL);
    pthread_cond_init(&cq->cq.cond, NULL);
    pthread_mutex_init(&cq->lock, NULL);
    pthread_mutex_init(&cq->list_lock, NULL);

    pthread_mutex_lock(&table_lock);
    bool full = in_use >= (uint32_t)sv_config.max_cq;
    if (!full) {
        while (table[next_index]) next_index = (next_index + 1) % SV_MAX_CQ;
        cq->index = next_index;
        next_index = (next_index + 1) % SV_MAX_CQ;
        cq->cq.handle = cq->index;
        cq->shared = &sv_process.segment->cqs[cq->index];
        atomic_store(&cq->shared->doorbell, 0);
        atomic_store(&cq->shared->kick_wanted, 0);
        table[cq->index] = cq;
        in_use++;
    }
    pthread_mutex_unlock(&table_lock);
    if (full) {
        free(cq->entries);
        free(cq);
        errno = ENOMEM;
        return NULL;
    }
    if (channel) {
        pthread_mutex_lock(&((struct sv_channel *)channel)->lock);
        channel->refcnt++;
        pthread_mutex_unlock(&((struct sv_channel *)channel)->lock);
    }
    return cq;
}

SV_EXPORT struct ibv_cq *ibv_create_cq(struct ibv_context *context, int size, void *cq_context,
                                       struct ibv_comp_channel *channel, int vector) {
    if (size < 1) {
        errno = EINVAL;
        return NULL;
    }
    struct sv_cq *cq = create(context, (uint32_t)size, cq_context, channel, vector);
    return cq ? (struct ibv_cq *)&cq->cq : NULL;
}

SV_EXPORT int ibv_destroy_cq(struct ibv_cq *base) {
    struct sv_cq *cq = sv_cq(base);
    if (atomic_load(&cq->users)) return EBUSY;
    pthread_mutex_lock(&table_lock);
    table[cq->index] = NULL;
    in_use--;
    pthread_mutex_unlock(&table_lock);

    uint32_t reported = sv_channel_forget(cq);
    sv_async_drop(base->context, base);
    pthread_mutex_lock(&base->mutex);
    while (base->comp_events_completed != reported || base->async_events_completed != cq->reported_async)
        pthread_cond_wait(&base->cond, &base->mutex);
    pthread_mutex_unlock(&base->mutex);
    free(cq->entries);
    free(cq);
    return 0;
}

SV_EXPORT int ibv_resize_cq(struct ibv_cq *base, int size) {
    struct sv_cq *cq = sv_cq(base);
    if (size < 1 || size > sv_config.max_cqe) return EINVAL;
    uint32_t capacity = power_of_two((uint32_t)size);
    struct ibv_wc *entries = calloc(capacity, sizeof *entries);
    if (!entries) return ENOMEM;
    pthread_mutex_lock(&cq->lock);
    uint32_t head = cq->head, count = cq->tail - head;
    int error = count > (uint32_t)size ? EINVAL : 0;
    struct ibv_wc *old = cq->entries;
    if (!error) {
        for (uint32_t i = 0; i < count; i++) entries[i] = old[(head + i) & (cq->capacity - 1)];
        cq->entries = entries;
        cq->capacity = capacity;
        cq->size = (uint32_t)size;
        base->cqe = size;
        cq->head = 0;
        cq->tail = count;
    }
    pthread_mutex_unlock(&cq->lock);
    free(error ? entries : old);
    return error;
}

int sv_modify_cq(struct ibv_cq *cq, struct ibv_modify_cq_attr *attributes) {
    (void)cq, (void)attributes;
    return EOPNOTSUPP; // no moderation
}

void sv_cq_attach(struct sv_cq *cq, struct sv_cq_link *link, struct sv_qp *qp) {
    link->qp = qp;
    atomic_fetch_add(&cq->users, 1);
    pthread_mutex_lock(&cq->list_lock);
    link->next = cq->groups[qp->index % 64];
    cq->groups[qp->index % 64] = link;
    pthread_mutex_unlock(&cq->list_lock);
}

void sv_cq_detach(struct sv_cq *cq, struct sv_qp *qp) {
    pthread_mutex_lock(&cq->list_lock);
    for (struct sv_cq_link **place = &cq->groups[qp->index % 64]; *place; place = &(*place)->next)
        if ((*place)->qp == qp) {
            *place = (*place)->next;
            break;
        }
    pthread_mutex_unlock(&cq->list_lock);
    atomic_fetch_sub(&cq->users, 1);
}

void sv_cq_purge(struct sv_cq *cq, uint32_t queue_pair) {
    pthread_mutex_lock(&cq->lock);
    uint32_t mask = cq->capacity - 1, to = cq->head;
    for (uint32_t from = cq->head; from != cq->tail; from++)
        if (cq->entries[from & mask].qp_num != queue_pair) cq->entries[to++ & mask] = cq->entries[from & mask];
    cq->tail = to;
    pthread_mutex_unlock(&cq->lock);
}

// ---- Completions

void sv_cq_push(struct sv_cq *cq, const struct ibv_wc *wc, bool solicited) {
    bool notify = false, overrun = false;
    pthread_mutex_lock(&cq->lock);
    if (cq->tail - cq->head >= cq->size) {
        overrun = !cq->overrun;
        cq->overrun = true;
    } else {
        cq->entries[cq->tail & (cq->capacity - 1)] = *wc;
        atomic_store_explicit(&cq->tail, cq->tail + 1, memory_order_release);
        if (cq->armed == 1 || (cq->armed == 2 && (solicited || wc->status != IBV_WC_SUCCESS))) {
            cq->armed = 0;
            notify = true;
        }
    }
    pthread_mutex_unlock(&cq->lock);
    if (notify) sv_channel_notify(cq);
    if (overrun) {
        sv_log("completion queue %u overrun: more than %u completions", cq->index, cq->size);
        sv_async_post(cq->cq.context, IBV_EVENT_CQ_ERR, &cq->cq);
    }
}

// Takes what the doorbell announces. With the queue list locked.
static void progress_locked(struct sv_cq *cq) {
    uint64_t bits = atomic_exchange(&cq->shared->doorbell, 0);
    while (bits) {
        int bit = __builtin_ctzll(bits);
        bits &= bits - 1;
        for (struct sv_cq_link *link = cq->groups[bit]; link; link = link->next) sv_qp_progress(link->qp);
    }
}

void sv_cq_progress_all(void) {
    pthread_mutex_lock(&table_lock);
    for (uint32_t i = 0; i < SV_MAX_CQ; i++) {
        struct sv_cq *cq = table[i];
        if (!cq) continue;
        if (atomic_load(&cq->shared->doorbell)) {
            pthread_mutex_lock(&cq->list_lock);
            progress_locked(cq);
            pthread_mutex_unlock(&cq->list_lock);
        }
        // Who rang consumed the wish to be woken. While the queue is armed it stands.
        pthread_mutex_lock(&cq->lock);
        bool armed = cq->armed;
        pthread_mutex_unlock(&cq->lock);
        if (armed) {
            atomic_store(&cq->shared->kick_wanted, 1);
            if (atomic_load(&cq->shared->doorbell)) i--; // rung in between, perhaps without a kick
        }
    }
    pthread_mutex_unlock(&table_lock);
}

// Nothing arrived for long: a peer that neither polls nor sleeps armed has to be woken to take our messages, which an
// adapter would have delivered without it.
static void check_stall(struct sv_cq *cq) {
    uint64_t now = sv_now();
    if (pthread_mutex_trylock(&cq->list_lock)) return;
    bool waiting = false;
    for (int group = 0; group < 64; group++)
        for (struct sv_cq_link *link = cq->groups[group]; link; link = link->next) {
            if (!sv_qp_awaits_peer(link->qp)) continue;
            waiting = true;
            if (cq->stall_since && now - cq->stall_since > STALL_NS) sv_peer_kick(link->qp->peer);
        }
    if (!waiting) cq->stall_since = 0;
    else if (!cq->stall_since || now - cq->stall_since > STALL_NS) cq->stall_since = now;
    pthread_mutex_unlock(&cq->list_lock);
}

int sv_poll_cq(struct ibv_cq *base, int count, struct ibv_wc *wc) {
    struct sv_cq *cq = sv_cq(base);
    if (atomic_load_explicit(&cq->shared->doorbell, memory_order_relaxed) && !pthread_mutex_trylock(&cq->list_lock)) {
        progress_locked(cq);
        pthread_mutex_unlock(&cq->list_lock);
    }
    if (atomic_load_explicit(&cq->tail, memory_order_relaxed) == atomic_load_explicit(&cq->head, memory_order_relaxed)) {
        if (cq->overrun) return -1;
        if (++cq->empty_polls % POLLS_BEFORE_STALL_CHECK == 0) check_stall(cq);
        return 0;
    }
    int taken = 0;
    pthread_mutex_lock(&cq->lock);
    uint32_t head = cq->head, tail = cq->tail;
    while (taken < count && head != tail) wc[taken++] = cq->entries[head++ & (cq->capacity - 1)];
    cq->head = head;
    pthread_mutex_unlock(&cq->lock);
    cq->stall_since = 0;
    return taken;
}

int sv_req_notify_cq(struct ibv_cq *base, int solicited_only) {
    struct sv_cq *cq = sv_cq(base);
    // What arrived before the call does not notify.
    pthread_mutex_lock(&cq->list_lock);
    if (atomic_load(&cq->shared->doorbell)) progress_locked(cq);
    pthread_mutex_lock(&cq->lock);
    if (cq->armed != 1) cq->armed = solicited_only ? 2 : 1; // the wider wish stands
    pthread_mutex_unlock(&cq->lock);
    atomic_store(&cq->shared->kick_wanted, 1);
    if (atomic_load(&cq->shared->doorbell)) progress_locked(cq);
    bool waiting = false;
    for (int group = 0; group < 64 && !waiting && atomic_load(&cq->waiting); group++)
        for (struct sv_cq_link *link = cq->groups[group]; link && !waiting; link = link->next)
            waiting = sv_qp_awaits_peer(link->qp);
    pthread_mutex_unlock(&cq->list_lock);
    if (waiting) sv_progress_tick();
    return 0;
}

// ---- Extended polling

static int next_poll(struct ibv_cq_ex *base) {
    struct sv_cq *cq = sv_cq((struct ibv_cq *)base);
    int count = sv_poll_cq((struct ibv_cq *)base, 1, &cq->current);
    if (count < 1) return count < 0 ? EIO : ENOENT;
    base->status = cq->current.status;
    base->wr_id = cq->current.wr_id;
    return 0;
}
static int start_poll(struct ibv_cq_ex *cq, struct ibv_poll_cq_attr *attributes) {
    return attributes->comp_mask ? EINVAL : next_poll(cq);
}
static struct ibv_wc *current(struct ibv_cq_ex *cq) { return &sv_cq((struct ibv_cq *)cq)->current; }
static void end_poll(struct ibv_cq_ex *cq) { (void)cq; }
static enum ibv_wc_opcode read_opcode(struct ibv_cq_ex *cq) { return current(cq)->opcode; }
static uint32_t read_vendor_err(struct ibv_cq_ex *cq) { return current(cq)->vendor_err; }
static uint32_t read_byte_len(struct ibv_cq_ex *cq) { return current(cq)->byte_len; }
static __be32 read_imm_data(struct ibv_cq_ex *cq) { return current(cq)->imm_data; }
static uint32_t read_qp_num(struct ibv_cq_ex *cq) { return current(cq)->qp_num; }
static uint32_t read_src_qp(struct ibv_cq_ex *cq) { return current(cq)->src_qp; }
static unsigned read_wc_flags(struct ibv_cq_ex *cq) { return current(cq)->wc_flags; }
static uint32_t read_slid(struct ibv_cq_ex *cq) { return current(cq)->slid; }
static uint8_t read_sl(struct ibv_cq_ex *cq) { return current(cq)->sl; }
static uint8_t read_dlid(struct ibv_cq_ex *cq) { return current(cq)->dlid_path_bits; }
static uint64_t read_timestamp(struct ibv_cq_ex *cq) {
    (void)cq;
    return sv_now(); // of the poll, not of the arrival
}

struct ibv_cq_ex *sv_create_cq_ex(struct ibv_context *context, struct ibv_cq_init_attr_ex *attributes) {
    uint64_t known = IBV_WC_STANDARD_FLAGS | IBV_WC_EX_WITH_COMPLETION_TIMESTAMP;
    if (attributes->wc_flags & ~known || attributes->comp_mask & ~(uint32_t)IBV_CQ_INIT_ATTR_MASK_FLAGS) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    struct sv_cq *cq = create(context, attributes->cqe, attributes->cq_context, attributes->channel,
                              (int)attributes->comp_vector);
    if (!cq) return NULL;
    cq->cq.start_poll = start_poll;
    cq->cq.next_poll = next_poll;
    cq->cq.end_poll = end_poll;
    cq->cq.read_opcode = read_opcode;
    cq->cq.read_vendor_err = read_vendor_err;
    cq->cq.read_byte_len = read_byte_len;
    cq->cq.read_imm_data = read_imm_data;
    cq->cq.read_qp_num = read_qp_num;
    cq->cq.read_src_qp = read_src_qp;
    cq->cq.read_wc_flags = read_wc_flags;
    cq->cq.read_slid = read_slid;
    cq->cq.read_sl = read_sl;
    cq->cq.read_dlid_path_bits = read_dlid;
    cq->cq.read_completion_ts = read_timestamp;
    return &cq->cq;
}
