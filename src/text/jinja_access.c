// object.name, object[key] and slices, with the sandbox's rules: a value has the methods of our tables and nothing else.
// See jinja_value.h.
#include <string.h>

#include "text/jinja_eval.h"

static int loop_neighbour(qn_jinja_run *r, const qn_jinja_loop *loop, bool next,
                          qn_jinja_value *out)
{
    if (!next && loop->index == 0) {
        return qn_jinja_undefined_hint(r, "there is no previous item", out);
    }
    if (next && loop->index + 1 == loop->n) {
        return qn_jinja_undefined_hint(r, "there is no next item", out);
    }
    *out = loop->items[next ? loop->index + 1 : loop->index - 1];
    return 0;
}

static int loop_attribute(qn_jinja_run *r, const qn_jinja_loop *loop, const qn_jinja_string *name,
                          qn_jinja_value *out, bool *found)
{
    int64_t index = (int64_t)loop->index, n = (int64_t)loop->n;
    const struct {
        const char *name;
        qn_jinja_value value;
    } known[] = {
        {"index", qn_jinja_int(index + 1)},    {"index0", qn_jinja_int(index)},
        {"revindex", qn_jinja_int(n - index)}, {"revindex0", qn_jinja_int(n - index - 1)},
        {"first", qn_jinja_bool(index == 0)},  {"last", qn_jinja_bool(index == n - 1)},
        {"length", qn_jinja_int(n)},           {"depth", qn_jinja_int(1)},
        {"depth0", qn_jinja_int(0)},
    };
    *found = true;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (qn_jinja_is(name, known[i].name)) return *out = known[i].value, 0;
    }
    if (qn_jinja_is(name, "previtem")) return loop_neighbour(r, loop, false, out);
    if (qn_jinja_is(name, "nextitem")) return loop_neighbour(r, loop, true, out);
    *found = false;
    return 0;
}

// What Python's getattr would find.
static int native(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *name,
                  qn_jinja_value *out, bool *found)
{
    const qn_jinja_string *s = name->string;
    *found = false;
    if (object->kind == QN_JINJA_NAMESPACE) {
        const qn_jinja_value *member;
        if (qn_jinja_dict_get(r, object->dict, name, &member)) return r->code;
        if (member) return *found = true, *out = *member, 0;
    }
    if (object->kind == QN_JINJA_LOOP) {
        if (loop_attribute(r, object->loop, s, out, found) || *found) return r->code;
    }
    const qn_jinja_builtin *builtin = qn_jinja_find_method(object, s->data, s->n);
    if (builtin) {
        qn_jinja_method *method = qn_jinja_take(r, 1, sizeof *method);
        if (!method) return r->code;
        *method = (qn_jinja_method){builtin, *object};
        *out = (qn_jinja_value){.kind = QN_JINJA_METHOD, .method = method};
        *found = true;
        return 0;
    }
    if (qn_jinja_withheld(object, s->data, s->n)) {
        *found = true;
        return qn_jinja_undefined_of(r, *object, *name, true, out);
    }
    return 0;
}

static int missing(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *name,
                   qn_jinja_value *out)
{
    // Names with two underscores are Python's own: withheld where nothing of ours has that name.
    bool unsafe = name->kind == QN_JINJA_STRING && name->string->n > 2 &&
                  !memcmp(name->string->data, "__", 2);
    return qn_jinja_undefined_of(r, *object, *name, unsafe, out);
}

int qn_jinja_attribute(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *name,
                       qn_jinja_value *out)
{
    bool found;
    if (object->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, object);
    if (native(r, object, name, out, &found) || found) return r->code;
    if (object->kind == QN_JINJA_DICT) {
        const qn_jinja_value *member;
        if (qn_jinja_dict_get(r, object->dict, name, &member)) return r->code;
        if (member) return *out = *member, 0;
    }
    return missing(r, object, name, out);
}

static bool indexable(const qn_jinja_value *v)
{
    return v->kind == QN_JINJA_LIST &&
           (v->list->flavour == QN_JINJA_PLAIN_LIST || v->list->flavour == QN_JINJA_TUPLE ||
            v->list->flavour == QN_JINJA_RANGE);
}

static int subscript(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *key,
                     qn_jinja_value *out, bool *found)
{
    *found = false;
    int64_t i;
    if (object->kind == QN_JINJA_DICT && qn_jinja_hashable(key)) {
        const qn_jinja_value *member;
        if (qn_jinja_dict_get(r, object->dict, key, &member)) return r->code;
        if (member) return *found = true, *out = *member, 0;
    } else if (indexable(object) && qn_jinja_as_int(key, &i)) {
        int64_t n = (int64_t)object->list->n;
        if (i < 0) i += n;
        if (i < 0 || i >= n) return 0;
        *found = true;
        *out = object->list->items[i];
    } else if (object->kind == QN_JINJA_STRING && qn_jinja_as_int(key, &i)) {
        const qn_jinja_string *s = object->string;
        int64_t n = (int64_t)qn_jinja_count(s);
        if (i < 0) i += n;
        if (qn_jinja_charge_bytes(r, s->n) || i < 0 || i >= n) return r->code;
        uint32_t code;
        size_t at = qn_jinja_offset(s, (size_t)i), length = qn_jinja_character(s, at, &code);
        qn_jinja_string character = qn_jinja_view(s, at, at + length);
        *found = true;
        return qn_jinja_string_value(r, &character, out);
    }
    return 0;
}

int qn_jinja_item(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *key,
                  qn_jinja_value *out)
{
    bool found;
    if (object->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, object);
    if (subscript(r, object, key, out, &found) || found) return r->code;
    if (key->kind == QN_JINJA_STRING) {
        if (native(r, object, key, out, &found) || found) return r->code;
    }
    return missing(r, object, key, out);
}

