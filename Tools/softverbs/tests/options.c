// Small devices, faults on demand, removal of the device, and sleep that costs nothing.
#include "end.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// Runs a function in a child with its own environment: the library reads it when it starts.
static void with(void (*function)(void), const char *name, const char *value, const char *name2, const char *value2) {
    int count[2];
    if (pipe(count)) bail("pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        setenv(name, value, 1);
        if (name2) setenv(name2, value2, 1);
        function();
        int result[2] = {tap_count, tap_failures};
        if (write(count[1], result, sizeof result) < 0) _exit(1);
        _exit(0);
    }
    close(count[1]);
    int result[2] = {tap_count, tap_failures};
    bool whole = read(count[0], result, sizeof result) == sizeof result;
    close(count[0]);
    int status;
    waitpid(pid, &status, 0);
    tap_count = result[0], tap_failures = result[1];
    if (!whole || status) ok(false, "%s=%s: the child ended with %x", name, value, status);
}

static struct end a, b;
static struct ibv_wc wc;
static void pair(void) {
    struct end_options o = end_defaults;
    o.sge = 1;
    end_open(&a, false, &o), end_open(&b, false, &o);
    end_connect(&a, &b);
}
static int send_small(uint64_t id) {
    end_recv(&b, id, 0, 64);
    return end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8, .wr_id = id});
}

static struct ibv_context *device(void) {
    struct ibv_device **list = ibv_get_device_list(NULL);
    struct ibv_context *context = ibv_open_device(list[0]);
    ibv_free_device_list(list);
    return context;
}

static void few_elements(void) {
    struct ibv_context *context = device();
    struct ibv_device_attr attributes;
    ibv_query_device(context, &attributes);
    ok(attributes.max_sge == 3 && attributes.max_sge_rd == 1, "a device with 3 elements per request, 1 per READ");
    struct end_options o = end_defaults;
    o.sge = 3;
    end_open(&a, false, &o), end_open(&b, false, &o);
    end_connect(&a, &b);
    is(end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_READ, .length = 64, .pieces = 2, .remote = b.memory, .key = b.key}),
       EINVAL, "a READ of 2 is refused");
    is(end_send(&a, (struct end_request){.opcode = IBV_WR_RDMA_WRITE, .length = 64, .pieces = 3, .remote = b.memory, .key = b.key}),
       0, "a WRITE of 3 is not");
    end_close(&a), end_close(&b);
    struct ibv_pd *pd = ibv_alloc_pd(context);
    struct ibv_cq *cq = ibv_create_cq(context, 8, NULL, NULL, 0);
    struct ibv_qp_init_attr init = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .cap = {1, 1, 4, 1, 0}};
    ok(!ibv_create_qp(pd, &init) && errno == EINVAL, "nor is a queue pair with more");
}
static void few_regions(void) {
    struct ibv_context *context = device();
    struct ibv_pd *pd = ibv_alloc_pd(context);
    static char memory[4];
    struct ibv_mr *mrs[3];
    bool fine = true;
    for (int i = 0; i < 3; i++) fine &= (mrs[i] = ibv_reg_mr(pd, memory, 4, 0)) != NULL;
    ok(fine && !ibv_reg_mr(pd, memory, 4, 0) && errno == ENOMEM, "a device with 3 regions has no fourth");
    ibv_dereg_mr(mrs[1]);
    ok(ibv_reg_mr(pd, memory, 4, 0) != NULL, "until one is given back");
}
static void small_queues(void) {
    struct ibv_context *context = device();
    struct ibv_pd *pd = ibv_alloc_pd(context);
    ok(!ibv_create_cq(context, 65, NULL, NULL, 0) && errno == EINVAL, "65 entries of 64 in a CQ");
    struct ibv_cq *cq = ibv_create_cq(context, 64, NULL, NULL, 0);
    struct ibv_qp_init_attr init = {.send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC, .cap = {9, 1, 1, 1, 0}};
    ok(!ibv_create_qp(pd, &init) && errno == EINVAL, "9 requests of 8 in a send queue");
    init.cap.max_send_wr = 8;
    ok(ibv_create_qp(pd, &init) != NULL, "8 are fine");
}
static void no_reads(void) {
    struct ibv_context *context = device();
    struct ibv_device_attr attributes;
    ibv_query_device(context, &attributes);
    is(attributes.max_qp_rd_atom, 2, "a device with 2 READs at once");
    struct end_options o = end_defaults; // asks for 4
    end_open(&a, false, &o), end_open(&b, false, &o);
    is(end_do(&a, (struct end_request){.command = END_CONNECT, .qp_num = b.qp_num}).result, EINVAL, "refuses 4");
}

