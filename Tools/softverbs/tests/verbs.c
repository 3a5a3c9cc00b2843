// What the verbs do, between two queue pairs of one process and between two processes.
#include "end.h"

static struct end a, b;
static struct ibv_wc wc;
static uint8_t pattern[65536];

static void pair(bool remote, const struct end_options *one, const struct end_options *other) {
    end_open(&a, false, one);
    end_open(&b, remote, other);
    end_connect(&a, &b);
}
static void unpair(void) { end_close(&a), end_close(&b); }
static bool both_in_error(void) {
    return eventually(1000, end_state(&a) == IBV_QPS_ERR) && eventually(1000, end_state(&b) == IBV_QPS_ERR);
}

static void sends(bool remote) {
    struct end_options o = end_defaults;
    pair(remote, &o, &o);
    static const uint32_t sizes[] = {0, 1, 64, 480, 481, 4096, 65536};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t size = sizes[i];
        end_fill(&a, 0, pattern, size);
        end_recv(&b, 100 + i, 131072, 65536);
        end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = size, .pieces = size > 4 ? 3 : 1, .wr_id = i});
        ok(end_wait(&b, &wc) && wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RECV && wc.wr_id == 100 + i &&
               wc.byte_len == size && wc.qp_num == b.qp_num && end_holds(&b, 131072, pattern, size),
           "SEND of %u bytes arrives", size);
        ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_SEND && wc.wr_id == i &&
               wc.qp_num == a.qp_num, "and completes");
    }
    end_recv(&b, 1, 131072, 65536);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND_WITH_IMM, .length = 8, .immediate = 0x11223344});
    ok(end_wait(&b, &wc) && wc.wc_flags == IBV_WC_WITH_IMM && wc.imm_data == 0x11223344, "SEND with immediate");
    end_wait(&a, &wc);

    uint8_t small[128];
    memset(small, 0x5a, sizeof small);
    end_fill(&a, 0, small, sizeof small);
    end_recv(&b, 1, 131072, 65536);
    is(end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 128, .flags = IBV_SEND_INLINE}), 0, "inline");
    end_fill(&a, 0, pattern, sizeof small); // at once used for something else
    ok(end_wait(&b, &wc) && end_holds(&b, 131072, small, sizeof small), "inline data is taken at the call");
    end_wait(&a, &wc);
    is(end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 129, .flags = IBV_SEND_INLINE}), EINVAL,
       "too much inline data is refused");
    unpair();
}

static void one_sided(bool remote) {
    struct end_options o = end_defaults;
    pair(remote, &o, &o);
    end_fill(&a, 0, pattern, 4096);
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 4096, .pieces = 3, .remote = b.memory + 8192,
                                      .key = b.key, .wr_id = 5});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RDMA_WRITE && wc.wr_id == 5 &&
           end_holds(&b, 8192, pattern, 4096), "RDMA WRITE");
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_READ, .length = 4096, .pieces = 4, .offset = 65536,
                                      .remote = b.memory + 8192, .key = b.key, .wr_id = 6});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RDMA_READ && wc.byte_len == 4096 &&
           end_holds(&a, 65536, pattern, 4096), "RDMA READ");
    ok(!end_poll(&b, &wc), "the passive side has no completion");
    end_recv(&b, 9, 0, 0);
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE_WITH_IMM, .length = 100, .remote = b.memory, .key = b.key,
                                      .immediate = 77});
    ok(end_wait(&b, &wc) && wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM && wc.imm_data == 77 && wc.byte_len == 100 &&
           wc.wr_id == 9 && end_holds(&b, 0, pattern, 100), "RDMA WRITE with immediate");
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_RDMA_WRITE, "and completes");
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 0, .remote = 0, .key = 0});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS, "no bytes need no key");

    uint64_t value = 40, found;
    end_fill(&b, 1024, &value, 8);
    end_send(&a, (struct end_request){.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD, .length = 8, .offset = 512,
                                      .remote = b.memory + 1024, .key = b.key, .compare = 2});
    found = 40, value = 42;
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.opcode == IBV_WC_FETCH_ADD && end_holds(&a, 512, &found, 8) &&
           end_holds(&b, 1024, &value, 8), "fetch and add");
    end_send(&a, (struct end_request){.opcode = IBV_WR_ATOMIC_CMP_AND_SWP, .length = 8, .offset = 512,
                                      .remote = b.memory + 1024, .key = b.key, .compare = 42, .swap = 1000});
    found = 42, value = 1000;
    ok(end_wait(&a, &wc) && wc.opcode == IBV_WC_COMP_SWAP && end_holds(&a, 512, &found, 8) && end_holds(&b, 1024, &value, 8),
       "compare and swap that matches");
    end_send(&a, (struct end_request){.opcode = IBV_WR_ATOMIC_CMP_AND_SWP, .length = 8, .offset = 512,
                                      .remote = b.memory + 1024, .key = b.key, .compare = 1, .swap = 2});
    found = 1000;
    ok(end_wait(&a, &wc) && end_holds(&a, 512, &found, 8) && end_holds(&b, 1024, &value, 8), "and one that does not");
    end_send(&a, (struct end_request){.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD, .length = 8, .offset = 512,
                                      .remote = b.memory + 1028, .key = b.key, .compare = 2});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_REM_INV_REQ_ERR && both_in_error(), "an atomic needs alignment");
    unpair();
}

