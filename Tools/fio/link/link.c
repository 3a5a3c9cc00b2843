// A link that can be cut, for a target on an RDMA device. There is no cable to pull where host and target share one device,
// and a device loops such packets back before any filter of the kernel sees them.
//
// Preloaded, it follows the connections that the program makes through librdmacm. When the file $TERCET_LINK_FILE is
// written and says "cut", each queue pair goes to the error state without a word to its peer: a device then drops what
// arrives for it, and the peer's requests end with "retry exceeded", as by a pulled cable. Until the file is written again and
// says anything else, nothing passes: requests to connect stay unanswered, and no end of a connection is told.
//
// What is held back meanwhile is given to the connection manager when the link is restored.
#include <dlfcn.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct connection {
    struct rdma_cm_id *id;
    struct connection *next;
};

// Ended by the program while the link is cut: destroyed when it is restored, since that tells the peer.
struct held_id {
    struct rdma_cm_id *id;
    // The request to connect that made it, where the program has not seen it.
    struct rdma_cm_event *request;
    struct held_id *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_cut;
static struct connection *connections;
static struct held_id *held;

// The function of that name behind this library. A program that gets here has librdmacm.
#define NEXT(name)                                            \
    static __typeof__(name) *next;                            \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

static void fail(struct rdma_cm_id *id) {
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    ibv_modify_qp(id->qp, &attributes, IBV_QP_STATE);
}

static void hold(struct rdma_cm_id *id, struct rdma_cm_event *request) {
    struct held_id *entry = malloc(sizeof *entry);
    if (!entry) abort();
    *entry = (struct held_id){.id = id, .request = request, .next = held};
    held = entry;
}

static bool is_held(struct rdma_cm_id *id) {
    for (struct held_id *entry = held; entry; entry = entry->next)
        if (entry->id == id) return true;
    return false;
}

static bool is_connection(struct rdma_cm_id *id) {
    for (struct connection *entry = connections; entry; entry = entry->next)
        if (entry->id == id) return true;
    return false;
}

static void cut(void) {
    pthread_mutex_lock(&lock);
    is_cut = true;
    for (struct connection *entry = connections; entry; entry = entry->next) fail(entry->id);
    pthread_mutex_unlock(&lock);
}

static void restore(void) {
    __typeof__(rdma_ack_cm_event) *acknowledge = (__typeof__(rdma_ack_cm_event) *)dlsym(RTLD_NEXT, "rdma_ack_cm_event");
    __typeof__(rdma_destroy_id) *destroy = (__typeof__(rdma_destroy_id) *)dlsym(RTLD_NEXT, "rdma_destroy_id");
    pthread_mutex_lock(&lock);
    is_cut = false;
    struct held_id *entry = held;
    held = NULL;
    pthread_mutex_unlock(&lock);
    while (entry) {
        struct held_id *after = entry->next;
        if (entry->request) acknowledge(entry->request);
        destroy(entry->id);
        free(entry);
        entry = after;
    }
}

static void obey(const char *path) {
    char word[4] = "";
    FILE *file = fopen(path, "re");
    if (!file) return;
    size_t length = fread(word, 1, 3, file);
    fclose(file);
    if (length == 3 && !strcmp(word, "cut")) cut();
    else restore();
}

static void *watch(void *path) {
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    int descriptor = inotify_init1(IN_CLOEXEC);
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", (const char *)path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    // The folder, since the file need not be there yet.
    if (descriptor < 0 || inotify_add_watch(descriptor, slash ? folder : ".", IN_CLOSE_WRITE) < 0) {
        perror("TERCET_LINK_FILE");
        _exit(1);
    }
    obey(path);
    const char *name = slash ? slash + 1 : path;
    for (;;) {
        ssize_t length = read(descriptor, events, sizeof events);
        if (length <= 0) return NULL;
        for (ssize_t at = 0; at < length;) {
            struct inotify_event *event = (struct inotify_event *)(events + at);
            if (event->len && !strcmp(event->name, name)) obey(path);
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
}

__attribute__((constructor)) static void start(void) {
    char *path = getenv("TERCET_LINK_FILE");
    pthread_t thread;
    if (!path) return;
    if (pthread_create(&thread, NULL, watch, path)) abort();
    pthread_detach(thread);
}

EXPORT int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attributes) {
    NEXT(rdma_create_qp)
    int result = next(id, pd, attributes);
    if (result) return result;
    struct connection *entry = malloc(sizeof *entry);
    if (!entry) abort();
    pthread_mutex_lock(&lock);
    *entry = (struct connection){.id = id, .next = connections};
    connections = entry;
    pthread_mutex_unlock(&lock);
    return 0;
}

EXPORT void rdma_destroy_qp(struct rdma_cm_id *id) {
    NEXT(rdma_destroy_qp)
    pthread_mutex_lock(&lock);
    for (struct connection **place = &connections; *place; place = &(*place)->next) {
        if ((*place)->id != id) continue;
        struct connection *entry = *place;
        *place = entry->next;
        free(entry);
        break;
    }
    pthread_mutex_unlock(&lock);
    next(id);
}

EXPORT int rdma_accept(struct rdma_cm_id *id, struct rdma_conn_param *parameters) {
    NEXT(rdma_accept)
    pthread_mutex_lock(&lock);
    bool lost = is_cut;
    pthread_mutex_unlock(&lock);
    return lost ? 0 : next(id, parameters);
}

EXPORT int rdma_disconnect(struct rdma_cm_id *id) {
    NEXT(rdma_disconnect)
    pthread_mutex_lock(&lock);
    bool lost = is_cut;
    if (lost && is_connection(id)) fail(id);
    pthread_mutex_unlock(&lock);
    return lost ? 0 : next(id);
}

EXPORT int rdma_destroy_id(struct rdma_cm_id *id) {
    NEXT(rdma_destroy_id)
    pthread_mutex_lock(&lock);
    bool lost = is_cut;
    if (lost) hold(id, NULL);
    pthread_mutex_unlock(&lock);
    return lost ? 0 : next(id);
}

EXPORT int rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **event) {
    NEXT(rdma_get_cm_event)
    for (;;) {
        int result = next(channel, event);
        if (result) return result;
        pthread_mutex_lock(&lock);
        bool request = is_cut && (*event)->event == RDMA_CM_EVENT_CONNECT_REQUEST;
        // What a peer says of a connection does not pass either, and nobody asks any more for what happens to a held one.
        bool unheard = !request && (is_held((*event)->id) || (is_cut && is_connection((*event)->id)));
        if (request) hold((*event)->id, *event);
        pthread_mutex_unlock(&lock);
        if (!request && !unheard) return 0;
        if (unheard) rdma_ack_cm_event(*event);
    }
}
