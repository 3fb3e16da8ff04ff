// Hub: downloads from a server that speaks the Hugging Face hub's API, into the cache that Hugging Face's client (huggingface_hub) uses
// too: CACHE/models--ORG--REPO/{blobs,refs,snapshots}, locks in CACHE/.locks. Knows files, hashes and HTTP; never what is in a file,
// but for the index that names a model's weight files. Reads no environment and prints nothing. One thread at a time a pull;
// any number of processes, which wait for each other file by file.
#ifndef QN_HUB_HUB_H
#define QN_HUB_HUB_H
#include "base/error.h"

typedef enum {
    QN_HUB_LISTED,  // the server has told the files: n_files, total_bytes, commit
    QN_HUB_WAITS,   // another process is downloading `file`
    QN_HUB_BYTES,   // more of `file` is there
    QN_HUB_RETRIES, // after a pause, because of `why`
    QN_HUB_FILE,    // `file` is complete and verified; `was_there`: it was in the cache
} qn_hub_event_kind;

typedef struct {
    qn_hub_event_kind kind;
    const char *file, *commit, *why; // borrowed for the call
    uint64_t file_bytes, file_size;  // of `file`
    uint64_t bytes, total_bytes;     // of all files
    int n_files;
    bool was_there;
} qn_hub_event;

typedef struct {
    const char *
        endpoint; // "https://huggingface.co": scheme://host[:port][/path]. With https nothing else is ever followed
    const char *token;      // NULL: none. Goes to the endpoint's host only
    const char *cache;      // the folder that has models--ORG--REPO; made where it is missing
    const char *repository; // "ORG/REPO"
    const char *revision;   // a branch, tag or commit; NULL: main
    const char *
        file; // NULL: all that a model needs; else a file's path, or a part of a .gguf file's name that names one
    void (*on_event)(void *user, const qn_hub_event *event); // may be NULL
    void *user;
} qn_hub_options;

// Makes sure that the files are in the cache, complete and verified (SHA-256, or git's SHA-1 of small files). *path: the snapshot's folder,
// or the file, or the first part of a split one; malloc'd. What an attempt leaves unfinished the next one resumes.
// QUERN_E_ARGUMENT, _NOT_FOUND, _IO (network, server, disk), _FORMAT (the server contradicts itself), _UNSUPPORTED (no model), _MEMORY.
int qn_hub_pull(const qn_hub_options *o, char **path, quern_error *e);
// The same without any connection: what the cache has of it. QUERN_E_NOT_FOUND.
int qn_hub_find(const qn_hub_options *o, char **path, quern_error *e);

#endif
