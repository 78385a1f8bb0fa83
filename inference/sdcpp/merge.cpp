//go:build sdcpp

// The arithmetic of merge.h, compiled for several instruction sets of which the
// processor's best is taken at the first call.

#include "merge.h"

#include <algorithm>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "ggml-cpu.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SDW_CLONES __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define SDW_CLONES
#endif

namespace {

// A vector of W floats that need not be aligned.
template <int W>
struct vec {
    typedef float type __attribute__((vector_size(W * 4), aligned(4), may_alias));
};

// tile adds scale * a * b to R rows of c and two vectors of columns. b is a panel
// [k][2 * W]. Its loops over rows are unrolled so that the sums stay in registers.
template <int R, int W>
inline __attribute__((always_inline)) void tile(float* c, int64_t ldc, const float* a, int64_t lda, const float* b, int64_t k, float scale) {
    using V = typename vec<W>::type;
    V sum[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        sum[r][0] = sum[r][1] = V{};
    }
    for (int64_t p = 0; p < k; p++) {
        const V b0 = *reinterpret_cast<const V*>(b + p * 2 * W);
        const V b1 = *reinterpret_cast<const V*>(b + p * 2 * W + W);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            sum[r][0] += a[r * lda + p] * b0;
            sum[r][1] += a[r * lda + p] * b1;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        V* out = reinterpret_cast<V*>(c + r * ldc);
        out[0] += scale * sum[r][0];
        out[1] += scale * sum[r][1];
    }
}

// A matrix b made ready lies in panels of 2 * W columns, each [depth][2 * W], one run
// of depth rows after the other; columns beyond the matrix are zero.
constexpr int64_t depth = 256;

inline __attribute__((always_inline)) void copy_panel(float* panel, const float* b, int64_t ldb, int64_t kn, int64_t width, int64_t full) {
    for (int64_t p = 0; p < kn; p++) {
        memcpy(panel + p * full, b + p * ldb, width * sizeof(float));
        memset(panel + p * full + width, 0, (full - width) * sizeof(float));
    }
}

// rows multiplies all rows of a with one panel.
template <int R, int W>
inline __attribute__((always_inline)) void rows(float* c, const float* a, const float* panel, int64_t m, int64_t lda, int64_t kn, int64_t ldc, int64_t width, float scale) {
    alignas(64) float edge[2 * W];
    for (int64_t i = 0; i < m; i += R) {
        const int64_t some = std::min<int64_t>(R, m - i);
        if (some == R && width == 2 * W) {
            tile<R, W>(c + i * ldc, ldc, a + i * lda, lda, panel, kn, scale);
            continue;
        }
        for (int64_t r = 0; r < some; r++) {
            memset(edge, 0, sizeof edge);
            tile<1, W>(edge, 2 * W, a + (i + r) * lda, lda, panel, kn, scale);
            for (int64_t x = 0; x < width; x++) {
                c[(i + r) * ldc + x] += edge[x];
            }
        }
    }
}

// turns are those of sdw_turn.
struct turns {
    int64_t span;
    int64_t n;
    const int32_t* sides;
    const int32_t* rows;
    const float* matrices;
};

// turn_some adds products of R rows of a matrix[n][n] with the rows of now[][2 * W] that
// rows tells to the first R of these, into out.
template <int R, int W>
inline __attribute__((always_inline)) void turn_some(float* out, const float* matrix, const float* now, const int32_t* rows, const int32_t* first, int64_t n) {
    using V = typename vec<W>::type;
    V sum[R][2];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        const V* own = reinterpret_cast<const V*>(now + first[r] * 2 * W);
        sum[r][0]    = own[0];
        sum[r][1]    = own[1];
    }
    for (int64_t p = 0; p < n; p++) {
        const V* b = reinterpret_cast<const V*>(now + rows[p] * 2 * W);
        const V b0 = b[0], b1 = b[1];
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            sum[r][0] += matrix[r * n + p] * b0;
            sum[r][1] += matrix[r * n + p] * b1;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        V* to = reinterpret_cast<V*>(out + r * 2 * W);
        to[0] = sum[r][0];
        to[1] = sum[r][1];
    }
}

