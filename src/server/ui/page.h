// The page as it is embedded: made from index.html by embed.py at build. Constants.
#ifndef QN_SERVER_UI_PAGE_H
#define QN_SERVER_UI_PAGE_H
#include <stddef.h>

extern const unsigned char qn_page_html[];
extern const size_t qn_page_n_bytes;
// The Content-Security-Policy that lets this page's own script and style run, and nothing else.
extern const char qn_page_policy[];

#endif
