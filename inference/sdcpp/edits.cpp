//go:build sdcpp

// What acts inside of the UNet beside its own layers: FreeU, perturbed self-attention,
// pictures that cross attention sees, and hypernetworks. They are put into a graph that
// the engine has built, before it has memory; engine.hpp declares them.

#include "engine.hpp"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <map>
#include <unordered_set>

namespace sdw {

void Hypernets::clear() {
    modules.clear();
    if (buffer != nullptr) {
        ggml_backend_buffer_free(buffer);
        buffer = nullptr;
    }
    if (context != nullptr) {
        ggml_free(context);
        context = nullptr;
    }
    serial++;
}

void Hypernets::set(Device& device, const sdw_hyper_module* list, int count, const sdw_hyper_layer* layers) {
    clear();
    if (count == 0) {
        serial = 0;  // graphs without any are the same again
        return;
    }
    static int64_t sets = 0;
    serial              = ++sets;
    size_t tensors      = 0;
    for (int i = 0; i < count; i++) {
        tensors += 2 * list[i].count;
    }
    context = ggml_init({(tensors + 1) * ggml_tensor_overhead(), nullptr, true});
    std::vector<std::pair<ggml_tensor*, const float*>> values;
    for (int i = 0; i < count; i++) {
        Module module{list[i].dim, list[i].part, list[i].strength, {}};
        for (int k = 0; k < list[i].count; k++) {
            const sdw_hyper_layer& from = layers[list[i].first + k];
            Layer layer{from.kind, nullptr, nullptr};
            if (from.weight != nullptr) {
                const bool linear = from.kind == SDW_HYPER_LINEAR;
                layer.weight      = linear ? ggml_new_tensor_2d(context, GGML_TYPE_F32, from.in, from.out) : ggml_new_tensor_1d(context, GGML_TYPE_F32, from.in);
                layer.bias        = ggml_new_tensor_1d(context, GGML_TYPE_F32, linear ? from.out : from.in);
                values.emplace_back(layer.weight, from.weight);
                values.emplace_back(layer.bias, from.bias);
            }
            module.layers.push_back(layer);
        }
        modules.push_back(std::move(module));
    }
    buffer = ggml_backend_alloc_ctx_tensors(context, device.backend);
    if (buffer == nullptr) {
        clear();
        fail(SDW_OOM, "not enough memory on %s for the hypernetworks", ggml_backend_name(device.backend));
    }
    for (const auto& [tensor, data] : values) {
        ggml_backend_tensor_set(tensor, data, 0, ggml_nbytes(tensor));
    }
}

namespace {

// FrequencyFilter scales the frequencies of planes: all by high, and the low ones by as
// much as the matrices say beside it. They are a real and an imaginary one for each side.
struct FrequencyFilter {
    std::array<ggml_tensor*, 2> across{}, down{};
    float high = 1;
};

// Editor knows the nodes of a graph and makes new ones.
struct Editor {
    ggml_context* ctx;
    std::vector<ggml_tensor*> nodes;  // in no order
    std::map<std::string, ggml_tensor*> products;  // by the weight that they multiply by

    Editor(ggml_context* ctx, ggml_tensor* out) : ctx(ctx) {
        std::unordered_set<ggml_tensor*> seen{out};
        nodes.push_back(out);
        for (size_t i = 0; i < nodes.size(); i++) {
            for (ggml_tensor* source : nodes[i]->src) {
                if (source != nullptr && seen.insert(source).second) {
                    nodes.push_back(source);
                }
            }
        }
        for (ggml_tensor* node : nodes) {
            if (node->op == GGML_OP_MUL_MAT && node->src[0]->op == GGML_OP_NONE) {
                products[ggml_get_name(node->src[0])] = node;
            }
        }
    }

    // product finds the one multiplication by a weight whose name ends so.
    ggml_tensor* product(const std::string& end) {
        for (const auto& [name, node] : products) {
            if (ends_with(name, end)) {
                return node;
            }
        }
        fail(SDW_BROKEN, "the UNet has no layer %s", end.c_str());
    }

    static bool ends_with(const std::string& s, const std::string& end) {
        return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
    }

