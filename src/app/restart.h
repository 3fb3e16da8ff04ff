// Restart: `quern serve` executes itself anew when its device has failed, on the same listening socket. What the next process must
// know it finds in one environment variable, QUERN_RESTARTED, which counts only for the very process (id) that wrote it.
#ifndef QN_APP_RESTART_H
#define QN_APP_RESTART_H
#include "base/error.h"

enum { QN_RESTART_MOST = 3, QN_RESTART_WINDOW_S = 300, QN_RESTART_INHERITED = 1024 };

typedef struct {
    int fd;                       // the listening socket; 0: this is a first start
    int n;                        // restarts within the last QN_RESTART_WINDOW_S
    double at_s[QN_RESTART_MOST]; // when, oldest first, by the monotonic clock
    char backend[16];             // in use before: "auto" must not fall back to another; "": any
    unsigned char
        inherited[QN_RESTART_INHERITED /
                  8]; // descriptors that were open when the process began: not ours to close
} qn_restart;

// Reads and removes the variable; call it before anything is opened. QUERN_E_ARGUMENT where its text is none of ours.
int qn_restart_read(qn_restart *r, quern_error *e);
// The pause before the device is tried again: none after the first failure, then 1 s, then 4 s.
void qn_restart_pause(const qn_restart *r);
// QUERN_E_DEVICE where there have been too many restarts.
int qn_restart_check(qn_restart *r, quern_error *e);
// Executes this program anew with argv, `fd` staying open for it; returns only on failure. Closes nothing before: a failed device
// may hang in that. After qn_restart_check.
int qn_restart_execute(qn_restart *r, int fd, char **argv, quern_error *e);

#endif
