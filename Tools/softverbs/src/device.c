// The one device, its contexts and what they answer.
#include "softverbs.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#undef ibv_query_port

enum { GUID_TAIL = 0x51 };
static const uint8_t guid[8] = {0x02, 0x73, 0x76, 0xff, 0xfe, 0x00, 0x00, GUID_TAIL};

struct ibv_device sv_device = {
    .node_type = IBV_NODE_CA,
    .transport_type = IBV_TRANSPORT_IB,
    .name = "softverbs0",
    .dev_name = "softverbs0",
    .dev_path = "/sys/class/infiniband_verbs/softverbs0",
    .ibdev_path = "/sys/class/infiniband/softverbs0",
};

static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sv_context *contexts;

SV_EXPORT struct ibv_device **ibv_get_device_list(int *count) {
    struct ibv_device **list = calloc(2, sizeof *list);
    if (!list) return NULL;
    bool present = sv_process_start() == 0 && !atomic_load(&sv_process.removed);
    if (present) list[0] = &sv_device;
    if (count) *count = present;
    return list;
}
SV_EXPORT void ibv_free_device_list(struct ibv_device **list) { free(list); }
SV_EXPORT const char *ibv_get_device_name(struct ibv_device *device) { return device->name; }
SV_EXPORT int ibv_get_device_index(struct ibv_device *device) { return device == &sv_device ? 1 : -1; }
SV_EXPORT __be64 ibv_get_device_guid(struct ibv_device *device) {
    __be64 value = 0;
    if (device == &sv_device) memcpy(&value, guid, sizeof value);
    return value;
}

const struct ibv_context_ops sv_context_ops = {
    .alloc_mw = sv_alloc_mw,
    .bind_mw = sv_bind_mw,
    .dealloc_mw = sv_dealloc_mw,
    .poll_cq = sv_poll_cq,
    .req_notify_cq = sv_req_notify_cq,
    .post_srq_recv = sv_post_srq_recv,
    .post_send = sv_post_send,
    .post_recv = sv_post_recv,
};

SV_EXPORT struct ibv_context *ibv_open_device(struct ibv_device *device) {
    if (device != &sv_device) {
        errno = ENODEV;
        return NULL;
    }
    int error = sv_process_start();
    if (!error && atomic_load(&sv_process.removed)) error = ENODEV;
    struct sv_context *context = error ? NULL : calloc(1, sizeof *context);
    if (!context) {
        errno = error ? error : ENOMEM;
        return NULL;
    }
    pthread_mutex_init(&context->async_lock, NULL);
    struct verbs_context *verbs = &context->verbs;
    verbs->sz = sizeof *verbs;
    verbs->query_port = sv_query_port;
    verbs->query_device_ex = sv_query_device_ex;
    verbs->query_rt_values = sv_query_rt_values;
    verbs->create_cq_ex = sv_create_cq_ex;
    verbs->modify_cq = sv_modify_cq;
    verbs->create_qp_ex = sv_create_qp_ex;
    verbs->create_srq_ex = sv_create_srq_ex;
    verbs->get_srq_num = sv_get_srq_num;
    struct ibv_context *base = &verbs->context;
    base->device = device;
    base->ops = sv_context_ops;
    base->cmd_fd = sv_signal_open();
    base->async_fd = sv_signal_open();
    base->num_comp_vectors = 64;
    base->abi_compat = __VERBS_ABI_IS_EXTENDED;
    pthread_mutex_init(&base->mutex, NULL);
    if (base->cmd_fd < 0 || base->async_fd < 0) {
        error = errno;
        if (base->cmd_fd >= 0) close(base->cmd_fd);
        free(context);
        errno = error;
        return NULL;
    }
    pthread_mutex_lock(&contexts_lock);
    context->next = contexts;
    contexts = context;
    pthread_mutex_unlock(&contexts_lock);
    return base;
}

SV_EXPORT int ibv_close_device(struct ibv_context *base) {
    struct sv_context *context = sv_context(base);
    pthread_mutex_lock(&contexts_lock);
    for (struct sv_context **place = &contexts; *place; place = &(*place)->next)
        if (*place == context) {
            *place = context->next;
            break;
        }
    pthread_mutex_unlock(&contexts_lock);
    close(base->cmd_fd);
    close(base->async_fd);
    for (struct sv_async *event = context->async_head, *next; event; event = next) {
        next = event->next;
        free(event);
    }
    free(context);
    return 0;
}

