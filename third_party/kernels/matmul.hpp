/* Products of activations and weights: dst[j][i] = sum over r of
 * weight[i][r] * src[j][r], plus bias[i].
 *
 * Weights are turned into panels B of product() block by block, in the second-
 * level cache, and each block serves all rows of src; the rows are the panels A.
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
static void pack_weights(const sdw_matmul* mul, int64_t i0, int64_t i1, int64_t r0, int64_t depth, float* to) {
    for (int64_t i = i0; i < i1; i += NR, to += depth * NR) {
        const int64_t count = least(NR, i1 - i);
        if (count <= VL) { /* the second half of the panel */
            for (int64_t r = 0; r < depth; r++) {
                store(to + r * NR + VL, (vf){});
            }
        }
        if (mul->weight_f16) {
            transpose((const uint16_t*)mul->weight + i * mul->weight_row + r0, mul->weight_row, count, depth, to, NR, true);
        } else {
            transpose((const float*)mul->weight + i * mul->weight_row + r0, mul->weight_row, count, depth, to, NR, true);
        }
    }
}

/* Rows j0 to j1 of dst, columns i0 to i1, of which b are the panels. */
static void multiply_rows(const sdw_matmul* mul, int64_t j0, int64_t j1, int64_t i0, int64_t i1, int64_t r0, int64_t depth, const float* b, float* a) {
    const int64_t panels = div_up(j1 - j0, MR);
    for (int64_t p = 0; p < panels; p++) {
        const int64_t j = j0 + (j1 - j0) * p / panels, m = j0 + (j1 - j0) * (p + 1) / panels - j;
        pack_rows(mul->src + j * mul->src_row + r0, mul->src_row, m, depth, a);
        for (int64_t i = i0; i < i1; i += NR) {
            float* c = mul->dst + j * mul->dst_row + i;
            const float* panel = b + (i - i0) * depth;
            const bool first = r0 == 0;
            const float* start = !first ? c : mul->bias ? mul->bias + i
                                                        : zeros;
            const int64_t start_row = first ? 0 : mul->dst_row, count = least(NR, i1 - i);
            if (count == NR) {
                products[m](a, panel, VL * NR, depth, c, mul->dst_row, start, start_row);
                continue;
            }
            float part[MR * NR] = {};
            if (!first || mul->bias) {
                for (int64_t y = 0; y < m; y++) {
                    memcpy(part + y * NR, start + y * start_row, 4 * count);
                }
            }
            products[m](a, panel, VL * NR, depth, part, NR, part, NR);
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
            pack_weights(mul, i, end, r, count, b);
            multiply_rows(mul, j0, j1, i, end, r, count, b, a);
        }
    }
}
