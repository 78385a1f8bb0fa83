//go:build sdcpp

// Where the time of a graph goes.

#include "engine.hpp"
#include "products.hpp"

#include "../../third_party/kernels/products.h"

#include <algorithm>
#include <cstdarg>
#include <ctime>
#include <exception>
#include <future>
#include <iterator>

namespace sdw {
namespace {

double seconds(clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
    char buffer[128];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    return buffer;
}

long long side(const ggml_tensor* t, int i) { return static_cast<long long>(t->ne[i]); }

struct Description {
    std::string kind, shape;
    double flops;
};

Description describe(const ggml_tensor* t) {
    const ggml_tensor *a = t->src[0], *b = t->src[1];
    const double results = static_cast<double>(ggml_nelements(t));
    if (t->op == GGML_OP_CONV_2D) {
        return {text("convolution %lldx%lld", side(a, 0), side(a, 1)),
                text("%lld x %lld -> %lld, %lldx%lld", side(t, 3), side(a, 2), side(a, 3), side(t, 0), side(t, 1)),
                2 * results * static_cast<double>(a->ne[0] * a->ne[1] * a->ne[2])};
    }
    if (is_attention(t)) {
        const ggml_tensor* keys = t->src[1];
        return {"attention", text("%lld x %lld heads %lld wide, %lld queries, %lld keys", side(a, 2), side(a, 0) / side(t, 0), side(t, 0), side(a, 1), side(keys, 1)),
                4 * static_cast<double>(ggml_nelements(a) * keys->ne[1])};
    }
    if (t->op == GGML_OP_FLASH_ATTN_EXT) {
        return {"attention", text("%lld x %lld heads %lld wide, %lld queries, %lld keys", side(a, 3), side(a, 2), side(a, 0), side(a, 1), side(b, 1)),
                4 * static_cast<double>(ggml_nelements(a) * b->ne[1])};
    }
    if (t->op == GGML_OP_MUL_MAT || is_linear(t)) {
        return {"linear", text("%lld -> %lld, %lld rows", side(a, 0), side(a, 1), static_cast<long long>(ggml_nrows(b))), 2 * results * static_cast<double>(a->ne[0])};
    }
    return {t->op == GGML_OP_CUSTOM ? t->name : ggml_op_desc(t), text("%lld x %lld x %lld x %lld", side(t, 3), side(t, 2), side(t, 1), side(t, 0)), 0};
}

}  // namespace

ggml_status Profile::compute(ggml_backend_t backend, ggml_cgraph* graph) {
    const ggml_init_params params = {ggml_graph_overhead_custom(1, false), nullptr, true};
    const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(ggml_init(params), ggml_free);
    ggml_cgraph* one = ggml_new_graph_custom(context.get(), 1, false);
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        ggml_tensor* node = ggml_graph_node(graph, i);
        ggml_graph_clear(one);
        ggml_graph_add_node(one, node);
        const double begin = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        const ggml_status status = ggml_backend_graph_compute(backend, one);
        if (status != GGML_STATUS_SUCCESS) {
            return status;
        }
        const Description d = describe(node);
        Operation& o        = operations[{d.kind, d.shape}];
        o.seconds += seconds(CLOCK_MONOTONIC) - begin;
        o.cpu += seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        o.flops += d.flops;
        o.calls++;
    }
    return GGML_STATUS_SUCCESS;
}

}  // namespace sdw

using namespace sdw;

void sdw_profile(sdw_engine* e, int on) { e->device.profile = on ? std::make_unique<Profile>() : nullptr; }

int sdw_profiled(const sdw_engine* e, int i, sdw_operation* out) {
    const auto& operations = e->device.profile->operations;
    if (i < 0 || static_cast<size_t>(i) >= operations.size()) {
        return 0;
    }
    const auto& [name, operation] = *std::next(operations.begin(), i);
    *out                          = {};
    snprintf(out->kind, sizeof out->kind, "%s", name.first.c_str());
    snprintf(out->shape, sizeof out->shape, "%s", name.second.c_str());
    out->seconds     = operation.seconds;
    out->cpu_seconds = operation.cpu;
    out->flops       = operation.flops;
    out->calls       = operation.calls;
    return 1;
}

double sdw_peak(const sdw_engine* e) try {
    if (!e->device.cpu) {
        return 0;
    }
    // The best of some short runs: each may be disturbed by what else the machine does.
    double best = 0;
    for (int run = 0; run < 10; run++) {
        std::vector<std::future<double>> rates; // whose ends wait for their threads
        for (int i = 0; i < e->device.threads; i++) {
            rates.push_back(std::async(std::launch::async, [] {
                const double begin      = seconds(CLOCK_THREAD_CPUTIME_ID);
                const double operations = sdw_multiply_adds(1 << 20);
                return operations / (seconds(CLOCK_THREAD_CPUTIME_ID) - begin);
            }));
        }
        double sum = 0;
        for (std::future<double>& rate : rates) {
            sum += rate.get();
        }
        best = std::max(best, sum);
    }
    return best;
} catch (const std::exception&) {
    return 0; // no thread is to be had
}
