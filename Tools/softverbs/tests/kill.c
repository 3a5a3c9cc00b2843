// Processes that are killed at random moments under traffic: the survivor sees the end at once, cleans up and leaves
// nothing behind.
//   kill ROUNDS [SEED]
#include "tap.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEPTH = 16, BLOCK = 8192, AREA = 2 * DEPTH * BLOCK };

static struct {
    _Atomic unsigned port;
    _Atomic uint64_t operations; // of the survivor
    _Atomic uint64_t ends;       // that the survivor has seen
    _Atomic uint64_t end_at;     // when it saw the last
    _Atomic bool stop;
    _Atomic int descriptors, mappings; // of a server, when it is idle
    _Atomic unsigned idle;             // times that it counted them
} *shared;

static uint64_t random_state;
static uint64_t random_number(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static int entries(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    if (!folder) return -1;
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}
static int mappings(void) { // of other processes' segments, and ours
    char line[512];
    int count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    while (file && fgets(line, sizeof line, file)) count += strstr(line, "memfd:softverbs") != NULL;
    if (file) fclose(file);
    return count;
}

// One side. The client asks with a message that names its memory; the server writes, reads, and answers.
struct side {
    bool server, sleeps;
    struct rdma_event_channel *events;
    struct rdma_cm_id *listener, *id;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_mr *mr;
    uint8_t *area;
    uint64_t to_send;
    bool ended;
};
struct message {
    uint64_t address;
    uint32_t key, slot;
    uint8_t filler[1000]; // by reference, every other time
};

#define check(condition, what) ({ if (!(condition)) { fprintf(stderr, "%s: %s\n", what, strerror(errno)); _exit(3); } })

static void post_receive(struct side *s, uint32_t slot) {
    struct ibv_sge sge = {(uintptr_t)s->area + slot * BLOCK, sizeof(struct message), s->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = slot, .sg_list = &sge, .num_sge = 1}, *bad;
    check(!ibv_post_srq_recv(s->srq, &wr, &bad), "receive");
}

static void open_queues(struct side *s, struct rdma_cm_id *id) {
    if (!s->pd) {
        check(s->pd = ibv_alloc_pd(id->verbs), "pd");
        check(s->channel = ibv_create_comp_channel(id->verbs), "channel");
        fcntl(s->channel->fd, F_SETFL, O_NONBLOCK);
        check(s->cq = ibv_create_cq(id->verbs, 1024, NULL, s->channel, 0), "cq");
        struct ibv_srq_init_attr init = {.attr = {.max_wr = DEPTH, .max_sge = 1}};
        check(s->srq = ibv_create_srq(s->pd, &init), "srq");
        s->area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(s->mr = ibv_reg_mr(s->pd, s->area, AREA, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE), "mr");
        for (uint32_t i = 0; i < DEPTH; i++) post_receive(s, i);
    }
    struct ibv_qp_init_attr init = {.send_cq = s->cq, .recv_cq = s->cq, .srq = s->srq, .qp_type = IBV_QPT_RC,
                                    .cap = {4 * DEPTH, 0, 1, 0, 0}, .sq_sig_all = 1};
    check(!rdma_create_qp(id, s->pd, &init), "qp");
}

static void post(struct side *s, enum ibv_wr_opcode opcode, uint32_t slot, uint32_t length, uint64_t remote, uint32_t key) {
    struct ibv_sge sge = {(uintptr_t)s->area + (DEPTH + slot) * BLOCK, length, s->mr->lkey};
    struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = opcode, .wr_id = DEPTH, .send_flags = IBV_SEND_SOLICITED,
                             .wr.rdma = {remote, key}}, *bad;
    int error = ibv_post_send(s->id->qp, &wr, &bad);
    if (error && error != ENOMEM && error != EINVAL) _exit(4);
}

static void say(struct side *s, uint32_t slot) {
    struct message *m = (struct message *)(s->area + (DEPTH + slot) * BLOCK);
    *m = (struct message){(uintptr_t)s->area + (DEPTH + slot) * BLOCK, s->mr->rkey, slot, {0}};
    post(s, IBV_WR_SEND, slot, slot % 2 ? sizeof *m : 64, 0, 0);
}

static void saw_end(struct side *s) {
    if (s->ended) return;
    s->ended = true;
    shared->end_at = tap_now_ns();
    shared->ends++;
}

static void completions(struct side *s) {
    struct ibv_wc wc[8];
    int count;
    while ((count = ibv_poll_cq(s->cq, 8, wc)) > 0)
        for (int i = 0; i < count; i++) {
            if (wc[i].wr_id < DEPTH) {
                struct message m;
                memcpy(&m, s->area + wc[i].wr_id * BLOCK, sizeof m);
                post_receive(s, (uint32_t)wc[i].wr_id);
                if (wc[i].status || !s->id || s->ended) continue;
                shared->operations++;
                uint32_t slot = m.slot % DEPTH;
                if (s->server) {
                    post(s, slot % 3 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ, slot, BLOCK, m.address, m.key);
                    say(s, slot);
                } else {
                    say(s, slot);
                }
            } else if (wc[i].status) {
                saw_end(s);
            }
        }
}

