/* SPDX-License-Identifier: GPL-2.0-only */
/* A namespace or a volume that is open, for one job or for all that share it. */
#ifndef TERCET_FIO_CONNECTION_H
#define TERCET_FIO_CONNECTION_H

#include <stdatomic.h>

#include "options.h"
#include "report.h"
#include "tercet.h"

/* What a job has of its own. The ring and the counter are written under the connection's lock. */
struct job {
    struct connection *connection;
    struct io_u **done;        /* ring of what has completed and fio has not fetched */
    unsigned int mask, head, tail;
    struct io_u **events;      /* what the last getevents took from it */
    struct io_u **queued;      /* submitted since the last commit */
    unsigned int queued_count;
    struct io_u *awaited;      /* its completion is not fio's to fetch: engine_queue waits for it; NULL once it is there */
};

/* How big the target is. */
struct extent {
    uint64_t block_size, block_count;
};

struct connection {
    struct tercet *handle;
    struct extent extent;
    atomic_bool is_taken;      /* a handle belongs to one thread at a time */
    atomic_bool was_polled;    /* since the keeper looked last */
    struct report *report;     /* NULL: nobody asked for one */
    unsigned int users;        /* jobs; under the registry's lock */
    char *shared_as;           /* the volume that jobs of this process share; NULL: one job's own */
    struct connection *next;
};

/* What went wrong, for people. */
struct failure {
    int error;                 /* a positive errno */
    char message[256];
};

/* Opens what the options name, or joins who has it open: jobs that are threads share a volume, because a second attach would
 * fence the first. Returns NULL and why. */
struct connection *connection_open(const struct engine_options *, unsigned int depth, bool is_thread, struct failure *);
void connection_close(struct connection *);

/* The target's size, found out by a child process: this process stays free to fork, which verbs do not survive.
 * Returns whether it was found. */
bool connection_probe(const struct engine_options *, struct extent *, struct failure *);

static inline void connection_take(struct connection *connection) {
    for (unsigned int spin = 1; atomic_exchange_explicit(&connection->is_taken, true, memory_order_acquire); spin++)
        if (spin % 64 == 0) sched_yield();
}

static inline void connection_release(struct connection *connection) {
    atomic_store_explicit(&connection->is_taken, false, memory_order_release);
}

/* Does the work there is and gives each job what has completed. The caller has taken the connection. */
void connection_poll(struct connection *);

#endif
