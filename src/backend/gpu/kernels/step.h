// step_begin, step_end, copy_blocks: what surrounds a pass. step_begin is one group; copy_blocks a group a layer; step_end a group
// an output.
#ifndef QN_BACKEND_GPU_KERNELS_STEP_H
#define QN_BACKEND_GPU_KERNELS_STEP_H

#define QN_ROW_WORDS 3 // qn_row, qn_output, qn_edit, qn_slot_copy
#define QN_PARAMS_WORDS ((int)(sizeof(qn_slot_params) / 4))

FN void qn_copy_words(GLOBAL int *to, GLOBAL const int *from, int n, int tid)
{
    for (int i = tid; i < n; i += QN_GPU_THREADS)
        to[i] = from[i];
}
// The same, where word `tid` is there already.
FN void qn_copy_words_on(GLOBAL int *to, GLOBAL const int *from, int n, int first, int tid)
{
    if (tid < n) to[tid] = first;
    qn_copy_words(to, from, n, tid + QN_GPU_THREADS);
}
// n edits, of which number `tid` is there already: its slot, index and value. width: of a slot's line.
FN void qn_apply_edits(GLOBAL int *to, GLOBAL const int *edits, int n, int slot, int index,
                       int value, int width, int tid)
{
    if (tid < n) to[(ulong)slot * (ulong)width + (ulong)index] = value;
    for (int i = tid + QN_GPU_THREADS; i < n; i += QN_GPU_THREADS)
        to[(ulong)edits[i * QN_ROW_WORDS] * (ulong)width + (ulong)edits[i * QN_ROW_WORDS + 1]] =
            edits[i * QN_ROW_WORDS + 2];
}
// Word i of n_words, or any other where there is none.
FN int qn_staged_word(GLOBAL const int *staged, int i, int n_words)
{
    return staged[i < n_words ? i : 0];
}

// Fetches the staged block (what later kernels read of it) and applies its edits to the slot table, in the order of
// ops/step_begin.h. The block may lie in the host's memory, which is far: what a small step has is asked for at once, before it is known how much
// there is.
KERNEL(step_begin, BUF(0, const int, staged), BUF(1, int, block), BUF(2, int, tokens),
       BUF(3, int, table), BUF(4, int, params), ARGS(5, qn_gpu_step_begin_args, a))
{
    int token[QN_ROW_WORDS], entry[QN_ROW_WORDS];
    int count = qn_staged_word(staged, TID, 8),
        row = qn_staged_word(staged, a.rows_at + TID, a.n_words);
    int output = qn_staged_word(staged, a.outputs_at + TID, a.n_words);
    for (int i = 0; i < QN_ROW_WORDS; i++) {
        token[i] = qn_staged_word(staged, a.token_edits_at + TID * QN_ROW_WORDS + i, a.n_words);
        entry[i] = qn_staged_word(staged, a.block_edits_at + TID * QN_ROW_WORDS + i, a.n_words);
    }
    int n_rows = staged[0], n_outputs = staged[1], n_slot_copies = staged[2];
    int n_params = staged[3], n_tokens = staged[4], n_blocks = staged[5], n_copies = staged[6];
    qn_copy_words_on(block, staged, 8, count, TID);
    qn_copy_words_on(block + a.rows_at, staged + a.rows_at, n_rows * QN_ROW_WORDS, row, TID);
    qn_copy_words_on(block + a.outputs_at, staged + a.outputs_at, n_outputs * QN_ROW_WORDS, output,
                     TID);
    qn_copy_words(block + a.block_copies_at, staged + a.block_copies_at, n_copies * 2, TID);
    if (a.apply == 0) return;
    for (int i = 0; i < n_slot_copies; i++) {
        GLOBAL const int *copy = staged + a.slot_copies_at + i * QN_ROW_WORDS;
        ulong source = (ulong)copy[0], target = (ulong)copy[1];
        int n = copy[2];
        qn_copy_words(tokens + target * (ulong)a.max_context,
                      tokens + source * (ulong)a.max_context, n, TID);
        qn_copy_words(table + target * (ulong)a.max_blocks, table + source * (ulong)a.max_blocks,
                      (n + QN_BLOCK_TOKENS - 1) / QN_BLOCK_TOKENS, TID);
        BARRIER_DEVICE();
    }
    for (int i = 0; i < n_params; i++) {
        GLOBAL const int *edit = staged + a.params_edits_at + i * (QN_PARAMS_WORDS + 1);
        qn_copy_words(params + edit[0] * QN_PARAMS_WORDS, edit + 1, QN_PARAMS_WORDS, TID);
        BARRIER_DEVICE();
    }
    qn_apply_edits(tokens, staged + a.token_edits_at, n_tokens, token[0], token[1], token[2],
                   a.max_context, TID);
    qn_apply_edits(table, staged + a.block_edits_at, n_blocks, entry[0], entry[1], entry[2],
                   a.max_blocks, TID);
}

// Hands out the results: of each output its head and its n_top best.
KERNEL(step_end, BUF(0, qn_step_result, to), BUF(1, const qn_step_result, from),
       BUF(2, const qn_step_counts, counts), ARGS(3, qn_gpu_step_end_args, a))
{
    int i = TG_X;
    if (i >= counts->n_outputs || i >= a.max_outputs) return;
    int n = from[i].n_top;
    if (TID == 0) {
        to[i].token = from[i].token;
        to[i].logprob = from[i].logprob;
        to[i].n_top = n;
        to[i].reserved = 0;
    }
    for (int j = TID; j < n; j += QN_GPU_THREADS) {
        to[i].top_id[j] = from[i].top_id[j];
        to[i].top_logprob[j] = from[i].top_logprob[j];
    }
}

// One part of the state: a group a layer takes the pairs one after another.
KERNEL(copy_blocks, BUF(0, uchar, base), BUF(1, const qn_step_counts, counts),
       BUF(2, const qn_block_copy, copies), ARGS(3, qn_gpu_copy_blocks_args, a))
{
    ulong block_bytes = (ulong)a.block_words * 4 + (ulong)a.block_tail;
    GLOBAL uchar *layer = base + (ulong)TG_X * (ulong)a.n_blocks * block_bytes;
    for (int i = 0; i < counts->n_block_copies; i++) {
        GLOBAL const uchar *from = layer + (ulong)copies[i].source * block_bytes;
        GLOBAL uchar *to = layer + (ulong)copies[i].target * block_bytes;
        if (a.block_tail == 0)
            qn_copy_words((GLOBAL int *)to, (GLOBAL const int *)from, a.block_words, TID);
        else
            for (int j = TID; j < a.block_words * 4 + a.block_tail; j += QN_GPU_THREADS)
                to[j] = from[j];
        BARRIER_DEVICE();
    }
}

#endif
