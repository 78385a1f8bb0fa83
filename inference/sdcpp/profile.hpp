#pragma once

#include "ggml-backend.h"

#include <map>
#include <string>

namespace sdw {

// Profile sums up the operations of graph runs by kind and shape.
struct Profile {
    struct Operation {
        double seconds = 0;
        double cpu     = 0;  // seconds of all threads together
        double flops   = 0;  // of the direct arithmetic: a multiplication and an addition are two
        int calls      = 0;
    };
    // what it is and its shape
    std::map<std::pair<std::string, std::string>, Operation> operations;

    // compute runs a graph one operation at a time.
    ggml_status compute(ggml_backend_t backend, ggml_cgraph* graph);
};

}  // namespace sdw
