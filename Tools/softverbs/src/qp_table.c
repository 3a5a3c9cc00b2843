// The queue pairs of this process: their numbers, and what concerns all of them.
#include "softverbs.h"

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sv_qp *table[SV_MAX_QP];
static uint32_t free_list[SV_MAX_QP];
static uint32_t free_head, free_count, never_used = 1, in_use;

bool sv_qp_take_index(struct sv_qp *qp) {
    pthread_mutex_lock(&table_lock);
    uint32_t index = 0;
    if (in_use < (uint32_t)sv_config.max_qp) {
        // Numbers rest before they are used again.
        if (never_used < SV_MAX_QP && free_count < 64) {
            index = never_used++;
            atomic_store(&sv_process.segment->qp_limit, never_used);
        } else if (free_count) {
            index = free_list[free_head++ % SV_MAX_QP];
            free_count--;
        }
    }
    if (index) {
        in_use++;
        qp->index = index;
        qp->shared = &sv_process.segment->qps[index];
        qp->ring = sv_process.segment->rings[index];
        table[index] = qp;
    }
    pthread_mutex_unlock(&table_lock);
    return index;
}

void sv_qp_return_index(struct sv_qp *qp) {
    pthread_mutex_lock(&table_lock);
    table[qp->index] = NULL;
    free_list[(free_head + free_count++) % SV_MAX_QP] = qp->index;
    in_use--;
    pthread_mutex_unlock(&table_lock);
}

bool sv_qp_tick_all(uint64_t now) {
    (void)now;
    bool more = false;
    pthread_mutex_lock(&table_lock);
    for (uint32_t i = 1; i < never_used; i++) {
        struct sv_qp *qp = table[i];
        if (!qp) continue;
        pthread_mutex_lock(&qp->lock);
        if (qp->deadline || qp->delay_until || qp->send_head != qp->send_tail) sv_qp_progress_locked(qp);
        more |= qp->deadline || qp->delay_until;
        pthread_mutex_unlock(&qp->lock);
        if (sv_qp_awaits_peer(qp)) {
            uint32_t count = (uint32_t)atomic_load(&qp->shared->acknowledged);
            if (qp->awaited == count) sv_peer_kick(qp->peer);
            qp->awaited = count;
            more = true;
        }
    }
    pthread_mutex_unlock(&table_lock);
    return more;
}

void sv_qp_peer_died(struct sv_peer *peer) {
    pthread_mutex_lock(&table_lock);
    for (uint32_t i = 1; i < never_used; i++) {
        struct sv_qp *qp = table[i];
        if (!qp) continue;
        pthread_mutex_lock(&qp->lock);
        // A queue pair that its owner closed in good order before is just not there any more, as on hardware.
        if (qp->peer == peer && qp->qp.qp_base.state >= IBV_QPS_RTR) {
            sv_receive_progress(qp); // what had arrived
            if (atomic_load(&qp->remote->link) == SV_LINK_OPEN && qp->remote->number == qp->attributes.dest_qp_num)
                sv_qp_error_locked(qp, IBV_WC_RETRY_EXC_ERR);
            else sv_qp_progress_locked(qp);
        }
        pthread_mutex_unlock(&qp->lock);
    }
    pthread_mutex_unlock(&table_lock);
}

void sv_qp_all_fatal(void) {
    pthread_mutex_lock(&table_lock);
    for (uint32_t i = 1; i < never_used; i++) {
        struct sv_qp *qp = table[i];
        if (!qp) continue;
        pthread_mutex_lock(&qp->lock);
        sv_qp_error_locked(qp, IBV_WC_WR_FLUSH_ERR);
        pthread_mutex_unlock(&qp->lock);
    }
    pthread_mutex_unlock(&table_lock);
}
