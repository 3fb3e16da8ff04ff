// GET /metrics: the figures of /performance in Prometheus' text form (version 0.0.4). I/O thread.
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "server/api/handlers.h"
#include "server/call.h"

enum { MAX_LABEL = 512 };

typedef struct {
    qn_buffer *to;
    qn_fleet *fleet;
    double ceiling;
} page;

typedef enum { OF_INT, OF_UINT64, OF_DOUBLE } number;

// The figures of a model, straight from its stats.
static const struct {
    const char *name, *type, *help;
    number number;
    size_t offset;
} FIGURES[] = {
#define STAT(member) offsetof(quern_model_stats, member)
    {"running", "gauge", "Requests that are in the batch.", OF_INT, STAT(running)},
    {"waiting", "gauge", "Requests in the queue.", OF_INT, STAT(waiting)},
    {"blocks_total", "gauge", "Blocks of keys and values in the pool.", OF_INT, STAT(blocks_total)},
    {"blocks_free", "gauge", "Blocks that are free.", OF_INT, STAT(blocks_free)},
    {"batch_rows", "gauge", "Rows of the last step.", OF_INT, STAT(batch_rows)},
    {"steps_total", "counter", "Steps of the engine.", OF_UINT64, STAT(steps_total)},
    {"preemptions_total", "counter", "Sequences set aside for lack of blocks.", OF_UINT64,
     STAT(preemptions_total)},
    {"tokens_total", "counter", "Tokens generated.", OF_UINT64, STAT(tokens_total)},
    {"prompt_tokens_total", "counter", "Tokens of prompts read.", OF_UINT64,
     STAT(prompt_tokens_total)},
    {"requests_total", "counter", "Requests accepted.", OF_UINT64, STAT(requests_total)},
    {"requests_done_total", "counter", "Requests finished.", OF_UINT64, STAT(requests_done)},
    {"requests_cancelled_total", "counter", "Requests cancelled.", OF_UINT64,
     STAT(requests_cancelled)},
    {"requests_failed_total", "counter", "Requests ended by an error.", OF_UINT64,
     STAT(requests_failed)},
    {"tokens_per_second_now", "gauge", "Moving average.", OF_DOUBLE, STAT(tokens_per_second_now)},
    {"tokens_per_second_since_start", "gauge", "Tokens over the time since the start.", OF_DOUBLE,
     STAT(tokens_per_second_since_start)},
    {"prefill_tokens_per_second", "gauge", "Measured rate of reading prompts.", OF_DOUBLE,
     STAT(prefill_tokens_per_second)},
    {"bytes_per_second", "gauge", "Weight and state bytes read while busy.", OF_DOUBLE,
     STAT(bytes_per_second)},
#undef STAT
};

