/* Transposes of blocks in registers. */

#if VL == 8
/* Shuffles within halves of the vectors first: those across cost another one each. */
SDW_INLINE void transpose_block(vf rows[VL]) {
    vf pairs[VL], fours[VL];
#pragma GCC unroll 4
    for (int i = 0; i < VL; i += 2) {
        pairs[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < VL; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            fours[i + 2 * j] = __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            fours[i + 2 * j + 1] = __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
#pragma GCC unroll 4
    for (int i = 0; i < VL / 2; i++) {
        rows[i] = __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        rows[i + 4] = __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
#else
/* Each round of perfect shuffles turns the bits of an element's place (row, column)
 * by one. */
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
#endif

/* out[j] gets the floats j, j + 9, j + 18, ... at p. */
SDW_INLINE void columns9(const float* p, vf out[9]) {
#if VL == 16
    /* Two rows of 8 to a vector; each half of the vectors is turned by itself. */
    for (int i = 0; i < 8; i++) {
        out[i] = (vf)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p + 9 * i)), _mm256_loadu_ps(p + 9 * (i + 8)), 1);
    }
#pragma GCC unroll 4
    for (int round = 1; round < 8; round *= 2) {
        vf next[8];
#pragma GCC unroll 8
        for (int i = 0; i < 4; i++) {
            next[2 * i] = __builtin_shufflevector(out[i], out[i + 4], 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27);
            next[2 * i + 1] = __builtin_shufflevector(out[i], out[i + 4], 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31);
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            out[i] = next[i];
        }
    }
#else
    for (int c = 0; c < 8; c += VL) {
        for (int i = 0; i < VL; i++) {
            out[c + i] = load(p + 9 * i + c);
        }
        transpose_block(out + c);
    }
#endif
    out[8] = gather(p + 8, 9);
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
    return halves_to_floats(p);
#endif
}

#if VL >= 8
/* Eight halves that lie 9 apart. */
SDW_INLINE __m128i ninth(const uint16_t* p) {
    __m128i x = _mm_cvtsi32_si128(p[0]);
    x = _mm_insert_epi16(x, p[9], 1);
    x = _mm_insert_epi16(x, p[18], 2);
    x = _mm_insert_epi16(x, p[27], 3);
    x = _mm_insert_epi16(x, p[36], 4);
    x = _mm_insert_epi16(x, p[45], 5);
    x = _mm_insert_epi16(x, p[54], 6);
    return _mm_insert_epi16(x, p[63], 7);
}
#endif

/* The same of halves, which are turned before they become floats. */
SDW_INLINE void columns9(const uint16_t* p, vf out[9]) {
#if VL >= 8
#if VL == 16
    typedef __m256i row;
    row rows[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        rows[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(p + 9 * i))), _mm_loadu_si128((const __m128i*)(p + 9 * (i + 8))), 1);
    }
#define SDW_UNPACK(which, a, b) _mm256_unpack##which##_epi16(a, b)
#define SDW_FLOATS(x) (vf) _mm512_cvtph_ps(x)
    out[8] = SDW_FLOATS(_mm256_inserti128_si256(_mm256_castsi128_si256(ninth(p + 8)), ninth(p + 80), 1));
#else
    typedef __m128i row;
    row rows[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        rows[i] = _mm_loadu_si128((const __m128i*)(p + 9 * i));
    }
#define SDW_UNPACK(which, a, b) _mm_unpack##which##_epi16(a, b)
#define SDW_FLOATS(x) (vf) _mm256_cvtph_ps(x)
    out[8] = SDW_FLOATS(ninth(p + 8));
#endif
#pragma GCC unroll 4
    for (int round = 1; round < 8; round *= 2) {
        row next[8];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            next[2 * i] = SDW_UNPACK(lo, rows[i], rows[i + 4]);
            next[2 * i + 1] = SDW_UNPACK(hi, rows[i], rows[i + 4]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            rows[i] = next[i];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        out[i] = SDW_FLOATS(rows[i]);
    }
#else
    uint16_t last[VL];
    for (int c = 0; c < 8; c += VL) {
        for (int i = 0; i < VL; i++) {
            out[c + i] = load_as_float(p + 9 * i + c);
        }
        transpose_block(out + c);
    }
    for (int i = 0; i < VL; i++) {
        last[i] = p[9 * i + 8];
    }
    out[8] = load_as_float(last);
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

/* NR halves, 8 each of rows 8 apart. */
#if defined(__AVX512BW__)
#define SDW_HALVES
typedef __m512i halves;
SDW_INLINE halves load_halves(const uint16_t* p, int64_t ld) {
    halves x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)p));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i*)(p + 8 * ld)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i*)(p + 16 * ld)), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i*)(p + 24 * ld)), 3);
}
SDW_INLINE halves unpack_low(halves a, halves b) { return _mm512_unpacklo_epi16(a, b); }
SDW_INLINE halves unpack_high(halves a, halves b) { return _mm512_unpackhi_epi16(a, b); }
SDW_INLINE void store_as_floats(float* p, halves x) {
    store(p, (vf)_mm512_cvtph_ps(_mm512_castsi512_si256(x)));
    store(p + VL, (vf)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1)));
}
#elif defined(__AVX2__)
#define SDW_HALVES
typedef __m256i halves;
SDW_INLINE halves load_halves(const uint16_t* p, int64_t ld) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p)), _mm_loadu_si128((const __m128i*)(p + 8 * ld)), 1);
}
SDW_INLINE halves unpack_low(halves a, halves b) { return _mm256_unpacklo_epi16(a, b); }
SDW_INLINE halves unpack_high(halves a, halves b) { return _mm256_unpackhi_epi16(a, b); }
SDW_INLINE void store_as_floats(float* p, halves x) {
    store(p, (vf)_mm256_cvtph_ps(_mm256_castsi256_si128(x)));
    store(p + VL, (vf)_mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)));
}
#endif

/* Writes NR rows of depth numbers as a panel B of product(). */
static void transpose_panel(const float* from, int64_t ld, int64_t depth, float* to) { transpose(from, ld, NR, depth, to, NR, true); }

static void transpose_panel(const uint16_t* from, int64_t ld, int64_t depth, float* to) {
    int64_t c = 0;
#if defined(SDW_HALVES)
    /* Halves are turned before they become floats, since twice as many fit a vector. */
    for (; c + 8 <= depth; c += 8) {
        halves rows[8];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            rows[i] = load_halves(from + i * ld + c, ld);
        }
        /* Each row's line once. */
#pragma GCC unroll 8
        for (int i = 0; i < NR / 4; i++) {
            __builtin_prefetch(from + (4 * i + c / 8 % 4) * ld + c + 128);
        }
#pragma GCC unroll 4
        for (int round = 1; round < 8; round *= 2) {
            halves next[8];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                next[2 * i] = unpack_low(rows[i], rows[i + 4]);
                next[2 * i + 1] = unpack_high(rows[i], rows[i + 4]);
            }
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                rows[i] = next[i];
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            store_as_floats(to + (c + i) * NR, rows[i]);
        }
    }
#endif
    transpose(from + c, ld, NR, depth - c, to + c * NR, NR, true);
}

/* Writes m rows of depth numbers as a panel A of product(). */
static void pack_rows(const float* from, int64_t ld, int64_t m, int64_t depth, float* to) {
    for (int64_t r = 0; r < depth; r += VL, to += m * VL) {
        for (int64_t i = 0; i < m; i++) {
            store(to + i * VL, depth - r >= VL ? load(from + i * ld + r) : load_part(from + i * ld + r, depth - r));
        }
    }
}
