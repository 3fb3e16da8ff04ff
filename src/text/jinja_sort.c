// A stable merge sort by Python's `<`. See jinja_eval.h.
#include <string.h>

#include "text/jinja_eval.h"

typedef struct {
    qn_jinja_run *run;
    const qn_jinja_value *keys;
    bool reverse;
} sorter;

// Whether b must come before a, which stands before it.
static bool swaps(const sorter *s, uint32_t a, uint32_t b)
{
    bool less = false;
    const qn_jinja_value *left = &s->keys[s->reverse ? a : b],
                         *right = &s->keys[s->reverse ? b : a];
    if (qn_jinja_charge(s->run, 1)) return false;
    qn_jinja_compare(s->run, QN_JINJA_LT, left, right, &less);
    return less;
}

static void merge(const sorter *s, const uint32_t *from, uint32_t *to, const size_t bounds[3])
{
    size_t left = bounds[0], right = bounds[1];
    for (size_t i = bounds[0]; i < bounds[2]; i++) {
        bool take_right =
            left == bounds[1] || (right < bounds[2] && swaps(s, from[left], from[right]));
        to[i] = take_right ? from[right++] : from[left++];
    }
}

int qn_jinja_sort(qn_jinja_run *r, const qn_jinja_value *keys, size_t n, bool reverse,
                  uint32_t **order)
{
    const sorter s = {r, keys, reverse};
    uint32_t *from = qn_jinja_take(r, n, sizeof *from);
    uint32_t *to = from ? qn_jinja_take(r, n, sizeof *to) : NULL;
    if (!to) return r->code;
    for (size_t i = 0; i < n; i++)
        from[i] = (uint32_t)i;
    for (size_t width = 1; width < n && !r->code; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            size_t middle = i + width < n ? i + width : n;
            size_t end = i + 2 * width < n ? i + 2 * width : n;
            merge(&s, from, to, (size_t[]){i, middle, end});
        }
        uint32_t *sorted = to;
        to = from;
        from = sorted;
    }
    *order = from;
    return r->code;
}
