// GET /v1/models: the loaded models in OpenAI's form. I/O thread.
#include "server/answer.h"
#include "server/api/handlers.h"
#include "server/call.h"

void qn_api_openai_models(qn_call *call)
{
    qn_server *s = qn_call_server(call);
    qn_fleet *fleet = s->options.fleet;
    qn_buffer body = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&body);
    qn_json_open(&j, '{');
    qn_json_put_text(&j, "object", "list");
    qn_json_key(&j, "data");
    qn_json_open(&j, '[');
    for (size_t i = 0; i < qn_fleet_n_models(fleet); i++) {
        quern_model_info info;
        quern_model_get_info(qn_fleet_model_at(fleet, i), &info);
        qn_json_open(&j, '{');
        qn_json_put_text(&j, "id", info.name);
        qn_json_put_text(&j, "object", "model");
        qn_json_put_int(&j, "created", s->opened_at);
        qn_json_put_text(&j, "owned_by", "quern");
        qn_json_close(&j, '}');
    }
    qn_json_close(&j, ']');
    qn_json_close(&j, '}');
    qn_call_answer(call, 200, "application/json", &body);
}
