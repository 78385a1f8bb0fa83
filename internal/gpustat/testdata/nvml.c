// A stand-in for NVIDIA's library with one card, with the functions that are asked for.
#include <string.h>

typedef struct {
    unsigned int gpu, memory;
} utilization;

typedef struct {
    unsigned long long total, free, used;
} memory;

static int text(char* to, const char* from, unsigned int size) {
    if (strlen(from) >= size) {
        return 7;
    }
    strcpy(to, from);
    return 0;
}

int nvmlInit_v2(void) { return 0; }
int nvmlInit(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int* n) { return *n = 1, 0; }
int nvmlDeviceGetCount(unsigned int* n) { return *n = 1, 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void** d) { return *d = (void*)1, (int)i; }
int nvmlDeviceGetHandleByIndex(unsigned int i, void** d) { return *d = (void*)1, (int)i; }
int nvmlDeviceGetName(void* d, char* to, unsigned int size) { return text(to, "Stand-in", size); }
int nvmlDeviceGetUUID(void* d, char* to, unsigned int size) { return text(to, "GPU-1", size); }
int nvmlDeviceGetTemperature(void* d, int sensor, unsigned int* t) { return *t = 61, 0; }
int nvmlDeviceGetPowerUsage(void* d, unsigned int* mw) { return *mw = 123456, 0; }
int nvmlDeviceGetUtilizationRates(void* d, utilization* u) { return *u = (utilization){37, 5}, 0; }
int nvmlDeviceGetMemoryInfo(void* d, memory* m) { return *m = (memory){24ull << 30, 19ull << 30, 5ull << 30}, 0; }
