// See loop.h.
#include "server/loop.h"

static void run_tasks(qn_loop *l)
{
    pthread_mutex_lock(&l->lock);
    qn_task *task = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);
    while (task) {
        qn_task *next = task->next; // the task may be gone once it has run
        task->run(task);
        task = next;
    }
}

static void on_async(uv_async_t *wake)
{
    qn_loop *l = wake->data;
    run_tasks(l);
    l->on_wake(l->user);
}

int qn_loop_open(qn_loop *l, void (*on_wake)(void *user), void *user)
{
    *l = (qn_loop){.on_wake = on_wake, .user = user};
    l->last = &l->first;
    int rc = uv_loop_init(&l->uv);
    if (rc) return rc;
    rc = uv_async_init(&l->uv, &l->wake, on_async);
    if (rc) {
        uv_loop_close(&l->uv);
        return rc;
    }
    l->wake.data = l;
    pthread_mutex_init(&l->lock, NULL);
    return 0;
}

void qn_loop_post(qn_loop *l, qn_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->last = task;
    l->last = &task->next;
    pthread_mutex_unlock(&l->lock);
    uv_async_send(&l->wake);
}

void qn_loop_wake(qn_loop *l)
{
    uv_async_send(&l->wake);
}

void qn_loop_turn(qn_loop *l)
{
    uv_run(&l->uv, UV_RUN_NOWAIT);
}

void qn_loop_close(qn_loop *l)
{
    run_tasks(l);
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    pthread_mutex_destroy(&l->lock);
}
