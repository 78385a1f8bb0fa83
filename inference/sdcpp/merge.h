// Arithmetic of merging adapters, on arrays in memory. Nothing here throws.
#ifndef SDW_MERGE_H
#define SDW_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Element types of weights and files.
enum { SDW_F32   = 0,
       SDW_F16   = 1,
       SDW_BF16  = 2,
       SDW_OTHER = 3 };

// sdw_widen converts n values to float32, sdw_narrow back.
void sdw_widen(float* out, const void* in, int64_t n, int type);
void sdw_narrow(void* out, const float* in, int64_t n, int type);

// sdw_store is sdw_narrow to memory that is not read soon, and sdw_within.
bool sdw_store(void* out, const float* in, int64_t n, int type, float most);

// sdw_within tells whether n values are numbers no further from 0 than most.
bool sdw_within(const float* x, int64_t n, float most);

// c[m][n] += scale * a[m][k] * b[k][n], row-major.
void sdw_mul_add(float* c, const float* a, const float* b, int64_t m, int64_t k, int64_t n, float scale);

// The same with a matrix b that was made ready by sdw_pack, in sdw_packed_size values
// of memory. Where the processor has AVX-512 VNNI, rows of a and columns of b are
// rounded to whole numbers of 13 bits or more.
int64_t sdw_packed_size(int64_t k, int64_t n);
void sdw_pack(float* packed, const float* b, int64_t k, int64_t n);
void sdw_mul_add_packed(float* c, const float* a, const float* packed, int64_t m, int64_t k, int64_t n, float scale);

// sdw_turn makes turns of the rows of w[span][cols] into each other, one after the other,
// and then each row keep*w + factors[row]*turned. Turn i is of sides[i] rows, which rows
// tells, by matrices[side][side] less the unit matrix. A turn of the whole span rounds as
// sdw_pack does. Memory of sdw_turn_scratch values is its own.
int64_t sdw_turn_scratch(int64_t span);
void sdw_turn(float* w, int64_t cols, int64_t span, const int32_t* sides, int64_t n, const int32_t* rows, const float* matrices, float keep, const float* factors, float* scratch);

// out += scale*x and out += scale*x*y; out = a*out + b*x. out may be x.
void sdw_add_scaled(float* out, const float* x, int64_t n, float scale);
void sdw_add_product(float* out, const float* x, const float* y, int64_t n, float scale);
void sdw_blend(float* out, const float* x, int64_t n, float a, float b);

// Each row of out, of cols values and out_row apart, becomes a*out + b[row]*x.
void sdw_blend_rows(float* out, int64_t out_row, const float* x, int64_t x_row, int64_t rows, int64_t cols, float a, const float* b);

// Each row of out[rows][cols] becomes a*out + b*x, column by column. out may be x.
void sdw_blend_columns(float* out, const float* x, int64_t rows, int64_t cols, float a, const float* b);

// out[row] is the sum of the squares of a row of x[rows][cols].
void sdw_row_squares(float* out, const float* x, int64_t rows, int64_t cols);

#ifdef __cplusplus
}
#endif

#endif
