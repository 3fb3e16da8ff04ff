// Cache: the folders, links and locks of one repository in the cache that huggingface_hub uses too. Paths are of the arena.
#ifndef QN_HUB_CACHE_H
#define QN_HUB_CACHE_H
#include "base/arena.h"
#include "hub/hub.h"

typedef struct {
    qn_arena *arena;
    char *root;  // CACHE/models--ORG--REPO
    char *locks; // CACHE/.locks/models--ORG--REPO
} qn_hub_cache;

int qn_hub_cache_open(const char *cache, const char *repository, qn_arena *arena, qn_hub_cache *out,
                      quern_error *e);
char *qn_hub_cache_blob(const qn_hub_cache *c, const char *hash, const char *suffix);
char *qn_hub_cache_file(const qn_hub_cache *c, const char *commit, const char *path);
// Makes the folders in which a file of a snapshot, its blob and its lock lie.
int qn_hub_cache_prepare(const qn_hub_cache *c, const char *commit, const char *path,
                         quern_error *e);
// snapshots/COMMIT/PATH → ../../blobs/HASH, a relative link.
int qn_hub_cache_link(const qn_hub_cache *c, const char *commit, const char *path, const char *hash,
                      quern_error *e);
// refs/REVISION, unless the revision is the commit itself.
int qn_hub_cache_write_ref(const qn_hub_cache *c, const char *revision, const char *commit,
                           quern_error *e);
// The commit that the cache knows for a revision.
int qn_hub_cache_read_ref(const qn_hub_cache *c, const char *revision, char commit[65],
                          quern_error *e);

// The lock of a blob (flock on HASH.lock, as huggingface_hub's): a descriptor, or QUERN_E_BUSY where another process has it and
// `wait` is false. Closing it ends the lock.
int qn_hub_cache_lock(const qn_hub_cache *c, const char *hash, bool wait, int *fd, quern_error *e);

#endif
