#pragma once

#include <cstdint>

namespace sdw {

// ProgressTo hands the progress of loading on this thread to a handle of callback.go
// while it lives.
struct ProgressTo {
    explicit ProgressTo(uintptr_t handle);
    ~ProgressTo();
};

}  // namespace sdw
