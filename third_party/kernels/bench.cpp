/* How fast the kernels are. Usage: bench [threads] [repetitions] */
#include "team.hpp"

#include <stdio.h>
#include <time.h>

/* Processor time of all threads: it hardly depends on what else the machine does. */
static double seconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int argc, char** argv) {
    const int nth = argc > 1 ? atoi(argv[1]) : 1, repetitions = argc > 2 ? atoi(argv[2]) : 5;
    const char* names[] = {"auto", "implicit", "winograd 2", "winograd 4"};
    struct {
        int n, ic, oc, side, k;
    } shapes[] = {{2, 320, 320, 64, 3}, {2, 960, 320, 64, 3}, {2, 640, 640, 32, 3}, {2, 1280, 1280, 16, 3}, {2, 1280, 1280, 8, 3}, {2, 1280, 1280, 4, 3}, {1, 512, 512, 64, 3}, {1, 256, 256, 256, 3}, {1, 128, 128, 512, 3}, {1, 128, 3, 512, 3}, {2, 320, 320, 64, 1}, {2, 2560, 1280, 16, 1}};
    printf("kernels: %s, %d threads; processor time and GFLOP/s of the direct arithmetic\n", sdw_kernels_isa(), nth);
    for (auto& s : shapes) {
        sdw_conv2d c = {};
        c.n = s.n, c.ic = s.ic, c.oc = s.oc, c.ih = c.iw = c.oh = c.ow = s.side, c.kh = c.kw = s.k;
        c.stride_x = c.stride_y = c.dilation_x = c.dilation_y = 1;
        c.pad_x = c.pad_y = s.k / 2;
        c.src_channel = (int64_t)s.side * s.side, c.src_image = c.src_channel * s.ic;
        std::vector<float> src(c.src_image * s.n, 0.5f), dst((size_t)s.n * s.oc * s.side * s.side);
        std::vector<uint16_t> weight((size_t)s.oc * s.ic * s.k * s.k, 0x2000);
        c.src = src.data(), c.dst = dst.data(), c.weight = weight.data(), c.weight_f16 = 1;
        for (int method = SDW_CONV2D_IMPLICIT; method <= (s.k == 3 ? SDW_CONV2D_WINOGRAD4 : SDW_CONV2D_IMPLICIT); method++) {
            double best = 1e9;
            for (int i = 0; i < repetitions; i++) {
                auto m = (sdw_conv2d_method)method;
                double begin = seconds();
                run_team(nth, sdw_conv2d_work(&c, m, nth), [&](const sdw_team* team) { sdw_conv2d_run(&c, m, team); });
                best = std::min(best, (seconds() - begin) / nth);
            }
            printf("%d x %4d -> %4d, %3d x %3d, kernel %d  %-10s %s %8.2f ms %7.1f\n", s.n, s.ic, s.oc, s.side, s.side, s.k, names[method],
                   method == sdw_conv2d_choose(&c) ? "*" : " ", best * 1e3, 2e-9 * s.n * s.ic * s.oc * s.k * s.k * s.side * s.side / best);
        }
    }
}
