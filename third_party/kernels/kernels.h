/* Kernels of the worker's own for ggml's CPU backend. Nothing here depends on ggml:
 * patches in ../patches call these functions where shapes fit.
 *
 * The instruction set is chosen at run time. SDW_KERNELS=avx512, avx2 or portable
 * asks for a lower one, which the tests do. */
#ifndef SDW_KERNELS_H
#define SDW_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One thread of the team that runs a kernel. All threads call it with the same
 * arguments but their own index. */
typedef struct sdw_team {
    int ith;                  /* index of this thread, from 0 */
    int nth;                  /* threads in the team */
    void (*barrier)(void *);  /* waits for all of them */
    void *barrier_arg;
    void *work;               /* shared scratch memory */
} sdw_team;

/* The name of the instruction set in use: avx512, avx2 or portable. */
const char *sdw_kernels_isa(void);

/* A 2-D convolution (cross-correlation) of f32 images; padding is zeros.
 *
 *   src    [n][ic][ih][iw]
 *   weight [oc][ic][kh][kw], f16 or f32
 *   dst    [n][oc][oh][ow]
 *
 * and what is added to dst, each may be null:
 *
 *   bias       [oc]
 *   image_bias [n][oc]
 *   add        like dst; may be dst itself
 *
 * Everything is contiguous, except that images and channels of src may be
 * src_image and src_channel floats apart. */
typedef struct sdw_conv2d {
    int64_t n, ic, ih, iw, oc, oh, ow;
    int kh, kw;
    int stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
    int64_t src_image, src_channel;
    const float *src;
    const void *weight;
    int weight_f16;
    const float *bias, *image_bias, *add;
    float *dst;
} sdw_conv2d;

/* How a convolution is computed. AUTO takes what is fastest for the shape. The
 * two by Winograd (Lavin and Gray, arXiv:1509.09308) are for 3x3 kernels with
 * stride and dilation 1: tiles of 4x4 or 2x2 outputs from a quarter, or 4/9, of
 * the multiplications. IMPLICIT multiplies matrices and takes every shape. */
enum sdw_conv2d_method {
    SDW_CONV2D_AUTO,
    SDW_CONV2D_IMPLICIT,
    SDW_CONV2D_WINOGRAD2,
    SDW_CONV2D_WINOGRAD4,
};

/* The method that AUTO takes. */
enum sdw_conv2d_method sdw_conv2d_choose(const sdw_conv2d *conv);

/* Bytes of scratch memory that sdw_conv2d_run needs for a team of nth. */
size_t sdw_conv2d_work(const sdw_conv2d *conv, enum sdw_conv2d_method method, int nth);

/* Computes the convolution; every thread of the team calls it. */
void sdw_conv2d_run(const sdw_conv2d *conv, enum sdw_conv2d_method method, const sdw_team *team);

/* Group normalisation of [n][c][size], then weight[c] * x + bias[c] (either may be
 * null), then SiLU if asked for. dst may be src. */
typedef struct sdw_group_norm {
    int64_t n, c, size, groups;
    float eps;
    const float *src, *weight, *bias;
    int silu;
    float *dst;
} sdw_group_norm;

void sdw_group_norm_run(const sdw_group_norm *norm, const sdw_team *team);

#ifdef __cplusplus
}
#endif

#endif
