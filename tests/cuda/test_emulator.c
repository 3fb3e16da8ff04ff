// The emulated card itself: small programs of PTX whose results are known, and faults that must be found: where no memory is, no wait,
// no barrier, no end. See emulator/grid.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka wants the headers above first
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grid.h"
#include "halves.h"

enum { N_SEEDS = 40 };

static char error[512];

// An entry of two pointers with this body, which begins with %out and %in as 64-bit registers.
static ptx_module *module(const char *shared, const char *body)
{
    static char text[20000];
    snprintf(
        text, sizeof text,
        ".version 9.0\n.target sm_90a\n.address_size 64\n%s\n"
        ".visible .entry test(\n\t.param .u64 test_param_0,\n\t.param .u64 test_param_1\n)\n{\n"
        "\t.reg .pred %%p<8>;\n\t.reg .b16 %%rs<8>;\n\t.reg .f32 %%f<16>;\n\t.reg .b32 "
        "%%r<32>;\n\t.reg .b64 %%rd<16>;\n"
        "\t.reg .b64 %%out;\n\t.reg .b64 %%in;\n"
        "\tld.param.u64 %%out, [test_param_0];\n\tld.param.u64 %%in, "
        "[test_param_1];\n%s\n\tret;\n}\n",
        shared, body);
    return ptx_module_new(text, NULL, error);
}

static int run_seeded(ptx_module *m, void *out, const void *in, unsigned n_groups,
                      unsigned n_threads, int shared, int seed)
{
    const void *parameters[2] = {out, in};
    ptx_function *entry = ptx_module_function(m, "test", 4, error);
    if (!entry) return -2;
    grid_seed((uint64_t)seed);
    return grid_run(&(grid_launch){.module = m,
                                   .entry = entry,
                                   .parameters = (const char *)parameters,
                                   .n_groups = {n_groups, 1, 1},
                                   .n_threads = n_threads,
                                   .shared_bytes = shared,
                                   .n_processors = 4,
                                   .patience = 1000000},
                    error);
}

static int run(const char *body, void *out, const void *in, unsigned n_groups, unsigned n_threads,
               int shared)
{
    ptx_module *m = module(".extern .shared .align 16 .b8 room[];", body);
    assert_non_null(m);
    int rc = run_seeded(m, out, in, n_groups, n_threads, shared, 1);
    ptx_module_free(m);
    return rc;
}

// How many of the seeds give `expected` in all of out.
static int count_right(const char *body, uint32_t *out, const void *in, unsigned n_threads,
                       int shared, uint32_t (*expected)(unsigned))
{
    ptx_module *m = module(".extern .shared .align 16 .b8 room[];", body);
    int right = 0;
    assert_non_null(m);
    for (int seed = 1; seed <= N_SEEDS; seed++) {
        bool same = run_seeded(m, out, in, 1, n_threads, shared, seed) == 0;
        for (unsigned t = 0; t < n_threads; t++)
            same = same && out[t] == expected(t);
        right += same;
    }
    ptx_module_free(m);
    return right;
}

#define MY_PLACE                                                                                   \
    "mov.u32 %r1, %tid.x;\n mov.u32 %r2, %ctaid.x;\n mov.u32 %r3, %ntid.x;\n"                      \
    "mad.lo.s32 %r4, %r2, %r3, %r1;\n mul.wide.s32 %rd1, %r4, 4;\n add.s64 %rd2, %out, %rd1;\n"