// Each access that is not allowed ends both queue pairs.
static void keys(bool remote) {
    static const struct {
        const char *name;
        uint32_t opcode, access, qp_access, length;
        int64_t offset;
        int change; // 1 wrong key, 2 stale key
        enum ibv_wc_status status;
    } cases[] = {
        {"a wrong key", IBV_WR_RDMA_WRITE, 7, 7, 64, 0, 1, IBV_WC_REM_ACCESS_ERR},
        {"a wrong key to read", IBV_WR_RDMA_READ, 7, 7, 64, 0, 1, IBV_WC_REM_ACCESS_ERR},
        {"a stale key", IBV_WR_RDMA_WRITE, 7, 7, 64, 0, 2, IBV_WC_REM_ACCESS_ERR},
        {"beyond the end", IBV_WR_RDMA_WRITE, 7, 7, 64, END_MEMORY - 63, 0, IBV_WC_REM_ACCESS_ERR},
        {"before the start", IBV_WR_RDMA_READ, 7, 7, 64, -1, 0, IBV_WC_REM_ACCESS_ERR},
        {"a region that may not be written", IBV_WR_RDMA_WRITE, 1 | IBV_ACCESS_REMOTE_READ, 7, 64, 0, 0, IBV_WC_REM_ACCESS_ERR},
        {"a region that may not be read", IBV_WR_RDMA_READ, 1 | IBV_ACCESS_REMOTE_WRITE, 7, 64, 0, 0, IBV_WC_REM_ACCESS_ERR},
        {"a queue pair that may not be written through", IBV_WR_RDMA_WRITE, 7, IBV_ACCESS_REMOTE_READ, 64, 0, 0,
         IBV_WC_REM_ACCESS_ERR},
        {"an immediate with a wrong key", IBV_WR_RDMA_WRITE_WITH_IMM, 7, 7, 64, 0, 1, IBV_WC_REM_ACCESS_ERR},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct end_options o = end_defaults, p = end_defaults;
        p.access = cases[i].access;
        p.qp_access = cases[i].qp_access;
        pair(remote, &o, &p);
        uint32_t key = b.key;
        if (cases[i].change == 1) key ^= 1;
        if (cases[i].change == 2) {
            end_do(&b, (struct end_request){.command = END_DEREG});
            end_do(&b, (struct end_request){.command = END_REREG, .length = END_MEMORY, .flags = 7});
        }
        end_recv(&b, 50, 0, 64), end_recv(&b, 51, 0, 64);
        end_fill(&a, 0, "written!", 8);
        end_send(&a, (struct end_request){.opcode = cases[i].opcode, .length = cases[i].length, .key = key, .wr_id = 1,
                                          .remote = b.memory + (uint64_t)cases[i].offset});
        end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = 2});
        ok(end_wait(&a, &wc) && wc.status == cases[i].status && wc.wr_id == 1, "%s: status %d", cases[i].name, wc.status);
        ok(end_wait(&a, &wc) && wc.status == IBV_WC_WR_FLUSH_ERR && wc.wr_id == 2, "what follows is flushed");
        ok(both_in_error(), "both queue pairs are in error");
        ok(end_wait(&b, &wc) && wc.status == IBV_WC_WR_FLUSH_ERR && wc.wr_id == 50 && end_wait(&b, &wc) &&
               wc.status == IBV_WC_WR_FLUSH_ERR && wc.wr_id == 51, "the peer's receives are flushed in order");
        is(end_async(&b), IBV_EVENT_QP_ACCESS_ERR, "and it has an asynchronous event");
        if (cases[i].opcode != IBV_WR_RDMA_READ) ok(!end_holds(&b, 0, "written!", 8), "nothing was written");
        unpair();
    }
    struct end_options o = end_defaults;
    pair(remote, &o, &o);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .swap = UINT64_MAX});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_LOC_PROT_ERR && end_state(&a) == IBV_QPS_ERR, "a wrong local key");
    unpair();
    pair(remote, &o, &o);
    end_do(&b, (struct end_request){.command = END_RECV, .length = 64, .key = 0x77777777, .wr_id = 3});
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    ok(end_wait(&b, &wc) && wc.status == IBV_WC_LOC_PROT_ERR && wc.wr_id == 3, "a receive with a wrong local key");
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_REM_OP_ERR && both_in_error(), "fails the sender");
    unpair();
    pair(remote, &o, &o);
    end_recv(&b, 4, 0, 63);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 64});
    ok(end_wait(&b, &wc) && wc.status == IBV_WC_LOC_LEN_ERR && wc.wr_id == 4, "a receive that is too small");
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_REM_INV_REQ_ERR && both_in_error(), "fails the sender");
    unpair();
    o.max_dest_rd_atomic = 0;
    pair(remote, &end_defaults, &o);
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_READ, .length = 8, .remote = b.memory, .key = b.key});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_REM_INV_REQ_ERR && both_in_error(), "a READ where none is answered");
    unpair();
    pair(remote, &end_defaults, &end_defaults);
    end_do(&b, (struct end_request){.command = END_UNMAP});
    if (remote) {
        end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 8, .remote = b.memory, .key = b.key});
        ok(end_wait(&a, &wc) && wc.status == IBV_WC_REM_ACCESS_ERR, "registered memory that has been unmapped");
    }
    unpair();
}

