// A progress bar on stderr: on a terminal redrawn in place, else a plain line every half a minute. One thread.
#ifndef QN_APP_PROGRESS_H
#define QN_APP_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool quiet, terminal;
    bool bar; // one is on the screen
    double begun_ms, shown_ms;
} qn_progress;

void qn_progress_begin(qn_progress *p, bool quiet);
// Whether it is time to draw again: what follows may be costly to say.
bool qn_progress_is_due(const qn_progress *p);
// Draws `part` (0 … 1) and what is said behind it.
void qn_progress_draw(qn_progress *p, double part, const char *text);
// Draws done of total, if it is due, with the time left by the rate so far; `what` names the things counted.
void qn_progress_count(qn_progress *p, uint64_t done, uint64_t total, const char *what);
// Takes the bar away.
void qn_progress_end(qn_progress *p);

#endif