static void test_lanes_go_their_own_ways(void **state)
{
    (void)state;
    uint32_t *out = card_alloc(4 * 64 * 4, true);
    // Collatz steps of the thread's number: lanes leave the loop one by one.
    assert_int_equal(run(MY_PLACE
                         "add.s32 %r5, %r4, 1;\n mov.u32 %r6, 0;\n"
                         "$LOOP:\n setp.eq.s32 %p1, %r5, 1;\n @%p1 bra $END;\n"
                         "and.b32 %r7, %r5, 1;\n setp.eq.s32 %p2, %r7, 0;\n @%p2 bra $EVEN;\n"
                         "mad.lo.s32 %r5, %r5, 3, 1;\n bra.uni $NEXT;\n"
                         "$EVEN:\n shr.u32 %r5, %r5, 1;\n"
                         "$NEXT:\n add.s32 %r6, %r6, 1;\n bra.uni $LOOP;\n"
                         "$END:\n st.global.u32 [%rd2], %r6;",
                         out, NULL, 4, 64, 0),
                     0);
    for (uint32_t t = 0; t < 256; t++) {
        uint32_t v = t + 1, n = 0;
        for (; v != 1; n++)
            v = v % 2 ? 3 * v + 1 : v / 2;
        assert_int_equal(out[t], n);
    }
    card_free(out);
}

static uint32_t sum_of_lanes(unsigned t)
{
    return t / 32 * 32 * 32 + 31 * 16;
}
static void test_shuffles(void **state)
{
    (void)state;
    uint32_t *out = card_alloc(4 * 64, true);
    char body[2000] = MY_PLACE "mov.u32 %r5, %r1;\n";
    for (int step = 16; step; step /= 2)
        snprintf(body + strlen(body), sizeof body - strlen(body),
                 "shfl.sync.bfly.b32 %%r6|%%p1, %%r5, %d, 31, -1;\n add.s32 %%r5, %%r5, %%r6;\n",
                 step);
    strcat(body, "st.global.u32 [%rd2], %r5;");
    assert_int_equal(count_right(body, out, NULL, 64, 0, sum_of_lanes), N_SEEDS);
    card_free(out);
}

static uint32_t next_thread(unsigned t)
{
    return (t + 32) % 128 * 3;
}
static const char exchange[] =
    MY_PLACE "shl.b32 %r5, %r1, 2;\n mul.lo.s32 %r6, %r1, 3;\n st.shared.u32 [%r5], %r6;\n"
             "%BARRIER\n add.s32 %r7, %r5, 128;\n and.b32 %r7, %r7, 511;\n"
             "ld.shared.u32 %r8, [%r7];\n st.global.u32 [%rd2], %r8;";
static int exchange_with(const char *barrier)
{
    uint32_t *out = card_alloc(4 * 128, true);
    char body[1000];
    const char *at = strstr(exchange, "%BARRIER");
    snprintf(body, sizeof body, "%.*s%s%s", (int)(at - exchange), exchange, barrier, at + 8);
    int right = count_right(body, out, NULL, 128, 512, next_thread);
    card_free(out);
    return right;
}
static void test_barriers_hold_warps_together(void **state)
{
    (void)state;
    assert_int_equal(exchange_with("bar.sync 0;"), N_SEEDS);
    assert_int_equal(exchange_with("bar.sync 1, 128;"), N_SEEDS);
    assert_in_range(exchange_with(""), 0, N_SEEDS - 1);
}

static uint32_t next_lane(unsigned t)
{
    return (t + 1) % 32;
}
static void test_lanes_without_a_sync_drift_apart(void **state)
{
    (void)state;
    uint32_t *out = card_alloc(4 * 32, true);
    const char *with =
        MY_PLACE "shl.b32 %r5, %r1, 2;\n st.shared.u32 [%r5], %r1;\n bar.warp.sync -1;\n add.s32 "
                 "%r7, %r5, 4;\n"
                 "and.b32 %r7, %r7, 127;\n ld.shared.u32 %r8, [%r7];\n st.global.u32 [%rd2], %r8;";
    char without[1000];
    snprintf(without, sizeof without, "%s", with);
    memcpy(strstr(without, "bar.warp.sync"), "//", 2);
    assert_int_equal(count_right(with, out, NULL, 32, 128, next_lane), N_SEEDS);
    assert_in_range(count_right(without, out, NULL, 32, 128, next_lane), 0, N_SEEDS - 1);
    card_free(out);
}

