/* Transposes of blocks of VL x VL in registers: each round of perfect shuffles
 * turns the bits of an element's place (row, column) by one. */

SDW_INLINE void transpose_block(vf rows[VL]) {
#pragma GCC unroll 4
    for (int round = 1; round < VL; round *= 2) {
        vf next[VL];
#pragma GCC unroll 8
        for (int i = 0; i < VL / 2; i++) {
            next[2 * i] = __builtin_shufflevector(rows[i], rows[i + VL / 2], SDW_LOW);
            next[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + VL / 2], SDW_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) {
            rows[i] = next[i];
        }
    }
}

SDW_INLINE vf load_as_float(const float* p) { return load(p); }
SDW_INLINE vf load_as_float(const uint16_t* p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#elif defined(__aarch64__)
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    vf v;
    for (int i = 0; i < VL; i++) {
        v[i] = half_to_float(p[i]);
    }
    return v;
#endif
}

/* The first count numbers at p, then zeros. */
SDW_INLINE vf load_part(const uint16_t* p, int64_t count) {
    uint16_t part[VL] = {};
    for (int64_t i = 0; i < count; i++) {
        part[i] = p[i];
    }
    return load_as_float(part);
}

SDW_INLINE vf load_part(const float* p, int64_t count) {
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif defined(__AVX2__)
    static const int32_t lanes[2 * VL] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return (vf)_mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i*)(lanes + VL - count)));
#else
    vf v = {};
    for (int64_t i = 0; i < count; i++) {
        v[i] = p[i];
    }
    return v;
#endif
}

SDW_INLINE void store_part(float* p, vf v, int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#else
    for (int64_t i = 0; i < count; i++) {
        p[i] = v[i];
    }
#endif
}

/* to[c * to_ld + r] = from[r * from_ld + c] for rows r and columns c; T is float
 * or f16. With fill, rows up to the next multiple of VL are written as zeros. */
template <typename T>
static void transpose(const T* from, int64_t from_ld, int64_t rows, int64_t columns, float* to, int64_t to_ld, bool fill) {
    for (int64_t r = 0; r < rows; r += VL) {
        const int64_t height = least(VL, rows - r);
        for (int64_t c = 0; c < columns; c += VL) {
            const int64_t width = least(VL, columns - c);
            const T* p = from + r * from_ld + c;
            vf block[VL];
            if (height == VL && width == VL) {
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++) {
                    block[i] = load_as_float(p + i * from_ld);
                }
            } else {
                for (int i = 0; i < VL; i++) {
                    block[i] = i < height ? load_part(p + i * from_ld, width) : (vf){};
                }
            }
            transpose_block(block);
            float* t = to + c * to_ld + r;
            if (width == VL && (height == VL || fill)) {
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++) {
                    store(t + i * to_ld, block[i]);
                }
            } else {
                for (int i = 0; i < width; i++) {
                    if (height == VL || fill) {
                        store(t + i * to_ld, block[i]);
                    } else {
                        store_part(t + i * to_ld, block[i], height);
                    }
                }
            }
        }
    }
}

/* Writes m rows of depth numbers as a panel A of product(). */
static void pack_rows(const float* from, int64_t ld, int64_t m, int64_t depth, float* to) {
    for (int64_t r = 0; r < depth; r += VL, to += m * VL) {
        for (int64_t i = 0; i < m; i++) {
            store(to + i * VL, depth - r >= VL ? load(from + i * ld + r) : load_part(from + i * ld + r, depth - r));
        }
    }
}
