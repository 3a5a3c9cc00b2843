// Figures, both sides polling on two processors: what the requester sees of one request at a time, and a storage-like
// exchange (64-byte command, 4 KiB RDMA WRITE, 16-byte response) with many outstanding.
//   figures [seconds per figure]
#include "end.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEPTH = 32, BLOCK = 4096 };
struct meeting {
    _Atomic uint32_t qp_num[2], key[2];
    _Atomic uint64_t memory[2];
    _Atomic int ready[2], stop;
};
static struct meeting *meeting;
static struct end_local *local;
static struct ibv_qp *qp;
static struct ibv_cq *cq;
static uint8_t *memory;
static uint32_t lkey;
static int side, peer;
static double seconds = 0.5;

static void pin(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void meet(void) {
    struct end_options o = end_defaults;
    o.signal_all = 0, o.send_wr = o.recv_wr = 4 * DEPTH, o.cqe = 16 * DEPTH;
    local = end_local_open(&o);
    qp = end_local_qp(local), cq = end_local_cq(local);
    memory = end_local_mr(local)->addr, lkey = end_local_mr(local)->lkey;
    memset(memory, side, END_MEMORY);
    meeting->memory[side] = (uintptr_t)memory;
    meeting->key[side] = lkey;
    meeting->qp_num[side] = qp->qp_num;
    if (!eventually(10000, meeting->qp_num[peer])) bail("the other process did not come");
    struct end end = {.local = local};
    if (end_do(&end, (struct end_request){.command = END_CONNECT, .qp_num = meeting->qp_num[peer]}).result) bail("connect");
    meeting->ready[side] = 1;
    if (!eventually(10000, meeting->ready[peer])) bail("the other process did not come");
}

static void receive(uint32_t slot) {
    struct ibv_sge sge = {(uintptr_t)memory + 524288 + slot * 64, 64, lkey};
    struct ibv_recv_wr wr = {.wr_id = slot, .sg_list = &sge, .num_sge = 1}, *bad;
    if (ibv_post_recv(qp, &wr, &bad)) bail("receive");
}
static void request(enum ibv_wr_opcode opcode, uint32_t slot, uint32_t length, bool signalled, uint32_t immediate) {
    struct ibv_sge sge = {(uintptr_t)memory + slot * BLOCK, length, lkey};
    struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = opcode, .imm_data = immediate,
                             .send_flags = signalled ? IBV_SEND_SIGNALED : 0,
                             .wr.rdma = {meeting->memory[peer] + slot * BLOCK, meeting->key[peer]}}, *bad;
    int error = ibv_post_send(qp, &wr, &bad);
    if (error) bail("post: %s", strerror(error));
}

enum { WANTS_ANSWER = 0x100, WANTS_BLOCK = 0x200, SLOT = 0xff };

static void serve(void) {
    struct ibv_wc wc[16];
    uint32_t sent = 0;
    while (!meeting->stop) {
        int count = ibv_poll_cq(cq, 16, wc);
        for (int i = 0; i < count; i++) {
            if (wc[i].status) return;
            if (!(wc[i].opcode & IBV_WC_RECV)) continue;
            receive((uint32_t)wc[i].wr_id);
            uint32_t order = wc[i].imm_data, slot = order & SLOT;
            if (!(order & WANTS_ANSWER)) continue;
            if (order & WANTS_BLOCK) request(IBV_WR_RDMA_WRITE, slot, BLOCK, false, 0);
            request(IBV_WR_SEND_WITH_IMM, slot, order & WANTS_BLOCK ? 16 : 64, ++sent % 16 == 0, slot);
        }
    }
}

