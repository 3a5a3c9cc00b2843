// The connection manager: addresses, connections, refusals, disconnects, events.
#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rdma_event_channel *channel(void) {
    struct rdma_event_channel *c = rdma_create_event_channel();
    if (!c) bail("event channel: %s", strerror(errno));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return c;
}
static struct rdma_cm_id *identifier(struct rdma_event_channel *c) {
    struct rdma_cm_id *id;
    if (rdma_create_id(c, &id, NULL, RDMA_PS_TCP)) bail("id: %s", strerror(errno));
    return id;
}
static struct sockaddr *v4(const char *text, unsigned port) {
    static struct sockaddr_in addresses[4];
    static int next;
    struct sockaddr_in *a = &addresses[next++ % 4];
    *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, text, &a->sin_addr);
    return (struct sockaddr *)a;
}
static struct sockaddr *v6(const char *text, unsigned port) {
    static struct sockaddr_in6 a;
    a = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    inet_pton(AF_INET6, text, &a.sin6_addr);
    return (struct sockaddr *)&a;
}

// The next event of a type within a second; skips TIMEWAIT_EXIT.
static struct rdma_cm_event *event(struct rdma_event_channel *c, enum rdma_cm_event_type type) {
    struct rdma_cm_event *e = NULL;
    while (eventually(1500, rdma_get_cm_event(c, &e) == 0) && e->event == RDMA_CM_EVENT_TIMEWAIT_EXIT &&
           type != RDMA_CM_EVENT_TIMEWAIT_EXIT)
        rdma_ack_cm_event(e), e = NULL;
    if (!e) {
        diag("no event, expected %s", rdma_event_str(type));
        return NULL;
    }
    if (e->event != type) {
        diag("event %s, expected %s", rdma_event_str(e->event), rdma_event_str(type));
        rdma_ack_cm_event(e);
        return NULL;
    }
    return e;
}
static bool got(struct rdma_event_channel *c, enum rdma_cm_event_type type, int status) {
    struct rdma_cm_event *e = event(c, type);
    bool right = e && e->status == status;
    if (e && !right) diag("status %d, expected %d", e->status, status);
    if (e) rdma_ack_cm_event(e);
    return right;
}
static bool resolve(struct rdma_cm_id *id, struct sockaddr *to) {
    return !rdma_resolve_addr(id, NULL, to, 1000) && got(id->channel, RDMA_CM_EVENT_ADDR_RESOLVED, 0) &&
           !rdma_resolve_route(id, 1000) && got(id->channel, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
}
static struct ibv_qp_init_attr small = {.qp_type = IBV_QPT_RC, .cap = {8, 8, 1, 1, 64}, .sq_sig_all = 1};
static void queue_pair(struct rdma_cm_id *id) {
    struct ibv_qp_init_attr init = small;
    if (rdma_create_qp(id, NULL, &init)) bail("QP: %s", strerror(errno));
}

static void addresses(void) {
    struct rdma_event_channel *c = channel();
    struct rdma_cm_id *one = identifier(c), *two = identifier(c), *three = identifier(c);
    is(rdma_bind_addr(one, v4("127.0.0.1", 0)), 0, "bind to port 0");
    unsigned port = ntohs(rdma_get_src_port(one));
    ok(port >= 1024, "gives a port: %u", port);
    ok(one->verbs && one->port_num == 1, "and the device");
    ok(rdma_bind_addr(two, v4("127.0.0.1", port)) == -1 && errno == EADDRINUSE, "the same address is in use");
    ok(rdma_bind_addr(two, v4("0.0.0.0", port)) == -1 && errno == EADDRINUSE, "a wildcard that includes it, too");
    ok(rdma_bind_addr(two, v6("::", port)) == -1 && errno == EADDRINUSE, "and the wildcard of both families");
    is(rdma_bind_addr(two, v4("127.0.0.2", port)), 0, "another address is free");
    int only = 1;
    rdma_set_option(three, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &only, sizeof only);
    is(rdma_bind_addr(three, v6("::", port)), 0, "and so is the wildcard of IPv6 alone");
    rdma_destroy_id(three), rdma_destroy_id(two), rdma_destroy_id(one);
    one = identifier(c);
    is(rdma_bind_addr(one, v4("0.0.0.0", port)), 0, "a port is free when its identifiers are gone");
    ok(!one->verbs, "a wildcard has no device");
    two = identifier(c);
    ok(rdma_bind_addr(two, v4("127.0.0.1", port)) == -1 && errno == EADDRINUSE, "a wildcard includes every address");
    ok(rdma_bind_addr(two, v4("192.0.2.1", 0)) == -1 && errno == EADDRNOTAVAIL, "no address of this host");
    rdma_resolve_addr(two, NULL, v4("192.0.2.1", port), 1000);
    ok(got(c, RDMA_CM_EVENT_ADDR_ERROR, -EHOSTUNREACH), "nor is there a way to it");
    struct rdma_cm_event *e;
    ok(rdma_get_cm_event(c, &e) == -1 && errno == EAGAIN, "an empty channel that does not block");
    ok(rdma_create_id(c, &three, NULL, RDMA_PS_UDP) == -1 && errno == EPROTONOSUPPORT, "datagrams are refused");
    rdma_destroy_id(two), rdma_destroy_id(one);
    rdma_destroy_event_channel(c);
}

static struct rdma_event_channel *sc, *cc;
static struct rdma_cm_id *server;
static unsigned port;

static void connections(const char *listen_at, struct sockaddr *(*make)(const char *, unsigned), const char *to) {
    sc = channel(), cc = channel();
    server = identifier(sc);
    struct rdma_cm_id *client = identifier(cc);
    rdma_bind_addr(server, make(listen_at, 0));
    port = ntohs(rdma_get_src_port(server));
    is(rdma_listen(server, 4), 0, "listen at %s", listen_at);
    ok(resolve(client, make(to, port)), "resolve %s", to);
    queue_pair(client);
    char greeting[57] = "client";
    struct rdma_conn_param parameters = {.private_data = greeting, .private_data_len = 57, .responder_resources = 3,
                                         .initiator_depth = 5, .retry_count = 7, .rnr_retry_count = 6};
    ok(rdma_connect(client, &parameters) == -1 && errno == EINVAL, "57 bytes of private data are too many");
    parameters.private_data_len = 56;
    is(rdma_connect(client, &parameters), 0, "connect with 56");
    struct rdma_cm_event *e = event(sc, RDMA_CM_EVENT_CONNECT_REQUEST);
    if (!e) bail("no request");
    struct rdma_cm_id *accepted = e->id;
    ok(e->listen_id == server && accepted->verbs && accepted->channel == sc, "a request at the listener");
    ok(e->param.conn.private_data_len == 56 && !memcmp(e->param.conn.private_data, greeting, 56), "its private data");
    ok(e->param.conn.responder_resources == 5 && e->param.conn.initiator_depth == 3, "depths from the listener's view");
    ok(e->param.conn.rnr_retry_count == 6, "and its retries");
    ok(rdma_get_dst_port(accepted) == rdma_get_src_port(client) && rdma_get_src_port(accepted) == htons((uint16_t)port),
       "both ports");
    // Another thread's channel.
    struct rdma_event_channel *other = channel();
    is(rdma_migrate_id(accepted, other), 0, "migrate before the acknowledgement");
    rdma_ack_cm_event(e);
    queue_pair(accepted);
    char answer[197] = "server";
    parameters = (struct rdma_conn_param){.private_data = answer, .private_data_len = 197, .responder_resources = 2,
                                          .initiator_depth = 1, .rnr_retry_count = 7};
    ok(rdma_accept(accepted, &parameters) == -1 && errno == EINVAL, "197 bytes of private data are too many");
    parameters.private_data_len = 196;
    is(rdma_accept(accepted, &parameters), 0, "accept with 196");
    e = event(cc, RDMA_CM_EVENT_ESTABLISHED);
    ok(e && e->id == client && e->param.conn.private_data_len == 196 && !memcmp(e->param.conn.private_data, answer, 196),
       "established, with the private data");
    ok(e && e->param.conn.responder_resources == 1 && e->param.conn.initiator_depth == 2, "and the depths");
    if (e) rdma_ack_cm_event(e);
    ok(got(other, RDMA_CM_EVENT_ESTABLISHED, 0), "established at the other channel");
    struct ibv_qp_attr attributes;
    struct ibv_qp_init_attr init;
    ibv_query_qp(client->qp, &attributes, 0, &init);
    ok(attributes.qp_state == IBV_QPS_RTS && attributes.max_rd_atomic == 2 && attributes.max_dest_rd_atomic == 1 &&
           attributes.rnr_retry == 7, "the client's queue pair is as agreed");
    ibv_query_qp(accepted->qp, &attributes, 0, &init);
    ok(attributes.qp_state == IBV_QPS_RTS && attributes.max_rd_atomic == 1 && attributes.max_dest_rd_atomic == 2 &&
           attributes.rnr_retry == 6, "the server's too");
    static char buffer[64];
    struct ibv_mr *mr = rdma_reg_msgs(accepted, buffer, sizeof buffer), *mine = rdma_reg_msgs(client, greeting, 56);
    rdma_post_recv(accepted, NULL, buffer, sizeof buffer, mr);
    rdma_post_send(client, NULL, greeting, 56, mine, 0);
    struct ibv_wc wc;
    ok(rdma_get_recv_comp(accepted, &wc) == 1 && wc.status == IBV_WC_SUCCESS && !strcmp(buffer, "client"), "a message");
    ok(rdma_get_send_comp(client, &wc) == 1 && wc.status == IBV_WC_SUCCESS, "and its completion");

    rdma_post_recv(accepted, NULL, buffer, sizeof buffer, mr);
    is(rdma_disconnect(client), 0, "disconnect");
    ok(got(other, RDMA_CM_EVENT_DISCONNECTED, 0), "the server hears of it");
    ok(got(cc, RDMA_CM_EVENT_DISCONNECTED, 0), "so does the client");
    ok(got(cc, RDMA_CM_EVENT_TIMEWAIT_EXIT, 0), "and of the end of the time-wait");
    ibv_query_qp(client->qp, &attributes, 0, &init);
    is(attributes.qp_state, IBV_QPS_ERR, "the client's queue pair is in error");
    is(rdma_disconnect(accepted), 0, "the server disconnects too");
    ok(rdma_get_recv_comp(accepted, &wc) == 1 && wc.status == IBV_WC_WR_FLUSH_ERR, "its receive is flushed");
    rdma_dereg_mr(mr), rdma_dereg_mr(mine);
    rdma_destroy_qp(accepted), rdma_destroy_qp(client);
    is(rdma_destroy_id(accepted), 0, "destroyed");
    rdma_destroy_id(client);
    rdma_destroy_event_channel(other);
}

static void refusals(void) {
    struct rdma_cm_id *client = identifier(cc);
    resolve(client, v4("127.0.0.1", port));
    queue_pair(client);
    struct rdma_conn_param parameters = {.retry_count = 7};
    rdma_connect(client, &parameters);
    struct rdma_cm_event *e = event(sc, RDMA_CM_EVENT_CONNECT_REQUEST);
    struct rdma_cm_id *request = e->id;
    rdma_ack_cm_event(e);
    char why[149] = "no room";
    ok(rdma_reject(request, why, 149) == -1 && errno == EINVAL, "149 bytes are too many to reject with");
    is(rdma_reject(request, why, 148), 0, "reject with 148");
    e = event(cc, RDMA_CM_EVENT_REJECTED);
    ok(e && e->status == 28 && e->param.conn.private_data_len == 148 && !strcmp(e->param.conn.private_data, "no room"),
       "rejected by the consumer, with the private data");
    if (e) rdma_ack_cm_event(e);
    rdma_destroy_id(request);
    rdma_destroy_qp(client), rdma_destroy_id(client);

    client = identifier(cc);
    resolve(client, v4("127.0.0.1", port));
    rdma_connect(client, &parameters);
    e = event(sc, RDMA_CM_EVENT_CONNECT_REQUEST);
    request = e->id;
    rdma_ack_cm_event(e);
    rdma_destroy_id(request);
    ok(got(cc, RDMA_CM_EVENT_REJECTED, 28), "a request that is destroyed is rejected");
    rdma_destroy_id(client);

    client = identifier(cc);
    resolve(client, v4("127.0.0.1", port));
    rdma_connect(client, &parameters);
    e = event(sc, RDMA_CM_EVENT_CONNECT_REQUEST);
    request = e->id;
    rdma_ack_cm_event(e);
    rdma_destroy_id(client);
    ok(got(sc, RDMA_CM_EVENT_REJECTED, 4), "a client that goes before the answer");
    ok(rdma_accept(request, &parameters) == -1 && errno == EINVAL, "cannot be accepted any more");
    rdma_destroy_id(request);

    // More requests than the backlog takes, then the listener goes.
    struct rdma_cm_id *clients[5];
    for (int i = 0; i < 5; i++) {
        clients[i] = identifier(cc);
        resolve(clients[i], v4("127.0.0.1", port));
        rdma_connect(clients[i], &parameters);
    }
    ok(got(cc, RDMA_CM_EVENT_REJECTED, 28), "the fifth request for a backlog of four is rejected");
    is(rdma_destroy_id(server), 0, "the listener goes");
    bool all = true;
    for (int i = 0; i < 4; i++) all &= got(cc, RDMA_CM_EVENT_REJECTED, 28);
    ok(all, "with it its requests");
    for (int i = 0; i < 5; i++) rdma_destroy_id(clients[i]);
    client = identifier(cc);
    resolve(client, v4("127.0.0.1", port));
    rdma_connect(client, &parameters);
    ok(got(cc, RDMA_CM_EVENT_REJECTED, 8), "nobody listens");
    rdma_destroy_id(client);
    rdma_destroy_event_channel(sc), rdma_destroy_event_channel(cc);
}

static void *serve_end_point(void *argument) {
    struct rdma_addrinfo hints = {.ai_flags = RAI_PASSIVE, .ai_port_space = RDMA_PS_TCP}, *info;
    char text[16];
    snprintf(text, sizeof text, "%u", *(unsigned *)argument);
    if (rdma_getaddrinfo("127.0.0.1", text, &hints, &info)) return "getaddrinfo";
    struct ibv_qp_init_attr init = small;
    struct rdma_cm_id *listener, *id;
    if (rdma_create_ep(&listener, info, NULL, &init)) return "create_ep";
    rdma_freeaddrinfo(info);
    if (rdma_listen(listener, 0) || rdma_get_request(listener, &id)) return "get_request";
    static char buffer[32];
    struct ibv_mr *mr = rdma_reg_msgs(id, buffer, sizeof buffer);
    rdma_post_recv(id, NULL, buffer, sizeof buffer, mr);
    if (rdma_accept(id, NULL)) return "accept";
    struct ibv_wc wc;
    if (rdma_get_recv_comp(id, &wc) != 1 || wc.status || strcmp(buffer, "end point")) return "message";
    rdma_disconnect(id);
    rdma_dereg_mr(mr);
    rdma_destroy_ep(id);
    rdma_destroy_ep(listener);
    return NULL;
}

static void end_points(void) {
    struct rdma_event_channel *c = channel();
    struct rdma_cm_id *probe = identifier(c);
    rdma_bind_addr(probe, v4("127.0.0.1", 0));
    unsigned free_port = ntohs(rdma_get_src_port(probe));
    rdma_destroy_id(probe);
    rdma_destroy_event_channel(c);
    pthread_t thread;
    pthread_create(&thread, NULL, serve_end_point, &free_port);
    struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP}, *info;
    char text[16];
    snprintf(text, sizeof text, "%u", free_port);
    is(rdma_getaddrinfo("127.0.0.1", text, &hints, &info), 0, "rdma_getaddrinfo");
    struct rdma_cm_id *id = NULL;
    struct ibv_qp_init_attr init;
    // Until the other thread listens.
    bool connected = eventually(2000, ({
        init = small;
        bool done = !rdma_create_ep(&id, info, NULL, &init) && !rdma_connect(id, NULL);
        if (!done && id) rdma_destroy_ep(id), id = NULL;
        done;
    }));
    ok(connected, "rdma_create_ep and a connection without event channels");
    rdma_freeaddrinfo(info);
    static char message[] = "end point";
    if (connected) {
        rdma_post_send(id, NULL, message, sizeof message, NULL, IBV_SEND_INLINE);
        struct ibv_wc wc;
        ok(rdma_get_send_comp(id, &wc) == 1 && wc.status == IBV_WC_SUCCESS, "a message");
        is(rdma_disconnect(id), 0, "disconnect");
        rdma_destroy_ep(id);
    }
    void *problem;
    pthread_join(thread, &problem);
    ok(!problem, "the passive side: %s", problem ? (char *)problem : "fine");
}

