//go:build sdcpp

// What an engine can run on.

#include "devices.hpp"
#include "libvulkan.h"

#include <cstdio>
#include <cstring>
#include <string>

namespace {

bool is_software(ggml_backend_dev_t dev) {
#ifdef SDW_VULKAN
    return sdw_vulkan_software(ggml_backend_dev_description(dev)) != 0;  // ggml does not tell
#else
    static_cast<void>(dev);
    return false;
#endif
}

}  // namespace

sdw_device_kind sdw::kind_of(ggml_backend_dev_t dev) {
    switch (ggml_backend_dev_type(dev)) {
        case GGML_BACKEND_DEVICE_TYPE_GPU:
        case GGML_BACKEND_DEVICE_TYPE_IGPU: return is_software(dev) ? SDW_SOFTWARE : SDW_GPU;
        default: return SDW_HOST;
    }
}

namespace {

// same_name tells whether a device's name, such as CUDA0, is a kind and a number.
bool same_name(const std::string& device, const std::string& kind) {
    const size_t letters = device.find_last_not_of("0123456789") + 1;
    return letters < device.size() && letters == kind.size() && strncasecmp(device.c_str(), kind.c_str(), letters) == 0;
}

// first returns the number of the first device that is wanted, or -1.
template <class Wanted>
int first(Wanted wanted) {
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        if (wanted(ggml_backend_dev_get(i))) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

int find(const std::string& name) {
    int i = first([&](ggml_backend_dev_t dev) { return strcasecmp(ggml_backend_dev_name(dev), name.c_str()) == 0; });
    if (i < 0 && (name == "auto" || name == "gpu")) {
        i = first([](ggml_backend_dev_t dev) { return sdw::kind_of(dev) == SDW_GPU; });
    }
    if (i < 0 && (name == "auto" || name == "cpu")) {
        i = first([](ggml_backend_dev_t dev) { return sdw::kind_of(dev) == SDW_HOST; });
    }
    return i >= 0 ? i : first([&](ggml_backend_dev_t dev) { return same_name(ggml_backend_dev_name(dev), name); });
}

}  // namespace

int sdw_find_device(const char* name, char* err, int cap) {
    const int i = find(name);
    if (i < 0) {
        std::string names;
        for (size_t j = 0; j < ggml_backend_dev_count(); j++) {
            names += (j == 0 ? "" : ", ") + std::string(ggml_backend_dev_name(ggml_backend_dev_get(j)));
        }
        snprintf(err, cap, "there is no device '%s'; this build sees: %s", name, names.c_str());
    }
    return i;
}

int sdw_describe_device(int i, sdw_device* out) {
    if (i < 0 || static_cast<size_t>(i) >= ggml_backend_dev_count()) {
        return 0;
    }
    ggml_backend_dev_t dev = ggml_backend_dev_get(i);
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(dev, &free, &total);
    snprintf(out->name, sizeof out->name, "%s", ggml_backend_dev_name(dev));
    snprintf(out->description, sizeof out->description, "%s", ggml_backend_dev_description(dev));
    out->free_bytes  = free;
    out->total_bytes = total;
    out->kind        = sdw::kind_of(dev);
    return 1;
}