    // perturb lets the values of the middle's self-attention through where rows is 1.
    void perturb(ggml_tensor* rows) {
        const std::string block = "middle_block.1.transformer_blocks.0.attn1.";
        ggml_tensor* out        = product(block + "to_out.0.weight");
        ggml_tensor* attended   = out->src[1];
        ggml_tensor* values     = product(block + "to_v.weight");
        values                  = ggml_reshape_3d(ctx, values, attended->ne[0], attended->ne[1], attended->ne[2]);
        out->src[1]             = ggml_add(ctx, attended, ggml_mul(ctx, ggml_sub(ctx, values, attended), rows));
    }

    // show lets the cross attention of a block see a picture beside the text. region, if it
    // is not null, has a value for each cell.
    void show(const std::string& block, ggml_tensor* queries, ggml_tensor* keys, ggml_tensor* values, ggml_tensor* region, int heads,
              const GGMLRunnerContext& run) {
        ggml_tensor* out  = product(block + "to_out.0.weight");
        ggml_tensor* seen = ggml_ext_attention_ext(ctx, run.backend, queries, keys, values, heads, nullptr, false, run.flash_attn_enabled);
        if (region != nullptr) {
            seen = ggml_mul(ctx, seen, region);
        }
        out->src[1] = ggml_add(ctx, out->src[1], seen);
    }

    // hyper runs the layers of one module over x.
    ggml_tensor* hyper(const Hypernets::Module& module, ggml_tensor* x, ggml_tensor* strength) {
        ggml_tensor* y = ggml_is_contiguous(x) ? x : ggml_cont(ctx, x);
        for (const Hypernets::Layer& layer : module.layers) {
            switch (layer.kind) {
                case SDW_HYPER_LINEAR:
                    y = ggml_add(ctx, ggml_mul_mat(ctx, layer.weight, y), layer.bias);
                    break;
                case SDW_HYPER_NORM:
                    y = ggml_add(ctx, ggml_mul(ctx, ggml_norm(ctx, y, 1e-5f), layer.weight), layer.bias);
                    break;
                case SDW_HYPER_RELU:
                    y = ggml_relu(ctx, y);
                    break;
                case SDW_HYPER_LEAKY_RELU:
                    y = ggml_leaky_relu(ctx, y, 0.01f, false);
                    break;
                case SDW_HYPER_ELU:
                    y = ggml_elu(ctx, y);
                    break;
                case SDW_HYPER_HARD_SWISH:
                    y = ggml_hardswish(ctx, y);
                    break;
                case SDW_HYPER_TANH:
                    y = ggml_tanh(ctx, y);
                    break;
                case SDW_HYPER_SIGMOID:
                    y = ggml_sigmoid(ctx, y);
                    break;
                case SDW_HYPER_SILU:
                    y = ggml_silu(ctx, y);
                    break;
                case SDW_HYPER_GELU:
                    y = ggml_gelu_erf(ctx, y);
                    break;
                case SDW_HYPER_SOFTSIGN:
                    y = ggml_div(ctx, y, ggml_scale_bias(ctx, ggml_abs(ctx, y), 1.f, 1.f));
                    break;
            }
        }
        return ggml_add(ctx, x, ggml_mul(ctx, y, strength));
    }

    // free_lunch scales what meets at a concatenation: the backbone by channels, whose
    // values are what its factors exceed 1 by, and the frequencies of the skip connection
    // by filter, which may be null for none.
    void free_lunch(ggml_tensor* node, int version, ggml_tensor* channels, const FrequencyFilter* filter) {
        ggml_tensor *h = node->src[0], *skip = node->src[1];
        ggml_tensor* more = ggml_mul(ctx, h, ggml_reshape_4d(ctx, channels, 1, 1, h->ne[2], 1));
        if (version == 2) {
            more = ggml_mul(ctx, more, strength_map(h));
        }
        node->src[0] = ggml_add(ctx, h, more);
        if (filter != nullptr) {
            node->src[1] = filtered(skip, *filter);
        }
    }

