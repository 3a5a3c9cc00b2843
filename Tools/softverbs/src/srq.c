// Shared receive queues.
#include "softverbs.h"

static _Atomic int srq_count;
static _Atomic uint32_t srq_numbers = 1;

SV_EXPORT struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *init) {
    if (init->attr.max_wr < 1 || init->attr.max_wr > (uint32_t)sv_config.max_srq_wr ||
        init->attr.max_sge > (uint32_t)sv_config.max_sge || atomic_load(&srq_count) >= sv_config.max_srq) {
        errno = EINVAL;
        return NULL;
    }
    struct sv_srq *srq = calloc(1, sizeof *srq);
    if (!srq || sv_receive_queue_open(&srq->queue, init->attr.max_wr, init->attr.max_sge)) {
        free(srq);
        errno = ENOMEM;
        return NULL;
    }
    srq->srq.context = pd->context;
    srq->srq.srq_context = init->srq_context;
    srq->srq.pd = pd;
    srq->number = srq->srq.handle = atomic_fetch_add(&srq_numbers, 1);
    srq->limit = init->attr.srq_limit;
    init->attr.max_sge = srq->queue.max_sge;
    pthread_mutex_init(&srq->srq.mutex, NULL);
    pthread_cond_init(&srq->srq.cond, NULL);
    pthread_mutex_init(&srq->lock, NULL);
    pthread_mutex_init(&srq->list_lock, NULL);
    atomic_fetch_add(&((struct sv_pd *)pd)->users, 1);
    atomic_fetch_add(&srq_count, 1);
    return &srq->srq;
}

struct ibv_srq *sv_create_srq_ex(struct ibv_context *context, struct ibv_srq_init_attr_ex *attributes) {
    (void)context, (void)attributes;
    errno = EOPNOTSUPP; // XRC and tag matching
    return NULL;
}

int sv_get_srq_num(struct ibv_srq *srq, uint32_t *number) {
    *number = sv_srq(srq)->number;
    return 0;
}

SV_EXPORT int ibv_modify_srq(struct ibv_srq *base, struct ibv_srq_attr *attributes, int mask) {
    struct sv_srq *srq = sv_srq(base);
    int error = 0;
    bool reached = false;
    pthread_mutex_lock(&srq->lock);
    if (mask & IBV_SRQ_MAX_WR) {
        struct sv_receive_queue *old = &srq->queue, new;
        if (attributes->max_wr < old->tail - old->head || attributes->max_wr > (uint32_t)sv_config.max_srq_wr)
            error = EINVAL;
        else error = sv_receive_queue_open(&new, attributes->max_wr, old->max_sge);
        if (!error) {
            for (; old->head != old->tail; old->head++, new.tail++) {
                uint32_t from = old->head & old->mask, to = new.tail & new.mask;
                new.entries[to] = old->entries[from];
                memcpy(&new.sges[(size_t)to * new.max_sge], &old->sges[(size_t)from * new.max_sge],
                       sizeof *new.sges * new.max_sge);
            }
            sv_receive_queue_close(old);
            srq->queue = new;
        }
    }
    if (!error && mask & IBV_SRQ_LIMIT) {
        if (attributes->srq_limit > srq->queue.capacity) {
            error = EINVAL;
        } else {
            srq->limit = attributes->srq_limit;
            reached = srq->limit && srq->queue.tail - srq->queue.head < srq->limit;
            if (reached) srq->limit = 0;
        }
    }
    pthread_mutex_unlock(&srq->lock);
    if (reached) sv_async_post(base->context, IBV_EVENT_SRQ_LIMIT_REACHED, base);
    return error;
}

SV_EXPORT int ibv_query_srq(struct ibv_srq *base, struct ibv_srq_attr *attributes) {
    struct sv_srq *srq = sv_srq(base);
    pthread_mutex_lock(&srq->lock);
    *attributes = (struct ibv_srq_attr){srq->queue.capacity, srq->queue.max_sge, srq->limit};
    pthread_mutex_unlock(&srq->lock);
    return 0;
}

SV_EXPORT int ibv_destroy_srq(struct ibv_srq *base) {
    struct sv_srq *srq = sv_srq(base);
    if (srq->users) return EBUSY;
    sv_async_drop(base->context, base);
    pthread_mutex_lock(&base->mutex);
    while (base->events_completed != srq->reported_async) pthread_cond_wait(&base->cond, &base->mutex);
    pthread_mutex_unlock(&base->mutex);
    sv_receive_queue_close(&srq->queue);
    atomic_fetch_sub(&((struct sv_pd *)base->pd)->users, 1);
    atomic_fetch_sub(&srq_count, 1);
    free(srq);
    return 0;
}
