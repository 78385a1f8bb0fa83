//go:build sdcpp

// Folds small operations into the large one before them, and turns linear layers
// and attention into operations of our own. engine.hpp declares fuse; it is not
// included, since it takes long to compile.

#include "contexts.hpp"
#include "products.hpp"

#include <cmath>
#include <cstring>
#include <unordered_map>
#include <vector>

namespace sdw {
namespace {

// Fuser rewrites a graph that has not been given memory yet. The last tensor of a
// chain becomes the large operation with all of the chain's sources; the others
// fall out when the graph is put together anew.
struct Fuser {
    std::vector<ggml_tensor*> nodes;
    std::unordered_map<const ggml_tensor*, std::vector<ggml_tensor*>> users;
    Contexts* contexts;  // that keep what cross attention makes of texts; may be null

    Fuser(ggml_cgraph* graph, Contexts* contexts)
        : contexts(contexts) {
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
        int n                              = 0;
        while (n < GGML_MAX_SRC && first->src[n] != nullptr) {
            sources[n] = first->src[n];
            n++;
        }
        for (ggml_tensor* t : more) {
            sources[n++] = t;
        }
        own(last);
        last->op = first->op;
        std::copy(std::begin(sources), std::end(sources), last->src);
        std::copy(std::begin(first->op_params), std::end(first->op_params), last->op_params);
    }