    // filtered is a plane of x by a filter: its sides are multiplied by a pair of matrices
    // each, since the real part of a product of complex ones has two terms.
    ggml_tensor* filtered(ggml_tensor* x, const FrequencyFilter& filter) {
        const auto turned = [&](ggml_tensor* t) { return ggml_cont(ctx, ggml_permute(ctx, t, 1, 0, 2, 3)); };
        const auto both   = [&](ggml_tensor* across, ggml_tensor* down) {
            return turned(rows_by(down, turned(rows_by(across, x))));
        };
        x                = ggml_is_contiguous(x) ? x : ggml_cont(ctx, x);
        ggml_tensor* low = ggml_sub(ctx, both(filter.across[0], filter.down[0]), both(filter.across[1], filter.down[1]));
        return ggml_add(ctx, filter.high == 1.f ? x : ggml_scale(ctx, x, filter.high), low);
    }

    // rows_by multiplies every row of all planes by a square matrix. Vulkan takes one
    // matrix for several images only where they are one.
    ggml_tensor* rows_by(ggml_tensor* matrix, ggml_tensor* x) {
        ggml_tensor* rows = ggml_reshape_2d(ctx, x, x->ne[0], ggml_nrows(x));
        return ggml_reshape_4d(ctx, ggml_mul_mat(ctx, matrix, rows), x->ne[0], x->ne[1], x->ne[2], x->ne[3]);
    }

