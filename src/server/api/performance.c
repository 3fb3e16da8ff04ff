// GET /performance: live figures of the machine, the server and each model, as JSON. I/O thread.
#include "base/clock.h"
#include "server/answer.h"
#include "server/api/handlers.h"
#include "server/call.h"

static void write_percentiles(qn_json *j, const char *key, const double p[3])
{
    qn_json_key(j, key);
    qn_json_open(j, '{');
    qn_json_put_double(j, "p50", p[0]);
    qn_json_put_double(j, "p95", p[1]);
    qn_json_put_double(j, "p99", p[2]);
    qn_json_close(j, '}');
}

static void write_counts(qn_json *j, const quern_model_stats *s)
{
    qn_json_put_int(j, "running", s->running);
    qn_json_put_int(j, "waiting", s->waiting);
    qn_json_put_int(j, "blocks_total", s->blocks_total);
    qn_json_put_int(j, "blocks_free", s->blocks_free);
    qn_json_put_uint(j, "steps_total", s->steps_total);
    qn_json_put_int(j, "batch_rows", s->batch_rows);
    qn_json_put_uint(j, "preemptions_total", s->preemptions_total);
    qn_json_put_uint(j, "tokens_total", s->tokens_total);
    qn_json_put_uint(j, "prompt_tokens_total", s->prompt_tokens_total);
    qn_json_put_uint(j, "requests_total", s->requests_total);
    qn_json_put_uint(j, "requests_done", s->requests_done);
    qn_json_put_uint(j, "requests_cancelled", s->requests_cancelled);
    qn_json_put_uint(j, "requests_failed", s->requests_failed);
    qn_json_put_uint(j, "queued_tokens", s->queued_tokens);
}

static void write_model(qn_json *j, const quern_model *model, double ceiling)
{
    quern_model_info info;
    quern_model_stats s;
    quern_model_get_info(model, &info);
    quern_model_get_stats(model, &s);
    qn_json_open(j, '{');
    qn_json_put_text(j, "name", info.name);
    write_counts(j, &s);
    qn_json_put_double(j, "tokens_per_second_now", s.tokens_per_second_now);
    qn_json_put_double(j, "tokens_per_second_since_start", s.tokens_per_second_since_start);
    qn_json_put_double(j, "prefill_tokens_per_second", s.prefill_tokens_per_second);
    write_percentiles(j, "ttft_ms", s.ttft_ms);
    write_percentiles(j, "inter_token_ms", s.inter_token_ms);
    qn_json_put_double(j, "bytes_per_second", s.bytes_per_second);
    qn_json_put_double(j, "ceiling_bytes_per_second", ceiling);
    qn_json_put_uint(j, "weight_bytes", info.weight_bytes);
    qn_json_close(j, '}');
}

static void write_machine(qn_json *j, const quern_runtime_info *r)
{
    qn_json_key(j, "machine");
    qn_json_open(j, '{');
    qn_json_put_text(j, "backend", r->backend);
    qn_json_put_text(j, "device", r->device);
    qn_json_put_int(j, "threads", r->n_threads);
    qn_json_put_uint(j, "memory_total_bytes", r->memory_total_bytes);
    qn_json_put_uint(j, "memory_weights_bytes", r->memory_weights_bytes);
    qn_json_put_uint(j, "memory_state_bytes", r->memory_state_bytes);
    qn_json_put_uint(j, "memory_scratch_bytes", r->memory_scratch_bytes);
    qn_json_put_double(j, "ceiling_bytes_per_second", r->read_bytes_per_second);
    qn_json_close(j, '}');
}

static void write_server(qn_json *j, qn_server *s)
{
    qn_counters *c = &s->counters;
    qn_json_key(j, "server");
    qn_json_open(j, '{');
    qn_json_put_double(j, "uptime_seconds", (double)(qn_clock_ns() - s->opened_ns) * 1e-9);
    qn_json_put_text(j, "state", qn_answer_state(s));
    qn_json_put_int(j, "connections", atomic_load(&s->n_connections));
    qn_json_put_int(j, "websockets", atomic_load(&s->n_sockets));
    qn_json_put_int(j, "running", atomic_load(&s->n_generations));
    qn_json_put_uint(j, "accepted_total", atomic_load(&c->accepted));
    qn_json_put_uint(j, "complete_total", atomic_load(&c->complete));
    qn_json_put_uint(j, "cancelled_total", atomic_load(&c->cancelled));
    qn_json_put_uint(j, "failed_total", atomic_load(&c->failed));
    qn_json_put_uint(j, "clients_gone_total", atomic_load(&c->clients_gone));
    qn_json_put_uint(j, "slow_clients_total", atomic_load(&c->slow_clients));
    qn_json_put_uint(j, "deadlines_missed_total", atomic_load(&c->deadlines_missed));
    qn_json_close(j, '}');
}

void qn_api_performance(qn_call *call)
{
    qn_server *s = qn_call_server(call);
    qn_fleet *fleet = s->options.fleet;
    if (!s->options.monitoring) {
        qn_call_refuse(call, 404, "not_found", NULL, "monitoring is off (see the configuration)");
        return;
    }
    quern_runtime_info machine;
    quern_runtime_get_info(qn_fleet_runtime(fleet), &machine);
    qn_buffer body = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&body);
    qn_json_open(&j, '{');
    qn_json_key(&j, "models");
    qn_json_open(&j, '[');
    for (size_t i = 0; i < qn_fleet_n_models(fleet); i++)
        write_model(&j, qn_fleet_model_at(fleet, i), machine.read_bytes_per_second);
    qn_json_close(&j, ']');
    write_machine(&j, &machine);
    write_server(&j, s);
    qn_answer_instance(&j, s);
    qn_json_close(&j, '}');
    qn_call_answer(call, 200, "application/json", &body);
}