static void registration_fails(void) {
    pair(); // two regions
    struct ibv_pd *pd = end_local_pd(a.local);
    static char memory[4];
    struct ibv_mr *third = ibv_reg_mr(pd, memory, 4, 0);
    ok(third && !ibv_reg_mr(pd, memory, 4, 0) && errno == ENOMEM, "registrations fail after 3");
}
static void dropped(void) {
    pair();
    bool fine = true;
    for (int i = 0; i < 10; i++)
        fine &= !send_small(i) && end_wait(&b, &wc) && wc.status == IBV_WC_SUCCESS && end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS;
    ok(fine, "10 requests pass");
    send_small(10);
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_RETRY_EXC_ERR && wc.wr_id == 10, "the eleventh is not answered");
    ok(end_state(&b) == IBV_QPS_RTS, "the other side does not know yet");
    end_send(&b, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    ok(end_wait(&b, &wc) && wc.status == IBV_WC_RETRY_EXC_ERR, "and finds out when it sends");
}
static void delayed(void) {
    pair();
    uint64_t start = tap_now_ns();
    for (int i = 0; i < 20; i++) send_small(i);
    bool fine = true;
    for (int i = 0; i < 20; i++) fine &= end_wait(&a, &wc) && wc.status == IBV_WC_SUCCESS && wc.wr_id == (unsigned)i;
    uint64_t ms = (tap_now_ns() - start) / 1000000;
    ok(fine && ms >= 20, "20 delayed requests complete in order, after %u ms", (unsigned)ms);
}
static unsigned until_drop(void) {
    pair();
    for (unsigned i = 0;; i++) {
        send_small(i);
        struct ibv_wc theirs;
        while (!end_poll(&a, &wc)) end_poll(&b, &theirs);
        if (wc.status != IBV_WC_SUCCESS) return i;
    }
}
static int seeded[2];
static void random_drop(void) {
    unsigned drop = until_drop();
    if (write(seeded[1], &drop, sizeof drop) < 0) _exit(2);
}

static int patience_ms = 2000;
static struct rdma_cm_event *event(struct rdma_event_channel *channel) {
    struct pollfd wait = {.fd = channel->fd, .events = POLLIN};
    struct rdma_cm_event *e = NULL;
    if (poll(&wait, 1, patience_ms) == 1) rdma_get_cm_event(channel, &e);
    return e;
}
static int attempt(struct rdma_event_channel *channel, enum rdma_cm_event_type type) {
    struct rdma_cm_id *listener, *id;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rdma_event_channel *other = rdma_create_event_channel();
    rdma_create_id(other, &listener, NULL, RDMA_PS_TCP);
    rdma_bind_addr(listener, (struct sockaddr *)&at);
    rdma_listen(listener, 1);
    at.sin_port = rdma_get_src_port(listener);
    rdma_create_id(channel, &id, NULL, RDMA_PS_TCP);
    rdma_resolve_addr(id, NULL, (struct sockaddr *)&at, 1000), rdma_ack_cm_event(event(channel));
    rdma_resolve_route(id, 1000), rdma_ack_cm_event(event(channel));
    struct rdma_conn_param parameters = {.retry_count = 7};
    if (rdma_connect(id, &parameters)) return -1;
    struct rdma_cm_event *e = event(type == RDMA_CM_EVENT_CONNECT_REQUEST ? other : channel);
    return e && e->event == type ? 1 + (e->status < 0 ? -e->status : e->status) : 0;
}
static void refused(void) { is(attempt(rdma_create_event_channel(), RDMA_CM_EVENT_REJECTED), 1 + 8, "requests are refused"); }
static void lost(void) {
    is(attempt(rdma_create_event_channel(), RDMA_CM_EVENT_UNREACHABLE), 1 + ETIMEDOUT, "a lost request ends as unreachable");
}
static const char *control;
static void set_control(const char *text) {
    FILE *file = fopen(control, "w");
    fputs(text, file);
    fclose(file);
}
static void controlled(void) {
    struct rdma_event_channel *channel = rdma_create_event_channel();
    is(attempt(channel, RDMA_CM_EVENT_CONNECT_REQUEST), 1, "an empty control file: requests arrive");
    set_control("refuse=1000000\n");
    patience_ms = 100; // an attempt may still come before the change is seen
    bool took = eventually(5000, attempt(channel, RDMA_CM_EVENT_REJECTED) == 9);
    ok(took, "a changed control file counts at once");
}

static void removed(void) {
    pair();
    struct rdma_event_channel *channel = rdma_create_event_channel();
    struct rdma_cm_id *id;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    rdma_create_id(channel, &id, NULL, RDMA_PS_TCP);
    rdma_bind_addr(id, (struct sockaddr *)&at);
    rdma_listen(id, 1);
    end_recv(&a, 5, 0, 64);
    raise(SIGUSR2);
    struct rdma_cm_event *e = event(channel);
    ok(e && e->event == RDMA_CM_EVENT_DEVICE_REMOVAL && e->id == id, "a signal removes the device: RDMA CM says so");
    int types[2] = {-1, -1};
    ok(eventually(1000, (types[0] = end_async(&a)) >= 0) && eventually(1000, (types[1] = end_async(&a)) >= 0) &&
           types[1] == IBV_EVENT_DEVICE_FATAL, "so does an asynchronous event");
    ok(end_wait(&a, &wc) && wc.status == IBV_WC_WR_FLUSH_ERR && end_state(&b) == IBV_QPS_ERR, "all queue pairs are in error");
    int count;
    ibv_free_device_list(ibv_get_device_list(&count));
    is(count, 0, "the device is not listed any more");
}

