//go:build sdcpp

// Operations of a graph that the worker's own kernels compute.

#include "products.hpp"

#include "contexts.hpp"

#include "../../third_party/kernels/products.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <vector>

namespace sdw {
namespace {

// scratch returns memory of the calling thread that stays between calls.
void* scratch(size_t bytes) {
    static thread_local std::vector<char> memory;
    if (memory.size() < bytes) {
        memory.resize(bytes);
    }
    return memory.data();
}

const float* floats(const ggml_tensor* t) { return static_cast<const float*>(t->data); }

// row is the distance between rows of t, in floats.
int64_t row(const ggml_tensor* t, int dimension) { return static_cast<int64_t>(t->nb[dimension] / sizeof(float)); }

// linear computes a custom node of weight, input and, if there is one, bias.
void linear(ggml_tensor* dst, int ith, int nth, void*) {
    run_linear(dst, 0, ggml_nrows(dst), static_cast<float*>(dst->data), ith, nth);
}

// attention computes a custom node of queries, keys and values [image][token][head][width].
// Contexts, if given, have those of each image.
void attention(ggml_tensor* dst, int ith, int nth, void* contexts) {
    const ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
    sdw_attention at = {};
    at.width         = dst->ne[0];
    at.heads         = q->ne[0] / at.width;
    at.queries       = q->ne[1];
    at.keys          = k->ne[1];
    at.images        = q->ne[2];
    at.q_row         = row(q, 1);
    at.k_row         = row(k, 1);
    at.v_row         = row(v, 1);
    at.dst_row       = q->ne[0];
    at.q_image       = row(q, 2);
    at.k_image       = row(k, 2);
    at.v_image       = row(v, 2);
    at.dst_image     = at.dst_row * at.queries;
    at.q             = floats(q);
    std::vector<const float*> keys, values;
    if (contexts != nullptr) {
        for (int64_t image = 0; image < at.images; image++) {
            keys.push_back(static_cast<const Contexts*>(contexts)->of(k, image));
            values.push_back(static_cast<const Contexts*>(contexts)->of(v, image));
        }
        at.k_of = keys.data();
        at.v_of = values.data();
    } else {
        at.k = floats(k);
        at.v = floats(v);
    }
    at.scale = 1 / std::sqrt(static_cast<float>(at.width));
    at.dst   = static_cast<float*>(dst->data);
    sdw_attention_run(&at, ith, nth, scratch(sdw_attention_work(&at)));
}

// geglu computes a custom node of rows twice as long as its own.
void geglu(ggml_tensor* dst, int ith, int nth, void*) {
    const sdw_geglu gate = {ggml_nrows(dst), dst->ne[0], floats(dst->src[0]), static_cast<float*>(dst->data)};
    sdw_geglu_run(&gate, ith, nth);
}

constexpr char linear_name[] = "linear", attention_name[] = "attention";

// custom turns t into a custom operation of some sources, keeping its shape.
void custom(ggml_tensor* t, const char* name, ggml_custom_op_t function, void* data, std::initializer_list<ggml_tensor*> sources) {
    // What the library stores for a custom operation is its own affair.
    ggml_init_params params = {2 * ggml_tensor_overhead(), nullptr, true};
    ggml_context* context   = ggml_init(params);
    const ggml_tensor* made = ggml_custom_4d(context, GGML_TYPE_F32, 1, 1, 1, 1, nullptr, 0, function, GGML_N_TASKS_MAX, data);
    t->op                   = made->op;
    std::copy(std::begin(made->op_params), std::end(made->op_params), t->op_params);
    ggml_free(context);
    ggml_set_name(t, name);
    std::fill(std::begin(t->src), std::end(t->src), nullptr);
    std::copy(sources.begin(), sources.end(), t->src);
}

}  // namespace

void make_linear(ggml_tensor* t, ggml_tensor* weight, ggml_tensor* input, ggml_tensor* bias) {
    custom(t, linear_name, linear, nullptr, {weight, input, bias});
}

void keep_linear(ggml_tensor* t, ggml_custom_op_t function, void* data) {
    custom(t, "linear of text", function, data, {t->src[0], t->src[1], t->src[2]});
}

void run_linear(const ggml_tensor* t, int64_t first, int64_t n, float* dst, int ith, int nth) {
    const ggml_tensor *weight = t->src[0], *input = t->src[1], *bias = t->src[2];
    sdw_matmul mul = {};
    mul.m          = weight->ne[1];
    mul.n          = n;
    mul.k          = weight->ne[0];
    mul.src_row    = mul.k;
    mul.weight_row = mul.k;
    mul.dst_row    = mul.m;
    mul.src        = floats(input) + first * mul.src_row;
    mul.weight     = weight->data;
    mul.weight_f16 = weight->type == GGML_TYPE_F16;
    mul.bias       = bias != nullptr ? floats(bias) : nullptr;
    mul.dst        = dst;
    sdw_matmul_run(&mul, ith, nth, scratch(sdw_matmul_work(&mul)));
}

void make_attention(ggml_tensor* t, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v, const Contexts* contexts) {
    custom(t, attention_name, attention, const_cast<Contexts*>(contexts), {q, k, v});
}

void make_geglu(ggml_tensor* t, ggml_tensor* input) { custom(t, "geglu", geglu, nullptr, {input}); }

bool is_linear(const ggml_tensor* t) { return t->op == GGML_OP_CUSTOM && std::strcmp(t->name, linear_name) == 0; }

bool is_attention(const ggml_tensor* t) { return t->op == GGML_OP_CUSTOM && std::strcmp(t->name, attention_name) == 0; }

}  // namespace sdw
