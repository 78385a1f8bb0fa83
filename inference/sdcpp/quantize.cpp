//go:build sdcpp

// Rewriting a file with the engine's own reader, quantizer and GGUF writer.

#include "engine.hpp"

#include <cstring>
#include <mutex>

#include "model_io/gguf_io.h"

#include "quantize.h"

namespace sdw {
namespace {

ggml_type type_of(const char* name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const auto type   = static_cast<ggml_type>(i);
        const char* known = ggml_type_name(type);
        if (known != nullptr && strcmp(known, name) == 0) {
            return type;
        }
    }
    fail(SDW_INVALID, "the engine knows no type %s", name);
}

struct Free {
    void operator()(ggml_context* c) const { ggml_free(c); }
};

void quantize(const sdw_file& source, const char* destination, ggml_type type) {
    ModelLoader loader;
    read_tensors(loader, source);
    const size_t room = loader.get_params_mem_size(nullptr, type) + loader.get_tensor_storage_map().size() * ggml_tensor_overhead();
    std::unique_ptr<ggml_context, Free> memory(ggml_init({room, nullptr, false}));
    if (!memory) {
        fail(SDW_OOM, "out of memory");
    }
    std::vector<TensorWriteInfo> tensors;
    std::mutex adding;
    bool read = loader.load_tensors([&](const TensorStorage& from, ggml_tensor** to) {
        const ggml_type becomes = loader.tensor_should_be_converted(from, type) ? type : from.type;
        std::lock_guard<std::mutex> lock(adding);
        TensorWriteInfo info;
        info.tensor = ggml_new_tensor(memory.get(), becomes, from.n_dims, from.ne);
        info.n_dims = from.n_dims;
        std::copy(from.ne, from.ne + from.n_dims, info.ne);
        ggml_set_name(info.tensor, from.name.c_str());
        *to = info.tensor;
        tensors.push_back(info);
        return true;
    });
    if (!read) {
        fail(SDW_INVALID, "%s is not readable: %s", source.path, first_error().c_str());
    }
    std::string why;
    if (!write_gguf_file(destination, tensors, &why)) {
        fail(SDW_INVALID, "%s cannot be written: %s", destination, why.c_str());
    }
}

}  // namespace
}  // namespace sdw

sdw_status sdw_quantize(const sdw_file* source, const char* destination, const char* type, char* err, int cap) {
    return sdw::guard(err, cap, [&] { sdw::quantize(*source, destination, sdw::type_of(type)); });
}