static void receiver_not_ready(bool remote) {
    struct end_options o = end_defaults;
    pair(remote, &o, &o);
    end_fill(&a, 0, pattern, 100);
    for (int i = 0; i < 5; i++) end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 100, .wr_id = i});
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 100, .remote = b.memory + 4096, .key = b.key, .wr_id = 5});
    ok(!end_poll(&b, &wc) && !eventually(30, end_poll(&a, &wc)), "without receives a retry count of 7 waits");
    uint8_t zero[100] = {0};
    ok(end_holds(&b, 4096, zero, 100), "and nothing overtakes");
    for (int i = 0; i < 5; i++) end_recv(&b, i, 1024 * i, 100);
    bool in_order = true;
    for (int i = 0; i < 6; i++)
        in_order &= end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.wr_id == (unsigned)i;
    for (int i = 0; i < 5; i++) in_order &= end_wait(&b, &wc) && wc.status == IBV_WC_SUCCESS && wc.wr_id == (unsigned)i;
    ok(in_order, "until there are: all arrives in order");
    ok(end_holds(&b, 4096, pattern, 100), "then what came after");
    unpair();

    static const struct { uint8_t retries, timer; unsigned minimum_ms, maximum_ms; } cases[] = {
        {0, 12, 0, 200}, {3, 21, 25, 400}, // timer 21: 10.24 ms
    };
    for (int i = 0; i < 2; i++) {
        struct end_options p = end_defaults;
        o.rnr_retry = cases[i].retries;
        p.min_rnr_timer = cases[i].timer;
        pair(remote, &o, &p);
        uint64_t start = tap_now_ns();
        end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 100, .wr_id = 1});
        end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 100, .wr_id = 2});
        // The receiver is not polling either: an adapter would answer without it.
        bool failed = end_wait(&a, &wc) && wc.status == IBV_WC_RNR_RETRY_EXC_ERR && wc.wr_id == 1;
        uint64_t ms = (tap_now_ns() - start) / 1000000;
        ok(failed, "%d retries: RNR retry exceeded", cases[i].retries);
        ok(ms >= cases[i].minimum_ms && ms <= cases[i].maximum_ms, "after about the time that they take: %u ms", (unsigned)ms);
        ok(end_wait(&a, &wc) && wc.status == IBV_WC_WR_FLUSH_ERR && wc.wr_id == 2, "the rest is flushed");
        end_recv(&b, 1, 0, 100);
        ok(!eventually(20, end_poll(&b, &wc)), "a message that was given up is not received");
        unpair();
    }
}

