// What Metal keeps wired: the residency set with all buffers (macOS 15; where there is none, all of this does nothing), and its
// heartbeat. The system unwires a set that has not been used for a while, and the next step then waits until gigabytes are wired
// again; so a thread asks for it anew twice a second, until nothing was launched for three minutes. Then the memory is the
// system's, until the next use. Calls from the device's owner thread, but for beat.
#ifndef QN_BACKEND_METAL_WIRED_H
#define QN_BACKEND_METAL_WIRED_H
#include <pthread.h>

#include "backend/metal/objc.h"

enum { QN_METAL_BEAT_MS = 500, QN_METAL_KEEP_MS = 180000 };

typedef struct {
    qn_metal_id set;        // retained; NULL: none
    double (*now_ms)(void); // the clock
    int beat_ms;
    pthread_mutex_t lock; // of what follows, and of messages to the set
    pthread_cond_t used;
    pthread_t thread;
    int has_thread, stop;
    int uncommitted;  // changed since the last commit
    int unasked;      // grown since it was asked for
    int idle;         // it is not asked for any more
    double last_used; // by now_ms
} qn_metal_wired;

// now_ms: qn_clock_ms, or a test's. beat_ms: below 1,000; 0: no thread. *w is zero before.
void qn_metal_wired_open(qn_metal_wired *w, qn_metal_id device, qn_metal_id queue,
                         double (*now_ms)(void), int beat_ms);
// After the buffers are gone.
void qn_metal_wired_close(qn_metal_wired *w, qn_metal_id queue);
void qn_metal_wired_add(qn_metal_wired *w, qn_metal_id buffer);
// Takes effect by the next commit: before that, the buffer may not end.
void qn_metal_wired_remove(qn_metal_wired *w, qn_metal_id buffer);
void qn_metal_wired_commit(qn_metal_wired *w);
// Before the buffers are used: commits what changed, and asks for the set where it changed or was let go.
void qn_metal_wired_use(qn_metal_wired *w);
// What the thread does twice a second. 1: it asked for the set; 0: it was not used for too long. Any thread.
int qn_metal_wired_beat(qn_metal_wired *w);

#endif
