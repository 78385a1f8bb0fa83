//go:build sdcpp

// Merging adapters into the weights of text encoder and UNet.
//
// The engine can merge by itself, but it asserts where a file does not fit, gets
// Kronecker adapters wrong and releases every weight when the set changes. Here
// shapes are checked first, the sums are float32 and only the weights that an
// adapter touches are read again from the checkpoint.

#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

namespace sdw {

namespace {

// Part is one array of an adapter file, row-major, slowest axis first.
struct Part {
    std::vector<int64_t> shape;
    std::vector<float> values;
    int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
    int64_t count() const { return static_cast<int64_t>(values.size()); }
};

// Adapter is what a file says about one weight: parts by their role, such as
// lora_up or alpha.
using Adapter = std::map<std::string, Part>;

// Matrix is a dense row-major matrix.
struct Matrix {
    int64_t rows = 0, cols = 0;
    std::vector<float> at;
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
void add_scaled(float* __restrict sum, const float* __restrict row, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        sum[i] += scale * row[i];
    }
}

// multiply returns a[n][rank] * b[rank][m].
Matrix multiply(const Part& a, const Part& b, int64_t rank, const std::string& name) {
    if (rank <= 0 || a.count() % rank != 0 || b.count() % rank != 0) {
        fail(SDW_INVALID, "the two factors for %s do not fit each other", name.c_str());
    }
    Matrix out{a.count() / rank, b.count() / rank, {}};
    out.at.assign(out.rows * out.cols, 0.f);
    for (int64_t i = 0; i < out.rows; i++) {
        for (int64_t r = 0; r < rank; r++) {
            add_scaled(&out.at[i * out.cols], &b.values[r * out.cols], a.values[i * rank + r], out.cols);
        }
    }
    return out;
}

// unfold multiplies a Tucker core[n][m][kernel] by up[out][n] and down[m][in] to
// [out][in*kernel].
Matrix unfold(const Part& core, const Part& up, const Part& down, const std::string& name) {
    if (core.shape.size() < 3) {
        fail(SDW_INVALID, "the core of the factors for %s is not a convolution", name.c_str());
    }
    const int64_t n = core.shape[0], m = core.shape[1], kernel = core.count() / (n * m);
    if (n <= 0 || m <= 0 || up.count() % n != 0 || down.count() % m != 0) {
        fail(SDW_INVALID, "the core of the factors for %s does not fit them", name.c_str());
    }
    const int64_t outs = up.count() / n, ins = down.count() / m;
    Matrix out{outs, ins * kernel, {}};
    out.at.assign(out.rows * out.cols, 0.f);
    std::vector<float> mixed(m * kernel);
    for (int64_t o = 0; o < outs; o++) {
        std::fill(mixed.begin(), mixed.end(), 0.f);
        for (int64_t i = 0; i < n; i++) {
            add_scaled(mixed.data(), &core.values[i * m * kernel], up.values[o * n + i], m * kernel);
        }
        for (int64_t j = 0; j < m; j++) {
            for (int64_t i = 0; i < ins; i++) {
                add_scaled(&out.at[o * out.cols + i * kernel], &mixed[j * kernel], down.values[j * ins + i], kernel);
            }
        }
    }
    return out;
}

Part transposed(const Part& p) {
    const int64_t rows = p.rows(), cols = p.count() / rows;
    Part out{{cols, rows}, std::vector<float>(p.values.size())};
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            out.values[j * rows + i] = p.values[i * cols + j];
        }
    }
    return out;
}

const Part* find(const Adapter& a, const char* role) {
    auto it = a.find(role);
    return it == a.end() ? nullptr : &it->second;
}

const Part& need(const Adapter& a, const char* role, const std::string& name) {
    const Part* p = find(a, role);
    if (p == nullptr) {
        fail(SDW_INVALID, "the part %s for %s is missing", role, name.c_str());
    }
    return *p;
}