static int compare(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static uint64_t samples[1 << 20];

// From the post to the request's own completion, or to the peer's answer.
static uint64_t latency(const char *name, enum ibv_wr_opcode opcode, uint32_t length, bool answered) {
    uint64_t end = tap_now_ns() + (uint64_t)(seconds * 1e9);
    uint32_t count = 0;
    struct ibv_wc wc;
    while (count < sizeof samples / sizeof *samples) {
        uint64_t start = tap_now_ns();
        if (start > end) break;
        request(opcode, 0, length, true, answered ? WANTS_ANSWER : 0);
        bool completed = false, answer = !answered;
        while (!completed || !answer) {
            if (ibv_poll_cq(cq, 1, &wc) < 1) {
                if (tap_now_ns() > end + 5000000000ull) bail("%s: no answer", name);
                continue;
            }
            if (wc.status) bail("%s: %s", name, ibv_wc_status_str(wc.status));
            if (wc.opcode & IBV_WC_RECV) receive((uint32_t)wc.wr_id), answer = true;
            else completed = true;
        }
        samples[count++] = tap_now_ns() - start;
    }
    qsort(samples, count, sizeof *samples, compare);
    diag("%s: median %llu ns, 99%% %llu ns", name, (unsigned long long)samples[count / 2],
         (unsigned long long)samples[count - 1 - count / 100]);
    return samples[count / 2];
}

static uint64_t exchange(uint32_t depth) {
    uint64_t start = tap_now_ns(), end = start + (uint64_t)(seconds * 1e9), done = 0;
    uint32_t running = 0, sent = 0;
    struct ibv_wc wc[16];
    for (; running < depth; running++) request(IBV_WR_SEND_WITH_IMM, running, 64, ++sent % 16 == 0, running | WANTS_ANSWER | WANTS_BLOCK);
    while (running > 0) {
        int count = ibv_poll_cq(cq, 16, wc);
        bool more = tap_now_ns() < end;
        for (int i = 0; i < count; i++) {
            if (wc[i].status) bail("exchange: %s", ibv_wc_status_str(wc[i].status));
            if (!(wc[i].opcode & IBV_WC_RECV)) continue;
            receive((uint32_t)wc[i].wr_id);
            done++;
            if (more) request(IBV_WR_SEND_WITH_IMM, wc[i].imm_data, 64, ++sent % 16 == 0, wc[i].imm_data | WANTS_ANSWER | WANTS_BLOCK);
            else running--;
        }
    }
    uint64_t per_second = done * 1000000000ull / (tap_now_ns() - start);
    diag("64-byte command, 4 KiB WRITE, 16-byte response, depth %u: %llu per second", depth, (unsigned long long)per_second);
    return per_second;
}

int main(int argc, char **argv) {
    if (argc > 1) seconds = atof(argv[1]);
    meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    side = pid == 0, peer = !side;
    pin(side);
    meet();
    for (uint32_t i = 0; i < 2 * DEPTH; i++) receive(i);
    if (side) {
        serve();
        _exit(0);
    }
    // Timings are judged where SOFTVERBS_TIMINGS is set, on a machine that has nothing else to do; elsewhere they are shown.
    bool judges = getenv("SOFTVERBS_TIMINGS") != NULL;
    ok(latency("64-byte SEND, to its completion", IBV_WR_SEND, 64, false) > 0, "SEND and completion");
    uint64_t half = latency("64-byte SEND and answer", IBV_WR_SEND_WITH_IMM, 64, true) / 2;
    ok(half > 0 && (half < 1000 || !judges), "a 64-byte SEND arrives: %llu ns; the aim is 1 us", (unsigned long long)half);
    uint64_t read = latency("4 KiB RDMA READ", IBV_WR_RDMA_READ, BLOCK, false);
    ok(read > 0 && (read < 2000 || !judges), "a 4 KiB RDMA READ: %llu ns; the aim is 2 us", (unsigned long long)read);
    uint64_t write = latency("4 KiB RDMA WRITE", IBV_WR_RDMA_WRITE, BLOCK, false);
    ok(write > 0 && (write < 2000 || !judges), "a 4 KiB RDMA WRITE: %llu ns; the aim is 2 us", (unsigned long long)write);
    latency("64 KiB RDMA READ", IBV_WR_RDMA_READ, 65536, false);
    ok(exchange(1) > 0, "an exchange at depth 1");
    ok(exchange(DEPTH) > 0, "and at depth %d", DEPTH);
    meeting->stop = 1;
    int status;
    waitpid(pid, &status, 0);
    is(status, 0, "the peer ends well");
    return tap_done();
}