// A label's value: backslash, quote and newline are escaped.
static void write_label(qn_buffer *to, const char *s)
{
    for (size_t n = 0; *s && n < MAX_LABEL; s++, n++) {
        if (*s == '\n')
            qn_buffer_text(to, "\\n");
        else
            qn_buffer_printf(to, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    }
}

static void head(qn_buffer *to, const char *name, const char *type, const char *help)
{
    qn_buffer_printf(to, "# HELP quern_%s %s\n# TYPE quern_%s %s\n", name, help, name, type);
}

static void sample(qn_buffer *to, const char *name, const quern_model *m, const char *quantile,
                   double value)
{
    quern_model_info info;
    quern_model_get_info(m, &info);
    qn_buffer_printf(to, "quern_%s{model=\"", name);
    write_label(to, info.name);
    qn_buffer_text(to, "\"");
    if (quantile) qn_buffer_printf(to, ",quantile=\"%s\"", quantile);
    qn_buffer_printf(to, "} %.15g\n", value);
}

static double figure_of(const quern_model_stats *s, size_t i)
{
    const char *at = (const char *)s + FIGURES[i].offset;
    switch (FIGURES[i].number) {
    case OF_INT:
        return *(const int *)(const void *)at;
    case OF_UINT64:
        return (double)*(const uint64_t *)(const void *)at;
    default:
        return *(const double *)(const void *)at;
    }
}

static void write_figures(const page *p)
{
    quern_model_stats stats;
    for (size_t i = 0; i < sizeof FIGURES / sizeof *FIGURES; i++) {
        head(p->to, FIGURES[i].name, FIGURES[i].type, FIGURES[i].help);
        for (size_t k = 0; k < qn_fleet_n_models(p->fleet); k++) {
            const quern_model *m = qn_fleet_model_at(p->fleet, k);
            quern_model_get_stats(m, &stats);
            sample(p->to, FIGURES[i].name, m, NULL, figure_of(&stats, i));
        }
    }
    head(p->to, "ceiling_bytes_per_second", "gauge", "Measured read bandwidth of the machine.");
    for (size_t k = 0; k < qn_fleet_n_models(p->fleet); k++)
        sample(p->to, "ceiling_bytes_per_second", qn_fleet_model_at(p->fleet, k), NULL, p->ceiling);
}

static void write_percentiles(const page *p, const char *name, const char *help, size_t offset)
{
    static const char *const QUANTILES[] = {"0.5", "0.95", "0.99"};
    quern_model_stats stats;
    head(p->to, name, "gauge", help);
    for (size_t k = 0; k < qn_fleet_n_models(p->fleet); k++) {
        const quern_model *m = qn_fleet_model_at(p->fleet, k);
        quern_model_get_stats(m, &stats);
        const double *values = (const double *)(const void *)((const char *)&stats + offset);
        for (int i = 0; i < 3; i++)
            sample(p->to, name, m, QUANTILES[i], values[i]);
    }
}

static void plain(qn_buffer *to, const char *name, const char *type, const char *help, double value)
{
    head(to, name, type, help);
    qn_buffer_printf(to, "quern_%s %.15g\n", name, value);
}

static void write_machine(qn_buffer *to, const quern_runtime_info *r)
{
    plain(to, "memory_total_bytes", "gauge", "The budget.", (double)r->memory_total_bytes);
    plain(to, "memory_weights_bytes", "gauge", "Held by weights.", (double)r->memory_weights_bytes);
    plain(to, "memory_state_bytes", "gauge", "Held by keys and values.",
          (double)r->memory_state_bytes);
    plain(to, "memory_scratch_bytes", "gauge", "Held by scratch.", (double)r->memory_scratch_bytes);
}

static void write_server(qn_buffer *to, qn_server *s)
{
    qn_counters *c = &s->counters;
    plain(to, "uptime_seconds", "gauge", "Since the server was opened.",
          (double)(qn_clock_ns() - s->opened_ns) * 1e-9);
    plain(to, "draining", "gauge", "1 while the server shuts down.", atomic_load(&s->draining));
    plain(to, "connections", "gauge", "Open connections.", atomic_load(&s->n_connections));
    plain(to, "websockets", "gauge", "Open WebSockets.", atomic_load(&s->n_sockets));
    plain(to, "server_running", "gauge", "Accepted requests without their end.",
          atomic_load(&s->n_generations));
    plain(to, "server_accepted_total", "counter", "Requests accepted.",
          (double)atomic_load(&c->accepted));
    plain(to, "server_complete_total", "counter", "Ended by stop or length.",
          (double)atomic_load(&c->complete));
    plain(to, "server_cancelled_total", "counter", "Ended by their clients.",
          (double)atomic_load(&c->cancelled));
    plain(to, "server_failed_total", "counter", "Ended by an error.",
          (double)atomic_load(&c->failed));
    plain(to, "server_clients_gone_total", "counter", "Clients that left a running request.",
          (double)atomic_load(&c->clients_gone));
    plain(to, "server_slow_clients_total", "counter", "Requests ended since nobody read them.",
          (double)atomic_load(&c->slow_clients));
    head(to, "http_answers_total", "counter", "HTTP answers by class of status.");
    for (int i = 1; i < 6; i++)
        qn_buffer_printf(to, "quern_http_answers_total{class=\"%dxx\"} %llu\n", i,
                         atomic_load(&c->answers[i]));
}

void qn_api_metrics(qn_call *call)
{
    qn_server *s = qn_call_server(call);
    qn_buffer body = QN_BUFFER_INIT;
    if (!s->options.monitoring) {
        qn_call_refuse(call, 404, "not_found", NULL, "monitoring is off (see the configuration)");
        return;
    }
    quern_runtime_info machine;
    quern_runtime_get_info(qn_fleet_runtime(s->options.fleet), &machine);
    page p = {&body, s->options.fleet, machine.read_bytes_per_second};
    write_figures(&p);
    write_percentiles(&p, "ttft_ms", "Time to the first token, of the last 1024 requests.",
                      offsetof(quern_model_stats, ttft_ms));
    write_percentiles(&p, "inter_token_ms", "Time between tokens, of the last 1024.",
                      offsetof(quern_model_stats, inter_token_ms));
    write_machine(&body, &machine);
    write_server(&body, s);
    qn_call_answer(call, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}