    // strength_map is the mean over the channels, brought to 0..1 in each image.
    ggml_tensor* strength_map(ggml_tensor* h) {
        const int64_t w = h->ne[0], rows = h->ne[1], n = h->ne[3];
        ggml_tensor* by_channel = ggml_cont(ctx, ggml_permute(ctx, h, 1, 2, 0, 3));  // [channels, w, rows, n]
        ggml_tensor* mean       = ggml_reshape_4d(ctx, ggml_mean(ctx, by_channel), w, rows, 1, n);
        auto most               = [&](ggml_tensor* t) { return ggml_pool_2d(ctx, t, GGML_OP_POOL_MAX, w, rows, w, rows, 0, 0); };
        ggml_tensor* low        = ggml_scale(ctx, most(ggml_scale(ctx, mean, -1.f)), -1.f);
        // A map that is flat everywhere, as that of a single cell is, becomes 0 and not 0/0.
        ggml_tensor* range = ggml_clamp(ctx, ggml_sub(ctx, most(mean), low), FLT_MIN, FLT_MAX);
        return ggml_div(ctx, ggml_sub(ctx, mean, low), range);
    }
};

// low_pass are the real and the imaginary part of the matrix that leaves of a side of n
// cells the frequencies -k to k-1, times factor, where k is the given part of half of all
// and at least 1.
std::array<std::vector<float>, 2> low_pass(int64_t n, double part, double factor) {
    const int64_t k     = std::max<int64_t>(1, static_cast<int64_t>(std::floor((n / 2) * part)));
    const int64_t first = std::max(-k, -(n / 2));
    const int64_t end   = std::max<int64_t>(std::min(k, n - n / 2), 1);  // a side of one cell has one frequency
    std::array<std::vector<float>, 2> matrices;
    for (auto& matrix : matrices) {
        matrix.resize(n * n);
    }
    for (int64_t to = 0; to < n; to++) {
        for (int64_t from = 0; from < n; from++) {
            double re = 0, im = 0;
            for (int64_t f = first; f < end; f++) {
                const double turn = 2 * M_PI * static_cast<double>(f * (to - from)) / static_cast<double>(n);
                re += std::cos(turn);
                im += std::sin(turn);
            }
            matrices[0][to * n + from] = static_cast<float>(re * factor / static_cast<double>(n));
            matrices[1][to * n + from] = static_cast<float>(im * factor / static_cast<double>(n));
        }
    }
    return matrices;
}

// channel_window has amount for the channels of the window of a stage, and 0 for others.
std::vector<float> channel_window(const sdw_freeu_stage& stage, int64_t channels) {
    const int64_t from = std::llrint(stage.from * static_cast<double>(channels));
    const int64_t to   = std::llrint(stage.to * static_cast<double>(channels)) + (stage.closed ? 1 : 0);
    std::vector<float> values(channels);
    for (int64_t i = 0; i < channels; i++) {
        const bool inside = from <= i && i < to;
        values[i]         = inside != static_cast<bool>(stage.inverted) ? stage.backbone - 1 : 0;
    }
    return values;
}

// cross_attentions are the blocks that look at the text, in diffusers' order.
std::vector<std::string> cross_attentions() {
    std::vector<std::string> names;
    for (int i : {1, 2, 4, 5, 7, 8}) {
        names.push_back("input_blocks." + std::to_string(i));
    }
    for (int i = 3; i <= 11; i++) {
        names.push_back("output_blocks." + std::to_string(i));
    }
    names.emplace_back("middle_block");
    for (std::string& name : names) {
        name += ".1.transformer_blocks.0.attn2.";
    }
    return names;
}

// Picture is what an input says of one picture.
struct Picture {
    int64_t tokens;
    const float *values, *region;  // region may be null
};

// pictures are those of an input. channels are those of the blocks, together; cells those
// of all maps of a region.
std::vector<Picture> pictures(const sdw_unet_input& in, int64_t channels, int64_t cells) {
    std::vector<Picture> list;
    const float *values = in.image_values, *region = in.image_regions;
    for (int i = 0; i < in.images; i++) {
        list.push_back({in.image_tokens[i], values, region});
        values += 2 * channels * in.image_tokens[i] * in.rows;
        region += region != nullptr ? cells : 0;
    }
    return list;
}

// sides are the widths and heights of the maps of a region.
std::array<std::array<int64_t, 2>, 4> sides(const sdw_unet_input& in) {
    std::array<std::array<int64_t, 2>, 4> list;
    int64_t w = in.w, h = in.h;
    for (auto& side : list) {
        side = {w, h};
        w    = (w + 1) / 2;
        h    = (h + 1) / 2;
    }
    return list;
}

int64_t region_cells(const sdw_unet_input& in) {
    int64_t cells = 0;
    for (const auto& [w, h] : sides(in)) {
        cells += w * h;
    }
    return cells;
}

// show_pictures adds the pictures of an input, whose values come from new inputs of the
// graph. It returns the channels of all blocks together.
template <class Input>
int64_t show_pictures(Editor& editor, const GGMLRunnerContext& run, const sdw_unet_input& in, int heads, Input new_input) {
    const std::vector<std::string> blocks = cross_attentions();
    std::vector<ggml_tensor*> queries;
    int64_t channels = 0;
    for (const std::string& block : blocks) {
        queries.push_back(editor.product(block + "to_q.weight"));
        channels += queries.back()->ne[0];
    }
    for (const Picture& picture : pictures(in, channels, region_cells(in))) {
        ggml_tensor* all     = new_input(2 * channels * picture.tokens * in.rows);
        ggml_tensor* regions = picture.region != nullptr ? new_input(region_cells(in)) : nullptr;
        size_t at            = 0;
        const auto next      = [&](int64_t n) {
            ggml_tensor* part = ggml_view_3d(editor.ctx, all, n, picture.tokens, in.rows, n * sizeof(float), n * picture.tokens * sizeof(float), at);
            at += ggml_nbytes(part);
            return part;
        };
        for (size_t i = 0; i < blocks.size(); i++) {
            ggml_tensor *keys = next(queries[i]->ne[0]), *values = next(queries[i]->ne[0]), *region = nullptr;
            size_t first = 0;
            for (const auto& [w, h] : sides(in)) {
                if (regions != nullptr && region == nullptr && w * h == queries[i]->ne[1]) {
                    region = ggml_view_2d(editor.ctx, regions, 1, w * h, sizeof(float), first * sizeof(float));
                }
                first += w * h;
            }
            editor.show(blocks[i], queries[i], keys, values, region, heads, run);
        }
    }
    return channels;
}

}  // namespace

void UNet::edit(ggml_tensor* out, const sdw_unet_input& in, const Hypernets& hypernets) {
    edit_constants.clear();
    if (in.perturbed == nullptr && in.images == 0 && in.freeu == 0 && hypernets.modules.empty()) {
        return;
    }
    if (config.tiny_unet) {
        fail(SDW_INVALID, "this checkpoint has a reduced UNet, which takes neither FreeU nor perturbed attention nor hypernetworks nor IP-Adapters");
    }
    Editor editor(compute_ctx, out);
    const auto constant = [&](std::vector<float> values, int64_t ne0, int64_t ne1) {
        edit_constants.push_back(std::move(values));
        return input(ne0, ne1);
    };

    if (in.perturbed != nullptr) {
        editor.perturb(input(1, 1, in.rows));
    }
    if (in.images > 0) {
        image_channels = show_pictures(editor, get_context(), in, config.num_heads, [&](int64_t n) { return input(n); });
    }
    if (in.freeu != 0) {
        std::map<int, ggml_tensor*> channels;
        std::map<std::array<int64_t, 3>, FrequencyFilter> filters;
        for (ggml_tensor* node : editor.nodes) {
            if (node->op != GGML_OP_CONCAT || node->op_params[0] != 2) {
                continue;
            }
            const int64_t w = node->ne[0], h = node->ne[1], n = node->src[0]->ne[2], unit = config.model_channels;
            const int number = n == 4 * unit ? 0 : n == 2 * unit ? 1
                : n == unit                                      ? 2
                                                                 : -1;
            if (number < 0) {
                continue;
            }
            const sdw_freeu_stage& stage = in.freeu_stages[number];
            const bool filters_skip      = stage.low != 1 || stage.high != 1;
            if (stage.backbone == 1 && !filters_skip) {
                continue;
            }
            ggml_tensor*& window = channels[number];
            if (window == nullptr) {
                window = constant(channel_window(stage, n), n, 1);
            }
            FrequencyFilter* filter = nullptr;
            if (filters_skip) {
                filter = &filters[{w, h, number}];
                if (filter->across[0] == nullptr) {
                    const auto across = low_pass(w, stage.cutoff, stage.low - stage.high), down = low_pass(h, stage.cutoff, 1);
                    for (int i = 0; i < 2; i++) {
                        filter->across[i] = constant(across[i], w, w);
                        filter->down[i]   = constant(down[i], h, h);
                    }
                    filter->high = stage.high;
                }
            }
            editor.free_lunch(node, in.freeu, window, filter);
        }
    }
    std::map<std::pair<ggml_tensor*, const Hypernets::Module*>, ggml_tensor*> done;
    std::map<const Hypernets::Module*, ggml_tensor*> strengths;
    for (const auto& [name, node] : editor.products) {
        const int part = Editor::ends_with(name, ".to_k.weight") ? 0 : Editor::ends_with(name, ".to_v.weight") ? 1
                                                                                                               : -1;
        for (const Hypernets::Module& module : hypernets.modules) {
            if (module.part != part || module.dim != node->src[1]->ne[0]) {
                continue;
            }
            ggml_tensor*& strength = strengths[&module];
            if (strength == nullptr) {
                strength = constant({module.strength}, 1, 1);
            }
            ggml_tensor*& changed = done[{node->src[1], &module}];
            if (changed == nullptr) {
                changed = editor.hyper(module, node->src[1], strength);
            }
            node->src[1] = changed;
        }
    }
}

void UNet::edit_values(const sdw_unet_input& in, std::vector<const void*>& values) const {
    if (in.perturbed != nullptr) {
        values.push_back(in.perturbed);
    }
    for (const Picture& picture : pictures(in, image_channels, region_cells(in))) {
        values.push_back(picture.values);
        if (picture.region != nullptr) {
            values.push_back(picture.region);
        }
    }
    for (const std::vector<float>& constant : edit_constants) {
        values.push_back(constant.data());
    }
}

}  // namespace sdw

using namespace sdw;

sdw_status sdw_set_hypernets(sdw_engine* e, const sdw_hyper_module* modules, int count, const sdw_hyper_layer* layers, int n_layers, char* err,
                             int cap) {
    return guard(err, cap, [&] {
        for (int i = 0; i < count; i++) {
            if (modules[i].first < 0 || modules[i].count < 0 || modules[i].first + modules[i].count > n_layers) {
                fail(SDW_INVALID, "module %d of the hypernetworks has no layers", i);
            }
        }
        e->unet->drop();  // its graph may read what is freed
        e->hypernets.set(e->device, modules, count, layers);
    });
}
