//go:build sdcpp

// From the list of a file's tensors to weights on a device.

#include "engine.hpp"

#include <algorithm>
#include <cstring>

namespace sdw {

namespace {

// storage_of describes a tensor to the engine, which reads a few types as others.
TensorStorage storage_of(const sdw_tensor& t, const std::string& prefix) {
    static const struct {
        const char* name;
        ggml_type type;
        bool TensorStorage::* is;
    } widened[] = {
        {"F64", GGML_TYPE_F32, &TensorStorage::is_f64},
        {"F8_E4M3", GGML_TYPE_F16, &TensorStorage::is_f8_e4m3},
        {"F8_E5M2", GGML_TYPE_F16, &TensorStorage::is_f8_e5m2},
    };
    TensorStorage storage(prefix + t.name, GGML_TYPE_COUNT, t.ne, t.rank, 0, t.offset);
    storage.n_dims = std::max(t.rank, 1); // a scalar
    for (const auto& w : widened) {
        if (strcmp(w.name, t.type) == 0) {
            storage.type  = w.type;
            storage.*w.is = true;
            return storage;
        }
    }
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const char* known = ggml_type_name(static_cast<ggml_type>(i));
        if (known != nullptr && strcasecmp(known, t.type) == 0) {
            storage.type = static_cast<ggml_type>(i);
            return storage;
        }
    }
    fail(SDW_INVALID, "the engine knows no type %s", t.type);
}

// Loader reaches the protected parts of the engine's loader.
struct Loader : ModelLoader {
    static void add_file(ModelLoader& loader, const std::string& path) { (loader.*(&Loader::add_file_path))(path); }
};

}  // namespace

bool read_tensors(ModelLoader& loader, const sdw_file& file, const std::string& prefix) {
    Loader::add_file(loader, file.path);
    bool aligned = true;
    for (int i = 0; i < file.count; i++) {
        TensorStorage storage                         = storage_of(file.tensors[i], prefix);
        const size_t unit                             = ggml_is_quantized(storage.type) ? sizeof(ggml_fp16_t) : ggml_type_size(storage.type);
        aligned                                       = aligned && storage.offset % unit == 0;
        loader.get_tensor_storage_map()[storage.name] = storage;
    }
    return aligned;
}

const String2TensorStorage& read_header(ModelManager& weights, const Device& device, const sdw_file& file, const Reading& how) {
    ModelLoader& loader = weights.loader();
    weights.set_n_threads(device.threads);
    const bool aligned = read_tensors(loader, file, how.prefix);
    weights.set_enable_mmap(how.mapped && device.cpu && aligned);
    if (how.half) {
        loader.set_wtype_override(GGML_TYPE_F16);
    }
    return loader.get_tensor_storage_map();
}

void copy_tensors(ModelLoader& loader, const ModelLoader& from, const std::string& file) {
    Loader::add_file(loader, file);
    for (const auto& [name, storage] : from.get_tensor_storage_map()) {
        loader.get_tensor_storage_map()[name] = storage;
    }
}

size_t load_weights(ModelManager& weights, Device& device, const char* what, std::map<std::string, ggml_tensor*> tensors) {
    size_t bytes = 0;
    std::vector<ggml_tensor*> all;
    for (const auto& [name, tensor] : tensors) {
        all.push_back(tensor);
    }
    if (!weights.register_param_tensors(what, std::move(tensors), ModelManager::ResidencyMode::ParamBackend, device.backend, device.backend, &bytes) ||
        !weights.validate_registered_tensors()) {
        fail(SDW_INVALID, "%s: %s", what, first_error().c_str());
    }
    if (!weights.prepare_params(all)) {
        std::string why = first_error();
        bool memory     = false;
        for (const char* text : {"failed to allocate", "cudaMalloc failed", "alloc params backend buffer failed", "std::bad_alloc"}) {
            memory = memory || why.find(text) != std::string::npos;
        }
        fail(memory ? SDW_OOM : SDW_INVALID, "%s cannot be loaded: %s", what, why.c_str());
    }
    weights.release_compute_backend_params(all); // balances prepare_params; they stay on the device
    return bytes;
}

}  // namespace sdw
