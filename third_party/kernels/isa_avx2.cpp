/* The kernels for processors with avx2. */
#define SDW_ISA avx2
#include "isa.hpp"
