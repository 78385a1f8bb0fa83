//go:build sdcpp

// Runs the networks of netgraph.h.

#include "netgraph.h"

#include "engine.hpp"

#include "ggml-alloc.h"

namespace {

struct FreeContext {
    void operator()(ggml_context* c) const { ggml_free(c); }
};
using Context = std::unique_ptr<ggml_context, FreeContext>;

Context new_context(size_t tensors, size_t graph_nodes) {
    const size_t graph = graph_nodes > 0 ? ggml_graph_overhead_custom(graph_nodes, false) : 0;
    Context c(ggml_init({ggml_tensor_overhead() * tensors + graph, nullptr, true}));
    if (!c) {
        throw std::bad_alloc();
    }
    return c;
}

// tensors_per_node bounds what a layer becomes.
constexpr size_t tensors_per_node = 24;

}  // namespace

struct sdw_net {
    sdw::Device& device;
    int channels;
    std::vector<sdw_node> nodes;
    std::vector<int32_t> outputs;

    Context weights_context;
    std::vector<ggml_tensor*> weights;
    ggml_backend_buffer_t buffer = nullptr;

    // The graph of the last size.
    int h = 0, w = 0;
    Context context;
    ggml_cgraph* graph   = nullptr;
    ggml_tensor* input   = nullptr;
    ggml_gallocr_t alloc = nullptr;
    std::vector<ggml_tensor*> results;

    explicit sdw_net(sdw::Device& d, int c) : device(d), channels(c) {}
    sdw_net(const sdw_net&) = delete;
    ~sdw_net() {
        rest();
        ggml_backend_buffer_free(buffer);
    }

    void rest() {
        if (alloc != nullptr) {
            ggml_gallocr_free(alloc);
        }
        alloc = nullptr;
        graph = nullptr;
        results.clear();
        context.reset();
        h = w = 0;
    }

    // allocate makes room for the arrays.
    void allocate(const int32_t* shapes, const int32_t* halved, int n) {
        weights_context = new_context(n, 0);
        for (int i = 0; i < n; i++) {
            const int32_t* s = shapes + 4 * i;
            weights.push_back(ggml_new_tensor_4d(weights_context.get(), halved[i] ? GGML_TYPE_F16 : GGML_TYPE_F32, s[3], s[2], s[1], s[0]));
        }
        buffer = ggml_backend_alloc_ctx_tensors(weights_context.get(), device.backend);
        if (buffer == nullptr) {
            sdw::fail(SDW_OOM, "not enough memory on %s for the network's weights", ggml_backend_name(device.backend));
        }
    }

    void set(int i, const float* values) {
        ggml_tensor* t = weights.at(i);
        if (t->type == GGML_TYPE_F32) {
            ggml_backend_tensor_set(t, values, 0, ggml_nbytes(t));
            return;
        }
        std::vector<ggml_fp16_t> half(ggml_nelements(t));
        ggml_fp32_to_fp16_row(values, half.data(), ggml_nelements(t));
        ggml_backend_tensor_set(t, half.data(), 0, ggml_nbytes(t));
    }

    // swap exchanges the two middle ones of the axes [n0][n1][n2][n3].
    ggml_tensor* swap(ggml_tensor* t, int64_t n0, int64_t n1, int64_t n2, int64_t n3) {
        ggml_context* c = context.get();
        return ggml_cont(c, ggml_permute(c, ggml_reshape_4d(c, t, n0, n1, n2, n3), 0, 2, 1, 3));
    }

    // front moves axis 2 of [n0][n1][n2][n3] before axis 0.
    ggml_tensor* front(ggml_tensor* t, int64_t n0, int64_t n1, int64_t n2, int64_t n3) {
        ggml_context* c = context.get();
        return ggml_cont(c, ggml_permute(c, ggml_reshape_4d(c, t, n0, n1, n2, n3), 1, 2, 0, 3));
    }

