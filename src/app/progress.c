// See progress.h.
#include "app/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_MS = 100, LINE_MS = 30000, BAR_CELLS = 24 };

void qn_progress_begin(qn_progress *p, bool quiet)
{
    double now_ms = qn_clock_ms(); // the first drawing comes after a while only
    *p = (qn_progress){
        .quiet = quiet, .terminal = isatty(2), .begun_ms = now_ms, .shown_ms = now_ms};
}

bool qn_progress_is_due(const qn_progress *p)
{
    return !p->quiet && qn_clock_ms() - p->shown_ms >= (p->terminal ? BAR_MS : LINE_MS);
}

void qn_progress_draw(qn_progress *p, double part, const char *text)
{
    char bar[BAR_CELLS + 1];
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', (size_t)(part * BAR_CELLS));
    bar[BAR_CELLS] = 0;
    p->shown_ms = qn_clock_ms();
    if (p->terminal)
        fprintf(stderr, "\r\033[K[%s] %3.0f%%  %s", bar, part * 100, text);
    else
        fprintf(stderr, "%3.0f%%  %s\n", part * 100, text);
    p->bar = p->terminal;
    fflush(stderr);
}

void qn_progress_count(qn_progress *p, uint64_t done, uint64_t total, const char *what)
{
    char text[96], left[24] = "";
    if (!qn_progress_is_due(p) || !total) return;
    double seconds =
        done ? (qn_clock_ms() - p->begun_ms) / 1000 / (double)done * (double)(total - done) : 1e6;
    if (seconds < 1e6)
        snprintf(left, sizeof left, ", %d:%02d left", (int)seconds / 60, (int)seconds % 60);
    snprintf(text, sizeof text, "%llu of %llu %s%s", (unsigned long long)done,
             (unsigned long long)total, what, left);
    qn_progress_draw(p, (double)done / (double)total, text);
}

void qn_progress_end(qn_progress *p)
{
    if (p->bar) fputs("\r\033[K", stderr);
    p->bar = false;
}
