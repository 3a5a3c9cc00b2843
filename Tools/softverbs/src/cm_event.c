// The librdmacm calls for event channels and events.
#include "cm.h"

#include <unistd.h>

SV_EXPORT struct rdma_event_channel *rdma_create_event_channel(void) {
    int error = sv_cm_start();
    struct sv_event_channel *channel = error ? NULL : calloc(1, sizeof *channel);
    if (!channel) {
        errno = error ? error : ENOMEM;
        return NULL;
    }
    channel->channel.fd = sv_signal_open();
    if (channel->channel.fd < 0) {
        error = errno;
        free(channel);
        errno = error;
        return NULL;
    }
    return &channel->channel;
}

SV_EXPORT void rdma_destroy_event_channel(struct rdma_event_channel *base) {
    struct sv_event_channel *channel = (struct sv_event_channel *)base;
    pthread_mutex_lock(&sv_cm_lock);
    for (struct sv_event *event = channel->head, *next; event; event = next) {
        next = event->next;
        free(event);
    }
    for (struct sv_id *id = sv_cm_ids; id; id = id->next)
        if (id->id.channel == base) id->id.channel = NULL; // events have nowhere to go
    pthread_mutex_unlock(&sv_cm_lock);
    close(base->fd);
    free(channel);
}

static void append(struct sv_event_channel *channel, struct sv_event *event) {
    event->next = NULL;
    if (channel->tail) channel->tail->next = event;
    else channel->head = event;
    channel->tail = event;
    sv_signal_post(channel->channel.fd);
}

struct sv_event *sv_event_post_message(struct sv_id *id, struct sv_id *counted, enum rdma_cm_event_type type, int status,
                                       const struct sv_cm_message *message, uint8_t private_length) {
    struct sv_event *event = counted->id.channel ? calloc(1, sizeof *event) : NULL;
    if (!event) return NULL;
    event->counted = counted;
    event->event.id = &id->id;
    event->event.listen_id = counted != id ? &counted->id : NULL;
    event->event.event = type;
    event->event.status = status;
    struct rdma_conn_param *parameters = &event->event.param.conn;
    if (message) {
        memcpy(event->private_data, message->private_data, message->private_length);
        parameters->responder_resources = message->initiator_depth; // the peer's view, turned round
        parameters->initiator_depth = message->responder_resources;
        parameters->flow_control = message->flow_control;
        parameters->retry_count = message->retry_count;
        parameters->rnr_retry_count = message->rnr_retry_count;
        parameters->srq = message->srq;
        parameters->qp_num = message->qp_num;
    }
    if (private_length) {
        parameters->private_data = event->private_data;
        parameters->private_data_len = private_length;
    }
    append((struct sv_event_channel *)counted->id.channel, event);
    return event;
}

struct sv_event *sv_event_post(struct sv_id *id, enum rdma_cm_event_type type, int status) {
    return sv_event_post_message(id, id, type, status, NULL, 0);
}

// Takes the queued events of an identifier out of its channel; the list of them.
static struct sv_event *extract(struct sv_id *id) {
    struct sv_event_channel *channel = (struct sv_event_channel *)id->id.channel;
    struct sv_event *taken = NULL, **taken_end = &taken, *last = NULL;
    unsigned count = 0;
    if (!channel) return NULL;
    for (struct sv_event **place = &channel->head; *place;) {
        struct sv_event *event = *place;
        if (event->counted == id || event->event.id == &id->id) {
            *place = event->next;
            event->next = NULL;
            *taken_end = event;
            taken_end = &event->next;
        } else {
            last = event;
            count++;
            place = &event->next;
        }
    }
    channel->tail = last;
    if (taken) sv_signal_reset(channel->channel.fd, count);
    return taken;
}

void sv_event_drop(struct sv_id *id) {
    for (struct sv_event *event = extract(id), *next; event; event = next) {
        next = event->next;
        if (event->event.event == RDMA_CM_EVENT_CONNECT_REQUEST && event->counted == id) {
            // Nobody will answer these.
            struct sv_id *request = sv_id(event->event.id);
            sv_cm_send(request, SV_CM_REJ, NULL, SV_REJECT_CONSUMER);
            sv_id_free(request);
        }
        free(event);
    }
}

