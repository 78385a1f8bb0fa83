/* Chooses the build of the kernels that this processor can run. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

extern const sdw_table sdw_table_portable;
#if defined(__x86_64__)
extern const sdw_table sdw_table_avx2, sdw_table_avx512;
#endif

static const sdw_table* choose() {
    const char* wanted = getenv("SDW_KERNELS");
    if (!wanted) {
        wanted = "avx512";
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && strcmp(wanted, "avx512") == 0) {
        return &sdw_table_avx512;
    }
    if (avx2 && strcmp(wanted, "portable") != 0) {
        return &sdw_table_avx2;
    }
#endif
    return &sdw_table_portable;
}

static const sdw_table& table() {
    static const sdw_table* const chosen = choose();
    return *chosen;
}

const char* sdw_kernels_isa(void) { return table().name; }

enum sdw_conv2d_method sdw_conv2d_choose(const sdw_conv2d* conv) {
    if (conv->kh != 3 || conv->kw != 3 || conv->stride_x != 1 || conv->stride_y != 1 || conv->dilation_x != 1 || conv->dilation_y != 1) {
        return SDW_CONV2D_IMPLICIT;
    }
    /* Small images fill too few lanes with tiles of 4x4. */
    int64_t tiles4 = conv->n * ((conv->ow + 3) / 4) * ((conv->oh + 3) / 4);
    if (tiles4 >= 24) {
        return SDW_CONV2D_WINOGRAD4;
    }
    return tiles4 >= 6 ? SDW_CONV2D_WINOGRAD2 : SDW_CONV2D_IMPLICIT;
}

static sdw_conv2d_method resolve(const sdw_conv2d* conv, sdw_conv2d_method method) {
    return method == SDW_CONV2D_AUTO ? sdw_conv2d_choose(conv) : method;
}

size_t sdw_conv2d_work(const sdw_conv2d* conv, enum sdw_conv2d_method method, int nth) {
    return table().conv2d_work(conv, resolve(conv, method), nth);
}

void sdw_conv2d_run(const sdw_conv2d* conv, enum sdw_conv2d_method method, const sdw_team* team) {
    table().conv2d_run(conv, resolve(conv, method), team);
}

void sdw_group_norm_run(const sdw_group_norm* norm, const sdw_team* team) { table().group_norm_run(norm, team); }

size_t sdw_matmul_work(const sdw_matmul* mul) { return table().matmul_work(mul); }

void sdw_matmul_run(const sdw_matmul* mul, int ith, int nth, void* work) { table().matmul_run(mul, ith, nth, work); }

size_t sdw_attention_work(const sdw_attention* attention) { return table().attention_work(attention); }

void sdw_attention_run(const sdw_attention* attention, int ith, int nth, void* work) { table().attention_run(attention, ith, nth, work); }

void sdw_geglu_run(const sdw_geglu* geglu, int ith, int nth) { table().geglu_run(geglu, ith, nth); }

double sdw_multiply_adds(int64_t rounds) { return table().multiply_adds(rounds); }
