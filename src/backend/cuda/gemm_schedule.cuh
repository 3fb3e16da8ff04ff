// Who does what of a product of many rows (gemm.cuh). A tile is 8 strips of w (of a gated product 4 of gate and the same 4 of up) a
// group of the cluster, by n rows of x. The clusters are few and stay: each takes every n-th tile. What would be left for a last
// round is cut instead, together with the round before it, along K, into even shares: a share begins with the last
// slabs of one tile and ends with the first of another. The first slabs are done first of all and their sums handed over; the last
// are done last, on top of what the neighbour handed over. So each sum keeps its order, and nobody waits.
// A tile may be cut every QN_SLABS_A_CUT slabs; the chain that has begun is handed over too. Shares are even in slabs or in such places,
// whichever leaves the longest one shorter.
// Fewer tiles than half the clusters (args: split_rows): each part is somebody's own, its sums go to memory (qn_gemm_partial), and who reads
// the results adds them in order (gemm_norm, gemm_enter), or gemm_fold does.
#ifndef QN_BACKEND_CUDA_GEMM_SCHEDULE_CUH
#define QN_BACKEND_CUDA_GEMM_SCHEDULE_CUH

#define QN_SLABS_A_CUT 4

// Between two slabs: the next one, and the tile it is of.
typedef struct {
    int tile, slab;
} qn_gemm_place;

typedef struct {
    int n_clusters, n_rows;
    int n_across, n_tiles; // tiles of x beside each other; all
    int n_slabs, n_parts;  // of K: 64 numbers, and a chain each
    int a_part;            // slabs of one
    int n_cuts;            // places of a tile where a piece may begin
    int n_rounds;          // of whole tiles
    int split;             // 1: parts are work of their own
    // By the first index, shares that are even in slabs, and in cuts:
    int longest[2];
    qn_gemm_place own[2][2]; // where this cluster's begins and ends
} qn_gemm_plan;

// Slabs begin … end of a tile: strips of w from n-th tile w on, rows of x from n-th tile x on.
typedef struct {
    int w, x, begin, end;
    int taken;  // 1: begins with what the neighbour handed over
    int handed; // 1: ends by handing over
} qn_gemm_piece;

// Strips of a tile of the whole cluster; of a gated product, pairs of strips.
FN int qn_gemm_strips(const qn_cuda_gemm_args &a, int cluster)
{
    return (a.gated ? 4 : 8) * cluster;
}
FN int qn_gemm_all_strips(const qn_cuda_gemm_args &a)
{
    int n = 0;
#pragma unroll 1
    for (int m = 0; m < (a.gated ? 1 : a.n_matrices); m++)
        n += (a.n_n[m] + 15) / 16;
    return n;
}

// Parts' sums lie in blocks of 64 columns (of all matrices' strips side by side; of a gated product gate's, then up's), so that what a warpgroup
// writes of a tile lies together. A block has a line a row of x.
#define QN_GEMM_BLOCK 64
FN int qn_gemm_blocks(const qn_cuda_gemm_args &a)
{
    return (qn_gemm_all_strips(a) + 3) / 4 * (a.gated ? 2 : 1);
}
// The first number of row r of a part's block.
FN ulong qn_gemm_partial(int part, int n_blocks, int n_rows, int block, int r)
{
    return (((ulong)(part * n_blocks) + (ulong)block) * (ulong)n_rows + (ulong)r) * QN_GEMM_BLOCK;
}

FN void qn_gemm_make_plan(qn_gemm_plan *p, const qn_cuda_gemm_args &a, int n_rows, int tile_rows, int cluster, int n_clusters)
{
    int strips = qn_gemm_strips(a, cluster);
    p->n_clusters = n_clusters;
    p->n_rows = n_rows;
    p->n_across = (n_rows + tile_rows - 1) / tile_rows;
    p->n_tiles = p->n_across * ((qn_gemm_all_strips(a) + strips - 1) / strips);
    p->n_slabs = a.padded_k / 64;
    p->a_part = a.part / 64;
    p->n_parts = (p->n_slabs + p->a_part - 1) / p->a_part;
    p->n_cuts = (p->n_slabs + QN_SLABS_A_CUT - 1) / QN_SLABS_A_CUT;
    p->split = n_rows <= a.split_rows;
    p->longest[0] = p->longest[1] = 0;
    for (int i = 0; i < 4; i++)
        p->own[i / 2][i % 2].tile = p->own[i / 2][i % 2].slab = 0;
    p->n_rounds = p->n_tiles / n_clusters;
    if (p->n_tiles < n_clusters)
        p->n_rounds = 1;
    else if (p->n_tiles % n_clusters && p->n_cuts > 1)
        p->n_rounds--;
    else if (p->n_tiles % n_clusters)
        p->n_rounds++;
}

