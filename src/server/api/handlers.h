// The handlers that app/routes.c names, one a row. Each is described in its file.
#ifndef QN_SERVER_API_HANDLERS_H
#define QN_SERVER_API_HANDLERS_H
#include "server/route.h"

void qn_api_generate(qn_call *call);    // generate.c
void qn_api_stream(qn_call *call);      // stream.c
void qn_api_models(qn_call *call);      // models.c
void qn_api_performance(qn_call *call); // performance.c
void qn_api_health(qn_call *call);      // health.c
void qn_api_ready(qn_call *call);
void qn_api_metrics(qn_call *call);       // metrics.c
void qn_api_openai_models(qn_call *call); // openai_models.c
void qn_api_openai_chat(qn_call *call);   // openai_chat.c
void qn_api_page(qn_call *call);          // page.c

#endif