SV_EXPORT struct ibv_context *ibv_import_device(int fd) {
    (void)fd;
    errno = EOPNOTSUPP;
    return NULL;
}
SV_EXPORT struct ibv_pd *ibv_import_pd(struct ibv_context *context, uint32_t handle) {
    (void)context, (void)handle;
    errno = EOPNOTSUPP;
    return NULL;
}
SV_EXPORT void ibv_unimport_pd(struct ibv_pd *pd) { (void)pd; }
SV_EXPORT struct ibv_mr *ibv_import_mr(struct ibv_pd *pd, uint32_t handle) {
    (void)pd, (void)handle;
    errno = EOPNOTSUPP;
    return NULL;
}
SV_EXPORT void ibv_unimport_mr(struct ibv_mr *mr) { (void)mr; }
SV_EXPORT struct ibv_dm *ibv_import_dm(struct ibv_context *context, uint32_t handle) {
    (void)context, (void)handle;
    errno = EOPNOTSUPP;
    return NULL;
}
SV_EXPORT void ibv_unimport_dm(struct ibv_dm *dm) { (void)dm; }

void sv_device_fatal(void) {
    pthread_mutex_lock(&contexts_lock);
    for (struct sv_context *context = contexts; context; context = context->next) {
        sv_async_post(&context->verbs.context, IBV_EVENT_PORT_ERR, NULL);
        sv_async_post(&context->verbs.context, IBV_EVENT_DEVICE_FATAL, NULL);
    }
    pthread_mutex_unlock(&contexts_lock);
}

// ---- What the device can do

SV_EXPORT int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attributes) {
    (void)context;
    *attributes = (struct ibv_device_attr){
        .fw_ver = "1.0",
        .max_mr_size = UINT64_MAX,
        .page_size_cap = 0xfffff000,
        .max_qp = sv_config.max_qp,
        .max_qp_wr = sv_config.max_qp_wr,
        .device_cap_flags = IBV_DEVICE_RC_RNR_NAK_GEN | IBV_DEVICE_SRQ_RESIZE | IBV_DEVICE_CURR_QP_STATE_MOD |
                            IBV_DEVICE_MEM_WINDOW | IBV_DEVICE_MEM_MGT_EXTENSIONS | IBV_DEVICE_MEM_WINDOW_TYPE_2B |
                            IBV_DEVICE_PORT_ACTIVE_EVENT | IBV_DEVICE_SYS_IMAGE_GUID,
        .max_sge = sv_config.max_sge,
        .max_sge_rd = sv_config.max_sge_rd,
        .max_cq = sv_config.max_cq,
        .max_cqe = sv_config.max_cqe,
        .max_mr = sv_config.max_mr,
        .max_pd = sv_config.max_pd,
        .max_qp_rd_atom = sv_config.max_rd_atom,
        .max_res_rd_atom = sv_config.max_rd_atom * sv_config.max_qp,
        .max_qp_init_rd_atom = sv_config.max_rd_atom,
        .atomic_cap = IBV_ATOMIC_GLOB,
        .max_mw = sv_config.max_mr,
        .max_srq = sv_config.max_srq,
        .max_srq_wr = sv_config.max_srq_wr,
        .max_srq_sge = sv_config.max_sge,
        .max_pkeys = 1,
        .local_ca_ack_delay = 15,
        .phys_port_cnt = 1,
    };
    memcpy(&attributes->node_guid, guid, sizeof guid);
    memcpy(&attributes->sys_image_guid, guid, sizeof guid);
    return 0;
}

int sv_query_device_ex(struct ibv_context *context, const struct ibv_query_device_ex_input *input,
                       struct ibv_device_attr_ex *attributes, size_t size) {
    (void)input;
    struct ibv_device_attr_ex full = {.phys_port_cnt_ex = 1, .completion_timestamp_mask = UINT64_MAX,
                                      .hca_core_clock = 1000000}; // kHz: nanoseconds
    ibv_query_device(context, &full.orig_attr);
    full.device_cap_flags_ex = full.orig_attr.device_cap_flags;
    if (size < sizeof full.orig_attr) return EINVAL;
    memcpy(attributes, &full, size < sizeof full ? size : sizeof full);
    return 0;
}

int sv_query_rt_values(struct ibv_context *context, struct ibv_values_ex *values) {
    (void)context;
    if (values->comp_mask & IBV_VALUES_MASK_RAW_CLOCK) clock_gettime(CLOCK_MONOTONIC, &values->raw_clock);
    values->comp_mask &= IBV_VALUES_MASK_RAW_CLOCK;
    return 0;
}

static int gids(union ibv_gid *table, uint32_t *interfaces, int capacity) {
    struct ifaddrs *list;
    int count = 0;
    if (getifaddrs(&list) < 0) return 0;
    // Loopback first: it is always there, and always at index 0.
    for (int loopback = 1; loopback >= 0; loopback--)
        for (struct ifaddrs *entry = list; entry && count < capacity; entry = entry->ifa_next) {
            if (!entry->ifa_addr || !(entry->ifa_flags & IFF_UP)) continue;
            if (!!(entry->ifa_flags & IFF_LOOPBACK) != loopback) continue;
            union ibv_gid gid = {.raw = {[10] = 0xff, [11] = 0xff}};
            if (entry->ifa_addr->sa_family == AF_INET)
                memcpy(gid.raw + 12, &((struct sockaddr_in *)entry->ifa_addr)->sin_addr, 4);
            else if (entry->ifa_addr->sa_family == AF_INET6)
                memcpy(gid.raw, &((struct sockaddr_in6 *)entry->ifa_addr)->sin6_addr, 16);
            else continue;
            if (interfaces) interfaces[count] = if_nametoindex(entry->ifa_name);
            table[count++] = gid;
        }
    freeifaddrs(list);
    return count;
}