    // back moves axis 0 of [n0][n1][n2][n3] behind axis 2.
    ggml_tensor* back(ggml_tensor* t, int64_t n0, int64_t n1, int64_t n2, int64_t n3) {
        ggml_context* c = context.get();
        return ggml_cont(c, ggml_permute(c, ggml_reshape_4d(c, t, n0, n1, n2, n3), 2, 0, 1, 3));
    }

    ggml_tensor* convolve(const sdw_node& n, ggml_tensor* a) {
        ggml_context* c  = context.get();
        ggml_tensor* out = ggml_conv_2d_direct(c, weights[n.weight], a, n.stride, n.stride, n.pad, n.pad, 1, 1);
        return n.bias < 0 ? out : ggml_add(c, out, weights[n.bias]);
    }

    // attend is attention of queries a over keys b and values v, each [features][rows].
    ggml_tensor* attend(const sdw_node& n, ggml_tensor* a, ggml_tensor* b, ggml_tensor* v) {
        return ggml_ext_attention_ext(context.get(), device.backend, a, b, v, n.factor, nullptr, false, device.fused);
    }

    // normalize brings every row to mean 0 and variance 1.
    ggml_tensor* normalize(const sdw_node& n, ggml_tensor* a) {
        ggml_context* c = context.get();
        return ggml_add(c, ggml_mul(c, ggml_norm(c, a, n.scale), weights[n.weight]), weights[n.bias]);
    }

    ggml_tensor* linear(const sdw_node& n, ggml_tensor* a) {
        ggml_tensor* out = ggml_mul_mat(context.get(), weights[n.weight], a);
        return n.bias < 0 ? out : ggml_add(context.get(), out, weights[n.bias]);
    }

    ggml_tensor* compute(const sdw_node& n, ggml_tensor* a, ggml_tensor* b, ggml_tensor* v) {
        ggml_context* c = context.get();
        const int64_t w = a->ne[0], h = a->ne[1], channels = a->ne[2], f = n.factor;
        switch (n.op) {
            case SDW_CONV:
                return convolve(n, a);
            case SDW_SILU:
                return ggml_silu(c, a);
            case SDW_LEAKY_RELU:
                return ggml_leaky_relu(c, a, n.scale, false);
            case SDW_PRELU: {
                ggml_tensor* positive = ggml_relu(c, a);
                return ggml_add(c, positive, ggml_mul(c, ggml_sub(c, a, positive), weights[n.weight]));
            }
            case SDW_SIGMOID:
                return ggml_sigmoid(c, a);
            case SDW_ADD:
                return ggml_add(c, b, a); // a convolution before it, mostly b, takes the sum along
            case SDW_MUL:
                return ggml_mul(c, a, b);
            case SDW_AFFINE:
                return ggml_scale_bias(c, a, n.scale, n.shift);
            case SDW_CONCAT:
                return ggml_concat(c, a, b, 2);
            case SDW_SLICE:
                return ggml_cont(c, ggml_view_3d(c, a, w, h, n.channels, a->nb[1], a->nb[2], n.first * a->nb[2]));
            case SDW_ENLARGE:
                return ggml_upscale(c, a, n.factor, GGML_SCALE_MODE_NEAREST);
            case SDW_MAX_POOL:
                return ggml_pool_2d(c, a, GGML_OP_POOL_MAX, n.factor, n.factor, 1, 1, n.factor / 2, n.factor / 2);
            case SDW_SHUFFLE:
                a = front(a, w, h, f, f * n.channels);
                return ggml_reshape_3d(c, swap(a, f * w, h, f, n.channels), f * w, f * h, n.channels);
            case SDW_UNSHUFFLE:
                a = swap(a, w, f, h / f, channels);
                return ggml_reshape_3d(c, back(a, f, w / f, h / f, f * channels), w / f, h / f, n.channels);
            case SDW_TOKENS:
                return ggml_cont(c, ggml_transpose(c, ggml_reshape_2d(c, a, w * h, channels)));
            case SDW_LINES:
                return ggml_reshape_2d(c, a, w, h);
            case SDW_LINEAR:
                return linear(n, a);
            case SDW_LAYER_NORM:
                return normalize(n, a);
            case SDW_GELU:
                return ggml_gelu_erf(c, a);
            case SDW_ATTENTION:
                return attend(n, a, b, v);
            case SDW_ARRAY:
                return weights[n.weight];
            case SDW_APPEND:
                return ggml_concat(c, a, b, 1);
            case SDW_TAKE:
                return ggml_cont(c, ggml_view_2d(c, a, w, n.factor, a->nb[1], n.first * a->nb[1]));
            case SDW_FOLD:
                return ggml_reshape_2d(c, a, w / f, h * f);
            case SDW_CELLS:
                return ggml_reshape_3d(c, ggml_cont(c, ggml_transpose(c, a)), f, h / f, w);
            case SDW_STRETCH:
                return ggml_interpolate(c, a, n.factor, n.first, channels, 1, GGML_SCALE_MODE_BILINEAR | GGML_SCALE_FLAG_ALIGN_CORNERS);
            default:
                sdw::fail(SDW_BROKEN, "the engine knows no layer %d", n.op);
        }
    }

