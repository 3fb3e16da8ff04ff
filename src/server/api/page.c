// GET /: the page. I/O thread.
#include "server/ui/page.h"
#include "server/api/handlers.h"
#include "server/call.h"

void qn_api_page(qn_call *call)
{
    qn_call_header(call, "Content-Security-Policy", qn_page_policy);
    qn_call_header(call, "Referrer-Policy", "no-referrer");
    qn_call_answer_static(call, "text/html; charset=utf-8", qn_page_html, qn_page_n_bytes);
}
