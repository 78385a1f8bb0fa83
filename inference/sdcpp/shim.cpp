//go:build sdcpp

// Opening, closing and the process-wide sinks.

#include "engine.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <malloc.h>
#include <unistd.h>

#include "ggml-backend.h"
#include "stable-diffusion.h"

extern "C" {
void sdwLog(int level, char* text);                   // exported by callback.go
void sdwProgress(uintptr_t handle, int done, int total);
}

namespace sdw {

namespace {

std::atomic<int> live{0};

// calm_openmp keeps idle threads from spinning, which costs nothing on an idle
// machine and much on a busy one. The OpenMP runtime reads these variables in a
// constructor of its own, of a later priority, since it is linked statically.
__attribute__((constructor(101))) void calm_openmp() {
    setenv("OMP_WAIT_POLICY", "passive", 0);
    setenv("GOMP_SPINCOUNT", "0", 0);
}

std::mutex error_mutex;
std::string error_line;

thread_local uintptr_t progress_handle = 0;

void keep_error(const char* text) {
    std::lock_guard<std::mutex> lock(error_mutex);
    if (!error_line.empty()) {
        return; // the first one is nearest to the cause
    }
    const char* message = strstr(text, " - "); // the engine puts "file:line - " in front
    error_line          = message != nullptr ? message + 3 : text;
    while (!error_line.empty() && isspace(static_cast<unsigned char>(error_line.back()))) {
        error_line.pop_back();
    }
}

void on_log(sd_log_level_t level, const char* text, void*) {
    if (level == SD_LOG_ERROR) {
        keep_error(text);
    }
    sdwLog(static_cast<int>(level), const_cast<char*>(text));
}

void on_ggml_log(ggml_log_level level, const char* text, void*) {
    int to = SD_LOG_DEBUG;
    if (level == GGML_LOG_LEVEL_WARN) {
        to = SD_LOG_WARN;
    } else if (level == GGML_LOG_LEVEL_ERROR) {
        to = SD_LOG_ERROR;
        keep_error(text);
    }
    sdwLog(to, const_cast<char*>(text));
}

void on_progress(int step, int steps, float, void*) {
    if (progress_handle != 0) {
        sdwProgress(progress_handle, step, steps);
    }
}

// on_abort runs just before ggml ends the process. One line, so that a parent
// reading our stderr can pass it on.
void on_abort(const char* message) {
    char line[1024];
    int n = snprintf(line, sizeof line, "engine aborted: %s\n", message);
    n     = std::min<int>(n, sizeof line - 1);
    for (int i = 0; i + 1 < n; i++) {
        if (line[i] == '\n') {
            line[i] = ' ';
        }
    }
    if (write(STDERR_FILENO, line, n) < 0) {
        return; // nothing else can be done here
    }
}

ggml_backend_dev_t find_device(const std::string& name) {
    ggml_backend_dev_t cpu = nullptr, gpu = nullptr;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        auto type              = ggml_backend_dev_type(dev);
        if (strcasecmp(ggml_backend_dev_name(dev), name.c_str()) == 0) {
            return dev;
        }
        if (type == GGML_BACKEND_DEVICE_TYPE_CPU && cpu == nullptr) {
            cpu = dev;
        }
        if ((type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU) && gpu == nullptr) {
            gpu = dev;
        }
    }
    if (name == "auto") {
        return gpu != nullptr ? gpu : cpu;
    }
    if (name == "cpu") {
        return cpu;
    }
    if (name == "cuda" || name == "gpu") {
        return gpu;
    }
    return nullptr;
}

std::string device_names() {
    std::string names;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        names += (i == 0 ? "" : ", ") + std::string(ggml_backend_dev_name(ggml_backend_dev_get(i)));
    }
    return names;
}

