//go:build cgo && sdcpp && vulkan

// Vulkan's loader, opened when it is first needed, so that the program starts on
// machines without it, and the software devices that it knows.

#include "libvulkan.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vulkan/vulkan.h>

// HIDDEN functions are for the engine inside the program, not for other libraries,
// which have the loader's.
#define HIDDEN __attribute__((visibility("hidden")))

#ifdef SDW_VULKAN_HEAP
// sdw_vulkan_limited returns what takes the place of a function (vulkanheap.c).
PFN_vkVoidFunction sdw_vulkan_limited(const char* name, PFN_vkVoidFunction real);
#endif

static void* symbol(const char* name) {
    static void* library;
    if (!library) {
        library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    }
    return library ? dlsym(library, name) : NULL;
}

// no_loader is the version of Vulkan where there is no loader.
static VkResult no_loader(uint32_t* version) {
    (void)version;
    return VK_ERROR_INITIALIZATION_FAILED;
}

// software are the names of devices that are programs for the CPU.
enum { MANY = 16 };
static char software[MANY][VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
static int software_count;

// Mesa's software device before 23.1 takes whatever a descriptor set names into use,
// also for bindings that no shader reads. The engine has one layout for all shaders and
// leaves the rest of a set as it is, where buffers may stand that are freed: the
// reference to one breaks the heap. So the rest gets what the first binding has.
enum { MOST_BINDINGS = 32 };
static uint32_t bindings; // of the engine's layout

static PFN_vkCreateDescriptorSetLayout create_layout;
static PFN_vkUpdateDescriptorSets update_sets;

static VkResult counted_layout(VkDevice device, const VkDescriptorSetLayoutCreateInfo* info, const VkAllocationCallbacks* c, VkDescriptorSetLayout* out) {
    bindings = info->bindingCount;
    return create_layout(device, info, c, out);
}

static void whole_update(VkDevice device, uint32_t n, const VkWriteDescriptorSet* writes, uint32_t n_copies, const VkCopyDescriptorSet* copies) {
    update_sets(device, n, writes, n_copies, copies);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t given = writes[i].dstBinding + writes[i].descriptorCount;
        if (writes[i].pBufferInfo == NULL || given >= bindings || bindings > MOST_BINDINGS) {
            continue;
        }
        VkDescriptorBufferInfo first[MOST_BINDINGS];
        for (uint32_t k = given; k < bindings; k++) {
            first[k] = writes[i].pBufferInfo[0];
        }
        VkWriteDescriptorSet rest = writes[i];
        rest.dstBinding           = given;
        rest.descriptorCount      = bindings - given;
        rest.pBufferInfo          = first + given;
        update_sets(device, 1, &rest, 0, NULL);
    }
}

// for_software returns what takes the place of a function where there are software
// devices.
static PFN_vkVoidFunction for_software(const char* name, PFN_vkVoidFunction real) {
    if (software_count == 0) {
        return real;
    }
    if (strcmp(name, "vkCreateDescriptorSetLayout") == 0) {
        create_layout = (PFN_vkCreateDescriptorSetLayout)real;
        return (PFN_vkVoidFunction)counted_layout;
    }
    if (strcmp(name, "vkUpdateDescriptorSets") == 0) {
        update_sets = (PFN_vkUpdateDescriptorSets)real;
        return (PFN_vkVoidFunction)whole_update;
    }
    return real;
}

HIDDEN PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char* name) {
    static PFN_vkGetInstanceProcAddr f;
    if (!f) {
        f = (PFN_vkGetInstanceProcAddr)symbol("vkGetInstanceProcAddr");
    }
    if (f) {
        PFN_vkVoidFunction real = f(instance, name);
#ifdef SDW_VULKAN_HEAP
        real = sdw_vulkan_limited(name, real);
#endif
        return for_software(name, real);
    }
    // The first thing that the engine asks for, and all when that fails.
    return strcmp(name, "vkEnumerateInstanceVersion") == 0 ? (PFN_vkVoidFunction)no_loader : NULL;
}

// The other functions are called with what came from the loader, so it is there.

HIDDEN PFN_vkVoidFunction vkGetDeviceProcAddr(VkDevice device, const char* name) {
    return ((PFN_vkGetDeviceProcAddr)symbol("vkGetDeviceProcAddr"))(device, name);
}

HIDDEN void vkGetPhysicalDeviceFeatures2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2* features) {
    ((PFN_vkGetPhysicalDeviceFeatures2)symbol("vkGetPhysicalDeviceFeatures2"))(device, features);
}

