//go:build sdcpp

#include "contexts.hpp"

#include <algorithm>
#include <cstring>

#include "products.hpp"

namespace sdw {

// Texts that are kept at least; a call with more of them keeps its own. Each takes 8 MB
// for every 77 tokens.
constexpr size_t kept = 16;

void Contexts::input(const ggml_tensor* t) {
    text = t;
    weights.clear();
}

bool Contexts::made_of_text(const ggml_tensor* layer) const {
    if (!is_linear(layer) || layer->src[2] != nullptr) {
        return false;
    }
    const ggml_tensor* from = layer->src[1];
    while (from->op == GGML_OP_RESHAPE) {
        from = from->src[0];
    }
    return from == text;
}

bool Contexts::take(ggml_tensor* keys, ggml_tensor* values) {
    if (!made_of_text(keys) || !made_of_text(values)) {
        return false;
    }
    for (ggml_tensor* layer : {keys, values}) {
        weights.push_back(layer->src[0]);
        keep_linear(layer, compute, this);
    }
    return true;
}

void Contexts::begin(const float* values) {
    rows.clear();
    if (stale.exchange(false)) {
        texts.clear();
    }
    if (weights.empty()) {
        return;
    }
    const int64_t tokens = text->ne[1], n = text->ne[0] * tokens;
    for (int64_t row = 0; row < text->ne[2]; row++, values += n) {
        auto same = std::find_if(texts.begin(), texts.end(), [&](const Text& t) {
            return t.values.size() == static_cast<size_t>(n) && std::memcmp(t.values.data(), values, n * sizeof(float)) == 0;
        });
        if (same == texts.end()) {
            same = texts.emplace(texts.begin());
            same->values.assign(values, values + n);
        }
        texts.splice(texts.begin(), texts, same);
        for (const ggml_tensor* weight : weights) {
            auto& product = same->products[weight];
            if (product.empty()) {
                product.resize(weight->ne[1] * tokens);
                same->done = false;
            }
        }
        rows.push_back(&*same);
    }
    while (texts.size() > std::max(kept, rows.size())) {
        texts.pop_back();
    }
}

void Contexts::end() {
    for (Text* t : rows) {
        t->done = true;
    }
}

const float* Contexts::of(const ggml_tensor* layer, int64_t row) const { return rows[row]->products.at(layer->src[0]).data(); }

void Contexts::compute(ggml_tensor* layer, int ith, int nth, void* contexts) {
    auto& rows = static_cast<Contexts*>(contexts)->rows;
    for (size_t i = 0; i < rows.size(); i++) {
        if (!rows[i]->done && std::find(rows.begin(), rows.begin() + i, rows[i]) == rows.begin() + i) {
            run_linear(layer, static_cast<int64_t>(i) * layer->ne[1], layer->ne[1], rows[i]->products.at(layer->src[0]).data(), ith, nth);
        }
    }
}

}  // namespace sdw