static void queues(bool remote) {
    struct end_options o = end_defaults;
    o.signal_all = 0;
    o.send_wr = 4;
    pair(remote, &o, &end_defaults);
    for (int i = 0; i < 4; i++)
        is(end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = i, .flags = i == 3 ? IBV_SEND_SIGNALED : 0}), 0, "posted");
    is(end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8}), ENOMEM, "a full send queue");
    for (int i = 0; i < 4; i++) end_recv(&b, i, 0, 64);
    ok(end_wait(&a, &wc) && wc.wr_id == 3 && wc.status == IBV_WC_SUCCESS && !end_poll(&a, &wc),
       "only what is signalled completes");
    for (int i = 0; i < 4; i++) end_wait(&b, &wc);
    // Errors complete signalled or not.
    for (int i = 0; i < 3; i++) end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = 10 + i});
    for (int i = 0; i < 3; i++) end_recv(&a, 20 + i, 0, 64);
    is(end_modify(&a, IBV_QPS_ERR), 0, "to the error state");
    unsigned sends = 0, receives = 0;
    bool flushed = true;
    for (int i = 0; i < 6; i++) {
        flushed &= end_wait(&a, &wc) && wc.status == IBV_WC_WR_FLUSH_ERR;
        if (wc.wr_id >= 20) flushed &= wc.wr_id == 20 + receives++;
        else flushed &= wc.wr_id == 10 + sends++;
    }
    ok(flushed && sends == 3 && receives == 3 && !end_poll(&a, &wc), "all is flushed, in order");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = 30});
    end_recv(&a, 31, 0, 64);
    ok(end_wait(&a, &wc) && wc.wr_id == 30 && wc.status == IBV_WC_WR_FLUSH_ERR && end_wait(&a, &wc) && wc.wr_id == 31 &&
           wc.status == IBV_WC_WR_FLUSH_ERR, "what is posted later, too");
    // The peer notices when it sends: nobody answers.
    uint64_t start = tap_now_ns();
    end_send(&b, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 8, .remote = a.memory, .key = a.key});
    ok(end_wait(&b, &wc) && wc.status == IBV_WC_RETRY_EXC_ERR, "a peer that does not answer: retry exceeded");
    ok(tap_now_ns() - start > 10000000, "after the time that the retries take");
    is(end_modify(&a, IBV_QPS_RESET), 0, "to reset");
    is(end_modify(&a, IBV_QPS_RTS), EINVAL, "a transition that does not exist");
    is(end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8}), EINVAL, "no SEND in reset");
    unpair();

    o = end_defaults;
    pair(remote, &o, &o);
    enum { MANY = 3000 };
    unsigned sent = 0, done = 0, got = 0, posted = 0;
    bool good = true;
    uint64_t end = tap_now_ns() + 20000000000ull;
    while ((done < MANY || got < MANY) && good && tap_now_ns() < end) {
        while (posted < MANY && posted < got + 60) end_recv(&b, posted, (posted % 64) * 4096, 4096), posted++;
        if (sent < MANY && sent < done + 60) {
            uint32_t word = sent;
            end_fill(&a, (sent % 64) * 4096, &word, 4);
            end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = sent % 3 ? 4 : 2000, .offset = (sent % 64) * 4096, .wr_id = sent});
            sent++;
        }
        while (end_poll(&a, &wc)) good &= wc.status == IBV_WC_SUCCESS && wc.wr_id == done++;
        while (end_poll(&b, &wc)) {
            uint32_t word = got;
            good &= wc.status == IBV_WC_SUCCESS && wc.wr_id == got && wc.byte_len == (got % 3 ? 4u : 2000u) &&
                    end_holds(&b, (got % 64) * 4096, &word, 4);
            got++;
        }
    }
    ok(good && done == MANY && got == MANY, "%d messages of both kinds, in order", MANY);
    unpair();
}

