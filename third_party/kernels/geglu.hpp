/* x * GELU(gate). The error function is that of Abramowitz and Stegun, 7.1.26, whose
 * error is below 1.5e-7. */

SDW_INLINE vf gelu(vf x) {
    const vf none = {};
    const vf z = (x < none ? -x : x) * 0.70710678118654752f, t = 1 / (1 + 0.3275911f * z);
    vf p = splat(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const vf outside = 0.5f * p * t * exp_negative(-z * z); /* the share beyond |x| */
    return x * (x < none ? outside : 1 - outside);
}

static void geglu_run(const sdw_geglu* geglu, int ith, int nth) {
    const int64_t m = geglu->m;
    for (int64_t row = geglu->rows * ith / nth; row < geglu->rows * (ith + 1) / nth; row++) {
        const float *from = geglu->src + row * 2 * m, *gate = from + m;
        float* to = geglu->dst + row * m;
        int64_t i = 0;
        for (; i + VL <= m; i += VL) {
            store(to + i, load(from + i) * gelu(load(gate + i)));
        }
        if (i < m) {
            store_part(to + i, load_part(from + i, m - i) * gelu(load_part(gate + i, m - i)), m - i);
        }
    }
}
