/* Products of activations and weights: dst[j][i] = sum over r of
 * weight[i][r] * src[j][r], plus bias[i].
 *
 * Weights are turned into panels B of product() block by block, in the second-
 * level cache, and each block serves all rows of src, MR at a time.
 * The threads divide weights and rows among them, whichever costs less. */

#if VL == 16
enum { weight_floats = 160 * 1024 }; /* of a block of weights */
#else
enum { weight_floats = 48 * 1024 };
#endif
enum { product_depth = 512 };

/* What it costs to write a weight into a panel, in multiplications of one lane. */
enum { pack_cost = VL };

/* How many of nth threads divide the weights; the others divide the rows. */
static int split_weights(const sdw_matmul* mul, int nth) {
    const int64_t columns = div_up(mul->m, NR), rows = div_up(mul->n, MR);
    int best = 1;
    int64_t least_cost = INT64_MAX;
    for (int split = 1; split <= nth; split++) {
        if (nth % split) {
            continue;
        }
        int64_t cost = div_up(columns, split) * (div_up(rows, nth / split) * MR + pack_cost);
        if (cost < least_cost) {
            least_cost = cost, best = split;
        }
    }
    return best;
}

static int64_t matmul_depth(const sdw_matmul* mul) {
    return least(round_up(div_up(mul->k, div_up(mul->k, product_depth)), VL), round_up(mul->k, VL));
}

static int64_t matmul_columns(const sdw_matmul* mul) {
    return most(weight_floats / matmul_depth(mul) / NR, 1) * NR;
}

static size_t matmul_work(const sdw_matmul* mul) { return 4 * matmul_depth(mul) * (matmul_columns(mul) + MR) + 64; }

/* Weights i0 to i1, r0 to r0 + depth as panels. */
template <typename T>
static void pack_weights(const sdw_matmul* mul, int64_t i0, int64_t i1, int64_t r0, int64_t depth, float* to) {
    for (int64_t i = i0; i < i1; i += NR, to += depth * NR) {
        const T* from = (const T*)mul->weight + i * mul->weight_row + r0;
        if (i1 - i >= NR) {
            transpose_panel(from, mul->weight_row, depth, to);
            continue;
        }
        const int64_t count = i1 - i;
        if (count <= VL) { /* the second half of the panel */
            for (int64_t r = 0; r < depth; r++) {
                store(to + r * NR + VL, (vf){});
            }
        }
        transpose(from, mul->weight_row, count, depth, to, NR, true);
    }
}

/* The product of a panel and m rows of src, which lie at a, or in packed as a panel A. */
SDW_INLINE void multiply_panel(const sdw_matmul* mul, const float* a, const float* packed, int64_t m, const float* panel, int64_t depth, float* c, int64_t ld, const float* start, int64_t start_ld) {
    if (read_rows) {
        products_of_rows[m](a, mul->src_row, panel, depth, c, ld, start, start_ld);
    } else {
        products[m](packed, panel, VL * NR, depth, c, ld, start, start_ld);
    }
}

/* Rows j0 to j1 of dst, columns i0 to i1, of which b are the panels. */
static void multiply_rows(const sdw_matmul* mul, int64_t j0, int64_t j1, int64_t i0, int64_t i1, int64_t r0, int64_t depth, const float* b, float* packed) {
    const int64_t panels = div_up(j1 - j0, MR);
    const int64_t share = div_up(div_up(depth, 16), div_up(i1 - i0, NR));
    const bool first = r0 == 0;
    for (int64_t p = 0; p < panels; p++) {
        const int64_t j = j0 + (j1 - j0) * p / panels, next = j0 + (j1 - j0) * (p + 1) / panels, m = next - j;
        const float* a = mul->src + j * mul->src_row + r0;
        const float* fetch = mul->src + next * mul->src_row + r0;
        if (!read_rows) {
            pack_rows(a, mul->src_row, m, depth, packed);
        }
        for (int64_t i = i0; i < i1; i += NR) {
            float* c = mul->dst + j * mul->dst_row + i;
            const float* panel = b + (i - i0) * depth;
            const float* start = !first ? c : mul->bias ? mul->bias + i
                                                        : zeros;
            const int64_t start_row = first ? 0 : mul->dst_row, count = least(NR, i1 - i);
            /* The next rows, a share of them at a time. */
            for (int64_t l = 0; read_rows && l < share; l++, fetch += 16) {
                for (int64_t y = 0; y < m; y++) {
                    __builtin_prefetch(fetch + y * mul->src_row);
                }
            }
            if (count == NR) {
                multiply_panel(mul, a, packed, m, panel, depth, c, mul->dst_row, start, start_row);
                continue;
            }
            float part[MR * NR] = {};
            if (!first || mul->bias) {
                for (int64_t y = 0; y < m; y++) {
                    memcpy(part + y * NR, start + y * start_row, 4 * count);
                }
            }
            multiply_panel(mul, a, packed, m, panel, depth, part, NR, part, NR);
            for (int64_t y = 0; y < m; y++) {
                memcpy(c + y * mul->dst_row, part + y * NR, 4 * count);
            }
        }
    }
}

static void matmul_run(const sdw_matmul* mul, int ith, int nth, void* work) {
    const int split = split_weights(mul, nth), part_m = ith % split, part_n = ith / split, parts_n = nth / split;
    const int64_t panels = div_up(mul->m, NR);
    const int64_t i0 = panels * part_m / split * NR, i1 = least(panels * (part_m + 1) / split * NR, mul->m);
    const int64_t j0 = mul->n * part_n / parts_n, j1 = mul->n * (part_n + 1) / parts_n;
    const int64_t depth = matmul_depth(mul), columns = matmul_columns(mul);
    float *b = (float*)round_up((int64_t)work, 64), *a = b + depth * columns;
    if (j0 == j1) {
        return;
    }
    for (int64_t i = i0; i < i1; i += columns) {
        const int64_t end = least(i + columns, i1);
        for (int64_t r = 0; r < mul->k; r += depth) {
            const int64_t count = least(depth, mul->k - r);
            if (mul->weight_f16) {
                pack_weights<uint16_t>(mul, i, end, r, count, b);
            } else {
                pack_weights<float>(mul, i, end, r, count, b);
            }
            multiply_rows(mul, j0, j1, i, end, r, count, b, a);
        }
    }
}
