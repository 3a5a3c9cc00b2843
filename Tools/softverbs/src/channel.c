// Completion channels.
#include "softverbs.h"

#include <unistd.h>

SV_EXPORT struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context) {
    struct sv_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return NULL;
    channel->channel.context = context;
    channel->channel.fd = sv_signal_open();
    if (channel->channel.fd < 0) {
        int error = errno;
        free(channel);
        errno = error;
        return NULL;
    }
    pthread_mutex_init(&channel->lock, NULL);
    return &channel->channel;
}

SV_EXPORT int ibv_destroy_comp_channel(struct ibv_comp_channel *base) {
    struct sv_channel *channel = (struct sv_channel *)base;
    pthread_mutex_lock(&channel->lock);
    bool busy = base->refcnt > 0;
    pthread_mutex_unlock(&channel->lock);
    if (busy) return EBUSY;
    close(base->fd);
    pthread_mutex_destroy(&channel->lock);
    free(channel);
    return 0;
}

static void append(struct sv_channel *channel, struct sv_cq *cq) {
    cq->next_event = NULL;
    if (channel->tail) channel->tail->next_event = cq;
    else channel->head = cq;
    channel->tail = cq;
}

void sv_channel_notify(struct sv_cq *cq) {
    struct sv_channel *channel = (struct sv_channel *)cq->cq.channel;
    if (!channel) return;
    pthread_mutex_lock(&channel->lock);
    if (cq->queued_events++ == 0) append(channel, cq);
    pthread_mutex_unlock(&channel->lock);
    sv_signal_post(channel->channel.fd);
}

SV_EXPORT int ibv_get_cq_event(struct ibv_comp_channel *base, struct ibv_cq **result, void **cq_context) {
    struct sv_channel *channel = (struct sv_channel *)base;
    for (;;) {
        if (sv_signal_wait(base->fd) < 0) return -1;
        pthread_mutex_lock(&channel->lock);
        struct sv_cq *cq = channel->head;
        if (cq) {
            channel->head = cq->next_event;
            if (!channel->head) channel->tail = NULL;
            if (--cq->queued_events > 0) append(channel, cq);
            cq->reported_events++;
            *result = (struct ibv_cq *)&cq->cq;
            *cq_context = cq->cq.cq_context;
        }
        pthread_mutex_unlock(&channel->lock);
        if (cq) return 0; // none: its completion queue is gone
    }
}

uint32_t sv_channel_forget(struct sv_cq *cq) {
    struct sv_channel *channel = (struct sv_channel *)cq->cq.channel;
    if (!channel) return 0;
    pthread_mutex_lock(&channel->lock);
    struct sv_cq *last = NULL;
    unsigned count = 0;
    for (struct sv_cq **place = &channel->head; *place;) {
        if (*place == cq) {
            *place = cq->next_event;
        } else {
            last = *place;
            count += last->queued_events;
            place = &(*place)->next_event;
        }
    }
    channel->tail = last;
    if (cq->queued_events) sv_signal_reset(channel->channel.fd, count);
    uint32_t reported = cq->reported_events;
    channel->channel.refcnt--;
    pthread_mutex_unlock(&channel->lock);
    return reported;
}

SV_EXPORT void ibv_ack_cq_events(struct ibv_cq *cq, unsigned count) {
    pthread_mutex_lock(&cq->mutex);
    cq->comp_events_completed += count;
    pthread_cond_signal(&cq->cond);
    pthread_mutex_unlock(&cq->mutex);
}
