// Small convolutional networks that the Go side describes as a list of layers.
#ifndef SDW_NETGRAPH_H
#define SDW_NETGRAPH_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// Operations, numbered as package convnet does, which says what they compute.
enum {
    SDW_CONV,
    SDW_SILU,
    SDW_LEAKY_RELU,
    SDW_PRELU,
    SDW_SIGMOID,
    SDW_ADD,
    SDW_MUL,
    SDW_AFFINE,
    SDW_CONCAT,
    SDW_SLICE,
    SDW_ENLARGE,
    SDW_MAX_POOL,
    SDW_SHUFFLE,
    SDW_UNSHUFFLE,
    SDW_TOKENS,
    SDW_LINES,
    SDW_LINEAR,
    SDW_LAYER_NORM,
    SDW_GELU,
    SDW_ATTENTION,
    SDW_ARRAY,
    SDW_APPEND,
    SDW_TAKE,
    SDW_FOLD,
    SDW_CELLS,
    SDW_STRETCH,
};

// sdw_node is a layer. a, b and c number what it reads: 0 is the picture, n the result of
// node n-1; weight and bias number the arrays, -1 for none.
typedef struct {
    int32_t op, a, b, c, weight, bias, stride, pad, first, factor, channels;
    float scale, shift;
} sdw_node;

typedef struct sdw_net sdw_net;

// sdw_net_open makes a network on the engine's device. shapes holds four sides of each
// array, the slowest first, and halved whether it is kept in f16. Their values come by
// sdw_net_set.
sdw_status sdw_net_open(sdw_engine* e, int channels, const sdw_node* nodes, int n_nodes, const int32_t* shapes, const int32_t* halved,
                        int n_weights, const int32_t* outputs, int n_outputs, sdw_net** out, char* err, int cap);

// sdw_net_set fills array i.
sdw_status sdw_net_set(sdw_net* net, int i, const float* values, char* err, int cap);

// sdw_net_run computes the outputs for pixels[channels][h][w] and writes them one after
// the other. The graph of the last size is kept until sdw_net_rest.
sdw_status sdw_net_run(sdw_engine* e, sdw_net* net, const float* pixels, int h, int w, float* out, char* err, int cap);
void sdw_net_rest(sdw_net* net);

// sdw_net_close frees a network, NULL included, before its engine.
void sdw_net_close(sdw_net* net);

#ifdef __cplusplus
}
#endif

#endif