// turn_strips makes all turns with a few columns, which stay in the processor's cache,
// then with the next.
template <int W>
inline __attribute__((always_inline)) void turn_strips(float* w, int64_t cols, const turns& t, float keep, const float* factors, float* scratch) {
    constexpr int64_t wide = 2 * W;
    float *now = scratch, *turned = scratch + t.span * wide;
    for (int64_t j = 0; j < cols; j += wide) {
        const int64_t width = std::min(wide, cols - j);
        copy_panel(now, w + j, cols, t.span, width, wide);
        const int32_t* rows = t.rows;
        const float* matrix = t.matrices;
        for (int64_t i = 0; i < t.n; i++) {
            const int64_t side = t.sides[i];
            int64_t r          = 0;
            for (; r + 4 <= side; r += 4) {
                turn_some<4, W>(turned + r * wide, matrix + r * side, now, rows, rows + r, side);
            }
            for (; r < side; r++) {
                turn_some<1, W>(turned + r * wide, matrix + r * side, now, rows, rows + r, side);
            }
            for (r = 0; r < side; r++) {
                memcpy(now + rows[r] * wide, turned + r * wide, wide * sizeof(float));
            }
            rows += side;
            matrix += side * side;
        }
        for (int64_t r = 0; r < t.span; r++) {
            float* own        = w + r * cols + j;
            const float* from = now + r * wide;
            for (int64_t x = 0; x < width; x++) {
                own[x] = keep * own[x] + factors[r] * from[x];
            }
        }
    }
}

// kernels are the ways to multiply: with a matrix as it is, with one made ready, and
// turns of rows into each other.
struct kernels {
    void (*direct)(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale);
    int64_t (*packed_size)(int64_t k, int64_t n);
    void (*pack)(float* packed, const float* b, int64_t ldb, int64_t k, int64_t n);
    void (*packed)(float* c, int64_t ldc, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale);
    void (*turn)(float* w, int64_t cols, const turns& t, float keep, const float* factors, float* scratch);
};

template <int R, int W>
inline __attribute__((always_inline)) void multiply(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    alignas(64) float panel[depth * 2 * W];
    for (int64_t k0 = 0; k0 < k; k0 += depth) {
        const int64_t kn = std::min(depth, k - k0);
        for (int64_t j = 0; j < n; j += 2 * W) {
            const int64_t width = std::min<int64_t>(2 * W, n - j);
            copy_panel(panel, b + k0 * n + j, n, kn, width, 2 * W);
            rows<R, W>(c + j, a + k0, panel, m, k, kn, n, width, scale);
        }
    }
}

template <int W>
int64_t size_of_panels(int64_t k, int64_t n) {
    return k * ((n + 2 * W - 1) / (2 * W)) * 2 * W;
}

template <int W>
void pack_panels(float* packed, const float* b, int64_t ldb, int64_t k, int64_t n) {
    for (int64_t k0 = 0; k0 < k; k0 += depth) {
        const int64_t kn = std::min(depth, k - k0);
        for (int64_t j = 0; j < n; j += 2 * W, packed += kn * 2 * W) {
            copy_panel(packed, b + k0 * ldb + j, ldb, kn, std::min<int64_t>(2 * W, n - j), 2 * W);
        }
    }
}

template <int R, int W>
inline __attribute__((always_inline)) void multiply_packed(float* c, int64_t ldc, const float* a, const float* packed, int64_t m, int64_t k, int64_t n, float scale) {
    for (int64_t k0 = 0; k0 < k; k0 += depth) {
        const int64_t kn = std::min(depth, k - k0);
        for (int64_t j = 0; j < n; j += 2 * W, packed += kn * 2 * W) {
            rows<R, W>(c + j, a + k0, packed, m, k, kn, ldc, std::min<int64_t>(2 * W, n - j), scale);
        }
    }
}