    void prepare(int height, int width) {
        if (graph != nullptr && h == height && w == width) {
            return;
        }
        rest();
        const size_t tensors = tensors_per_node * (nodes.size() + 1);
        context              = new_context(tensors, tensors);
        graph                = ggml_new_graph_custom(context.get(), tensors, false);
        input                = ggml_new_tensor_4d(context.get(), GGML_TYPE_F32, width, height, channels, 1);
        ggml_set_input(input);
        std::vector<ggml_tensor*> values = {input};
        for (const sdw_node& n : nodes) {
            values.push_back(compute(n, values.at(n.a), values.at(n.b), values.at(n.c)));
        }
        for (int32_t i : outputs) {
            ggml_set_output(values.at(i));
            ggml_build_forward_expand(graph, values.at(i));
            results.push_back(values.at(i));
        }
        if (device.gpu_graphs) {
            sdw::suit_gpu(context.get(), graph, results);
        } else {
            sdw::fuse(graph, results);
        }
        sdw::check_graph(device.backend, graph, "network");
        alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(device.backend));
        if (!ggml_gallocr_alloc_graph(alloc, graph)) {
            rest();
            sdw::fail(SDW_OOM, "not enough memory on %s for a network at this size", ggml_backend_name(device.backend));
        }
        h = height;
        w = width;
    }
};

sdw_status sdw_net_open(sdw_engine* e, int channels, const sdw_node* nodes, int n_nodes, const int32_t* shapes, const int32_t* halved,
                        int n_weights, const int32_t* outputs, int n_outputs, sdw_net** out, char* err, int cap) {
    return sdw::guard(err, cap, [&] {
        auto net = std::make_unique<sdw_net>(e->device, channels);
        net->nodes.assign(nodes, nodes + n_nodes);
        net->outputs.assign(outputs, outputs + n_outputs);
        net->allocate(shapes, halved, n_weights);
        *out = net.release();
    });
}

sdw_status sdw_net_set(sdw_net* net, int i, const float* values, char* err, int cap) {
    return sdw::guard(err, cap, [&] { net->set(i, values); });
}

sdw_status sdw_net_run(sdw_engine* e, sdw_net* net, const float* pixels, int h, int w, float* out, char* err, int cap) {
    return sdw::guard(err, cap, [&] {
        net->prepare(h, w);
        e->device.copy_in(net->input, pixels);
        e->device.run(net->graph, "network");
        for (ggml_tensor* t : net->results) {
            e->device.copy_out(t, out);
            out += ggml_nelements(t);
        }
    });
}

void sdw_net_rest(sdw_net* net) { net->rest(); }

void sdw_net_close(sdw_net* net) { delete net; }
