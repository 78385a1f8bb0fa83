// The engine's own generate_image on a checkpoint, for worker bench to compare
// with: built from the unpatched source with its default flags.
//
//   baseline --model FILE --width W --height H --steps N --batch B [--threads N]
//
// It loads the model and writes {"open_s": seconds}; for each line on its input it
// makes a batch and writes {"picture_s": seconds}. It ends when its input ends.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "stable-diffusion.h"

static double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int main(int argc, char** argv) {
    std::map<std::string, std::string> args{{"--width", "512"}, {"--height", "512"}, {"--steps", "20"}, {"--batch", "1"}, {"--threads", "0"}};
    for (int i = 1; i + 1 < argc; i += 2) {
        args[argv[i]] = argv[i + 1];
    }
    if (args["--model"].empty()) {
        fprintf(stderr, "usage: baseline --model FILE [--width W] [--height H] [--steps N] [--batch B] [--threads N]\n");
        return 2;
    }
    sd_set_progress_callback([](int, int, float, void*) {}, nullptr);
    sd_set_log_callback(
        [](sd_log_level_t level, const char* text, void*) {
            if (level == SD_LOG_ERROR) {
                fputs(text, stderr);
            }
        },
        nullptr);

    auto begin = std::chrono::steady_clock::now();
    sd_ctx_params_t params;
    sd_ctx_params_init(&params);
    params.model_path = args["--model"].c_str();
    params.n_threads  = atoi(args["--threads"].c_str());
    if (params.n_threads < 1) {
        params.n_threads = sd_get_num_physical_cores();
    }
    sd_ctx_t* ctx = new_sd_ctx(&params);
    if (ctx == nullptr) {
        fprintf(stderr, "baseline: %s does not load\n", params.model_path);
        return 1;
    }
    printf("{\"open_s\": %.6f}\n", seconds_since(begin));
    fflush(stdout);

    char line[256];
    while (fgets(line, sizeof line, stdin) != nullptr) {
        sd_img_gen_params_t job;
        sd_img_gen_params_init(&job);
        job.prompt                         = "a lovely cat";
        job.negative_prompt                = "blurry";
        job.width                          = atoi(args["--width"].c_str());
        job.height                         = atoi(args["--height"].c_str());
        job.batch_count                    = atoi(args["--batch"].c_str());
        job.seed                           = 42;
        job.sample_params.sample_steps     = atoi(args["--steps"].c_str());
        job.sample_params.sample_method    = EULER_A_SAMPLE_METHOD;
        job.sample_params.guidance.txt_cfg = 7;

        begin              = std::chrono::steady_clock::now();
        sd_image_t* images = generate_image(ctx, &job);
        if (images == nullptr) {
            fprintf(stderr, "baseline: no picture\n");
            return 1;
        }
        printf("{\"picture_s\": %.6f}\n", seconds_since(begin));
        fflush(stdout);
        for (int i = 0; i < job.batch_count; i++) {
            free(images[i].data);
        }
        free(images);
    }
    free_sd_ctx(ctx);
    return 0;
}
