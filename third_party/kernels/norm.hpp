/* Group normalisation, its affine map and SiLU in one go. */

SDW_INLINE vf silu(vf x) { return x / (1.0f + exponential(-x)); }

SDW_INLINE float sum_lanes(vf v) {
    float sum = 0;
    for (int i = 0; i < VL; i++) {
        sum += v[i];
    }
    return sum;
}

/* The mean of n numbers and the sum of their squared distances from it. */
static void moments(const float* x, int64_t n, double* mean, double* m2) {
    /* Pieces that stay in the first-level cache are gone through twice, which
     * loses nothing to cancellation; Chan's formula joins them. */
    const int64_t piece = 2048;
    double count = 0, m = 0, s = 0;
    for (int64_t at = 0; at < n; at += piece) {
        const int64_t end = least(piece, n - at), whole = end / (2 * VL) * (2 * VL);
        const float* p = x + at;
        vf a = {}, b = {};
        float rest = 0;
        for (int64_t i = 0; i < whole; i += 2 * VL) {
            a += load(p + i);
            b += load(p + i + VL);
        }
        for (int64_t i = whole; i < end; i++) {
            rest += p[i];
        }
        const float centre = (sum_lanes(a + b) + rest) / end;
        a = b = (vf){};
        rest = 0;
        for (int64_t i = 0; i < whole; i += 2 * VL) {
            vf c = load(p + i) - centre, d = load(p + i + VL) - centre;
            a += c * c;
            b += d * d;
        }
        for (int64_t i = whole; i < end; i++) {
            rest += (p[i] - centre) * (p[i] - centre);
        }
        const double delta = centre - m, total = count + end;
        s += sum_lanes(a + b) + rest + delta * delta * count * end / total;
        m += delta * end / total;
        count = total;
    }
    *mean = m;
    *m2 = s;
}

static void group_norm_run(const sdw_group_norm* norm, const sdw_team* team) {
    const int64_t per_group = div_up(norm->c, norm->groups), units = norm->n * norm->groups;
    for (int64_t unit = units * team->ith / team->nth; unit < units * (team->ith + 1) / team->nth; unit++) {
        const int64_t n = unit / norm->groups, c0 = unit % norm->groups * per_group, c1 = least(c0 + per_group, norm->c);
        if (c0 >= c1) {
            continue;
        }
        const int64_t at = (n * norm->c + c0) * norm->size, count = (c1 - c0) * norm->size;
        double mean, m2;
        moments(norm->src + at, count, &mean, &m2);
        const float scale = 1.0f / __builtin_sqrtf((float)(m2 / count) + norm->eps);
        for (int64_t c = c0; c < c1; c++) {
            const float k = norm->weight ? norm->weight[c] * scale : scale;
            const float b = (norm->bias ? norm->bias[c] : 0) - (float)mean * k;
            const float* from = norm->src + (n * norm->c + c) * norm->size;
            float* to = norm->dst + (n * norm->c + c) * norm->size;
            int64_t i = 0;
            if (norm->silu) {
                for (; i + VL <= norm->size; i += VL) {
                    store(to + i, silu(load(from + i) * k + b));
                }
            } else {
                for (; i + VL <= norm->size; i += VL) {
                    store(to + i, load(from + i) * k + b);
                }
            }
            for (; i < norm->size; i++) {
                const float x = from[i] * k + b;
                to[i] = norm->silu ? silu(splat(x))[0] : x;
            }
        }
    }
}
