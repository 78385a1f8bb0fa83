/* Vectors of VL floats for the instruction set that this file is compiled for.
 * Included once per isa_*.cpp, inside its namespace: two builds of one inline
 * function must not get the same name. For the same reason nothing of the C++
 * library is used. */

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif

typedef float vf __attribute__((vector_size(VL * 4)));
typedef float vf_unaligned __attribute__((vector_size(VL * 4), aligned(4), may_alias));

#define SDW_INLINE static inline __attribute__((always_inline))

SDW_INLINE vf load(const float* p) { return *(const vf_unaligned*)p; }
SDW_INLINE void store(float* p, vf v) { *(vf_unaligned*)p = v; }
SDW_INLINE vf splat(float x) { return x - (vf){}; }

SDW_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SDW_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
SDW_INLINE int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
SDW_INLINE int64_t round_up(int64_t a, int64_t b) { return div_up(a, b) * b; }

/* VL halves as floats, without the processor's help. */
SDW_INLINE vf halves_to_floats(const uint16_t* p) {
    typedef uint32_t words __attribute__((vector_size(VL * 4)));
    typedef uint16_t halfwords __attribute__((vector_size(VL * 2), aligned(2), may_alias));
    const words bits = __builtin_convertvector(*(const halfwords*)p, words), none = {};
    const words rest = (bits & 0x7fff) << 13, exponent = rest & (0x7c00u << 13);
    const words infinite = (words)(exponent == (none + (0x7c00u << 13))) & (112u << 23);
    const words small = (words)((vf)(rest + (113u << 23)) - (vf)(none + (113u << 23)));
    const words is_small = (words)(exponent == none);
    return (vf)((is_small & small) | (~is_small & (rest + (112u << 23) + infinite)) | (bits & 0x8000) << 16);
}

/* Lanes lo to hi - 1 of a vector. What is not loaded is zero and is not touched. */
#if defined(__AVX512F__)
typedef __mmask16 lanes;
SDW_INLINE lanes some_lanes(int64_t lo, int64_t hi) { return (lanes)((1u << hi) - (1u << lo)); }
SDW_INLINE vf load(const float* p, lanes m) { return (vf)_mm512_maskz_loadu_ps(m, p); }
SDW_INLINE void store(float* p, vf v, lanes m) { _mm512_mask_storeu_ps(p, m, (__m512)v); }
#elif defined(__AVX2__)
typedef __m256i lanes;
SDW_INLINE lanes some_lanes(int64_t lo, int64_t hi) {
    const __m256i i = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)lo), i), _mm256_cmpgt_epi32(_mm256_set1_epi32((int)hi), i));
}
SDW_INLINE vf load(const float* p, lanes m) { return (vf)_mm256_maskload_ps(p, m); }
SDW_INLINE void store(float* p, vf v, lanes m) { _mm256_maskstore_ps(p, m, (__m256)v); }
#else
struct lanes {
    int lo, hi;
};
SDW_INLINE lanes some_lanes(int64_t lo, int64_t hi) { return {(int)lo, (int)hi}; }
SDW_INLINE vf load(const float* p, lanes m) {
    vf v = {};
    for (int i = m.lo; i < m.hi; i++) {
        v[i] = p[i];
    }
    return v;
}
SDW_INLINE void store(float* p, vf v, lanes m) {
    for (int i = m.lo; i < m.hi; i++) {
        p[i] = v[i];
    }
}
#endif

/* VL floats that lie step apart. */
SDW_INLINE vf gather(const float* p, int step) {
#if defined(__AVX512F__)
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return (vf)_mm512_i32gather_ps(_mm512_mullo_epi32(lanes, _mm512_set1_epi32(step)), p, 4);
#else
    vf v;
    for (int i = 0; i < VL; i++) {
        v[i] = p[i * step];
    }
    return v;
#endif
}

#if VL == 16
#define SDW_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define SDW_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SDW_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SDW_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define SDW_NEXT 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#elif VL == 8
#define SDW_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define SDW_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define SDW_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define SDW_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define SDW_NEXT 1, 2, 3, 4, 5, 6, 7, 8
#else
#define SDW_EVEN 0, 2, 4, 6
#define SDW_ODD 1, 3, 5, 7
#define SDW_LOW 0, 4, 1, 5
#define SDW_HIGH 2, 6, 3, 7
#define SDW_NEXT 1, 2, 3, 4
#endif

/* out[i] gets the floats i, i + 4, i + 8, ... of a, b, c, d one after the other. */
SDW_INLINE void split4(vf a, vf b, vf c, vf d, vf out[4]) {
    vf even0 = __builtin_shufflevector(a, b, SDW_EVEN), odd0 = __builtin_shufflevector(a, b, SDW_ODD);
    vf even1 = __builtin_shufflevector(c, d, SDW_EVEN), odd1 = __builtin_shufflevector(c, d, SDW_ODD);
    out[0] = __builtin_shufflevector(even0, even1, SDW_EVEN);
    out[1] = __builtin_shufflevector(odd0, odd1, SDW_EVEN);
    out[2] = __builtin_shufflevector(even0, even1, SDW_ODD);
    out[3] = __builtin_shufflevector(odd0, odd1, SDW_ODD);
}

/* The reverse: in[0][0], in[1][0], in[2][0], in[3][0], in[0][1], ... */
SDW_INLINE void join4(const vf in[4], float* p) {
    vf even0 = __builtin_shufflevector(in[0], in[2], SDW_LOW), even1 = __builtin_shufflevector(in[0], in[2], SDW_HIGH);
    vf odd0 = __builtin_shufflevector(in[1], in[3], SDW_LOW), odd1 = __builtin_shufflevector(in[1], in[3], SDW_HIGH);
    store(p, __builtin_shufflevector(even0, odd0, SDW_LOW));
    store(p + VL, __builtin_shufflevector(even0, odd0, SDW_HIGH));
    store(p + 2 * VL, __builtin_shufflevector(even1, odd1, SDW_LOW));
    store(p + 3 * VL, __builtin_shufflevector(even1, odd1, SDW_HIGH));
}

/* v shifted down by one lane, with x in the last. */
SDW_INLINE vf shift_in(vf v, float x) { return __builtin_shufflevector(v, splat(x), SDW_NEXT); }
