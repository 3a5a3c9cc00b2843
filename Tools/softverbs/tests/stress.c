// A server like a storage target: an acceptor thread that migrates connections to two threads, each with its own event
// channel, completion queue and shared receive queue; client processes that connect and disconnect under it. Every block is
// checked. Then: memory whose registration ended is never touched again.
//   stress [SECONDS] [SEED]
#include "tap.h"
#include "end.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 2, CLIENTS = 3, CONNECTIONS = 4, DEPTH = 8, BLOCK = 16384, RECEIVES = 48, BUFFERS = 2 * CLIENTS * CONNECTIONS * DEPTH };

static struct {
    _Atomic unsigned port;
    _Atomic bool stop, close; // clients, then the server
    _Atomic uint64_t exchanges, connections, damaged, unexpected;
} *shared;

static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
static void fill(uint64_t *words, uint32_t bytes, uint64_t seed) {
    for (uint32_t i = 0; i < bytes / 8; i++) words[i] = mix(seed + i);
}
static bool holds(const uint64_t *words, uint32_t bytes, uint64_t seed) {
    for (uint32_t i = 0; i < bytes / 8; i++) if (words[i] != mix(seed + i)) return false;
    return true;
}

struct command {
    uint64_t address, seed;
    uint32_t key, length, slot;
};
#define must(condition, what) ({ if (!(condition)) { fprintf(stderr, "%s: %s\n", what, strerror(errno)); _exit(3); } })

// ---- The server

struct worker {
    struct rdma_event_channel *events;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_mr *mr;
    uint8_t *memory; // receives, then buffers
    struct { struct rdma_cm_id *id; struct command command; bool busy; int phase; } buffers[BUFFERS];
    _Atomic int connections;
};
static struct worker workers[THREADS];

static void worker_receive(struct worker *w, uint64_t slot) {
    struct ibv_sge sge = {(uintptr_t)w->memory + slot * 64, 64, w->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = BUFFERS + slot, .sg_list = &sge, .num_sge = 1}, *bad;
    must(!ibv_post_srq_recv(w->srq, &wr, &bad), "receive");
}
static uint8_t *buffer(struct worker *w, unsigned index) { return w->memory + RECEIVES * 64 + (size_t)index * BLOCK; }
static void worker_post(struct worker *w, unsigned index, enum ibv_wr_opcode opcode, uint32_t length, bool signalled) {
    struct command *c = &w->buffers[index].command;
    struct ibv_sge sge = {(uintptr_t)buffer(w, index), length, w->mr->lkey};
    struct ibv_send_wr wr = {.wr_id = index, .sg_list = &sge, .num_sge = 1, .opcode = opcode, .imm_data = c->slot,
                             .send_flags = signalled ? IBV_SEND_SIGNALED : 0, .wr.rdma = {c->address, c->key}}, *bad;
    if (ibv_post_send(w->buffers[index].id->qp, &wr, &bad)) w->buffers[index].busy = false;
}
static struct rdma_cm_id *by_number(struct worker *w, uint32_t number, struct rdma_cm_id **ids, int count) {
    (void)w;
    for (int i = 0; i < count; i++) if (ids[i] && ids[i]->qp->qp_num == number) return ids[i];
    return NULL;
}

