/* Compares the kernels with naive loops. Usage: check, exits 1 after a difference. */
#include "team.hpp"

#include <algorithm>
#include <math.h>
#include <random>
#include <stdio.h>
#include <string.h>

static std::mt19937 rng(1);
static int failures;

static std::vector<float> noise(size_t n, float scale) {
    std::normal_distribution<float> d(0, scale);
    std::vector<float> v(n);
    for (float& x : v) {
        x = d(rng);
    }
    return v;
}

/* f32 to f16 for numbers in f16's normal range, truncated; and back. */
static uint16_t half(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    int e = (int)((u >> 23) & 255) - 112;
    return e <= 0 ? 0 : (uint16_t)((u >> 16 & 0x8000) | e << 10 | (u >> 13 & 0x3ff));
}
static float whole(uint16_t h) {
    uint32_t u = (uint32_t)(h & 0x8000) << 16;
    if (h & 0x7fff) {
        u |= ((h >> 10 & 31) + 112u) << 23 | (h & 0x3ffu) << 13;
    }
    float x;
    memcpy(&x, &u, 4);
    return x;
}

struct shape {
    int n, ic, oc, h, w, k, stride, pad, dilation;
};

static void conv2d(const shape& s, sdw_conv2d_method method, int nth, bool f16, bool bias, bool add) {
    sdw_conv2d c = {};
    c.n = s.n, c.ic = s.ic, c.ih = s.h, c.iw = s.w, c.oc = s.oc;
    c.kh = c.kw = s.k;
    c.stride_x = c.stride_y = s.stride;
    c.pad_x = c.pad_y = s.pad;
    c.dilation_x = c.dilation_y = s.dilation;
    c.oh = (s.h + 2 * s.pad - s.dilation * (s.k - 1) - 1) / s.stride + 1;
    c.ow = (s.w + 2 * s.pad - s.dilation * (s.k - 1) - 1) / s.stride + 1;
    if (c.oh < 1 || c.ow < 1) {
        return;
    }
    /* Channels of the input do not follow each other at once. */
    c.src_channel = (int64_t)s.h * s.w + 3;
    c.src_image = c.src_channel * s.ic + 5;
    std::vector<float> src = noise(c.src_image * s.n, 1), weight = noise((size_t)s.oc * s.ic * s.k * s.k, 0.05f);
    std::vector<float> b = noise(s.oc, 1), per_image = noise((size_t)s.n * s.oc, 1), sum = noise((size_t)s.n * s.oc * c.oh * c.ow, 1), dst(sum.size(), NAN);
    std::vector<uint16_t> halves(weight.size());
    for (size_t i = 0; i < weight.size(); i++) {
        if (f16) {
            weight[i] = whole(halves[i] = half(weight[i]));
        }
    }
    c.src = src.data();
    c.weight = f16 ? (const void*)halves.data() : weight.data();
    c.weight_f16 = f16;
    c.bias = bias ? b.data() : nullptr;
    c.image_bias = bias && add ? per_image.data() : nullptr;
    if (add) {
        dst = sum;
        c.add = dst.data();
    }
    c.dst = dst.data();
    run_team(nth, sdw_conv2d_work(&c, method, nth), [&](const sdw_team* team) { sdw_conv2d_run(&c, method, team); });

    double error = 0, size = 0;
    for (int n = 0; n < s.n; n++) {
        for (int k = 0; k < s.oc; k++) {
            for (int y = 0; y < c.oh; y++) {
                for (int x = 0; x < c.ow; x++) {
                    double want = bias ? b[k] : 0;
                    if (c.image_bias) {
                        want += per_image[n * s.oc + k];
                    }
                    size_t at = (((size_t)n * s.oc + k) * c.oh + y) * c.ow + x;
                    if (add) {
                        want += sum[at];
                    }
                    for (int r = 0; r < s.ic; r++) {
                        for (int i = 0; i < s.k; i++) {
                            for (int j = 0; j < s.k; j++) {
                                int iy = y * s.stride + i * s.dilation - s.pad, ix = x * s.stride + j * s.dilation - s.pad;
                                if (iy >= 0 && iy < s.h && ix >= 0 && ix < s.w) {
                                    want += (double)weight[(((size_t)k * s.ic + r) * s.k + i) * s.k + j] * src[n * c.src_image + r * c.src_channel + iy * s.w + ix];
                                }
                            }
                        }
                    }
                    error = fmax(error, isfinite(dst[at]) ? fabs(dst[at] - want) : INFINITY);
                    size += want * want;
                }
            }
        }
    }
    size = sqrt(size / dst.size());
    double limit = method == SDW_CONV2D_IMPLICIT ? 2e-5 : 1e-4;
    if (!(error <= limit * (size + 1e-3))) {
        printf(
            "conv2d %d images %dx%d, %d to %d channels, kernel %d, stride %d, padding %d, dilation %d, method %d, %d threads, f16 %d, bias %d, add %d: "
            "error %.3g at a size of %.3g\n",
            s.n, s.w, s.h, s.ic, s.oc, s.k, s.stride, s.pad, s.dilation, method, nth, f16, bias, add, error, size);
        failures++;
    }
}

