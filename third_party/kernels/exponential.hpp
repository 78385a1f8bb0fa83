/* Exponential functions. */

typedef int32_t vi __attribute__((vector_size(VL * 4)));

/* exp(x) for x <= 0 by Cody and Waite's reduction and the polynomial of Cephes'
 * expf; the relative error is below 2e-7. Below -87 it is that of -87, which is
 * nothing beside the largest weight, 1. NaN stays NaN. */
SDW_INLINE vf exp_negative(vf x) {
    const vf limit = splat(-87), shift = splat(12582912); /* 1.5 * 2^23 makes whole numbers */
    x = x < limit ? limit : x;
    vf whole = x * 1.44269504088896341f + shift, n = whole - shift;
    vf r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    return (vf)((vi)p + ((vi)whole << 23));
}

/* e to the power of x: 2^n times a polynomial (Cephes' expf) of what is left;
 * relative error 2e-7. Below -87 the result is about 1e-38. */
SDW_INLINE vf exponential(vf x) {
    const vf low = splat(-87.0f), high = splat(88.0f), magic = splat(12582912.0f); /* 1.5 * 2^23 rounds to whole numbers */
    x = x < low ? low : x;
    x = x > high ? high : x;
    vf shifted = x * 1.44269504f + magic;
    vf n = shifted - magic;
    x = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf y = splat(1.9875691500e-4f);
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    return (vf)((vi)y + ((vi)shifted << 23));
}
