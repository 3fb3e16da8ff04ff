// See pull.h.
#include <stdio.h>
#include <string.h>

#include "app/pull.h"
#include "base/clock.h"
#include "base/units.h"

enum { RATE_MS = 250 };

void qn_pull_progress_begin(qn_pull_progress *p, const char *repository, bool quiet)
{
    *p = (qn_pull_progress){.repository = repository};
    qn_progress_begin(&p->bar, quiet);
}

void qn_pull_progress_end(qn_pull_progress *p)
{
    qn_progress_end(&p->bar);
}

// A moving average, from what came since the last look.
static void count_rate(qn_pull_progress *p, const qn_hub_event *v, double now_ms)
{
    double ms = now_ms - p->counted_ms;
    bool same = p->file && !strcmp(p->file, v->file) && v->bytes >= p->counted_bytes;
    if (same && ms < RATE_MS) return;
    if (same) {
        double rate = (double)(v->bytes - p->counted_bytes) / ms * 1000;
        p->bytes_per_second =
            p->bytes_per_second > 0 ? 0.8 * p->bytes_per_second + 0.2 * rate : rate;
    }
    p->file = v->file;
    p->counted_ms = now_ms;
    p->counted_bytes = v->bytes;
}

static void show_bytes(qn_pull_progress *p, const qn_hub_event *v)
{
    char there[16], all[16], rate[16], left[24] = "", text[192];
    count_rate(p, v, qn_clock_ms());
    if (!qn_progress_is_due(&p->bar)) return;
    double seconds = (double)(v->total_bytes - v->bytes) / p->bytes_per_second;
    if (p->bytes_per_second > 0 && seconds < 1e6)
        snprintf(left, sizeof left, ", %d:%02d left", (int)seconds / 60, (int)seconds % 60);
    snprintf(text, sizeof text, "%s of %s, %s/s%s  %.*s", qn_units_bytes(v->bytes, there),
             qn_units_bytes(v->total_bytes, all),
             qn_units_bytes((uint64_t)p->bytes_per_second, rate), left, p->bar.terminal ? 40 : 100,
             v->file);
    qn_progress_draw(&p->bar, v->total_bytes ? (double)v->bytes / (double)v->total_bytes : 1, text);
}

void qn_pull_progress_event(void *progress, const qn_hub_event *v)
{
    qn_pull_progress *p = progress;
    char size[16];
    if (p->bar.quiet) return;
    if (v->kind == QN_HUB_BYTES) {
        show_bytes(p, v);
        return;
    }
    qn_pull_progress_end(p);
    if (v->kind == QN_HUB_LISTED)
        fprintf(stderr, "%s at %.12s: %d file%s, %s\n", p->repository, v->commit, v->n_files,
                v->n_files == 1 ? "" : "s", qn_units_bytes(v->total_bytes, size));
    else if (v->kind == QN_HUB_FILE)
        fprintf(stderr, "  %s  %s%s\n", v->file, qn_units_bytes(v->file_size, size),
                v->was_there ? " (was there)" : "");
    else if (v->kind == QN_HUB_WAITS)
        fprintf(stderr, "  %s: another process is downloading it: waiting\n", v->file);
    else
        fprintf(stderr, "  trying again: %s\n", v->why);
}