// hadamard_factor is one of the two factors of a LoHa.
Matrix hadamard_factor(const Adapter& a, const char* up, const char* down, const char* core, const std::string& name) {
    const Part &u = need(a, up, name), &d = need(a, down, name);
    if (const Part* c = find(a, core)) {
        return unfold(*c, transposed(u), d, name); // here the up factor is stored [n][out]
    }
    return multiply(u, d, d.rows(), name);
}

// kronecker_factor is one of the two factors of a LoKr, whole or in parts, with
// the rank in *rank if it is in parts.
Part kronecker_factor(const Adapter& a, const std::string& base, const std::string& name, int64_t* rank) {
    if (const Part* whole = find(a, base.c_str())) {
        return *whole;
    }
    const Part &up = need(a, (base + "_a").c_str(), name), &down = need(a, (base + "_b").c_str(), name);
    *rank           = down.rows();
    Matrix m        = multiply(up, down, *rank, name);
    std::vector<int64_t> shape{m.rows};
    shape.insert(shape.end(), down.shape.begin() + 1, down.shape.end());
    return {shape, std::move(m.at)};
}

// kronecker returns the product of a[ra][ca] and b[rb][cb][kernel].
Matrix kronecker(const Part& a, const Part& b, const std::string& name) {
    if (a.shape.size() < 2 || b.shape.size() < 2) {
        fail(SDW_INVALID, "the Kronecker factors for %s are not matrices", name.c_str());
    }
    const int64_t ra = a.shape[0], ca = a.shape[1], rb = b.shape[0], cb = b.shape[1];
    const int64_t kernel = b.count() / (rb * cb);
    if (a.count() != ra * ca) {
        fail(SDW_INVALID, "the first Kronecker factor for %s is not a matrix", name.c_str());
    }
    Matrix out{ra * rb, ca * cb * kernel, {}};
    out.at.assign(out.rows * out.cols, 0.f);
    for (int64_t i = 0; i < ra; i++) {
        for (int64_t j = 0; j < ca; j++) {
            for (int64_t k = 0; k < rb; k++) {
                add_scaled(&out.at[((i * rb + k) * ca + j) * cb * kernel], &b.values[k * cb * kernel], a.values[i * ca + j], cb * kernel);
            }
        }
    }
    return out;
}

// difference returns what an adapter adds to a weight at strength 1, flat.
std::vector<float> difference(const Adapter& a, const std::string& name) {
    Matrix m;
    int64_t rank = 0;
    if (find(a, "lora_up") != nullptr || find(a, "lora_down") != nullptr) {
        const Part &up = need(a, "lora_up", name), &down = need(a, "lora_down", name);
        rank           = down.rows();
        const Part* core = find(a, "lora_mid");
        m = core != nullptr ? unfold(*core, up, down, name) : multiply(up, down, rank, name);
    } else if (const Part* whole = find(a, "diff")) {
        return whole->values;
    } else if (find(a, "hada_w1_a") != nullptr) {
        m           = hadamard_factor(a, "hada_w1_a", "hada_w1_b", "hada_t1", name);
        Matrix with = hadamard_factor(a, "hada_w2_a", "hada_w2_b", "hada_t2", name);
        if (m.rows != with.rows || m.cols != with.cols) {
            fail(SDW_INVALID, "the Hadamard factors for %s do not fit each other", name.c_str());
        }
        std::transform(m.at.begin(), m.at.end(), with.at.begin(), m.at.begin(), std::multiplies<float>());
        rank = need(a, "hada_w1_b", name).rows();
    } else {
        Part first  = kronecker_factor(a, "lokr_w1", name, &rank);
        Part second = kronecker_factor(a, "lokr_w2", name, &rank);
        m           = kronecker(first, second, name);
    }
    float scale = 1;
    if (const Part* given = find(a, "scale")) {
        scale = given->values[0];
    } else if (const Part* alpha = find(a, "alpha"); alpha != nullptr && rank > 0) {
        scale = alpha->values[0] / rank;
    }
    if (scale != 1) {
        for (float& v : m.at) {
            v *= scale;
        }
    }
    return std::move(m.at);
}

