//go:build sdcpp

// What the engine tells: its log, the progress of loading, and why it ends the process.

#include "failure.hpp"
#include "libvulkan.h"
#include "sinks.hpp"

#include <algorithm>
#include <cctype>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include <unistd.h>

#include "ggml.h"
#include "stable-diffusion.h"

extern "C" {
void sdwLog(int level, char* text);                   // exported by callback.go
void sdwProgress(uintptr_t handle, int done, int total);
}

namespace sdw {

namespace {

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
    int n = snprintf(line, sizeof line, SDW_ABORT_PREFIX "%s\n", message);
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

ProgressTo::ProgressTo(uintptr_t handle) { progress_handle = handle; }
ProgressTo::~ProgressTo() { progress_handle = 0; }

}  // namespace sdw

void sdw_init(void) {
    sd_set_log_callback(sdw::on_log, nullptr);
    sd_set_progress_callback(sdw::on_progress, nullptr);
    ggml_log_set(sdw::on_ggml_log, nullptr);
    ggml_set_abort_callback(sdw::on_abort);
#ifdef SDW_VULKAN
    sdw_vulkan_init();
#endif
}
