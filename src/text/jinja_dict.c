// Dicts: insertion order, Python's key equality, a hash index once they are large. See jinja_value.h.
#include <math.h>
#include <string.h>

#include "text/jinja_value.h"

enum { SMALL = 8 }; // entries that are searched without an index

bool qn_jinja_hashable(const qn_jinja_value *v)
{
    if (v->kind == QN_JINJA_DICT) return false;
    if (v->kind != QN_JINJA_LIST) return true;
    if (v->list->flavour == QN_JINJA_PLAIN_LIST) return false;
    // One level suffices: keys are few, and an unhashable element deeper still compares equal or not.
    for (size_t i = 0; i < v->list->n; i++) {
        const qn_jinja_value *item = &v->list->items[i];
        if (item->kind == QN_JINJA_DICT ||
            (item->kind == QN_JINJA_LIST && item->list->flavour == QN_JINJA_PLAIN_LIST)) {
            return false;
        }
    }
    return true;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return h;
}

// Equal keys have equal hashes; what is no string or number shares one.
static uint64_t hash_of(const qn_jinja_value *key)
{
    double d;
    if (key->kind == QN_JINJA_STRING) {
        uint64_t h = 0xcbf29ce484222325u;
        for (size_t i = 0; i < key->string->n; i++) {
            h = (h ^ (unsigned char)key->string->data[i]) * 0x100000001b3u;
        }
        return mix(h);
    }
    if (!qn_jinja_as_real(key, &d)) return key->kind;
    uint64_t bits;
    if (d == 0) d = 0; // -0.0 too
    memcpy(&bits, &d, sizeof bits);
    return mix(bits);
}

static int same_key(qn_jinja_run *r, const qn_jinja_value *a, const qn_jinja_value *b, bool *same)
{
    if (a->kind == QN_JINJA_STRING && b->kind == QN_JINJA_STRING) {
        *same = qn_jinja_same(a->string, b->string);
        return 0;
    }
    return qn_jinja_equal(r, a, b, same);
}

int qn_jinja_new_dict(qn_jinja_run *r, size_t capacity, qn_jinja_value *out)
{
    qn_jinja_dict *d = qn_jinja_take(r, 1, sizeof *d);
    if (!d) return r->code;
    d->entries = qn_jinja_take(r, capacity, sizeof *d->entries);
    if (!d->entries) return r->code;
    d->capacity = capacity;
    *out = (qn_jinja_value){.kind = QN_JINJA_DICT, .dict = d};
    return 0;
}

// Probes are charged, so that keys chosen to collide end in a limit and not in a long wait.
static int charge_probe(qn_jinja_run *r, uint64_t n_probes)
{
    return n_probes % 8 ? 0 : qn_jinja_charge(r, 1);
}

static int index_add(qn_jinja_run *r, qn_jinja_dict *d, size_t entry)
{
    size_t slot = hash_of(&d->entries[entry].key) & (d->index_size - 1);
    for (uint64_t probes = 1; d->index[slot]; probes++) {
        if (charge_probe(r, probes)) return r->code;
        slot = (slot + 1) & (d->index_size - 1);
    }
    d->index[slot] = (uint32_t)entry + 1;
    return 0;
}

static int index_build(qn_jinja_run *r, qn_jinja_dict *d)
{
    size_t size = 32;
    while (size < d->n * 2)
        size *= 2;
    d->index = qn_jinja_take(r, size * 2, sizeof *d->index);
    if (!d->index) return r->code;
    d->index_size = size * 2;
    for (size_t i = 0; i < d->n; i++) {
        if (index_add(r, d, i)) return r->code;
    }
    return qn_jinja_charge(r, d->n / 8);
}

// The entry's number, or SIZE_MAX.
static int find(qn_jinja_run *r, qn_jinja_dict *d, const qn_jinja_value *key, size_t *entry)
{
    bool same = false;
    *entry = SIZE_MAX;
    if (d->n <= SMALL) {
        for (size_t i = 0; i < d->n; i++) {
            if (same_key(r, &d->entries[i].key, key, &same)) return r->code;
            if (same) return *entry = i, 0;
        }
        return 0;
    }
    if (d->n * 2 > d->index_size && index_build(r, d)) return r->code;
    size_t slot = hash_of(key) & (d->index_size - 1);
    for (uint64_t probes = 1; d->index[slot]; probes++) {
        size_t i = d->index[slot] - 1;
        if (same_key(r, &d->entries[i].key, key, &same)) return r->code;
        if (same) return *entry = i, 0;
        if (charge_probe(r, probes)) return r->code;
        slot = (slot + 1) & (d->index_size - 1);
    }
    return 0;
}

static int check_key(qn_jinja_run *r, const qn_jinja_value *key)
{
    if (qn_jinja_hashable(key)) return 0;
    return qn_jinja_fail(r, "TypeError", "unhashable type: '%s'", qn_jinja_type(key));
}

static int grow(qn_jinja_run *r, qn_jinja_dict *d)
{
    size_t capacity = d->capacity ? d->capacity * 2 : 4;
    qn_jinja_entry *entries = qn_jinja_take(r, capacity, sizeof *entries);
    if (!entries) return r->code;
    if (d->n) memcpy(entries, d->entries, d->n * sizeof *entries);
    d->entries = entries;
    d->capacity = capacity;
    return 0;
}

int qn_jinja_dict_set(qn_jinja_run *r, qn_jinja_dict *d, qn_jinja_value key, qn_jinja_value value)
{
    size_t entry;
    if (check_key(r, &key) || find(r, d, &key, &entry)) return r->code;
    if (entry != SIZE_MAX) {
        d->entries[entry].value = value;
        return 0;
    }
    if (d->n == d->capacity && grow(r, d)) return r->code;
    d->entries[d->n++] = (qn_jinja_entry){key, value};
    return d->n * 2 <= d->index_size ? index_add(r, d, d->n - 1) : 0;
}

int qn_jinja_dict_get(qn_jinja_run *r, qn_jinja_dict *d, const qn_jinja_value *key,
                      const qn_jinja_value **out)
{
    size_t entry;
    *out = NULL;
    if (check_key(r, key) || find(r, d, key, &entry)) return r->code;
    if (entry != SIZE_MAX) *out = &d->entries[entry].value;
    return 0;
}

int qn_jinja_dict_find(qn_jinja_run *r, qn_jinja_dict *d, const char *key,
                       const qn_jinja_value **out)
{
    qn_jinja_string s = qn_jinja_literal(key, true);
    qn_jinja_value v = {.kind = QN_JINJA_STRING, .string = &s};
    return qn_jinja_dict_get(r, d, &v, out);
}
