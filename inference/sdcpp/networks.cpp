//go:build sdcpp

// Text encoder, UNet, VAE and what stands beside them.

#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/vae/tae.hpp"

namespace sdw {

struct PreviewDecoder : Graph<TinyImageAutoEncoder> {
    using Graph::Graph;
};

struct Preview : Module<PreviewDecoder> {};

namespace {

constexpr int chunk_tokens = SDW_CHUNK_TOKENS;
constexpr int text_width   = SDW_TEXT_WIDTH;
constexpr int vocab_size   = SDW_VOCABULARY;

constexpr size_t graph_nodes = 16384; // the UNet has about 3000

// Blocks reaches the protected parts of the engine's building blocks by name.
struct Blocks : GGMLBlock {
    static std::shared_ptr<GGMLBlock> child(GGMLBlock& block, const std::string& name) {
        return (block.*(&Blocks::blocks)).at(name);
    }
    static ggml_tensor* param(GGMLBlock& block, const std::string& name) {
        return (block.*(&Blocks::params)).at(name);
    }
};

// causal_mask hides from each token of a chunk those after it.
const std::vector<float>& causal_mask() {
    static const std::vector<float> mask = [] {
        std::vector<float> m(chunk_tokens * chunk_tokens, 0.f);
        for (int i = 0; i < chunk_tokens; i++) {
            std::fill_n(m.begin() + i * chunk_tokens + i + 1, chunk_tokens - i - 1, -INFINITY);
        }
        return m;
    }();
    return mask;
}

void set_tiling(GGMLRunner& runner, bool tiling) { runner.set_circular_axes(tiling, tiling); }

}  // namespace

void Text::encode(Device& device, const sdw_text_input& in, float* out) {
    const int n       = in.n_chunks * chunk_tokens;
    const bool custom = in.n_vectors > 0;

    prepare(device, {in.n_chunks, in.skip, custom}, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
        auto context    = get_context();
        auto encoder    = std::dynamic_pointer_cast<CLIPEncoder>(Blocks::child(model, "encoder"));
        auto norm       = std::dynamic_pointer_cast<LayerNorm>(Blocks::child(model, "final_layer_norm"));
        auto embeddings = Blocks::child(model, "embeddings");

        ggml_tensor* tokens = input(n, 1, 1, 1, GGML_TYPE_I32);
        ggml_tensor* x      = ggml_get_rows(compute_ctx, Blocks::param(*embeddings, "token_embedding.weight"), tokens);
        x                   = ggml_reshape_3d(compute_ctx, x, text_width, chunk_tokens, in.n_chunks);
        if (custom) {
            ggml_tensor* keep = input(1, chunk_tokens, in.n_chunks);
            ggml_tensor* put  = input(text_width, chunk_tokens, in.n_chunks);
            x                 = ggml_add(compute_ctx, ggml_mul(compute_ctx, x, keep), put);
        }
        x = ggml_add(compute_ctx, x, Blocks::param(*embeddings, "position_embedding.weight"));

        x = encoder->forward(&context, x, input(chunk_tokens, chunk_tokens), in.skip);
        return {norm->forward(&context, x)};
    });

    std::vector<int32_t> rows(in.ids, in.ids + n);
    std::vector<float> keep, put;
    std::vector<const void*> values{rows.data()};
    if (custom) {
        keep.assign(n, 1.f);
        put.assign(static_cast<size_t>(n) * text_width, 0.f);
        for (int i = 0; i < n; i++) {
            if (rows[i] >= vocab_size) {
                memcpy(&put[static_cast<size_t>(i) * text_width], in.vectors + static_cast<size_t>(rows[i] - vocab_size) * text_width,
                       text_width * sizeof(float));
                keep[i] = 0.f;
                rows[i] = 0;
            }
        }
        values.push_back(keep.data());
        values.push_back(put.data());
    }
    values.push_back(causal_mask().data());
    run(device, values);
    result(device, 0, out);
}

const std::vector<float>& Control::guide(Device& device, const float* hint, int h, int w, bool tiling) {
    const size_t n = static_cast<size_t>(3) * 64 * h * w;
    for (auto it = hints.begin(); it != hints.end(); ++it) {
        if (it->h == h && it->w == w && it->tiling == tiling && std::equal(hint, hint + n, it->pixels.begin())) {
            hints.splice(hints.begin(), hints, it);
            return hints.front().features;
        }
    }
    prepare(device, {0, h, w, tiling}, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
        set_tiling(*this, tiling);
        auto context         = get_context();
        ggml_tensor* picture = input(8 * w, 8 * h, 3);
        return {control_net.input_hint_block_forward(&context, picture, nullptr, nullptr)};
    });
    Hint made{h, w, tiling, {hint, hint + n}, std::vector<float>(ggml_nelements(outputs[0]))};
    run(device, {hint});
    result(device, 0, made.features.data());
    hints.push_front(std::move(made));
    if (hints.size() > 4) {
        hints.pop_back();
    }
    return hints.front().features;
}

}  // namespace sdw

using namespace sdw;