// Each instruction set gets its own copy of the templates above.
#define SDW_KERNELS(name, attributes, R, W)                                                                                              \
    attributes void direct_##name(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {              \
        multiply<R, W>(c, a, b, m, k, n, scale);                                                                                         \
    }                                                                                                                                    \
    attributes void packed_##name(float* c, int64_t ldc, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) { \
        multiply_packed<R, W>(c, ldc, a, b, m, k, n, scale);                                                                             \
    }                                                                                                                                    \
    attributes void turn_##name(float* w, int64_t cols, const turns& t, float keep, const float* factors, float* scratch) {              \
        turn_strips<W>(w, cols, t, keep, factors, scratch);                                                                              \
    }                                                                                                                                    \
    constexpr kernels name = {direct_##name, size_of_panels<W>, pack_panels<W>, packed_##name, turn_##name};

SDW_KERNELS(any, , 4, 4)

#if defined(__x86_64__) && defined(__GNUC__)
SDW_KERNELS(avx2, __attribute__((target("avx2,fma"))), 6, 8)
SDW_KERNELS(avx512, __attribute__((target("avx512f"))), 12, 16)

// Whole numbers of 16 bits are multiplied twice as fast as float32. Rows of a and
// columns of b are rounded to multiples of powers of two, in runs of run values. How
// large the numbers may get follows from the number of products that one sum of 32
// bits has to hold: 12 bits and a sign for 128 products, 15 for a few.
#define SDW_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

constexpr int64_t run       = 128; // products in a sum of whole numbers
constexpr int64_t columns   = 32;  // of a panel
constexpr int tile_rows     = 12;
constexpr int64_t some_rows = 5 * tile_rows; // of a that are rounded together

// rounding makes whole numbers of floats, column by column.
struct rounding {
    __m512 step, inverse, most;
};

// round_for is the rounding of up to `products` values of which the largest are given.
// What is no finite number makes its sum in `other`, of the values times 0, no number.
SDW_VNNI inline rounding round_for(__m512 largest, __m512 other, int64_t products) {
    int bits = 15;
    while (bits > 1 && products > int64_t(1) << (31 - 2 * bits)) {
        bits--;
    }
    const __m512 one = _mm512_set1_ps(1);
    const __m512 e   = _mm512_sub_ps(_mm512_getexp_ps(_mm512_max_ps(largest, _mm512_set1_ps(1e-30f))), _mm512_set1_ps(static_cast<float>(bits - 1)));
    return {_mm512_add_ps(_mm512_scalef_ps(one, e), other), _mm512_scalef_ps(one, _mm512_sub_ps(_mm512_setzero_ps(), e)), _mm512_set1_ps(static_cast<float>((1 << bits) - 1))};
}

SDW_VNNI inline __m512i rounded_to(const rounding& r, __m512 x) {
    const __m512 y = _mm512_min_ps(_mm512_mul_ps(x, r.inverse), r.most);
    return _mm512_cvtps_epi32(_mm512_max_ps(y, _mm512_sub_ps(_mm512_setzero_ps(), r.most)));
}

// first is a mask of the first n of 16 lanes.
SDW_VNNI inline __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << std::max<int64_t>(0, std::min<int64_t>(16, n))) - 1); }

int64_t size_of_whole(int64_t k, int64_t n) {
    const int64_t wide = (n + columns - 1) / columns * columns;
    const int64_t runs = (k + run - 1) / run;
    return wide * ((k + 1) / 2 + runs); // pairs of values and, for each run, a step
}

// pack_whole lays out, for each run of rows and each panel: the steps of the columns,
// then pairs of rows.
SDW_VNNI void pack_whole(float* packed, const float* b, int64_t ldb, int64_t k, int64_t n) {
    for (int64_t k0 = 0; k0 < k; k0 += run) {
        const int64_t kn = std::min(run, k - k0);
        for (int64_t j = 0; j < n; j += columns) {
            for (int64_t half = 0; half < 2; half++) {
                const __mmask16 mask = first(n - j - half * 16);
                const float* from    = b + k0 * ldb + j + half * 16;
                __m512 largest = _mm512_setzero_ps(), other = _mm512_setzero_ps();
                for (int64_t p = 0; p < kn; p++) {
                    const __m512 x = _mm512_maskz_loadu_ps(mask, from + p * ldb);
                    largest        = _mm512_max_ps(largest, _mm512_abs_ps(x));
                    other          = _mm512_fmadd_ps(x, _mm512_setzero_ps(), other);
                }
                const rounding r = round_for(largest, other, kn);
                _mm512_storeu_ps(packed + half * 16, r.step);
                int32_t* to = reinterpret_cast<int32_t*>(packed) + columns + half * 16;
                for (int64_t p = 0; p < kn; p += 2, to += columns) {
                    const __m512i low  = rounded_to(r, _mm512_maskz_loadu_ps(mask, from + p * ldb));
                    const __m512i high = p + 1 < kn ? rounded_to(r, _mm512_maskz_loadu_ps(mask, from + (p + 1) * ldb)) : _mm512_setzero_si512();
                    _mm512_storeu_si512(to, _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16)));
                }
            }
            packed += columns * (1 + (kn + 1) / 2);
        }
    }
}

