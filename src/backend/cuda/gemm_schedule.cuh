// Who does what of a product of many rows (gemm.cuh). A tile is 8 strips of w (of a gated product 4 of gate and the same 4 of up) a
// group of the cluster, by n rows of x. The clusters are few and stay: each takes every n-th tile. What would be left for a last
// round is cut instead, together with the round before it, between the parts of K, into even shares: a share begins with the last
// parts of one tile and ends with the first of another. The first parts are done first of all and their sums handed over; the last
// parts are done last, on top of what the neighbour handed over. So each sum keeps its order, and nobody waits.
// Shares are even in slabs or in parts, whichever leaves the longest one shorter, since only whole parts are handed over.
// Fewer tiles than half the clusters: each section (where it is one part: that) is somebody's own, its sums go to memory, and who reads
// the results adds them in order (gemm_norm, gemm_enter), or gemm_fold does.
#ifndef QN_BACKEND_CUDA_GEMM_SCHEDULE_CUH
#define QN_BACKEND_CUDA_GEMM_SCHEDULE_CUH

#define QN_SLABS_A_PART (QN_CUDA_PART / 64)

typedef struct {
    int n_clusters, n_rows;
    int n_across, n_tiles; // tiles of x beside each other; all
    int n_slabs, n_parts;  // of K: 64, and 1,024 numbers
    int section;           // parts of a section; all, where a section is a part
    int n_rounds;          // of whole tiles
    int split;             // 1: sections (or the parts) are work of their own
    int a_unit, n_units;   // then: slabs of one, and how many a tile has
    int longest[2];        // share if even in slabs, in parts
} qn_gemm_plan;

// Slabs begin … end of a tile.
typedef struct {
    int tile, begin, end;
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
    for (int m = 0; m < (a.gated ? 1 : a.n_matrices); m++)
        n += (a.n_n[m] + 15) / 16;
    return n;
}

FN void qn_gemm_make_plan(qn_gemm_plan *p, const qn_cuda_gemm_args &a, int n_rows, int tile_rows, int cluster, int n_clusters)
{
    int strips = qn_gemm_strips(a, cluster);
    p->n_clusters = n_clusters;
    p->n_rows = n_rows;
    p->n_across = (n_rows + tile_rows - 1) / tile_rows;
    p->n_tiles = p->n_across * ((qn_gemm_all_strips(a) + strips - 1) / strips);
    p->n_slabs = a.padded_k / 64;
    p->n_parts = (p->n_slabs + QN_SLABS_A_PART - 1) / QN_SLABS_A_PART;
    int section = QN_CUDA_SECTION(p->n_parts);
    p->section = section > 1 ? section : p->n_parts;
    p->split = p->n_parts > 1 && 2 * p->n_tiles <= n_clusters;
    p->a_unit = section * QN_SLABS_A_PART;
    p->n_units = (p->n_slabs + p->a_unit - 1) / p->a_unit;
    p->longest[0] = p->longest[1] = 0;
    p->n_rounds = p->n_tiles / n_clusters;
    if (p->n_tiles < n_clusters)
        p->n_rounds = 1;
    else if (p->n_tiles % n_clusters && p->n_parts > 1)
        p->n_rounds--;
    else if (p->n_tiles % n_clusters)
        p->n_rounds++;
}

// Where cluster c's share of the cut tiles begins, in slabs from the first; always between parts.
FN int qn_gemm_share(const qn_gemm_plan *p, int c, int by_parts)
{
    int n_cut = p->n_tiles - p->n_rounds * p->n_clusters;
    if (n_cut <= 0) return 0;
    int tile, part;
    if (by_parts) {
        int at = n_cut * p->n_parts * c / p->n_clusters; // less than two rounds are cut: no overflow
        tile = at / p->n_parts, part = at % p->n_parts;
    } else {
        int at = n_cut * p->n_slabs * c / p->n_clusters;
        tile = at / p->n_slabs, part = (at % p->n_slabs + QN_SLABS_A_PART / 2) / QN_SLABS_A_PART;
    }
    return tile * p->n_slabs + (part < p->n_parts ? part * QN_SLABS_A_PART : p->n_slabs);
}

// By all threads of the group, when the rest of the plan is made: which of the two ways leaves the shorter longest share.
FN void qn_gemm_even_shares(qn_gemm_plan *p)
{
    for (int c = (int)threadIdx.x; c < p->n_clusters; c += (int)blockDim.x)
        for (int way = 0; way < 2; way++)
            atomicMax(p->longest + way, qn_gemm_share(p, c + 1, way) - qn_gemm_share(p, c, way));
}

// Piece i of cluster c; false past its last.
FN bool qn_gemm_piece_at(const qn_gemm_plan *p, int c, int i, qn_gemm_piece *out)
{
    out->begin = out->taken = out->handed = 0;
    out->end = p->n_slabs;
    if (!p->n_tiles) return false;
    if (p->split) {
        // The last ones, which may be short, come last, and to those that had a short one before.
        int unit = i * p->n_clusters + (i % 2 ? p->n_clusters - 1 - c : c);
        out->begin = unit / p->n_tiles * p->a_unit;
        int end = out->begin + p->a_unit;
        if (end < out->end) out->end = end;
        out->tile = unit % p->n_tiles;
        return unit < p->n_tiles * p->n_units;
    }
    int by_parts = p->longest[1] < p->longest[0];
    int from = qn_gemm_share(p, c, by_parts), to = qn_gemm_share(p, c + 1, by_parts), base = p->n_rounds * p->n_clusters;
    int first = from / p->n_slabs, last = to / p->n_slabs, begin = from % p->n_slabs, end = to % p->n_slabs;
    if (end && i-- == 0) {
        out->tile = base + last; // a share is a whole tile at least, so none is both taken and handed over
        out->end = end;
        out->handed = 1;
        return true;
    }
    int whole = first + (begin > 0), n_whole = last > whole ? last - whole : 0;
    if (i < n_whole) {
        out->tile = base + whole + i;
        return true;
    }
    i -= n_whole;
    if (i < p->n_rounds && c + i * p->n_clusters < p->n_tiles) {
        out->tile = c + i * p->n_clusters;
        return true;
    }
    i -= p->n_rounds;
    out->tile = base + first;
    out->begin = begin;
    out->taken = 1;
    return i == 0 && begin && first < last;
}

#endif
