// The librdmacm calls for identifiers and addresses.
#include "cm.h"

#include <sys/socket.h>
#include <unistd.h>

pthread_mutex_t sv_cm_lock = PTHREAD_MUTEX_INITIALIZER;
struct sv_id *sv_cm_ids;
static uint64_t next_serial;
static struct ibv_context *device_context;
static struct ibv_pd *default_domain;

int sv_cm_start(void) {
    int error = sv_process_start();
    if (error) return error;
    static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&start_lock);
    if (!device_context) device_context = ibv_open_device(&sv_device);
    if (!device_context) error = errno;
    else if (!default_domain && !(default_domain = ibv_alloc_pd(device_context))) error = errno;
    pthread_mutex_unlock(&start_lock);
    return error;
}

struct ibv_context *sv_cm_context(void) { return device_context; }
struct ibv_pd *sv_cm_domain(void) { return default_domain; }

SV_EXPORT struct ibv_context **rdma_get_devices(int *count) {
    int error = sv_cm_start();
    struct ibv_context **list = error ? NULL : calloc(2, sizeof *list);
    if (!list) {
        if (count) *count = 0;
        errno = error ? error : ENOMEM;
        return NULL;
    }
    list[0] = device_context;
    if (count) *count = 1;
    return list;
}
SV_EXPORT void rdma_free_devices(struct ibv_context **list) { free(list); }

// ---- Identifiers

struct sv_id *sv_id_create(struct rdma_event_channel *channel, void *context, enum rdma_port_space space) {
    struct sv_id *id = calloc(1, sizeof *id);
    if (!id) return NULL;
    id->id.channel = channel;
    id->id.context = context;
    id->id.ps = space;
    id->id.qp_type = IBV_QPT_RC;
    id->name_fd = id->socket_fd = -1;
    id->ack_timeout = SV_ACK_TIMEOUT;
    pthread_cond_init(&id->acknowledged, NULL);
    id->serial = ++next_serial;
    id->next = sv_cm_ids;
    sv_cm_ids = id;
    return id;
}

void sv_id_free(struct sv_id *id) {
    for (struct sv_id **place = &sv_cm_ids; *place; place = &(*place)->next)
        if (*place == id) {
            *place = id->next;
            break;
        }
    for (struct sv_id *other = sv_cm_ids; other; other = other->next)
        if (other->listener == id) other->listener = NULL;
    if (id->name_fd >= 0) sv_progress_forget(id->name_fd), close(id->name_fd);
    if (id->socket_fd >= 0) sv_progress_forget(id->socket_fd), close(id->socket_fd);
    pthread_cond_destroy(&id->acknowledged);
    free(id->id.route.path_rec);
    free(id->ep_attributes);
    free(id->request);
    free(id);
}

void sv_id_use_device(struct sv_id *id) {
    id->id.verbs = device_context;
    id->id.port_num = 1;
    if (!id->id.pd) id->id.pd = default_domain;
}

SV_EXPORT int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **result, void *context,
                             enum rdma_port_space space) {
    int error = sv_cm_start();
    if (error) return sv_fail(error);
    if (space != RDMA_PS_TCP && space != RDMA_PS_IB) return sv_fail(EPROTONOSUPPORT); // datagrams
    bool sync = !channel;
    if (sync && !(channel = rdma_create_event_channel())) return -1;
    pthread_mutex_lock(&sv_cm_lock);
    struct sv_id *id = sv_id_create(channel, context, space);
    if (id) id->librdmacm.sync = sync;
    pthread_mutex_unlock(&sv_cm_lock);
    if (!id) {
        if (sync) rdma_destroy_event_channel(channel);
        return sv_fail(ENOMEM);
    }
    *result = &id->id;
    return 0;
}

SV_EXPORT int rdma_destroy_id(struct rdma_cm_id *base) {
    struct sv_id *id = sv_id(base);
    if (base->event) rdma_ack_cm_event(base->event), base->event = NULL;
    pthread_mutex_lock(&sv_cm_lock);
    if (id->state == SV_CM_REQUESTED) sv_cm_send(id, SV_CM_REJ, NULL, SV_REJECT_CONSUMER);
    if (id->state == SV_CM_CONNECTED || id->state == SV_CM_RESPONDED || id->state == SV_CM_ACCEPTED)
        sv_cm_send(id, SV_CM_DREQ, NULL, 0);
    if (id->state == SV_CM_LISTENING) id->state = SV_CM_BOUND; // no further requests
    if (id->socket_fd >= 0) sv_progress_forget(id->socket_fd), close(id->socket_fd), id->socket_fd = -1;
    free(id->request);
    id->request = NULL;
    id->deadline = id->timewait = 0;
    id->state = SV_CM_IDLE;
    sv_event_drop(id);
    while (id->events_completed != id->events_reported) pthread_cond_wait(&id->acknowledged, &sv_cm_lock);
    sv_event_drop(id);
    struct rdma_event_channel *channel = id->librdmacm.sync ? base->channel : NULL;
    sv_id_free(id);
    pthread_mutex_unlock(&sv_cm_lock);
    if (channel) rdma_destroy_event_channel(channel);
    return 0;
}