enum { MAX_GIDS = 128 };

bool sv_gid_is_local(const union ibv_gid *gid) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (!memcmp(gid->raw, mapped, 12) && gid->raw[12] == 127) return true;
    union ibv_gid table[MAX_GIDS];
    int count = gids(table, NULL, MAX_GIDS);
    for (int i = 0; i < count; i++)
        if (!memcmp(&table[i], gid, sizeof *gid)) return true;
    return false;
}

int sv_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes, size_t length) {
    (void)context;
    if (port != 1) return EINVAL;
    bool removed = atomic_load(&sv_process.removed);
    struct ibv_port_attr full = {
        .state = removed ? IBV_PORT_DOWN : IBV_PORT_ACTIVE,
        .max_mtu = IBV_MTU_4096,
        .active_mtu = IBV_MTU_4096,
        .gid_tbl_len = MAX_GIDS,
        .port_cap_flags = IBV_PORT_CM_SUP | IBV_PORT_IP_BASED_GIDS,
        .max_msg_sz = 1u << 31,
        .pkey_tbl_len = 1,
        .max_vl_num = 1,
        .active_width = 2, // 4X
        .active_speed = 32, // EDR
        .phys_state = removed ? 3 : 5, // disabled, link up
        .link_layer = IBV_LINK_LAYER_ETHERNET,
    };
    memset(attributes, 0, length);
    memcpy(attributes, &full, length < sizeof full ? length : sizeof full);
    return 0;
}

// Programs built against headers older than libibverbs 27 come here, and expect the structure to end before `flags`.
SV_EXPORT int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *attributes) {
    return sv_query_port(context, port, (struct ibv_port_attr *)attributes, offsetof(struct ibv_port_attr, flags));
}

SV_EXPORT int ibv_query_gid(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid) {
    (void)context;
    union ibv_gid table[MAX_GIDS];
    if (port != 1 || index < 0 || index >= MAX_GIDS) {
        errno = EINVAL;
        return -1;
    }
    int count = gids(table, NULL, MAX_GIDS);
    if (index < count) *gid = table[index];
    else memset(gid, 0, sizeof *gid);
    return 0;
}

SV_EXPORT int _ibv_query_gid_ex(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry,
                                uint32_t flags, size_t size) {
    (void)context;
    union ibv_gid table[MAX_GIDS];
    uint32_t interfaces[MAX_GIDS];
    if (port != 1 || flags) return EINVAL;
    int count = gids(table, interfaces, MAX_GIDS);
    if (index >= (uint32_t)count) return ENODATA;
    struct ibv_gid_entry full = {.gid = table[index], .gid_index = index, .port_num = 1,
                                 .gid_type = IBV_GID_TYPE_ROCE_V2, .ndev_ifindex = interfaces[index]};
    memcpy(entry, &full, size < sizeof full ? size : sizeof full);
    return 0;
}

SV_EXPORT ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t capacity,
                                       uint32_t flags, size_t size) {
    size_t count = 0;
    while (count < capacity) {
        struct ibv_gid_entry *entry = (struct ibv_gid_entry *)((char *)entries + count * size);
        int error = _ibv_query_gid_ex(context, 1, (uint32_t)count, entry, flags, size);
        if (error == ENODATA) break;
        if (error) return -error;
        count++;
    }
    return (ssize_t)count;
}

// Private to libibverbs and its utilities: 0 is InfiniBand or RoCE v1, 1 is RoCE v2.
SV_EXPORT int ibv_query_gid_type(struct ibv_context *context, uint8_t port, unsigned index, int *type) {
    (void)context, (void)port, (void)index;
    *type = 1;
    return 0;
}

SV_EXPORT int ibv_query_pkey(struct ibv_context *context, uint8_t port, int index, __be16 *pkey) {
    (void)context;
    if (port != 1 || index != 0) {
        errno = EINVAL;
        return -1;
    }
    *pkey = htons(0xffff);
    return 0;
}

SV_EXPORT int ibv_get_pkey_index(struct ibv_context *context, uint8_t port, __be16 pkey) {
    (void)context;
    if (port == 1 && pkey == htons(0xffff)) return 0;
    errno = ENOENT;
    return -1;
}

SV_EXPORT int ibv_read_sysfs_file(const char *folder, const char *file, char *buffer, size_t size) {
    (void)folder, (void)file, (void)buffer, (void)size;
    errno = ENOENT; // this device has no sysfs folder
    return -1;
}

SV_EXPORT int ibv_fork_init(void) { return 0; }
SV_EXPORT enum ibv_fork_status ibv_is_fork_initialized(void) { return IBV_FORK_UNNEEDED; }
