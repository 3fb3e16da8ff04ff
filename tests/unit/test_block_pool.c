// The pool of blocks: nothing is lent twice, nothing is lost, references count.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "engine/block_pool.h"

enum { N = 37 };

// Each block is free and once in the list, or referenced.
static void assert_invariant(const qn_block_pool *p)
{
    int listed[N] = {0};
    for (int i = 0; i < p->n_free; i++) {
        listed[p->free_blocks[i]]++;
        assert_int_equal(p->references[p->free_blocks[i]], 0);
    }
    for (int b = 0; b < N; b++)
        assert_int_equal(listed[b] + (p->references[b] > 0), 1);
}

static void every_block_is_lent_once(void **state)
{
    (void)state;
    qn_block_pool p;
    int seen[N] = {0};
    assert_int_equal(qn_block_pool_init(&p, N, NULL), QUERN_OK);
    for (int i = 0; i < N; i++) {
        int32_t b = qn_block_pool_take(&p);
        assert_true(b >= 0 && b < N && !seen[b]);
        seen[b] = 1;
    }
    assert_int_equal(qn_block_pool_take(&p), -1);
    assert_invariant(&p);
    qn_block_pool_free(&p);
}

static void a_shared_block_is_free_after_its_last_reference(void **state)
{
    (void)state;
    qn_block_pool p;
    assert_int_equal(qn_block_pool_init(&p, N, NULL), QUERN_OK);
    int32_t b = qn_block_pool_take(&p);
    qn_block_pool_share(&p, b);
    qn_block_pool_drop(&p, b);
    assert_int_equal(p.n_free, N - 1);
    qn_block_pool_drop(&p, b);
    assert_int_equal(p.n_free, N);
    qn_block_pool_free(&p);
}

static void random_use_conserves_blocks(void **state)
{
    (void)state;
    qn_block_pool p;
    int32_t held[400];
    int n_held = 0;
    unsigned dice = 3;
    assert_int_equal(qn_block_pool_init(&p, N, NULL), QUERN_OK);
    for (int i = 0; i < 20000; i++) {
        dice = dice * 1103515245u + 12345u;
        unsigned what = dice >> 16;
        if (what % 3 == 0 && n_held < 400) {
            int32_t b = qn_block_pool_take(&p);
            if (b >= 0) held[n_held++] = b;
        } else if (what % 3 == 1 && n_held && n_held < 400) {
            held[n_held] = held[(what / 3) % (unsigned)n_held];
            qn_block_pool_share(&p, held[n_held++]);
        } else if (n_held) {
            unsigned at = (what / 3) % (unsigned)n_held;
            qn_block_pool_drop(&p, held[at]);
            held[at] = held[--n_held];
        }
        assert_invariant(&p);
    }
    while (n_held)
        qn_block_pool_drop(&p, held[--n_held]);
    assert_int_equal(p.n_free, N);
    qn_block_pool_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_is_lent_once),
        cmocka_unit_test(a_shared_block_is_free_after_its_last_reference),
        cmocka_unit_test(random_use_conserves_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
