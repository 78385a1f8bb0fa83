/* A team of threads for the tests and benchmarks, which run without ggml. */
#ifndef SDW_TEAM_HPP
#define SDW_TEAM_HPP

#include "kernels.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <thread>
#include <vector>

/* Scratch memory that stays, as that of ggml does: fresh pages would cost time. */
inline void* scratch(size_t bytes) {
    static void* memory;
    static size_t size;
    if (bytes > size) {
        const size_t huge = 2 << 20;
        free(memory);
        size = (bytes + huge - 1) / huge * huge;
        memory = aligned_alloc(huge, size);
        madvise(memory, size, MADV_HUGEPAGE);
    }
    return memory;
}

template <typename Kernel>
void run_team(int nth, size_t work_bytes, Kernel kernel) {
    void* work = scratch(work_bytes);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, nullptr, nth);
    std::vector<std::thread> threads;
    for (int i = 1; i <= nth; i++) {
        auto run = [=, &barrier] {
            sdw_team team = {i - 1, nth, [](void* b) { pthread_barrier_wait((pthread_barrier_t*)b); }, &barrier, work};
            kernel(&team);
        };
        if (i < nth) {
            threads.emplace_back(run);
        } else {
            run();
        }
    }
    for (std::thread& t : threads) {
        t.join();
    }
    pthread_barrier_destroy(&barrier);
}

#endif
