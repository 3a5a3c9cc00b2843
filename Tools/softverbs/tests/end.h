// One end of a connection, in this process or in a child that is told what to do through a socket. The same tests run on
// both.
#ifndef END_H
#define END_H

#include "tap.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <string.h>
#include <sys/types.h>

enum { END_MEMORY = 1 << 20 };

struct end_options {
    uint32_t send_wr, recv_wr, sge, inline_data, cqe, access, srq_wr;
    uint8_t max_rd_atomic, max_dest_rd_atomic, rnr_retry, min_rnr_timer, timeout, retry_cnt, signal_all, channel;
    uint32_t qp_access;
};
extern const struct end_options end_defaults;

enum end_command {
    END_OPEN, END_CONNECT, END_RECV, END_SEND, END_POLL, END_MODIFY, END_STATE, END_DEREG, END_REREG, END_READ, END_WRITE,
    END_ASYNC, END_EXIT, END_KILL, END_NOTIFY, END_EVENT, END_LIMIT, END_UNMAP,
};

struct end_request {
    enum end_command command;
    struct end_options options;
    uint32_t qp_num, key, length, flags, immediate, opcode, pieces;
    uint64_t wr_id, offset, remote, compare, swap;
    uint8_t data[256];
};

struct end_reply {
    int result;
    uint32_t qp_num, key;
    uint64_t memory;
    struct ibv_wc wc;
    uint8_t data[256];
};

struct end_local; // its objects

struct end {
    struct end_local *local; // of this process, or NULL
    int fd;                  // to the child
    pid_t pid;
    uint32_t qp_num, key;
    uint64_t memory;
};

// Children are made before this process uses verbs: call once, first.
void end_prepare(int children);
void end_open(struct end *end, bool remote, const struct end_options *options);
void end_close(struct end *end);
void end_connect(struct end *one, struct end *other);
struct end_reply end_do(struct end *end, struct end_request request);
// Without waiting for the child; the reply has to be taken later.
void end_start(struct end *end, struct end_request request);
struct end_reply end_finish(struct end *end);

int end_recv(struct end *end, uint64_t wr_id, uint64_t offset, uint32_t length);
int end_send(struct end *end, struct end_request request); // .opcode, .offset, .length, .flags, .wr_id, ...
bool end_poll(struct end *end, struct ibv_wc *wc);
bool end_wait(struct end *end, struct ibv_wc *wc); // for a completion, up to a second
int end_state(struct end *end);
int end_modify(struct end *end, enum ibv_qp_state state);
void end_fill(struct end *end, uint64_t offset, const void *data, uint32_t length);
bool end_holds(struct end *end, uint64_t offset, const void *data, uint32_t length);
int end_async(struct end *end); // type of the next event, or -1

struct end_local *end_local_open(const struct end_options *options);
struct ibv_qp *end_local_qp(struct end_local *local);
struct ibv_cq *end_local_cq(struct end_local *local);
struct ibv_pd *end_local_pd(struct end_local *local);
struct ibv_mr *end_local_mr(struct end_local *local);
struct ibv_context *end_local_context(struct end_local *local);
struct ibv_srq *end_local_srq(struct end_local *local);

#endif
