/* How fast matrix products, attention and gates are. Usage: bench_products [threads] [repetitions] */
#include "products.h"
#include "team.hpp"

#include <stdio.h>
#include <time.h>

/* Runs a kernel whose threads do not meet; each has scratch memory of its own. */
template <typename Kernel>
static void run(int nth, size_t bytes, Kernel kernel) {
    bytes = (bytes + 63) / 64 * 64;
    run_team(nth, bytes * nth, [&](const sdw_team* team) { kernel(team->ith, (char*)team->work + bytes * team->ith); });
}

/* Processor time of all threads: it hardly depends on what else the machine does. */
static double seconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

template <typename Run>
static double fastest(int nth, int repetitions, Run run) {
    double best = 1e9;
    for (int i = 0; i < repetitions; i++) {
        double begin = seconds();
        run();
        best = std::min(best, (seconds() - begin) / nth);
    }
    return best;
}

int main(int argc, char** argv) {
    const int nth = argc > 1 ? atoi(argv[1]) : 1, repetitions = argc > 2 ? atoi(argv[2]) : 5;
    printf("kernels: %s, %d threads; processor time and GFLOP/s\n", sdw_kernels_isa(), nth);
    for (auto& s : std::vector<std::vector<int>>{{320, 8192, 320}, {2560, 8192, 320}, {320, 8192, 1280}, {640, 2048, 640}, {5120, 2048, 640}, {640, 2048, 2560}, {1280, 512, 1280}, {10240, 512, 1280}, {1280, 512, 5120}, {1280, 128, 1280}, {10240, 128, 1280}, {320, 154, 768}, {1280, 154, 768}}) {
        sdw_matmul mul = {};
        mul.m = s[0], mul.n = s[1], mul.k = s[2];
        mul.src_row = mul.weight_row = mul.k, mul.dst_row = mul.m;
        std::vector<float> src(mul.n * mul.k, 0.5f), dst(mul.n * mul.m), bias(mul.m);
        std::vector<uint16_t> weight(mul.m * mul.k, 0x2000);
        mul.src = src.data(), mul.weight = weight.data(), mul.weight_f16 = 1, mul.bias = bias.data(), mul.dst = dst.data();
        size_t bytes = sdw_matmul_work(&mul);
        double best = fastest(nth, repetitions, [&] { run(nth, bytes, [&](int ith, void* work) { sdw_matmul_run(&mul, ith, nth, work); }); });
        printf("linear %5d -> %5d, %5d rows %26.2f ms %7.1f\n", s[2], s[0], s[1], best * 1e3, 2e-9 * mul.m * mul.n * mul.k / best / nth);
    }
    for (auto& s : std::vector<std::vector<int>>{{2, 4096, 4096, 40}, {2, 4096, 77, 40}, {2, 1024, 1024, 80}, {2, 1024, 77, 80}, {2, 256, 256, 160}, {2, 256, 77, 160}, {2, 64, 64, 160}}) {
        sdw_attention at = {};
        at.images = s[0], at.heads = 8, at.queries = s[1], at.keys = s[2], at.width = s[3], at.scale = 1;
        at.q_row = at.k_row = at.v_row = at.dst_row = 8 * at.width;
        at.q_image = at.dst_image = at.q_row * at.queries, at.k_image = at.v_image = at.k_row * at.keys;
        std::vector<float> q(at.q_image * at.images, 0.1f), k(at.k_image * at.images, 0.1f), v(k), dst(q);
        at.q = q.data(), at.k = k.data(), at.v = v.data(), at.dst = dst.data();
        size_t bytes = sdw_attention_work(&at);
        double best = fastest(nth, repetitions, [&] { run(nth, bytes, [&](int ith, void* work) { sdw_attention_run(&at, ith, nth, work); }); });
        printf("attention %d x 8 heads %3d wide, %4d queries, %4d keys %8.2f ms %7.1f\n", s[0], s[3], s[1], s[2], best * 1e3,
               4e-9 * s[0] * 8 * s[1] * s[2] * s[3] / best / nth);
    }
    for (auto& s : std::vector<std::vector<int>>{{8192, 1280}, {2048, 2560}, {512, 5120}}) {
        std::vector<float> src((size_t)s[0] * s[1] * 2, 0.5f), dst((size_t)s[0] * s[1]);
        const sdw_geglu gate = {s[0], s[1], src.data(), dst.data()};
        double best = fastest(nth, repetitions, [&] { run(nth, 0, [&](int ith, void*) { sdw_geglu_run(&gate, ith, nth); }); });
        printf("geglu %4d rows, %4d wide %33.2f ms %7.2f results/ns\n", s[0], s[1], best * 1e3, 1e-9 * s[0] * s[1] / best / nth);
    }
}
