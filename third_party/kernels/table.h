/* What an instruction set's build of the kernels offers to dispatch.cpp. */
#ifndef SDW_TABLE_H
#define SDW_TABLE_H

#include "kernels.h"
#include "products.h"

struct sdw_table {
    const char* name;
    size_t (*conv2d_work)(const sdw_conv2d*, sdw_conv2d_method, int nth);
    void (*conv2d_run)(const sdw_conv2d*, sdw_conv2d_method, const sdw_team*);
    void (*group_norm_run)(const sdw_group_norm*, const sdw_team*);
    size_t (*matmul_work)(const sdw_matmul*);
    void (*matmul_run)(const sdw_matmul*, int ith, int nth, void* work);
    size_t (*attention_work)(const sdw_attention*);
    void (*attention_run)(const sdw_attention*, int ith, int nth, void* work);
    void (*geglu_run)(const sdw_geglu*, int ith, int nth);
    double (*multiply_adds)(int64_t rounds);
};

#endif