// A server that is killed: the client hears of it, whatever it was doing.
static void deaths(void) {
    int ports[2];
    if (pipe2(ports, O_CLOEXEC)) bail("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        struct rdma_event_channel *c = rdma_create_event_channel();
        struct rdma_cm_id *id = identifier(c);
        rdma_bind_addr(id, v4("127.0.0.1", 0));
        rdma_listen(id, 0);
        unsigned number = ntohs(rdma_get_src_port(id));
        if (write(ports[1], &number, sizeof number) < 0) _exit(1);
        struct rdma_conn_param parameters = {.rnr_retry_count = 7};
        struct rdma_cm_event *e;
        for (int requests = 0; !rdma_get_cm_event(c, &e);) {
            if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST && ++requests == 1) {
                queue_pair(e->id);
                rdma_accept(e->id, &parameters);
            } else if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST && write(ports[1], &number, sizeof number) < 0) {
                _exit(1);
            }
            rdma_ack_cm_event(e);
        }
        _exit(0);
    }
    unsigned number;
    if (read(ports[0], &number, sizeof number) != sizeof number) bail("no port");
    struct rdma_event_channel *c = channel();
    struct rdma_cm_id *connected = identifier(c), *asking = identifier(c);
    struct rdma_conn_param parameters = {.retry_count = 7};
    resolve(connected, v4("127.0.0.1", number));
    queue_pair(connected);
    rdma_connect(connected, &parameters);
    ok(got(c, RDMA_CM_EVENT_ESTABLISHED, 0), "connected to another process");
    resolve(asking, v4("127.0.0.1", number));
    queue_pair(asking);
    rdma_connect(asking, &parameters);
    if (read(ports[0], &number, sizeof number) != sizeof number) bail("the second request did not come");
    uint64_t start = tap_now_ns();
    kill(pid, SIGKILL);
    struct rdma_cm_event *e;
    bool disconnected = false, rejected = false;
    while ((!disconnected || !rejected) && eventually(1000, rdma_get_cm_event(c, &e) == 0)) {
        if (e->event == RDMA_CM_EVENT_DISCONNECTED) disconnected = e->id == connected;
        if (e->event == RDMA_CM_EVENT_REJECTED) rejected = e->id == asking;
        rdma_ack_cm_event(e);
    }
    ok(disconnected, "killed: the connection is reported as disconnected");
    ok(rejected, "and the request that waited as rejected");
    ok(tap_now_ns() - start < 100000000, "within 100 ms");
    struct ibv_qp_attr attributes;
    struct ibv_qp_init_attr init;
    ok(eventually(100, !ibv_query_qp(connected->qp, &attributes, 0, &init) && attributes.qp_state == IBV_QPS_ERR),
       "the queue pair is in error");
    waitpid(pid, NULL, 0);
    rdma_destroy_qp(connected), rdma_destroy_qp(asking);
    rdma_destroy_id(connected), rdma_destroy_id(asking);
    rdma_destroy_event_channel(c);
}

int main(void) {
    deaths(); // first: it forks
    addresses();
    tap_prefix = "IPv4: ";
    connections("127.0.0.1", v4, "127.0.0.1");
    refusals();
    tap_prefix = "wildcard: ";
    connections("0.0.0.0", v4, "127.0.0.1");
    rdma_destroy_id(server), rdma_destroy_event_channel(sc), rdma_destroy_event_channel(cc);
    tap_prefix = "IPv6: ";
    connections("::1", v6, "::1");
    rdma_destroy_id(server), rdma_destroy_event_channel(sc), rdma_destroy_event_channel(cc);
    tap_prefix = "";
    end_points();
    return tap_done();
}