// storage_of describes a tensor to the engine, which reads a few types as others.
TensorStorage storage_of(const sdw_tensor& t, const std::string& prefix) {
    static const struct {
        const char* name;
        ggml_type type;
        bool TensorStorage::*is;
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

void fail(sdw_status status, const char* format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    throw Failure{status, text};
}

std::string first_error() {
    std::lock_guard<std::mutex> lock(error_mutex);
    return std::exchange(error_line, std::string());
}

void half_precision(ModelLoader& loader) {
    loader.set_wtype_override(GGML_TYPE_F16);
}

bool read_tensors(ModelLoader& loader, const sdw_file& file, const std::string& prefix) {
    Loader::add_file(loader, file.path);
    bool aligned = true;
    for (int i = 0; i < file.count; i++) {
        TensorStorage storage = storage_of(file.tensors[i], prefix);
        const size_t unit     = ggml_is_quantized(storage.type) ? sizeof(ggml_fp16_t) : ggml_type_size(storage.type);
        aligned               = aligned && storage.offset % unit == 0;
        loader.get_tensor_storage_map()[storage.name] = storage;
    }
    return aligned;
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
    weights.set_n_threads(device.threads);
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

using namespace sdw;

void sdw_init(void) {
    sd_set_log_callback(on_log, nullptr);
    sd_set_progress_callback(on_progress, nullptr);
    ggml_log_set(on_ggml_log, nullptr);
    ggml_set_abort_callback(on_abort);
}

sdw_status sdw_open(const sdw_file* checkpoint, const char* device, int threads, int flash_attention, int gpu_graphs,
                    uintptr_t progress, sdw_engine** out, char* err, int cap) {
    progress_handle = progress;
    sdw_status status = guard(err, cap, [&] {
        auto e = std::make_unique<sdw_engine>();
        ggml_backend_dev_t dev = find_device(device);
        if (dev == nullptr) {
            fail(SDW_INVALID, "there is no device '%s'; this build sees: %s", device, device_names().c_str());
        }
        e->checkpoint     = checkpoint->path;
        e->device.backend = ggml_backend_dev_init(dev, nullptr);
        if (e->device.backend == nullptr) {
            fail(SDW_BROKEN, "device %s does not start: %s", ggml_backend_dev_name(dev), first_error().c_str());
        }
        e->device.cpu     = ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_CPU;
        e->device.threads = threads;
        e->device.gpu_graphs = !e->device.cpu || gpu_graphs != 0;
        e->device_name    = std::string(ggml_backend_dev_name(dev)) + " (" + ggml_backend_dev_description(dev) + ")";

        e->weights->set_n_threads(threads);
        ModelLoader& loader = e->weights->loader();
        const bool aligned  = read_tensors(loader, *checkpoint);
        e->weights->set_enable_mmap(e->device.cpu && aligned);
        half_precision(loader);

        const auto& map = loader.get_tensor_storage_map();
        e->version      = map.at("model.diffusion_model.input_blocks.0.0.weight").ne[2] == 9 ? VERSION_SD1_INPAINT : VERSION_SD1;
        ggml_backend_t backend = e->device.backend;
        e->text = std::make_unique<Text>(backend, map, "cond_stage_model.transformer.text_model", OPENAI_CLIP_VIT_L_14, true, false, e->weights);
        e->unet = std::make_unique<UNet>(backend, map, "model.diffusion_model", e->version, e->weights);
        if (map.count("first_stage_model.decoder.conv_in.weight") > 0) {
            e->vae = std::make_unique<Autoencoder>(backend, map, "first_stage_model", false, false, e->version, e->weights);
        }
        e->unet->set_flash_attention_enabled(flash_attention != 0);
        e->text->set_flash_attention_enabled(flash_attention != 0);

        e->text->get_param_tensors(e->tensors, "cond_stage_model.transformer.text_model");
        e->unet->get_param_tensors(e->tensors, "model.diffusion_model");
        std::map<std::string, ggml_tensor*> all = e->tensors;
        if (e->vae) {
            e->vae->get_param_tensors(all);
        }
        e->weight_bytes = load_weights(*e->weights, e->device, "checkpoint", std::move(all));
        live++;
        *out = e.release();
    });
    progress_handle = 0;
    return status;
}

void sdw_close(sdw_engine* e) {
    if (e != nullptr) {
        delete e;
        live--;
#ifdef __GLIBC__
        malloc_trim(0); // loading leaves the arenas of many threads in pieces
#endif
    }
}

void sdw_describe(const sdw_engine* e, sdw_info* out) {
    out->unet_channels = e->unet->config.in_channels;
    out->has_vae       = e->vae != nullptr;
    out->weight_bytes  = e->weight_bytes;
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(ggml_backend_get_device(e->device.backend), &free, &total);
    out->device_bytes = total;
    out->on_host      = e->device.cpu;
    snprintf(out->device, sizeof out->device, "%s", e->device_name.c_str());
}

void sdw_arm(sdw_engine* e) { e->device.cancel = false; }
void sdw_cancel(sdw_engine* e) { e->device.cancel = true; }
int sdw_live(void) { return live; }

uint64_t sdw_heap(void) {
#ifdef __GLIBC__
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
#else
    return 0;
#endif
}

const char* sdw_key(void) { return SDW_ENGINE_KEY; }
const char* sdw_pin(void) { return SDW_ENGINE_PIN; }
const char* sdw_ggml_version(void) { return ggml_version(); }
const char* sdw_cpu_features(void) { return sd_get_system_info(); }
int sdw_physical_cores(void) { return sd_get_num_physical_cores(); }

int sdw_device(int i, char* name, char* description, int cap, uint64_t* free_bytes, uint64_t* total_bytes, int* gpu) {
    if (i < 0 || static_cast<size_t>(i) >= ggml_backend_dev_count()) {
        return 0;
    }
    ggml_backend_dev_t dev = ggml_backend_dev_get(i);
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(dev, &free, &total);
    snprintf(name, cap, "%s", ggml_backend_dev_name(dev));
    snprintf(description, cap, "%s", ggml_backend_dev_description(dev));
    *free_bytes  = free;
    *total_bytes = total;
    *gpu         = ggml_backend_dev_type(dev) != GGML_BACKEND_DEVICE_TYPE_CPU;
    return 1;
}

uint64_t sdw_weights_hash(sdw_engine* e) {
    uint64_t hash = 1469598103934665603ull; // FNV-1a over 8-byte words
    std::vector<uint8_t> bytes;
    for (const auto& [name, tensor] : e->tensors) {
        bytes.assign((ggml_nbytes(tensor) + 7) / 8 * 8, 0);
        ggml_backend_tensor_get(tensor, bytes.data(), 0, ggml_nbytes(tensor));
        for (size_t i = 0; i < bytes.size(); i += 8) {
            uint64_t word;
            memcpy(&word, bytes.data() + i, 8);
            hash = (hash ^ word) * 1099511628211ull;
        }
    }
    return hash;
}