static uint32_t as_copied(unsigned t)
{
    return 1000 + t;
}
static void test_copies_come_when_they_are_waited_for(void **state)
{
    (void)state;
    uint32_t *out = card_alloc(4 * 32, true), *in = card_alloc(4 * 32, true);
    for (uint32_t k = 0; k < 32; k++)
        in[k] = 1000 + k;
    const char *with = MY_PLACE
        "setp.ne.s32 %p1, %r1, 0;\n @%p1 bra $WAIT;\n mov.u32 %r9, 512;\n mov.u32 %r10, 1;\n"
        "mbarrier.init.shared::cta.b64 [%r9], %r10;\n mov.u32 %r11, 128;\n"
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r9], %r11;\n mov.u32 %r12, 0;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r12], [%in], %r11, "
        "[%r9];\n"
        "$WAIT:\n bar.warp.sync -1;\n mov.u32 %r9, 512;\n"
        "$AGAIN:\n {.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%r9], 0; selp.u32 "
        "%r13, 1, 0, p;}\n"
        "setp.eq.s32 %p2, %r13, 0;\n @%p2 bra $AGAIN;\n shl.b32 %r5, %r1, 2;\n ld.shared.u32 %r8, "
        "[%r5];\n st.global.u32 [%rd2], %r8;";
    char without[2000];
    snprintf(without, sizeof without, "%s", with);
    memcpy(strstr(without, "@%p2 bra $AGAIN"), "//", 2);
    assert_int_equal(count_right(with, out, in, 32, 1024, as_copied), N_SEEDS);
    assert_in_range(count_right(without, out, in, 32, 1024, as_copied), 0, N_SEEDS - 1);
    card_free(out);
    card_free(in);
}

/* ---- matrices ---- */

static float small(unsigned k)
{
    return (float)((int)(k * 2654435761u >> 24) - 128) / 32;
}
static uint16_t half_of(unsigned k)
{
    return to_f16(small(k));
}

// a: 16 × 16, b: 16 × 8 (by columns), as fragments in memory: a's four registers a lane, then b's two.
static void test_mma(void **state)
{
    (void)state;
    uint32_t *in = card_alloc(4 * 32 * 6, true);
    float *out = card_alloc(4 * 32 * 4, true);
    for (unsigned l = 0; l < 32; l++)
        for (unsigned k = 0; k < 6; k++) {
            unsigned row = l / 4 + k % 2 * 8, column = l % 4 * 2 + k / 2 * 8, n = l / 4,
                     at = l % 4 * 2 + (k - 4) * 8;
            unsigned first = k < 4 ? row * 16 + column : 256 + n * 16 + at;
            in[k * 32 + l] = (uint32_t)half_of(first) | (uint32_t)half_of(first + 1) << 16;
        }
    char body[4000] = MY_PLACE "add.s64 %rd3, %in, %rd1;\n";
    for (int k = 0; k < 6; k++)
        snprintf(body + strlen(body), sizeof body - strlen(body),
                 "ld.global.u32 %%r%d, [%%rd3+%d];\n", 10 + k, 128 * k);
    strcat(body, "mov.f32 %f1, 0f3F800000;\n"
                 "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, "
                 "{%r10,%r11,%r12,%r13}, {%r14,%r15}, "
                 "{%f1,%f1,%f1,%f1};\n");
    for (int k = 0; k < 4; k++)
        snprintf(body + strlen(body), sizeof body - strlen(body),
                 "st.global.f32 [%%rd2+%d], %%f%d;\n", 128 * k, 2 + k);
    assert_int_equal(run(body, out, in, 1, 32, 0), 0);
    for (unsigned l = 0; l < 32; l++)
        for (unsigned k = 0; k < 4; k++) {
            unsigned row = l / 4 + k / 2 * 8, n = l % 4 * 2 + k % 2;
            double sum = 1;
            for (unsigned i = 0; i < 16; i++)
                sum += (double)from_f16(half_of(row * 16 + i)) *
                       (double)from_f16(half_of(256 + n * 16 + i));
            assert_float_equal(out[k * 32 + l], (float)sum, 1e-6);
        }
    card_free(in);
    card_free(out);
}

