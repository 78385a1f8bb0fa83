//go:build sdcpp

// The arithmetic of merge.h, compiled for several instruction sets of which the
// processor's best is taken at the first call.

#include "merge.h"

#include <algorithm>
#include <cstring>

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

// panels multiplies in panels of 2 * W columns of b, which are copied together so
// that the inner loop reads memory in order.
template <int R, int W>
inline __attribute__((always_inline)) void panels(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    constexpr int64_t depth = 256;
    alignas(64) float panel[depth * 2 * W];
    alignas(64) float edge[R * 2 * W];
    for (int64_t k0 = 0; k0 < k; k0 += depth) {
        const int64_t kn = std::min(depth, k - k0);
        for (int64_t j = 0; j < n; j += 2 * W) {
            const int64_t width = std::min<int64_t>(2 * W, n - j);
            for (int64_t p = 0; p < kn; p++) {
                memcpy(panel + p * 2 * W, b + (k0 + p) * n + j, width * sizeof(float));
                if (width < 2 * W) {
                    memset(panel + p * 2 * W + width, 0, (2 * W - width) * sizeof(float));
                }
            }
            for (int64_t i = 0; i < m; i += R) {
                const int64_t rows = std::min<int64_t>(R, m - i);
                const float* from  = a + i * k + k0;
                if (rows == R && width == 2 * W) {
                    tile<R, W>(c + i * n + j, n, from, k, panel, kn, scale);
                    continue;
                }
                for (int64_t r = 0; r < rows; r++) {
                    memset(edge, 0, 2 * W * sizeof(float));
                    tile<1, W>(edge, 2 * W, from + r * k, k, panel, kn, scale);
                    for (int64_t x = 0; x < width; x++) {
                        c[(i + r) * n + j + x] += edge[x];
                    }
                }
            }
        }
    }
}

using multiplier = void (*)(float*, const float*, const float*, int64_t, int64_t, int64_t, float);

void multiply_any(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    panels<4, 4>(c, a, b, m, k, n, scale);
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2,fma"))) void multiply_avx2(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    panels<6, 8>(c, a, b, m, k, n, scale);
}

__attribute__((target("avx512f"))) void multiply_avx512(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    panels<12, 16>(c, a, b, m, k, n, scale);
}

multiplier best() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
        return multiply_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return multiply_avx2;
    }
    return multiply_any;
}
#else
multiplier best() { return multiply_any; }
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

void sdw_mul_add(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale) {
    static const multiplier multiply = best();
    multiply(c, a, b, m, k, n, scale);
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

SDW_CLONES double sdw_sum_squares(const float* x, int64_t n) {
    constexpr int lanes = 16; // partial sums, so that the loop can use vectors
    double total        = 0;
    for (int64_t i = 0; i < n;) {
        const int64_t end = std::min<int64_t>(n, i + 4096);
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
    return total;
}
