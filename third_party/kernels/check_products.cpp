/* Compares matrix products, attention and gates with naive loops. Exits 1 after a
 * difference. */
#include "products.h"
#include "team.hpp"

#include <algorithm>
#include <math.h>
#include <random>
#include <stdio.h>
#include <string.h>

/* Runs a kernel whose threads do not meet; each has scratch memory of its own. */
template <typename Kernel>
static void run(int nth, size_t bytes, Kernel kernel) {
    bytes = (bytes + 63) / 64 * 64;
    run_team(nth, bytes * nth, [&](const sdw_team* team) { kernel(team->ith, (char*)team->work + bytes * team->ith); });
}

static std::mt19937 rng(1);
static int failures;

static int pick(int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(rng); }

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

/* Reports unless the largest error is small beside the size of what is wanted. */
static void compare(const char* what, const std::vector<float>& got, const std::vector<double>& want, double limit) {
    double error = 0, size = 0;
    for (size_t i = 0; i < want.size(); i++) {
        error = fmax(error, isfinite(got[i]) ? fabs(got[i] - want[i]) : INFINITY);
        size += want[i] * want[i];
    }
    size = sqrt(size / want.size());
    if (!(error <= limit * (size + 1e-3))) {
        printf("%s: error %.3g at a size of %.3g\n", what, error, size);
        failures++;
    }
}

static void matmul(int m, int n, int k, int nth, bool f16, bool bias) {
    sdw_matmul mul = {};
    mul.m = m, mul.n = n, mul.k = k;
    mul.src_row = k + pick(0, 5), mul.weight_row = k + pick(0, 5), mul.dst_row = m + pick(0, 5);
    std::vector<float> src = noise(mul.src_row * n, 1), weight = noise(mul.weight_row * m, 0.05f), b = noise(m, 1);
    std::vector<float> dst(mul.dst_row * n, 12345), got;
    std::vector<uint16_t> halves(weight.size());
    for (size_t i = 0; i < weight.size(); i++) {
        if (f16) {
            weight[i] = whole(halves[i] = half(weight[i]));
        }
    }
    mul.src = src.data(), mul.dst = dst.data(), mul.bias = bias ? b.data() : nullptr;
    mul.weight = f16 ? (const void*)halves.data() : weight.data();
    mul.weight_f16 = f16;
    run(nth, sdw_matmul_work(&mul), [&](int ith, void* work) { sdw_matmul_run(&mul, ith, nth, work); });

    std::vector<double> want;
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            double sum = bias ? b[i] : 0;
            for (int r = 0; r < k; r++) {
                sum += (double)weight[i * mul.weight_row + r] * src[j * mul.src_row + r];
            }
            want.push_back(sum);
            got.push_back(dst[j * mul.dst_row + i]);
        }
        for (int64_t i = m; i < mul.dst_row; i++) {
            if (dst[j * mul.dst_row + i] != 12345) {
                printf("matmul %dx%dx%d wrote outside\n", m, n, k);
                failures++;
            }
        }
    }
    char what[100];
    snprintf(what, sizeof what, "matmul %d columns, %d rows, %d deep, %d threads, f16 %d, bias %d", m, n, k, nth, f16, bias);
    compare(what, got, want, 2e-5);
}

/* Every finite half as k weights of a row, whose mean is exact for k = 1, 8. */
static void every_half(int64_t k) {
    std::vector<uint16_t> weight;
    std::vector<float> values;
    for (int h = 0; h < 0x10000; h++) {
        const int exponent = h >> 10 & 31, fraction = h & 1023;
        if (exponent < 31) {
            const float size = exponent == 0 ? ldexpf((float)fraction, -24) : ldexpf((float)(fraction + 1024), exponent - 25);
            weight.insert(weight.end(), k, (uint16_t)h);
            values.push_back(h & 0x8000 ? -size : size);
        }
    }
    const int64_t m = (int64_t)values.size(), n = 16;
    std::vector<float> src(n * k, 1.0f / (float)k), dst(n * m);
    sdw_matmul mul = {};
    mul.m = m, mul.n = n, mul.k = mul.src_row = mul.weight_row = k, mul.dst_row = m;
    mul.src = src.data(), mul.dst = dst.data(), mul.weight = weight.data(), mul.weight_f16 = 1;
    run(1, sdw_matmul_work(&mul), [&](int ith, void* work) { sdw_matmul_run(&mul, ith, 1, work); });
    for (int64_t i = 0; i < n * m; i++) {
        if (dst[i] != values[i % m]) {
            printf("half %04x: got %g, want %g\n", weight[i % m * k], dst[i], values[i % m]);
            failures++;
        }
    }
}