// 64 × 16 by 16 × 16, a's row r all 1 + r % 8, negative where r % 16 is 8 or more; b as 16 rows of 64 numbers along K, swizzled, from its second step of 16.
static void test_wgmma(void **state)
{
    (void)state;
    enum { N = 16, ROW = 128 };
    char *in = card_alloc(N * ROW, true);
    float *out = card_alloc(4 * 128 * 8, true);
    for (unsigned n = 0; n < N; n++)
        for (unsigned k = 0; k < 64; k++) {
            unsigned at = n * ROW + k * 2;
            uint16_t v = half_of(n * 64 + k);
            memcpy(in + (at ^ (at >> 7 & 7) << 4), &v, 2);
        }
    char body[4000] = MY_PLACE // each thread brings 16 bytes
        "mul.wide.s32 %rd3, %r1, 16;\n add.s64 %rd4, %in, %rd3;\n shl.b32 %r5, %r1, 4;\n"
        "ld.global.v4.u32 {%r6,%r7,%r8,%r9}, [%rd4];\n st.shared.v4.u32 [%r5], {%r6,%r7,%r8,%r9};\n"
        "%FENCE\n bar.sync 0;\n and.b32 %r11, %r1, 31;\n shr.u32 %r11, %r11, 2;\n add.s32 %r11, "
        "%r11, 1;\n"
        "cvt.rn.f32.u32 %f9, %r11;\n cvt.rn.f16.f32 %rs1, %f9;\n mov.b32 %r10, {%rs1, %rs1};\n "
        "xor.b32 %r12, %r10, -2147450880;\n"
        // start 32 bytes, rows 1024 bytes apart by 8, swizzled over 128
        "mov.u64 %rd5, 4611686293305360386;\n";
    for (int k = 0; k < 8; k++)
        snprintf(body + strlen(body), sizeof body - strlen(body), "mov.f32 %%f%d, 0f00000000;\n",
                 k);
    strcat(body,
           "wgmma.fence.sync.aligned;\n"
           "{.reg .pred p; setp.ne.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 "
           "{%f0,%f1,%f2,%f3,%f4,%f5,%f6,%f7}, {%r10,%r12,%r10,%r12}, %rd5, p, 1, 1, 0;}\n"
           "wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;\n"
           "shl.b32 %r11, %r1, 5;\n cvt.u64.u32 %rd6, %r11;\n add.s64 %rd7, %out, %rd6;\n");
    for (int k = 0; k < 8; k++)
        snprintf(body + strlen(body), sizeof body - strlen(body),
                 "st.global.f32 [%%rd7+%d], %%f%d;\n", 4 * k, k);
    char *fence = strstr(body, "%FENCE");
    memcpy(fence, "//    ", 6);
    assert_int_equal(run(body, out, in, 1, 128, 4096), -1);
    assert_non_null(strstr(error, "without fence.proxy.async"));
    memcpy(fence, "\n     \n", 6);
    char fenced[4200];
    snprintf(fenced, sizeof fenced, "%.*sfence.proxy.async.shared::cta;%s", (int)(fence - body),
             body, fence + 6);
    if (run(fenced, out, in, 1, 128, 4096)) fail_msg("%s", error);
    for (unsigned t = 0; t < 128; t++)
        for (unsigned k = 0; k < 8; k++) {
            unsigned n = t % 4 * 2 + k % 2 + k / 4 * 8;
            double sum = 0;
            for (unsigned i = 16; i < 32; i++)
                sum += (double)from_f16(half_of(n * 64 + i));
            sum *= (1 + t % 32 / 4) * (k % 4 < 2 ? 1.0 : -1.0);
            assert_float_equal(out[t * 8 + k], (float)sum, 1e-4);
        }
    card_free(in);
    card_free(out);
}

/* ---- faults ---- */

static void check_fault(const char *body, unsigned n_threads, int shared, const char *expected)
{
    char *memory = card_alloc(1024, true);
    int rc = run(body, memory, memory, 1, n_threads, shared);
    if (!rc || !strstr(error, expected))
        fail_msg("expected '%s', found %d '%s'", expected, rc, error);
    card_free(memory);
}