SV_EXPORT int rdma_set_option(struct rdma_cm_id *base, int level, int option, void *value, size_t length) {
    struct sv_id *id = sv_id(base);
    if (level == RDMA_OPTION_IB && option == RDMA_OPTION_IB_PATH) return 0; // there is one path
    if (level != RDMA_OPTION_ID) return sv_fail(ENOSYS);
    switch (option) {
    case RDMA_OPTION_ID_TOS: return length == 1 ? 0 : sv_fail(EINVAL);
    case RDMA_OPTION_ID_REUSEADDR: return length == sizeof(int) ? 0 : sv_fail(EINVAL); // ports are free at once
    case RDMA_OPTION_ID_AFONLY:
        if (length != sizeof(int) || id->state != SV_CM_IDLE) return sv_fail(EINVAL);
        id->afonly = *(int *)value;
        return 0;
    case RDMA_OPTION_ID_ACK_TIMEOUT:
        if (length != 1) return sv_fail(EINVAL);
        id->ack_timeout = *(uint8_t *)value & 31;
        return 0;
    default: return sv_fail(ENOSYS);
    }
}

// ---- Addresses

static bool is_local(const struct sockaddr *address) {
    struct sockaddr_storage copy = {0};
    memcpy(&copy, address, sv_address_length(address));
    *sv_port_of((struct sockaddr *)&copy) = 0;
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool local = bind(fd, (struct sockaddr *)&copy, sv_address_length(address)) == 0;
    close(fd);
    return local;
}

