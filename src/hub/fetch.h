// Fetch: one file into the cache: resumed, verified, linked.
#ifndef QN_HUB_FETCH_H
#define QN_HUB_FETCH_H
#include "hub/cache.h"
#include "hub/http.h"
#include "hub/listing.h"

typedef struct {
    const qn_hub_options *options;
    qn_hub_http *http;
    qn_arena arena;
    qn_hub_cache cache;
    qn_hub_listing list;
    uint64_t bytes, total_bytes; // of the wanted files: there, and in all
    int n_files;
} qn_hub_session;

// True where the snapshot has the file, with the size that was told.
bool qn_hub_has(const qn_hub_session *s, const qn_hub_file *f);
// How much of a file would not have to be downloaded.
uint64_t qn_hub_bytes_there(const qn_hub_session *s, const qn_hub_file *f);
int qn_hub_fetch(qn_hub_session *s, const qn_hub_file *f, quern_error *e);
// Tells the owner; `why` may be NULL. `bytes` of the file are there.
void qn_hub_tell(const qn_hub_session *s, qn_hub_event_kind kind, const qn_hub_file *f,
                 uint64_t bytes, const char *why);
// Waits before the next attempt, telling why; false where there is none. n_failed: attempts without progress.
bool qn_hub_rest(const qn_hub_session *s, const qn_hub_answer *answer, int n_failed,
                 const qn_hub_file *f, const quern_error *e);

#endif
