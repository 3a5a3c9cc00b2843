// libibverbs and librdmacm, and the few calls whose types Swift cannot import.
#ifndef TERCET_CVERBS_SHIM_H
#define TERCET_CVERBS_SHIM_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

/// `ibv_query_port` is a macro over a compatibility type that Swift does not import.
static inline int tercet_query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes) {
    return ibv_query_port(context, port, attributes);
}

#endif