SV_EXPORT int rdma_migrate_id(struct rdma_cm_id *base, struct rdma_event_channel *channel) {
    struct sv_id *id = sv_id(base);
    bool sync = !channel;
    if (id->librdmacm.sync && sync) return sv_fail(EINVAL);
    if (sync && !(channel = rdma_create_event_channel())) return -1;
    pthread_mutex_lock(&sv_cm_lock);
    struct rdma_event_channel *old = id->librdmacm.sync ? base->channel : NULL;
    struct sv_event *events = extract(id);
    base->channel = channel;
    id->librdmacm.sync = sync;
    for (struct sv_event *event = events, *next; event; event = next) {
        next = event->next;
        append((struct sv_event_channel *)channel, event);
    }
    // Nobody handles an event of the old channel any more when this returns.
    if (base->event && old) {
        pthread_mutex_unlock(&sv_cm_lock);
        rdma_ack_cm_event(base->event);
        base->event = NULL;
        pthread_mutex_lock(&sv_cm_lock);
    }
    while (id->events_completed != id->events_reported) pthread_cond_wait(&id->acknowledged, &sv_cm_lock);
    pthread_mutex_unlock(&sv_cm_lock);
    if (old) rdma_destroy_event_channel(old);
    return 0;
}

// What librdmacm does when it hands out an event. False if the application shall not see it.
static void process(struct sv_event *event) {
    struct sv_id *id = sv_id(event->event.id);
    switch (event->event.event) {
    case RDMA_CM_EVENT_CONNECT_RESPONSE: {
        if (!id->id.qp) break; // the application brings its queue pair up, then calls rdma_establish
        int error = sv_cm_modify_to_connected(id);
        pthread_mutex_lock(&sv_cm_lock);
        if (error) {
            event->event.event = RDMA_CM_EVENT_CONNECT_ERROR;
            event->event.status = -error;
            sv_cm_send(id, SV_CM_REJ, NULL, SV_REJECT_CONSUMER);
            id->state = SV_CM_DISCONNECTED;
        } else {
            event->event.event = RDMA_CM_EVENT_ESTABLISHED;
            if (id->state == SV_CM_RESPONDED) {
                id->state = SV_CM_CONNECTED;
                sv_cm_send(id, SV_CM_RTU, NULL, 0);
            }
        }
        pthread_mutex_unlock(&sv_cm_lock);
        break;
    }
    case RDMA_CM_EVENT_REJECTED: sv_cm_modify_to_error(id); break;
    default: break;
    }
}

SV_EXPORT int rdma_get_cm_event(struct rdma_event_channel *base, struct rdma_cm_event **result) {
    struct sv_event_channel *channel = (struct sv_event_channel *)base;
    for (;;) {
        if (sv_signal_wait(base->fd) < 0) return -1;
        pthread_mutex_lock(&sv_cm_lock);
        struct sv_event *event = channel->head;
        if (event) {
            channel->head = event->next;
            if (!channel->head) channel->tail = NULL;
            event->counted->events_reported++;
            if (event->event.event == RDMA_CM_EVENT_CONNECT_REQUEST) {
                sv_id(event->event.id)->listener = NULL; // it is the application's now
                event->counted->pending--;
            }
        }
        pthread_mutex_unlock(&sv_cm_lock);
        if (!event) continue;
        if (event->event.event == RDMA_CM_EVENT_CONNECT_REQUEST && event->counted->librdmacm.sync &&
            rdma_migrate_id(event->event.id, NULL))
            sv_log("a request without an event channel: %s", strerror(errno));
        process(event);
        *result = &event->event;
        return 0;
    }
}

SV_EXPORT int rdma_ack_cm_event(struct rdma_cm_event *base) {
    if (!base) return sv_fail(EINVAL);
    struct sv_event *event = sv_container(base, struct sv_event, event);
    pthread_mutex_lock(&sv_cm_lock);
    event->counted->events_completed++;
    pthread_cond_broadcast(&event->counted->acknowledged);
    pthread_mutex_unlock(&sv_cm_lock);
    free(event);
    return 0;
}
