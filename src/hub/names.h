// Names: what may come from a user or a server as a repository, revision, path or endpoint. Stateless.
#ifndef QN_HUB_NAMES_H
#define QN_HUB_NAMES_H
#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"

// "ORG/REPO": letters, digits, '-', '_', '.', no "--" nor "..", at most 96 bytes each.
bool qn_hub_is_repository(const char *name);
// A branch, tag or commit: parts as of a path.
bool qn_hub_is_revision(const char *name);
// A relative path whose parts are neither empty, "." nor "..", without control characters and backslashes.
bool qn_hub_is_path(const char *name);
// 40 (git's SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
bool qn_hub_is_hash(const char *text, size_t n);
// http(s)://host[:port][/path], no user, query or fragment.
bool qn_hub_is_endpoint(const char *url);
// Printable ASCII without spaces: what can stand in a header.
bool qn_hub_is_token(const char *token);
// Appends text as a part of a URL; '/' stays where keep_slash.
void qn_hub_escape(qn_buffer *to, const char *text, bool keep_slash);
// A printed text in the arena; NULL without memory.
char *qn_hub_text(qn_arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
