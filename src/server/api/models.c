// GET /models: what is loaded, and how fast it was measured to be. I/O thread.
#include "server/answer.h"
#include "server/api/handlers.h"
#include "server/call.h"

#include <stdio.h>

// Decode rates by batch, from the measured times of a step.
static void write_speed(qn_json *j, const quern_model_stats *stats)
{
    qn_json_key(j, "measured");
    qn_json_open(j, '{');
    qn_json_put_double(j, "prefill_tokens_per_second", stats->prefill_tokens_per_second);
    qn_json_key(j, "decode_tokens_per_second");
    qn_json_open(j, '{');
    for (int i = 0; i < QUERN_BATCH_CLASSES; i++) {
        char batch[8];
        if (stats->decode_step_ms[i] <= 0) continue;
        snprintf(batch, sizeof batch, "%d", 1 << i);
        qn_json_put_double(j, batch, 1000.0 * (1 << i) / stats->decode_step_ms[i]);
    }
    qn_json_close(j, '}');
    qn_json_close(j, '}');
}

static void write_model(qn_json *j, const qn_server *s, const quern_model *model)
{
    quern_model_info info;
    quern_model_stats stats;
    quern_model_get_info(model, &info);
    quern_model_get_stats(model, &stats);
    qn_json_open(j, '{');
    qn_json_put_text(j, "name", info.name);
    qn_json_put_text(j, "architecture", info.architecture);
    qn_json_put_uint(j, "parameters", info.n_parameters);
    qn_json_put_uint(j, "bytes", info.weight_bytes);
    qn_json_put_text(j, "dtype", info.dtype);
    qn_json_put_int(j, "context", info.n_context);
    qn_json_put_text(j, "kv_cache", info.kv_cache);
    qn_json_put_text(j, "backend", info.backend);
    qn_json_put_text(j, "state", qn_answer_state(s));
    qn_json_put_int(j, "layers", info.n_layers);
    qn_json_put_int(j, "vocabulary", info.n_vocab);
    qn_json_put_int(j, "max_batch", info.max_batch);
    qn_json_put_int(j, "max_queue", info.max_queue);
    qn_json_put_bool(j, "chat", info.has_chat_template);
    write_speed(j, &stats);
    qn_json_close(j, '}');
}

void qn_api_models(qn_call *call)
{
    qn_server *s = qn_call_server(call);
    qn_fleet *fleet = s->options.fleet;
    qn_buffer body = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&body);
    qn_json_open(&j, '{');
    qn_json_key(&j, "models");
    qn_json_open(&j, '[');
    for (size_t i = 0; i < qn_fleet_n_models(fleet); i++)
        write_model(&j, s, qn_fleet_model_at(fleet, i));
    qn_json_close(&j, ']');
    qn_answer_instance(&j, s);
    qn_json_close(&j, '}');
    qn_call_answer(call, 200, "application/json", &body);
}