static void destroy_connection(struct side *s) {
    rdma_disconnect(s->id);
    // Receives that are not polled before their queue pair goes would be missing in the shared queue.
    s->ended = true;
    completions(s);
    rdma_destroy_qp(s->id);
    check(!rdma_destroy_id(s->id), "destroy id");
    s->id = NULL;
}

static void cm_event(struct side *s) {
    struct rdma_cm_event *e;
    if (rdma_get_cm_event(s->events, &e)) return;
    struct rdma_conn_param parameters = {.responder_resources = 4, .initiator_depth = 4, .retry_count = 7, .rnr_retry_count = 7};
    struct rdma_cm_id *id = e->id;
    enum rdma_cm_event_type type = e->event;
    rdma_ack_cm_event(e);
    switch (type) {
    case RDMA_CM_EVENT_CONNECT_REQUEST:
        if (s->id) saw_end(s), destroy_connection(s); // the earlier one's end came in between
        s->ended = false;
        s->id = id;
        open_queues(s, id);
        if (rdma_accept(id, &parameters)) rdma_destroy_qp(id), rdma_destroy_id(id), s->id = NULL, saw_end(s);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        if (!s->server) for (uint32_t i = 0; i < DEPTH; i++) say(s, i);
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
    case RDMA_CM_EVENT_REJECTED:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
        if (id != s->id) break;
        saw_end(s);
        if (s->server) destroy_connection(s);
        break;
    default: break;
    }
}

static void run(struct side *s) {
    bool counted = false;
    while (!shared->stop && !(s->ended && !s->server)) {
        if (s->cq && s->sleeps) {
            ibv_req_notify_cq(s->cq, 0);
            completions(s);
            if (s->ended && !s->server) break;
            struct pollfd fds[2] = {{.fd = s->events->fd, .events = POLLIN}, {.fd = s->channel->fd, .events = POLLIN}};
            poll(fds, 2, 20); // the limit is for `stop` alone
            struct ibv_cq *cq;
            void *context;
            if (!ibv_get_cq_event(s->channel, &cq, &context)) ibv_ack_cq_events(cq, 1);
        }
        if (s->cq) completions(s);
        cm_event(s);
        if (s->server && !s->id && s->ended && !counted) {
            // Everything of the dead peer is gone soon, its link too,
            // unless the next one asks already.
            static int usual;
            struct pollfd request = {.fd = s->events->fd, .events = POLLIN};
            eventually(500, (mappings() == 1 && (!usual || entries("/proc/self/fd") == usual)) || poll(&request, 1, 0) == 1);
            if (poll(&request, 1, 0) == 1) continue;
            if (!usual) usual = entries("/proc/self/fd");
            shared->descriptors = entries("/proc/self/fd");
            shared->mappings = mappings();
            shared->idle++;
            counted = true;
        }
        if (s->id) counted = false;
    }
}

static void open_side(struct side *s, bool server, bool sleeps) {
    *s = (struct side){.server = server, .sleeps = sleeps};
    check(s->events = rdma_create_event_channel(), "event channel");
    fcntl(s->events->fd, F_SETFL, O_NONBLOCK);
}

static int close_side(struct side *s) {
    if (s->id) destroy_connection(s);
    if (s->listener && rdma_destroy_id(s->listener)) return 10;
    if (s->mr && ibv_dereg_mr(s->mr)) return 11;
    if (s->srq && ibv_destroy_srq(s->srq)) return 12;
    if (s->cq && ibv_destroy_cq(s->cq)) return 13;
    if (s->channel && ibv_destroy_comp_channel(s->channel)) return 14;
    if (s->pd && ibv_dealloc_pd(s->pd)) return 15;
    rdma_destroy_event_channel(s->events);
    return 0;
}

static int server(bool sleeps) {
    struct side s;
    open_side(&s, true, sleeps);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(!rdma_create_id(s.events, &s.listener, NULL, RDMA_PS_TCP), "id");
    check(!rdma_bind_addr(s.listener, (struct sockaddr *)&at) && !rdma_listen(s.listener, 8), "listen");
    shared->port = ntohs(rdma_get_src_port(s.listener));
    run(&s);
    return close_side(&s);
}

static struct rdma_cm_event *await(struct side *s) {
    struct rdma_cm_event *e = NULL;
    eventually(2000, rdma_get_cm_event(s->events, &e) == 0);
    return e;
}

static int client(bool sleeps) {
    struct side s;
    open_side(&s, false, sleeps);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)shared->port)};
    check(!rdma_create_id(s.events, &s.id, NULL, RDMA_PS_TCP), "id");
    rdma_resolve_addr(s.id, NULL, (struct sockaddr *)&to, 1000);
    rdma_ack_cm_event(await(&s));
    rdma_resolve_route(s.id, 1000);
    rdma_ack_cm_event(await(&s));
    open_queues(&s, s.id);
    struct rdma_conn_param parameters = {.responder_resources = 4, .initiator_depth = 4, .retry_count = 7, .rnr_retry_count = 7};
    if (rdma_connect(s.id, &parameters)) saw_end(&s);
    run(&s);
    return close_side(&s);
}