static void *work(void *argument) {
    struct worker *w = argument;
    struct rdma_cm_id *ids[64] = {0};
    while (!shared->close || w->connections > 0) {
        struct rdma_cm_event *e;
        if (!rdma_get_cm_event(w->events, &e)) {
            struct rdma_cm_id *id = e->id;
            enum rdma_cm_event_type type = e->event;
            rdma_ack_cm_event(e);
            if (type == RDMA_CM_EVENT_ESTABLISHED) {
                shared->connections++;
            } else if (type == RDMA_CM_EVENT_DISCONNECTED || type == RDMA_CM_EVENT_REJECTED) {
                for (int i = 0; i < 64; i++) if (ids[i] == id) ids[i] = NULL;
                for (int i = 0; i < BUFFERS; i++) if (w->buffers[i].id == id) w->buffers[i].busy = false;
                rdma_disconnect(id);
                rdma_destroy_qp(id);
                rdma_destroy_id(id);
                w->connections--;
            }
        }
        struct ibv_wc wc[16];
        int count = ibv_poll_cq(w->cq, 16, wc);
        if (count == 0) sched_yield(); // few processors, many that poll
        for (int i = 0; i < count; i++) {
            if (wc[i].wr_id >= BUFFERS) {
                uint64_t slot = wc[i].wr_id - BUFFERS;
                struct command command;
                memcpy(&command, w->memory + slot * 64, sizeof command);
                worker_receive(w, slot);
                if (wc[i].status) continue;
                struct rdma_cm_id *id = by_number(w, wc[i].qp_num, ids, 64);
                if (!id) {
                    // not met before: find it by its number among those that were migrated here
                    extern struct rdma_cm_id *adopted(struct worker *w, uint32_t number);
                    id = adopted(w, wc[i].qp_num);
                    for (int j = 0; id && j < 64; j++) if (!ids[j]) { ids[j] = id; break; }
                }
                unsigned index = 0;
                while (index < BUFFERS && w->buffers[index].busy) index++;
                if (!id || index == BUFFERS || command.length > BLOCK) { shared->unexpected++; continue; }
                w->buffers[index].busy = true, w->buffers[index].id = id;
                w->buffers[index].command = command;
                w->buffers[index].phase = 0;
                worker_post(w, index, IBV_WR_RDMA_READ, command.length, true);
            } else {
                unsigned index = (unsigned)wc[i].wr_id;
                if (!w->buffers[index].busy) continue;
                if (wc[i].status) { w->buffers[index].busy = false; continue; }
                struct command *c = &w->buffers[index].command;
                if (w->buffers[index].phase++ == 0) {
                    if (!holds((uint64_t *)buffer(w, index), c->length, c->seed)) shared->damaged++;
                    fill((uint64_t *)buffer(w, index), c->length, c->seed + 1);
                    worker_post(w, index, IBV_WR_RDMA_WRITE, c->length, false);
                    if (w->buffers[index].busy) worker_post(w, index, IBV_WR_SEND_WITH_IMM, 16, true);
                } else {
                    w->buffers[index].busy = false;
                }
            }
        }
    }
    return NULL;
}

static pthread_mutex_t adopted_lock = PTHREAD_MUTEX_INITIALIZER;
static struct { struct worker *worker; struct rdma_cm_id *id; uint32_t number; } adoptions[4096];
static unsigned adoption_count;
struct rdma_cm_id *adopted(struct worker *w, uint32_t number) {
    struct rdma_cm_id *id = NULL;
    pthread_mutex_lock(&adopted_lock);
    for (unsigned i = adoption_count; i-- > 0 && !id;)
        if (adoptions[i % 4096].worker == w && adoptions[i % 4096].number == number) id = adoptions[i % 4096].id;
    pthread_mutex_unlock(&adopted_lock);
    return id;
}

