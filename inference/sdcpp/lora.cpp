//go:build sdcpp

// Access to the weights of text encoder and UNet, and the arithmetic that merging
// adapters into them needs. What is merged how is decided in Go.

#include "engine.hpp"

#include <cstring>

#include "merge.h"

namespace sdw {

void LoRAs::list(const std::string& checkpoint, const ModelLoader& source, const std::map<std::string, ggml_tensor*>& model) {
    if (originals) {
        return;
    }
    // Not the loader of the weights: on the CPU its mapping of the file is what the
    // merged weights are written to.
    auto loader = std::make_unique<ModelLoader>();
    copy_tensors(*loader, source, checkpoint);
    const auto& stored = loader->get_tensor_storage_map();
    for (const auto& [name, tensor] : model) {
        auto it = stored.find(name);
        weights.push_back({name, tensor, it == stored.end() ? nullptr : &it->second});
    }
    originals = std::move(loader);
}

void LoRAs::restore(Device& device, const int32_t* which, int n) {
    std::map<std::string, ggml_tensor> targets;
    std::set<std::string> names;
    for (int i = 0; i < n; i++) {
        const Weight& w    = weights.at(which[i]);
        ggml_tensor target = *w.tensor;
        if (ggml_backend_buffer_is_host(target.buffer)) {
            target.buffer = nullptr; // write straight to its memory
        }
        targets[w.name] = target;
        names.insert(w.name);
    }
    auto give = [&](const TensorStorage& storage, ggml_tensor** out) {
        auto it = targets.find(storage.name);
        *out    = it == targets.end() ? nullptr : &it->second;
        return true;
    };
    originals->set_n_threads(device.threads);
    if (!originals->load_tensors(give, false, &names)) {
        fail(SDW_BROKEN, "the weights cannot be read again: %s", first_error().c_str());
    }
}

}  // namespace sdw

using namespace sdw;

sdw_status sdw_list_weights(sdw_engine* e, int* n, char* err, int cap) {
    return guard(err, cap, [&] {
        e->loras.list(e->checkpoint, e->weights->loader(), e->tensors);
        *n = static_cast<int>(e->loras.weights.size());
    });
}

void sdw_weight_info(const sdw_engine* e, int i, sdw_weight* out) {
    const LoRAs::Weight& w = e->loras.weights[i];
    *out                   = {};
    snprintf(out->name, sizeof out->name, "%s", w.name.c_str());
    out->dims = ggml_n_dims(w.tensor);
    for (int d = 0; d < 4; d++) {
        out->ne[d] = w.tensor->ne[d];
    }
    auto type_of = [](ggml_type type) {
        switch (type) {
            case GGML_TYPE_F32: return SDW_F32;
            case GGML_TYPE_F16: return SDW_F16;
            case GGML_TYPE_BF16: return SDW_BF16;
            default: return SDW_OTHER;
        }
    };
    out->type   = type_of(w.tensor->type);
    out->stored = SDW_OTHER;
    if (const TensorStorage* s = w.storage; s != nullptr && s->index_in_zip < 0 && s->file_index == 0 && !s->is_f8_e4m3 && !s->is_f8_e5m2 &&
        !s->is_f64 && !s->is_i64 && s->nelements() == ggml_nelements(w.tensor)) {
        out->stored = type_of(s->type);
        out->offset = s->offset;
    }
}

sdw_status sdw_restore_weights(sdw_engine* e, const int32_t* which, int n, char* err, int cap) {
    e->unet->texts.forget();
    return guard(err, cap, [&] { e->loras.restore(e->device, which, n); });
}

void sdw_read_weight(const sdw_engine* e, int i, void* values, size_t offset, size_t bytes) {
    ggml_backend_tensor_get(e->loras.weights[i].tensor, values, offset, bytes);
}

bool sdw_write_weight(const sdw_engine* e, int i, const float* values, int64_t first, int64_t n, float most, void* scratch) {
    e->unet->texts.forget();
    ggml_tensor* w      = e->loras.weights[i].tensor;
    const int type      = w->type == GGML_TYPE_F16 ? SDW_F16 : SDW_F32;
    const size_t offset = first * ggml_type_size(w->type);
    if (ggml_backend_buffer_is_host(w->buffer)) { // then its memory can be written to
        return sdw_store(static_cast<char*>(w->data) + offset, values, n, type, most);
    }
    sdw_narrow(scratch, values, n, type);
    ggml_backend_tensor_set(w, scratch, offset, n * ggml_type_size(w->type));
    return sdw_within(values, n, most);
}