// Where cluster c's share of the cut tiles begins, the first of which is 0.
FN qn_gemm_place qn_gemm_share(const qn_gemm_plan *p, int c, int by_cuts)
{
    int n_cut = p->n_tiles - p->n_rounds * p->n_clusters, each = by_cuts ? p->n_cuts : p->n_slabs;
    int at = n_cut * each * c / p->n_clusters; // less than two rounds are cut: no overflow
    qn_gemm_place place = {at / each, 0};
    int cut = at - place.tile * each;
    if (!by_cuts) cut = (cut + QN_SLABS_A_CUT / 2) / QN_SLABS_A_CUT;
    place.slab = cut * QN_SLABS_A_CUT;
    if (cut >= p->n_cuts) place.tile++, place.slab = 0;
    return place;
}

// By all threads of a group of cluster `own`, when the rest of the plan is made.
FN void qn_gemm_even_shares(qn_gemm_plan *p, int own)
{
    if (p->n_tiles <= p->n_rounds * p->n_clusters) return; // nothing is cut
    for (int i = threadIdx.x; i < 2 * p->n_clusters; i += (int)blockDim.x) {
        int c = i >> 1, way = i & 1;
        qn_gemm_place from = qn_gemm_share(p, c, way), to = qn_gemm_share(p, c + 1, way);
        atomicMax(p->longest + way, (to.tile - from.tile) * p->n_slabs + to.slab - from.slab);
        if (c == own) p->own[way][0] = from, p->own[way][1] = to;
    }
}

// Cluster c has no piece, while others, the first always, have: it may leave without waiting for the kernel in front (qn_grid_wait).
FN bool qn_gemm_is_idle(const qn_gemm_plan *p, int c)
{
    return p->n_tiles && c >= (p->split ? p->n_tiles * p->n_parts : p->n_tiles);
}

FN void qn_gemm_piece_of(const qn_gemm_plan *p, int tile, qn_gemm_piece *out)
{
    out->w = tile, out->x = 0;
    if (p->n_across > 1) out->w = tile / p->n_across, out->x = tile - out->w * p->n_across;
}

// Piece i of cluster c, whose plan it is; false past its last.
FN bool qn_gemm_piece_at(const qn_gemm_plan *p, int c, int i, qn_gemm_piece *out)
{
    out->begin = out->taken = out->handed = 0;
    out->end = p->n_slabs;
    if (!p->n_tiles) return false;
    if (p->split) {
        // The last ones, which may be short, come last, and to those that had a short one before.
        int unit = i * p->n_clusters + (i % 2 ? p->n_clusters - 1 - c : c), part = unit / p->n_tiles;
        out->begin = part * p->a_part;
        if (out->begin + p->a_part < out->end) out->end = out->begin + p->a_part;
        qn_gemm_piece_of(p, unit - part * p->n_tiles, out);
        return part < p->n_parts;
    }
    const qn_gemm_place *own = p->own[p->longest[1] < p->longest[0]];
    qn_gemm_place from = own[0], to = own[1];
    int base = p->n_rounds * p->n_clusters, tile, there = 1;
    int whole = from.tile + (from.slab > 0), n_whole = to.tile > whole ? to.tile - whole : 0;
    if (to.slab && i-- == 0) {
        tile = base + to.tile; // a share is a whole tile at least, so none is both taken and handed over
        out->end = to.slab;
        out->handed = 1;
    } else if (i < n_whole) {
        tile = base + whole + i;
    } else if (i - n_whole < p->n_rounds && c + (i - n_whole) * p->n_clusters < p->n_tiles) {
        tile = c + (i - n_whole) * p->n_clusters;
    } else {
        tile = base + from.tile;
        out->begin = from.slab;
        out->taken = 1;
        there = i == n_whole + p->n_rounds && from.slab && from.tile < to.tile;
    }
    qn_gemm_piece_of(p, tile, out);
    return there;
}

#endif
