// SPDX-License-Identifier: GPL-2.0-only
// An ioengine for stock fio whose I/O goes through libtercet to a namespace of an NVMe-oF target or to a volume.
#include "connection.h"

#include <sys/prctl.h>

#ifndef BUILT_FOR
#error "BUILT_FOR is the version of fio that the headers are of"
#endif

// The interface has a version, which fio compares, but the structures behind it change with every release.
extern const char fio_version_string[] __attribute__((weak));

static bool fio_is_ours(void) {
    const char *version = fio_version_string ? fio_version_string : "a fio that does not say its version";
    if (strcmp(version, BUILT_FOR) == 0) return true;
    log_err("tercet: this engine was built for %s and cannot run in %s: build it anew with Tools/setup\n", BUILT_FOR, version);
    return false;
}

// Registered memory is the engine's to give; a job that says mem= keeps its own, which then goes through the library's
// cache of registrations.
static struct ioengine_ops with_own_memory;

// Jobs that are processes are forked from one that has opened nothing. So jobs are of one kind.
static bool kinds_are_mixed(const struct thread_data *td) {
    static bool has_threads, has_processes;
    if (td->o.use_thread) has_threads = true;
    else has_processes = true;
    if (!has_threads || !has_processes) return false;
    log_err("tercet: jobs with thread=1 and jobs without it do not go together\n");
    return true;
}

// A process cannot share a volume's attachment with another: the later one would fence the earlier one.
static bool volume_is_taken(const struct thread_data *td) {
    const struct engine_options *options = td->eo;
    static bool is_first = true;
    const bool is_alone = is_first || td->o.stonewall;
    is_first = false;
    if (!options->volume || td->o.use_thread || is_alone) return false;
    log_err("tercet: %s: jobs that use a volume at the same time need thread=1\n", td->o.name);
    return true;
}

static bool blocks_fit(const struct thread_data *td, uint64_t block_size) {
    for (int direction = 0; direction < DDIR_RWDIR_CNT; direction++) {
        if (td->o.min_bs[direction] % block_size == 0 && !td->o.bs_unaligned) continue;
        log_err("tercet: %s: bs=%llu does not fit the target's block size %llu\n", td->o.name,
                td->o.min_bs[direction], (unsigned long long)block_size);
        return false;
    }
    return true;
}

static unsigned int job_depth(const struct thread_data *td) { return td->o.iodepth ? td->o.iodepth : 1; }

static struct job *job_make(struct thread_data *td, struct failure *failure) {
    const unsigned int depth = job_depth(td);
    struct connection *connection = connection_open(td->eo, depth, td->o.use_thread, failure);
    if (!connection) return NULL;
    unsigned int entries = 1;
    while (entries < depth) entries *= 2;
    struct job *job = calloc(1, sizeof *job);
    job->connection = connection;
    job->mask = entries - 1;
    job->done = calloc(entries, sizeof *job->done);
    job->events = calloc(depth, sizeof *job->events);
    job->queued = calloc(depth, sizeof *job->queued);
    return job;
}

static int refuse(struct thread_data *td, const struct failure *failure) {
    const struct engine_options *options = td->eo;
    if (options->volume) log_err("tercet: %s: volume: %s\n", td->o.name, failure->message);
    else log_err("tercet: %s: %s at %s:%u: %s\n", td->o.name, options->subnqn, options->traddr, options->trsvcid, failure->message);
    td_verror(td, failure->error, "tercet");
    return 1;
}

static int refuse_options(struct thread_data *td) {
    td_verror(td, EINVAL, "tercet");
    return 1;
}

static void choose_memory(struct thread_data *td) {
    if (!fio_option_is_set(&td->o, mem_type) || td->io_ops == &with_own_memory) return;
    with_own_memory = *td->io_ops;
    with_own_memory.iomem_alloc = NULL;
    with_own_memory.iomem_free = NULL;
    td->io_ops = &with_own_memory;
}