static int serve(void) {
    struct rdma_event_channel *events = rdma_create_event_channel();
    struct rdma_cm_id *listener;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fcntl(events->fd, F_SETFL, O_NONBLOCK);
    must(!rdma_create_id(events, &listener, NULL, RDMA_PS_TCP), "id");
    must(!rdma_bind_addr(listener, (struct sockaddr *)&at) && !rdma_listen(listener, 64), "listen");
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        struct worker *w = &workers[i];
        w->events = rdma_create_event_channel();
        fcntl(w->events->fd, F_SETFL, O_NONBLOCK);
        w->pd = ibv_alloc_pd(listener->verbs);
        w->cq = ibv_create_cq(listener->verbs, 4096, NULL, NULL, i);
        struct ibv_srq_init_attr init = {.attr = {.max_wr = RECEIVES, .max_sge = 1}};
        must(w->srq = ibv_create_srq(w->pd, &init), "srq");
        size_t size = RECEIVES * 64 + (size_t)BUFFERS * BLOCK;
        w->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(w->mr = ibv_reg_mr(w->pd, w->memory, size, IBV_ACCESS_LOCAL_WRITE), "mr");
        for (uint64_t j = 0; j < RECEIVES; j++) worker_receive(w, j);
        pthread_create(&threads[i], NULL, work, w);
    }
    shared->port = ntohs(rdma_get_src_port(listener));
    unsigned next = 0;
    while (!shared->close) {
        struct rdma_cm_event *e;
        if (rdma_get_cm_event(events, &e)) {
            usleep(500);
            continue;
        }
        if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
            struct worker *w = &workers[next++ % THREADS];
            struct rdma_cm_id *id = e->id;
            rdma_migrate_id(id, w->events);
            struct ibv_qp_init_attr init = {.send_cq = w->cq, .recv_cq = w->cq, .srq = w->srq, .qp_type = IBV_QPT_RC,
                                            .cap = {3 * DEPTH, 0, 1, 0, 0}};
            must(!rdma_create_qp(id, w->pd, &init), "qp");
            pthread_mutex_lock(&adopted_lock);
            adoptions[adoption_count++ % 4096] = (__typeof__(adoptions[0])){w, id, id->qp->qp_num};
            pthread_mutex_unlock(&adopted_lock);
            w->connections++;
            struct rdma_conn_param parameters = {.responder_resources = 0, .initiator_depth = 16, .rnr_retry_count = 7};
            if (rdma_accept(id, &parameters)) {
                w->connections--;
                rdma_destroy_qp(id), rdma_destroy_id(id);
            }
        }
        rdma_ack_cm_event(e);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        struct worker *w = &workers[i];
        if (ibv_destroy_srq(w->srq) || ibv_destroy_cq(w->cq) || ibv_dereg_mr(w->mr) || ibv_dealloc_pd(w->pd)) return 5;
        rdma_destroy_event_channel(w->events);
    }
    if (rdma_destroy_id(listener)) return 6;
    rdma_destroy_event_channel(events);
    return 0;
}

// ---- Clients

static void await(struct rdma_event_channel *events, enum rdma_cm_event_type type) {
    struct rdma_cm_event *e;
    must(!rdma_get_cm_event(events, &e), "event");
    if (e->event != type) fprintf(stderr, "%s, expected %s\n", rdma_event_str(e->event), rdma_event_str(type)), _exit(7);
    rdma_ack_cm_event(e);
}

