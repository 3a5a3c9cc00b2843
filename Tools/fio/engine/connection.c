// SPDX-License-Identifier: GPL-2.0-only
#include "connection.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    most_depth = 1023,
    shared_depth = 512,
    // A volume's keep-alive timeout is 2 s unless it is said otherwise; what a poll sends is answered by the next.
    keeper_period_us = 50000,
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *registry;

static struct tercet *open_handle(const struct engine_options *options, unsigned int depth, struct failure *failure) {
    struct tercet *handle = NULL;
    int error;
    if (options->volume) {
        struct tercet_volume_options volume = {
            .size = sizeof volume, .members = options->volume, .host_nqn = options->hostnqn, .depth = depth,
            .keep_alive_ms = options->keep_alive_ms, .io_timeout_ms = options->io_timeout_ms,
            .attach_timeout_ms = options->attach_timeout_ms, .take_over = options->take_over,
        };
        error = tercet_open_volume(&volume, &handle, failure->message, sizeof failure->message);
    } else {
        struct tercet_options one = {
            .size = sizeof one, .address = options->traddr, .port = options->trsvcid,
            .subsystem_nqn = options->subnqn, .host_nqn = options->hostnqn, .nsid = options->nsid, .depth = depth,
            .keep_alive_ms = options->keep_alive_ms, .io_timeout_ms = options->io_timeout_ms,
            .fast_io_fail_ms = options->fast_io_fail_ms,
        };
        error = tercet_open(&one, &handle, failure->message, sizeof failure->message);
    }
    failure->error = -error;
    return error ? NULL : handle;
}

void connection_poll(struct connection *connection) {
    struct tercet_completion completions[64];
    int count = tercet_poll(connection->handle, completions, 64);
    for (int index = 0; index < count; index++) {
        struct io_u *io_u = completions[index].user_data;
        struct job *job = io_u->engine_data;
        io_u->error = (unsigned int)-completions[index].error;
        if (io_u == job->awaited) job->awaited = NULL;
        else job->done[job->tail++ & job->mask] = io_u;
    }
    report_completed(connection->report, (unsigned int)count);
    atomic_store_explicit(&connection->was_polled, true, memory_order_relaxed);
}

// A job may hold the connection for long, where it is not given the processor: the next round will do.
static bool try_to_take(struct connection *connection) {
    for (int attempt = 0; attempt < 100; attempt++) {
        if (!atomic_exchange_explicit(&connection->is_taken, true, memory_order_acquire)) return true;
        sched_yield();
    }
    return false;
}

// Says how a volume's members are, and keeps connections alive whose jobs do nothing for a while: they think, wait for their turn, or have a low rate.
static void *keep(void *unused) {
    for (;;) {
        usleep(keeper_period_us);
        pthread_mutex_lock(&registry_lock);
        for (struct connection *connection = registry; connection; connection = connection->next) {
            const bool was_polled = atomic_exchange(&connection->was_polled, false);
            if (was_polled && !connection->report) continue;
            if (!try_to_take(connection)) continue;
            if (!was_polled) connection_poll(connection);
            report_status(connection->report, connection->handle);
            // Only jobs count.
            atomic_store(&connection->was_polled, false);
            connection_release(connection);
        }
        pthread_mutex_unlock(&registry_lock);
    }
    return unused;
}

static void start_keeper(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, keep, NULL) == 0) pthread_detach(thread);
}

struct connection *connection_open(const struct engine_options *options, unsigned int depth, bool is_thread,
                                   struct failure *failure) {
    static pthread_once_t keeper = PTHREAD_ONCE_INIT;
    // Jobs open one after the other: who comes second to a volume has to find the first.
    static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
    const bool is_shared = is_thread && options->volume;
    struct connection *connection;

    pthread_mutex_lock(&opening);
    pthread_mutex_lock(&registry_lock);
    for (connection = registry; connection; connection = connection->next)
        if (is_shared && connection->shared_as && strcmp(connection->shared_as, options->volume) == 0) break;
    if (connection) connection->users++;
    pthread_mutex_unlock(&registry_lock);
    if (connection) goto out;

    if (is_shared && depth < shared_depth) depth = shared_depth;
    struct report *report = options->report ? report_map(options->report) : NULL;
    if (options->report && !report) {
        failure->error = errno;
        snprintf(failure->message, sizeof failure->message, "report=%s: %s", options->report, strerror(errno));
        goto out;
    }
    struct tercet *handle = open_handle(options, depth < most_depth ? depth : most_depth, failure);
    if (!handle) {
        report_unmap(report);
        goto out;
    }
    connection = calloc(1, sizeof *connection);
    connection->handle = handle;
    connection->extent = (struct extent){tercet_block_size(handle), tercet_block_count(handle)};
    connection->report = report;
    connection->users = 1;
    connection->shared_as = is_shared ? strdup(options->volume) : NULL;
    pthread_mutex_lock(&registry_lock);
    connection->next = registry;
    registry = connection;
    pthread_mutex_unlock(&registry_lock);
    pthread_once(&keeper, start_keeper);
out:
    pthread_mutex_unlock(&opening);
    return connection;
}

void connection_close(struct connection *connection) {
    pthread_mutex_lock(&registry_lock);
    const bool is_last = --connection->users == 0;
    struct connection **link = &registry;
    while (is_last && *link != connection) link = &(*link)->next;
    if (is_last) *link = connection->next;
    pthread_mutex_unlock(&registry_lock);
    if (!is_last) return;
    // Who had it taken may not have let go yet.
    connection_take(connection);
    report_status(connection->report, connection->handle);
    tercet_close(connection->handle);
    report_unmap(connection->report);
    free(connection->shared_as);
    free(connection);
}

struct answer {
    struct extent extent;
    struct failure failure;
};

static void probe_in_child(const struct engine_options *options, int pipe) {
    struct answer answer = {0};
    struct tercet *handle = open_handle(options, 1, &answer.failure);
    if (handle) answer.extent = (struct extent){tercet_block_size(handle), tercet_block_count(handle)};
    const ssize_t written = write(pipe, &answer, sizeof answer);
    if (handle) tercet_close(handle);
    _exit(written == sizeof answer ? 0 : 1);
}

bool connection_probe(const struct engine_options *options, struct extent *extent, struct failure *failure) {
    struct answer answer = {.failure = {.error = EIO, .message = "the process that asked for the size died"}};
    int ends[2];
    if (pipe(ends) < 0) {
        failure->error = errno;
        snprintf(failure->message, sizeof failure->message, "pipe: %s", strerror(errno));
        return false;
    }
    const pid_t child = fork();
    if (child == 0) probe_in_child(options, ends[1]);
    close(ends[1]);
    if (child < 0) answer.failure.error = errno;
    // Less than PIPE_BUF: it comes whole or not at all.
    struct answer received;
    ssize_t count;
    do count = read(ends[0], &received, sizeof received);
    while (count < 0 && errno == EINTR);
    if (count == sizeof received) answer = received;
    close(ends[0]);
    if (child > 0) waitpid(child, NULL, 0);
    *extent = answer.extent;
    *failure = answer.failure;
    return extent->block_size > 0;
}
