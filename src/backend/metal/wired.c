// See wired.h.
#include "backend/metal/wired.h"

#include "backend/metal/calls.h"
#include "base/clock.h"

int qn_metal_wired_beat(qn_metal_wired *w)
{
    if (!w->set) return 0;
    void *pool = objc_autoreleasePoolPush();
    pthread_mutex_lock(&w->lock);
    w->idle = w->now_ms() - w->last_used > QN_METAL_KEEP_MS;
    int asks = !w->idle && !w->uncommitted; // one that changed waits for its commit
    if (asks) qn_metal_residency_request(w->set);
    pthread_mutex_unlock(&w->lock);
    objc_autoreleasePoolPop(pool);
    return asks;
}

static void *beat(void *context)
{
    qn_metal_wired *w = context;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        double until = qn_clock_ms() + w->beat_ms, left;
        if (w->idle) pthread_cond_wait(&w->used, &w->lock);
        while (!w->stop && (left = until - qn_clock_ms()) > 0)
            qn_clock_await(&w->used, &w->lock, (int)left + 1);
        if (w->stop) break;
        pthread_mutex_unlock(&w->lock);
        qn_metal_wired_beat(w);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void commit(qn_metal_wired *w)
{
    if (w->uncommitted) qn_metal_commit(w->set);
    w->uncommitted = 0;
}

void qn_metal_wired_open(qn_metal_wired *w, qn_metal_id device, qn_metal_id queue,
                         double (*now_ms)(void), int beat_ms)
{
    qn_metal_id error = NULL;
    if (!qn_metal_responds(device, sel_registerName("newResidencySetWithDescriptor:error:")))
        return;
    qn_metal_id descriptor = qn_metal_new(objc_getClass("MTLResidencySetDescriptor"));
    if (!descriptor) return;
    w->set = qn_metal_device_residency(device, descriptor, &error);
    qn_metal_release(descriptor);
    if (!w->set) return;
    qn_metal_queue_add_residency(queue, w->set);
    w->now_ms = now_ms;
    w->beat_ms = beat_ms;
    w->last_used = now_ms();
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->used, NULL);
    w->has_thread = beat_ms && pthread_create(&w->thread, NULL, beat, w) == 0; // slower without
}

void qn_metal_wired_close(qn_metal_wired *w, qn_metal_id queue)
{
    if (!w->set) return;
    if (w->has_thread) {
        pthread_mutex_lock(&w->lock);
        w->stop = 1;
        pthread_cond_signal(&w->used);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    commit(w);
    qn_metal_queue_remove_residency(queue, w->set);
    qn_metal_residency_end(w->set);
    qn_metal_release(w->set);
    pthread_cond_destroy(&w->used);
    pthread_mutex_destroy(&w->lock);
    *w = (qn_metal_wired){0};
}

void qn_metal_wired_add(qn_metal_wired *w, qn_metal_id buffer)
{
    if (!w->set) return;
    pthread_mutex_lock(&w->lock);
    qn_metal_residency_add(w->set, buffer);
    w->uncommitted = w->unasked = 1;
    pthread_mutex_unlock(&w->lock);
}

void qn_metal_wired_remove(qn_metal_wired *w, qn_metal_id buffer)
{
    if (!w->set) return;
    pthread_mutex_lock(&w->lock);
    qn_metal_residency_remove(w->set, buffer);
    w->uncommitted = 1;
    pthread_mutex_unlock(&w->lock);
}

void qn_metal_wired_commit(qn_metal_wired *w)
{
    if (!w->set) return;
    pthread_mutex_lock(&w->lock);
    commit(w);
    pthread_mutex_unlock(&w->lock);
}

void qn_metal_wired_use(qn_metal_wired *w)
{
    if (!w->set) return;
    pthread_mutex_lock(&w->lock);
    double now = w->now_ms();
    int was_idle = w->idle || now - w->last_used > QN_METAL_KEEP_MS;
    commit(w);
    if (w->unasked || was_idle) qn_metal_residency_request(w->set);
    w->unasked = w->idle = 0;
    w->last_used = now;
    if (was_idle) pthread_cond_signal(&w->used);
    pthread_mutex_unlock(&w->lock);
}
