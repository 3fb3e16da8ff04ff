// Loop: libuv's loop and the tasks that other threads hand to it. Owned by the server; run by one thread.
#ifndef QN_SERVER_LOOP_H
#define QN_SERVER_LOOP_H
#include <pthread.h>
#include <uv.h>

// Embedded in what it works on, which must live until it has run.
typedef struct qn_task {
    struct qn_task *next;
    void (*run)(struct qn_task *task);
} qn_task;

#define QN_TASK_OF(task, type, member) ((type *)((char *)(task)-offsetof(type, member)))

typedef struct {
    uv_loop_t uv;
    uv_async_t wake;
    pthread_mutex_t lock; // the list
    qn_task *first, **last;
    void (*on_wake)(void *user); // after the tasks of a wake
    void *user;
} qn_loop;

// 0 or a libuv error.
int qn_loop_open(qn_loop *l, void (*on_wake)(void *user), void *user);
// Any thread; tasks run in the order in which they were posted.
void qn_loop_post(qn_loop *l, qn_task *task);
// Any thread, and signal handlers.
void qn_loop_wake(qn_loop *l);
// Runs what is due without waiting; the loop's thread.
void qn_loop_turn(qn_loop *l);
// All other handles must be closing. The loop's thread.
void qn_loop_close(qn_loop *l);

#endif