sdw_status sdw_text(sdw_engine* e, sdw_text_input in, float* out, char* err, int cap) {
    return guard(err, cap, [&] { e->text->encode(e->device, in, out); });
}

sdw_status sdw_load_control(sdw_engine* e, int slot, const sdw_file* file, char* err, int cap) {
    return guard(err, cap, [&] {
        e->controls[slot].reset(); // before another one needs its room
        e->controls[slot] = load_module<Module<Control>>(e->device, *file, {"ControlNet", "", true, true}, [&](const auto& map, const auto& weights) {
            const int width = static_cast<int>(map.at("input_blocks.0.0.weight").ne[3]);
            if (width != e->unet->config.model_channels) {
                fail(SDW_INVALID, "%s is a ControlNet of width %d, the checkpoint has width %d", file->path, width, e->unet->config.model_channels);
            }
            return std::make_unique<Control>(e->device.backend, e->device.backend, map, VERSION_SD1, "", weights);
        });
    });
}

sdw_status sdw_control(sdw_engine* e, sdw_unet_input in, sdw_control_unit unit, int first, char* err, int cap) {
    return guard(err, cap, [&] {
        if (first) {
            e->residuals.clear();
        }
        if (e->unet->config.tiny_unet) {
            fail(SDW_INVALID, "this checkpoint has a reduced UNet, which takes no ControlNet");
        }
        Control& net         = *e->controls[unit.slot]->runner;
        const auto& features = net.guide(e->device, unit.hint, in.h, in.w, in.tiling);

        net.prepare(e->device, {1, in.rows, in.h, in.w, in.tokens, in.tiling}, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
            set_tiling(net, in.tiling);
            auto run_context     = net.get_context();
            ggml_tensor* x       = net.input(in.w, in.h, 4, in.rows);
            ggml_tensor* t       = net.input(in.rows);
            ggml_tensor* text    = net.input(text_width, in.tokens, in.rows);
            ggml_tensor* guiding = net.input(in.w, in.h, net.control_net.model_channels);
            auto outs            = net.control_net.forward(&run_context, x, nullptr, guiding, t, text);
            outs.erase(outs.begin()); // the hint's features
            return outs;
        });

        // An inpainting checkpoint's mask channels are not for the ControlNet.
        const size_t area = static_cast<size_t>(in.h) * in.w;
        std::vector<float> four;
        const float* x = in.latent;
        if (in.channels != 4) {
            four.resize(4 * area * in.rows);
            for (int i = 0; i < in.rows; i++) {
                memcpy(&four[4 * area * i], in.latent + in.channels * area * i, 4 * area * sizeof(float));
            }
            x = four.data();
        }
        net.run(e->device, {x, in.timestep, in.context, features.data()});

        e->residuals.resize(net.outputs.size());
        std::vector<float> values;
        const float* region = unit.region;
        size_t plane        = 0;
        for (size_t i = 0; i < net.outputs.size(); i++) {
            Residual& sum      = e->residuals[i];
            const size_t cells = net.outputs[i]->ne[0] * net.outputs[i]->ne[1];
            if (region != nullptr && plane != 0 && i % 3 == 0 && i < 12) { // three residuals of each size, and the middle one of the smallest
                region += plane;
            }
            plane = cells;
            values.resize(ggml_nelements(net.outputs[i]));
            net.result(e->device, i, values.data());
            std::copy_n(net.outputs[i]->ne, 4, sum.ne);
            sum.values.resize(values.size());
            const size_t row = values.size() / in.rows;
            for (int r = 0; r < in.rows; r++) {
                const float scale = unit.rows[r] * unit.layers[i];
                for (size_t j = r * row; j < (r + 1) * row; j++) {
                    sum.values[j] += (region != nullptr ? scale * region[j % cells] : scale) * values[j];
                }
            }
        }
    });
}

sdw_status sdw_unet(sdw_engine* e, sdw_unet_input in, int control, float* out, char* err, int cap) {
    return guard(err, cap, [&] {
        UNet& net    = *e->unet;
        net.contexts = &net.texts;
        std::vector<int64_t> key{in.rows, in.channels, in.h, in.w, in.tokens, in.tiling, control, in.perturbed != nullptr, in.freeu, e->hypernets.serial};
        for (const sdw_freeu_stage& s : in.freeu_stages) {
            for (double v : {static_cast<double>(s.backbone), s.from, s.to, static_cast<double>(s.low), static_cast<double>(s.high), s.cutoff}) {
                key.push_back(std::llrint(v * 1e6));
            }
            key.push_back(s.inverted + 2 * s.closed);
        }
        key.insert(key.end(), in.image_tokens, in.image_tokens + in.images);
        key.push_back(in.image_regions != nullptr);
        net.prepare(e->device, key, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
            set_tiling(net, in.tiling);
            auto run_context  = net.get_context();
            ggml_tensor* x    = net.input(in.w, in.h, in.channels, in.rows);
            ggml_tensor* t    = net.input(in.rows);
            ggml_tensor* text = net.input(text_width, in.tokens, in.rows);
            net.texts.input(text);
            std::vector<ggml_tensor*> controls;
            if (control) {
                for (const Residual& r : e->residuals) {
                    controls.push_back(net.input(r.ne[0], r.ne[1], r.ne[2], r.ne[3]));
                }
            }
            ggml_tensor* out = net.unet.forward(&run_context, x, t, text, nullptr, nullptr, in.rows, controls, 1.f);
            net.edit(out, in, e->hypernets);
            return {out};
        });
        std::vector<const void*> values{in.latent, in.timestep, in.context};
        if (control) {
            for (const Residual& r : e->residuals) {
                values.push_back(r.values.data());
            }
        }
        net.edit_values(in, values);
        net.texts.begin(in.context);
        net.run(e->device, values);
        net.texts.end();
        net.result(e->device, 0, out);
    });
}