// With create_serialize=0 this comes after engine_init, in the job's own thread or process.
static int engine_setup(struct thread_data *td) {
    if (!fio_is_ours()) return 1;
    if (!options_are_sound(td->eo) || kinds_are_mixed(td) || volume_is_taken(td)) return refuse_options(td);
    if (td->o.nr_files > 1) {
        log_err("tercet: %s: %u files; a namespace or a volume is one\n", td->o.name, td->o.nr_files);
        return refuse_options(td);
    }
    choose_memory(td);

    struct failure failure = {0};
    struct extent extent;
    if (td->o.use_thread && !td->io_ops_data) td->io_ops_data = job_make(td, &failure);
    if (td->io_ops_data) {
        extent = ((struct job *)td->io_ops_data)->connection->extent;
    } else if (td->o.use_thread || !connection_probe(td->eo, &extent, &failure)) {
        return refuse(td, &failure);
    }
    if (!blocks_fit(td, extent.block_size)) return refuse_options(td);
    if (!td->files_index) {
        add_file(td, "tercet", 0, 0);
        td->o.nr_files = td->o.nr_files ? td->o.nr_files : 1;
        td->o.open_files++;
    }
    td->files[0]->filetype = FIO_TYPE_BLOCK;
    td->files[0]->real_file_size = extent.block_size * extent.block_count;
    return 0;
}

static int engine_init(struct thread_data *td) {
    if (td->io_ops_data) return 0;
    if (!fio_is_ours()) return 1;
    if (!options_are_sound(td->eo)) return refuse_options(td);
    choose_memory(td);
    // A job that is a process does not outlive fio, which alone knows of it.
    if (!td->o.use_thread) prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct failure failure = {0};
    td->io_ops_data = job_make(td, &failure);
    return td->io_ops_data ? 0 : refuse(td, &failure);
}

static void engine_cleanup(struct thread_data *td) {
    struct job *job = td->io_ops_data;
    if (!job) return;
    connection_close(job->connection);
    free(job->done);
    free(job->events);
    free(job->queued);
    free(job);
    td->io_ops_data = NULL;
}

static int engine_iomem_alloc(struct thread_data *td, size_t bytes) {
    struct connection *connection = ((struct job *)td->io_ops_data)->connection;
    connection_take(connection);
    td->orig_buffer = tercet_alloc(connection->handle, bytes);
    connection_release(connection);
    return td->orig_buffer ? 0 : 1;
}

static void engine_iomem_free(struct thread_data *td) {
    struct job *job = td->io_ops_data;
    if (!job || !td->orig_buffer) return;
    connection_take(job->connection);
    tercet_free(job->connection->handle, td->orig_buffer);
    connection_release(job->connection);
    td->orig_buffer = NULL;
}

static bool describe(const struct thread_data *td, struct io_u *io_u, struct tercet_io *io) {
    *io = (struct tercet_io){
        .offset = io_u->offset, .length = io_u->xfer_buflen, .buffer = io_u->xfer_buf, .user_data = io_u};
    switch (io_u->ddir) {
    case DDIR_READ:
        io->opcode = TERCET_READ;
        return true;
    case DDIR_WRITE:
        io->opcode = TERCET_WRITE;
        io->flags = td->o.sync_io ? TERCET_FUA : 0;
        return true;
    case DDIR_TRIM:
        io->opcode = ((struct engine_options *)td->eo)->trim_command;
        return true;
    // A device has one kind of flush, which is at least what each of these asks for.
    case DDIR_SYNC:
    case DDIR_DATASYNC:
    case DDIR_SYNC_FILE_RANGE:
        io->opcode = TERCET_FLUSH;
        return true;
    default:
        return false;
    }
}

enum {
    polls_before_yielding = 16,
    // Longer than a round trip on an idle machine; whoever has not answered by then needs this processor, or takes its time.
    spell_before_sleeping_us = 200,
};

// A spell without anything to fetch.
struct spell {
    unsigned int polls;
    struct timespec start;
};

// Lets others have the processor, more the longer nothing comes: where targets share it with us, they are why.
static void wait_a_little(struct spell *spell) {
    if (++spell->polls < polls_before_yielding) return;
    struct timespec now;
    fio_gettime(&now, NULL);
    if (spell->polls == polls_before_yielding) spell->start = now;
    // Yielding is not enough for a kernel's threads that work for the peer.
    if (utime_since(&spell->start, &now) > spell_before_sleeping_us) usleep(20);
    else sched_yield();
}

// Flushes, and waits for it. What was queued before leaves first, with fio's help.
static enum fio_q_status flush(struct job *job, struct io_u *io_u, const struct tercet_io *io) {
    if (job->queued_count) return FIO_Q_BUSY;
    io_u->engine_data = job;
    connection_take(job->connection);
    const int error = tercet_submit(job->connection->handle, io);
    if (error == 0) {
        report_submitted(job->connection->report);
        job->awaited = io_u;
    }
    for (struct spell spell = {0};;) {
        connection_poll(job->connection);
        const bool is_done = !job->awaited;
        connection_release(job->connection);
        if (is_done) break;
        wait_a_little(&spell);
        connection_take(job->connection);
    }
    if (error == -EAGAIN) return FIO_Q_BUSY;
    if (error) io_u->error = (unsigned int)-error;
    return FIO_Q_COMPLETED;
}