// round_row rounds kn values of a row and returns their step.
SDW_VNNI inline float round_row(int16_t* out, const float* a, int64_t kn) {
    __m512 largest = _mm512_setzero_ps(), other = _mm512_setzero_ps();
    for (int64_t p = 0; p < kn; p += 16) {
        const __m512 x = _mm512_maskz_loadu_ps(first(kn - p), a + p);
        largest        = _mm512_max_ps(largest, _mm512_abs_ps(x));
        other          = _mm512_fmadd_ps(x, _mm512_setzero_ps(), other);
    }
    const rounding r = round_for(_mm512_set1_ps(_mm512_reduce_max_ps(largest)), _mm512_set1_ps(_mm512_reduce_add_ps(other)), kn);
    for (int64_t p = 0; p < kn; p += 16) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + p), _mm512_cvtepi32_epi16(rounded_to(r, _mm512_maskz_loadu_ps(first(kn - p), a + p))));
    }
    return _mm512_cvtss_f32(r.step);
}

// whole_tile multiplies R rows with a panel and adds the first `valid` of them to c.
template <int R>
SDW_VNNI inline __attribute__((always_inline)) void whole_tile(float* c, int64_t n, const int16_t* a, const float* steps, const float* panel, int64_t pairs, int64_t valid, int64_t width) {
    typedef int32_t V __attribute__((vector_size(64)));
    V sum[R][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        sum[r][0] = sum[r][1] = V{};
    }
    const float* b = panel + columns;
    for (int64_t p = 0; p < pairs; p++) {
        const V b0 = reinterpret_cast<V>(_mm512_loadu_si512(b + p * columns));
        const V b1 = reinterpret_cast<V>(_mm512_loadu_si512(b + p * columns + 16));
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, a + r * run + 2 * p, sizeof pair);
            const V x = pair - V{};
            sum[r][0] = reinterpret_cast<V>(_mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum[r][0]), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(b0)));
            sum[r][1] = reinterpret_cast<V>(_mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum[r][1]), reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(b1)));
        }
    }
    const __m512 f0 = _mm512_loadu_ps(panel), f1 = _mm512_loadu_ps(panel + 16);
    alignas(64) float product[R][columns]; // in memory, so that the sums above stay in registers
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        _mm512_store_ps(product[r], _mm512_mul_ps(f0, _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sum[r][0]))));
        _mm512_store_ps(product[r] + 16, _mm512_mul_ps(f1, _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sum[r][1]))));
    }
    const __mmask16 m0 = first(width), m1 = first(width - 16);
    for (int64_t r = 0; r < valid; r++) {
        const __m512 f = _mm512_set1_ps(steps[r]);
        float* out     = c + r * n;
        _mm512_mask_storeu_ps(out, m0, _mm512_fmadd_ps(f, _mm512_load_ps(product[r]), _mm512_maskz_loadu_ps(m0, out)));
        _mm512_mask_storeu_ps(out + 16, m1, _mm512_fmadd_ps(f, _mm512_load_ps(product[r] + 16), _mm512_maskz_loadu_ps(m1, out + 16)));
    }
}

SDW_VNNI void packed_whole(float* c, int64_t ldc, const float* a, const float* packed, int64_t m, int64_t k, int64_t n, float scale) {
    alignas(64) int16_t rounded[some_rows * run] = {}; // rows that complete a tile have any values
    float steps[some_rows];
    for (int64_t k0 = 0; k0 < k; k0 += run) {
        const int64_t kn = std::min(run, k - k0), pairs = (kn + 1) / 2, panel = columns * (1 + pairs);
        for (int64_t i0 = 0; i0 < m; i0 += some_rows) {
            const int64_t some = std::min(some_rows, m - i0);
            for (int64_t i = 0; i < some; i++) {
                steps[i] = scale * round_row(rounded + i * run, a + (i0 + i) * k + k0, kn);
            }
            const float* from = packed;
            for (int64_t j = 0; j < n; j += columns, from += panel) {
                for (int64_t i = 0; i < some; i += tile_rows) {
                    whole_tile<tile_rows>(c + (i0 + i) * ldc + j, ldc, rounded + i * run, steps + i, from, pairs, std::min<int64_t>(tile_rows, some - i), std::min(columns, n - j));
                }
            }
        }
        packed += panel * ((n + columns - 1) / columns);
    }
}

