// The endpoint table; see routes.h.
#include "app/routes.h"

#include "server/api/handlers.h"

enum { PUBLIC = 1, ALONE = 1, GENERATES = 1 };

// clang-format off
static const qn_route_row ROUTES[] = {
    {"GET",  "/",                    qn_api_page,          0,      ALONE, 0},
    {"POST", "/generate",            qn_api_generate,      0,      0,     GENERATES},
    {"GET",  "/ws/stream",           qn_api_stream,        0,      0,     GENERATES},
    {"GET",  "/models",              qn_api_models,        0,      0,     0},
    {"GET",  "/performance",         qn_api_performance,   0,      0,     0},
    {"GET",  "/health",              qn_api_health,        PUBLIC, ALONE, 0},
    {"GET",  "/ready",               qn_api_ready,         PUBLIC, ALONE, 0},
    {"GET",  "/metrics",             qn_api_metrics,       PUBLIC, 0,     0},
    {"GET",  "/v1/models",           qn_api_openai_models, 0,      0,     0},
    {"POST", "/v1/chat/completions", qn_api_openai_chat,   0,      0,     GENERATES},
};
// clang-format on

const qn_route_row *qn_routes(size_t *n)
{
    *n = sizeof ROUTES / sizeof *ROUTES;
    return ROUTES;
}