// The peer neither polls nor sleeps on its channel: an adapter delivers all the same.
static void inattentive(bool remote) {
    struct end_options o = end_defaults;
    pair(remote, &o, &o);
    end_recv(&b, 1, 0, 64), end_recv(&b, 2, 0, 8192);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS, "a SEND completes without the peer's doing");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8192});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS, "a large one too");
    unpair();
    o.channel = 1;
    pair(remote, &o, &o);
    end_recv(&b, 1, 0, 64);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    end_do(&a, (struct end_request){.command = END_NOTIFY});
    ok(eventually(1000, end_do(&a, (struct end_request){.command = END_EVENT}).result == 0),
       "and notifies a sender that sleeps");
    unpair();
}

static void notifications(bool remote) {
    struct end_options o = end_defaults;
    o.channel = 1;
    pair(remote, &o, &o);
    for (int i = 0; i < 10; i++) end_recv(&b, i, 0, 64);
    struct end_request event = {.command = END_EVENT};
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    end_wait(&b, &wc), end_wait(&a, &wc);
    ok(end_do(&b, event).result != 0, "no event without a request for one");
    end_do(&b, (struct end_request){.command = END_NOTIFY});
    ok(end_do(&b, event).result != 0, "no event for what came before");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    ok(eventually(1000, end_do(&b, event).result == 0), "an event for the next completion");
    ok(end_wait(&b, &wc) && wc.status == IBV_WC_SUCCESS, "which can be polled");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    ok(end_wait(&b, &wc) && end_do(&b, event).result != 0, "one request, one event");
    end_do(&b, (struct end_request){.command = END_NOTIFY, .flags = 1});
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    ok(end_wait(&b, &wc) && end_do(&b, event).result != 0, "solicited only: not this one");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .flags = IBV_SEND_SOLICITED});
    ok(eventually(1000, end_do(&b, event).result == 0) && end_wait(&b, &wc), "but this one");
    while (end_poll(&a, &wc)) {}
    end_do(&b, (struct end_request){.command = END_NOTIFY, .flags = 1});
    end_modify(&b, IBV_QPS_ERR);
    ok(eventually(1000, end_do(&b, event).result == 0), "and any error");
    unpair();
}