// weight_name returns the checkpoint's name for a weight of an adapter file. The
// engine's conversion leaves some names of the diffusers library as they are,
// with the underscores turned into dots.
std::string weight_name(std::string name) {
    static const std::pair<const char*, const char*> renamed[] = {
        {"text.encoder.", "cond_stage_model.transformer."},
        {"model.diffusion_model.conv_in.", "model.diffusion_model.input_blocks.0.0."},
        {"model.diffusion_model.conv_out.", "model.diffusion_model.out.2."},
        {"model.diffusion_model.time.embed.", "model.diffusion_model.time_embed."},
        {"model.diffusion_model.time_embedding.linear.1.", "model.diffusion_model.time_embed.0."},
        {"model.diffusion_model.time_embedding.linear.2.", "model.diffusion_model.time_embed.2."},
    };
    for (const auto& [from, to] : renamed) {
        if (starts_with(name, from)) {
            return to + name.substr(strlen(from));
        }
    }
    return name;
}

// read_file reads an adapter file: by weight of the model, then by role.
std::map<std::string, Adapter> read_file(const std::string& file, SDVersion version, int threads) {
    ModelLoader loader;
    loader.set_n_threads(threads);
    read_header(loader, file, "LoRA", "lora.", version);
    std::map<std::string, Adapter> adapters;
    std::map<std::string, ggml_tensor> targets;
    for (const auto& [name, storage] : loader.get_tensor_storage_map()) {
        size_t begin = strlen("lora."), dot = name.rfind('.');
        if (!starts_with(name, "lora.") || dot <= begin || storage.nelements() <= 0 || storage.n_dims > 4) {
            continue;
        }
        Part part;
        for (int i = storage.n_dims - 1; i >= 0; i--) {
            part.shape.push_back(storage.ne[i]);
        }
        part.values.resize(storage.nelements());
        Part& kept = adapters[weight_name(name.substr(begin, dot - begin))][name.substr(dot + 1)] = std::move(part);
        ggml_tensor target{};
        target.type = GGML_TYPE_F32;
        size_t size = sizeof(float);
        for (int i = 0; i < 4; i++) {
            target.ne[i] = storage.ne[i];
            target.nb[i] = size;
            size *= storage.ne[i];
        }
        target.data   = kept.values.data();
        targets[name] = target;
    }
    auto give = [&](const TensorStorage& storage, ggml_tensor** out) {
        auto it = targets.find(storage.name);
        *out    = it == targets.end() ? nullptr : &it->second;
        return true;
    };
    if (!loader.load_tensors(give)) {
        fail(SDW_INVALID, "%s is not readable as a LoRA: %s", file.c_str(), first_error().c_str());
    }
    return adapters;
}

// add adds scale*delta to a weight on the device.
void add(ggml_tensor* weight, const std::vector<float>& delta, float scale) {
    const size_t n = delta.size();
    std::vector<float> sum(n);
    if (weight->type == GGML_TYPE_F32) {
        ggml_backend_tensor_get(weight, sum.data(), 0, n * sizeof(float));
        add_scaled(sum.data(), delta.data(), scale, n);
        ggml_backend_tensor_set(weight, sum.data(), 0, n * sizeof(float));
        return;
    }
    std::vector<ggml_fp16_t> half(n);
    ggml_backend_tensor_get(weight, half.data(), 0, n * sizeof(ggml_fp16_t));
    ggml_fp16_to_fp32_row(half.data(), sum.data(), n);
    add_scaled(sum.data(), delta.data(), scale, n);
    ggml_fp32_to_fp16_row(sum.data(), half.data(), n);
    ggml_backend_tensor_set(weight, half.data(), 0, n * sizeof(ggml_fp16_t));
}

}  // namespace