static void test_faults_are_told(void **state)
{
    (void)state;
    check_fault("mov.u32 %r1, 0;\n st.global.u32 [%out+1024], %r1;", 32, 0, "where no memory is");
    check_fault("ld.global.u32 %r1, [%out+-4];", 32, 0, "where no memory is");
    check_fault("mov.u32 %r1, 0;\n st.global.u32 [%out+2], %r1;", 32, 0, "no multiple of 4");
    check_fault("ld.global.v4.f32 {%f1,%f2,%f3,%f4}, [%out+8];", 32, 0, "no multiple of 16");
    check_fault("mov.u32 %r1, 4096;\n ld.shared.u32 %r2, [%r1];", 32, 4096,
                "shared memory, which has 4096");
    check_fault("mov.u32 %r1, %tid.x;\n setp.gt.u32 %p1, %r1, 31;\n @%p1 bra $END;\n bar.sync 1, "
                "64;\n$END:\n",
                64, 0, "nothing can go on");
    check_fault("mov.u32 %r1, 0;\n$LOOP:\n ld.global.u32 %r2, [%out];\n setp.ne.s32 %p1, %r2, 0;\n "
                "@%p1 bra $LOOP;",
                32, 0, "nothing can go on");
    check_fault("mov.u32 %r1, 0;\n mov.u32 %r2, 16;\n cp.async.bulk.global.shared::cta.bulk_group "
                "[%out], [%r1], %r2;\n"
                "cp.async.bulk.commit_group;",
                32, 4096, "not waited for");
    check_fault("mov.u32 %r9, 64;\n mbarrier.arrive.shared::cta.b64 _, [%r9];", 32, 4096,
                "a barrier");
    check_fault("bar.sync 1, 40;", 32, 0, "barrier 1 of 40");
    check_fault("trap;", 32, 0, "a trap");
    check_fault("ret;", 32 * 40, 0, "threads a group");
    check_fault("frobnicate.u32 %r1, %r2;", 32, 0, "'frobnicate.u32' is not known here");
    check_fault("add.s32 %r1, %r99, 1;", 32, 0, "no register or variable '%r99'");
    check_fault("bra $NOWHERE;", 32, 0, "no label '$NOWHERE'");
}

/* ---- races ---- */

// Of the seeds, how many end well (expected NULL), or with `expected` told.
static int count_told(const char *body, unsigned n_threads, const char *expected)
{
    char *memory = card_alloc(4096, true);
    ptx_module *m = module(".extern .shared .align 16 .b8 room[];", body);
    int told = 0;
    assert_non_null(m);
    for (int seed = 1; seed <= N_SEEDS; seed++) {
        int rc = run_seeded(m, memory, memory, 1, n_threads, 4096, seed);
        told += expected ? rc && strstr(error, expected) : !rc;
        if (!expected && rc) print_message("%s\n", error);
    }
    ptx_module_free(m);
    card_free(memory);
    return told;
}

// A body with `part` in place of its %HERE.
static const char *with_part(const char *body, const char *part)
{
    static char whole[2000];
    const char *at = strstr(body, "%HERE");
    snprintf(whole, sizeof whole, "%.*s%s%s", (int)(at - body), body, part, at + 5);
    return whole;
}

// The line of the module's text on which `what` is.
static int line_of(const char *body, const char *what)
{
    enum { FIRST = 19 }; // of the body in module()
    int line = FIRST;
    for (const char *at = body; at < strstr(body, what); at++)
        line += *at == '\n';
    return line;
}