static void shared_receives(bool remote) {
    struct end_options o = end_defaults, p = end_defaults;
    p.srq_wr = 16;
    pair(remote, &o, &p);
    for (int i = 0; i < 4; i++) end_recv(&b, i, 0, 64);
    is(end_do(&b, (struct end_request){.command = END_LIMIT, .length = 3}).result, 0, "a limit for the SRQ");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    end_wait(&b, &wc), end_wait(&a, &wc);
    is(end_async(&b), -1, "3 of 4 left: no event");
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    end_wait(&b, &wc), end_wait(&a, &wc);
    is(end_async(&b), IBV_EVENT_SRQ_LIMIT_REACHED, "2 left: limit reached");
    for (int i = 0; i < 3; i++) end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = i});
    end_wait(&b, &wc), end_wait(&b, &wc);
    ok(!eventually(10, end_poll(&b, &wc)), "an empty SRQ: the third waits");
    end_recv(&b, 99, 0, 64);
    ok(end_wait(&b, &wc) && wc.wr_id == 99, "for a buffer");
    end_modify(&b, IBV_QPS_ERR);
    is(end_async(&b), IBV_EVENT_QP_LAST_WQE_REACHED, "last WQE reached");
    unpair();
}

static void local_objects(void) {
    struct end_options o = end_defaults;
    o.cqe = 4;
    pair(false, &o, &end_defaults);
    struct ibv_cq *cq = end_local_cq(a.local);
    is(ibv_resize_cq(cq, 2), 0, "a CQ shrinks");
    is(ibv_resize_cq(cq, 100), 0, "and grows");
    is(ibv_resize_cq(cq, 2), 0, "to 2");
    is(ibv_destroy_cq(cq), EBUSY, "a CQ in use stays");
    is(ibv_dealloc_pd(end_local_pd(a.local)), EBUSY, "a PD in use stays");
    for (int i = 0; i < 3; i++)
        end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 8, .remote = b.memory, .key = b.key});
    is(end_async(&a), IBV_EVENT_CQ_ERR, "too many completions: the CQ overruns");
    unpair();

    pair(false, &end_defaults, &end_defaults);
    struct ibv_mr *mr = end_local_mr(b.local);
    struct ibv_mw *mw = ibv_alloc_mw(end_local_pd(b.local), IBV_MW_TYPE_2);
    ok(mw != NULL, "a type 2 memory window");
    ibv_dereg_mr(mr);
    mr = ibv_reg_mr(end_local_pd(b.local), (void *)(uintptr_t)b.memory, END_MEMORY, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
    struct ibv_send_wr bind = {.opcode = IBV_WR_BIND_MW, .bind_mw = {.mw = mw, .rkey = ibv_inc_rkey(mw->rkey), .bind_info = {
        .mr = mr, .addr = b.memory + 4096, .length = 4096, .mw_access_flags = IBV_ACCESS_REMOTE_WRITE}}}, *bad;
    ok(ibv_post_send(end_local_qp(b.local), &bind, &bad) == 0 && end_wait(&b, &wc) && wc.status == IBV_WC_SUCCESS &&
           wc.opcode == IBV_WC_BIND_MW, "bound");
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 4096, .remote = b.memory + 4096, .key = mw->rkey});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS, "can be written through");
    struct ibv_sge buffer = {b.memory, 64, mr->lkey};
    struct ibv_recv_wr receive = {.sg_list = &buffer, .num_sge = 1}, *bad_receive;
    ibv_post_recv(end_local_qp(b.local), &receive, &bad_receive);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND_WITH_INV, .length = 8, .immediate = mw->rkey});
    ok(end_wait(&b, &wc) && wc.status == IBV_WC_SUCCESS && wc.wc_flags == IBV_WC_WITH_INV && wc.invalidated_rkey == mw->rkey,
       "SEND with invalidate");
    end_wait(&a, &wc);
    end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 8, .remote = b.memory + 4096, .key = mw->rkey});
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_REM_ACCESS_ERR, "invalidated the window");
    ibv_dealloc_mw(mw);
    ibv_dereg_mr(mr);
    // give the end a region back, so that it closes as always
    end_do(&b, (struct end_request){.command = END_REREG, .length = END_MEMORY, .flags = 7});
    unpair();

    struct ibv_device **list = ibv_get_device_list(NULL);
    struct ibv_context *context = ibv_open_device(list[0]);
    ibv_free_device_list(list);
    struct ibv_port_attr port;
    ok(ibv_query_port(context, 1, &port) == 0 && port.state == IBV_PORT_ACTIVE && port.link_layer == IBV_LINK_LAYER_ETHERNET,
       "the port is active, Ethernet");
    is(ibv_query_port(context, 2, &port), EINVAL, "there is one port");
    struct ibv_gid_entry entry;
    ok(ibv_query_gid_ex(context, 1, 0, &entry, 0) == 0 && entry.gid_type == IBV_GID_TYPE_ROCE_V2 && entry.gid.raw[12] == 127,
       "GID 0 is RoCE v2, of the loopback");
    struct ibv_pd *pd = ibv_alloc_pd(context);
    struct ibv_cq *small = ibv_create_cq(context, 16, NULL, NULL, 0);
    struct ibv_qp_init_attr init = {.send_cq = small, .recv_cq = small, .qp_type = IBV_QPT_UD, .cap = {1, 1, 1, 1, 0}};
    ok(!ibv_create_qp(pd, &init) && errno == EOPNOTSUPP, "UD is refused");
    struct ibv_qp_init_attr_ex extended = {.send_cq = small, .recv_cq = small, .qp_type = IBV_QPT_RC, .cap = {4, 4, 1, 1, 16},
        .pd = pd, .comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS, .send_ops_flags = IBV_QP_EX_WITH_SEND};
    struct ibv_qp *qp = ibv_create_qp_ex(context, &extended);
    ok(qp && ibv_qp_to_qp_ex(qp), "ibv_wr_* is there");
    ibv_destroy_qp(qp);
    char memory[64];
    ok(!ibv_reg_mr(pd, memory, 64, IBV_ACCESS_REMOTE_WRITE) && errno == EINVAL, "remote write needs local write");
    struct ibv_mr *one = ibv_reg_mr(pd, memory, 64, 1);
    uint32_t key = one->rkey;
    is(ibv_rereg_mr(one, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 7), 0, "a region is registered anew");
    ok(one->rkey != key, "with a new key");
    ibv_dereg_mr(one);
    ibv_destroy_cq(small);
    is(ibv_dealloc_pd(pd), 0, "the PD goes");
    is(ibv_close_device(context), 0, "the device closes");
}