void LoRAs::restore(Device& device, const std::string& checkpoint, std::map<std::string, ggml_tensor*>& model) {
    if (touched.empty()) {
        return;
    }
    if (!originals) {
        // Not the loader of the weights: on the CPU its mapping of the file is what
        // the merged weights were written to.
        auto loader = std::make_unique<ModelLoader>();
        read_header(*loader, checkpoint, "checkpoint");
        originals = std::move(loader);
    }
    originals->set_n_threads(device.threads);
    std::map<std::string, ggml_tensor> targets;
    for (const std::string& name : touched) {
        ggml_tensor target = *model.at(name);
        if (ggml_backend_buffer_is_host(target.buffer)) {
            target.buffer = nullptr; // write straight to its memory
        }
        targets[name] = target;
    }
    auto give = [&](const TensorStorage& storage, ggml_tensor** out) {
        auto it = targets.find(storage.name);
        *out    = it == targets.end() ? nullptr : &it->second;
        return true;
    };
    if (!originals->load_tensors(give, false, &touched)) {
        fail(SDW_BROKEN, "%s cannot be read again: %s", checkpoint.c_str(), first_error().c_str());
    }
    touched.clear();
}

void LoRAs::apply(Device& device, const std::string& checkpoint, std::map<std::string, ggml_tensor*>& model, SDVersion version,
                  const std::vector<Spec>& specs) {
    restore(device, checkpoint, model);
    for (const Spec& spec : specs) {
        auto adapters = read_file(spec.file, version, device.threads);

        struct Work {
            const std::string* name;
            const Adapter* adapter;
            ggml_tensor* weight;
            float strength;
        };
        std::vector<Work> work;
        size_t unknown = 0;
        for (const auto& [name, adapter] : adapters) {
            auto it = model.find(name);
            if (it == model.end()) {
                unknown++;
                continue;
            }
            float strength = starts_with(name, "cond_stage_model.") ? spec.text : spec.unet;
            if (strength != 0) {
                work.push_back({&name, &adapter, it->second, strength});
            }
        }
        if (unknown == adapters.size()) {
            fail(SDW_INVALID, "%s has nothing for this checkpoint: it is not a LoRA for Stable Diffusion 1.x", spec.file.c_str());
        }
        if (unknown > 0) {
            LOG_WARN("%s: %zu of %zu weights are unknown to this checkpoint", spec.file.c_str(), unknown, adapters.size());
        }
        for (const Work& w : work) {
            touched.insert(*w.name);
        }

        std::atomic<size_t> next{0};
        std::mutex failed_mutex;
        std::unique_ptr<Failure> failed;
        auto worker = [&] {
            for (size_t i; (i = next++) < work.size() && !device.cancel;) {
                try {
                    std::vector<float> delta = difference(*work[i].adapter, *work[i].name);
                    if (static_cast<int64_t>(delta.size()) != ggml_nelements(work[i].weight)) {
                        fail(SDW_INVALID, "%s: the shape for %s is not the checkpoint's; it is a LoRA for another kind of model",
                             spec.file.c_str(), work[i].name->c_str());
                    }
                    add(work[i].weight, delta, work[i].strength);
                } catch (const Failure& f) {
                    std::lock_guard<std::mutex> lock(failed_mutex);
                    failed = std::make_unique<Failure>(f);
                    next   = work.size();
                } catch (const std::exception& e) {
                    std::lock_guard<std::mutex> lock(failed_mutex);
                    failed = std::make_unique<Failure>(Failure{SDW_OOM, e.what()});
                    next   = work.size();
                }
            }
        };
        std::vector<std::thread> threads;
        for (int i = 0; i < device.threads; i++) {
            threads.emplace_back(worker);
        }
        for (auto& t : threads) {
            t.join();
        }
        if (failed) {
            throw *failed;
        }
        if (device.cancel) {
            fail(SDW_CANCELED, "canceled");
        }
    }
}

}  // namespace sdw

using namespace sdw;

sdw_status sdw_set_loras(sdw_engine* e, const char* const* files, const float* unet, const float* text, int n, char* err, int cap) {
    return guard(err, cap, [&] {
        std::vector<LoRAs::Spec> specs;
        for (int i = 0; i < n; i++) {
            specs.push_back({files[i], unet[i], text[i]});
        }
        try {
            e->loras.apply(e->device, e->checkpoint, e->tensors, e->version, specs);
        } catch (...) {
            e->loras.apply(e->device, e->checkpoint, e->tensors, e->version, {}); // none rather than some
            throw;
        }
    });
}
