#pragma once

#include "ggml.h"

namespace sdw {

// make_linear turns t into the linear layer weight * input + bias, computed by our
// own kernel. bias may be null.
void make_linear(ggml_tensor* t, ggml_tensor* weight, ggml_tensor* input, ggml_tensor* bias);

class Contexts;

// make_attention turns t into the attention of q, k and v, fastest axis first
// [width * heads][tokens][images]. The first axis of t is the width of a head. Unless
// contexts is null, it has the values of k and v.
void make_attention(ggml_tensor* t, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v, const Contexts* contexts = nullptr);

// keep_linear makes function compute t, which make_linear made.
void keep_linear(ggml_tensor* t, ggml_custom_op_t function, void* data);

// run_linear computes n rows of t from a first one on, into dst instead of t: the part
// of thread ith of nth.
void run_linear(const ggml_tensor* t, int64_t first, int64_t n, float* dst, int ith, int nth);

// make_geglu turns t into the first half of input's rows times GELU of the second.
void make_geglu(ggml_tensor* t, ggml_tensor* input);

// is_linear and is_attention tell whether t was made so.
bool is_linear(const ggml_tensor* t);
bool is_attention(const ggml_tensor* t);

}  // namespace sdw