// A peer that is killed.
static void death(void) {
    struct end_options o = end_defaults;
    o.channel = 1;
    pair(true, &o, &o);
    for (int i = 0; i < 3; i++) end_recv(&a, i, 0, 64);
    for (int i = 0; i < 3; i++) end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = 10 + i});
    end_do(&a, (struct end_request){.command = END_NOTIFY});
    uint64_t start = tap_now_ns();
    end_do(&b, (struct end_request){.command = END_KILL});
    ok(eventually(1000, end_do(&a, (struct end_request){.command = END_EVENT}).result == 0), "a killed peer: an event");
    uint64_t us = (tap_now_ns() - start) / 1000;
    ok(us < 100000, "within 100 ms: %u us", (unsigned)us);
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_RETRY_EXC_ERR && wc.wr_id == 10, "the oldest request failed");
    bool flushed = true;
    for (int i = 0; i < 5; i++) flushed &= end_wait(&a, &wc) && wc.status == IBV_WC_WR_FLUSH_ERR;
    ok(flushed && end_state(&a) == IBV_QPS_ERR, "the rest is flushed");
    end_close(&a);
}

int main(void) {
    for (unsigned i = 0; i < sizeof pattern; i++) pattern[i] = (uint8_t)(i * 7 + i / 256 + 1);
    end_prepare(4);
    for (int remote = 0; remote < 2; remote++) {
        tap_prefix = remote ? "processes: " : "threads: ";
        sends(remote);
        one_sided(remote);
        keys(remote);
        receiver_not_ready(remote);
        queues(remote);
        inattentive(remote);
        notifications(remote);
        shared_receives(remote);
    }
    tap_prefix = "";
    local_objects();
    death();
    return tap_done();
}