    // own gives last, the end of a chain, memory of its own.
    void own(ggml_tensor* last) {
        // An operation in place is a view of the chain's first tensor, and so are the
        // views of its result. Now the memory is the last one's.
        if (last->view_src != nullptr) {
            for (ggml_tensor* node : nodes) {
                if (node != last && node->view_src == last->view_src) {
                    node->view_src = last;
                }
            }
        }
        last->view_src  = nullptr;
        last->view_offs = 0;
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

    // linear takes a product of a weight and many rows, with the ADD of a bias.
    void linear(ggml_tensor* product) {
        ggml_tensor *weight = product->src[0], *input = product->src[1];
        if ((weight->type != GGML_TYPE_F16 && weight->type != GGML_TYPE_F32) || weight->op != GGML_OP_NONE || !ggml_is_contiguous(weight) ||
            ggml_nrows(weight) != weight->ne[1] || input->type != GGML_TYPE_F32 || !ggml_is_contiguous(input) || ggml_nrows(input) < few_rows) {
            return;
        }
        ggml_tensor *last = product, *bias = nullptr, *add = next(product, GGML_OP_ADD);
        if (add != nullptr && add->src[1]->type == GGML_TYPE_F32 && ggml_is_contiguous(add->src[1]) && ggml_nelements(add->src[1]) == product->ne[0] &&
            add->src[1]->ne[0] == product->ne[0]) {
            last = add;
            bias = add->src[1];
        }
        own(last);
        make_linear(last, weight, input, bias);
    }

    // rows below which a weight is not worth being packed
    static constexpr int64_t few_rows = 16;

    // geglu takes the gate of a feed-forward layer.
    static void geglu(ggml_tensor* gate) {
        const bool swapped = gate->op_params[1] != 0;  // the second half is the gate
        if (ggml_get_glu_op(gate) == GGML_GLU_OP_GEGLU_ERF && swapped && gate->src[1] == nullptr && gate->type == GGML_TYPE_F32 &&
            ggml_is_contiguous(gate->src[0])) {
            make_geglu(gate, gate->src[0]);
        }
    }

    // heads returns the tensor [width * heads][tokens][images] that t was made of by
    // splitting heads and moving them before the tokens, with or without a copy.
    static ggml_tensor* heads(ggml_tensor* t, int axis0, int axis1, int axis2) {
        if (t->op == GGML_OP_RESHAPE) {
            t = t->src[0];
        }
        if (t->op == GGML_OP_CONT) {
            t = t->src[0];
        }
        if (t->op != GGML_OP_PERMUTE || t->op_params[0] != axis0 || t->op_params[1] != axis1 || t->op_params[2] != axis2) {
            return nullptr;
        }
        t = t->src[0];
        if (t->op != GGML_OP_RESHAPE || t->src[0]->type != GGML_TYPE_F32 || !ggml_is_contiguous(t->src[0]) || t->src[0]->ne[3] != 1 ||
            t->src[0]->ne[0] != t->ne[0] * t->ne[1] || t->src[0]->ne[1] != t->ne[2] || t->src[0]->ne[2] != t->ne[3]) {
            return nullptr;
        }
        return t->src[0];
    }

    // only_for tells whether t, by way of its views and copies, is used for user alone.
    bool only_for(const ggml_tensor* t, const ggml_tensor* user) {
        for (auto found = users.find(t); t != user; found = users.find(t)) {
            if (found == users.end() || found->second.size() != 1 || (t->flags & GGML_TENSOR_FLAG_OUTPUT) != 0) {
                return false;
            }
            t = found->second[0];
        }
        return true;
    }

    // attention takes the chain that begins with the product of keys and queries and
    // ends with the heads' results side by side. kqv is its second product.
    void attention(ggml_tensor* kqv) {
        ggml_tensor* softmax = kqv->src[1];
        if (softmax->op != GGML_OP_SOFT_MAX || softmax->src[1] != nullptr || softmax->src[0]->op != GGML_OP_SCALE) {
            return;
        }
        ggml_tensor* kq = softmax->src[0]->src[0];
        float factor[2], scale[2];  // and what is added to it
        std::memcpy(factor, softmax->op_params, sizeof factor);
        std::memcpy(scale, softmax->src[0]->op_params, sizeof scale);
        const float want = 1.0f / std::sqrt(static_cast<float>(kqv->ne[0]));
        if (kq->op != GGML_OP_MUL_MAT || factor[0] != 1 || std::abs(scale[0] - want) > 1e-6f * want || scale[1] != 0) {
            return;
        }
        ggml_tensor *q = heads(kq->src[1], 0, 2, 1), *k = heads(kq->src[0], 0, 2, 1), *v = heads(kqv->src[0], 1, 2, 0);
        if (q == nullptr || k == nullptr || v == nullptr || k->ne[0] != q->ne[0] || v->ne[0] != q->ne[0] || v->ne[1] != k->ne[1] ||
            k->ne[2] != q->ne[2] || v->ne[2] != q->ne[2]) {
            return;
        }
        ggml_tensor* last = kqv;
        if (kqv->ne[0] != q->ne[0]) {  // more than one head
            for (ggml_op op : {GGML_OP_RESHAPE, GGML_OP_PERMUTE, GGML_OP_CONT}) {
                auto found = users.find(last);
                if (found == users.end() || found->second.size() != 1 || found->second[0]->op != op) {
                    return;
                }
                last = found->second[0];
            }
            if (last->ne[0] != kqv->ne[0] || last->ne[1] * last->ne[0] != q->ne[0] || last->ne[2] != q->ne[1]) {
                return;
            }
        }
        // Keys and values of texts. They are taken both or not at all.
        const bool keep = contexts != nullptr && only_for(k, kq) && only_for(v, kqv) && contexts->take(k, v);
        own(last);
        make_attention(last, q, k, v, keep ? contexts : nullptr);
    }
};

}  // namespace

void fuse(ggml_cgraph* graph, const std::vector<ggml_tensor*>& outputs, Contexts* contexts) {
    Fuser fuser(graph, contexts);
    for (ggml_tensor* node : fuser.nodes) {
        if (node->op == GGML_OP_GROUP_NORM) {
            fuser.group_norm(node);
        } else if (node->op == GGML_OP_CONV_2D) {
            fuser.conv(node);
        } else if (node->op == GGML_OP_GLU) {
            Fuser::geglu(node);
        } else if (node->op == GGML_OP_MUL_MAT) {
            fuser.attention(node);
            fuser.linear(node);
        }
    }
    ggml_graph_clear(graph);
    for (ggml_tensor* out : outputs) {
        ggml_build_forward_expand(graph, out);
    }
}

}  // namespace sdw