HIDDEN void vkCmdCopyBuffer(VkCommandBuffer commands, VkBuffer from, VkBuffer to, uint32_t count, const VkBufferCopy* regions) {
    static PFN_vkCmdCopyBuffer f;
    if (!f) {
        f = (PFN_vkCmdCopyBuffer)symbol("vkCmdCopyBuffer");
    }
    f(commands, from, to, count, regions);
}

// known are the devices that the drivers know.
static struct {
    char hardware[4 * MANY], software[4 * MANY]; // numbers of those that fit, with commas between
    uint32_t unfit;                              // invocations in a subgroup of one that is left out; 0 for none
    bool unfit_hardware;                         // one that is left out is no program for the CPU
} known;

static void add_number(char list[4 * MANY], uint32_t i) {
    const size_t used = strlen(list);
    snprintf(list + used, 4 * MANY - used, "%s%u", used > 0 ? "," : "", i);
}

// fits tells whether the engine's products are right where subgroups have so many
// invocations. ggml's tile for small ones (s_warptile) is divided among subgroups of 8,
// and given to one of 32 and more; others, 4 or 16, write past it.
static bool fits(uint32_t subgroup) { return subgroup == 8 || subgroup >= 32; }

static uint32_t subgroup_of(VkInstance instance, VkPhysicalDevice device) {
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 properties      = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    ((PFN_vkGetPhysicalDeviceProperties2)vkGetInstanceProcAddr(instance, "vkGetPhysicalDeviceProperties2"))(device, &properties);
    return subgroup.subgroupSize;
}

// list fills software and known.
static void list(VkInstance instance) {
    PFN_vkEnumeratePhysicalDevices enumerate =
        (PFN_vkEnumeratePhysicalDevices)vkGetInstanceProcAddr(instance, "vkEnumeratePhysicalDevices");
    PFN_vkGetPhysicalDeviceProperties describe =
        (PFN_vkGetPhysicalDeviceProperties)vkGetInstanceProcAddr(instance, "vkGetPhysicalDeviceProperties");
    VkPhysicalDevice devices[MANY];
    uint32_t n            = MANY;
    const VkResult result = enumerate(instance, &n, devices);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        VkPhysicalDeviceProperties properties;
        describe(devices[i], &properties);
        const bool is_software = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
        if (is_software) {
            snprintf(software[software_count++], sizeof software[0], "%s", properties.deviceName);
        }
        // The engine takes no device of an older version.
        const uint32_t subgroup = properties.apiVersion >= VK_API_VERSION_1_2 ? subgroup_of(instance, devices[i]) : 0;
        if (subgroup != 0 && !fits(subgroup)) {
            known.unfit = subgroup;
            known.unfit_hardware |= !is_software;
            continue;
        }
        add_number(is_software ? known.software : known.hardware, i);
    }
}

static char problem[160] = "libvulkan.so.1, the loader of Vulkan's drivers, is missing";

const char* sdw_vulkan_problem(void) { return problem; }

void sdw_vulkan_init(void) {
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)vkGetInstanceProcAddr(NULL, "vkCreateInstance");
    if (!create) {
        return;
    }
    snprintf(problem, sizeof problem, "no driver of Vulkan is installed that knows a device here");
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    const VkInstanceCreateInfo info     = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    VkInstance instance;
    if (create(&info, NULL, &instance) != VK_SUCCESS) {
        return;
    }
    list(instance);
    ((PFN_vkDestroyInstance)vkGetInstanceProcAddr(instance, "vkDestroyInstance"))(instance, NULL);
    const bool gpu = known.hardware[0] != '\0', software_only = !gpu && known.software[0] != '\0';
    if (gpu) {
        problem[0] = '\0';
    } else if (software_only) {
        snprintf(problem, sizeof problem, "there are software devices only");
    } else if (known.unfit != 0) {
        snprintf(problem, sizeof problem, "the engine's products are wrong on devices with subgroups of %u; right are 8, and 32 and more", known.unfit);
    }
    // By itself ggml lists no software devices, but also those that do not fit.
    if (software_only || known.unfit_hardware || (!gpu && known.unfit != 0)) {
        setenv("GGML_VK_VISIBLE_DEVICES", gpu ? known.hardware : known.software, 0);
    }
}

int sdw_vulkan_software(const char* description) {
    for (int i = 0; i < software_count; i++) {
        if (strcmp(software[i], description) == 0) {
            return 1;
        }
    }
    return 0;
}
