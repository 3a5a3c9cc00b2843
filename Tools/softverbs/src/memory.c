// Protection domains, memory regions and windows. Regions live in the table that peers see, so that they can check keys
// themselves; a key is an index and a generation, which changes with each use of the entry.
#include "softverbs.h"

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t free_list[SV_MAX_MR]; // a ring: the entry freed last is used last
static uint32_t free_head, free_count, never_used = 1, in_use;
static uint16_t generations[SV_MAX_MR];
static _Atomic int domains;
static _Atomic uint32_t next_domain = 1;

static struct sv_mr_shared *entries(void) { return sv_process.segment->mrs; }

SV_EXPORT struct ibv_pd *ibv_alloc_pd(struct ibv_context *context) {
    if (atomic_fetch_add(&domains, 1) >= sv_config.max_pd) {
        atomic_fetch_sub(&domains, 1);
        errno = ENOMEM;
        return NULL;
    }
    struct sv_pd *pd = calloc(1, sizeof *pd);
    if (!pd) return NULL;
    pd->pd.context = context;
    pd->pd.handle = atomic_fetch_add(&next_domain, 1);
    return &pd->pd;
}

SV_EXPORT int ibv_dealloc_pd(struct ibv_pd *base) {
    struct sv_pd *pd = (struct sv_pd *)base;
    if (atomic_load(&pd->users)) return EBUSY;
    atomic_fetch_sub(&domains, 1);
    free(pd);
    return 0;
}

// An entry with a new key, or 0 and errno. The key is in place, but not yet published.
static uint32_t take_entry(void) {
    pthread_mutex_lock(&lock);
    uint32_t index = 0;
    if (in_use < (uint32_t)sv_config.max_mr) {
        // Entries rest as long as there are fresh ones within reach, so that stale keys are found out.
        if (never_used < SV_MAX_MR && free_count < 1024) {
            index = never_used++;
        } else if (free_count) {
            index = free_list[free_head % SV_MAX_MR];
            free_head++, free_count--;
        }
    }
    uint32_t key = 0;
    if (index) {
        in_use++;
        if (!generations[index]) generations[index] = (uint16_t)(sv_process.nonce >> 8 ^ index * 40503u);
        generations[index] = (uint16_t)((generations[index] + 1u) & ((1u << SV_KEY_BITS) - 1));
        key = index << SV_KEY_BITS | generations[index];
    } else {
        errno = ENOMEM;
    }
    pthread_mutex_unlock(&lock);
    return key;
}

static void return_entry(uint32_t index) {
    pthread_mutex_lock(&lock);
    free_list[(free_head + free_count) % SV_MAX_MR] = index;
    free_count++;
    in_use--;
    pthread_mutex_unlock(&lock);
}

static struct ibv_mr *register_region(struct ibv_pd *pd, void *address, size_t length, uint64_t iova, unsigned access) {
    if (sv_fault_registration()) {
        errno = ENOMEM;
        return NULL;
    }
    if (sv_fault_file_memory(address)) {
        errno = EFAULT;
        return NULL;
    }
    if ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) && !(access & IBV_ACCESS_LOCAL_WRITE)) {
        errno = EINVAL;
        return NULL;
    }
    if (access & IBV_ACCESS_ON_DEMAND) {
        errno = EOPNOTSUPP;
        return NULL;
    }
    if ((uintptr_t)address + length < (uintptr_t)address) {
        errno = EINVAL;
        return NULL;
    }
    uint32_t key = take_entry();
    if (!key) return NULL;
    struct ibv_mr *mr = calloc(1, sizeof *mr);
    if (!mr) {
        return_entry(sv_key_index(key));
        return NULL;
    }
    struct sv_mr_shared *entry = &entries()[sv_key_index(key)];
    entry->domain = pd->handle;
    entry->access = access;
    entry->address = (uintptr_t)address;
    entry->iova = access & IBV_ACCESS_ZERO_BASED ? 0 : iova;
    entry->length = length;
    entry->kind = SV_KIND_REGION;
    atomic_store(&entry->owner_qp, 0);
    atomic_store(&entry->key, key);
    atomic_fetch_add(&((struct sv_pd *)pd)->users, 1);
    *mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = address, .length = length,
                                 .handle = sv_key_index(key), .lkey = key, .rkey = key};
    return mr;
}

