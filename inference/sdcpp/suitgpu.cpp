//go:build sdcpp

// Graphs for a GPU. engine.hpp declares these functions; it is not included, since it
// takes long to compile.

#include "failure.hpp"

#include "ggml-backend.h"
#include "ggml.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <vector>

namespace sdw {
namespace {

// tensor_core_width is the narrowest head that CUDA's fused attention computes on
// tensor cores. SD 1.5's outermost layers have heads of 40.
constexpr int64_t tensor_core_width = 64;

ggml_tensor* pad(ggml_context* context, ggml_tensor* t) {
    if (!ggml_is_contiguous(t)) {
        t = ggml_cont(context, t);
    }
    return ggml_pad(context, t, static_cast<int>(tensor_core_width - t->ne[0]), 0, 0, 0);
}

// pad_half pads what a graph converts to f16. Only f32 can be padded on every device.
ggml_tensor* pad_half(ggml_context* context, ggml_tensor* t) { return ggml_cast(context, pad(context, t->src[0]), t->type); }

// pad_heads widens the heads of an attention with zeros, which change neither scores
// nor results; the scale stays that of the true width. uses are what reads its
// result; views of whole heads can skip the zeros that come there.
void pad_heads(ggml_context* context, ggml_tensor* attention, const std::vector<ggml_tensor*>& uses) {
    ggml_tensor *q = attention->src[0], *k = attention->src[1], *v = attention->src[2];
    const bool converted = k->op == GGML_OP_CPY && v->op == GGML_OP_CPY;
    const bool plain     = std::all_of(uses.begin(), uses.end(), [&](const ggml_tensor* t) {
        return t->op == GGML_OP_VIEW && t->src[0] == attention && t->view_offs == 0 && t->ne[0] == attention->ne[0];
    });
    if (q->ne[0] >= tensor_core_width || v->ne[0] != q->ne[0] || !converted || !plain) {
        return;
    }
    ggml_tensor* wide = ggml_flash_attn_ext(context, pad(context, q), pad_half(context, k), pad_half(context, v), attention->src[3], 0, 0, 0);
    std::copy(std::begin(attention->op_params), std::end(attention->op_params), wide->op_params);
    for (ggml_tensor* view : uses) {
        for (int i = 1; i < GGML_MAX_DIMS; i++) {
            view->nb[i] = view->nb[i] / attention->nb[1] * wide->nb[1];
        }
        view->src[0]   = wide;
        view->view_src = wide;
    }
}

// sure_size is what every device takes as one tensor: the least limit of Vulkan for a
// buffer that a shader reads (maxStorageBufferRange), in bytes.
constexpr size_t sure_size = size_t(1) << 27;

// sums_in_halves tells that a device sums products of halves in halves, too, unless it
// is told to be precise: Vulkan does. CUDA would then multiply floats in their place.
#ifdef SDW_VULKAN
constexpr bool sums_in_halves = true;
#else
constexpr bool sums_in_halves = false;
#endif

bool computes_nothing(ggml_op op) {
    return op == GGML_OP_NONE || op == GGML_OP_RESHAPE || op == GGML_OP_VIEW || op == GGML_OP_PERMUTE || op == GGML_OP_TRANSPOSE;
}

}  // namespace

void suit_gpu(ggml_context* context, ggml_cgraph* graph, const std::vector<ggml_tensor*>& outputs) {
    std::unordered_map<const ggml_tensor*, std::vector<ggml_tensor*>> uses;
    std::vector<ggml_tensor*> nodes;
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        ggml_tensor* node = ggml_graph_node(graph, i);
        nodes.push_back(node);
        uses[node->view_src].push_back(node);
        for (const ggml_tensor* source : node->src) {
            if (source != node->view_src) {
                uses[source].push_back(node);
            }
        }
    }
    for (ggml_tensor* node : nodes) {
        if (node->op == GGML_OP_FLASH_ATTN_EXT) {
            pad_heads(context, node, uses[node]);
        } else if (node->op == GGML_OP_CONV_2D && !ggml_is_contiguous(node->src[1])) {
            node->src[1] = ggml_cont(context, node->src[1]);
        } else if (node->op == GGML_OP_MUL_MAT && sums_in_halves) {
            ggml_mul_mat_set_prec(node, GGML_PREC_F32);
        }
    }
    ggml_graph_clear(graph);
    for (ggml_tensor* out : outputs) {
        ggml_build_forward_expand(graph, out);
    }
}

bool reads(ggml_cgraph* graph, const ggml_tensor* tensor) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        const ggml_tensor* node = ggml_graph_node(graph, i);
        if (std::find(std::begin(node->src), std::end(node->src), tensor) != std::end(node->src)) {
            return true;
        }
    }
    return false;
}

void check_graph(ggml_backend_t backend, ggml_cgraph* graph, const char* what) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        const ggml_tensor* node = ggml_graph_node(graph, i);
        if (computes_nothing(node->op) || ggml_backend_supports_op(backend, node)) {
            continue;
        }
        size_t largest = ggml_nbytes(node);
        for (const ggml_tensor* source : node->src) {
            largest = std::max(largest, source == nullptr ? 0 : ggml_nbytes(source));
        }
        if (largest > sure_size) {
            fail(SDW_OOM, "%s has no room for the %zu MiB in one piece that the %s needs at this size", ggml_backend_name(backend), largest >> 20, what);
        }
        fail(SDW_INVALID, "%s cannot compute the %s: it has no %s for these tensors", ggml_backend_name(backend), what, ggml_op_desc(node));
    }
}

}  // namespace sdw
