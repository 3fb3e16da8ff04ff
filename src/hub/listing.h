// Listing: the files of a revision as the server tells them, and which of them are wanted.
#ifndef QN_HUB_LISTING_H
#define QN_HUB_LISTING_H
#include "base/arena.h"
#include "hub/hub.h"

typedef struct {
    const char *path;
    char hash[65]; // 64 digits: SHA-256; 40: git's SHA-1; "": not told
    uint64_t size;
    bool wanted;
} qn_hub_file;

typedef struct {
    char commit[65];
    qn_hub_file *files; // by path; of the arena
    int n_files;
} qn_hub_listing;

// From the answer of /api/models/ORG/REPO/revision/REV?blobs=true. QUERN_E_FORMAT where a name, size or hash is none.
int qn_hub_listing_parse(const char *text, size_t n, const char *repository, qn_arena *arena,
                         qn_hub_listing *out, quern_error *e);
// NULL where there is none.
qn_hub_file *qn_hub_listing_find(const qn_hub_listing *l, const char *path);

// Marks what a model needs, but for the weight files that an index names: configuration, tokenizer, chat template, index or
// model.safetensors. QUERN_E_UNSUPPORTED where there is no such model; names the .gguf files there are.
int qn_hub_want_model(qn_hub_listing *l, const char *repository, quern_error *e);
// Marks the files that the index (at `path`, downloaded) names. QUERN_E_FORMAT where one is not in the listing.
int qn_hub_want_shards(qn_hub_listing *l, const char *path, quern_error *e);
// Marks one file, with all parts of a split .gguf; *first: the file, or its first part. `file`: a path, or a part of a .gguf file's
// name that names one ("Q4_K_M"). QUERN_E_NOT_FOUND.
int qn_hub_want_file(qn_hub_listing *l, const char *file, const qn_hub_file **first,
                     quern_error *e);

extern const char qn_hub_index_name[];

#endif