static void group_norm(int n, int c, int size, int groups, bool affine, bool silu, bool in_place, int nth) {
    std::vector<float> src = noise((size_t)n * c * size, 3), weight = noise(c, 1), bias = noise(c, 1), dst(src.size(), NAN);
    for (size_t i = 0; i < src.size(); i++) {
        src[i] += 100.0f * (i % 7 == 0) + 20; /* far from zero, where careless sums cancel */
    }
    const std::vector<float> before = src;
    sdw_group_norm g = {n, c, size, groups, 1e-5f, src.data(), affine ? weight.data() : nullptr, affine ? bias.data() : nullptr, silu, in_place ? src.data() : dst.data()};
    run_team(nth, 0, [&](const sdw_team* team) { sdw_group_norm_run(&g, team); });
    const int per_group = (c + groups - 1) / groups;
    double error = 0;
    for (int i = 0; i < n; i++) {
        for (int c0 = 0; c0 < c; c0 += per_group) {
            const int c1 = std::min(c0 + per_group, c);
            const float* x = &before[((size_t)i * c + c0) * size];
            const size_t count = (size_t)(c1 - c0) * size;
            double mean = 0, variance = 0;
            for (size_t j = 0; j < count; j++) {
                mean += x[j] / count;
            }
            for (size_t j = 0; j < count; j++) {
                variance += (x[j] - mean) * (x[j] - mean) / count;
            }
            for (size_t j = 0; j < count; j++) {
                double want = (x[j] - mean) / sqrt(variance + 1e-5);
                if (affine) {
                    want = want * weight[c0 + j / size] + bias[c0 + j / size];
                }
                if (silu) {
                    want /= 1 + exp(-want);
                }
                const float got = g.dst[((size_t)i * c + c0) * size + j];
                error = fmax(error, isfinite(got) ? fabs(got - want) : INFINITY);
            }
        }
    }
    if (!(error < 2e-5)) {
        printf("group norm %d images, %d channels of %d, %d groups, affine %d, silu %d, in place %d, %d threads: error %.3g\n", n, c, size, groups, affine, silu,
               in_place, nth, error);
        failures++;
    }
}

int main() {
    printf("kernels: %s\n", sdw_kernels_isa());
    int count = 0;
    auto pick = [](int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(rng); };
    auto all = [&](const shape& s) {
        for (int method = SDW_CONV2D_AUTO; method <= SDW_CONV2D_WINOGRAD4; method++) {
            if (method >= SDW_CONV2D_WINOGRAD2 && (s.k != 3 || s.stride != 1 || s.dilation != 1)) {
                continue;
            }
            int bits = pick(0, 7);
            conv2d(s, (sdw_conv2d_method)method, pick(1, 5), bits & 1, bits & 2, bits & 4);
            count++;
        }
    };
    for (const shape& s : {shape{1, 1, 1, 1, 1, 3, 1, 1, 1}, {1, 3, 5, 33, 67, 3, 1, 1, 1}, {4, 7, 3, 1, 9, 3, 1, 1, 1}, {2, 300, 31, 8, 8, 3, 1, 1, 1}, {1, 17, 29, 66, 35, 3, 1, 0, 1}, {2, 320, 40, 4, 4, 3, 1, 1, 1}, {1, 530, 9, 12, 64, 3, 1, 1, 1}, {1, 64, 3, 40, 130, 3, 1, 1, 1}, {1, 8, 8, 100, 70, 3, 1, 2, 1}, {2, 96, 65, 31, 17, 1, 1, 0, 1}, {1, 33, 70, 16, 16, 3, 2, 1, 1}, {3, 5, 6, 7, 9, 3, 1, 2, 2}}) {
        all(s);
    }
    for (int i = 0; i < 150; i++) {
        all({pick(1, 4), pick(1, 70), pick(1, 70), pick(1, 20), pick(1, 67), 3, 1, pick(0, 1), 1});
    }
    for (int i = 0; i < 60; i++) {
        all({pick(1, 3), pick(1, 40), pick(1, 40), pick(1, 20), pick(1, 40), pick(1, 4), pick(1, 2), pick(0, 2), pick(1, 2)});
    }
    int norms = 0;
    for (int i = 0; i < 100; i++, norms++) {
        group_norm(pick(1, 4), pick(1, 70), pick(1, 3000), pick(1, 40), i & 1, i & 2, i & 4, pick(1, 5));
    }
    printf("%d convolutions, %d group norms, %d wrong\n", count, norms, failures);
    return failures > 0;
}
