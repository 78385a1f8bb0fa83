#pragma once

#include "ggml-backend.h"

#include "shim.h"

namespace sdw {

// kind_of is the one place that tells devices apart.
sdw_device_kind kind_of(ggml_backend_dev_t dev);

}  // namespace sdw
