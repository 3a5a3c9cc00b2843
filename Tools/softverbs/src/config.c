// Limits of the device and behaviour, from the environment; messages; time; counted signals.
#include "softverbs.h"

#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct sv_config sv_config = {
    .max_sge = SV_MAX_SGE,
    .max_sge_rd = SV_MAX_SGE,
    .max_qp = SV_MAX_QP - 1,
    .max_qp_wr = 16384,
    .max_cq = SV_MAX_CQ - 1,
    .max_cqe = 1 << 20,
    .max_mr = SV_MAX_MR - 1,
    .max_pd = 1 << 16,
    .max_rd_atom = 16,
    .max_srq = 1 << 16,
    .max_srq_wr = 32767,
    .max_inline = SV_SLOT_PAYLOAD,
    .cm_timeout_ms = 20000,
    .cm_refuse_ms = 250,
};

static void limit(const char *name, int *value, int minimum) {
    const char *text = getenv(name);
    if (!text || !*text) return;
    char *end;
    long number = strtol(text, &end, 0);
    if (*end || number < minimum || number > *value) {
        sv_log("%s=%s is outside %d...%d: ignored", name, text, minimum, *value);
        return;
    }
    *value = (int)number;
}

void sv_config_load(void) {
    const char *level = getenv("SOFTVERBS_LOG");
    sv_config.log_level = level ? atoi(level) : 1;
    limit("SOFTVERBS_MAX_SGE", &sv_config.max_sge, 1);
    if (sv_config.max_sge_rd > sv_config.max_sge) sv_config.max_sge_rd = sv_config.max_sge;
    limit("SOFTVERBS_MAX_SGE_RD", &sv_config.max_sge_rd, 1);
    limit("SOFTVERBS_MAX_QP", &sv_config.max_qp, 1);
    limit("SOFTVERBS_MAX_QP_WR", &sv_config.max_qp_wr, 1);
    limit("SOFTVERBS_MAX_CQ", &sv_config.max_cq, 1);
    limit("SOFTVERBS_MAX_CQE", &sv_config.max_cqe, 1);
    limit("SOFTVERBS_MAX_MR", &sv_config.max_mr, 1);
    limit("SOFTVERBS_MAX_PD", &sv_config.max_pd, 1);
    limit("SOFTVERBS_MAX_RD_ATOM", &sv_config.max_rd_atom, 0);
    limit("SOFTVERBS_MAX_SRQ", &sv_config.max_srq, 0);
    limit("SOFTVERBS_MAX_SRQ_WR", &sv_config.max_srq_wr, 1);
    limit("SOFTVERBS_MAX_INLINE", &sv_config.max_inline, 0);
    limit("SOFTVERBS_CM_REFUSE_MS", &sv_config.cm_refuse_ms, 0);
    limit("SOFTVERBS_CM_TIMEOUT_MS", &sv_config.cm_timeout_ms, 1);
    const char *signal = getenv("SOFTVERBS_REMOVAL_SIGNAL");
    sv_config.removal_signal = signal ? atoi(signal) : 0;
}

void sv_log(const char *format, ...) {
    if (sv_config.log_level < 1) return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "softverbs[%d]: %s\n", getpid(), text);
}

uint64_t sv_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int sv_signal_open(void) { return eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE); }

void sv_signal_post(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

void sv_signal_reset(int fd, unsigned count) {
    uint64_t value;
    struct iovec part = {&value, sizeof value};
    while (preadv2(fd, &part, 1, -1, RWF_NOWAIT) > 0) {}
    for (value = count; value && write(fd, &value, sizeof value) < 0 && errno == EINTR;) {}
}

int sv_signal_wait(int fd) {
    uint64_t value;
    return read(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}
