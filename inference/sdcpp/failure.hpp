// How the C++ side of this package fails: it throws, and each function of the C face
// is guarded.
#ifndef SDW_FAILURE_HPP
#define SDW_FAILURE_HPP

#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "shim.h"

namespace sdw {

struct Failure {
    sdw_status status;
    std::string message;
};

[[noreturn]] void fail(sdw_status status, const char* format, ...) __attribute__((format(printf, 2, 3)));

// first_error returns and forgets the first error line that the engine logged
// since the last time; empty if there was none.
std::string first_error();

// guard runs f, which may throw, and turns what it throws into a status.
template <class F>
sdw_status guard(char* err, int cap, F f) {
    try {
        first_error();
        f();
        return SDW_OK;
    } catch (const Failure& e) {
        snprintf(err, cap, "%s", e.message.c_str());
        return e.status;
    } catch (const std::bad_alloc&) {
        snprintf(err, cap, "out of memory");
        return SDW_OOM;
    } catch (const std::exception& e) {
        snprintf(err, cap, "%s", e.what());
        return strstr(err, "OutOfDeviceMemory") != nullptr || strstr(err, "OutOfHostMemory") != nullptr ? SDW_OOM : SDW_BROKEN; // Vulkan's
    } catch (...) {
        snprintf(err, cap, "unknown exception");
        return SDW_BROKEN;
    }
}

}  // namespace sdw

#endif
