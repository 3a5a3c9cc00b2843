// The connection manager between processes: names, sockets, messages, and what the progress thread does with them.
#include "cm.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool sv_address_is_any(const struct sockaddr *address) {
    if (address->sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return ((const struct sockaddr_in *)address)->sin_addr.s_addr == INADDR_ANY;
}

// ---- Names of bound addresses: softverbs/cm/SPACE/PORT/ADDRESS, where ADDRESS is *4, *6, *6o (IPv6 only), 4:... or 6:...

static socklen_t make_name(struct sockaddr_un *name, enum rdma_port_space space, unsigned port, const char *address) {
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "softverbs/cm/%x/%u/%s", (unsigned)space, port,
                          address);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static void address_text(const struct sockaddr *address, bool afonly, char text[64]) {
    bool six = address->sa_family == AF_INET6;
    if (sv_address_is_any(address)) {
        strcpy(text, six ? afonly ? "*6o" : "*6" : "*4");
        return;
    }
    text[0] = six ? '6' : '4';
    text[1] = ':';
    const void *raw = six ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                          : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    inet_ntop(address->sa_family, raw, text + 2, 62);
}

static bool conflicts(const char *one, const char *other) {
    bool wildcard = one[0] == '*' || other[0] == '*';
    if (!strcmp(one, other)) return true;
    if (!wildcard) return false;
    char family_one = one[0] == '*' ? one[1] : one[0], family_other = other[0] == '*' ? other[1] : other[0];
    return family_one == family_other || !strcmp(one, "*6") || !strcmp(other, "*6");
}

// Whether somebody else has bound the port at an address that includes ours, or is included in it.
static bool taken_by_other(enum rdma_port_space space, unsigned port, const char *mine) {
    char prefix[64], line[512];
    snprintf(prefix, sizeof prefix, "@softverbs/cm/%x/%u/", (unsigned)space, port);
    FILE *file = fopen("/proc/net/unix", "re");
    if (!file) return false;
    bool taken = false;
    while (!taken && fgets(line, sizeof line, file)) {
        char *found = strstr(line, prefix);
        if (!found) continue;
        char *theirs = found + strlen(prefix);
        theirs[strcspn(theirs, "\n@")] = 0;
        if (strcmp(theirs, mine)) taken = conflicts(theirs, mine);
    }
    fclose(file);
    return taken;
}

static int try_name(struct sv_id *id, const struct sockaddr *address, unsigned port) {
    char text[64];
    struct sockaddr_un name;
    address_text(address, id->afonly, text);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    int error = 0;
    if (bind(fd, (struct sockaddr *)&name, make_name(&name, id->id.ps, port, text)) < 0) error = errno;
    else if (taken_by_other(id->id.ps, port, text)) error = EADDRINUSE;
    if (error) close(fd);
    else id->name_fd = fd;
    return error;
}

int sv_cm_bind_name(struct sv_id *id, struct sockaddr *address) {
    unsigned port = ntohs(*sv_port_of(address));
    if (port) return try_name(id, address, port);
    enum { FIRST = 32768, COUNT = 28232 };
    static uint32_t next;
    if (!next) next = (uint32_t)sv_process.nonce;
    for (int round = 0; round < COUNT; round++) {
        port = FIRST + next++ % COUNT;
        int error = try_name(id, address, port);
        if (error == EADDRINUSE) continue;
        if (!error) *sv_port_of(address) = htons((uint16_t)port);
        return error;
    }
    return EADDRINUSE;
}