static enum fio_q_status engine_queue(struct thread_data *td, struct io_u *io_u) {
    struct job *job = td->io_ops_data;
    struct tercet_io io;
    fio_ro_check(td, io_u);
    if (!describe(td, io_u, &io)) {
        io_u->error = EINVAL;
        return FIO_Q_COMPLETED;
    }
    // As fio's other engines do, and as it counts on: otherwise it asks for the same flush again while one is under way.
    if (ddir_sync(io_u->ddir)) return flush(job, io_u, &io);
    io_u->engine_data = job;
    connection_take(job->connection);
    const int error = tercet_submit(job->connection->handle, &io);
    // Other jobs may have all there is: their completions make room.
    if (error == -EAGAIN) connection_poll(job->connection);
    connection_release(job->connection);
    if (error == -EAGAIN) return FIO_Q_BUSY;
    if (error) {
        io_u->error = (unsigned int)-error;
        return FIO_Q_COMPLETED;
    }
    report_submitted(job->connection->report);
    job->queued[job->queued_count++] = io_u;
    return FIO_Q_QUEUED;
}

static int engine_commit(struct thread_data *td) {
    struct job *job = td->io_ops_data;
    if (job->queued_count == 0) return 0;
    if (fio_fill_issue_time(td)) {
        struct timespec now;
        fio_gettime(&now, NULL);
        for (unsigned int index = 0; index < job->queued_count; index++) {
            job->queued[index]->issue_time = now;
            io_u_queued(td, job->queued[index]);
        }
        if (td->o.read_iolog_file) td->last_issue = now;
    }
    io_u_mark_submit(td, job->queued_count);
    job->queued_count = 0;
    connection_take(job->connection);
    connection_poll(job->connection);
    connection_release(job->connection);
    return 0;
}

static bool is_over(const struct timespec *limit, const struct timespec *start) {
    if (!limit) return false;
    struct timespec now;
    fio_gettime(&now, NULL);
    const int64_t passed = (now.tv_sec - start->tv_sec) * 1000000000ll + now.tv_nsec - start->tv_nsec;
    return passed >= limit->tv_sec * 1000000000ll + limit->tv_nsec;
}

static int engine_getevents(struct thread_data *td, unsigned int min, unsigned int max, const struct timespec *limit) {
    struct job *job = td->io_ops_data;
    struct connection *connection = job->connection;
    struct timespec start = {0};
    if (limit) fio_gettime(&start, NULL);
    for (struct spell spell = {0};;) {
        connection_take(connection);
        if (job->tail - job->head < min || min == 0) connection_poll(connection);
        unsigned int count = job->tail - job->head;
        if (count >= min || is_over(limit, &start)) {
            if (count > max) count = max;
            for (unsigned int index = 0; index < count; index++)
                job->events[index] = job->done[job->head++ & job->mask];
            connection_release(connection);
            return (int)count;
        }
        connection_release(connection);
        wait_a_little(&spell);
    }
}

static struct io_u *engine_event(struct thread_data *td, int event) {
    return ((struct job *)td->io_ops_data)->events[event];
}

// There is no file behind a file's name.
static int engine_file(struct thread_data *td, struct fio_file *file) { return 0; }

__attribute__((visibility("default"))) struct ioengine_ops ioengine = {
    .name = "tercet",
    .version = FIO_IOOPS_VERSION,
    .flags = FIO_DISKLESSIO | FIO_NOEXTEND | FIO_NODISKUTIL | FIO_ASYNCIO_SETS_ISSUE_TIME,
    .setup = engine_setup,
    .init = engine_init,
    .cleanup = engine_cleanup,
    .iomem_alloc = engine_iomem_alloc,
    .iomem_free = engine_iomem_free,
    .queue = engine_queue,
    .commit = engine_commit,
    .getevents = engine_getevents,
    .event = engine_event,
    .open_file = engine_file,
    .close_file = engine_file,
    .invalidate = engine_file,
    .unlink_file = engine_file,
    .options = engine_option_table,
    .option_struct_size = sizeof(struct engine_options),
};