SV_EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *address, size_t length, int access) {
    return register_region(pd, address, length, (uintptr_t)address, (unsigned)access);
}
SV_EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *address, size_t length, uint64_t iova, int access) {
    return register_region(pd, address, length, iova, (unsigned)access);
}
SV_EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *address, size_t length, uint64_t iova,
                                          unsigned access) {
    return register_region(pd, address, length, iova, access);
}
SV_EXPORT struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova, int fd,
                                           int access) {
    (void)pd, (void)offset, (void)length, (void)iova, (void)fd, (void)access;
    errno = EOPNOTSUPP;
    return NULL;
}

// After this no access through the entry starts, and none is under way.
static void close_entry(uint32_t index) {
    atomic_store(&entries()[index].key, 0);
    sv_peer_quiesce_region(index);
}

SV_EXPORT int ibv_dereg_mr(struct ibv_mr *mr) {
    uint32_t index = mr->handle;
    close_entry(index);
    return_entry(index);
    atomic_fetch_sub(&((struct sv_pd *)mr->pd)->users, 1);
    free(mr);
    return 0;
}

SV_EXPORT int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *address, size_t length, int access) {
    if (flags & ~IBV_REREG_MR_FLAGS_SUPPORTED || !flags) {
        errno = EINVAL;
        return IBV_REREG_MR_ERR_INPUT;
    }
    if ((flags & IBV_REREG_MR_CHANGE_TRANSLATION && (!length || !address)) ||
        (flags & IBV_REREG_MR_CHANGE_PD && !pd)) {
        errno = EINVAL;
        return IBV_REREG_MR_ERR_INPUT;
    }
    struct sv_mr_shared *entry = &entries()[mr->handle];
    close_entry(mr->handle);
    if (flags & IBV_REREG_MR_CHANGE_TRANSLATION) {
        entry->address = entry->iova = (uintptr_t)address;
        entry->length = length;
        mr->addr = address;
        mr->length = length;
    }
    if (flags & IBV_REREG_MR_CHANGE_PD) {
        atomic_fetch_add(&((struct sv_pd *)pd)->users, 1);
        atomic_fetch_sub(&((struct sv_pd *)mr->pd)->users, 1);
        entry->domain = pd->handle;
        mr->pd = pd;
        mr->context = pd->context;
    }
    if (flags & IBV_REREG_MR_CHANGE_ACCESS) entry->access = (uint32_t)access;
    pthread_mutex_lock(&lock);
    generations[mr->handle] = (uint16_t)((generations[mr->handle] + 1u) & ((1u << SV_KEY_BITS) - 1));
    mr->lkey = mr->rkey = mr->handle << SV_KEY_BITS | generations[mr->handle];
    pthread_mutex_unlock(&lock);
    atomic_store(&entry->key, mr->rkey);
    return 0;
}

bool sv_local_sge(uint32_t domain, struct ibv_sge *sge, uint32_t access) {
    if (sge->length == 0) return true;
    struct sv_mr_shared *entry = &entries()[sv_key_index(sge->lkey)];
    if (atomic_load_explicit(&entry->key, memory_order_acquire) != sge->lkey || !sge->lkey) return false;
    if (entry->kind != SV_KIND_REGION || entry->domain != domain || (entry->access & access) != access) return false;
    uint64_t offset = sge->addr - entry->iova;
    if (offset > entry->length || sge->length > entry->length - offset) return false;
    sge->addr = entry->address + offset;
    return true;
}

// ---- Memory windows

