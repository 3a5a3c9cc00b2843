// Asynchronous events.
#include "softverbs.h"

void sv_async_post(struct ibv_context *base, enum ibv_event_type type, void *element) {
    struct sv_context *context = sv_context(base);
    struct sv_async *event = calloc(1, sizeof *event);
    if (!event) return;
    event->event.event_type = type;
    if (element) event->event.element.qp = element;
    else event->event.element.port_num = 1;
    pthread_mutex_lock(&context->async_lock);
    if (context->async_tail) context->async_tail->next = event;
    else context->async_head = event;
    context->async_tail = event;
    pthread_mutex_unlock(&context->async_lock);
    sv_signal_post(base->async_fd);
}

// The element is being destroyed: nobody shall hear of it any more. A reader that was promised an event finds none and
// waits on.
void sv_async_drop(struct ibv_context *base, void *element) {
    struct sv_context *context = sv_context(base);
    pthread_mutex_lock(&context->async_lock);
    struct sv_async *last = NULL;
    unsigned count = 0;
    bool removed = false;
    for (struct sv_async **place = &context->async_head; *place;) {
        struct sv_async *event = *place;
        if ((void *)event->event.element.qp == element) {
            *place = event->next;
            free(event);
            removed = true;
        } else {
            last = event;
            count++;
            place = &event->next;
        }
    }
    context->async_tail = last;
    if (removed) sv_signal_reset(base->async_fd, count);
    pthread_mutex_unlock(&context->async_lock);
}

static uint32_t *reported(const struct ibv_async_event *event, pthread_mutex_t **mutex, pthread_cond_t **condition,
                          uint32_t **completed) {
    switch (event->event_type) {
    case IBV_EVENT_CQ_ERR:
        *mutex = &event->element.cq->mutex;
        *condition = &event->element.cq->cond;
        *completed = &event->element.cq->async_events_completed;
        return &sv_cq(event->element.cq)->reported_async;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
        *mutex = &event->element.qp->mutex;
        *condition = &event->element.qp->cond;
        *completed = &event->element.qp->events_completed;
        return &sv_qp(event->element.qp)->reported_async;
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_SRQ_LIMIT_REACHED:
        *mutex = &event->element.srq->mutex;
        *condition = &event->element.srq->cond;
        *completed = &event->element.srq->events_completed;
        return &sv_srq(event->element.srq)->reported_async;
    default:
        return NULL;
    }
}

SV_EXPORT int ibv_get_async_event(struct ibv_context *base, struct ibv_async_event *event) {
    struct sv_context *context = sv_context(base);
    for (;;) {
        if (sv_signal_wait(base->async_fd) < 0) return -1;
        pthread_mutex_lock(&context->async_lock);
        struct sv_async *first = context->async_head;
        if (first) {
            context->async_head = first->next;
            if (!first->next) context->async_tail = NULL;
            *event = first->event;
            pthread_mutex_t *mutex;
            pthread_cond_t *condition;
            uint32_t *completed, *count = reported(event, &mutex, &condition, &completed);
            if (count) ++*count; // under async_lock, as the element's destruction looks at it
        }
        pthread_mutex_unlock(&context->async_lock);
        if (first) {
            free(first);
            return 0;
        }
    }
}

SV_EXPORT void ibv_ack_async_event(struct ibv_async_event *event) {
    pthread_mutex_t *mutex;
    pthread_cond_t *condition;
    uint32_t *completed;
    if (!reported(event, &mutex, &condition, &completed)) return;
    pthread_mutex_lock(mutex);
    ++*completed;
    pthread_cond_signal(condition);
    pthread_mutex_unlock(mutex);
}
