// What a person sees of a download: a bar on a terminal, else plain lines. On stderr: stdout is for the path.
#ifndef QN_APP_PULL_H
#define QN_APP_PULL_H
#include "app/progress.h"
#include "hub/hub.h"

typedef struct {
    const char *repository;
    qn_progress bar;
    const char *file;
    double counted_ms, bytes_per_second;
    uint64_t counted_bytes;
} qn_pull_progress;

void qn_pull_progress_begin(qn_pull_progress *p, const char *repository, bool quiet);
void qn_pull_progress_event(void *progress, const qn_hub_event *event);
// Takes the bar away.
void qn_pull_progress_end(qn_pull_progress *p);

#endif