static void test_races_are_told_whatever_the_order(void **state)
{
    (void)state;
    static const char body[] = MY_PLACE
        "shl.b32 %r5, %r1, 2;\n st.shared.u32 [%r5], %r1;\n%HERE\n xor.b32 %r7, %r5, 128;\n"
        "ld.shared.u32 %r8, [%r7];\n st.global.u32 [%rd2], %r8;";
    assert_int_equal(count_told(with_part(body, "bar.sync 0;"), 64, NULL), N_SEEDS);
    assert_int_equal(count_told(with_part(body, "bar.sync 3, 64;"), 64, NULL), N_SEEDS);
    const char *without = with_part(body, "");
    assert_int_equal(count_told(without, 64, "a race: shared memory at"), N_SEEDS);
    // Either access may be the one that comes second; the other is told with its line.
    int store = line_of(without, "st.shared"), load = line_of(without, "ld.shared");
    char one[64], other[64], with_store[64], with_load[64];
    snprintf(one, sizeof one, "line %d of the PTX: a race", load);
    snprintf(with_store, sizeof with_store, "of line %d", store);
    snprintf(other, sizeof other, "line %d of the PTX: a race", store);
    snprintf(with_load, sizeof with_load, "of line %d", load);
    assert_true((strstr(error, one) && strstr(error, with_store)) ||
                (strstr(error, other) && strstr(error, with_load)));
    assert_int_equal(count_told(without, 32, NULL), N_SEEDS); // a warp alone: not with itself
}

// Parts of a word are apart; adding is atomic, but not with plain stores.
static void test_what_races_with_what(void **state)
{
    (void)state;
    static const char bytes[] = MY_PLACE "shr.u32 %r5, %r1, 5;\n cvt.u16.u32 %rs1, %r1;\n"
                                         "shl.b32 %r6, %r5, 1;\n st.shared.u16 [%HERE], %rs1;";
    assert_int_equal(count_told(with_part(bytes, "%r6"), 64, NULL), N_SEEDS);
    assert_int_equal(count_told(with_part(bytes, "0"), 64, "a race"), N_SEEDS);
    static const char adds[] =
        MY_PLACE "mov.u32 %r5, 64;\n mov.u32 %r6, 0;\n setp.eq.s32 %p1, %r1, 0;\n"
                 "@%p1 st.shared.u32 [%r5], %r6;\n%HERE\n atom.shared.add.u32 %r7, [%r5], %r1;";
    assert_int_equal(count_told(with_part(adds, "bar.sync 0;"), 128, NULL), N_SEEDS);
    assert_int_equal(count_told(with_part(adds, ""), 128, "a race"), N_SEEDS);
}

// Warp 0 makes, warp 1 takes; what has been taken is overwritten: each has to hear of the other.
static void test_races_of_maker_and_taker(void **state)
{
    (void)state;
    static const char body[] = MY_PLACE
        "and.b32 %r5, %r1, 31;\n shl.b32 %r5, %r5, 2;\n setp.gt.u32 %p1, %r1, 31;\n"
        "@%p1 bra $TAKE;\n st.shared.u32 [%r5], %r1;\n bar.arrive 1, 64;\n%HERE\n"
        "st.shared.u32 [%r5], %r5;\n bra.uni $END;\n"
        "$TAKE:\n bar.sync 1, 64;\n ld.shared.u32 %r8, [%r5];\n bar.arrive 2, 64;\n$END:\n";
    assert_int_equal(count_told(with_part(body, "bar.sync 2, 64;"), 64, NULL), N_SEEDS);
    assert_int_equal(count_told(with_part(body, ""), 64, "a race"), N_SEEDS);
    assert_int_equal(count_told(with_part(body, "bar.sync 3, 32;"), 64, "a race"), N_SEEDS);
}

#define COPY_IN                                                                                    \
    "mov.u32 %r11, 128;\n mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r9], %r11;\n"             \
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r12], [%in], %r11, "      \
    "[%r9];\n"