// store_f16 narrows to memory that is not read soon, past the processor's cache, and
// tells whether all are numbers no further from 0 than most. out is at a multiple of 64
// bytes, n a multiple of 32.
__attribute__((target("avx512f"))) bool store_f16(char* out, const float* in, int64_t n, float most) {
    const __m512 limit = _mm512_set1_ps(most);
    __mmask16 beyond   = 0;
    for (int64_t i = 0; i < n; i += 32, out += 64) {
        const __m512 x = _mm512_loadu_ps(in + i), y = _mm512_loadu_ps(in + i + 16);
        beyond |= _mm512_cmp_ps_mask(_mm512_abs_ps(x), limit, _CMP_NLE_UQ) | _mm512_cmp_ps_mask(_mm512_abs_ps(y), limit, _CMP_NLE_UQ);
        const __m256i low  = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
        const __m256i high = _mm512_cvtps_ph(y, _MM_FROUND_TO_NEAREST_INT);
        _mm512_stream_si512(reinterpret_cast<__m512i*>(out), _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
    }
    _mm_sfence();
    return beyond == 0;
}

constexpr kernels vnni = {direct_avx512, size_of_whole, pack_whole, packed_whole, turn_avx512};

const kernels& best() {
    static const kernels& found = []() -> const kernels& {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
            return vnni;
        }
        if (__builtin_cpu_supports("avx512f")) {
            return avx512;
        }
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2 : any;
    }();
    return found;
}
#else
const kernels& best() { return any; }
#endif

}  // namespace

void sdw_widen(float* out, const void* in, int64_t n, int type) {
    switch (type) {
        case SDW_F16:
            ggml_cpu_fp16_to_fp32(static_cast<const ggml_fp16_t*>(in), out, n);
            return;
        case SDW_BF16:
            ggml_cpu_bf16_to_fp32(static_cast<const ggml_bf16_t*>(in), out, n);
            return;
        default:
            memcpy(out, in, n * sizeof(float));
    }
}

void sdw_narrow(void* out, const float* in, int64_t n, int type) {
    if (type == SDW_F16) {
        ggml_cpu_fp32_to_fp16(in, static_cast<ggml_fp16_t*>(out), n);
    } else {
        memcpy(out, in, n * sizeof(float));
    }
}

SDW_CLONES bool sdw_within(const float* x, int64_t n, float most) {
    int beyond = 0;
    for (int64_t i = 0; i < n; i++) {
        beyond |= !(__builtin_fabsf(x[i]) <= most);
    }
    return beyond == 0;
}

bool sdw_store(void* out, const float* in, int64_t n, int type, float most) {
#if defined(__x86_64__) && defined(__GNUC__)
    const uintptr_t at = reinterpret_cast<uintptr_t>(out);
    if (type == SDW_F16 && at % 2 == 0 && best().direct != avx2.direct && best().direct != any.direct) {
        const int64_t head = std::min<int64_t>(n, (64 - at % 64) % 64 / 2), body = (n - head) / 32 * 32, end = head + body;
        char* to = static_cast<char*>(out);
        sdw_narrow(to, in, head, type);
        sdw_narrow(to + 2 * end, in + end, n - end, type);
        return store_f16(to + 2 * head, in + head, body, most) && sdw_within(in, head, most) && sdw_within(in + end, n - end, most);
    }
#endif
    sdw_narrow(out, in, n, type);
    return sdw_within(in, n, most);
}

void sdw_mul_add(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    if (k == 1) {
        for (int64_t i = 0; i < m; i++) {
            sdw_add_scaled(c + i * n, b, n, scale * a[i]);
        }
        return;
    }
    best().direct(c, a, b, m, k, n, scale);
}

