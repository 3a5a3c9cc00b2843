// What processes share: each process owns one segment (a sealed memfd) that its peers map. It holds the doorbells of its
// completion queues, the public half of its queue pairs, its table of memory regions and a receive ring per queue pair.
//
// Nothing in here is a lock: a process that is killed at any instruction leaves words that its peers can interpret.
// Rings have one producer (the peer's queue pair) and one consumer (the owner).
#ifndef SOFTVERBS_SHARED_H
#define SOFTVERBS_SHARED_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SV_QP_BITS = 12,
    SV_MAX_QP = 1 << SV_QP_BITS,
    SV_MAX_PROCESS = 1 << (24 - SV_QP_BITS), // queue pair numbers have 24 bits: process slot, then index
    SV_MAX_CQ = 1024,
    SV_MR_BITS = 17,
    SV_MAX_MR = 1 << SV_MR_BITS,
    SV_KEY_BITS = 32 - SV_MR_BITS, // low bits of a key: its generation
    SV_RING_SLOTS = 128,
    SV_SLOT_BYTES = 512,
    SV_SLOT_PAYLOAD = SV_SLOT_BYTES - 32,
    SV_MAX_SGE = 30, // 16 bytes each, in a slot's payload
    SV_CACHE_LINE = 64,
};

// Doorbell of a completion queue. Bit i of `doorbell`: a queue pair whose index is i modulo 64 has news.
struct sv_cq_shared {
    alignas(SV_CACHE_LINE) _Atomic uint64_t doorbell;
    _Atomic uint32_t kick_wanted; // the owner sleeps: who rings also writes to the owner's eventfd
};

// What a peer may do to a queue pair right now.
enum sv_link_state {
    SV_LINK_CLOSED, // RESET or INIT: packets are dropped, the requester retries
    SV_LINK_OPEN,   // RTR, RTS, SQD
    SV_LINK_ERROR,
};

struct sv_qp_shared {
    // Written by the owner.
    alignas(SV_CACHE_LINE) _Atomic uint32_t link;
    _Atomic uint32_t epoch; // changes with each transition to RTR; 0 is never used
    uint32_t number;
    uint32_t destination;        // queue pair number of the peer
    uint64_t destination_nonce;  // process of the peer
    uint32_t domain;             // protection domain
    uint32_t access;             // enum ibv_access_flags
    uint16_t send_cq, recv_cq;   // indices in `cqs`
    uint8_t min_rnr_timer;
    uint8_t max_dest_rd_atomic;

    // Written by the peer, as receiver of what the owner sent: epoch << 32 | number of messages.
    alignas(SV_CACHE_LINE) _Atomic uint64_t acknowledged;
    _Atomic uint64_t refused; // epoch << 32 | status + 1, about the message after `acknowledged`

    // Written by the owner while it touches the peer's memory: SV_HAZARD | index of the peer's region.
    alignas(SV_CACHE_LINE) _Atomic uint64_t hazard;
    // Written by the owner while it reads a message's data out of the peer's memory.
    _Atomic uint32_t receiving;
    // The same towards the owner's own regions, when it executes what the peer sent: SV_HAZARD | index.
    _Atomic uint64_t own_hazard;

    // Written by the peer, as requester, when it met an error that is fatal here too: epoch << 32 | event type + 1.
    alignas(SV_CACHE_LINE) _Atomic uint64_t fatal;
};

#define SV_HAZARD (1ull << 63)

struct sv_mr_shared {
    _Atomic uint32_t key; // 0: none
    uint32_t domain;
    uint32_t access;
    _Atomic uint32_t owner_qp; // type 2 memory windows: the queue pair they are bound to, or 0
    uint64_t address;          // in the owner's address space
    uint64_t iova;             // what it is called by peers
    uint64_t length;
    uint64_t kind; // enum sv_mr_kind
};

enum sv_mr_kind { SV_KIND_REGION, SV_KIND_WINDOW_1, SV_KIND_WINDOW_2 };

enum sv_slot_opcode { SV_SLOT_SEND, SV_SLOT_SEND_IMM, SV_SLOT_SEND_INV, SV_SLOT_WRITE_IMM, SV_SLOT_ATOMIC, SV_SLOT_WRITE, SV_SLOT_READ };
enum sv_slot_flags { SV_SLOT_SOLICITED = 1, SV_SLOT_BY_REFERENCE = 2 };
enum sv_slot_wait { SV_WAIT_NONE, SV_WAIT_RNR, SV_WAIT_TAKEN, SV_WAIT_CANCELLED };

struct sv_slot {
    _Atomic uint64_t tag;  // epoch << 32 | sequence number + 1 once the message is complete
    _Atomic uint32_t wait; // enum sv_slot_wait
    uint32_t length;
    uint32_t immediate; // or the key: to invalidate, or of the memory to read or write
    uint8_t opcode;
    uint8_t flags;
    uint16_t num_sge;
    uint64_t address; // of the memory to read or write
    uint8_t payload[SV_SLOT_PAYLOAD];
};

struct sv_reference { // of a message by reference: one piece of the sender's memory
    uint64_t address;
    uint64_t length;
};

struct sv_segment {
    uint64_t magic;
    uint64_t nonce; // tells processes apart that use the same slot one after the other
    int32_t pid;
    uint32_t slot;
    _Atomic uint32_t qp_limit; // indices at or above have never been used
    struct sv_cq_shared cqs[SV_MAX_CQ];
    struct sv_qp_shared qps[SV_MAX_QP];
    struct sv_mr_shared mrs[SV_MAX_MR];
    alignas(4096) struct sv_slot rings[SV_MAX_QP][SV_RING_SLOTS];
};

struct sv_atomic { // payload of an atomic; the responder replaces `compare` by the value that it found
    uint64_t compare, swap; // or the addend in `compare`
    uint64_t is_add;
};

#define SV_MAGIC 0x3173627265767473ull

_Static_assert(sizeof(struct sv_slot) == SV_SLOT_BYTES, "a slot fills its place");
_Static_assert(sizeof(struct sv_reference) * SV_MAX_SGE <= SV_SLOT_PAYLOAD, "references fit");

static inline uint32_t sv_key_index(uint32_t key) { return key >> SV_KEY_BITS; }
static inline uint64_t sv_tag(uint32_t epoch, uint32_t sequence) { return (uint64_t)epoch << 32 | sequence; }

#endif