// Two processes that wait for each other on their completion channels.
static double processor_ms(pid_t pid) {
    char path[64], text[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    unsigned long user = 0, kernel = 0;
    sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    return (double)(user + kernel) * 1000 / (double)sysconf(_SC_CLK_TCK);
}
static long switches(pid_t pid) { // of all its threads
    char command[128];
    snprintf(command, sizeof command, "cat /proc/%d/task/*/status | awk '/ctxt_switches/ {n += $2} END {print n}'", pid);
    FILE *file = popen(command, "r");
    long count = -1;
    if (file && fscanf(file, "%ld", &count) != 1) count = -1;
    if (file) pclose(file);
    return count;
}
// Whether neither process is switched for a tenth of a second.
static bool rest(pid_t one, pid_t other) {
    long before = switches(one) + switches(other);
    usleep(100000);
    return switches(one) + switches(other) == before;
}

static void idle(void) {
    end_prepare(2);
    struct end_options o = end_defaults;
    o.channel = 1;
    end_open(&a, true, &o), end_open(&b, true, &o);
    end_connect(&a, &b);
    end_recv(&a, 1, 0, 64), end_recv(&b, 1, 0, 64);
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    end_wait(&a, &wc), end_wait(&b, &wc);
    end_send(&b, (struct end_request){.opcode = IBV_WR_SEND, .length = 8});
    end_send(&a, (struct end_request){.opcode = IBV_WR_SEND, .length = 8}); // waits for a receive, for ever
    end_wait(&b, &wc), end_wait(&a, &wc);
    end_do(&a, (struct end_request){.command = END_NOTIFY}), end_do(&b, (struct end_request){.command = END_NOTIFY});
    ok(eventually(10000, rest(a.pid, b.pid)), "both sides come to rest");
    long before = switches(a.pid) + switches(b.pid);
    double used = processor_ms(a.pid) + processor_ms(b.pid);
    sleep(2);
    long after = switches(a.pid) + switches(b.pid);
    used = processor_ms(a.pid) + processor_ms(b.pid) - used;
    ok(after - before <= 4, "both sides asleep for 2 s: %ld context switches", after - before);
    ok(used < 20, "and %.0f ms of processor time", used);
    end_recv(&b, 2, 0, 64);
    ok(eventually(1000, end_do(&b, (struct end_request){.command = END_EVENT}).result == 0), "and they wake up");
    end_close(&a), end_close(&b);
}

int main(void) {
    with(few_elements, "SOFTVERBS_MAX_SGE", "3", "SOFTVERBS_MAX_SGE_RD", "1");
    with(few_regions, "SOFTVERBS_MAX_MR", "3", NULL, NULL);
    with(small_queues, "SOFTVERBS_MAX_CQE", "64", "SOFTVERBS_MAX_QP_WR", "8");
    with(no_reads, "SOFTVERBS_MAX_RD_ATOM", "2", NULL, NULL);
    with(registration_fails, "SOFTVERBS_FAULT", "reg_fail_after=3", NULL, NULL);
    with(dropped, "SOFTVERBS_FAULT", "drop_after=10", NULL, NULL);
    with(delayed, "SOFTVERBS_FAULT", "seed=3 delay_us=10000", NULL, NULL);
    with(refused, "SOFTVERBS_FAULT", "refuse=1000000", NULL, NULL);
    with(lost, "SOFTVERBS_FAULT", "lose=1000000", "SOFTVERBS_CM_TIMEOUT_MS", "50");
    unsigned drops[3] = {0};
    if (pipe(seeded)) bail("pipe");
    static const char *seeds[3] = {"seed=7 drop_rate=20000", "seed=7 drop_rate=20000", "seed=8 drop_rate=20000"};
    for (int i = 0; i < 3; i++) {
        with(random_drop, "SOFTVERBS_FAULT", seeds[i], NULL, NULL);
        if (read(seeded[0], &drops[i], sizeof drops[i]) < 0) bail("read");
    }
    ok(drops[0] == drops[1] && drops[0] != drops[2], "the same seed drops at the same request: %u, %u; another one at %u",
       drops[0], drops[1], drops[2]);
    char folder[] = "/tmp/softverbs-test-XXXXXX", path[64];
    if (!mkdtemp(folder)) bail("mkdtemp");
    snprintf(path, sizeof path, "%s/faults", folder);
    control = path;
    set_control("");
    with(controlled, "SOFTVERBS_FAULT_FILE", path, NULL, NULL);
    unlink(path), rmdir(folder);
    with(removed, "SOFTVERBS_REMOVAL_SIGNAL", "12", NULL, NULL);
    with(idle, "SOFTVERBS_LOG", "1", NULL, NULL);
    return tap_done();
}
