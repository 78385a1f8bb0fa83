#ifndef SDW_QUANTIZE_H
#define SDW_QUANTIZE_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// sdw_quantize writes source as the GGUF file destination, with values of the
// named ggml type where that type fits the tensor; biases, norms and rows that no
// block divides keep theirs.
sdw_status sdw_quantize(const sdw_file* source, const char* destination, const char* type, char* err, int cap);

#ifdef __cplusplus
}
#endif

#endif