// ---- slices ----

typedef struct {
    int64_t start, step, n; // n items: start, start + step …
} span;

static int64_t clip(int64_t i, int64_t length, bool down)
{
    if (i < 0) i = i < -length ? -1 : i + length;
    if (i < 0) return down ? -1 : 0;
    return i >= length ? (down ? length - 1 : length) : i;
}

static int read_bound(qn_jinja_run *r, const qn_jinja_value *v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v->kind == QN_JINJA_NONE || qn_jinja_as_int(v, out)) return 0;
    return qn_jinja_fail(r, "TypeError",
                         "slice indices must be integers or None or have an __index__ method");
}

static int read_span(qn_jinja_run *r, const qn_jinja_value bounds[3], int64_t length, span *out)
{
    int64_t step, start, stop;
    if (read_bound(r, &bounds[2], 1, &step)) return r->code;
    if (!step) return qn_jinja_fail(r, "ValueError", "slice step cannot be zero");
    bool down = step < 0;
    if (read_bound(r, &bounds[0], 0, &start) || read_bound(r, &bounds[1], 0, &stop)) return r->code;
    if (step < -length - 1) step = -length - 1; // one item at most either way
    if (step > length + 1) step = length + 1;
    bool given = bounds[0].kind != QN_JINJA_NONE;
    start = given ? clip(start, length, down) : down ? length - 1 : 0;
    given = bounds[1].kind != QN_JINJA_NONE;
    stop = given ? clip(stop, length, down) : down ? -1 : length;
    int64_t distance = down ? start - stop : stop - start, size = down ? -step : step;
    *out = (span){start, step, distance > 0 ? (distance - 1) / size + 1 : 0};
    return 0;
}

static int slice_string(qn_jinja_run *r, const qn_jinja_string *s, const qn_jinja_value bounds[3],
                        qn_jinja_value *out)
{
    span taken;
    if (qn_jinja_charge_bytes(r, s->n)) return r->code;
    if (read_span(r, bounds, (int64_t)qn_jinja_count(s), &taken)) return r->code;
    if (taken.step == 1 || taken.n == 0) {
        size_t from = qn_jinja_offset(s, (size_t)taken.start), to = from;
        qn_jinja_string rest = qn_jinja_view(s, from, s->n);
        to += qn_jinja_offset(&rest, (size_t)taken.n);
        qn_jinja_string part = qn_jinja_view(s, from, to);
        return qn_jinja_string_value(r, &part, out);
    }
    qn_jinja_value *items;
    size_t n;
    const qn_jinja_value whole = {.kind = QN_JINJA_STRING, .string = s};
    if (qn_jinja_iterate(r, &whole, &items, &n)) return r->code;
    qn_jinja_builder b = {.run = r};
    for (int64_t i = 0; i < taken.n; i++) {
        qn_jinja_add(&b, items[taken.start + i * taken.step].string);
    }
    return qn_jinja_build(&b, out);
}

int qn_jinja_slice(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value bounds[3],
                   qn_jinja_value *out)
{
    if (object->kind == QN_JINJA_UNDEFINED) return qn_jinja_fail_undefined(r, object);
    if (object->kind == QN_JINJA_STRING) return slice_string(r, object->string, bounds, out);
    if (object->kind == QN_JINJA_DICT) {
        return qn_jinja_fail(r, "TypeError", "unhashable type: 'slice'");
    }
    if (!indexable(object)) {
        return qn_jinja_fail(r, "TypeError", "'%s' object is not subscriptable",
                             qn_jinja_type(object));
    }
    const qn_jinja_list *list = object->list;
    span taken;
    if (read_span(r, bounds, (int64_t)list->n, &taken)) return r->code;
    if (qn_jinja_charge(r, (uint64_t)taken.n / 8)) return r->code;
    if (qn_jinja_new_list(r, (size_t)taken.n, list->flavour, out)) return r->code;
    for (int64_t i = 0; i < taken.n; i++) {
        out->list->items[i] = list->items[taken.start + i * taken.step];
    }
    if (list->flavour == QN_JINJA_RANGE) {
        int64_t *to = out->list->bounds;
        to[0] = list->bounds[0] + taken.start * list->bounds[2];
        to[2] = list->bounds[2] * taken.step;
        to[1] = to[0] + taken.n * to[2];
    }
    return 0;
}

// ---- attribute paths ----

static bool all_digits(const qn_jinja_string *s, int64_t *out)
{
    if (!s->n || s->n > 18) return false;
    *out = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->data[i] < '0' || s->data[i] > '9') return false;
        *out = *out * 10 + (s->data[i] - '0');
    }
    return true;
}

int qn_jinja_path(qn_jinja_run *r, const qn_jinja_value *object, const qn_jinja_value *path,
                  qn_jinja_value *out)
{
    *out = *object;
    if (path->kind == QN_JINJA_ABSENT || path->kind == QN_JINJA_NONE) return 0;
    if (path->kind != QN_JINJA_STRING) return qn_jinja_item(r, object, path, out);
    const qn_jinja_string *s = path->string, dot = qn_jinja_literal(".", true);
    for (size_t from = 0; from <= s->n;) {
        size_t to = qn_jinja_find(s, &dot, from);
        if (to == SIZE_MAX) to = s->n;
        qn_jinja_string part = qn_jinja_view(s, from, to);
        qn_jinja_value key, next;
        int64_t index;
        if (qn_jinja_charge(r, 1)) return r->code;
        if (all_digits(&part, &index)) {
            key = qn_jinja_int(index);
        } else if (qn_jinja_string_value(r, &part, &key)) {
            return r->code;
        }
        if (qn_jinja_item(r, out, &key, &next)) return r->code;
        *out = next;
        from = to + 1;
    }
    return 0;
}
