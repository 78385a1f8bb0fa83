/* The kernels for processors with avx512. */
#define SDW_ISA avx512
#include "isa.hpp"
