// The group norm of norm.py, with SiLU or without, in one or two passes over channels-last data.
// A net of few channels spends more time in unfused norms than in convolutions.
#include <torch/extension.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

inline float load(const float* p) { return *p; }
inline void store(float* p, float v) { *p = v; }
inline float load(const uint16_t* p) {
    uint32_t u = uint32_t(*p) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}
inline void store(uint16_t* p, float v) {
    uint32_t u;
    std::memcpy(&u, &v, 4);
    *p = uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

template <typename T>
void forward(const T* x, T* y, const float* weight, const float* bias, float* mean, float* scale, int64_t batch, int64_t size, int64_t channels,
             int64_t groups, float spread, float eps, bool silu) {
    const int64_t n = channels / groups;
    std::vector<float> sum(channels), square(channels), a(channels), d(channels);
    for (int64_t b = 0; b < batch; b++, x += size * channels, y += size * channels) {
        std::fill(sum.begin(), sum.end(), 0.f);
        std::fill(square.begin(), square.end(), 0.f);
        float *s = sum.data(), *q = square.data(), *ap = a.data(), *dp = d.data();
        for (int64_t i = 0; i < size; i++) {
            const T* row = x + i * channels;
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                float v = load(row + c);
                s[c] += v;
                q[c] += v * v;
            }
        }
        for (int64_t g = 0; g < groups; g++) {
            double m = 0, v = 0, total = double(n) * size * spread;
            for (int64_t c = g * n; c < (g + 1) * n; c++) {
                m += s[c], v += q[c];
            }
            m /= total;
            float r              = float(1 / std::sqrt(v / total - m * m + eps));
            mean[b * groups + g] = float(m), scale[b * groups + g] = r;
            for (int64_t c = g * n; c < (g + 1) * n; c++) {
                ap[c] = r * weight[c], dp[c] = bias[c] - float(m) * ap[c];
            }
        }
        for (int64_t i = 0; i < size; i++) {
            const T* row = x + i * channels;
            T* out       = y + i * channels;
            if (silu) {
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    float t = load(row + c) * ap[c] + dp[c];
                    store(out + c, t / (1.f + expf(-t)));
                }
            } else {
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    store(out + c, load(row + c) * ap[c] + dp[c]);
                }
            }
        }
    }
}

template <typename T>
void backward(const T* gy, const T* x, T* gx, const float* weight, const float* bias, const float* mean, const float* scale, float* gw, float* gb,
              int64_t batch, int64_t size, int64_t channels, int64_t groups, float spread, bool silu) {
    const int64_t n = channels / groups;
    std::vector<float> gt(size * channels), r(channels), m(channels), s0(channels), s1(channels), k0(channels), k1(channels);
    for (int64_t b = 0; b < batch; b++, x += size * channels, gy += size * channels, gx += size * channels) {
        float *rp = r.data(), *mp = m.data(), *p0 = s0.data(), *p1 = s1.data(), *q0 = k0.data(), *q1 = k1.data();
        for (int64_t c = 0; c < channels; c++) {
            rp[c] = scale[b * groups + c / n];
            mp[c] = -mean[b * groups + c / n] * rp[c];
            p0[c] = p1[c] = 0;
        }
        for (int64_t i = 0; i < size; i++) {
            const T *row = x + i * channels, *g = gy + i * channels;
            float* out = gt.data() + i * channels;
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                float h = load(row + c) * rp[c] + mp[c], u = load(g + c);
                if (silu) {
                    float t = h * weight[c] + bias[c], e = 1.f / (1.f + expf(-t));
                    u *= e * (1.f + t * (1.f - e));
                }
                out[c] = u;
                p0[c] += u;
                p1[c] += u * h;
            }
        }
        const float total = float(n) * size * spread;
        for (int64_t g = 0; g < groups; g++) {
            float a0 = 0, a1 = 0;
            for (int64_t c = g * n; c < (g + 1) * n; c++) {
                a0 += weight[c] * p0[c], a1 += weight[c] * p1[c];
            }
            for (int64_t c = g * n; c < (g + 1) * n; c++) {
                q0[c] = a0 / total, q1[c] = a1 / total;
            }
        }
        for (int64_t c = 0; c < channels; c++) {
            gw[c] += p1[c], gb[c] += p0[c];
        }
        for (int64_t i = 0; i < size; i++) {
            const T* row   = x + i * channels;
            const float* u = gt.data() + i * channels;
            T* out         = gx + i * channels;
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                float h = load(row + c) * rp[c] + mp[c];
                store(out + c, rp[c] * (u[c] * weight[c] - q0[c] - h * q1[c]));
            }
        }
    }
}

// Tensors are rows: (batch, size, channels), contiguous; weight and bias are float.
std::vector<torch::Tensor> norm_forward(torch::Tensor x, torch::Tensor weight, torch::Tensor bias, int64_t groups, double spread, double eps, bool silu) {
    auto y    = torch::empty_like(x);
    auto mean = torch::empty({x.size(0), groups}, torch::kFloat), scale = torch::empty_like(mean);
    auto run = [&](auto* p, auto* q) {
        forward(p, q, weight.data_ptr<float>(), bias.data_ptr<float>(), mean.data_ptr<float>(), scale.data_ptr<float>(), x.size(0), x.size(1), x.size(2), groups,
                float(spread), float(eps), silu);
    };
    if (x.scalar_type() == torch::kBFloat16) {
        run((const uint16_t*)x.data_ptr(), (uint16_t*)y.data_ptr());
    } else {
        run((const float*)x.data_ptr<float>(), y.data_ptr<float>());
    }
    return {y, mean, scale};
}

std::vector<torch::Tensor> norm_backward(torch::Tensor gy, torch::Tensor x, torch::Tensor weight, torch::Tensor bias, torch::Tensor mean, torch::Tensor scale,
                                         double spread, bool silu) {
    auto gx = torch::empty_like(x), gw = torch::zeros_like(weight), gb = torch::zeros_like(bias);
    auto run = [&](auto* g, auto* p, auto* q) {
        backward(g, p, q, weight.data_ptr<float>(), bias.data_ptr<float>(), mean.data_ptr<float>(), scale.data_ptr<float>(), gw.data_ptr<float>(), gb.data_ptr<float>(),
                 x.size(0), x.size(1), x.size(2), mean.size(1), float(spread), silu);
    };
    if (x.scalar_type() == torch::kBFloat16) {
        run((const uint16_t*)gy.data_ptr(), (const uint16_t*)x.data_ptr(), (uint16_t*)gx.data_ptr());
    } else {
        run((const float*)gy.data_ptr<float>(), (const float*)x.data_ptr<float>(), gx.data_ptr<float>());
    }
    return {gx, gw, gb};
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
    m.def("forward", &norm_forward);
    m.def("backward", &norm_backward);
}