// Warp 1 has read where warp 0 lets a copy write; and it reads what came, behind a wait or not.
static void test_races_of_bulk_copies(void **state)
{
    (void)state;
    static const char before[] = MY_PLACE
        "mov.u32 %r9, 512;\n mov.u32 %r10, 1;\n mov.u32 %r12, 0;\n setp.gt.u32 %p1, %r1, 31;\n"
        "@%p1 ld.shared.u32 %r8, [%r12];\n%HERE\n setp.ne.s32 %p2, %r1, 0;\n @%p2 bra $END;\n"
        "mbarrier.init.shared::cta.b64 [%r9], %r10;\n" COPY_IN "$END:\n";
    assert_int_equal(count_told(with_part(before, "bar.sync 0;"), 64, "race"), 0);
    assert_int_equal(count_told(with_part(before, ""), 64, "race: shared memory at 0"), N_SEEDS);
    static const char behind[] = MY_PLACE
        "mov.u32 %r9, 512;\n mov.u32 %r10, 1;\n mov.u32 %r12, 0;\n setp.ne.s32 %p2, %r1, 0;\n"
        "@%p2 bra $MADE;\n mbarrier.init.shared::cta.b64 [%r9], %r10;\n" COPY_IN
        "$MADE:\n bar.sync 0;\n"
        "$AGAIN:\n {.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%r9], 0; selp.u32 "
        "%r13, 1, 0, p;}\n setp.eq.s32 %p3, %r13, 0;\n%HERE\n ld.shared.u32 %r8, [%r12];";
    assert_int_equal(count_told(with_part(behind, "@%p3 bra $AGAIN;"), 64, NULL), N_SEEDS);
    assert_in_range(count_told(with_part(behind, ""), 64, "by a bulk copy of line"), 1, N_SEEDS);
}

// cp.async may write from its start to its wait: a barrier that comes between orders nothing.
static void test_races_of_copies_under_way(void **state)
{
    (void)state;
    static const char body[] =
        MY_PLACE "mov.u32 %r12, 0;\n setp.gt.u32 %p1, %r1, 31;\n @%p1 bra $READ;\n%HERE\n"
                 "$READ:\n ld.shared.u32 %r8, [%r12];\n";
    static const char copy[] = "cp.async.cg.shared.global [%r12], [%in], 16;\n"
                               "cp.async.commit_group;\n";
    char part[400];
    assert_int_equal(count_told(with_part(body, ""), 64, NULL), N_SEEDS);
    snprintf(part, sizeof part,
             "setp.eq.s32 %%p2, %%r1, 0;\n bar.sync 1, 32;\n @%%p2 %s"
             "cp.async.wait_group 0;\n",
             copy);
    assert_int_equal(count_told(with_part(body, part), 64, "a race"), N_SEEDS);
    static const char together[] =
        MY_PLACE "mov.u32 %r12, 0;\n setp.gt.u32 %p1, %r1, 31;\n setp.eq.s32 %p2, %r1, 0;\n"
                 "@%p1 ld.shared.u32 %r8, [%r12];\n%HERE\n ld.shared.u32 %r8, [%r12];\n";
    snprintf(part, sizeof part, "bar.sync 0;\n @%%p2 %scp.async.wait_group 0;\n bar.sync 0;", copy);
    assert_int_equal(count_told(with_part(together, part), 64, NULL), N_SEEDS);
    snprintf(part, sizeof part, "@%%p2 %sbar.sync 0;\n cp.async.wait_group 0;\n bar.sync 0;", copy);
    assert_int_equal(count_told(with_part(together, part), 64, "a race"), N_SEEDS);
    snprintf(part, sizeof part, "bar.sync 0;\n @%%p2 %sbar.sync 0;", copy);
    assert_int_equal(count_told(with_part(together, part), 64, "'s copy (cp.async) of line"),
                     N_SEEDS);
}

static void test_what_is_no_ptx_is_refused(void **state)
{
    (void)state;
    assert_null(ptx_module_new("\x7f"
                               "ELF",
                               NULL, error));
    assert_string_equal(error, "not PTX");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes_go_their_own_ways),
        cmocka_unit_test(test_shuffles),
        cmocka_unit_test(test_barriers_hold_warps_together),
        cmocka_unit_test(test_lanes_without_a_sync_drift_apart),
        cmocka_unit_test(test_copies_come_when_they_are_waited_for),
        cmocka_unit_test(test_mma),
        cmocka_unit_test(test_wgmma),
        cmocka_unit_test(test_faults_are_told),
        cmocka_unit_test(test_races_are_told_whatever_the_order),
        cmocka_unit_test(test_what_races_with_what),
        cmocka_unit_test(test_races_of_maker_and_taker),
        cmocka_unit_test(test_races_of_bulk_copies),
        cmocka_unit_test(test_races_of_copies_under_way),
        cmocka_unit_test(test_what_is_no_ptx_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