static void session(uint64_t *random) {
    struct rdma_event_channel *events = rdma_create_event_channel();
    struct rdma_cm_id *ids[CONNECTIONS];
    struct ibv_cq *cq = NULL;
    struct ibv_pd *pd = NULL;
    struct ibv_mr *mrs[CONNECTIONS * DEPTH] = {0}, *messages = NULL;
    struct command commands[CONNECTIONS * DEPTH];
    static uint8_t inbox[CONNECTIONS * DEPTH * 2][64], outbox[CONNECTIONS * DEPTH][64];
    uint8_t *memory = mmap(NULL, CONNECTIONS * DEPTH * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)shared->port)};
    struct ibv_mr *in = NULL;
    unsigned running = 0, remaining = 200;
    for (unsigned c = 0; c < CONNECTIONS; c++) {
        must(!rdma_create_id(events, &ids[c], NULL, RDMA_PS_TCP), "id");
        rdma_resolve_addr(ids[c], NULL, (struct sockaddr *)&to, 1000), await(events, RDMA_CM_EVENT_ADDR_RESOLVED);
        rdma_resolve_route(ids[c], 1000), await(events, RDMA_CM_EVENT_ROUTE_RESOLVED);
        if (!cq) {
            must(cq = ibv_create_cq(ids[c]->verbs, 1024, NULL, NULL, 0), "cq");
            must(pd = ibv_alloc_pd(ids[c]->verbs), "pd");
            must(in = ibv_reg_mr(pd, inbox, sizeof inbox, IBV_ACCESS_LOCAL_WRITE), "mr");
            must(messages = ibv_reg_mr(pd, outbox, sizeof outbox, 0), "mr");
        }
        struct ibv_qp_init_attr init = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .cap = {DEPTH * 2, DEPTH * 2, 1, 1, 0}};
        must(!rdma_create_qp(ids[c], pd, &init), "qp");
        for (unsigned i = 0; i < 2 * DEPTH; i++) {
            struct ibv_sge sge = {(uintptr_t)inbox[c * 2 * DEPTH + i], 64, in->lkey};
            struct ibv_recv_wr wr = {.wr_id = c, .sg_list = &sge, .num_sge = 1}, *bad;
            must(!ibv_post_recv(ids[c]->qp, &wr, &bad), "receive");
        }
        struct rdma_conn_param parameters = {.responder_resources = 16, .retry_count = 7, .rnr_retry_count = 7};
        must(!rdma_connect(ids[c], &parameters), "connect");
        await(events, RDMA_CM_EVENT_ESTABLISHED);
    }
    for (unsigned slot = 0; slot < CONNECTIONS * DEPTH; slot++) commands[slot].length = 0;
    uint64_t limit = tap_now_ns() + 30000000000ull;
    while (remaining > 0 || running > 0) {
        if (tap_now_ns() > limit) fprintf(stderr, "%u requests without an answer\n", running), _exit(8);
        for (unsigned slot = 0; slot < CONNECTIONS * DEPTH && remaining > 0; slot++) {
            if (commands[slot].length) continue;
            uint64_t number = *random = mix(*random + 1);
            uint8_t *block = memory + (size_t)slot * BLOCK;
            struct command *c = &commands[slot];
            *c = (struct command){.address = (uintptr_t)block, .seed = number, .slot = slot,
                                  .length = number % 4 ? 4096 : (uint32_t)(8 + number / 8 % (BLOCK / 8) * 8)};
            if (c->length > BLOCK) c->length = BLOCK;
            fill((uint64_t *)block, c->length, number);
            must(mrs[slot] = ibv_reg_mr(pd, block, c->length, 7), "mr"); // a registration per request
            c->key = mrs[slot]->rkey;
            memcpy(outbox[slot], c, sizeof *c);
            struct ibv_sge sge = {(uintptr_t)outbox[slot], 64, messages->lkey};
            struct ibv_send_wr wr = {.wr_id = 1000, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND}, *bad;
            must(!ibv_post_send(ids[slot / DEPTH]->qp, &wr, &bad), "send");
            running++, remaining--;
        }
        struct ibv_wc wc;
        if (ibv_poll_cq(cq, 1, &wc) < 1) {
            sched_yield();
            continue;
        }
        if (wc.status) fprintf(stderr, "client: %s\n", ibv_wc_status_str(wc.status)), _exit(9);
        if (!(wc.opcode & IBV_WC_RECV)) continue;
        uint32_t slot = wc.imm_data;
        unsigned c = (unsigned)wc.wr_id;
        struct ibv_sge sge = {(uintptr_t)inbox[c * 2 * DEPTH], 64, in->lkey};
        struct ibv_recv_wr again = {.wr_id = c, .sg_list = &sge, .num_sge = 1}, *bad;
        ibv_post_recv(ids[c]->qp, &again, &bad);
        ibv_dereg_mr(mrs[slot]);
        if (!holds((uint64_t *)(memory + (size_t)slot * BLOCK), commands[slot].length, commands[slot].seed + 1)) shared->damaged++;
        commands[slot].length = 0;
        running--;
        shared->exchanges++;
    }
    for (unsigned c = 0; c < CONNECTIONS; c++) {
        rdma_disconnect(ids[c]);
        rdma_destroy_qp(ids[c]);
        must(!rdma_destroy_id(ids[c]), "destroy id");
    }
    must(!ibv_dereg_mr(in) && !ibv_dereg_mr(messages) && !ibv_destroy_cq(cq) && !ibv_dealloc_pd(pd), "close");
    rdma_destroy_event_channel(events);
    munmap(memory, CONNECTIONS * DEPTH * BLOCK);
}

