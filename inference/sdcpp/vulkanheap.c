//go:build cgo && sdcpp && vulkan && vulkanheap

// A smaller heap than the device has, for tests: allocations are counted, and those
// beyond the limit fail as on a device that is full.

#include "libvulkan.h"

#include <pthread.h>
#include <string.h>

#include <vulkan/vulkan.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t limit       = UINT64_MAX, used;

enum { MANY = 4096 };
static struct {
    VkDeviceMemory memory;
    uint64_t bytes;
} held[MANY];

static PFN_vkAllocateMemory allocate;
static PFN_vkFreeMemory release;
static PFN_vkGetPhysicalDeviceMemoryProperties2 describe;

static VkResult limited_allocate(VkDevice device, const VkMemoryAllocateInfo* info, const VkAllocationCallbacks* c, VkDeviceMemory* out) {
    pthread_mutex_lock(&lock);
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    int i           = 0;
    while (i < MANY && held[i].bytes != 0) {
        i++;
    }
    if (i < MANY && used + info->allocationSize <= limit) {
        result = allocate(device, info, c, out);
    }
    if (result == VK_SUCCESS) {
        held[i].memory = *out;
        held[i].bytes  = info->allocationSize;
        used += info->allocationSize;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void counted_release(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks* c) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MANY; i++) {
        if (held[i].bytes != 0 && held[i].memory == memory) {
            used -= held[i].bytes;
            held[i].bytes = 0;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    release(device, memory, c);
}

static void limited_description(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* out) {
    describe(device, out);
    for (uint32_t i = 0; i < out->memoryProperties.memoryHeapCount; i++) {
        VkMemoryHeap* heap = &out->memoryProperties.memoryHeaps[i];
        heap->size         = heap->size < limit ? heap->size : limit;
    }
}

PFN_vkVoidFunction sdw_vulkan_limited(const char* name, PFN_vkVoidFunction real) {
    if (strcmp(name, "vkAllocateMemory") == 0) {
        allocate = (PFN_vkAllocateMemory)real;
        return (PFN_vkVoidFunction)limited_allocate;
    }
    if (strcmp(name, "vkFreeMemory") == 0) {
        release = (PFN_vkFreeMemory)real;
        return (PFN_vkVoidFunction)counted_release;
    }
    if (strcmp(name, "vkGetPhysicalDeviceMemoryProperties2") == 0) {
        describe = (PFN_vkGetPhysicalDeviceMemoryProperties2)real;
        return (PFN_vkVoidFunction)limited_description;
    }
    return real;
}

void sdw_vulkan_limit(uint64_t bytes) { limit = bytes; }

uint64_t sdw_vulkan_used(void) {
    pthread_mutex_lock(&lock);
    const uint64_t bytes = used;
    pthread_mutex_unlock(&lock);
    return bytes;
}
