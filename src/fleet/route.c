// The route of a request: which model, and why. See fleet.h; the rules are DESIGN.md §4's.
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "fleet/internal.h"

enum { ASSUMED_OUTPUT_TOKENS = 128, BYTES_A_TOKEN = 4 };

static const char *const PRIORITIES[] = {"speed", "balanced", "quality"};

int qn_priority_by_name(const char *name)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, PRIORITIES[i])) return i;
    return -1;
}

const char *qn_priority_name(qn_priority p)
{
    return PRIORITIES[p];
}

typedef struct {
    size_t fastest, largest;
    double ms[QN_MAX_MODELS];
    uint64_t size[QN_MAX_MODELS];
    const char *name[QN_MAX_MODELS];
    size_t n;
} survey;

static survey look_at_all(const qn_fleet *f, const qn_route_query *q)
{
    survey s = {.n = f->n_models};
    int n_output = q->max_tokens ? q->max_tokens : ASSUMED_OUTPUT_TOKENS;
    int n_prompt = (int)(q->n_prompt_bytes / BYTES_A_TOKEN) + 1;
    for (size_t i = 0; i < s.n; i++) {
        qn_fleet_view view = qn_fleet_look(f->models[i]);
        int left = view.info.n_context - n_prompt > 1 ? view.info.n_context - n_prompt : 1;
        s.ms[i] = qn_fleet_predict_ms(&view, n_prompt, n_output < left ? n_output : left);
        s.size[i] = view.info.n_parameters;
        s.name[i] = view.info.name;
        if (s.ms[i] < s.ms[s.fastest]) s.fastest = i;
        if (s.size[i] > s.size[s.largest]) s.largest = i;
    }
    return s;
}

// The largest model predicted to finish within limit_ms; s->n where there is none.
static size_t largest_within(const survey *s, double limit_ms)
{
    size_t best = s->n;
    for (size_t i = 0; i < s->n; i++)
        if (s->ms[i] <= limit_ms && (best == s->n || s->size[i] > s->size[best])) best = i;
    return best;
}

#define SAY(...) snprintf(out->reason, sizeof out->reason, __VA_ARGS__)

static size_t choose_by_deadline(const survey *s, const qn_route_query *q, qn_route *out)
{
    size_t i = largest_within(s, (double)q->deadline_ms);
    if (i < s->n) {
        SAY("deadline: the largest model predicted to finish within %.0f ms",
            (double)q->deadline_ms);
        return i;
    }
    SAY("deadline: none is predicted to finish within %.0f ms, so the fastest",
        (double)q->deadline_ms);
    return s->fastest;
}

static size_t choose_balanced(const qn_fleet *f, const survey *s, const qn_route_query *q,
                              qn_route *out)
{
    if (q->max_tokens > f->long_text_tokens) {
        SAY("balanced: more than %d tokens are asked for, so the fastest", f->long_text_tokens);
        return s->fastest;
    }
    size_t i = largest_within(s, 2 * s->ms[s->fastest]);
    SAY("balanced: the largest model predicted to finish within twice the fastest's %.0f ms",
        s->ms[s->fastest]);
    return i < s->n ? i : s->fastest;
}

static size_t choose(const qn_fleet *f, const survey *s, const qn_route_query *q, qn_route *out)
{
    if (s->n == 1) {
        SAY("the only model");
        return 0;
    }
    if (q->deadline_ms > 0) return choose_by_deadline(s, q, out);
    switch (q->priority) {
    case QN_PRIORITY_SPEED:
        SAY("speed: predicted to finish first, in %.0f ms", s->ms[s->fastest]);
        return s->fastest;
    case QN_PRIORITY_QUALITY:
        SAY("quality: the largest model, %.1f M parameters", (double)s->size[s->largest] * 1e-6);
        return s->largest;
    default:
        return choose_balanced(f, s, q, out);
    }
}

int qn_fleet_route(const qn_fleet *f, const qn_route_query *q, qn_route *out, quern_error *e)
{
    const char *asked = q->model ? q->model : "auto";
    survey s = look_at_all(f, q);
    size_t chosen = s.n;
    snprintf(out->requested, sizeof out->requested, "%s", asked);
    out->priority = q->priority;
    if (strcmp(asked, "auto") != 0) {
        SAY("named in the request");
    } else if (*f->routing) {
        asked = f->routing;
        SAY("routing is set to this model");
    } else {
        chosen = choose(f, &s, q, out);
    }
    for (size_t i = 0; i < s.n && chosen == s.n; i++)
        if (!strcmp(s.name[i], asked)) chosen = i;
    if (chosen == s.n) {
        qn_error_set(e, QUERN_E_NOT_FOUND,
                     "model: expected auto or the name of a loaded model, found \"%.60s\"", asked);
        if (e) snprintf(e->param, sizeof e->param, "model");
        return QUERN_E_NOT_FOUND;
    }
    out->model = f->models[chosen];
    snprintf(out->chosen, sizeof out->chosen, "%s", s.name[chosen]);
    out->n_predicted = (int)s.n;
    memcpy(out->predicted_ms, s.ms, sizeof out->predicted_ms);
    return 0;
}
