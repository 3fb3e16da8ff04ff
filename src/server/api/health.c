// GET /health: the process answers. GET /ready: it takes requests (503 while it loads or drains). I/O thread.
#include <string.h>

#include "server/answer.h"
#include "server/api/handlers.h"
#include "server/call.h"

static void answer(qn_call *call, int status, const char *word)
{
    qn_buffer body = QN_BUFFER_INIT;
    qn_json j = qn_json_to(&body);
    qn_json_open(&j, '{');
    qn_json_put_text(&j, "status", word);
    qn_answer_instance(&j, qn_call_server(call));
    qn_json_close(&j, '}');
    qn_call_answer(call, status, "application/json", &body);
}

void qn_api_health(qn_call *call)
{
    answer(call, 200, "ok");
}

void qn_api_ready(qn_call *call)
{
    const qn_server *s = qn_call_server(call);
    const char *state = qn_answer_state(s);
    bool ready = !strcmp(state, "ready");
    if (!ready) qn_call_header(call, "Retry-After", "5");
    answer(call, ready ? 200 : 503, state);
}