struct ibv_mw *sv_alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type) {
    if (type != IBV_MW_TYPE_1 && type != IBV_MW_TYPE_2) {
        errno = EINVAL;
        return NULL;
    }
    uint32_t key = take_entry();
    struct ibv_mw *mw = key ? calloc(1, sizeof *mw) : NULL;
    if (!mw) return NULL;
    struct sv_mr_shared *entry = &entries()[sv_key_index(key)];
    entry->domain = pd->handle;
    entry->access = 0;
    entry->length = 0;
    entry->kind = type == IBV_MW_TYPE_1 ? SV_KIND_WINDOW_1 : SV_KIND_WINDOW_2;
    atomic_store(&entry->owner_qp, 0);
    atomic_fetch_add(&((struct sv_pd *)pd)->users, 1);
    *mw = (struct ibv_mw){.context = pd->context, .pd = pd, .rkey = key, .handle = sv_key_index(key), .type = type};
    return mw;
}

int sv_dealloc_mw(struct ibv_mw *mw) {
    close_entry(mw->handle);
    pthread_mutex_lock(&lock);
    generations[mw->handle] = mw->rkey & ((1u << SV_KEY_BITS) - 1); // binding changed it: the next key shall differ
    pthread_mutex_unlock(&lock);
    return_entry(mw->handle);
    atomic_fetch_sub(&((struct sv_pd *)mw->pd)->users, 1);
    free(mw);
    return 0;
}

int sv_window_bind(uint32_t queue_pair, uint32_t domain, struct ibv_mw *mw, uint32_t key,
                   const struct ibv_mw_bind_info *info) {
    struct sv_mr_shared *entry = &entries()[mw->handle];
    if (mw->pd->handle != domain) return EINVAL;
    if (entry->kind == SV_KIND_WINDOW_2 && (key >> 8 != mw->rkey >> 8 || atomic_load(&entry->key))) return EINVAL;
    uint64_t address = 0, iova = 0;
    if (info->length) {
        struct ibv_mr *mr = info->mr;
        if (!mr || mr->pd->handle != domain) return EINVAL;
        struct sv_mr_shared *region = &entries()[mr->handle];
        if (atomic_load(&region->key) != mr->rkey || !(region->access & IBV_ACCESS_MW_BIND)) return EINVAL;
        uint32_t writes = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
        if (info->mw_access_flags & writes && !(region->access & IBV_ACCESS_LOCAL_WRITE)) return EINVAL;
        uint64_t offset = info->addr - region->iova;
        if (offset > region->length || info->length > region->length - offset) return EINVAL;
        address = region->address + offset;
        iova = info->mw_access_flags & IBV_ACCESS_ZERO_BASED ? 0 : info->addr;
    }
    close_entry(mw->handle);
    entry->address = address;
    entry->iova = iova;
    entry->length = info->length;
    entry->access = info->mw_access_flags;
    atomic_store(&entry->owner_qp, entry->kind == SV_KIND_WINDOW_2 ? queue_pair : 0);
    if (info->length) atomic_store(&entry->key, key);
    mw->rkey = key;
    return 0;
}

int sv_key_invalidate(uint32_t queue_pair, uint32_t domain, uint32_t key) {
    struct sv_mr_shared *entry = &entries()[sv_key_index(key)];
    if (!key || atomic_load(&entry->key) != key || entry->domain != domain || entry->kind != SV_KIND_WINDOW_2 ||
        atomic_load(&entry->owner_qp) != queue_pair)
        return EINVAL;
    close_entry(sv_key_index(key));
    return 0;
}

int sv_bind_mw(struct ibv_qp *qp, struct ibv_mw *mw, struct ibv_mw_bind *bind) {
    // A type 1 window's new key is the device's choice, and known when the call returns.
    uint32_t tag = (mw->rkey + 1) & 0xff;
    struct ibv_send_wr wr = {.wr_id = bind->wr_id, .opcode = IBV_WR_BIND_MW, .send_flags = bind->send_flags,
                             .bind_mw = {.mw = mw, .rkey = (mw->rkey & ~0xffu) | tag, .bind_info = bind->bind_info}};
    struct ibv_send_wr *bad;
    return ibv_post_send(qp, &wr, &bad);
}