sdw_status sdw_encode(sdw_engine* e, const float* pixels, int h, int w, int tiling, float* out, char* err, int cap) {
    return guard(err, cap, [&] {
        Autoencoder& net = e->autoencoder();
        net.prepare(e->device, {0, h, w, tiling}, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
            set_tiling(net, tiling);
            auto run_context = net.get_context();
            return {net.ae.encode(&run_context, net.input(w, h, 3))};
        });
        std::vector<float> signal(static_cast<size_t>(3) * h * w);
        std::transform(pixels, pixels + signal.size(), signal.begin(), [](float v) { return 2 * v - 1; });
        net.run(e->device, {signal.data()});
        net.result(e->device, 0, out);
    });
}

sdw_status sdw_decode(sdw_engine* e, const float* latent, int h, int w, int tiling, float* out, char* err, int cap) {
    return guard(err, cap, [&] {
        Autoencoder& net = e->autoencoder();
        net.prepare(e->device, {1, h, w, tiling}, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
            set_tiling(net, tiling);
            auto run_context = net.get_context();
            return {net.ae.decode(&run_context, net.input(w, h, 4))};
        });
        net.run(e->device, {latent});
        net.result(e->device, 0, out);
        std::transform(out, out + static_cast<size_t>(3) * 64 * h * w, out,
                       [](float v) { return std::min(std::max((v + 1) / 2, 0.f), 1.f); });
    });
}

sdw_status sdw_set_vae(sdw_engine* e, const sdw_file* file, char* err, int cap) {
    return guard(err, cap, [&] {
        if (file == nullptr) {
            e->other_vae.reset();
            return;
        }
        auto module = load_module<Module<Autoencoder>>(e->device, *file, {"VAE", "first_stage_model.", true, true}, [&](const auto& map, const auto& weights) {
            return std::make_unique<Autoencoder>(e->device.backend, map, "first_stage_model", false, false, VERSION_SD1, weights);
        });
        if (e->vae) {
            e->vae->drop();
        }
        e->other_vae = std::move(module);
    });
}

sdw_status sdw_load_preview(sdw_engine* e, const sdw_file* file, char* err, int cap) {
    return guard(err, cap, [&] {
        e->preview = load_module<Preview>(e->device, *file, {"TAESD decoder", "tae.", false, false}, [&](const auto& map, const auto& weights) {
            return std::make_unique<PreviewDecoder>(e->device.backend, map, "tae", true, VERSION_SD1, weights);
        });
    });
}

sdw_status sdw_preview(sdw_engine* e, const float* latent, int h, int w, float* out, char* err, int cap) {
    return guard(err, cap, [&] {
        PreviewDecoder& net = *e->preview->runner;
        net.prepare(e->device, {h, w}, graph_nodes, [&]() -> std::vector<ggml_tensor*> {
            auto run_context = net.get_context();
            return {net.taesd.decode(&run_context, net.input(w, h, 4))};
        });
        net.run(e->device, {latent});
        net.result(e->device, 0, out);
        std::transform(out, out + static_cast<size_t>(3) * 64 * h * w, out, [](float v) { return std::min(std::max(v, 0.f), 1.f); });
    });
}

namespace {

// each calls f with the runner of every network in graphs that there is.
template <class F>
void each(sdw_engine* e, int graphs, F f) {
    if (graphs & SDW_GRAPH_TEXT) {
        f(*e->text);
    }
    if (graphs & SDW_GRAPH_UNET) {
        f(*e->unet);
    }
    if (graphs & SDW_GRAPH_CONTROL) {
        for (auto& control : e->controls) {
            if (control) {
                f(*control->runner);
            }
        }
    }
    if (graphs & SDW_GRAPH_VAE && (e->vae || e->other_vae)) {
        f(e->autoencoder());
    }
    if (graphs & SDW_GRAPH_PREVIEW && e->preview) {
        f(*e->preview->runner);
    }
}

}  // namespace

uint64_t sdw_held(sdw_engine* e, int graphs) {
    uint64_t bytes = 0;
    each(e, graphs, [&](auto& network) { bytes += network.reserved(); });
    return bytes;
}

void sdw_rest(sdw_engine* e, int graphs) {
    each(e, graphs, [](auto& network) { network.drop(); });
}

void sdw_drop_control(sdw_engine* e, int slot) { e->controls[slot].reset(); }
