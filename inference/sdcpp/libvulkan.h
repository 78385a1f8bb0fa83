// What the binding asks of Vulkan beside the engine.
#ifndef SDW_LIBVULKAN_H
#define SDW_LIBVULKAN_H

#ifdef __cplusplus
extern "C" {
#endif

// sdw_vulkan_init finds out which devices are software. It comes before the engine
// lists devices. Where there is nothing else, it makes the engine list them.
void sdw_vulkan_init(void);

// sdw_vulkan_software tells whether the device of this description is a program for
// the CPU, such as Mesa's lavapipe.
int sdw_vulkan_software(const char* description);

// sdw_vulkan_problem says why there is no GPU, or "" when there is one.
const char* sdw_vulkan_problem(void);

#ifdef SDW_VULKAN_HEAP
#include <stdint.h>

// sdw_vulkan_limit makes allocations fail that would take more than some bytes of the
// device's memory together, and sdw_vulkan_used is what they take.
void sdw_vulkan_limit(uint64_t bytes);
uint64_t sdw_vulkan_used(void);
#endif

#ifdef __cplusplus
}
#endif

#endif