// The address from which this host would reach another. Connecting a datagram socket sends nothing.
static int source_for(const struct sockaddr *destination, struct sockaddr_storage *source) {
    int fd = socket(destination->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    struct sockaddr_storage copy = {0};
    memcpy(&copy, destination, sv_address_length(destination));
    if (!*sv_port_of((struct sockaddr *)&copy)) *sv_port_of((struct sockaddr *)&copy) = 1;
    socklen_t size = sizeof *source;
    int error = 0;
    if (connect(fd, (struct sockaddr *)&copy, sv_address_length(destination)) < 0 ||
        getsockname(fd, (struct sockaddr *)source, &size) < 0)
        error = errno;
    *sv_port_of((struct sockaddr *)source) = 0;
    close(fd);
    return error;
}

static void to_gid(const struct sockaddr *address, union ibv_gid *gid) {
    memset(gid, 0, sizeof *gid);
    if (address->sa_family == AF_INET6) {
        memcpy(gid, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof *gid);
    } else {
        gid->raw[10] = gid->raw[11] = 0xff;
        memcpy(gid->raw + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
    }
}

SV_EXPORT int rdma_bind_addr(struct rdma_cm_id *base, struct sockaddr *address) {
    struct sv_id *id = sv_id(base);
    if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return sv_fail(EAFNOSUPPORT);
    bool any = sv_address_is_any(address);
    if (!any && !is_local(address)) return sv_fail(EADDRNOTAVAIL);
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_IDLE ? EINVAL : 0;
    if (!error) {
        struct sockaddr_storage copy = {0};
        memcpy(&copy, address, sv_address_length(address));
        error = sv_cm_bind_name(id, (struct sockaddr *)&copy);
        if (!error) {
            base->route.addr.src_storage = copy;
            id->state = SV_CM_BOUND;
            if (!any) sv_id_use_device(id);
        }
    }
    pthread_mutex_unlock(&sv_cm_lock);
    return error ? sv_fail(error) : 0;
}

SV_EXPORT int rdma_resolve_addr(struct rdma_cm_id *base, struct sockaddr *source, struct sockaddr *destination,
                                int timeout_ms) {
    struct sv_id *id = sv_id(base);
    (void)timeout_ms;
    if (destination->sa_family != AF_INET && destination->sa_family != AF_INET6) return sv_fail(EAFNOSUPPORT);
    if (id->state != SV_CM_IDLE && id->state != SV_CM_BOUND) return sv_fail(EINVAL);
    if (id->state == SV_CM_IDLE && source && !sv_address_is_any(source) && rdma_bind_addr(base, source)) return -1;
    struct sockaddr_storage to = {0}, from = {0};
    memcpy(&to, destination, sv_address_length(destination));
    if (sv_address_is_any((struct sockaddr *)&to)) { // as the kernel does: the loopback
        if (to.ss_family == AF_INET6) ((struct sockaddr_in6 *)&to)->sin6_addr = in6addr_loopback;
        else ((struct sockaddr_in *)&to)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    int error = is_local((struct sockaddr *)&to) ? source_for((struct sockaddr *)&to, &from) : EHOSTUNREACH;
    pthread_mutex_lock(&sv_cm_lock);
    base->route.addr.dst_storage = to;
    if (error) {
        sv_event_post(id, RDMA_CM_EVENT_ADDR_ERROR, -error);
    } else {
        static uint16_t ephemeral;
        struct sockaddr_storage *mine = &base->route.addr.src_storage;
        if (id->state == SV_CM_IDLE || sv_address_is_any((struct sockaddr *)mine)) {
            __be16 port = id->state == SV_CM_IDLE ? htons((uint16_t)(32768 + (ephemeral++ + getpid()) % 28232))
                                                  : *sv_port_of((struct sockaddr *)mine);
            *mine = from;
            *sv_port_of((struct sockaddr *)mine) = port;
        }
        sv_id_use_device(id);
        to_gid((struct sockaddr *)mine, &base->route.addr.addr.ibaddr.sgid);
        to_gid((struct sockaddr *)&to, &base->route.addr.addr.ibaddr.dgid);
        base->route.addr.addr.ibaddr.pkey = htons(0xffff);
        id->state = SV_CM_ADDRESS;
        sv_event_post(id, RDMA_CM_EVENT_ADDR_RESOLVED, 0);
    }
    pthread_mutex_unlock(&sv_cm_lock);
    return id->librdmacm.sync ? sv_cm_complete(base) : 0;
}

SV_EXPORT int rdma_resolve_route(struct rdma_cm_id *base, int timeout_ms) {
    struct sv_id *id = sv_id(base);
    (void)timeout_ms;
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_ADDRESS ? EINVAL : 0;
    struct ibv_sa_path_rec *path = error ? NULL : calloc(1, sizeof *path);
    if (!error && !path) error = ENOMEM;
    if (!error) {
        path->sgid = base->route.addr.addr.ibaddr.sgid;
        path->dgid = base->route.addr.addr.ibaddr.dgid;
        path->pkey = base->route.addr.addr.ibaddr.pkey;
        path->mtu = IBV_MTU_4096;
        path->packet_life_time = SV_ACK_TIMEOUT - 1;
        free(base->route.path_rec);
        base->route.path_rec = path;
        base->route.num_paths = 1;
        id->state = SV_CM_ROUTE;
        sv_event_post(id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
    }
    pthread_mutex_unlock(&sv_cm_lock);
    if (error) return sv_fail(error);
    return id->librdmacm.sync ? sv_cm_complete(base) : 0;
}

SV_EXPORT __be16 rdma_get_src_port(struct rdma_cm_id *id) { return *sv_port_of(&id->route.addr.src_addr); }
SV_EXPORT __be16 rdma_get_dst_port(struct rdma_cm_id *id) { return *sv_port_of(&id->route.addr.dst_addr); }

SV_EXPORT int rdma_listen(struct rdma_cm_id *base, int backlog) {
    struct sv_id *id = sv_id(base);
    if (id->state == SV_CM_IDLE) {
        struct sockaddr_in any = {.sin_family = AF_INET};
        if (rdma_bind_addr(base, (struct sockaddr *)&any)) return -1;
    }
    pthread_mutex_lock(&sv_cm_lock);
    int error = id->state != SV_CM_BOUND && id->state != SV_CM_LISTENING ? EINVAL : 0;
    if (!error && listen(id->name_fd, 4096) < 0) error = errno;
    if (!error) {
        id->backlog = backlog > 0 && backlog < 1024 ? backlog : 1024;
        if (id->state == SV_CM_BOUND) {
            id->state = SV_CM_LISTENING;
            sv_progress_watch(id->name_fd, SV_SOURCE_CM_LISTENER, id->serial);
        }
    }
    pthread_mutex_unlock(&sv_cm_lock);
    return error ? sv_fail(error) : 0;
}
