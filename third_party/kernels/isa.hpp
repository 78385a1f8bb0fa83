/* Everything that is compiled once per instruction set; SDW_ISA names it. */
#include "table.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SDW_JOIN2(a, b) a##b
#define SDW_JOIN(a, b) SDW_JOIN2(a, b)
#define SDW_TEXT2(a) #a
#define SDW_TEXT(a) SDW_TEXT2(a)

namespace SDW_ISA {
#include "simd.hpp"
#include "product.hpp"
#include "transpose.hpp"
#include "conv2d.hpp"
#include "exponential.hpp"
#include "norm.hpp"
#include "matmul.hpp"
#include "attention.hpp"
#include "geglu.hpp"
} // namespace SDW_ISA

extern const sdw_table SDW_JOIN(sdw_table_, SDW_ISA);
const sdw_table SDW_JOIN(sdw_table_, SDW_ISA) = {
    SDW_TEXT(SDW_ISA),
    SDW_ISA::conv2d_work,
    SDW_ISA::conv2d_run,
    SDW_ISA::group_norm_run,
    SDW_ISA::matmul_work,
    SDW_ISA::matmul_run,
    SDW_ISA::attention_work,
    SDW_ISA::attention_run,
    SDW_ISA::geglu_run,
    SDW_ISA::multiply_adds,
};
