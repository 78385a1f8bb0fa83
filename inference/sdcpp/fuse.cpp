//go:build sdcpp

// Folds small operations into the large one before them.

#include "engine.hpp"

#include <unordered_map>

namespace sdw {
namespace {

// Fuser rewrites a graph that has not been given memory yet. The last tensor of a
// chain becomes the large operation with all of the chain's sources; the others
// fall out when the graph is put together anew.
struct Fuser {
    std::vector<ggml_tensor*> nodes;
    std::unordered_map<const ggml_tensor*, std::vector<ggml_tensor*>> users;

    explicit Fuser(ggml_cgraph* graph) {
        for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
            ggml_tensor* node = ggml_graph_node(graph, i);
            nodes.push_back(node);
            for (const ggml_tensor* source : node->src) {
                if (source != nullptr) {
                    users[source].push_back(node);
                }
            }
        }
    }

    // next returns the only user of t if it is the operation op on t as its first source.
    ggml_tensor* next(ggml_tensor* t, ggml_op op) {
        auto found = users.find(t);
        if (found == users.end() || found->second.size() != 1 || (t->flags & GGML_TENSOR_FLAG_OUTPUT) != 0) {
            return nullptr;
        }
        ggml_tensor* user = found->second[0];
        return user->op == op && user->src[0] == t && user->type == GGML_TYPE_F32 && ggml_are_same_shape(user, t) ? user : nullptr;
    }

    // replace makes last compute what first does, with first's sources and more.
    void replace(ggml_tensor* last, const ggml_tensor* first, std::initializer_list<ggml_tensor*> more) {
        ggml_tensor* sources[GGML_MAX_SRC] = {};
        int n = 0;
        while (n < GGML_MAX_SRC && first->src[n] != nullptr) {
            sources[n] = first->src[n];
            n++;
        }
        for (ggml_tensor* t : more) {
            sources[n++] = t;
        }
        // An operation in place is a view of the chain's first tensor, and so are the
        // views of its result. Now the memory is the last one's.
        if (last->view_src != nullptr) {
            for (ggml_tensor* node : nodes) {
                if (node != last && node->view_src == last->view_src) {
                    node->view_src = last;
                }
            }
        }
        last->op        = first->op;
        last->view_src  = nullptr;
        last->view_offs = 0;
        std::copy(std::begin(sources), std::end(sources), last->src);
        std::copy(std::begin(first->op_params), std::end(first->op_params), last->op_params);
    }

    // per_channel tells whether t holds one value for each channel of like, of each
    // image if images is not 1.
    static bool per_channel(const ggml_tensor* t, const ggml_tensor* like, int64_t images) {
        return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t) && t->ne[0] == 1 && t->ne[1] == 1 && t->ne[2] == like->ne[2] &&
               t->ne[3] == images;
    }

    // GROUP_NORM, MUL by weight, ADD of bias, SILU.
    void group_norm(ggml_tensor* norm) {
        ggml_tensor* mul = next(norm, GGML_OP_MUL);
        if (!ggml_is_contiguous(norm->src[0]) || mul == nullptr || !per_channel(mul->src[1], norm, 1)) {
            return;
        }
        ggml_tensor* add = next(mul, GGML_OP_ADD);
        if (add == nullptr || !per_channel(add->src[1], norm, 1)) {
            return;
        }
        ggml_tensor* last   = add;
        ggml_tensor* weight = mul->src[1];
        ggml_tensor* bias   = add->src[1];
        ggml_tensor* silu   = next(add, GGML_OP_UNARY);
        if (silu != nullptr && ggml_get_unary_op(silu) == GGML_UNARY_OP_SILU) {
            last = silu;
        }
        const bool with_silu = last == silu;
        replace(last, norm, {weight, bias});
        last->op_params[2] = with_silu;
    }

    // CONV_2D, ADD of bias, ADD of a value for each channel of each image, ADD of a
    // tensor like the result.
    void conv(ggml_tensor* conv) {
        if (conv->src[1]->type != GGML_TYPE_F32 || !ggml_is_contiguous(conv->src[1])) {
            return;
        }
        ggml_tensor *last = conv, *bias = nullptr, *image_bias = nullptr, *sum = nullptr;
        while (ggml_tensor* add = next(last, GGML_OP_ADD)) {
            ggml_tensor* term = add->src[1];
            if (bias == nullptr && image_bias == nullptr && per_channel(term, conv, 1)) {
                bias = term;
            } else if (image_bias == nullptr && per_channel(term, conv, conv->ne[3])) {
                image_bias = term;
            } else if (sum == nullptr && ggml_are_same_shape(term, conv) && term->type == GGML_TYPE_F32 && ggml_is_contiguous(term)) {
                sum = term;
            } else {
                break;
            }
            last = add;
        }
        if (last != conv) {
            replace(last, conv, {bias, image_bias, sum});
        }
    }
};

}  // namespace

void fuse(ggml_cgraph* graph, const std::vector<ggml_tensor*>& outputs) {
    Fuser fuser(graph);
    for (ggml_tensor* node : fuser.nodes) {
        if (node->op == GGML_OP_GROUP_NORM) {
            fuser.group_norm(node);
        } else if (node->op == GGML_OP_CONV_2D) {
            fuser.conv(node);
        }
    }
    ggml_graph_clear(graph);
    for (ggml_tensor* out : outputs) {
        ggml_build_forward_expand(graph, out);
    }
}

}  // namespace sdw
