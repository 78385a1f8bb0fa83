/* Kernels that the binding's graph calls by itself, so that ggml need not know them.
 * The instruction set is chosen as kernels.h says. */
#ifndef SDW_PRODUCTS_H
#define SDW_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A linear layer: dst[j][i] = sum over r of weight[i][r] * src[j][r], plus bias[i].
 *
 *   src     [n][k], rows src_row floats apart
 *   weight  [m][k], f16 or f32, rows weight_row numbers apart
 *   bias    [m] or null
 *   dst     [n][m], rows dst_row floats apart */
typedef struct sdw_matmul {
    int64_t m, n, k;
    int64_t src_row, weight_row, dst_row;
    const float* src;
    const void* weight;
    int weight_f16;
    const float* bias;
    float* dst;
} sdw_matmul;

/* Bytes of scratch memory that each thread of sdw_matmul_run needs. */
size_t sdw_matmul_work(const sdw_matmul* mul);

/* Computes the part of thread ith of nth, which waits for no other; work is scratch
 * memory of this thread. */
void sdw_matmul_run(const sdw_matmul* mul, int ith, int nth, void* work);

/* Attention, dst = softmax(scale * q k') v for each image and head.
 *
 *   q    [image][queries][head][width]
 *   k, v [image][keys][head][width]
 *   dst  like q
 *
 * Heads follow each other; rows and images are *_row and *_image floats apart. Keys and
 * values of images that lie anywhere are pointed at by k_of and v_of, [images], instead
 * of k and v, which are null then. */
typedef struct sdw_attention {
    int64_t images, heads, queries, keys, width;
    int64_t q_row, k_row, v_row, dst_row;
    int64_t q_image, k_image, v_image, dst_image;
    const float *q, *k, *v;
    const float *const *k_of, *const *v_of;
    float scale;
    float* dst;
} sdw_attention;

/* Bytes of scratch memory that each thread of sdw_attention_run needs. */
size_t sdw_attention_work(const sdw_attention* attention);

/* Like sdw_matmul_run. */
void sdw_attention_run(const sdw_attention* attention, int ith, int nth, void* work);

/* The gate of a transformer's feed-forward layer (Shazeer, arXiv:2002.05202): for
 * each row of src, [rows][2 * m], dst is the first half times GELU of the second,
 * GELU(x) being x times the share of a normal distribution below x. */
typedef struct sdw_geglu {
    int64_t rows, m;
    const float* src;
    float* dst;
} sdw_geglu;

/* Like sdw_matmul_run. */
void sdw_geglu_run(const sdw_geglu* geglu, int ith, int nth);

/* Multiplies and adds in registers as fast as the processor can, rounds times, and
 * returns how many f32 operations that were. */
double sdw_multiply_adds(int64_t rounds);

#ifdef __cplusplus
}
#endif

#endif
