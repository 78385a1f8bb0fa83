//go:build sdcpp

// Opening and closing an engine, and what can be asked of it.

#include "devices.hpp"
#include "engine.hpp"
#include "sinks.hpp"

#include <cstring>

#include <malloc.h>

#include "stable-diffusion.h"

using namespace sdw;

namespace {

std::atomic<int> live{0};

void start_device(Device& device, const sdw_options& o) {
    ggml_backend_dev_t dev = ggml_backend_dev_get(o.device);
    device.backend         = ggml_backend_dev_init(dev, nullptr);
    if (device.backend == nullptr) {
        fail(SDW_BROKEN, "device %s does not start: %s", ggml_backend_dev_name(dev), first_error().c_str());
    }
    device.cpu        = kind_of(dev) == SDW_HOST;
    device.threads    = o.threads;
    device.gpu_graphs = !device.cpu || o.gpu_graphs;
    device.fused      = o.attention == SDW_ATTENTION_FUSED || (o.attention == SDW_ATTENTION_AUTO && !device.cpu);
}

}  // namespace

sdw_status sdw_open(const sdw_file* checkpoint, sdw_options options, sdw_engine** out, char* err, int cap) {
    ProgressTo progress(options.progress);
    return guard(err, cap, [&] {
        auto e = std::make_unique<sdw_engine>();
        start_device(e->device, options);
        e->checkpoint   = checkpoint->path;
        const auto& map = read_header(*e->weights, e->device, *checkpoint, {"checkpoint", "", true, true});

        e->version             = map.at("model.diffusion_model.input_blocks.0.0.weight").ne[2] == 9 ? VERSION_SD1_INPAINT : VERSION_SD1;
        ggml_backend_t backend = e->device.backend;
        e->text                = std::make_unique<Text>(backend, map, "cond_stage_model.transformer.text_model", OPENAI_CLIP_VIT_L_14, true, false, e->weights);
        e->unet                = std::make_unique<UNet>(backend, map, "model.diffusion_model", e->version, e->weights);
        if (map.count("first_stage_model.decoder.conv_in.weight") > 0) {
            e->vae = std::make_unique<Autoencoder>(backend, map, "first_stage_model", false, false, e->version, e->weights);
        }
        e->unet->set_flash_attention_enabled(e->device.fused);
        e->text->set_flash_attention_enabled(e->device.fused);

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
    ggml_backend_dev_t dev = ggml_backend_get_device(e->device.backend);
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(dev, &free, &total);
    *out               = {};
    out->unet_channels = e->unet->config.in_channels;
    out->has_vae       = e->vae != nullptr;
    out->weight_bytes  = e->weight_bytes;
    out->device_bytes  = total;
    out->kind          = kind_of(dev);
    out->host_memory   = out->kind != SDW_GPU || ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_IGPU;
    out->fused         = e->device.fused;
    snprintf(out->device, sizeof out->device, "%s (%s)%s", ggml_backend_dev_name(dev), ggml_backend_dev_description(dev),
             out->kind == SDW_SOFTWARE ? ", software: no measure of a GPU's speed" : "");
}

void sdw_arm(sdw_engine* e) { e->device.cancel = false; }
void sdw_cancel(sdw_engine* e) { e->device.cancel = true; }
void sdw_copies(const sdw_engine* e, int* in, int* out) {
    *in  = e->device.copies_in;
    *out = e->device.copies_out;
}

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
