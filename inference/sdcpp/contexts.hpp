// What cross attention makes of texts, kept between steps.
#pragma once

#include <atomic>
#include <list>
#include <unordered_map>
#include <vector>

#include "ggml.h"

namespace sdw {

// Contexts keeps the keys and values that a network's cross attention makes of each
// text it was given last: they are the same at every step and for every picture of
// the text, and where pictures are small they are a fifth of a step. Texts are told
// apart by their values, bit for bit. It is for kernels of our own, on a CPU.
class Contexts {
public:
    // input starts a new graph, whose texts are t: [width][tokens][rows].
    void input(const ggml_tensor* t);

    // take keeps what two layers make, keys and values, if both are products of a weight
    // and the graph's input, and returns whether they are. Their values are then found by
    // of, and not in the tensors.
    bool take(ggml_tensor* keys, ggml_tensor* values);

    // begin looks up the texts of a run of the graph, and makes room for new ones.
    void begin(const float* values);

    // end tells that the run went well.
    void end();

    // forget drops everything before the next run. Any thread may call it.
    void forget() { stale = true; }

    // of is what layer made of the text of a row, [tokens][channels].
    const float* of(const ggml_tensor* layer, int64_t row) const;

private:
    struct Text {
        std::vector<float> values;
        std::unordered_map<const ggml_tensor*, std::vector<float>> products;  // by weight
        bool done = false;
    };

    bool made_of_text(const ggml_tensor* layer) const;
    static void compute(ggml_tensor* layer, int ith, int nth, void* contexts);

    std::atomic<bool> stale{false};
    const ggml_tensor* text = nullptr;    // the graph's input
    std::vector<ggml_tensor*> weights;    // of the layers that are kept
    std::list<Text> texts;                // the one used last first
    std::vector<Text*> rows;              // of the run
};

}  // namespace sdw
