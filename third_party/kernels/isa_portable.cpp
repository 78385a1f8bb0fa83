/* The kernels for every processor. */
#define SDW_ISA portable
#include "isa.hpp"
