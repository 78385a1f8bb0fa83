//go:build cgo && sdcpp && cuda

// The functions of the driver's library that the engine calls, looked up when
// they are called first. Linking with -lcuda instead would keep the program from
// starting where there is no driver, when all it could tell is why.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

enum { NO_DEVICE = 100 }; // CUDA_ERROR_NO_DEVICE

static void* library(void) {
    static void* handle;
    if (!handle) {
        handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    }
    return handle;
}

// FORWARD defines a function of the driver. It is hidden, so that no other
// library takes it for the driver's own.
#define FORWARD(name, parameters, arguments)                    \
    __attribute__((visibility("hidden"))) int name parameters { \
        static int(*f) parameters;                              \
        if (!f && library()) {                                  \
            f = (int(*) parameters)dlsym(library(), #name);     \
        }                                                       \
        return f ? f arguments : NO_DEVICE;                     \
    }

typedef uint64_t address;    // CUdeviceptr
typedef uint64_t allocation; // CUmemGenericAllocationHandle
typedef unsigned long long flags;

FORWARD(cuDeviceGet, (int* device, int ordinal), (device, ordinal))
FORWARD(cuDeviceGetAttribute, (int* value, int attribute, int device), (value, attribute, device))
FORWARD(cuMemAddressFree, (address at, size_t size), (at, size))
FORWARD(cuMemAddressReserve, (address * at, size_t size, size_t alignment, address wish, flags f_), (at, size, alignment, wish, f_))
FORWARD(cuMemCreate, (allocation * handle, size_t size, const void* properties, flags f_), (handle, size, properties, f_))
FORWARD(cuMemGetAllocationGranularity, (size_t* granularity, const void* properties, int option), (granularity, properties, option))
FORWARD(cuMemMap, (address at, size_t size, size_t offset, allocation handle, flags f_), (at, size, offset, handle, f_))
FORWARD(cuMemRelease, (allocation handle), (handle))
FORWARD(cuMemSetAccess, (address at, size_t size, const void* access, size_t count), (at, size, access, count))
FORWARD(cuMemUnmap, (address at, size_t size), (at, size))

__attribute__((visibility("hidden"))) int cuGetErrorString(int error, const char** text) {
    int (*f)(int, const char**) = library() ? (int (*)(int, const char**))dlsym(library(), "cuGetErrorString") : NULL;
    *text                       = "there is no NVIDIA driver";
    return f ? f(error, text) : 0;
}