static int visit(uint64_t seed) {
    while (!shared->stop) session(&seed);
    return 0;
}

// ---- Registrations that end under a writer

static void ended_registrations(uint64_t seed) {
    struct end a, b;
    struct ibv_wc wc;
    struct end_options o = end_defaults;
    enum { ROUNDS = 100, WRITES = 40, SIZE = 262144 };
    unsigned untouched = 0, told = 0, interrupted = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        end_open(&a, true, &o), end_open(&b, false, &o);
        end_connect(&a, &b);
        uint8_t *memory = (uint8_t *)(uintptr_t)b.memory;
        static uint8_t ones[SIZE], zeros[SIZE];
        memset(ones, 1, SIZE);
        memset(memory, 0, SIZE);
        end_fill(&a, 0, ones, 256), end_fill(&a, SIZE - 256, ones, 256);
        for (int i = 0; i < WRITES; i++)
            end_start(&a, (struct end_request){.command = END_SEND, .opcode = IBV_WR_RDMA_WRITE, .length = SIZE,
                                               .remote = b.memory, .key = b.key, .wr_id = (uint64_t)i});
        seed = mix(seed + round);
        for (uint64_t end = tap_now_ns() + seed % 1000000; tap_now_ns() < end;) {}
        ibv_dereg_mr(end_local_mr(b.local));
        bool under_way = memory[0] == 1;
        memset(memory, 0, SIZE);
        for (int i = 0; i < WRITES; i++) end_finish(&a);
        end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 8, .remote = b.memory, .key = b.key, .wr_id = WRITES});
        unsigned written = 0;
        while (end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS) written++;
        told += wc.status == IBV_WC_REM_ACCESS_ERR;
        interrupted += under_way && written < WRITES;
        untouched += !memcmp(memory, zeros, SIZE);
        end_do(&b, (struct end_request){.command = END_REREG, .length = 64, .flags = 7}); // so that it closes as always
        end_close(&a), end_close(&b);
    }
    is(untouched, ROUNDS, "memory whose registration ended is not touched (%u times between two WRITEs)", interrupted);
    is(told, ROUNDS, "and the writer is told");
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 5;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)tap_now_ns();
    diag("seed %llu", (unsigned long long)seed);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t server = fork(), clients[CLIENTS];
    if (server == 0) _exit(serve());
    eventually(5000, shared->port != 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        if ((clients[i] = fork()) == 0) _exit(visit(seed + i * 1000003));
    usleep((useconds_t)(seconds * 1e6));
    shared->stop = true;
    int status;
    bool well = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (!eventually(40000, waitpid(clients[i], &status, WNOHANG) == clients[i])) status = -1, kill(clients[i], SIGKILL);
        if (status) diag("client %u: %x", i, status);
        well &= status == 0;
    }
    shared->close = true;
    ok(well, "%d clients, %llu connections, %llu exchanges", CLIENTS, (unsigned long long)shared->connections,
       (unsigned long long)shared->exchanges);
    is(shared->damaged, 0, "every block is whole");
    is(shared->unexpected, 0, "and every command was");
    bool ended = eventually(10000, waitpid(server, &status, WNOHANG) == server);
    if (!ended) kill(server, SIGKILL);
    ok(ended && status == 0, "the server closes everything");
    end_prepare(1);
    ended_registrations(seed);
    return tap_done();
}