static pid_t start(int (*function)(bool), bool sleeps) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) _exit(function(sleeps));
    return pid;
}

static void begin_round(void) {
    shared->port = 0;
    shared->stop = false;
    shared->ends = 0;
    shared->operations = 0;
    shared->idle = 0;
}

// Timings are judged where SOFTVERBS_TIMINGS is set, on a machine that has nothing else to do; elsewhere they are shown, and an
// end that takes seconds is none.
static unsigned limit_us;

static unsigned within(uint64_t killed) { return (unsigned)((shared->end_at - killed) / 1000); }

int main(int argc, char **argv) {
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)tap_now_ns();
    random_state = seed;
    limit_us = getenv("SOFTVERBS_TIMINGS") ? 100000 : 2000000;
    diag("seed %llu", (unsigned long long)seed);
    int files = entries("/dev/shm"), descriptors = entries("/proc/self/fd");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    // One server that outlives its clients.
    for (int sleeps = 0; sleeps < 2; sleeps++) {
        begin_round();
        pid_t survivor = start(server, sleeps);
        eventually(5000, shared->port != 0);
        unsigned seen = 0, slowest = 0, clean = 0;
        int first_descriptors = 0;
        unsigned part = rounds / 4;
        for (unsigned round = 0; round < part; round++) {
            uint64_t ends = shared->ends;
            bool asleep = random_number() % 2;
            pid_t victim = start(client, asleep);
            uint64_t operations = shared->operations;
            if (round % 8) eventually(5000, shared->operations > operations + 20); // else: perhaps while it connects
            usleep((useconds_t)(random_number() % 10000));
            bool had_traffic = shared->operations > operations;
            unsigned idle = shared->idle;
            uint64_t killed = tap_now_ns();
            kill(victim, SIGKILL);
            waitpid(victim, NULL, 0);
            bool noticed = eventually(2000, shared->ends > ends);
            if (!had_traffic && !noticed) { // it had not asked yet
                seen++, clean++;
                continue;
            }
            unsigned us = within(killed);
            if (noticed && us < limit_us) seen++;
            else diag("round %u: noticed %d after %u us, traffic %d", round, noticed, us, had_traffic);
            if (us > slowest) slowest = us;
            eventually(2000, shared->idle > idle);
            if (!first_descriptors) first_descriptors = shared->descriptors;
            bool is_clean = shared->descriptors == first_descriptors && shared->mappings == 1;
            if (!is_clean)
                diag("round %u: %d descriptors, first %d, %d mappings", round, shared->descriptors, first_descriptors,
                     shared->mappings);
            clean += is_clean;
        }
        is(seen, part, "%u clients killed: the server (%s) sees each end within %u ms; the slowest: %u us", part,
           sleeps ? "asleep" : "polling", limit_us / 1000, slowest);
        is(clean, part, "it keeps no descriptor and no mapping of them");
        ok(shared->operations > part * 10, "there was traffic: %llu operations", (unsigned long long)shared->operations);
        shared->stop = true;
        int status;
        ok(eventually(5000, waitpid(survivor, &status, WNOHANG) == survivor) && status == 0, "and ends well");
        kill(survivor, SIGKILL);
    }

    // Servers that die under their client.
    unsigned seen = 0, slowest = 0, well = 0;
    for (unsigned round = 0; round < rounds / 2; round++) {
        begin_round();
        pid_t victim = start(server, random_number() % 2);
        eventually(5000, shared->port != 0);
        pid_t survivor = start(client, random_number() % 2);
        if (round % 8) eventually(5000, shared->operations > 40);
        usleep((useconds_t)(random_number() % 10000));
        uint64_t killed = tap_now_ns();
        kill(victim, SIGKILL);
        int status = -1;
        bool ended = eventually(5000, waitpid(survivor, &status, WNOHANG) == survivor);
        waitpid(victim, NULL, 0);
        unsigned us = within(killed);
        bool before_connecting = shared->end_at > killed && round % 8 == 0;
        if (ended && shared->ends && (us < limit_us || before_connecting)) seen++;
        else diag("round %u: ended %d, noticed %d after %u us", round, ended, (int)shared->ends, us);
        if (!before_connecting && us > slowest) slowest = us;
        well += ended && status == 0;
        if (ended && status) diag("round %u: status %x", round, status);
        if (!ended) kill(survivor, SIGKILL), waitpid(survivor, NULL, 0);
    }
    is(seen, rounds / 2, "%u servers killed: each client sees the end within %u ms; the slowest: %u us", rounds / 2, limit_us / 1000,
       slowest);
    is(well, rounds / 2, "and cleans up and ends well");
    is(entries("/dev/shm"), files, "/dev/shm is as before");
    is(entries("/proc/self/fd"), descriptors, "so are the descriptors");
    return tap_done();
}