static void attention(int images, int heads, int queries, int keys, int width, float spread, int nth) {
    sdw_attention at = {};
    at.images = images, at.heads = heads, at.queries = queries, at.keys = keys, at.width = width;
    const int channels = heads * width;
    at.q_row = channels + pick(0, 3), at.k_row = channels + pick(0, 3), at.v_row = channels + pick(0, 3), at.dst_row = channels;
    at.q_image = at.q_row * queries, at.k_image = at.k_row * keys + 7, at.v_image = at.v_row * keys, at.dst_image = at.dst_row * queries;
    std::vector<float> q = noise(at.q_image * images, spread), k = noise(at.k_image * images, 1), v = noise(at.v_image * images, 1);
    std::vector<float> dst(at.dst_image * images, NAN);
    at.q = q.data(), at.k = k.data(), at.v = v.data(), at.dst = dst.data();
    at.scale = 1 / sqrtf(width);
    std::vector<const float*> keys_of, values_of;
    if (pick(0, 1)) { /* images point at theirs */
        for (int n = 0; n < images; n++) {
            keys_of.push_back(k.data() + n * at.k_image), values_of.push_back(v.data() + n * at.v_image);
        }
        at.k = at.v = nullptr, at.k_of = keys_of.data(), at.v_of = values_of.data();
    }
    run(nth, sdw_attention_work(&at), [&](int ith, void* work) { sdw_attention_run(&at, ith, nth, work); });

    std::vector<double> want(dst.size());
    for (int n = 0; n < images; n++) {
        for (int h = 0; h < heads; h++) {
            for (int i = 0; i < queries; i++) {
                std::vector<double> score(keys);
                double top = -INFINITY, sum = 0;
                for (int j = 0; j < keys; j++) {
                    for (int d = 0; d < width; d++) {
                        score[j] += (double)q[n * at.q_image + i * at.q_row + h * width + d] * k[n * at.k_image + j * at.k_row + h * width + d];
                    }
                    top = fmax(top, score[j] *= at.scale);
                }
                for (double& s : score) {
                    sum += s = exp(s - top);
                }
                for (int d = 0; d < width; d++) {
                    double x = 0;
                    for (int j = 0; j < keys; j++) {
                        x += score[j] * v[n * at.v_image + j * at.v_row + h * width + d];
                    }
                    want[n * at.dst_image + i * at.dst_row + h * width + d] = x / sum;
                }
            }
        }
    }
    char what[120];
    snprintf(what, sizeof what, "attention %d images, %d heads %d wide, %d queries, %d keys, spread %g, %d threads", images, heads, width, queries, keys, spread, nth);
    compare(what, dst, want, spread > 1 ? 1e-4 : 2e-5);
}

static void geglu(int rows, int m, float spread, int nth) {
    std::vector<float> src = noise((size_t)rows * 2 * m, spread), dst((size_t)rows * m, NAN);
    const sdw_geglu gate = {rows, m, src.data(), dst.data()};
    run(nth, 0, [&](int ith, void*) { sdw_geglu_run(&gate, ith, nth); });
    std::vector<double> want;
    for (int j = 0; j < rows; j++) {
        for (int i = 0; i < m; i++) {
            const double x = src[(size_t)j * 2 * m + m + i];
            want.push_back(src[(size_t)j * 2 * m + i] * 0.5 * x * erfc(-x / sqrt(2)));
        }
    }
    char what[100];
    snprintf(what, sizeof what, "geglu %d rows, %d wide, spread %g, %d threads", rows, m, spread, nth);
    compare(what, dst, want, 5e-6);
}

int main() {
    printf("kernels: %s\n", sdw_kernels_isa());
    int count = 0;
    auto product = [&](int m, int n, int k) {
        matmul(m, n, k, pick(1, 6), pick(0, 1), pick(0, 1));
        count++;
    };
    product(320, 130, 320);
    product(2560, 17, 1290);
    product(33, 400, 70);
    product(1, 1, 1);
    product(640, 77, 768);
    for (int i = 0; i < 300; i++) {
        product(pick(1, 150), pick(1, 150), pick(1, 150));
    }
    for (int i = 0; i < 20; i++) {
        product(pick(1, 700), pick(1, 40), pick(500, 1400));
    }
    every_half(1);
    every_half(8);
    count += 2;
    auto all = [&](int images, int heads, int queries, int keys, int width, float spread) {
        attention(images, heads, queries, keys, width, spread, pick(1, 6));
        count++;
    };
    all(2, 8, 300, 300, 40, 1);
    all(1, 8, 77, 600, 80, 1);
    all(2, 2, 513, 77, 160, 1);
    all(1, 1, 64, 1000, 512, 1);
    all(2, 4, 100, 154, 8, 30);
    all(1, 2, 40, 40, 40, 100);
    for (int i = 0; i < 150; i++) {
        all(pick(1, 3), pick(1, 4), pick(1, 90), pick(1, 300), pick(1, 70), pick(0, 1) ? 1 : 20);
    }
    for (int i = 0; i < 50; i++, count++) {
        geglu(pick(1, 9), pick(1, 99), pick(0, 1) ? 1 : 20, pick(1, 6));
    }
    printf("%d products, %d wrong\n", count, failures);
    return failures > 0;
}