// A socket to whoever listens at the destination: 0 or errno.
static int open_socket(struct sv_id *id) {
    struct sockaddr *address = &id->id.route.addr.dst_addr;
    char texts[3][64];
    int count = 0;
    address_text(address, false, texts[count++]);
    if (address->sa_family == AF_INET) {
        strcpy(texts[count++], "*4");
        strcpy(texts[count++], "*6");
    } else {
        strcpy(texts[count++], "*6");
        strcpy(texts[count++], "*6o");
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    for (int i = 0; i < count; i++) {
        struct sockaddr_un name;
        socklen_t size = make_name(&name, id->id.ps, ntohs(*sv_port_of(address)), texts[i]);
        if (connect(fd, (struct sockaddr *)&name, size) == 0) {
            id->socket_fd = fd;
            return 0;
        }
        if (errno != ECONNREFUSED) break;
    }
    int error = errno;
    close(fd);
    return error;
}

static struct sv_cm_message make_message(struct sv_id *id, enum sv_cm_type type, const struct rdma_conn_param *parameters,
                                         uint8_t reason) {
    struct sv_cm_message message = {.magic = SV_MAGIC, .type = type, .reason = reason};
    if (parameters) {
        message.qp_num = id->id.qp ? id->id.qp->qp_num : parameters->qp_num;
        message.srq = id->id.qp ? id->id.qp->srq != NULL : parameters->srq;
        message.responder_resources = parameters->responder_resources;
        message.initiator_depth = parameters->initiator_depth;
        message.flow_control = parameters->flow_control;
        message.retry_count = parameters->retry_count & 7;
        message.rnr_retry_count = parameters->rnr_retry_count & 7;
        message.private_length = parameters->private_data_len;
        if (parameters->private_data_len)
            memcpy(message.private_data, parameters->private_data, parameters->private_data_len);
    }
    message.source = id->id.route.addr.src_storage;
    message.destination = id->id.route.addr.dst_storage;
    return message;
}

static int send_message(struct sv_id *id, const struct sv_cm_message *message) {
    return send(id->socket_fd, message, sizeof *message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof *message ? 0 : errno;
}

int sv_cm_send(struct sv_id *id, enum sv_cm_type type, const struct rdma_conn_param *parameters, uint8_t reason) {
    struct sv_cm_message message = make_message(id, type, parameters, reason);
    return send_message(id, &message);
}

// Tries to deliver the request: 0, EAGAIN while it is worth trying again, or why not.
static int deliver_request(struct sv_id *id) {
    int error = open_socket(id);
    if (!error) {
        error = send_message(id, id->request);
        if (!error) error = sv_progress_watch(id->socket_fd, SV_SOURCE_CM, id->serial) ? errno : 0;
        if (error) close(id->socket_fd), id->socket_fd = -1;
    }
    bool nobody = error == ECONNREFUSED || error == EPIPE || error == ECONNRESET;
    return nobody ? sv_now() < id->refused_at ? EAGAIN : ECONNREFUSED : error;
}

int sv_cm_request(struct sv_id *id, const struct rdma_conn_param *parameters) {
    id->request = malloc(sizeof *id->request);
    if (!id->request) return ENOMEM;
    *id->request = make_message(id, SV_CM_REQ, parameters, 0);
    id->state = SV_CM_CONNECTING;
    uint64_t now = sv_now();
    id->deadline = now + (uint64_t)sv_config.cm_timeout_ms * 1000000u;
    id->refused_at = now + (uint64_t)sv_config.cm_refuse_ms * 1000000u;
    sv_cm_try_request(id);
    sv_progress_tick();
    return 0;
}

void sv_cm_try_request(struct sv_id *id) {
    int error = deliver_request(id);
    if (error == EAGAIN) return; // a listener may come back, or take one more
    free(id->request);
    id->request = NULL;
    if (!error) return;
    id->state = SV_CM_ROUTE;
    id->deadline = 0;
    if (error == ECONNREFUSED)
        sv_event_post_message(id, id, RDMA_CM_EVENT_REJECTED, SV_REJECT_NO_LISTENER, NULL, SV_CM_REJECT_PRIVATE);
    else sv_event_post(id, RDMA_CM_EVENT_CONNECT_ERROR, -error);
}

// ---- The progress thread

static struct sv_id *find(uint64_t serial) {
    struct sv_id *id = sv_cm_ids;
    while (id && id->serial != serial) id = id->next;
    return id;
}

static void close_socket(struct sv_id *id) {
    if (id->socket_fd < 0) return;
    sv_progress_forget(id->socket_fd);
    close(id->socket_fd);
    id->socket_fd = -1;
}

void sv_cm_listener_readable(uint64_t serial) {
    pthread_mutex_lock(&sv_cm_lock);
    struct sv_id *listener = find(serial);
    int fd = listener ? accept4(listener->name_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd >= 0) {
        struct sv_id *id = sv_id_create(listener->id.channel, listener->id.context, listener->id.ps);
        if (id) {
            id->state = SV_CM_INCOMING;
            id->socket_fd = fd;
            id->listener = listener;
            sv_progress_watch(fd, SV_SOURCE_CM, id->serial);
        } else {
            close(fd);
        }
    }
    pthread_mutex_unlock(&sv_cm_lock);
}

static void take_agreement(struct sv_id *id, const struct sv_cm_message *message) {
    id->remote_qp = message->qp_num;
    id->responder_resources = message->initiator_depth;
    id->initiator_depth = message->responder_resources;
    id->rnr_retry_count = message->rnr_retry_count;
}

static void requested(struct sv_id *id, const struct sv_cm_message *message) {
    struct sv_id *listener = id->listener;
    if (!listener || listener->state != SV_CM_LISTENING || listener->pending >= listener->backlog ||
        atomic_load(&sv_process.removed)) {
        sv_cm_send(id, SV_CM_REJ, NULL, listener && listener->state == SV_CM_LISTENING ? SV_REJECT_CONSUMER
                                                                                        : SV_REJECT_NO_LISTENER);
        sv_id_free(id);
        return;
    }
    id->id.route.addr.src_storage = message->destination;
    id->id.route.addr.dst_storage = message->source;
    sv_id_use_device(id);
    take_agreement(id, message);
    id->retry_count = message->retry_count;
    id->state = SV_CM_REQUESTED;
    listener->pending++;
    if (!sv_event_post_message(id, listener, RDMA_CM_EVENT_CONNECT_REQUEST, 0, message, SV_CM_REQUEST_PRIVATE)) {
        listener->pending--;
        sv_id_free(id);
    }
}

void sv_cm_finish(struct sv_id *id, int status) {
    if (id->state == SV_CM_DISCONNECTED) return;
    id->state = SV_CM_DISCONNECTED;
    id->deadline = 0;
    id->timewait = sv_now() + SV_TIMEWAIT_MS * 1000000ull;
    sv_event_post(id, RDMA_CM_EVENT_DISCONNECTED, status);
    sv_progress_tick();
}

static void handle(struct sv_id *id, const struct sv_cm_message *message) {
    switch ((enum sv_cm_type)message->type) {
    case SV_CM_REQ:
        if (id->state == SV_CM_INCOMING) requested(id, message);
        break;
    case SV_CM_REP:
        if (id->state != SV_CM_CONNECTING) break;
        take_agreement(id, message);
        id->state = SV_CM_RESPONDED;
        id->deadline = 0;
        sv_event_post_message(id, id, RDMA_CM_EVENT_CONNECT_RESPONSE, 0, message, SV_CM_PRIVATE);
        break;
    case SV_CM_REJ:
        if (id->state == SV_CM_CONNECTING) {
            id->state = SV_CM_ROUTE; // may try again
        } else if (id->state == SV_CM_ACCEPTED || id->state == SV_CM_REQUESTED) {
            id->state = SV_CM_DISCONNECTED;
        } else {
            break;
        }
        id->deadline = 0;
        close_socket(id);
        sv_event_post_message(id, id, RDMA_CM_EVENT_REJECTED, message->reason, message, SV_CM_REJECT_PRIVATE);
        break;
    case SV_CM_RTU:
        if (id->state != SV_CM_ACCEPTED) break;
        id->state = SV_CM_CONNECTED;
        sv_event_post_message(id, id, RDMA_CM_EVENT_ESTABLISHED, 0, NULL, 0);
        break;
    case SV_CM_DREQ:
        sv_cm_send(id, SV_CM_DREP, NULL, 0);
        if (id->state >= SV_CM_CONNECTING) sv_cm_finish(id, 0);
        break;
    case SV_CM_DREP:
        if (id->state == SV_CM_DISCONNECTING) sv_cm_finish(id, 0);
        break;
    }
}

static void ended(struct sv_id *id) {
    close_socket(id);
    switch (id->state) {
    case SV_CM_INCOMING: sv_id_free(id); break;
    case SV_CM_CONNECTING:
        id->state = SV_CM_ROUTE;
        id->deadline = 0;
        sv_event_post_message(id, id, RDMA_CM_EVENT_REJECTED, SV_REJECT_CONSUMER, NULL, SV_CM_REJECT_PRIVATE);
        break;
    case SV_CM_REQUESTED:
    case SV_CM_ACCEPTED: {
        int reason = id->state == SV_CM_REQUESTED ? SV_REJECT_TIMEOUT : SV_REJECT_CONSUMER;
        id->state = SV_CM_DISCONNECTED;
        sv_event_post_message(id, id, RDMA_CM_EVENT_REJECTED, reason, NULL, SV_CM_REJECT_PRIVATE);
        break;
    }
    case SV_CM_RESPONDED:
    case SV_CM_CONNECTED:
    case SV_CM_DISCONNECTING: sv_cm_finish(id, 0); break;
    default: break;
    }
}

void sv_cm_readable(uint64_t serial) {
    pthread_mutex_lock(&sv_cm_lock);
    struct sv_id *id = find(serial);
    if (id && id->socket_fd >= 0) {
        struct sv_cm_message message;
        ssize_t size = recv(id->socket_fd, &message, sizeof message, MSG_DONTWAIT);
        if (size == sizeof message && message.magic == SV_MAGIC && message.private_length <= SV_CM_PRIVATE)
            handle(id, &message);
        else if (size >= 0 || (errno != EAGAIN && errno != EINTR && errno != ECONNRESET)) ended(id);
        // ECONNRESET comes before what is still queued: the end follows it
    }
    pthread_mutex_unlock(&sv_cm_lock);
}

bool sv_cm_tick(uint64_t now) {
    bool more = false;
    pthread_mutex_lock(&sv_cm_lock);
    for (struct sv_id *id = sv_cm_ids; id; id = id->next) {
        if (id->timewait && now >= id->timewait) {
            id->timewait = 0;
            sv_event_post(id, RDMA_CM_EVENT_TIMEWAIT_EXIT, 0);
        }
        if (id->request) sv_cm_try_request(id);
        if (id->deadline && now >= id->deadline) {
            id->deadline = 0;
            if (id->state == SV_CM_CONNECTING) {
                free(id->request);
                id->request = NULL;
                close_socket(id);
                id->state = SV_CM_ROUTE;
                sv_event_post(id, RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT);
            } else if (id->state == SV_CM_DISCONNECTING) {
                sv_cm_finish(id, -ETIMEDOUT);
            }
        }
        more |= id->timewait != 0 || id->deadline != 0;
    }
    pthread_mutex_unlock(&sv_cm_lock);
    return more;
}

void sv_cm_device_removed(void) {
    pthread_mutex_lock(&sv_cm_lock);
    for (struct sv_id *id = sv_cm_ids; id; id = id->next)
        if (id->id.verbs && id->state != SV_CM_INCOMING && !id->listener)
            sv_event_post(id, RDMA_CM_EVENT_DEVICE_REMOVAL, 0);
    pthread_mutex_unlock(&sv_cm_lock);
}

void sv_cm_close_all(void) {
    for (struct sv_id *id = sv_cm_ids; id; id = id->next) {
        if (id->name_fd >= 0) close(id->name_fd);
        if (id->socket_fd >= 0) close(id->socket_fd);
    }
}