int64_t sdw_packed_size(int64_t k, int64_t n) { return best().packed_size(k, n); }

void sdw_pack(float* packed, const float* b, int64_t k, int64_t n) { best().pack(packed, b, n, k, n); }

void sdw_mul_add_packed(float* c, const float* a, const float* packed, int64_t m, int64_t k, int64_t n, float scale) {
    best().packed(c, n, a, packed, m, k, n, scale);
}

namespace {

// A turn of so many rows is worth a copy of them that is made ready.
constexpr int64_t many_rows = 48;

// strip is how many columns of a span are turned at a time, so that they stay in the
// processor's cache; but enough that rounding the matrix takes no longer than the product.
int64_t strip(int64_t span) { return std::max<int64_t>(96, (1 << 16) / span / 96 * 96); }

}  // namespace

int64_t sdw_turn_scratch(int64_t span) { return best().packed_size(span, strip(span)) + span * std::max<int64_t>(span, 64); }

void sdw_turn(float* w, int64_t cols, int64_t span, const int32_t* sides, int64_t n, const int32_t* rows, const float* matrices, float keep, const float* factors, float* scratch) {
    if (n != 1 || sides[0] < many_rows) {
        best().turn(w, cols, {span, n, sides, rows, matrices}, keep, factors, scratch);
        return;
    }
    // keep*w + f*(w + matrix*w), which is added in place
    float* packed = scratch + span * span;
    for (int64_t i = 0; i < span; i++) {
        for (int64_t j = 0; j < span; j++) {
            scratch[i * span + j] = factors[i] * matrices[i * span + j];
        }
    }
    for (int64_t j = 0; j < cols; j += strip(span)) {
        const int64_t width = std::min(strip(span), cols - j);
        best().pack(packed, w + j, cols, span, width);
        for (int64_t i = 0; i < span; i++) {
            if (const float own = keep + factors[i]; own != 1) {
                sdw_blend(w + i * cols + j, w + i * cols + j, width, own, 0);
            }
        }
        best().packed(w + j, cols, scratch, packed, span, span, width, 1);
    }
}

SDW_CLONES void sdw_add_scaled(float* out, const float* x, int64_t n, float scale) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        out[i] += scale * x[i];
    }
}

SDW_CLONES void sdw_add_product(float* out, const float* x, const float* y, int64_t n, float scale) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        out[i] += scale * x[i] * y[i];
    }
}

SDW_CLONES void sdw_blend(float* out, const float* x, int64_t n, float a, float b) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        out[i] = a * out[i] + b * x[i];
    }
}

SDW_CLONES void sdw_blend_rows(float* out, int64_t out_row, const float* x, int64_t x_row, int64_t rows, int64_t cols, float a, const float* b) {
    for (int64_t r = 0; r < rows; r++) {
        float* to         = out + r * out_row;
        const float* from = x + r * x_row;
        const float f     = b[r];
#pragma GCC ivdep
        for (int64_t i = 0; i < cols; i++) {
            to[i] = a * to[i] + f * from[i];
        }
    }
}

SDW_CLONES void sdw_blend_columns(float* out, const float* x, int64_t rows, int64_t cols, float a, const float* b) {
    for (int64_t r = 0; r < rows; r++, out += cols, x += cols) {
#pragma GCC ivdep
        for (int64_t i = 0; i < cols; i++) {
            out[i] = a * out[i] + b[i] * x[i];
        }
    }
}

SDW_CLONES void sdw_row_squares(float* out, const float* x, int64_t rows, int64_t cols) {
    constexpr int lanes = 16; // partial sums, so that the loop can use vectors
    for (int64_t r = 0; r < rows; r++, x += cols) {
        double total = 0;
        for (int64_t i = 0; i < cols;) {
            const int64_t end = std::min<int64_t>(cols, i + 4096);
            float sums[lanes] = {};
            for (; i + lanes <= end; i += lanes) {
                for (int j = 0; j < lanes; j++) {
                    sums[j] += x[i + j] * x[i + j];
                }
            }
            for (; i < end; i++) {
                sums[0] += x[i] * x[i];
            }
            for (float s : sums) {
                total += s;
            }
        }
        out[r] = static_cast<float>(total);
    }
}
